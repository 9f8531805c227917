// ReaderTable: which states are being read, so that the writer knows which pages nobody can see any more; and
// the latest published roots, for readers to start from. Taking and releasing a slot costs two atomic
// operations and no lock.
//
// Protocol (as hazard pointers, M. Michael, IEEE TPDS 15(6), 2004): a reader announces the latest transaction
// in its slot and looks whether that still is the latest; if not it announces again. The writer publishes,
// then looks at the slots: it sees every reader of an older state, because all four steps are sequentially
// consistent. In the same way exclude() announces that the writer wants to be alone, and then looks at the
// slots: a reader that it does not see will see it, and waits.
//
// Readers of other processes have a table of their own (shared_readers.h), which the writer's functions look
// at as well, once it is attached.
//
// Thread-safety: acquire() and release() from any thread; publish(), exclude(), admit(), oldest() and
// oldest_after() from the holder of the writer's lock.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "store/btree.h"
#include "store/shared_readers.h"
#include "store/types.h"

namespace lrufs::store {

class ReaderTable {
 public:
  static constexpr std::size_t kSlots = 128;

  struct Lease {
    std::size_t slot = 0;
    TxnId txn{0};
    Roots roots;
  };
  // Waits (yielding) only while all slots are taken, or while the writer is alone: for as long as it takes to
  // copy some pages. `frozen`: the reader needs content to stay as it is, too.
  Lease acquire(bool frozen);
  void release(const Lease& lease, bool frozen);

  void publish(TxnId txn, const Roots& roots);
  // True: nobody reads, and nobody will begin to before admit(). False: a reader is at work, and has not
  // ended within some ten microseconds. One that looks something up takes one or two; so the wait is for
  // those that lost their core, and it is bounded for those that stay.
  [[nodiscard]] bool exclude();
  void admit() {
    if (shared_ != nullptr) shared_->admit();
    excluded_.store(false, std::memory_order_seq_cst);
  }
  // Before others use it, or after they have.
  void attach(SharedReaders* shared) { shared_ = shared; }
  // False: a reader needs content to stay as it is. True: until end_overwriting(), which ends the
  // transaction, no reader will that sees a state before it.
  [[nodiscard]] bool begin_overwriting() {
    return !any_frozen() && (shared_ == nullptr || shared_->begin_overwriting());
  }
  void end_overwriting() {
    if (shared_ != nullptr) shared_->end_overwriting();
  }
  [[nodiscard]] bool any() const;
  // The oldest state that a reader may see; the latest one if there are none.
  [[nodiscard]] TxnId oldest() const { return oldest_after(TxnId{0}); }
  // The same among the readers of states newer than `txn`.
  [[nodiscard]] TxnId oldest_after(TxnId txn) const;
  [[nodiscard]] bool any_frozen() const { return frozen_.load(std::memory_order_seq_cst) != 0; }
  [[nodiscard]] std::size_t count() const;  // of this process
  [[nodiscard]] std::size_t count_shared() const { return shared_ == nullptr ? 0 : shared_->count(); }
  [[nodiscard]] TxnId latest() const { return TxnId{latest_.load(std::memory_order_seq_cst)}; }

 private:
  static constexpr std::uint64_t kFree = ~0ULL;
  static constexpr std::uint64_t kWaiting = kFree - 1;  // taken, by a reader that does not read yet
  static constexpr std::size_t kRing = 16;
  struct alignas(64) Slot {
    std::atomic<std::uint64_t> txn{kFree};
  };
  // Roots of the last few states; `txn` is written first (0) and last, so that a torn read is noticed.
  struct alignas(64) Published {
    std::atomic<std::uint64_t> txn{0};
    std::array<std::atomic<std::uint64_t>, 8> words{};
  };
  [[nodiscard]] bool read_roots(std::uint64_t txn, Roots& roots) const;

  SharedReaders* shared_ = nullptr;
  std::array<Slot, kSlots> slots_;
  std::array<Published, kRing> ring_;
  std::atomic<std::uint64_t> latest_{0};
  std::atomic<std::uint64_t> frozen_{0};
  std::atomic<bool> excluded_{false};
  std::atomic<std::size_t> high_{0};  // slots ever used: the writer looks at no more
};

}  // namespace lrufs::store
