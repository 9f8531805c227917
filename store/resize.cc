// Another bound for a store that is in use, and the smallest file for what is in it. What lies behind the new
// end moves by relocate.h; here is what goes before that, and after it.
#include <algorithm>
#include <cerrno>

#include "store/store_impl.h"

namespace lrufs::store {

namespace {

constexpr std::chrono::milliseconds kWaitStep{20};
constexpr int kWaitSteps = 150;  // without any progress
// A process that reads the store ends, or is told to the caller: it may read for hours.
constexpr std::chrono::seconds kReaderPatience{1};

std::string list_of(const std::vector<std::uint64_t>& pids) {
  std::string text = pids.size() == 1 ? "process " : "processes ";
  for (std::size_t i = 0; i < pids.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(pids[i]);
  return text;
}

tl::unexpected<Error> is_changing() {
  return fail(Code::kBusy, "the store is being resized or compacted already", EBUSY);
}

}  // namespace

std::uint64_t StoreImpl::reach_of(std::uint64_t bytes) {
  constexpr std::uint64_t kTimes = 4;
  constexpr std::uint64_t kLeast = 64ULL << 30U;
  constexpr std::uint64_t kMost = 1ULL << 45U;  // of the 47 bits that a process has
  return std::max(bytes, std::min(kMost, std::max(kLeast, bytes * kTimes)));
}

Status StoreImpl::LongWork::report(std::uint64_t pages_done) {
  done = std::max(done, std::min(pages_done, all));
  if (!tell || tell(done * kPageSize, all * kPageSize)) return {};
  return fail(Code::kIo, "interrupted", EINTR);
}

Status StoreImpl::resize(std::uint64_t bound, const Store::OnProgress& on_progress) {
  if (options.read_only) return fail(Code::kReadOnly, "the store was opened read-only");
  if (bound < kMinBound) {
    return fail(Code::kBoundTooSmall, "a bound of " + std::to_string(bound) +
                                          " bytes is too small: a store needs at least " +
                                          std::to_string(kMinBound) + " bytes");
  }
  if (!relocation_mutex_.try_lock()) return is_changing();
  const AdoptedLock one(relocation_mutex_);
  const std::uint64_t pages = capacity_pages(bound);
  std::uint64_t grown = 0;
  {
    const MutexLock lock(writer_);
    if (current_.bound_bytes == bound && capacity_ == pages && space_->grown() <= pages) return {};
    grown = space_->grown();
  }
  if (pages >= capacity_ && grown <= pages) return enlarge(bound, pages);
  LongWork work{on_progress};
  return shrink(bound, pages, work);
}

// The new bound is durable before the file grows beyond the old one.
Status StoreImpl::enlarge(std::uint64_t bound, std::uint64_t pages) {
  if (bound > mapped_bytes) {
    return fail(Code::kInvalid, "while it is open the store can grow to " + std::to_string(mapped_bytes) +
                                    " bytes at most: open it with a larger size for more");
  }
  {
    const MutexLock lock(writer_);
    if (!guard->widen(bound) || !pager->widen(pages_for(bound)) || !space_->widen(pages))
      return fail(Code::kIo, "no memory for a larger store", ENOMEM);
    current_.bound_bytes = bound;
    publish_again();
    dirty_ = true;
  }
  LRUFS_TRY(checkpoint(readers.latest(), true, false));
  const MutexLock lock(writer_);
  set_capacity(pages);
  room_changed_.notify_all();
  return {};
}

// --- smaller
// -------------------------------------------------------------------------------------------------------

Status StoreImpl::await_readers(TxnId state) {
  const auto deadline = std::chrono::steady_clock::now() + kReaderPatience;
  for (;;) {
    std::vector<std::uint64_t> pids;
    {
      const MutexLock lock(writer_);
      if (shared_readers_) {
        shared_readers_->clear_dead(nullptr);
        pids = shared_readers_->pids_before(state);
      }
    }
    if (pids.empty()) return {};
    if (std::chrono::steady_clock::now() > deadline) {
      return fail(Code::kBusy,
                  "the store cannot be made smaller while " + list_of(pids) +
                      (pids.size() == 1 ? " reads" : " read") +
                      " it as it was before (lrufs copy, dump, check …): wait for that, or end it",
                  EBUSY);
    }
    std::this_thread::sleep_for(kWaitStep);
  }
}

Status StoreImpl::await_present_readers() {
  {
    const MutexLock lock(writer_);
    if (!shared_readers_ || !shared_readers_->has_claims()) return {};
    publish_again();  // who comes later reads another state
  }
  return await_readers(readers.latest());
}

// What a process before this one has evicted, or somebody has removed, and the kernel still holds: its pages
// will come back, and nothing need be evicted in their place.
Status StoreImpl::count_orphans() {
  constexpr std::size_t kBatch = 128;
  for (Ino after = kNoIno;;) {
    LRUFS_TRY_ASSIGN(const std::vector<Ino> some,
                     snapshot(Snapshot::Kind::kTransient).view().orphans(after, kBatch));
    if (some.empty()) return {};
    after = some.back();
    LRUFS_TRY(update(
        [&](Transaction& txn) -> Status {  // changes nothing; none of them goes meanwhile
          writer_.assert_held();
          for (const Ino ino : some) {
            const auto inode = txn.view().inode(ino);
            if (!inode || (inode->flags & Inode::kOrphan) == 0U || orphan_pages_.contains(raw(ino))) continue;
            orphan_pages_[raw(ino)] = inode->pages + 1;
            orphan_pages_total_ += inode->pages + 1;
          }
          return {};
        },
        Store::Purpose::kDelete));
  }
}

Status StoreImpl::evict_to_fit(std::uint64_t pages, LongWork& work, bool begin) {
  // In the background of others by little steps, as evict_in_background() does.
  const std::size_t batch = options.background ? 16 : 64;
  const std::uint64_t room = reserve_pages(pages) + 2 * slack_pages(pages);
  std::uint64_t least = ~0ULL;
  for (int waited = 0;;) {
    std::uint64_t used = 0;
    std::uint64_t orphaned = 0;
    {
      const MutexLock lock(writer_);
      used = space_->used();
      if (used + room <= pages) {
        // At once, before others take what is free now.
        if (begin) set_relocation(pages, pages);
        return {};
      }
      orphaned = std::min(used, orphan_pages_total_);
      if (used - orphaned + room <= pages && waited < kWaitSteps) {
        // The kernel is told, and lets go of what it holds. Should it not, more has to go.
        room_changed_.wait_until(writer_, std::chrono::steady_clock::now() + kWaitStep);
        waited = space_->used() < least ? 0 : waited + 1;
        least = std::min(least, space_->used());
        used = 0;
      }
    }
    if (used == 0) {
      LRUFS_TRY(reclaim_orphans());
      LRUFS_TRY(work.report(work.done));
      continue;
    }
    const std::uint64_t missing = used + room - pages;
    LRUFS_TRY(work.report(work.all - std::min(work.all, work.to_move + missing)));
    writer_.give_way();
    LRUFS_TRY_ASSIGN(const auto evicted, evict_some(missing, batch, EvictionReason::kCapacity));
    waited = 0;
    if (evicted) continue;
    // A long log is all that may be left.
    const MutexLock lock(writer_);
    if (guard->losses() == 0) condense();
    if (space_->used() + room <= pages) continue;
    return fail(Code::kNoSpace, "what is in use does not fit the smaller bound");
  }
}

Status StoreImpl::shrink(std::uint64_t bound, std::uint64_t pages, LongWork& work) {
  const std::uint64_t before = capacity_;
  event(Options::Severity::kInfo, path + " is made smaller: from " + std::to_string(before * kPageSize) +
                                      " to " + std::to_string(pages * kPageSize) + " bytes of pages");
  LRUFS_TRY(reclaim_orphans());
  LRUFS_TRY(count_orphans());
  bool must_cut = false;
  {
    const MutexLock lock(writer_);
    must_cut = space_->grown() > pages;
    work.to_move = space_->used_from(pages);
    work.all = work.to_move + space_->used() - std::min(space_->used(), pages);
  }
  // What is to be evicted is not, if the file cannot be cut anyway.
  if (must_cut) LRUFS_TRY(await_present_readers());
  LRUFS_TRY(evict_to_fit(pages, work, false));
  // So that what was evicted is free when others have to do with less.
  LRUFS_TRY(checkpoint(readers.latest(), true, false));
  LRUFS_TRY(evict_to_fit(pages, work, true));
  const Status moved = move_and_cut(work, bound);
  relocate(moved ? pages : before, SpaceMap::kNoCeiling);
  if (!moved) return moved;
  return checkpoint(readers.latest(), true, false);
}

// --- the smallest file
// ---------------------------------------------------------------------------------------------------

Status StoreImpl::compact(Store::Company company, const Store::OnProgress& on_progress) {
  if (options.read_only) return fail(Code::kReadOnly, "the store was opened read-only");
  if (!relocation_mutex_.try_lock()) return is_changing();
  const AdoptedLock one(relocation_mutex_);
  LRUFS_TRY(reclaim_orphans());
  LongWork work{on_progress};
  return company == Store::Company::kAlone ? compact_alone(work) : compact_beside(work);
}

Status StoreImpl::compact_alone(LongWork& work) {
  const std::uint64_t before = capacity_;
  if (touches.size() > 0) LRUFS_TRY(flush_touches());
  keeps_all_ = true;
  Status moved;
  // With little room each transaction moves little, so it is made narrower step by step.
  for (const std::uint64_t spare : {std::uint64_t{1024}, std::uint64_t{256}, std::uint64_t{160}}) {
    std::uint64_t pages = 0;
    {
      const MutexLock lock(writer_);
      if (guard->losses() == 0) condense();
      dirty_ = true;
      pages = std::min(before, space_->used() + spare + (spare == 1024 ? space_->used() / 32 : 0));
      work.to_move = space_->used_from(pages);
      work.all = work.done + work.to_move;
    }
    moved = checkpoint(readers.latest(), true, false);
    if (!moved) break;
    relocate(pages, pages);
    moved = move_and_cut(work, 0);
    relocate(before, SpaceMap::kNoCeiling);
    if (!moved) break;
  }
  keeps_all_ = false;
  if (!moved && moved.error().code != Code::kNoSpace) return moved;
  return checkpoint(readers.latest(), true, false);  // without room for more it is small enough
}

// Only the ceiling is lowered, not the capacity: nothing is evicted for it, and whoever lacks room raises it
// again (room_step()).
Status StoreImpl::compact_beside(LongWork& work) {
  std::uint64_t pages = 0;
  {
    const MutexLock lock(writer_);
    if (guard->losses() == 0) condense();
    dirty_ = true;
    pages = space_->used() + space_->used() / 32 + std::max<std::uint64_t>(1024, reserve_);
    if (pages >= space_->grown()) return {};
    work.all = work.to_move = space_->used_from(pages);
  }
  LRUFS_TRY(await_present_readers());
  LRUFS_TRY(checkpoint(readers.latest(), true, false));
  {
    const MutexLock lock(writer_);
    space_->set_ceiling(pages);
    compacting_ = true;
  }
  const Status moved = move_and_cut(work, 0);
  {
    const MutexLock lock(writer_);
    space_->set_ceiling(SpaceMap::kNoCeiling);
    compacting_ = false;
    room_changed_.notify_all();
  }
  if (!moved) return moved;
  return checkpoint(readers.latest(), true, false);
}

bool StoreImpl::raise_ceiling(std::uint64_t want) {
  constexpr std::uint64_t kStep = (16U << 20U) / kPageSize;
  const MutexLock lock(writer_);
  if (!compacting_ || space_->ceiling() >= capacity_) return false;
  space_->set_ceiling(std::min(capacity_.load(), space_->ceiling() + std::max(want, kStep)));
  return true;
}

// --- both
// ----------------------------------------------------------------------------------------------------------

void StoreImpl::set_relocation(std::uint64_t capacity, std::uint64_t ceiling) {
  set_capacity(capacity);
  space_->set_ceiling(ceiling);
  room_changed_.notify_all();
}

void StoreImpl::relocate(std::uint64_t capacity, std::uint64_t ceiling) {
  const MutexLock lock(writer_);
  set_relocation(capacity, ceiling);
}

Status StoreImpl::move_and_cut(LongWork& work, std::uint64_t bound) {
  for (;;) {
    LRUFS_TRY(move_below(work));
    LRUFS_TRY_ASSIGN(const bool cut, cut_file(bound));
    if (cut) return {};
  }
}

Status StoreImpl::move_below(LongWork& work) {
  constexpr int kRounds = 32;  // each for what others have linked meanwhile
  for (int round = 0; round < kRounds; ++round) {
    bool above = false;
    {
      const MutexLock lock(writer_);
      above = space_->used_above() != 0;
    }
    if (above) {
      LRUFS_TRY(move_content(work));
      LRUFS_TRY(move_trees(work));
    }
    LRUFS_TRY(move_space_log());
    LRUFS_TRY(checkpoint(readers.latest(), true, false));
    LRUFS_TRY(await_busy_pages(work));
    const MutexLock lock(writer_);
    if (space_->used_above() == 0 && space_->busy_above() == 0) return {};
  }
  return fail(Code::kNoSpace, "more is written behind the new end of the store than can be moved");
}

// Readers of older states end, and writers link what they have filled.
Status StoreImpl::await_busy_pages(LongWork& work) {
  for (int waited = 0; waited < kWaitSteps;) {
    LRUFS_TRY(work.report(work.done));
    {
      const MutexLock lock(writer_);
      clear_dead_readers();
      limbo_->release();
      const std::uint64_t busy = space_->busy_above();
      if (busy == 0) return {};
      room_changed_.wait_until(writer_, std::chrono::steady_clock::now() + kWaitStep);
      limbo_->release();
      waited = space_->busy_above() < busy ? 0 : waited + 1;
    }
    if (waited * kWaitStep > kReaderPatience) LRUFS_TRY(await_readers(readers.latest()));
  }
  return fail(Code::kNoSpace, "what lies behind the new end of the store stays in use");
}

Result<bool> StoreImpl::cut_file(std::uint64_t bound) {
  // In steps, since the kernel lets nobody write to the file, or touch a new page of it, meanwhile.
  constexpr std::uint64_t kStep = (64U << 20U) / kPageSize;
  std::uint64_t pages = 0;
  std::uint64_t at = 0;
  {
    const MutexLock lock(writer_);
    limbo_->release();
    pages = space_->ceiling();
    if (space_->high_water() > pages) return false;
    at = space_->grown();
    if (at > pages) {
      set_end(pages);
      cutting_ = true;
    }
  }
  Status cut;
  while (cut && at > pages) {
    at = std::max(pages, at - std::min(at, kStep));
    cut = ops->truncate(fd, at * kPageSize);
  }
  const MutexLock checkpoint_lock(checkpoint_mutex_);
  const MutexLock lock(writer_);
  cutting_ = false;
  room_changed_.notify_all();
  LRUFS_TRY(cut);
  if (bound == 0) {
    const std::uint64_t high = space_->high_water();
    if (high < space_->grown()) {
      set_end(high);
      LRUFS_TRY(ops->truncate(fd, high * kPageSize));
    }
  } else {
    current_.bound_bytes = bound;
  }
  disk_full_ = false;
  disk_full_at_ = 0;
  publish_again();
  dirty_ = true;
  return true;
}

void StoreImpl::set_end(std::uint64_t pages) {
  space_->set_grown(pages);
  current_.grown_pages = pages;
  pager->set_limit(pages);
}

}  // namespace lrufs::store
