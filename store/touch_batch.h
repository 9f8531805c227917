// TouchBatch: uses that are not yet written to the recency tree. Each inode has at most one entry, its last
// use; a use overwrites the one before, so a file that is read a million times costs one entry. Bounded:
// full() asks for a flush.
//
// Thread-safety: all functions lock the batch's own mutex, and nothing under it. Sequence numbers are drawn
// by the caller under that mutex (through touch()'s counter), so that the batch's order is the order of use.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "store/thread_annotations.h"
#include "store/types.h"

namespace lrufs::store {

class TouchBatch {
 public:
  static constexpr std::size_t kMax = 65536;

  struct Touch {
    TouchSeq seq{0};
    Ino ino{0};
  };

  // `next_seq`: the store's counter of inode numbers and touches.
  explicit TouchBatch(std::atomic<std::uint64_t>& next_seq) : next_seq_(next_seq) {}

  void touch(Ino ino);
  [[nodiscard]] std::optional<TouchSeq> find(Ino ino) const;
  [[nodiscard]] std::optional<Touch> oldest();
  // The oldest `limit` touches, in order.
  [[nodiscard]] std::vector<Touch> oldest(std::size_t limit);
  // Takes the entry out, to be written; nullopt if there is none.
  std::optional<Touch> take(Ino ino);
  // Puts a taken entry back (its transaction was aborted), unless there was a later use. Several are put back
  // newest first.
  void restore(const Touch& touch);
  void forget(Ino ino);  // the object is gone
  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] bool full() const { return size() >= kMax; }

 private:
  void drop_stale_front() REQUIRES(mutex_);
  mutable Mutex mutex_;
  std::atomic<std::uint64_t>& next_seq_;
  std::unordered_map<std::uint64_t, std::uint64_t> last_ GUARDED_BY(mutex_);  // inode → sequence
  std::deque<Touch> order_ GUARDED_BY(mutex_);  // ascending; stale where last_ differs
};

}  // namespace lrufs::store
