#include "store/leaf_hints.h"

namespace lrufs::store {

void LeafHints::note(std::uint64_t hash, Hint hint) {
  if (raw(hint.page) >> kPageBits != 0 || hint.index >> kIndexBits != 0 || hint.cell >> kCellBits != 0)
    return;
  Table* table = table_.load(std::memory_order_acquire);
  Word* const line = table->line(hash);
  const std::uint64_t tag = tag_of(hash);
  std::size_t way = kWays;
  bool is_new = false;
  for (std::size_t i = 0; i < kWays; ++i) {
    const std::uint64_t word = line[i].load(std::memory_order_relaxed);
    if (word >> kPlaceBits == tag) {
      way = i;
      is_new = false;
      break;
    }
    if (word == 0 && way == kWays) {
      way = i;
      is_new = true;
    }
  }
  constexpr unsigned kOtherBits = 32;  // than those that choose the line
  if (way == kWays) way = hash >> kOtherBits & (kWays - 1);
  const std::uint64_t place = (raw(hint.page) << kCellBits | hint.cell) << kIndexBits | hint.index;
  line[way].store(tag << kPlaceBits | place, std::memory_order_relaxed);
  if (is_new && table->used.fetch_add(1, std::memory_order_relaxed) > table->lines * kWays / 2) grow(table);
}

void LeafHints::grow(const Table* full) {
  const MutexLock lock(grow_mutex_);
  if (table_.load(std::memory_order_relaxed) != full || count_ == kTables) return;
  // Whoever still looks there finds no hints.
  if (count_ > 0) tables_[count_ - 1].memory.forget();
  Table& table = tables_[count_];
  const std::uint64_t words = kFirstTable << (2 * count_);
  constexpr std::uint64_t kHugePage = 2U << 20U;
  table.memory = LazyMemory(words * sizeof(Word), words * sizeof(Word) >= kHugePage);
  table.words = static_cast<Word*>(table.memory.data());
  table.lines = words / kWays;
  ++count_;
  table_.store(&table, std::memory_order_release);
}

}  // namespace lrufs::store
