// The readers of other processes: a table in page 4 of the store file, through which a process that only
// reads tells the one that writes which state it sees (docs/format.md). Options::shared uses it.
//
// SharedReaders is the writer's side, SharedReader the reader's: one slot, one state. Both follow the
// protocol of reader_table.h, with words of the shared page instead of the process's memory:
//
//   - A reader sets the bit of its slot in `claimed`, stores the latest transaction into the slot, then looks
//     whether `latest` still is that. The writer stores `latest`, then loads `claimed`, and the slots whose
//     bit is set. These are sequentially consistent, on words that are lock-free, and a word of the page
//     cache is one object for all who map it: so in the one order of all of them either the writer's store of
//     `latest` comes before the reader's second look, which then sees it and announces again; or the look,
//     and with it the bit and the slot, comes before the store, and the writer's loads see both. Hence no
//     reader of an older state is missed, and while no bit is set, one load is all that a transaction pays.
//   - In the same way `excluded` (pages are about to be edited in place) against the slot, and `overwriting`
//     (content is, in this transaction) against `frozen`: each side stores its own word, then loads the
//     other's.
//   - What a state consists of is written before `latest` and read after it: store and load synchronise.
//
// Who is alive is told by locks, which end with their process whatever kills it: byte `1 + slot` behind the
// file's range (FileOps::try_lock_byte) is held by the reader while it owns the slot, and byte 0 by the
// writer while the words in the page are its own. So:
//   - What a dead reader, or a copy of the file, leaves in a slot means nothing: the writer takes the slot's
//     lock if it can, and clears the slot (clear_dead()). Nobody claims it meanwhile, since claiming needs
//     the lock. It does so now and then while bits are set, and at open.
//   - What a dead writer leaves (`excluded`, `latest`) means nothing either. A reader announces its state,
//   and
//     then asks whether byte 0 is locked, and after that whether `session` is what it was before all this: if
//     so, that writer was alive after the announcement, and heeds it. A next writer that opens the store
//     later looks at the slots first. A reader that waits for a word asks for byte 0 meanwhile.
//   - A stopped reader holds its lock, and pins what it sees (limbo.h). It stops no publish: exclude() does
//   not
//     wait for readers of other processes. A stopped writer makes readers that come wait, up to a limit.
//
// Thread-safety: SharedReaders as ReaderTable; clear_dead() and the session's functions: the holder of the
// writer's lock, or open() and close(). SharedReader: one thread.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "store/file_ops.h"
#include "store/map_guard.h"
#include "store/types.h"

namespace lrufs::store {

inline constexpr std::uint64_t kReaderTablePage = 4;
inline constexpr std::uint64_t kBaseMetaPage = 5;  // the state at open: no live meta holds it
inline constexpr std::size_t kSharedSlots = 63;
// Held by who reads a store that nobody writes while it has the file's lock, which is not for long: a writer
// that comes waits for it rather than to find the store in use.
inline constexpr std::uint64_t kOpeningByte = 1 + kSharedSlots;

struct SharedSlot {
  static constexpr std::uint64_t kFree = 0;
  static constexpr std::uint64_t kWaiting = ~0ULL;  // taken, by a reader that does not read yet
  alignas(64) std::atomic<std::uint64_t> txn;
  std::atomic<std::uint64_t> frozen;  // 1: content must stay as it is, too
  std::atomic<std::uint64_t> pid;     // for messages
};
struct SharedPage {
  std::atomic<std::uint64_t> session;      // of the writer, random; 0: none
  std::atomic<std::uint64_t> latest;       // transaction
  std::atomic<std::uint64_t> claimed;      // a bit a slot
  std::atomic<std::uint64_t> excluded;     // 1: the writer is alone
  std::atomic<std::uint64_t> overwriting;  // 1: its transaction changes content in place
  std::array<std::uint64_t, 3> reserved;
  std::array<SharedSlot, kSharedSlots> slots;
};
static_assert(sizeof(SharedPage) == kPageSize && std::atomic<std::uint64_t>::is_always_lock_free);

class SharedReaders {
 public:
  // `page`: kReaderTablePage in the writer's map. All outlive this.
  SharedReaders(std::byte* page, FileOps& ops, int fd);

  // Between these two, readers may come. begin_session() forgets all that an earlier writer left, but for the
  // slots.
  Status begin_session(std::uint64_t session, TxnId latest);
  void end_session();
  // Clears the slots of dead readers; `told` gets the number that the process gave itself.
  void clear_dead(const std::function<void(std::uint64_t pid)>& told);

  [[nodiscard]] bool has_claims() const { return claims() != 0; }
  void publish(TxnId txn) { page_->latest.store(raw(txn), std::memory_order_seq_cst); }
  void exclude() { page_->excluded.store(1, std::memory_order_seq_cst); }
  // Whoever sees this sees what was done meanwhile.
  void admit() { page_->excluded.store(0, std::memory_order_release); }
  [[nodiscard]] bool any() const;
  // False: a reader needs content to stay. True: none will see a change before end_overwriting().
  [[nodiscard]] bool begin_overwriting();
  void end_overwriting() { page_->overwriting.store(0, std::memory_order_release); }
  // The smaller of `limit` and the oldest state above `txn` that is read.
  [[nodiscard]] std::uint64_t oldest_after(std::uint64_t txn, std::uint64_t limit) const {
    return claims() == 0 ? limit : oldest_claimed(txn, limit);
  }
  // The numbers that the processes gave themselves which read states before `txn`.
  [[nodiscard]] std::vector<std::uint64_t> pids_before(TxnId txn) const;
  [[nodiscard]] std::size_t count() const { return static_cast<std::size_t>(std::popcount(claims())); }

 private:
  [[nodiscard]] std::uint64_t claims() const;
  [[nodiscard]] std::uint64_t oldest_claimed(std::uint64_t txn, std::uint64_t limit) const;

  SharedPage* page_;
  FileOps& ops_;
  int fd_;
};

class SharedReader {
 public:
  // How long a reader waits for a writer that is alive but does not go on.
  static constexpr std::chrono::seconds kPatience{5};

  // Maps the table of a file that is open for writing, and takes a slot. kBusy: all are taken. One at a time
  // for an open file: locks do not keep their holder out.
  static Result<std::unique_ptr<SharedReader>> claim(FileOps& ops, int fd);
  ~SharedReader();  // gives the slot back
  SharedReader(const SharedReader&) = delete;
  SharedReader& operator=(const SharedReader&) = delete;

  // Announces a state of which it is known that nobody writes: the caller holds the file's lock.
  void announce(TxnId txn);
  // Announces the latest state of the process that writes, with its content. kStale: there is none (any
  // more), or it has just begun or is about to end: look again. kBusy: it does not go on.
  Result<TxnId> announce_latest();

 private:
  SharedReader(FileOps& ops, int fd, std::byte* map);
  [[nodiscard]] Result<bool> writer_lives() const;
  Status wait_until_zero(const std::atomic<std::uint64_t>& word) const;

  FileOps& ops_;
  int fd_;
  std::byte* map_;
  MapGuard guard_;  // the file may be cut off
  SharedPage* page_;
  std::size_t slot_ = kSharedSlots;
};

}  // namespace lrufs::store
