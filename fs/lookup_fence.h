// LookupFence: makes "look a name up, then count the lookup" safe against a writer that destroys the inode in
// between.
//
// The writer asks whether an inode is held, and destroys it if not. A reader that finds the inode in a
// snapshot from before, and counts its lookup after that question, would hand out an inode that is gone. Two
// counters tell:
//   condemned   raised by the writer before each such question, under the store's writer lock;
//   settled     a value of `condemned` up to which all transactions concerned have ended.
// The reader takes `settled`, then a snapshot, looks up, counts, and compares `condemned`: if it is the same,
// every question was either asked before the snapshot, by a transaction that the snapshot shows, or comes
// after the count and finds the inode held. Otherwise it waits for the running transaction, takes a new
// snapshot and looks again.
//
// (A single counter that rises before the question is not enough: the reader may read it between the question
// and the commit, and see no change after it.)
//
// Thread-safety: any thread; condemn() under the store's writer lock only.
#pragma once

#include <atomic>
#include <cstdint>

namespace lrufs::fs {

class LookupFence {
 public:
  // Before the node table is asked; returns the value to settle once the transaction has ended.
  std::uint64_t condemn() { return condemned_.fetch_add(1, std::memory_order_acq_rel) + 1; }
  // The transactions that condemned up to `value` have ended: each snapshot from now on shows what they did.
  void settle(std::uint64_t value) {
    std::uint64_t current = settled_.load(std::memory_order_relaxed);
    while (current < value && !settled_.compare_exchange_weak(current, value, std::memory_order_release,
                                                              std::memory_order_relaxed)) {
    }
  }

  // Before the snapshot.
  [[nodiscard]] std::uint64_t settled() const { return settled_.load(std::memory_order_acquire); }
  // After the count; the node table's lock orders it against condemn().
  [[nodiscard]] std::uint64_t condemned() const { return condemned_.load(std::memory_order_acquire); }

 private:
  std::atomic<std::uint64_t> condemned_{0};
  std::atomic<std::uint64_t> settled_{0};
};

}  // namespace lrufs::fs
