#include "store/shared_readers.h"

#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>

#include "store/faults.h"

namespace lrufs::store {

namespace {

constexpr std::uint64_t kWriterByte = 0;
constexpr std::uint64_t kAllSlots = (1ULL << kSharedSlots) - 1;
constexpr std::uint64_t byte_of(std::size_t slot) { return 1 + slot; }

// Calls `each` for the slots whose bit is set, until it returns false.
template <typename Each>
void for_each_bit(std::uint64_t bits, const Each& each) {
  for (; bits != 0; bits &= bits - 1) {
    if (!each(static_cast<std::size_t>(std::countr_zero(bits)))) return;
  }
}

void empty_slot(SharedPage& page, std::size_t slot) {
  page.slots[slot].txn.store(SharedSlot::kFree, std::memory_order_release);
  page.slots[slot].frozen.store(0, std::memory_order_release);
  page.slots[slot].pid.store(0, std::memory_order_release);
  page.claimed.fetch_and(~(1ULL << slot), std::memory_order_seq_cst);
}

}  // namespace

// --- the writer's side
// ----------------------------------------------------------------------------------------

SharedReaders::SharedReaders(std::byte* page, FileOps& ops, int fd)
    : page_(reinterpret_cast<SharedPage*>(page)), ops_(ops), fd_(fd) {}

Status SharedReaders::begin_session(std::uint64_t session, TxnId latest) {
  page_->session.store(0, std::memory_order_seq_cst);
  page_->excluded.store(0, std::memory_order_seq_cst);
  page_->overwriting.store(0, std::memory_order_seq_cst);
  page_->latest.store(raw(latest), std::memory_order_seq_cst);
  page_->session.store(session | 1U, std::memory_order_seq_cst);
  LRUFS_TRY_ASSIGN(const bool locked, ops_.try_lock_byte(fd_, kWriterByte));
  if (!locked) return fail(Code::kBusy, "the store is in use by another process (mounted already?)");
  return {};
}

void SharedReaders::end_session() {
  page_->session.store(0, std::memory_order_seq_cst);
  ops_.unlock_byte(fd_, kWriterByte);
  page_->latest.store(0, std::memory_order_seq_cst);
}

std::uint64_t SharedReaders::claims() const {
  if (on(Fault::kIgnoreSharedReaders)) return 0;
  return page_->claimed.load(std::memory_order_seq_cst) & kAllSlots;
}

void SharedReaders::clear_dead(const std::function<void(std::uint64_t pid)>& told) {
  for_each_bit(claims(), [&](std::size_t slot) {
    const auto locked = ops_.try_lock_byte(fd_, byte_of(slot));
    if (!locked || !*locked) return true;
    // It may have ended in order since the look at the bits.
    if ((claims() & (1ULL << slot)) != 0) {
      const std::uint64_t pid = page_->slots[slot].pid.load(std::memory_order_relaxed);
      empty_slot(*page_, slot);
      if (told) told(pid);
    }
    ops_.unlock_byte(fd_, byte_of(slot));
    return true;
  });
}

std::vector<std::uint64_t> SharedReaders::pids_before(TxnId txn) const {
  std::vector<std::uint64_t> pids;
  for_each_bit(claims(), [&](std::size_t slot) {
    const std::uint64_t state = page_->slots[slot].txn.load(std::memory_order_seq_cst);
    if (state != SharedSlot::kFree && state < raw(txn))
      pids.push_back(page_->slots[slot].pid.load(std::memory_order_relaxed));
    return true;
  });
  return pids;
}

bool SharedReaders::any() const {
  bool found = false;
  for_each_bit(claims(), [&](std::size_t slot) {
    const std::uint64_t txn = page_->slots[slot].txn.load(std::memory_order_seq_cst);
    found = txn != SharedSlot::kFree && txn != SharedSlot::kWaiting;
    return !found;
  });
  return found;
}

bool SharedReaders::begin_overwriting() {
  page_->overwriting.store(1, std::memory_order_seq_cst);
  bool frozen = false;
  for_each_bit(claims(), [&](std::size_t slot) {
    frozen = page_->slots[slot].frozen.load(std::memory_order_seq_cst) != 0;
    return !frozen;
  });
  if (frozen) end_overwriting();
  return !frozen;
}

std::uint64_t SharedReaders::oldest_claimed(std::uint64_t txn, std::uint64_t limit) const {
  for_each_bit(claims(), [&](std::size_t slot) {
    const std::uint64_t reader = page_->slots[slot].txn.load(std::memory_order_seq_cst);
    if (reader != SharedSlot::kFree && reader > txn) limit = std::min(limit, reader);
    return true;
  });
  return limit;
}

// --- the reader's side
// ----------------------------------------------------------------------------------------

SharedReader::SharedReader(FileOps& ops, int fd, std::byte* map)
    : ops_(ops),
      fd_(fd),
      map_(map),
      guard_(map, kPageSize, fd, true),
      page_(reinterpret_cast<SharedPage*>(map)) {}

Result<std::unique_ptr<SharedReader>> SharedReader::claim(FileOps& ops, int fd) {
  LRUFS_TRY_ASSIGN(std::byte* const map, ops.map_shared(fd, kReaderTablePage * kPageSize, kPageSize, true));
  std::unique_ptr<SharedReader> reader(new SharedReader(ops, fd, map));
  for (std::size_t slot = 0; slot < kSharedSlots; ++slot) {
    LRUFS_TRY_ASSIGN(const bool locked, ops.try_lock_byte(fd, byte_of(slot)));
    if (!locked) continue;
    SharedPage& page = *reader->page_;
    page.slots[slot].txn.store(SharedSlot::kWaiting, std::memory_order_seq_cst);
    page.slots[slot].pid.store(static_cast<std::uint64_t>(::getpid()), std::memory_order_relaxed);
    page.slots[slot].frozen.store(1, std::memory_order_seq_cst);
    page.claimed.fetch_or(1ULL << slot, std::memory_order_seq_cst);
    reader->slot_ = slot;
    return reader;
  }
  return fail(Code::kBusy, std::to_string(kSharedSlots) +
                               " processes read the store already: try again when one has ended");
}

SharedReader::~SharedReader() {
  if (slot_ < kSharedSlots) {
    empty_slot(*page_, slot_);
    ops_.unlock_byte(fd_, byte_of(slot_));
  }
  ops_.unmap(map_, kPageSize);
}

void SharedReader::announce(TxnId txn) { page_->slots[slot_].txn.store(raw(txn), std::memory_order_seq_cst); }

Result<bool> SharedReader::writer_lives() const { return ops_.byte_is_locked(fd_, kWriterByte); }

Status SharedReader::wait_until_zero(const std::atomic<std::uint64_t>& word) const {
  constexpr int kSpins = 1000;
  constexpr std::chrono::microseconds kPause{100};
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (int spins = 0; word.load(std::memory_order_seq_cst) != 0; ++spins) {
    if (spins < kSpins) continue;
    LRUFS_TRY_ASSIGN(const bool lives, writer_lives());
    if (!lives) return fail(Code::kStale);
    if (std::chrono::steady_clock::now() > deadline)
      return fail(Code::kBusy, "the process that writes the store does not go on (is it stopped?)");
    std::this_thread::sleep_for(kPause);
  }
  return {};
}

Result<TxnId> SharedReader::announce_latest() {
  const std::uint64_t session = page_->session.load(std::memory_order_seq_cst);
  LRUFS_TRY_ASSIGN(const bool lived, writer_lives());
  if (!lived || session == 0) return fail(Code::kStale);
  // Content that the running transaction changes in place changes no more after it.
  LRUFS_TRY(wait_until_zero(page_->overwriting));
  std::uint64_t now = 0;
  std::atomic<std::uint64_t>& slot = page_->slots[slot_].txn;
  for (;;) {
    now = page_->latest.load(std::memory_order_seq_cst);
    slot.store(now, std::memory_order_seq_cst);
    if (page_->excluded.load(std::memory_order_seq_cst) != 0) {
      slot.store(SharedSlot::kWaiting, std::memory_order_seq_cst);
      LRUFS_TRY(wait_until_zero(page_->excluded));
    } else if (page_->latest.load(std::memory_order_seq_cst) == now) {
      break;
    }
  }
  LRUFS_TRY_ASSIGN(const bool lives, writer_lives());
  if (!lives || page_->session.load(std::memory_order_seq_cst) != session) {
    slot.store(SharedSlot::kWaiting, std::memory_order_seq_cst);
    return fail(Code::kStale);
  }
  return TxnId{now};
}

}  // namespace lrufs::store
