// Which object goes next, and how it goes. The order is exact: the recency tree and the inodes that were
// never used since their creation (their number is their place) are merged by sequence number. A use that is
// still in memory is later than the place where its object stands: it is met there, and moved, before it
// could go. So is what a pin covers: it is parked, behind all that may go, and so met once; when a pin goes
// away, what is parked is looked at again before the next victim is chosen.
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

Result<bool> StoreImpl::look_at_parked(Transaction& txn, std::size_t budget) {
  constexpr int kAtOnce = 1024;  // looking at one takes a walk upward
  Transaction::State& s = state_of(txn);
  s.changed = true;  // the mark moves
  Cursor cursor(s.pages(), s.roots.recency);
  LRUFS_TRY(cursor.seek(Key::recency(TouchSeq{s.counters.unpark_from}, Ino{0})));
  for (int looked_at = 0; cursor.valid(); ++looked_at) {
    const auto key = split_recency_key(cursor.key());
    if (!key) return fail(Code::kCorrupt, "a key of the recency tree is damaged");
    if (looked_at == kAtOnce || s.taken.size() > budget) {
      s.counters.unpark_from = raw(key->seq);
      return false;
    }
    LRUFS_TRY_ASSIGN(Inode inode, txn.view().inode(key->ino));
    LRUFS_TRY_ASSIGN(const bool covered, s.is_covered(inode));
    if (covered) {
      LRUFS_TRY(cursor.next());
      continue;
    }
    LRUFS_TRY(s.unpark(inode));
    LRUFS_TRY(txn.put_inode(inode));
    LRUFS_TRY(cursor.seek(Key::recency(key->seq, key->ino)));
  }
  s.counters.unpark_from = 0;
  return true;
}

Result<std::optional<StoreImpl::Victim>> StoreImpl::next_victim(Transaction& txn, std::size_t budget,
                                                                bool& paused) {
  Transaction::State& s = state_of(txn);
  std::size_t moved_protected = 0;
  if (s.counters.unpark_from != 0) {
    LRUFS_TRY_ASSIGN(const bool all, look_at_parked(txn, budget));
    if (!all) {
      paused = true;
      return std::nullopt;
    }
  }
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
      if (raw(key->seq) < kParkedPlaces) {
        LRUFS_TRY_ASSIGN(const Inode inode, txn.view().inode(key->ino));
        victim = Victim{inode, key->seq};
      }
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
    LRUFS_TRY_ASSIGN(const bool covered, s.is_covered(victim->inode));
    if (covered) {
      LRUFS_TRY(s.list_at(victim->inode, victim->seq, true));
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
                                                           EvictionReason reason, bool ahead) {
  if (keeps_all_) return std::nullopt;
  // Eviction lives on the reserve: its transactions are kept small, or they would need more than they free.
  const std::size_t budget = reserve_ / 4;
  const auto least_recent = [&](Transaction& txn, std::size_t, bool& paused) -> Result<std::optional<Inode>> {
    LRUFS_TRY_ASSIGN(const auto victim, next_victim(txn, budget, paused));
    if (!victim || (ahead && raw(victim->inode.ino) == last_written_.load())) return std::nullopt;
    return victim->inode;
  };
  LRUFS_TRY_ASSIGN(const auto done, evict_chosen(least_recent, wanted, max_objects, reason));
  if (!done) return std::nullopt;
  return done->bytes / kPageSize;
}

Result<std::optional<Evictions>> StoreImpl::evict_chosen(const Choose& choose, std::uint64_t wanted,
                                                         std::size_t max_objects, EvictionReason reason) {
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
        LRUFS_TRY_ASSIGN(const auto victim, choose(txn, objects, paused));
        if (!victim) break;
        const std::size_t before = pages.size();
        LRUFS_TRY(remove_victim(txn, *victim, told, pages));
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
    EvictionCounts& counts = evictions_.at(static_cast<std::size_t>(reason));
    counts.objects.fetch_add(objects, std::memory_order_relaxed);
    counts.bytes.fetch_add(total * kPageSize, std::memory_order_relaxed);
    tell_evicted(told);
    return Evictions{objects, total * kPageSize};
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
  (void)evict_some(std::min(due, std::max<std::uint64_t>(pages, kBatch)), kBatch, EvictionReason::kCapacity,
                   true);
}

namespace {

// Merges the sources of an order, and collects what stands in it.
class Standings {
 public:
  Standings(const ReadView& view, std::size_t limit) : view_(view), limit_(limit) {}
  [[nodiscard]] bool full() const { return found_.size() >= limit_; }
  // One that went meanwhile, or has no name any more, is left out.
  Status add(const Inode& inode) {
    auto path = view_.path_of(inode.ino);
    if (path)
      found_.push_back({inode, *std::move(path)});
    else if (path.error().code != Code::kNotFound)
      return fail(std::move(path).error());
    return {};
  }
  std::vector<Store::Standing> take() { return std::move(found_); }

 private:
  const ReadView& view_;
  const std::size_t limit_;
  std::vector<Store::Standing> found_;
};

bool may_go(const Inode& inode) {
  return inode.ino != kRootIno && (inode.flags & Inode::kOrphan) == 0U &&
         !(inode.is_directory() && inode.entries > 0);
}

// As Transaction::State::is_covered(), for one who only looks, and by the first name only.
Result<bool> is_covered(const ReadView& view, const Inode& inode, bool pinned_directories) {
  constexpr int kMaxDepth = 4096;
  if ((inode.flags & Inode::kPinned) != 0U) return true;
  Ino dir = pinned_directories ? inode.parent : kNoIno;
  for (int depth = 0; dir != kNoIno && depth < kMaxDepth; ++depth) {
    LRUFS_TRY_ASSIGN(const Inode above, view.inode(dir));
    if ((above.flags & Inode::kPinned) != 0U) return true;
    dir = above.parent;
  }
  return false;
}

}  // namespace

Result<std::vector<Store::Standing>> StoreImpl::next_to_go(std::size_t limit) {
  constexpr int kMaxSteps = 20'000;  // a snapshot is to be short
  std::uint64_t mark = 0;
  bool pinned_directories = false;
  {
    const MutexLock lock(writer_);
    mark = current_.counters.scan_mark;
    pinned_directories = current_.counters.pinned_directories != 0;
  }
  const Snapshot::State state(*this, Snapshot::Kind::kTransient);
  const ReadView& view = state.view;
  Standings found(view, limit);
  std::map<std::uint64_t, Inode> later;  // used since: by that use
  Cursor listed(view.pages(), view.roots().recency);
  LRUFS_TRY(listed.first());
  bool more_inodes = true;
  for (int step = 0; step < kMaxSteps && !found.full(); ++step) {
    std::optional<Inode> untouched;
    if (more_inodes) {
      std::optional<Inode> by_use;
      LRUFS_TRY_ASSIGN(untouched, at_scan_mark(view.pages(), view.roots(), mark, by_use));
      if (by_use) {
        later.emplace(raw(by_use->touched), *by_use);
        continue;
      }
      more_inodes = untouched.has_value();
    }
    constexpr std::uint64_t kNever = ~0ULL;
    std::uint64_t listed_at = kNever;
    Ino listed_ino = kNoIno;
    if (listed.valid()) {
      const auto key = split_recency_key(listed.key());
      if (!key) return fail(Code::kCorrupt, "a key of the recency tree is damaged");
      // Behind it are those that were met and are pinned.
      if (raw(key->seq) < kParkedPlaces) {
        listed_at = raw(key->seq);
        listed_ino = key->ino;
      }
    }
    const std::uint64_t made_at = untouched ? raw(untouched->ino) : kNever;
    const std::uint64_t used_at = later.empty() ? kNever : later.begin()->first;
    if (used_at < std::min(listed_at, made_at)) {
      LRUFS_TRY(found.add(later.begin()->second));
      later.erase(later.begin());
      continue;
    }
    if (std::min(listed_at, made_at) == kNever) break;
    Inode next;
    if (listed_at < made_at) {
      LRUFS_TRY(listed.next());
      const auto inode = view.inode(listed_ino);
      if (!inode && inode.error().code == Code::kNotFound) continue;
      LRUFS_TRY_ASSIGN(next, inode);
    } else {
      next = *untouched;
      mark = raw(next.ino) + 1;
    }
    if (!may_go(next) || is_protected(next.ino)) continue;
    LRUFS_TRY_ASSIGN(const bool covered, is_covered(view, next, pinned_directories));
    if (covered) continue;
    if (const auto use = touches.find(next.ino))
      later.emplace(raw(*use), next);
    else
      LRUFS_TRY(found.add(next));
  }
  return found.take();
}

Result<std::vector<Store::Standing>> StoreImpl::last_used(std::size_t limit) {
  constexpr int kMaxSteps = 20'000;
  std::vector<TouchBatch::Touch> uses;
  const auto later_first = [](const TouchBatch::Touch& a, const TouchBatch::Touch& b) {
    return a.seq > b.seq;
  };
  for (std::size_t shard = 0; shard < TouchBatch::kShards; ++shard) {
    const std::vector<TouchBatch::Touch> some = touches.shard(shard);
    uses.insert(uses.end(), some.begin(), some.end());
    // Some may be of objects that are listed nowhere (directories with entries, orphans).
    const auto keep = static_cast<std::ptrdiff_t>(std::min(uses.size(), 4 * limit + 64));
    std::partial_sort(uses.begin(), uses.begin() + keep, uses.end(), later_first);
    uses.resize(static_cast<std::size_t>(keep));
  }
  const Snapshot::State state(*this, Snapshot::Kind::kTransient);
  const ReadView& view = state.view;
  Standings found(view, limit);
  auto use = uses.begin();
  Cursor listed(view.pages(), view.roots().recency);
  LRUFS_TRY(listed.seek(Key::recency(TouchSeq{kParkedPlaces}, Ino{0})));
  if (listed.valid()) {
    LRUFS_TRY(listed.prev());
  } else {
    LRUFS_TRY(listed.last());
  }
  Cursor made(view.pages(), view.roots().names);
  LRUFS_TRY(made.last());
  for (int step = 0; step < kMaxSteps && !found.full(); ++step) {
    const std::uint64_t used_at = use == uses.end() ? 0 : raw(use->seq);
    std::optional<RecencyKey> key;
    if (listed.valid()) {
      key = split_recency_key(listed.key());
      if (!key) return fail(Code::kCorrupt, "a key of the recency tree is damaged");
    }
    const std::uint64_t listed_at = key ? raw(key->seq) : 0;
    const std::uint64_t made_at =
        made.valid() && made.key().size() >= kKeyPrefix ? load_be64(made.key().data()) : 0;
    const std::uint64_t last = std::max({used_at, listed_at, made_at});
    if (last <= raw(kRootIno)) break;
    Ino ino{last};
    if (last == used_at) {
      ino = use->ino;
      ++use;
    } else if (last == listed_at) {
      ino = key->ino;
      LRUFS_TRY(listed.prev());
    } else {
      LRUFS_TRY(made.seek(Key::inode(ino)));
      if (made.valid())
        LRUFS_TRY(made.prev());
      else
        LRUFS_TRY(made.last());
    }
    const auto inode = view.inode(ino);
    if (!inode && inode.error().code == Code::kNotFound) continue;
    LRUFS_TRY_ASSIGN(const Inode next, inode);
    if (!may_go(next)) continue;
    // By its last use only.
    if (last != used_at && touches.find(ino)) continue;
    if (last == made_at && last != used_at && last != listed_at &&
        ((next.flags & Inode::kListed) != 0U || raw(next.touched) > raw(ino)))
      continue;
    LRUFS_TRY(found.add(next));
  }
  return found.take();
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
      writer_.give_way();
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
    writer_.give_way();
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
