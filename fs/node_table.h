// NodeTable: how many lookups of each inode the kernel still owes a FORGET for. The only state of the daemon
// that is not in the store, rebuilt by probing the kernel after a takeover.
//
// Memory: open addressing, 12 bytes a slot at 60 to 80 % load, so 15 to 20 bytes an inode; tables come from
// mmap(2) and go back to the system as the kernel forgets. A kernel that holds millions of inodes does not
// cost gigabytes.
//
// The orphan mark says: when the last lookup is gone, ask the store whether this inode is an orphan to be
// destroyed. The store's own record decides, so a mark that was set for a transaction that then failed, or
// that stays on an orphan that got a name again, costs one look there and is otherwise harmless. A missing
// mark would leak; hence marks are never taken back.
//
// Inherited: when a process takes over from one that died, nobody knows which inodes the kernel holds. Then
// all that exist (below a number) count as held until the kernel was asked about one (release()), which is
// done for orphans only.
//
// Thread-safety: sharded by inode number; each function locks one shard at a time, and nothing else under it.
// Lock order: after the store's writer lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_set>
#include <vector>

#include "store/thread_annotations.h"
#include "store/types.h"

namespace lrufs::fs {

class NodeTable {
 public:
  NodeTable();
  ~NodeTable();
  NodeTable(const NodeTable&) = delete;
  NodeTable& operator=(const NodeTable&) = delete;

  void add(store::Ino ino, std::uint64_t count = 1);
  // Takes `count` lookups away (all, if there are fewer); true if none are left now and the inode was marked
  // as an orphan: reclaim it. False for an inode that is not held.
  bool remove(store::Ino ino, std::uint64_t count);
  [[nodiscard]] bool held(store::Ino ino) const;
  [[nodiscard]] std::uint64_t lookups(store::Ino ino) const;  // 0 if not held
  // Marks a held inode, so that remove() tells when it may be reclaimed; false if it is not held. An
  // inherited one is marked without a count.
  bool mark_orphan(store::Ino ino);
  // From now on all inodes below may be held without a count.
  void inherit(std::uint64_t below);
  [[nodiscard]] bool inherited(store::Ino ino) const {
    return raw(ino) < inherited_below_.load(std::memory_order_relaxed);
  }
  // The kernel does not hold this inherited inode, or not any more; until settle(), when it was destroyed.
  void release(store::Ino ino) EXCLUDES(released_mutex_);
  void settle(store::Ino ino) EXCLUDES(released_mutex_);
  // Forgets all; returns the inodes that were marked.
  std::vector<store::Ino> clear();
  [[nodiscard]] std::uint64_t size() const;  // inodes held
  [[nodiscard]] std::uint64_t memory_bytes() const;

 private:
  class Shard;
  [[nodiscard]] Shard& shard(std::uint64_t hash) const;
  [[nodiscard]] bool may_be_held(store::Ino ino) const EXCLUDES(released_mutex_);
  std::vector<std::unique_ptr<Shard>> shards_;
  std::atomic<std::uint64_t> inherited_below_{0};
  mutable store::Mutex released_mutex_;
  std::unordered_set<std::uint64_t> released_ GUARDED_BY(released_mutex_);
};

}  // namespace lrufs::fs
