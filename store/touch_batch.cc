#include "store/touch_batch.h"

#include <algorithm>
#include <utility>

namespace lrufs::store {

std::uint32_t TouchBatch::Shard::index_of(Ino ino) const {
  if (buckets.empty()) return kNone;
  std::uint32_t index = buckets[raw(ino) / kShards % buckets.size()];
  while (index != kNone && entries[index].touch.ino != ino) index = entries[index].chain;
  return index;
}

std::uint32_t TouchBatch::Shard::add(Ino ino) {
  std::uint32_t index = unused;
  if (index != kNone) {
    unused = entries[index].chain;
  } else {
    index = static_cast<std::uint32_t>(entries.size());
    entries.emplace_back();
    if (entries.size() > buckets.size()) {
      buckets.assign(std::max<std::size_t>(buckets.size() * 2, 64), kNone);
      // All others are in use: an unused one would have been taken.
      for (std::uint32_t each = 0; each < index; ++each)
        entries[each].chain = std::exchange(bucket_of(entries[each].touch.ino), each);
    }
  }
  entries[index].touch.ino = ino;
  entries[index].chain = std::exchange(bucket_of(ino), index);
  return index;
}

void TouchBatch::Shard::remove(std::uint32_t index) {
  unlink(index);
  std::uint32_t* at = &bucket_of(entries[index].touch.ino);
  while (*at != index) at = &entries[*at].chain;
  *at = entries[index].chain;
  entries[index].chain = std::exchange(unused, index);
}

void TouchBatch::Shard::unlink(std::uint32_t index) {
  const Entry& entry = entries[index];
  (entry.older == kNone ? oldest : entries[entry.older].newer) = entry.newer;
  (entry.newer == kNone ? newest : entries[entry.newer].older) = entry.older;
}

void TouchBatch::Shard::link_before(std::uint32_t index, std::uint32_t newer) {
  std::uint32_t& above = newer == kNone ? newest : entries[newer].older;
  entries[index].newer = newer;
  entries[index].older = above;
  (above == kNone ? oldest : entries[above].newer) = index;
  above = index;
}

void TouchBatch::touch(Ino ino) {
  Shard& shard = shard_of(ino);
  const MutexLock lock(shard.mutex);
  std::uint32_t index = shard.index_of(ino);
  if (index == kNone) {
    index = shard.add(ino);
    size_.fetch_add(1, std::memory_order_relaxed);
    shard.link_before(index, kNone);
  } else if (index != shard.newest) {
    shard.unlink(index);
    shard.link_before(index, kNone);
  }
  shard.entries[index].touch.seq = TouchSeq{next_seq_.fetch_add(1, std::memory_order_relaxed)};
}

std::optional<TouchSeq> TouchBatch::find(Ino ino) const {
  const Shard& shard = shard_of(ino);
  const MutexLock lock(shard.mutex);
  const std::uint32_t index = shard.index_of(ino);
  if (index == kNone) return std::nullopt;
  return shard.entries[index].touch.seq;
}

std::optional<TouchBatch::Touch> TouchBatch::oldest() const {
  std::optional<Touch> oldest;
  for (const Shard& shard : shards_) {
    const MutexLock lock(shard.mutex);
    if (shard.oldest == kNone) continue;
    const Touch& touch = shard.entries[shard.oldest].touch;
    if (!oldest || touch.seq < oldest->seq) oldest = touch;
  }
  return oldest;
}

std::vector<TouchBatch::Touch> TouchBatch::oldest(std::size_t limit) const {
  std::vector<Touch> touches;
  for (const Shard& shard : shards_) {
    const MutexLock lock(shard.mutex);
    std::size_t count = 0;
    for (std::uint32_t at = shard.oldest; at != kNone && count < limit; at = shard.entries[at].newer, ++count)
      touches.push_back(shard.entries[at].touch);
  }
  std::sort(touches.begin(), touches.end(), [](const Touch& a, const Touch& b) { return a.seq < b.seq; });
  touches.resize(std::min(limit, touches.size()));
  return touches;
}

std::optional<TouchBatch::Touch> TouchBatch::take(Ino ino) {
  Shard& shard = shard_of(ino);
  const MutexLock lock(shard.mutex);
  const std::uint32_t index = shard.index_of(ino);
  if (index == kNone) return std::nullopt;
  const Touch touch = shard.entries[index].touch;
  shard.remove(index);
  size_.fetch_sub(1, std::memory_order_relaxed);
  return touch;
}

void TouchBatch::restore(const Touch& touch) {
  Shard& shard = shard_of(touch.ino);
  const MutexLock lock(shard.mutex);
  if (shard.index_of(touch.ino) != kNone) return;
  const std::uint32_t index = shard.add(touch.ino);
  size_.fetch_add(1, std::memory_order_relaxed);
  shard.entries[index].touch.seq = touch.seq;
  std::uint32_t newer = shard.oldest;
  while (newer != kNone && shard.entries[newer].touch.seq < touch.seq) newer = shard.entries[newer].newer;
  shard.link_before(index, newer);
}

}  // namespace lrufs::store
