#include "store/space_map.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

namespace lrufs::store {

SpaceMap::SpaceMap(std::uint64_t capacity, std::uint64_t reach)
    : capacity_(capacity), words_(words_for(capacity)), reach_(std::max(words_, words_for(reach))) {
  for (LazyMemory& memory : memory_) memory = LazyMemory::with_reach(words_ * 8, reach_ * 8);
  used_ = static_cast<std::uint64_t*>(memory_[0].data());
  durable_ = static_cast<std::uint64_t*>(memory_[1].data());
  next_ = static_cast<std::uint64_t*>(memory_[2].data());
  busy_ = static_cast<std::uint64_t*>(memory_[3].data());
  hole_ = static_cast<std::uint64_t*>(memory_[4].data());
  dirty_.assign(chunk_count(), false);
  chunk_epoch_.assign(chunk_count(), 0);
  free_in_chunk_.assign(chunk_count(), 0);
  recycled_.reserve(kRecycled);
  for (std::uint64_t page = 0; page < kHeaderPages; ++page) set(used_, page);
}

bool SpaceMap::widen(std::uint64_t capacity) {
  if (capacity <= capacity_) return true;
  const std::uint64_t words = words_for(capacity);
  for (LazyMemory& memory : memory_) {
    if (!memory.widen(words * 8)) return false;
  }
  capacity_ = capacity;
  words_ = words;
  dirty_.resize(chunk_count(), false);
  chunk_epoch_.resize(chunk_count(), epoch_);
  free_in_chunk_.resize(chunk_count(), 0);
  return true;
}

void SpaceMap::touch_chunk(std::uint64_t page) {
  dirty_[page / kChunkPages] = true;
  chunk_epoch_[page / kChunkPages] = epoch_;
}

// --- open
// --------------------------------------------------------------------------------------------------------

void SpaceMap::load_used(std::uint64_t chunk, const std::uint64_t* words) {
  std::memcpy(used_ + chunk * kChunkWords, words, kPageSize);
}

void SpaceMap::load_durable(std::uint64_t chunk, const std::uint64_t* words) {
  std::memcpy(durable_ + chunk * kChunkWords, words, kPageSize);
}

void SpaceMap::log_alloc(PageRun run, bool durable_state) {
  for (std::uint64_t i = 0; i < run.count; ++i) {
    const std::uint64_t page = raw(run.first) + i;
    set(durable_state ? durable_ : used_, page);
    if (!durable_state) touch_chunk(page);
  }
}

void SpaceMap::log_free(PageRun run, bool durable_state) {
  for (std::uint64_t i = 0; i < run.count; ++i) {
    const std::uint64_t page = raw(run.first) + i;
    clear(durable_state ? durable_ : used_, page);
    if (!durable_state) touch_chunk(page);
  }
}

void SpaceMap::copy_used_to_durable() {
  for (std::uint64_t word = 0; word < words_; ++word) {
    if (durable_[word] != used_[word]) durable_[word] = used_[word];
  }
}

void SpaceMap::finish_load(std::uint64_t grown) {
  used_count_ = 0;
  // Reading untouched bitmap memory maps the shared zero page: cheap, and no memory is used.
  for (std::uint64_t word = 0; word < words_; ++word)
    used_count_ += static_cast<std::uint64_t>(std::popcount(used_[word]));
  grown_ = grown;
  for (auto& epoch : chunk_epoch_) epoch = epoch_;
  recount();
}

void SpaceMap::recount_chunk(std::uint64_t chunk) {
  free_ -= free_in_chunk_[chunk];
  free_in_chunk_[chunk] = 0;
  const std::uint64_t first = chunk * kChunkPages;
  if (first >= limit()) return;
  const std::uint64_t pages = std::min(kChunkPages, limit() - first);
  std::uint32_t taken = 0;
  for (std::uint64_t word = 0; word * 64 < pages; ++word) {
    std::uint64_t bits = taken_word(chunk * kChunkWords + word);
    const std::uint64_t left = pages - word * 64;
    if (left < 64) bits &= (1ULL << left) - 1;
    taken += static_cast<std::uint32_t>(std::popcount(bits));
  }
  free_in_chunk_[chunk] = static_cast<std::uint32_t>(pages - taken);
  free_ += free_in_chunk_[chunk];
  page_cursor_ = std::min(page_cursor_, std::max(first, kHeaderPages));
}

void SpaceMap::recount() {
  for (std::uint64_t chunk = 0; chunk < chunk_count(); ++chunk) recount_chunk(chunk);
}

void SpaceMap::set_grown(std::uint64_t pages) {
  for (std::uint64_t page = pages; page < grown_; ++page) {
    if (!test(hole_, page)) continue;
    clear(hole_, page);
    if (page < ceiling_) --hole_count_;
  }
  const std::uint64_t first = std::min(grown_, pages) / kChunkPages;
  const std::uint64_t last = std::max(grown_, pages) / kChunkPages;
  grown_ = pages;
  for (std::uint64_t chunk = first; chunk <= last && chunk < chunk_count(); ++chunk) recount_chunk(chunk);
}

// --- taking
// ------------------------------------------------------------------------------------------------------

std::uint64_t SpaceMap::next_free(std::uint64_t from, std::uint64_t to) const {
  to = std::min(to, limit());
  while (from < to) {
    if (free_in_chunk_[from / kChunkPages] == 0) {
      from = (from / kChunkPages + 1) * kChunkPages;
      continue;
    }
    const std::uint64_t bits = ~taken_word(from / 64) >> (from % 64);
    if (bits != 0) {
      const std::uint64_t page = from + static_cast<std::uint64_t>(std::countr_zero(bits));
      return page < to ? page : to;
    }
    from = (from / 64 + 1) * 64;
  }
  return to;
}

std::uint64_t SpaceMap::run_length(std::uint64_t from, std::uint64_t limit) const {
  std::uint64_t length = 0;
  const std::uint64_t end = std::min(from + limit, this->limit());
  while (from + length < end) {
    const std::uint64_t page = from + length;
    const std::uint64_t bits = taken_word(page / 64) >> (page % 64);
    const auto zeros = static_cast<std::uint64_t>(bits == 0 ? 64 - page % 64 : std::countr_zero(bits));
    if (zeros == 0) break;
    length += zeros;
    if (bits != 0) break;
  }
  return std::min(length, end - from);
}

void SpaceMap::mark_busy(std::uint64_t page) {
  set(busy_, page);
  count_busy(page, 1);
  --free_;
  --free_in_chunk_[page / kChunkPages];
}

void SpaceMap::note_free(std::uint64_t page) {
  ++free_;
  ++free_in_chunk_[page / kChunkPages];
  page_cursor_ = std::min(page_cursor_, page);
  if (recycled_.size() < kRecycled) recycled_.push_back(page);
}

PageNo SpaceMap::take_page() {
  while (!recycled_.empty()) {
    const std::uint64_t page = recycled_.back();
    recycled_.pop_back();
    if (is_free(page)) {
      mark_busy(page);
      return PageNo{page};
    }
  }
  const std::uint64_t page = next_free(page_cursor_, limit());
  page_cursor_ = page;
  if (page >= limit()) return kNoPage;
  mark_busy(page);
  return PageNo{page};
}

PageRun SpaceMap::take_run(std::uint64_t want, PageNo hint) {
  const auto take = [&](std::uint64_t from, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) mark_busy(from + i);
    return PageRun{PageNo{from}, count};
  };
  if (hint != kNoPage && is_free(raw(hint))) return take(raw(hint), run_length(raw(hint), want));
  if (free_ == 0 || want == 0) return {};
  if (want == 1) {
    const PageNo page = take_page();
    return page == kNoPage ? PageRun{} : PageRun{page, 1};
  }
  // Next fit; after a bounded search the longest run seen so far is good enough.
  constexpr std::uint64_t kSearchRuns = 512;
  std::uint64_t best = 0;
  std::uint64_t best_length = 0;
  std::uint64_t at = run_cursor_ < limit() ? run_cursor_ : kHeaderPages;
  const std::uint64_t start = at;
  bool wrapped = false;
  for (std::uint64_t runs = 0; runs < kSearchRuns;) {
    const std::uint64_t end = wrapped ? start : limit();
    at = next_free(at, end);
    if (at >= end) {
      if (wrapped) break;
      wrapped = true;
      at = kHeaderPages;
      continue;
    }
    const std::uint64_t length = run_length(at, want);
    ++runs;
    if (length > best_length) {
      best = at;
      best_length = length;
      if (length >= want) break;
    }
    at += length;
  }
  if (best_length == 0) return {};
  run_cursor_ = best + best_length;
  return take(best, best_length);
}

void SpaceMap::give_back(PageRun run) {
  for (std::uint64_t i = 0; i < run.count; ++i) {
    const std::uint64_t page = raw(run.first) + i;
    clear(busy_, page);
    count_busy(page, ~0ULL);
    if (is_free(page)) note_free(page);
  }
}

std::vector<PageRun> SpaceMap::take_rest() {
  std::vector<PageRun> runs;
  for (std::uint64_t page = kHeaderPages; page < grown_; ++page) {
    if (page % 64 == 0 && (used_[page / 64] | busy_[page / 64]) == ~0ULL) {
      page += 63;
      continue;
    }
    if (test(used_, page) || test(busy_, page)) continue;
    set(busy_, page);
    ++busy_count_;
    if (!runs.empty() && raw(runs.back().first) + runs.back().count == page)
      ++runs.back().count;
    else
      runs.push_back({PageNo{page}, 1});
  }
  recount();
  return runs;
}

// Readers look at these bits, too (Pager::current_leaf()).
void SpaceMap::set_used(std::uint64_t page, bool value) {
  const std::atomic_ref<std::uint64_t> word(used_[page / 64]);
  const std::uint64_t bit = 1ULL << (page % 64);
  word.store(value ? used_[page / 64] | bit : used_[page / 64] & ~bit, std::memory_order_release);
}

// --- commit
// ------------------------------------------------------------------------------------------------------

void SpaceMap::publish(PageRun run) {
  for (std::uint64_t i = 0; i < run.count; ++i) {
    const std::uint64_t page = raw(run.first) + i;
    clear(busy_, page);
    count_busy(page, ~0ULL);
    set_used(page, true);
    count_used(page, 1);
    touch_chunk(page);
  }
}

LazyMemory SpaceMap::taken() const {
  LazyMemory copy = LazyMemory::with_reach(reach_ * 8, reach_ * 8);
  auto* words = static_cast<std::uint64_t*>(copy.data());
  for (std::uint64_t word = 0; word <= grown_ / 64 && word < words_; ++word)
    words[word] = used_[word] | busy_[word];
  return copy;
}

void SpaceMap::retire_to_limbo(PageRun run) {
  for (std::uint64_t i = 0; i < run.count; ++i) {
    const std::uint64_t page = raw(run.first) + i;
    set_used(page, false);
    count_used(page, ~0ULL);
    set(busy_, page);
    count_busy(page, 1);
    touch_chunk(page);
  }
}

// --- ceiling and holes
// -------------------------------------------------------------------------------------------

void SpaceMap::set_ceiling(std::uint64_t ceiling) {
  ceiling_ = ceiling;
  used_above_ = busy_above_ = hole_count_ = 0;
  for (std::uint64_t word = 0; word < words_; ++word) {
    const std::uint64_t first = word * 64;
    const auto count = [&](const std::uint64_t* bits, std::uint64_t mask) {
      return static_cast<std::uint64_t>(std::popcount(bits[word] & mask));
    };
    const std::uint64_t below = ceiling >= first + 64 ? ~0ULL
                                : ceiling <= first    ? 0
                                                      : (1ULL << (ceiling - first)) - 1;
    used_above_ += count(used_, ~below);
    busy_above_ += count(busy_, ~below);
    hole_count_ += count(hole_, below);
  }
  recount();
}

std::uint64_t SpaceMap::used_from(std::uint64_t page) const {
  std::uint64_t count = 0;
  for (std::uint64_t word = page / 64; word < words_; ++word) {
    const std::uint64_t mask = word == page / 64 ? ~0ULL << (page % 64) : ~0ULL;
    count += static_cast<std::uint64_t>(std::popcount(used_[word] & mask));
  }
  return count;
}

PageRun SpaceMap::take_for_hole(std::uint64_t from, std::uint64_t least, std::uint64_t most) {
  for (std::uint64_t at = std::max(from, kHeaderPages);;) {
    at = next_free(at, limit());
    if (at >= limit()) return {};
    const std::uint64_t length = run_length(at, most);
    if (length >= least) {
      for (std::uint64_t i = 0; i < length; ++i) mark_busy(at + i);
      return {PageNo{at}, length};
    }
    at += length;
  }
}

void SpaceMap::make_hole(PageRun run) {
  for (std::uint64_t i = 0; i < run.count; ++i) {
    const std::uint64_t page = raw(run.first) + i;
    clear(busy_, page);
    count_busy(page, ~0ULL);
    set(hole_, page);
    if (page < ceiling_) ++hole_count_;
  }
}

void SpaceMap::found_hole(PageRun run) {
  for (std::uint64_t i = 0; i < run.count; ++i) {
    const std::uint64_t page = raw(run.first) + i;
    if (!is_free(page)) continue;
    set(hole_, page);
    ++hole_count_;
    --free_;
    --free_in_chunk_[page / kChunkPages];
  }
}

PageRun SpaceMap::first_hole(std::uint64_t most) const {
  if (hole_count_ == 0) return {};
  for (std::uint64_t word = 0; word < words_; ++word) {
    if (hole_[word] == 0) continue;
    const std::uint64_t first = word * 64 + static_cast<std::uint64_t>(std::countr_zero(hole_[word]));
    if (first >= limit()) return {};
    std::uint64_t count = 0;
    while (count < most && first + count < limit() && test(hole_, first + count)) ++count;
    return {PageNo{first}, count};
  }
  return {};
}

void SpaceMap::fill_hole(PageRun run) {
  for (std::uint64_t i = 0; i < run.count; ++i) {
    const std::uint64_t page = raw(run.first) + i;
    clear(hole_, page);
    --hole_count_;
    note_free(page);
  }
}

bool SpaceMap::rewritable(PageNo page) const {
  if (on(Fault::kRewriteDurable)) return true;
  return !test(durable_, raw(page)) && !(in_checkpoint_ && test(next_, raw(page)));
}

// --- checkpoints
// -------------------------------------------------------------------------------------------------

void SpaceMap::begin_checkpoint() {
  // `next` holds the state of two checkpoints ago: only chunks that changed since need copying.
  for (std::uint64_t chunk = 0; chunk < chunk_count(); ++chunk) {
    if (chunk_epoch_[chunk] + 1 < epoch_) continue;
    std::memcpy(next_ + chunk * kChunkWords, used_ + chunk * kChunkWords, kPageSize);
  }
  in_checkpoint_ = true;
  ++epoch_;
}

void SpaceMap::end_checkpoint(bool succeeded) {
  if (succeeded) {
    std::swap(durable_, next_);
  } else {
    // Make the next begin_checkpoint() copy everything.
    for (auto& epoch : chunk_epoch_) epoch = epoch_;
  }
  in_checkpoint_ = false;
  // Where nothing changed over two checkpoints, the old and the new durable bits are equal.
  for (std::uint64_t chunk = 0; chunk < chunk_count(); ++chunk) {
    if (chunk_epoch_[chunk] + 2 >= epoch_) recount_chunk(chunk);
  }
}

bool SpaceMap::chunk_empty(std::uint64_t chunk) const {
  const std::uint64_t* words = chunk_words(chunk);
  return std::all_of(words, words + kChunkWords, [](std::uint64_t word) { return word == 0; });
}

std::uint64_t SpaceMap::unsynced() const {
  std::uint64_t pages = 0;
  for (std::uint64_t chunk = 0; chunk < chunk_count(); ++chunk) {
    if (chunk_epoch_[chunk] + 1 < epoch_) continue;  // as the last checkpoint has it
    for (std::uint64_t word = chunk * kChunkWords; word < (chunk + 1) * kChunkWords; ++word)
      pages += static_cast<std::uint64_t>(std::popcount(used_[word] & ~durable_[word]));
  }
  return pages;
}

std::uint64_t SpaceMap::high_water() const {
  for (std::uint64_t word = words_; word > 0; --word) {
    const std::uint64_t next = in_checkpoint_ ? next_[word - 1] : 0;
    const std::uint64_t bits = used_[word - 1] | durable_[word - 1] | busy_[word - 1] | next;
    if (bits != 0) return word * 64 - static_cast<std::uint64_t>(std::countl_zero(bits));
  }
  return 0;
}

}  // namespace lrufs::store
