// TouchBatch: uses that are not yet written to the recency tree. Each inode has at most one entry, its last
// use; a use overwrites the one before, so a file that is read a million times costs one entry of 16 bytes.
// Bounded: full() asks for a flush.
//
// No order is kept: an object with an entry here stands in the recency tree at an older place, so that
// whoever looks for the least recently used object meets it there first, and moves it to where it belongs
// (evictor.cc).
//
// Sharded by inode, so that threads seldom meet; inodes that lie near each other are in one shard, and are
// written together. Each shard is a hash table with linear probing, whose erase closes the gap (Knuth, The
// Art of Computer Programming 3, 6.4, algorithm R).
//
// Thread-safety: each function locks the shard's own mutex, and nothing under it. Sequence numbers are drawn
// under that mutex, so that an inode's uses are in order.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "store/thread_annotations.h"
#include "store/types.h"

namespace lrufs::store {

class TouchBatch {
 public:
  static constexpr std::size_t kMax = 700'000;  // in tables of 16 MiB, below three quarters of their slots
  static constexpr std::size_t kShards = 16;

  struct Touch {
    TouchSeq seq{0};
    Ino ino = kNoIno;
  };

  // `next_seq`: the store's counter of inode numbers and touches.
  explicit TouchBatch(std::atomic<std::uint64_t>& next_seq, std::size_t most = kMax)
      : next_seq_(next_seq), most_(most) {}

  void touch(Ino ino);
  // It will be touched soon.
  void prefetch(Ino ino) const {
    const Shard& shard = shard_of(ino);
    const Touch* const table = shard.table.load(std::memory_order_relaxed);
    if (table != nullptr)
      __builtin_prefetch(table + (hash(ino) & shard.mask.load(std::memory_order_relaxed)), 1);
  }
  [[nodiscard]] std::optional<TouchSeq> find(Ino ino) const;
  // All of one shard, by inode.
  [[nodiscard]] std::vector<Touch> shard(std::size_t index) const;
  // Takes the entry out, to be written; nullopt if there is none.
  std::optional<Touch> take(Ino ino);
  // Puts a taken entry back (its transaction was aborted), unless there was a later use.
  void restore(const Touch& touch);
  void forget(Ino ino) { (void)take(ino); }  // the object is gone
  [[nodiscard]] std::size_t size() const { return size_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool full() const { return size() >= most_; }

 private:
  struct alignas(64) Shard {
    mutable Mutex mutex;
    std::vector<Touch> slots GUARDED_BY(mutex);  // a power of two; kNoIno: empty
    std::size_t count GUARDED_BY(mutex) = 0;
    // Of `slots`, for prefetch() only: the two need not fit each other.
    std::atomic<const Touch*> table{nullptr};
    std::atomic<std::size_t> mask{0};

    // Where the inode is, or would be; slots must not be empty.
    [[nodiscard]] std::size_t slot_of(Ino ino) const REQUIRES(mutex);
    [[nodiscard]] std::size_t home_of(Ino ino) const REQUIRES(mutex);
    // The inode's entry, made (with seq 0) if it is not there.
    Touch& entry(Ino ino) REQUIRES(mutex);
    void erase(std::size_t slot) REQUIRES(mutex);
    void grow() REQUIRES(mutex);
  };
  // Fibonacci hashing (Knuth, 6.4): the product's upper bits.
  static std::size_t hash(Ino ino) { return raw(ino) * 0x9E3779B97F4A7C15ULL >> 32U; }
  static constexpr std::uint64_t kBlock = 64;  // inodes in a row that share a shard
  Shard& shard_of(Ino ino) { return shards_[raw(ino) / kBlock % kShards]; }
  [[nodiscard]] const Shard& shard_of(Ino ino) const { return shards_[raw(ino) / kBlock % kShards]; }

  std::atomic<std::uint64_t>& next_seq_;
  const std::size_t most_;
  std::atomic<std::size_t> size_{0};
  std::array<Shard, kShards> shards_;
};

}  // namespace lrufs::store
