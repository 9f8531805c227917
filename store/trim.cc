// Holes in the store's file: pages that nobody needs and that have no blocks on the disk. trim() makes them
// (Options::trim); a copy of a store may have them as well. They are filled before a page of them is taken,
// since a store to the map of a full disk would be SIGBUS.
#include <algorithm>

#include "store/store_impl.h"

namespace lrufs::store {

namespace {

// Shorter runs are not worth a hole: they come and go, and make extents.
constexpr std::uint64_t kLeastHole = (1U << 20U) / kPageSize;
constexpr std::uint64_t kMostAtOnce = (64U << 20U) / kPageSize;

}  // namespace

void StoreImpl::trim() {
  for (;;) {
    PageRun run;
    {
      const MutexLock lock(writer_);
      // What is evicted ahead will be used, and so will what the file has grown by last.
      const std::uint64_t keep = evict_stop() + std::clamp(space_->grown() / 32, kLeastHole, kMostAtOnce);
      if (failed_.load() || space_->free() < keep + kLeastHole) return;
      run = space_->take_for_hole(trim_from_, kLeastHole, std::min(kMostAtOnce, space_->free() - keep));
      trim_from_ = raw(run.first) + run.count;
      if (run.count == 0) return;
    }
    const Status punched = ops->punch(fd, raw(run.first) * kPageSize, run.count * kPageSize);
    const MutexLock lock(writer_);
    if (punched) {
      space_->make_hole(run);
      continue;
    }
    space_->give_back(run);
    if (!trim_failed_)
      event(Options::Severity::kWarning,
            "free space cannot be given back to the disk: " + describe(punched.error()));
    trim_failed_ = true;
    return;
  }
}

// Where the file has holes already. Space that was given blocks but never written looks the same; filling
// that costs next to nothing.
Status StoreImpl::find_holes() {
  const std::uint64_t end = space_->grown();
  for (std::uint64_t at = 0; at < end * kPageSize;) {
    LRUFS_TRY_ASSIGN(const FileOps::Range hole, ops->next_hole(fd, at));
    const std::uint64_t first = hole.begin / kPageSize;
    const std::uint64_t last = std::min(end, pages_for(hole.end));
    if (first >= last) return {};
    space_->found_hole({PageNo{first}, last - first});
    // A copy may have holes where pages in use were zeros: the log's, for one, which is written on.
    for (std::uint64_t page = first; page < last;) {
      std::uint64_t count = 0;
      while (page + count < last && space_->is_used(PageNo{page + count})) ++count;
      if (count > 0) (void)ops->fill(fd, page * kPageSize, count * kPageSize);
      page += std::max<std::uint64_t>(count, 1);
    }
    at = std::max(hole.end, at + kPageSize);
  }
  return {};
}

bool StoreImpl::fill_some_hole(std::uint64_t want) {
  if (!not_cut_off()) return false;
  bool any = false;
  while (want > 0 && space_->holes() > 0) {
    const PageRun run = space_->first_hole(std::max(want, kLeastHole));
    if (run.count == 0) break;
    if (const Status filled = ops->fill(fd, raw(run.first) * kPageSize, run.count * kPageSize); !filled) {
      disk_is_full(filled.error());
      break;
    }
    space_->fill_hole(run);
    want -= std::min(want, run.count);
    any = true;
  }
  return any;
}

}  // namespace lrufs::store
