#include "store/lazy_memory.h"

#include <sys/mman.h>

#include <cstdlib>

namespace lrufs::store {

LazyMemory::LazyMemory(std::size_t bytes, bool huge) : bytes_(bytes == 0 ? 1 : bytes) {
  data_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data_ == MAP_FAILED) std::abort();
  if (huge) (void)::madvise(data_, bytes_, MADV_HUGEPAGE);
}

void LazyMemory::forget() {
  if (data_ != nullptr) (void)::madvise(data_, bytes_, MADV_DONTNEED);
}

LazyMemory::~LazyMemory() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

}  // namespace lrufs::store
