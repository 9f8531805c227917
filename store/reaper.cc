// What has expired goes: in the background, in the order of the expiry tree, which is that of the ends (a
// file's place there is at or before its end, see txn_keep.cc). The thread sleeps until the first place comes
// up; a commit that puts one before it wakes the thread. Readers do not wait for it: they compare the end
// with the clock.
#include <algorithm>

#include "store/bytes.h"
#include "store/store_impl.h"

namespace lrufs::store {

namespace {

constexpr std::uint64_t kNanosInMilli = 1'000'000;
constexpr std::uint64_t kNanosInSecond = 1'000'000'000;
constexpr std::size_t kPerTransaction = 64;
// After an error, such as a disk that does not answer.
constexpr std::chrono::seconds kPause{1};

std::uint64_t ttl_of(const Inode& inode) { return std::min(inode.ttl, kMaxTtl) * kNanosInMilli; }

std::chrono::system_clock::time_point time_point(std::uint64_t nanos) {
  // Far beyond any end, and what the system's clock still can express.
  constexpr std::uint64_t kLast = 1ULL << 62U;
  return std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(
          std::chrono::nanoseconds(std::min(nanos, kLast))));
}

}  // namespace

std::uint64_t StoreImpl::wall_clock() const {
  if (options.wall_clock) return options.wall_clock();
  const Timestamp time = now();
  return time.sec < 0 ? 0 : static_cast<std::uint64_t>(time.sec) * kNanosInSecond + time.nsec;
}

std::uint64_t StoreImpl::expires_at(const Inode& inode) const {
  if (!inode.expires_ever()) return 0;
  const std::uint64_t used = options.ttl_from_use ? uses_.find(inode.ino) : 0;
  return used == 0 ? inode.expires : std::max(inode.expires, used + ttl_of(inode));
}

bool StoreImpl::is_expired(const Inode& inode) const {
  return inode.expires_ever() && inode.expires <= wall_clock() && expires_at(inode) <= wall_clock();
}

void StoreImpl::note_use(const Inode& inode) {
  const std::uint64_t time = wall_clock();
  const std::uint64_t end = time + ttl_of(inode);
  if (expires_at(inode) <= time || end <= inode.expires) return;
  const bool write = end - inode.expires >= std::max(ttl_of(inode) / 4, kNanosInSecond);
  if (uses_.note(inode.ino, time, write)) wake_reaper(0);
}

Status StoreImpl::reap_in_txn(const ReapBody& body, Reaped& reaped) {
  bool in_place = true;
  for (int attempt = 0;;) {
    reaped = {};
    writer_.give_way();
    LRUFS_TRY_ASSIGN(auto state, begin(Store::Purpose::kDelete, in_place));
    Transaction txn(make_transaction(std::move(state)));
    const auto run = [&]() -> Status {
      LRUFS_TRY(body(txn, reaped));
      writer_.assert_held();
      for (std::size_t i = 0; i < reaped.told.size(); ++i) {
        if (!reaped.told[i].kept_as_orphan || reaped.pages[i] == 0) continue;
        orphan_pages_[raw(reaped.told[i].ino)] = reaped.pages[i];
        orphan_pages_total_ += reaped.pages[i];
      }
      return txn.commit();
    };
    const Status done = run();
    if (done) break;
    txn.abort();
    forget_orphan_pages(reaped.told);
    if (done.error().code == Code::kConflict) {
      in_place = false;
      continue;
    }
    if (done.error().code != Code::kNoSpace || ++attempt == 4) return done;
    // Even the reserve is used up: what was deleted since the last checkpoint comes back with the next one.
    LRUFS_TRY(checkpoint(readers.latest(), true, false));
  }
  std::uint64_t pages = 0;
  for (const std::uint64_t each : reaped.pages) pages += each;
  EvictionCounts& counts = evictions_.at(static_cast<std::size_t>(EvictionReason::kExpiry));
  counts.objects.fetch_add(reaped.objects, std::memory_order_relaxed);
  counts.bytes.fetch_add(pages * kPageSize, std::memory_order_relaxed);
  for (const WrittenUse& use : reaped.uses) uses_.written(use.ino, use.time);
  tell_evicted(reaped.told);
  return {};
}

Status StoreImpl::reap_one(Transaction& txn, const Inode& inode, Reaped& reaped) {
  LRUFS_TRY(remove_victim(txn, inode, reaped.told, reaped.pages));
  ++reaped.objects;
  reaped.uses.push_back({inode.ino, ~0ULL});
  return {};
}

Status StoreImpl::reap(const std::vector<Ino>& inodes) {
  for (std::size_t from = 0; from < inodes.size(); from += kPerTransaction) {
    const std::size_t to = std::min(inodes.size(), from + kPerTransaction);
    Reaped reaped;
    LRUFS_TRY(reap_in_txn(
        [&](Transaction& txn, Reaped& gone) -> Status {
          for (std::size_t i = from; i < to; ++i) {
            const auto inode = txn.view().inode(inodes[i]);
            if (!inode && inode.error().code == Code::kNotFound) continue;
            if (!inode) return fail(inode.error());
            if (is_expired(*inode)) LRUFS_TRY(reap_one(txn, *inode, gone));
          }
          return {};
        },
        reaped));
  }
  return {};
}

Result<bool> StoreImpl::reap_some(std::size_t max_objects, std::size_t& objects) {
  // Deletion lives on the reserve: its transactions are kept small, or they would need more than they free.
  const std::size_t budget = reserve_ / 4;
  bool more = false;
  Reaped reaped;
  LRUFS_TRY(reap_in_txn(
      [&](Transaction& txn, Reaped& gone) -> Status {
        Transaction::State& s = state_of(txn);
        more = false;
        for (std::size_t met = 0;; ++met) {
          Cursor cursor(s.pages(), s.roots.expiry);
          LRUFS_TRY(cursor.first());
          if (!cursor.valid()) return {};
          const auto key = split_recency_key(cursor.key());
          if (!key) return fail(Code::kCorrupt, "a key of the expiry tree is damaged");
          const std::uint64_t time = wall_clock();
          if (raw(key->seq) > time) return {};
          more = met == max_objects || s.taken.size() > budget;
          if (more) return {};
          LRUFS_TRY_ASSIGN(Inode inode, txn.view().inode(key->ino));
          if (inode.due != raw(key->seq))
            return fail(Code::kCorrupt, "the expiry tree names inode " + std::to_string(raw(inode.ino)) +
                                            " at a place that is not its own");
          const std::uint64_t end = expires_at(inode);
          if (end <= time) {
            LRUFS_TRY(reap_one(txn, inode, gone));
            continue;
          }
          if (end > inode.expires) gone.uses.push_back({inode.ino, end - ttl_of(inode)});
          inode.expires = end;
          LRUFS_TRY(s.schedule_exactly(inode));
          LRUFS_TRY(txn.put_inode(inode));
        }
      },
      reaped));
  objects += reaped.objects;
  return more;
}

Status StoreImpl::write_uses(bool all) {
  constexpr std::size_t kUses = 12;  // as flush_touches()
  std::vector<Ino> inodes = uses_.take_queue(all);
  std::sort(inodes.begin(), inodes.end());  // those that share a leaf are written together
  for (std::size_t from = 0; from < inodes.size(); from += kUses) {
    const std::size_t to = std::min(inodes.size(), from + kUses);
    Reaped reaped;
    LRUFS_TRY(reap_in_txn(
        [&](Transaction& txn, Reaped& written) -> Status {
          for (std::size_t i = from; i < to; ++i) {
            const std::uint64_t used = uses_.find(inodes[i]);
            if (used == 0) continue;
            auto inode = txn.view().inode(inodes[i]);
            if (!inode && inode.error().code != Code::kNotFound) return fail(inode.error());
            written.uses.push_back({inodes[i], inode ? used : ~0ULL});
            if (!inode || !inode->expires_ever() || used + ttl_of(*inode) <= inode->expires) continue;
            LRUFS_TRY(state_of(txn).schedule(*inode, used + ttl_of(*inode)));
            LRUFS_TRY(txn.put_inode(*inode));
          }
          return {};
        },
        reaped));
  }
  return {};
}

Result<std::uint64_t> StoreImpl::first_due() {
  const Snapshot state = snapshot(Snapshot::Kind::kTransient);
  Cursor cursor(state.view().pages(), state.view().roots().expiry);
  LRUFS_TRY(cursor.first());
  if (!cursor.valid()) return ~0ULL;
  const auto key = split_recency_key(cursor.key());
  if (!key) return fail(Code::kCorrupt, "a key of the expiry tree is damaged");
  return raw(key->seq);
}

void StoreImpl::wake_reaper(std::uint64_t due) {
  if (!options.background) return;
  const MutexLock lock(reaper_mutex_);
  if (due >= reaper_due_.load()) return;
  reaper_due_ = due;
  reaper_wake_.notify_all();
}

void StoreImpl::reap_in_background() {
  const auto round = [this]() -> Status {
    LRUFS_TRY(write_uses(false));
    std::size_t objects = 0;
    LRUFS_TRY_ASSIGN(const bool more, reap_some(kPerTransaction, objects));
    if (more) {
      wake_reaper(0);
      return {};
    }
    LRUFS_TRY_ASSIGN(const std::uint64_t next, first_due());
    wake_reaper(next);
    return {};
  };
  reaper_due_ = 0;  // what the store brought along
  for (;;) {
    {
      const MutexLock lock(reaper_mutex_);
      // While nothing was put before it: that would wake it.
      while (!reaper_stops_ && wall_clock() < reaper_due_.load()) {
        if (reaper_due_.load() == ~0ULL)
          reaper_wake_.wait(reaper_mutex_);
        else
          reaper_wake_.wait_until(reaper_mutex_, time_point(reaper_due_.load()));
      }
      if (reaper_stops_) return;
      // From here on commits lower it, also those that this round does not see.
      reaper_due_ = ~0ULL;
    }
    if (round()) continue;
    if (failed_.load()) return;  // for good: nothing is written any more
    const auto again = std::chrono::steady_clock::now() + kPause;
    const MutexLock lock(reaper_mutex_);
    while (!reaper_stops_ && std::chrono::steady_clock::now() < again)
      reaper_wake_.wait_until(reaper_mutex_, again);
    reaper_due_ = 0;
  }
}

}  // namespace lrufs::store
