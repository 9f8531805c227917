#include "store/touch_batch.h"

#include <algorithm>
#include <utility>

namespace lrufs::store {

std::size_t TouchBatch::Shard::home_of(Ino ino) const { return hash(ino) & (slots.size() - 1); }

std::size_t TouchBatch::Shard::slot_of(Ino ino) const {
  std::size_t slot = home_of(ino);
  while (slots[slot].ino != ino && slots[slot].ino != kNoIno) slot = (slot + 1) & (slots.size() - 1);
  return slot;
}

void TouchBatch::Shard::grow() {
  constexpr std::size_t kFirst = 64;
  const std::vector<Touch> old = std::exchange(slots, {});
  slots.resize(std::max(old.size() * 2, kFirst));
  mask.store(slots.size() - 1, std::memory_order_relaxed);
  table.store(slots.data(), std::memory_order_relaxed);
  for (const Touch& touch : old) {
    if (touch.ino != kNoIno) slots[slot_of(touch.ino)] = touch;
  }
}

TouchBatch::Touch& TouchBatch::Shard::entry(Ino ino) {
  if (slots.empty()) grow();
  std::size_t slot = slot_of(ino);
  if (slots[slot].ino == ino) return slots[slot];
  if ((count + 1) * 4 > slots.size() * 3) {
    grow();
    slot = slot_of(ino);
  }
  ++count;
  slots[slot] = {TouchSeq{0}, ino};
  return slots[slot];
}

void TouchBatch::Shard::erase(std::size_t slot) {
  const std::size_t last = slots.size() - 1;
  --count;
  for (std::size_t next = slot;;) {
    slots[slot].ino = kNoIno;
    do {
      next = (next + 1) & last;
      if (slots[next].ino == kNoIno) return;
      // It may move to the gap unless its home lies behind that.
    } while (((next - home_of(slots[next].ino)) & last) < ((next - slot) & last));
    slots[slot] = slots[next];
    slot = next;
  }
}

void TouchBatch::touch(Ino ino) {
  Shard& shard = shard_of(ino);
  const MutexLock lock(shard.mutex);
  const std::size_t before = shard.count;
  shard.entry(ino).seq = TouchSeq{next_seq_.fetch_add(1, std::memory_order_relaxed)};
  if (shard.count != before) size_.fetch_add(1, std::memory_order_relaxed);
}

std::optional<TouchSeq> TouchBatch::find(Ino ino) const {
  const Shard& shard = shard_of(ino);
  const MutexLock lock(shard.mutex);
  if (shard.count == 0) return std::nullopt;
  const Touch& touch = shard.slots[shard.slot_of(ino)];
  if (touch.ino != ino) return std::nullopt;
  return touch.seq;
}

std::vector<TouchBatch::Touch> TouchBatch::shard(std::size_t index) const {
  const Shard& shard = shards_[index];
  std::vector<Touch> touches;
  {
    const MutexLock lock(shard.mutex);
    touches.reserve(shard.count);
    std::copy_if(shard.slots.begin(), shard.slots.end(), std::back_inserter(touches),
                 [](const Touch& touch) { return touch.ino != kNoIno; });
  }
  std::sort(touches.begin(), touches.end(), [](const Touch& a, const Touch& b) { return a.ino < b.ino; });
  return touches;
}

std::optional<TouchBatch::Touch> TouchBatch::take(Ino ino) {
  Shard& shard = shard_of(ino);
  const MutexLock lock(shard.mutex);
  if (shard.count == 0) return std::nullopt;
  const std::size_t slot = shard.slot_of(ino);
  const Touch touch = shard.slots[slot];
  if (touch.ino != ino) return std::nullopt;
  shard.erase(slot);
  size_.fetch_sub(1, std::memory_order_relaxed);
  return touch;
}

void TouchBatch::restore(const Touch& touch) {
  Shard& shard = shard_of(touch.ino);
  const MutexLock lock(shard.mutex);
  const std::size_t before = shard.count;
  Touch& entry = shard.entry(touch.ino);
  entry.seq = std::max(entry.seq, touch.seq);
  if (shard.count != before) size_.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace lrufs::store
