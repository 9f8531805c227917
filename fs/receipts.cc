#include "fs/receipts.h"

#include <algorithm>

namespace lrufs::fs {

using store::Ino;
using store::MutexLock;
using store::raw;

namespace {
thread_local ServedRequest* current_request = nullptr;
}

Receipt* ReceiptTable::claim() {
  const MutexLock lock(mutex_);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (claimed_[i] || slots_[i].state.load() == Receipt::kKept) continue;
    claimed_[i] = true;
    return &slots_[i];
  }
  return nullptr;
}

void ReceiptTable::release(Receipt* slot) {
  if (slot == nullptr) return;
  const MutexLock lock(mutex_);
  claimed_[static_cast<std::size_t>(slot - slots_.data())] = false;
}

void ReceiptTable::settle(store::TxnId found) {
  for (Receipt& slot : slots_) {
    if (slot.state.load() != Receipt::kAnnounced) continue;
    slot.state.store(slot.txn.load() <= raw(found) ? Receipt::kKept : Receipt::kNone);
  }
}

std::vector<ReceiptTable::Kept> ReceiptTable::kept() const {
  std::vector<Kept> all;
  for (const Receipt& slot : slots_) {
    if (slot.state.load() != Receipt::kKept) continue;
    all.push_back({slot.request.load(), {Ino{slot.counted.load()}, slot.result.load()}});
  }
  return all;
}

void ReceiptTable::drop_kept() {
  for (Receipt& slot : slots_) {
    if (slot.state.load() == Receipt::kKept) slot.state.store(Receipt::kNone);
  }
}

ServedRequest::ServedRequest(Receipt* slot, std::uint64_t id, std::uint32_t kind, const Executed* executed)
    : slot_(slot), id_(id), kind_(kind), executed_(executed) {
  if (slot_ == nullptr) return;
  slot_->kind.store(kind, std::memory_order_relaxed);
  slot_->serving.store(id, std::memory_order_release);
  current_request = this;
}

// The kernel has the answer: it will not send this request again.
ServedRequest::~ServedRequest() {
  if (slot_ == nullptr) return;
  slot_->state.store(Receipt::kNone, std::memory_order_release);
  slot_->serving.store(0, std::memory_order_release);
  current_request = nullptr;
}

ServedRequest* ServedRequest::current() { return current_request; }

const Executed* ServedRequest::executed() {
  return current_request == nullptr ? nullptr : current_request->executed_;
}

void ServedRequest::announce(store::Transaction& txn, Ino counted) {
  slot_->state.store(Receipt::kNone, std::memory_order_release);
  slot_->request.store(id_, std::memory_order_release);
  slot_->txn.store(raw(txn.id()), std::memory_order_release);
  slot_->counted.store(raw(counted), std::memory_order_release);
  slot_->result.store(result_, std::memory_order_release);
  slot_->state.store(Receipt::kAnnounced, std::memory_order_release);
  txn.clear_on_abort(slot_->state);
}

}  // namespace lrufs::fs
