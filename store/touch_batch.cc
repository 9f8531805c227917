#include "store/touch_batch.h"

#include <algorithm>

namespace lrufs::store {

void TouchBatch::touch(Ino ino) {
  const MutexLock lock(mutex_);
  const std::uint64_t seq = next_seq_.fetch_add(1, std::memory_order_relaxed);
  // The same file again and again needs no second entry.
  if (!order_.empty() && order_.back().ino == ino) {
    order_.back().seq = TouchSeq{seq};
  } else {
    order_.push_back({TouchSeq{seq}, ino});
  }
  last_[raw(ino)] = seq;
  if (order_.size() > 2 * kMax + 2 * last_.size()) {
    std::deque<Touch> live;
    for (const Touch& touch : order_) {
      const auto found = last_.find(raw(touch.ino));
      if (found != last_.end() && found->second == raw(touch.seq)) live.push_back(touch);
    }
    order_.swap(live);
  }
}

std::optional<TouchSeq> TouchBatch::find(Ino ino) const {
  const MutexLock lock(mutex_);
  const auto found = last_.find(raw(ino));
  if (found == last_.end()) return std::nullopt;
  return TouchSeq{found->second};
}

void TouchBatch::drop_stale_front() {
  while (!order_.empty()) {
    const auto found = last_.find(raw(order_.front().ino));
    if (found != last_.end() && found->second == raw(order_.front().seq)) return;
    order_.pop_front();
  }
}

std::optional<TouchBatch::Touch> TouchBatch::oldest() {
  const MutexLock lock(mutex_);
  drop_stale_front();
  if (order_.empty()) return std::nullopt;
  return order_.front();
}

std::vector<TouchBatch::Touch> TouchBatch::oldest(std::size_t limit) {
  const MutexLock lock(mutex_);
  drop_stale_front();
  std::vector<Touch> touches;
  for (const Touch& touch : order_) {
    if (touches.size() == limit) break;
    const auto found = last_.find(raw(touch.ino));
    if (found != last_.end() && found->second == raw(touch.seq)) touches.push_back(touch);
  }
  return touches;
}

std::optional<TouchBatch::Touch> TouchBatch::take(Ino ino) {
  const MutexLock lock(mutex_);
  const auto found = last_.find(raw(ino));
  if (found == last_.end()) return std::nullopt;
  const Touch touch{TouchSeq{found->second}, ino};
  last_.erase(found);
  return touch;
}

void TouchBatch::restore(const Touch& touch) {
  const MutexLock lock(mutex_);
  if (!last_.emplace(raw(touch.ino), raw(touch.seq)).second) return;
  // Its place is by its number: others, used before it, may never have been taken. Its stale entry may still
  // be there.
  const auto at = std::lower_bound(order_.begin(), order_.end(), touch.seq,
                                   [](const Touch& entry, TouchSeq seq) { return entry.seq < seq; });
  if (at == order_.end() || at->seq != touch.seq) order_.insert(at, touch);
}

void TouchBatch::forget(Ino ino) {
  const MutexLock lock(mutex_);
  last_.erase(raw(ino));
}

std::size_t TouchBatch::size() const {
  const MutexLock lock(mutex_);
  return last_.size();
}

}  // namespace lrufs::store
