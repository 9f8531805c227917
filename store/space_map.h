// SpaceMap: which pages of the file are free, in memory. Five bits a page, in bitmaps that cost memory only
// where pages are used:
//
//   used     belongs to the current state (what the space log says)
//   durable  belongs to the last durable meta's state; must survive until the next checkpoint has ended
//   next     belongs to the state that the running checkpoint makes durable
//   busy     taken, but not part of the current state: filled by a writer, or still seen by a reader (limbo)
//   hole     nobody needs it, and the disk has no block for it: to be filled before it is taken
//
// A page may be taken iff it has none of them. A page whose durable and next bits are clear was born after
// the last checkpoint began: it can be reused as soon as it is freed, and file content in it may be
// overwritten in place.
//
// While the file is made shorter there is a ceiling: pages from there on are neither free nor pending, only
// used or busy until they were moved.
//
// Invariants: free + pending + used + busy + holes = grown, counted below the ceiling; used and busy are
// disjoint at rest; a hole has no other bit.
// Not thread-safe: the store's writer lock protects it.
#pragma once

#include <cstdint>
#include <vector>

#include "store/faults.h"
#include "store/lazy_memory.h"
#include "store/staged_data.h"
#include "store/types.h"

namespace lrufs::store {

class SpaceMap {
 public:
  static constexpr std::uint64_t kChunkPages = kPageSize * 8;  // pages that one page of bitmap describes

  // `capacity`: the most pages the store may use with its bound; `reach`: to which widen() may go.
  explicit SpaceMap(std::uint64_t capacity, std::uint64_t reach = 0);
  // A larger bound. False: no memory.
  [[nodiscard]] bool widen(std::uint64_t capacity);

  // --- at open
  // -----------------------------------------------------------------------------------------------------
  void load_used(std::uint64_t chunk, const std::uint64_t* words);  // kChunkPages bits
  void load_durable(std::uint64_t chunk, const std::uint64_t* words);
  void log_alloc(PageRun run,
                 bool durable_state);  // replay of the space log into the used or the durable bits
  void log_free(PageRun run, bool durable_state);
  void copy_used_to_durable();
  void finish_load(std::uint64_t grown);  // counts
  [[nodiscard]] bool is_used(PageNo page) const { return test(used_, raw(page)); }
  // A bit a page; other threads may look at them as they change.
  [[nodiscard]] const std::uint64_t* used_bits() const { return used_; }

  // --- taking and giving back (a transaction's or a writer's pages are busy until commit)
  // ------------------------- One page, recycled ones first. kNoPage: none.
  PageNo take_page();
  // Up to `want` adjacent pages (1 … want), at `hint` if those are free; count 0: none. Prefers to return all
  // of them.
  PageRun take_run(std::uint64_t want, PageNo hint = kNoPage);
  void give_back(PageRun run);  // busy → free, never published
  // All pages that are neither used nor busy become busy.
  std::vector<PageRun> take_rest();

  // --- commit
  // ------------------------------------------------------------------------------------------------------
  void publish(PageRun run);          // busy → used
  void retire_to_limbo(PageRun run);  // used → busy: a reader may still see it; then give_back()
  // May the page's content be changed under the current state's feet?
  [[nodiscard]] bool rewritable(PageNo page) const;

  // --- checkpoints
  // -------------------------------------------------------------------------------------------------
  void begin_checkpoint();              // next := used
  void end_checkpoint(bool succeeded);  // durable := next, or next forgotten
  [[nodiscard]] bool in_checkpoint() const { return in_checkpoint_; }

  // --- making the file shorter: pages from `ceiling` on are not taken any more; kNoCeiling: all may be
  static constexpr std::uint64_t kNoCeiling = ~0ULL;
  void set_ceiling(std::uint64_t ceiling);
  [[nodiscard]] std::uint64_t ceiling() const { return ceiling_; }
  [[nodiscard]] std::uint64_t used_above() const { return used_above_; }
  [[nodiscard]] std::uint64_t busy_above() const { return busy_above_; }
  [[nodiscard]] std::uint64_t used_from(std::uint64_t page) const;  // pages

  // --- holes
  // -------------------------------------------------------------------------------------------------------
  // The first run of `least` or more pages at `from` or behind it that nobody needs, at most `most` of it;
  // count 0: none. They become busy: punch the run, then make_hole() or give_back().
  PageRun take_for_hole(std::uint64_t from, std::uint64_t least, std::uint64_t most);
  void make_hole(PageRun run);   // busy → hole
  void found_hole(PageRun run);  // at open: those of the pages that are free
  // The first hole, at most `most` pages of it; count 0: there is none.
  [[nodiscard]] PageRun first_hole(std::uint64_t most) const;
  void fill_hole(PageRun run);  // hole → free
  [[nodiscard]] std::uint64_t holes() const { return hole_count_; }

  // --- condensing: the used bits of a chunk, and which changed since clear_dirty()
  // ---------------------------------
  [[nodiscard]] std::uint64_t chunk_count() const { return (capacity_ + kChunkPages - 1) / kChunkPages; }
  [[nodiscard]] bool chunk_dirty(std::uint64_t chunk) const { return dirty_[chunk]; }
  void clear_dirty(std::uint64_t chunk) { dirty_[chunk] = false; }
  void set_dirty(std::uint64_t chunk) { dirty_[chunk] = true; }
  [[nodiscard]] const std::uint64_t* chunk_words(std::uint64_t chunk) const {
    return used_ + chunk * kChunkWords;
  }
  // A bit a page: used or busy now. The other pages are seen by nobody.
  [[nodiscard]] LazyMemory taken() const;
  [[nodiscard]] bool chunk_empty(std::uint64_t chunk) const;

  // --- figures, in pages
  // -------------------------------------------------------------------------------------------
  void set_grown(std::uint64_t pages);
  [[nodiscard]] std::uint64_t grown() const { return grown_; }
  [[nodiscard]] std::uint64_t capacity() const { return capacity_; }
  [[nodiscard]] std::uint64_t free() const { return free_; }
  [[nodiscard]] std::uint64_t used() const { return used_count_; }
  [[nodiscard]] std::uint64_t busy() const { return busy_count_; }
  [[nodiscard]] std::uint64_t pending() const {
    return limit() - free_ - (used_count_ - used_above_) - (busy_count_ - busy_above_) - hole_count_;
  }
  // Used, but not by the durable state. Looks only where something changed lately.
  [[nodiscard]] std::uint64_t unsynced() const;
  // One above the highest page that is used, durable, next or busy.
  [[nodiscard]] std::uint64_t high_water() const;

 private:
  static constexpr std::uint64_t kChunkWords = kChunkPages / 64;
  static constexpr std::size_t kRecycled = 4096;

  static bool test(const std::uint64_t* bits, std::uint64_t page) {
    return ((bits[page / 64] >> (page % 64)) & 1U) != 0;
  }
  static void set(std::uint64_t* bits, std::uint64_t page) { bits[page / 64] |= 1ULL << (page % 64); }
  static void clear(std::uint64_t* bits, std::uint64_t page) { bits[page / 64] &= ~(1ULL << (page % 64)); }
  [[nodiscard]] std::uint64_t taken_word(std::uint64_t word) const {
    const std::uint64_t durable = on(Fault::kReuseDurablePages) ? 0 : durable_[word];
    const std::uint64_t next = in_checkpoint_ && !on(Fault::kReuseCheckpointPages) ? next_[word] : 0;
    return used_[word] | durable | busy_[word] | next | hole_[word];
  }
  // Pages below it may be taken.
  [[nodiscard]] std::uint64_t limit() const { return grown_ < ceiling_ ? grown_ : ceiling_; }
  [[nodiscard]] bool is_free(std::uint64_t page) const {
    return page < limit() && ((taken_word(page / 64) >> (page % 64)) & 1U) == 0;
  }
  void set_used(std::uint64_t page, bool value);
  void mark_busy(std::uint64_t page);
  void count_used(std::uint64_t page, std::uint64_t change) {
    used_count_ += change;
    if (page >= ceiling_) used_above_ += change;
  }
  void count_busy(std::uint64_t page, std::uint64_t change) {
    busy_count_ += change;
    if (page >= ceiling_) busy_above_ += change;
  }
  void note_free(std::uint64_t page);
  void touch_chunk(std::uint64_t page);
  void recount();
  void recount_chunk(std::uint64_t chunk);
  [[nodiscard]] std::uint64_t next_free(std::uint64_t from, std::uint64_t to) const;
  [[nodiscard]] std::uint64_t run_length(std::uint64_t from, std::uint64_t limit) const;

  static std::uint64_t words_for(std::uint64_t pages) {
    return (pages + kChunkPages - 1) / kChunkPages * kChunkWords;
  }

  std::uint64_t capacity_;
  std::uint64_t words_;
  std::uint64_t reach_;  // words
  LazyMemory memory_[5];
  std::uint64_t* used_;
  std::uint64_t* durable_;
  std::uint64_t* next_;
  std::uint64_t* busy_;
  std::uint64_t* hole_;
  bool in_checkpoint_ = false;
  std::uint64_t grown_ = 0;
  std::uint64_t free_ = 0;
  std::uint64_t used_count_ = 0;
  std::uint64_t busy_count_ = 0;
  std::uint64_t hole_count_ = 0;
  std::uint64_t ceiling_ = kNoCeiling;
  std::uint64_t used_above_ = 0;  // the ceiling
  std::uint64_t busy_above_ = 0;
  std::uint64_t page_cursor_ = kHeaderPages;  // no free page below
  std::uint64_t run_cursor_ = kHeaderPages;   // where the last run ended
  std::vector<std::uint64_t> recycled_;       // lately freed pages: warm in the caches; may be stale
  std::vector<bool> dirty_;                   // chunk differs from the condensed base
  std::uint64_t epoch_ = 2;                   // of checkpoints
  std::vector<std::uint64_t> chunk_epoch_;    // when the chunk's used bits last changed
  std::vector<std::uint32_t> free_in_chunk_;
};

}  // namespace lrufs::store
