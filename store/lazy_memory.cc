#include "store/lazy_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>

namespace lrufs::store {

LazyMemory::LazyMemory(std::size_t bytes, bool huge) : bytes_(bytes == 0 ? 1 : bytes) {
  data_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data_ == MAP_FAILED) std::abort();
  if (huge) (void)::madvise(data_, bytes_, MADV_HUGEPAGE);
}

LazyMemory LazyMemory::with_reach(std::size_t bytes, std::size_t reach) {
  LazyMemory memory;
  memory.bytes_ = std::max<std::size_t>({bytes, reach, 1});
  memory.data_ =
      ::mmap(nullptr, memory.bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory.data_ == MAP_FAILED || !memory.widen(bytes)) std::abort();
  return memory;
}

bool LazyMemory::widen(std::size_t bytes) {
  if (bytes > bytes_) return false;
  return bytes == 0 || ::mprotect(data_, bytes, PROT_READ | PROT_WRITE) == 0;
}

void LazyMemory::forget() {
  if (data_ != nullptr) (void)::madvise(data_, bytes_, MADV_DONTNEED);
}

LazyMemory::~LazyMemory() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

}  // namespace lrufs::store
