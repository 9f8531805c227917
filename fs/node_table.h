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
// Thread-safety: sharded by inode number; each function locks one shard at a time, and nothing else under it.
// Lock order: after the store's writer lock.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

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
  // Marks a held inode, so that remove() tells when it may be reclaimed; false if it is not held.
  bool mark_orphan(store::Ino ino);
  // Forgets all; returns the inodes that were marked.
  std::vector<store::Ino> clear();
  [[nodiscard]] std::uint64_t size() const;  // inodes held
  [[nodiscard]] std::uint64_t memory_bytes() const;

 private:
  class Shard;
  [[nodiscard]] Shard& shard(std::uint64_t hash) const;
  std::vector<std::unique_ptr<Shard>> shards_;
};

}  // namespace lrufs::fs
