// Which object goes next, and how it goes. The order is exact: the recency tree and the inodes that were
// never used since their creation (their number is their place) are merged by sequence number. A use that is
// still in memory is later than the place where its object stands: it is met there, and moved, before it
// could go.
#include <algorithm>

#include "store/bytes.h"
#include "store/store_impl.h"

namespace lrufs::store {

bool StoreImpl::is_protected(Ino ino) {
  const MutexLock lock(protected_mutex_);
  return protected_.contains(raw(ino));
}

namespace {

// The next inode at or after the mark that is in the order by its number alone; moves the mark over the
// others.
Result<std::optional<Inode>> at_scan_mark(const PageSource& pages, const Roots& roots, std::uint64_t& mark,
                                          std::optional<Inode>& to_list) {
  // Most objects have few records: the next inode is a few steps away.
  constexpr int kSteps = 8;
  Cursor cursor(pages, roots.names);
  LRUFS_TRY(cursor.seek(Key::inode(Ino{mark})));
  for (;;) {
    for (int step = 0;
         cursor.valid() && cursor.key().size() >= kKeyPrefix && load_be64(cursor.key().data()) < mark;
         ++step) {
      LRUFS_TRY(step < kSteps ? cursor.next() : cursor.seek(Key::inode(Ino{mark})));
    }
    if (!cursor.valid()) return std::nullopt;
    const auto parts = split_key(cursor.key());
    if (!parts || parts->kind != Kind::kInode)
      return fail(Code::kCorrupt, "a key of the namespace tree is damaged");
    LRUFS_TRY_ASSIGN(const Inode inode, decode_inode(parts->owner, cursor.value()));
    const bool in_order = (inode.flags & (Inode::kListed | Inode::kOrphan)) == 0U && inode.ino != kRootIno &&
                          !(inode.is_directory() && inode.entries > 0);
    if (in_order && raw(inode.touched) <= raw(inode.ino)) return inode;
    mark = raw(inode.ino) + 1;
    if (in_order) {
      // A directory that was used while it had entries: its place is that use.
      to_list = inode;
      return std::nullopt;
    }
  }
}

}  // namespace

Result<std::optional<StoreImpl::Victim>> StoreImpl::next_victim(Transaction& txn, std::size_t budget,
                                                                bool& paused) {
  Transaction::State& s = state_of(txn);
  std::size_t moved_protected = 0;
  for (;;) {
    if (s.taken.size() > budget) {
      paused = true;
      return std::nullopt;
    }
    std::optional<Victim> victim;
    Cursor cursor(s.pages(), s.roots.recency);
    LRUFS_TRY(cursor.first());
    if (cursor.valid()) {
      const auto key = split_recency_key(cursor.key());
      if (!key) return fail(Code::kCorrupt, "a key of the recency tree is damaged");
      LRUFS_TRY_ASSIGN(const Inode inode, txn.view().inode(key->ino));
      victim = Victim{inode, key->seq};
    }
    std::optional<Inode> to_list;
    LRUFS_TRY_ASSIGN(const auto untouched, at_scan_mark(s.pages(), s.roots, s.counters.scan_mark, to_list));
    s.changed = true;  // the mark moved
    if (to_list) {
      LRUFS_TRY(s.list_at(*to_list, to_list->touched));
      LRUFS_TRY(txn.put_inode(*to_list));
      continue;
    }
    if (untouched && (!victim || raw(untouched->ino) < raw(victim->seq)))
      victim = Victim{*untouched, TouchSeq{raw(untouched->ino)}};

    if (!victim) return std::nullopt;
    if (const auto touch = touches.take(victim->inode.ino)) {
      LRUFS_TRY(s.apply_touch(*touch));
      continue;
    }
    if (victim->inode.is_directory() && victim->inode.entries > 0) {
      LRUFS_TRY(s.unlist(victim->inode));
      LRUFS_TRY(txn.put_inode(victim->inode));
      continue;
    }
    if (is_protected(victim->inode.ino)) {
      // In use by a writer right now: that is a use.
      if (++moved_protected > 1024) return std::nullopt;
      const bool alone = moved_protected > 1 && victim->seq >= TouchSeq{s.counters.next_seq};
      if (alone) return std::nullopt;
      LRUFS_TRY(s.list_at(victim->inode, TouchSeq{next_seq.fetch_add(1, std::memory_order_relaxed)}));
      LRUFS_TRY(txn.put_inode(victim->inode));
      continue;
    }
    return victim;
  }
}

Status StoreImpl::remove_victim(Transaction& txn, Inode inode, std::vector<Evicted>& told,
                                std::vector<std::uint64_t>& pages) {
  LRUFS_TRY_ASSIGN(const std::vector<Link> links, txn.view().links(inode));
  const Timestamp time = now();
  const std::size_t first_told = told.size();
  for (const Link& link : links) {
    LRUFS_TRY_ASSIGN(Inode dir, txn.view().inode(link.parent));
    LRUFS_TRY_ASSIGN(const DirEntry entry, txn.view().entry_at(link.parent, link.cookie));
    const std::string name(entry.name);
    LRUFS_TRY(txn.unlink(dir, name, inode));
    dir.mtime = dir.ctime = time;
    LRUFS_TRY(txn.put_inode(dir));
    told.push_back({inode.ino, link.parent, name, false});
  }
  const bool held = options.is_held && options.is_held(inode.ino);
  if (held) {
    inode.nlink = 0;
    inode.ctime = time;
    LRUFS_TRY(txn.orphan(inode));
    LRUFS_TRY(txn.put_inode(inode));
  } else {
    LRUFS_TRY(txn.destroy(inode));
  }
  for (std::size_t i = first_told; i < told.size(); ++i) told[i].kept_as_orphan = held;
  pages.resize(told.size(), 0);
  if (told.size() > first_told) pages[first_told] = inode.pages + 1;
  return {};
}

Result<std::optional<std::uint64_t>> StoreImpl::evict_some(std::uint64_t wanted, std::size_t max_objects,
                                                           bool ahead) {
  if (keeps_all_) return std::nullopt;
  // Eviction lives on the reserve: its transactions are kept small, or they would need more than they free.
  const std::size_t budget = reserve_ / 4;
  bool in_place = true;
  for (int attempt = 0;; ++attempt) {
    bool paused = false;
    std::vector<Evicted> told;
    std::vector<std::uint64_t> pages;
    std::size_t objects = 0;
    std::uint64_t total = 0;
    LRUFS_TRY_ASSIGN(auto state, begin(Store::Purpose::kDelete, in_place));
    Transaction txn(make_transaction(std::move(state)));
    const auto run = [&]() -> Status {
      while (objects < max_objects && total < wanted && !paused) {
        LRUFS_TRY_ASSIGN(const auto victim, next_victim(txn, budget, paused));
        if (!victim || (ahead && raw(victim->inode.ino) == last_written_.load())) break;
        const std::size_t before = pages.size();
        LRUFS_TRY(remove_victim(txn, victim->inode, told, pages));
        for (std::size_t i = before; i < pages.size(); ++i) total += pages[i];
        ++objects;
      }
      writer_.assert_held();
      for (std::size_t i = 0; i < told.size(); ++i) {
        if (!told[i].kept_as_orphan || pages[i] == 0) continue;
        orphan_pages_[raw(told[i].ino)] = pages[i];
        orphan_pages_total_ += pages[i];
      }
      return txn.commit();
    };
    if (const Status done = run(); !done) {
      txn.abort();
      forget_orphan_pages(told);
      if (done.error().code == Code::kConflict) {
        in_place = false;
        --attempt;
        continue;
      }
      if (done.error().code != Code::kNoSpace || attempt == 3) return fail(done.error());
      // Even the reserve is used up: what was deleted since the last checkpoint comes back with the next one.
      LRUFS_TRY(checkpoint(readers.latest(), true, false));
      continue;
    }
    if (objects == 0 && paused) {
      attempt = -1;  // the order is nearer to what it should be
      continue;
    }
    if (objects == 0) return std::nullopt;
    evicted_objects_.fetch_add(objects, std::memory_order_relaxed);
    evicted_bytes_.fetch_add(total * kPageSize, std::memory_order_relaxed);
    tell_evicted(told);
    return total;
  }
}

void StoreImpl::evict_a_share() {
  constexpr std::size_t kBatch = 32;
  const std::uint64_t due = share_due_.load(std::memory_order_relaxed);
  if (due == 0 || !options.background) {
    pages_owed_.store(0, std::memory_order_relaxed);
    return;
  }
  // Small objects share pages, so they are counted as well: two for one that came, up to eight if much is
  // missing. In batches, which share the pages they change.
  const std::size_t share = 2 + 6 * due / least_start();
  const std::size_t objects = objects_owed_.fetch_add(share, std::memory_order_relaxed) + share;
  const std::uint64_t pages = pages_owed_.load(std::memory_order_relaxed);
  if (objects < kBatch && pages < kBatch) return;
  objects_owed_.store(0, std::memory_order_relaxed);
  pages_owed_.store(0, std::memory_order_relaxed);
  (void)evict_some(std::min(due, std::max<std::uint64_t>(pages, kBatch)), kBatch, true);
}

// The transaction that made these orphans did not happen.
void StoreImpl::forget_orphan_pages(const std::vector<Evicted>& told) {
  const MutexLock lock(writer_);
  for (const Evicted& each : told) {
    const auto found = orphan_pages_.find(raw(each.ino));
    if (found == orphan_pages_.end()) continue;
    orphan_pages_total_ -= found->second;
    orphan_pages_.erase(found);
  }
}

void StoreImpl::tell_evicted(const std::vector<Evicted>& told) {
  if (options.on_evict && !told.empty()) options.on_evict(told);
}

Status StoreImpl::flush_touches() {
  constexpr std::size_t kPerTransaction = 12;
  for (std::size_t shard = 0; shard < TouchBatch::kShards; ++shard) {
    // By inode, so that those which share a leaf are written together.
    const std::vector<TouchBatch::Touch> batch = touches.shard(shard);
    for (std::size_t from = 0; from < batch.size(); from += kPerTransaction) {
      const std::size_t to = std::min(batch.size(), from + kPerTransaction);
      LRUFS_TRY(update(
          [&](Transaction& txn) -> Status {
            for (std::size_t i = from; i < to; ++i) {
              if (const auto taken = touches.take(batch[i].ino)) LRUFS_TRY(state_of(txn).apply_touch(*taken));
            }
            return {};
          },
          Store::Purpose::kDelete));
      touch_flushes_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  return {};
}

Status StoreImpl::reclaim_orphans() {
  constexpr std::size_t kBatch = 128;
  for (Ino after = kNoIno;;) {
    LRUFS_TRY_ASSIGN(const std::vector<Ino> some,
                     snapshot(Snapshot::Kind::kTransient).view().orphans(after, kBatch));
    if (some.empty()) return {};
    LRUFS_TRY(reclaim(some));
    after = some.back();
  }
}

Status StoreImpl::reclaim(const std::vector<Ino>& inodes) {
  constexpr std::size_t kPerTransaction = 32;
  for (std::size_t from = 0; from < inodes.size(); from += kPerTransaction) {
    const std::size_t to = std::min(inodes.size(), from + kPerTransaction);
    LRUFS_TRY(update(
        [&](Transaction& txn) -> Status {
          for (std::size_t i = from; i < to; ++i) {
            const auto inode = txn.view().inode(inodes[i]);
            if (!inode) {
              if (inode.error().code == Code::kNotFound) continue;
              return fail(inode.error());
            }
            if ((inode->flags & Inode::kOrphan) == 0U || (options.is_held && options.is_held(inode->ino)))
              continue;
            LRUFS_TRY(txn.destroy(*inode));
          }
          return {};
        },
        Store::Purpose::kDelete));
  }
  return {};
}

}  // namespace lrufs::store
