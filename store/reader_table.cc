#include "store/reader_table.h"

#include <algorithm>
#include <functional>
#include <thread>

namespace lrufs::store {

namespace {

// Tells the processor that this is a loop that waits.
void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

bool ReaderTable::read_roots(std::uint64_t txn, Roots& roots) const {
  const Published& entry = ring_[txn % kRing];
  if (entry.txn.load(std::memory_order_acquire) != txn) return false;
  std::array<std::uint64_t, 8> words;
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = entry.words[i].load(std::memory_order_acquire);
  if (entry.txn.load(std::memory_order_acquire) != txn) return false;
  const auto root = [&](std::size_t i) { return TreeRoot{PageNo{words[2 * i]}, TxnId{words[2 * i + 1]}}; };
  roots = {root(0), root(1), root(2), root(3)};
  return true;
}

ReaderTable::Lease ReaderTable::acquire(bool frozen) {
  thread_local const std::size_t home = std::hash<std::thread::id>{}(std::this_thread::get_id());
  thread_local std::size_t last = home % 8;
  Lease lease;
  std::uint64_t now = 0;
  for (std::size_t tries = 0;; ++tries) {
    lease.slot = (last + tries) % kSlots;
    std::size_t high = high_.load(std::memory_order_relaxed);
    while (high <= lease.slot &&
           !high_.compare_exchange_weak(high, lease.slot + 1, std::memory_order_seq_cst)) {
    }
    std::uint64_t expected = kFree;
    now = latest_.load(std::memory_order_seq_cst);
    if (slots_[lease.slot].txn.compare_exchange_strong(expected, now, std::memory_order_seq_cst)) break;
    if (tries % kSlots == kSlots - 1) std::this_thread::yield();
  }
  last = lease.slot;
  if (frozen) frozen_.fetch_add(1, std::memory_order_seq_cst);
  std::atomic<std::uint64_t>& slot = slots_[lease.slot].txn;
  for (;;) {
    if (excluded_.load(std::memory_order_seq_cst)) [[unlikely]] {
      slot.store(kWaiting, std::memory_order_seq_cst);
      constexpr int kSpins = 200;
      for (int spins = 0; excluded_.load(std::memory_order_seq_cst); ++spins)
        spins < kSpins ? pause() : std::this_thread::yield();
    } else if (latest_.load(std::memory_order_seq_cst) == now && read_roots(now, lease.roots)) {
      lease.txn = TxnId{now};
      return lease;
    }
    now = latest_.load(std::memory_order_seq_cst);
    slot.store(now, std::memory_order_seq_cst);
  }
}

void ReaderTable::release(const Lease& lease, bool frozen) {
  // All that was read was read before; nothing else follows from it.
  slots_[lease.slot].txn.store(kFree, std::memory_order_release);
  if (frozen) frozen_.fetch_sub(1, std::memory_order_seq_cst);
}

bool ReaderTable::any() const {
  const std::size_t high = high_.load(std::memory_order_seq_cst);
  return std::any_of(slots_.begin(), slots_.begin() + static_cast<long>(high),
                     [](const Slot& slot) { return slot.txn.load(std::memory_order_seq_cst) < kWaiting; });
}

bool ReaderTable::exclude() {
  excluded_.store(true, std::memory_order_seq_cst);
  if (shared_ != nullptr) {
    shared_->exclude();
    if (shared_->any()) {  // those stay
      admit();
      return false;
    }
  }
  constexpr int kSpins = 400;
  for (int spins = 0; any(); ++spins) {
    if (spins == kSpins) {
      admit();
      return false;
    }
    pause();
  }
  return true;
}

void ReaderTable::publish(TxnId txn, const Roots& roots) {
  Published& entry = ring_[raw(txn) % kRing];
  entry.txn.store(0, std::memory_order_release);
  const std::array<TreeRoot, 4> all = {roots.names, roots.recency, roots.expiry, roots.spare};
  for (std::size_t i = 0; i < all.size(); ++i) {
    entry.words[2 * i].store(raw(all[i].page), std::memory_order_release);
    entry.words[2 * i + 1].store(raw(all[i].birth), std::memory_order_release);
  }
  entry.txn.store(raw(txn), std::memory_order_release);
  if (shared_ != nullptr) shared_->publish(txn);
  latest_.store(raw(txn), std::memory_order_seq_cst);
}

TxnId ReaderTable::oldest_after(TxnId txn) const {
  std::uint64_t oldest = latest_.load(std::memory_order_seq_cst);
  const std::size_t high = high_.load(std::memory_order_seq_cst);
  for (std::size_t i = 0; i < high; ++i) {
    const std::uint64_t reader = slots_[i].txn.load(std::memory_order_seq_cst);
    if (reader > raw(txn)) oldest = std::min(oldest, reader);
  }
  return TxnId{shared_ == nullptr ? oldest : shared_->oldest_after(raw(txn), oldest)};
}

std::size_t ReaderTable::count() const {
  const std::size_t high = high_.load(std::memory_order_seq_cst);
  return static_cast<std::size_t>(
      std::count_if(slots_.begin(), slots_.begin() + static_cast<long>(high),
                    [](const Slot& slot) { return slot.txn.load(std::memory_order_relaxed) != kFree; }));
}

}  // namespace lrufs::store
