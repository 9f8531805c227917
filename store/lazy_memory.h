// LazyMemory: a large array of zeros of which only the touched parts occupy memory (anonymous mmap). Bitmaps
// over all pages of a store use it: a bound of a terabyte costs nothing until the pages are used.
#pragma once

#include <cstddef>
#include <utility>

namespace lrufs::store {

class LazyMemory {
 public:
  LazyMemory() = default;
  // Aborts if the address space is exhausted. `huge`: in pages of 2 MiB where the system has them, for what
  // is used at random places throughout.
  explicit LazyMemory(std::size_t bytes, bool huge = false);
  // The same, behind which address space is reserved, `reach` bytes in all: widen(). Costs nothing until
  // then, also where the system counts what memory is promised.
  static LazyMemory with_reach(std::size_t bytes, std::size_t reach);
  LazyMemory(LazyMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  LazyMemory& operator=(LazyMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  LazyMemory(const LazyMemory&) = delete;
  LazyMemory& operator=(const LazyMemory&) = delete;
  ~LazyMemory();

  [[nodiscard]] void* data() const { return data_; }
  // So many bytes may be used from now on, within the reach; the others stay as they are. False: the system
  // refuses.
  [[nodiscard]] bool widen(std::size_t bytes);
  void forget();  // all is zeros again, and occupies no memory

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace lrufs::store
