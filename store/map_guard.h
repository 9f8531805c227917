// MapGuard: what happens when a page of a mapped store cannot be read, because of a bad sector, or because
// somebody cut the file off. Touching such a page raises SIGBUS. While a guard lives, the page is replaced by
// zeros in memory and noted as lost, and the code that touched it runs on: it finds out by lost(), by a
// checksum, or, if it has changed anything meanwhile, by losses(), and gives kIo. A lost page stays lost
// until the store is opened again.
//
// Pages are noted before they are replaced: whoever copies from the map and asks lost() afterwards never
// takes the zeros for content. The handler of SIGBUS is the process's; it passes on what is not about a
// guarded map. It calls only fstat(2) and mmap(2), and takes no lock.
//
// Thread-safety: any thread; a guard ends before its map does, when nobody uses that any more.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "store/types.h"

namespace lrufs::store {

class MapGuard {
 public:
  // Above so many single pages the disk counts as gone, and all of the map as lost: each replaced page costs
  // the process a mapping, of which the kernel allows 65,530.
  static constexpr std::uint64_t kMaxSinglePages = 16384;

  // `base` maps `fd` from its beginning; all three outlive the guard. `reach`: to which widen() may go.
  MapGuard(std::byte* base, std::uint64_t bytes, int fd, bool writable, std::uint64_t reach = 0);
  ~MapGuard();
  MapGuard(const MapGuard&) = delete;
  MapGuard& operator=(const MapGuard&) = delete;

  // Guards so many bytes of the map from now on. False: no memory.
  [[nodiscard]] bool widen(std::uint64_t bytes);

  // Rises whenever a page is replaced or noted, also a second time: whoever sees it unchanged has met no
  // loss. What was read from the map before the call is ordered before it.
  [[nodiscard]] std::uint64_t losses() const {
    std::atomic_thread_fence(std::memory_order_acquire);
    return losses_->load(std::memory_order_acquire);
  }
  // Single pages that were lost; those of a file that was cut off are not counted.
  [[nodiscard]] std::uint64_t lost_pages() const;
  // Is any of these pages lost?
  [[nodiscard]] bool lost(PageNo first, std::uint64_t count) const;
  // Notes a page that a system call could not read; it is not replaced.
  void note(PageNo page);

  struct Range;  // one guarded map, as the handler sees it

 private:
  Range* range_;
  const std::atomic<std::uint64_t>* losses_;  // the range's
};

}  // namespace lrufs::store
