// TouchBatch: uses that are not yet written to the recency tree. Each inode has at most one entry, its last
// use; a use overwrites the one before, so a file that is read a million times costs one entry of 32 bytes.
// Bounded: full() asks for a flush.
//
// Sharded by inode, so that threads seldom meet; in each shard a hash table of indices into a vector of
// entries, which are linked in the order of use. Nothing is allocated once a shard has its size.
//
// Thread-safety: each function locks the shard's own mutex, and nothing under it. Sequence numbers are drawn
// under that mutex, so that a shard's order is the order of use.
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
  static constexpr std::size_t kMax = 262'144;

  struct Touch {
    TouchSeq seq{0};
    Ino ino{0};
  };

  // `next_seq`: the store's counter of inode numbers and touches.
  explicit TouchBatch(std::atomic<std::uint64_t>& next_seq) : next_seq_(next_seq) {}

  void touch(Ino ino);
  [[nodiscard]] std::optional<TouchSeq> find(Ino ino) const;
  [[nodiscard]] std::optional<Touch> oldest() const;
  // The oldest `limit` touches, in order.
  [[nodiscard]] std::vector<Touch> oldest(std::size_t limit) const;
  // Takes the entry out, to be written; nullopt if there is none.
  std::optional<Touch> take(Ino ino);
  // Puts a taken entry back at its place (its transaction was aborted), unless there was a later use.
  void restore(const Touch& touch);
  void forget(Ino ino) { (void)take(ino); }  // the object is gone
  [[nodiscard]] std::size_t size() const { return size_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool full() const { return size() >= kMax; }

 private:
  static constexpr std::size_t kShards = 16;
  static constexpr std::uint32_t kNone = ~0U;
  struct Entry {
    Touch touch;
    std::uint32_t older = kNone;
    std::uint32_t newer = kNone;
    std::uint32_t chain = kNone;  // the next in the bucket, or among the unused
  };
  struct alignas(64) Shard {
    mutable Mutex mutex;
    std::vector<std::uint32_t> buckets GUARDED_BY(mutex);  // a power of two
    std::vector<Entry> entries GUARDED_BY(mutex);
    std::uint32_t oldest GUARDED_BY(mutex) = kNone;
    std::uint32_t newest GUARDED_BY(mutex) = kNone;
    std::uint32_t unused GUARDED_BY(mutex) = kNone;

    [[nodiscard]] std::uint32_t index_of(Ino ino) const REQUIRES(mutex);  // kNone: not there
    std::uint32_t add(Ino ino) REQUIRES(mutex);                           // not yet in the order
    void remove(std::uint32_t index) REQUIRES(mutex);                     // from the order, too
    void unlink(std::uint32_t index) REQUIRES(mutex);
    void link_before(std::uint32_t index, std::uint32_t newer) REQUIRES(mutex);  // kNone: as the newest

   private:
    std::uint32_t& bucket_of(Ino ino) REQUIRES(mutex) { return buckets[raw(ino) / kShards % buckets.size()]; }
  };
  Shard& shard_of(Ino ino) { return shards_[raw(ino) % kShards]; }
  [[nodiscard]] const Shard& shard_of(Ino ino) const { return shards_[raw(ino) % kShards]; }

  std::atomic<std::uint64_t>& next_seq_;
  std::atomic<std::size_t> size_{0};
  std::array<Shard, kShards> shards_;
};

}  // namespace lrufs::store
