// LeafHints: where inodes and directory entries were found last: a leaf of the namespace tree and a place in
// it, so that the way down from the root need not be searched again. A hint proves nothing: whoever follows
// one makes sure that the leaf belongs to the state it looks at (PageSource::leaf()) and that the record is
// there. So hints need no care when something changes, and are simply lost with the process.
//
// A table of one word a hint. A hint lies somewhere in the one cache line that its hash leads to; in a full
// line a newer hint takes the place of an older one. The table begins small; once it is half full a larger
// one takes its place, up to 32 MiB, and hints are found anew.
//
// Thread-safety: all functions from any thread. Somebody may be looking at a table that was replaced: it
// stays mapped, as zeros.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "store/lazy_memory.h"
#include "store/thread_annotations.h"
#include "store/types.h"

namespace lrufs::store {

class LeafHints {
 public:
  struct Hint {
    PageNo page = kNoPage;
    std::uint16_t index = 0;
    std::uint16_t cell = 0;  // where that was within the page: it can be fetched before the slot is seen
  };

  LeafHints() { grow(nullptr); }

  // What a hint is filed under; `part`: 0 for the inode itself, else a cookie.
  static std::uint64_t hash(Ino owner, std::uint64_t part) {
    // The finalizer of splitmix64 (https://prng.di.unimi.it/splitmix64.c) over both.
    std::uint64_t x = raw(owner) * 0x9E3779B97F4A7C15ULL + part;
    x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31U);
  }

  // kNoPage: none.
  [[nodiscard]] Hint find(std::uint64_t hash) const {
    const Table* table = table_.load(std::memory_order_acquire);
    const Word* line = table->line(hash);
    for (std::size_t way = 0; way < kWays; ++way) {
      const std::uint64_t word = line[way].load(std::memory_order_relaxed);
      if (word >> kPlaceBits == tag_of(hash))
        return {PageNo{(word >> (kIndexBits + kCellBits)) & ((1ULL << kPageBits) - 1)},
                static_cast<std::uint16_t>(word & ((1U << kIndexBits) - 1)),
                static_cast<std::uint16_t>(word >> kIndexBits & ((1U << kCellBits) - 1))};
    }
    return {};
  }
  void note(std::uint64_t hash, Hint hint);

 private:
  using Word = std::atomic<std::uint64_t>;
  static constexpr unsigned kPageBits = 32;  // 16 TiB
  static constexpr unsigned kIndexBits = 9;
  static constexpr unsigned kCellBits = 12;
  static constexpr unsigned kPlaceBits = kPageBits + kIndexBits + kCellBits;
  static constexpr std::size_t kWays = 8;  // in a cache line
  static constexpr std::size_t kTables = 6;
  static constexpr std::uint64_t kFirstTable = 1ULL << 12U;  // words; each is four times as large as the last
  struct Table {
    LazyMemory memory;
    Word* words = nullptr;
    std::uint64_t lines = 0;  // a power of two
    [[nodiscard]] Word* line(std::uint64_t hash) const { return words + (hash & (lines - 1)) * kWays; }
    std::atomic<std::uint64_t> used{0};
  };
  // Never 0, as an empty word has.
  static std::uint64_t tag_of(std::uint64_t hash) { return std::max<std::uint64_t>(hash >> kPlaceBits, 1); }
  void grow(const Table* full);  // unless somebody else has

  Mutex grow_mutex_;
  std::array<Table, kTables> tables_;
  std::size_t count_ GUARDED_BY(grow_mutex_) = 0;
  std::atomic<Table*> table_{nullptr};
};

}  // namespace lrufs::store
