// Receipts: what a process that serves requests leaves behind for the one that takes over from it when it
// dies (docs/takeover.md): which requests it was serving, and which of these had changed the volume already.
//
// They lie in memory that outlives the process, one slot for each thread that serves, and cost a few stores
// to one cache line. A thread serves one request at a time, so that a slot is overwritten once its request
// was answered. "Executed" is decided by the store: the receipt is written under the writer's lock, just
// before the publish, with the number of its transaction; an abort takes it back under the same lock; and
// whoever opens the store next knows the number of the last publish (Options::on_found), and keeps the
// receipts up to it. (SIGKILL does not reorder the stores of a thread: what it has stored before, in program
// order, is there.)
//
// Thread-safety: a slot belongs to the thread that claimed it; ReceiptTable: any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "store/thread_annotations.h"
#include "store/transaction.h"
#include "store/types.h"

namespace lrufs::fs {

struct alignas(64) Receipt {
  enum State : std::uint32_t {
    kNone,
    kAnnounced,  // `txn` is about to be published, or was
    kKept,       // it was: the next process has seen it, and nobody overwrites the slot until it has answered
  };
  std::atomic<std::uint64_t> serving;  // the request; 0: none
  std::atomic<std::uint32_t> kind;     // of that request
  std::atomic<std::uint32_t> state;
  std::atomic<std::uint64_t> request;  // that made the change
  std::atomic<std::uint64_t> txn;
  std::atomic<std::uint64_t> counted;  // the inode of which a lookup was counted, or 0
  std::atomic<std::uint64_t> result;   // what else the answer needs
};
static_assert(sizeof(Receipt) == 64);

// A request that was executed by an earlier process, and is to be answered only.
struct Executed {
  store::Ino counted = store::kNoIno;
  std::uint64_t result = 0;
};

class ReceiptTable {
 public:
  // All zeros at the very beginning. Must outlive the table.
  explicit ReceiptTable(std::span<Receipt> slots) : slots_(slots), claimed_(slots.size(), false) {}

  // A slot for a thread; null: none is left.
  Receipt* claim() EXCLUDES(mutex_);
  void release(Receipt* slot) EXCLUDES(mutex_);

  // The store was opened in the state that transaction `found` has made: keeps what was executed, and drops
  // the rest. Before anything else is published.
  void settle(store::TxnId found);
  struct Kept {
    std::uint64_t request = 0;
    Executed executed;
  };
  [[nodiscard]] std::vector<Kept> kept() const;
  void drop_kept();  // all that was sent again has its answer

  [[nodiscard]] std::span<Receipt> slots() const { return slots_; }

 private:
  const std::span<Receipt> slots_;
  store::Mutex mutex_;
  std::vector<bool> claimed_ GUARDED_BY(mutex_);
};

// The request that the calling thread serves, for as long as the object lives. Without a slot it does
// nothing.
class ServedRequest {
 public:
  ServedRequest(Receipt* slot, std::uint64_t id, std::uint32_t kind, const Executed* executed = nullptr);
  ~ServedRequest();
  ServedRequest(const ServedRequest&) = delete;
  ServedRequest& operator=(const ServedRequest&) = delete;

  // Of the calling thread; null: it serves none, or has no slot.
  static ServedRequest* current();
  // Null: the request is to be executed.
  static const Executed* executed();

  [[nodiscard]] std::uint32_t kind() const { return kind_; }
  // The transaction, about to be committed, is this request's change.
  void announce(store::Transaction& txn, store::Ino counted);
  // What else the answer will need, if the change that follows is the last that comes about.
  void set_result(std::uint64_t result) { result_ = result; }

 private:
  Receipt* slot_;
  std::uint64_t id_;
  std::uint32_t kind_;
  const Executed* executed_;
  std::uint64_t result_ = 0;
};

}  // namespace lrufs::fs
