// SpaceMap against a naive model of four vectors of bits.
#include "store/space_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/random.h"

namespace lrufs::test {
namespace {

using store::kHeaderPages;
using store::kNoPage;
using store::PageNo;
using store::PageRun;
using store::SpaceMap;

struct Model {
  explicit Model(std::uint64_t capacity) : used(capacity), durable(capacity), next(capacity), busy(capacity) {
    for (std::uint64_t page = 0; page < kHeaderPages; ++page) used[page] = true;
  }
  [[nodiscard]] bool is_free(std::uint64_t page) const {
    return page < grown && !used[page] && !durable[page] && !busy[page] && !(in_checkpoint && next[page]);
  }
  [[nodiscard]] bool rewritable(std::uint64_t page) const {
    return !durable[page] && !(in_checkpoint && next[page]);
  }
  [[nodiscard]] std::uint64_t free() const {
    std::uint64_t count = 0;
    for (std::uint64_t page = 0; page < grown; ++page) count += is_free(page) ? 1 : 0;
    return count;
  }
  static std::uint64_t count(const std::vector<bool>& bits) {
    return static_cast<std::uint64_t>(std::count(bits.begin(), bits.end(), true));
  }
  std::vector<bool> used, durable, next, busy;
  std::uint64_t grown = 0;
  bool in_checkpoint = false;
};

void expect_equal(const SpaceMap& map, const Model& model) {
  ASSERT_EQ(map.grown(), model.grown);
  ASSERT_EQ(map.used(), Model::count(model.used));
  ASSERT_EQ(map.busy(), Model::count(model.busy));
  ASSERT_EQ(map.free(), model.free());
  ASSERT_EQ(map.free() + map.pending() + map.used() + map.busy(), map.grown());
  std::uint64_t high = 0;
  for (std::uint64_t page = 0; page < model.used.size(); ++page) {
    ASSERT_EQ(map.is_used(PageNo{page}), model.used[page]) << page;
    ASSERT_EQ(map.rewritable(PageNo{page}), model.rewritable(page)) << page;
    const bool next = model.in_checkpoint && model.next[page];
    if (model.used[page] || model.durable[page] || model.busy[page] || next) high = page + 1;
  }
  ASSERT_EQ(map.high_water(), high);
}

// What the store does, step by step and at random.
void run(std::uint64_t capacity, std::uint64_t start, std::size_t steps, Random& random) {
  SpaceMap map(capacity);
  Model model(capacity);
  map.finish_load(start);
  model.grown = start;
  std::vector<PageRun> taken;  // busy, of a transaction
  std::vector<PageRun> used;
  std::vector<PageRun> limbo;
  const auto pick = [&](std::vector<PageRun>& from) {
    const std::size_t at = random.below(from.size());
    PageRun run = from[at];
    from[at] = from.back();
    from.pop_back();
    // Often a part of it only.
    if (run.count > 1 && random.chance(40)) {
      const std::uint64_t cut = random.between(1, run.count - 1);
      from.push_back({run.first + cut, run.count - cut});
      run.count = cut;
    }
    return run;
  };
  const auto each = [](PageRun run, auto&& body) {
    for (std::uint64_t i = 0; i < run.count; ++i) body(raw(run.first) + i);
  };
  for (std::size_t step = 0; step < steps; ++step) {
    switch (random.below(12)) {
      case 0:
      case 1: {
        const PageNo page = map.take_page();
        if (page == kNoPage) {
          ASSERT_EQ(model.free(), 0U);
          break;
        }
        ASSERT_TRUE(model.is_free(raw(page))) << "page " << raw(page) << " was not free";
        model.busy[raw(page)] = true;
        taken.push_back({page, 1});
        break;
      }
      case 2:
      case 3: {
        const std::uint64_t want = 1 + random.skewed(300);
        const PageNo hint = random.chance(40) ? PageNo{random.below(capacity)} : kNoPage;
        const PageRun run = map.take_run(want, hint);
        ASSERT_LE(run.count, want);
        if (run.count == 0) {
          ASSERT_EQ(model.free(), 0U);
          break;
        }
        if (hint != kNoPage && model.is_free(raw(hint))) {
          ASSERT_EQ(run.first, hint);
        }
        each(run, [&](std::uint64_t page) {
          ASSERT_TRUE(model.is_free(page)) << "page " << page << " was not free";
          model.busy[page] = true;
        });
        if (run.count < want) {
          // At most what there is: the run ends where something is taken.
          if (hint == run.first) {
            ASSERT_FALSE(model.is_free(raw(run.first) + run.count));
          }
        }
        taken.push_back(run);
        break;
      }
      case 4:
      case 5: {
        if (taken.empty()) break;
        const PageRun run = pick(taken);
        map.publish(run);
        each(run, [&](std::uint64_t page) {
          model.busy[page] = false;
          model.used[page] = true;
        });
        used.push_back(run);
        break;
      }
      case 6: {
        std::vector<PageRun>& from = random.chance(60) ? taken : limbo;
        if (from.empty()) break;
        const PageRun run = pick(from);
        map.give_back(run);
        each(run, [&](std::uint64_t page) { model.busy[page] = false; });
        break;
      }
      case 7:
      case 8: {
        if (used.empty()) break;
        const PageRun run = pick(used);
        map.retire_to_limbo(run);
        map.give_back(run);
        each(run, [&](std::uint64_t page) { model.used[page] = false; });
        break;
      }
      case 9: {
        if (used.empty()) break;
        const PageRun run = pick(used);
        map.retire_to_limbo(run);
        each(run, [&](std::uint64_t page) {
          model.used[page] = false;
          model.busy[page] = true;
        });
        limbo.push_back(run);
        break;
      }
      case 10: {
        ASSERT_EQ(map.in_checkpoint(), model.in_checkpoint);
        if (!random.chance(30)) break;
        if (!model.in_checkpoint) {
          map.begin_checkpoint();
          model.next = model.used;
          model.in_checkpoint = true;
        } else {
          const bool succeeded = random.chance(75);
          map.end_checkpoint(succeeded);
          if (succeeded) model.durable = model.next;
          model.in_checkpoint = false;
        }
        break;
      }
      default: {
        if (model.grown == capacity || !random.chance(10)) break;
        model.grown = std::min(capacity, model.grown + random.between(1, capacity / 8 + 1));
        map.set_grown(model.grown);
        break;
      }
    }
    if (step % (steps / 20 + 1) == 0) {
      ASSERT_NO_FATAL_FAILURE(expect_equal(map, model)) << "step " << step;
    }
  }
  ASSERT_NO_FATAL_FAILURE(expect_equal(map, model));
  // Everything that is free can be taken, page by page, and not one more.
  std::uint64_t free = model.free();
  while (free > 0) {
    const PageRun run = map.take_run(7);
    ASSERT_GT(run.count, 0U);
    ASSERT_LE(run.count, free);
    free -= run.count;
  }
  ASSERT_EQ(map.take_page(), kNoPage);
  ASSERT_EQ(map.take_run(1).count, 0U);
}

TEST(SpaceMap, SmallStoreEqualsTheModel) {
  for (std::size_t round = 0; round < scaled(30); ++round) {
    Random random;
    SCOPED_TRACE(random.hint());
    ASSERT_NO_FATAL_FAILURE(run(random.between(60, 1500), random.between(17, 60), 4000, random));
  }
}

TEST(SpaceMap, SeveralChunksEqualTheModel) {
  Random random;
  SCOPED_TRACE(random.hint());
  const std::uint64_t capacity = SpaceMap::kChunkPages * 3 - 77;
  ASSERT_NO_FATAL_FAILURE(run(capacity, SpaceMap::kChunkPages - 5, scaled(20000), random));
}

TEST(SpaceMap, HeaderPagesAreNeverTaken) {
  SpaceMap map(64);
  map.finish_load(64);
  EXPECT_EQ(map.used(), kHeaderPages);
  EXPECT_EQ(map.free(), 64 - kHeaderPages);
  for (PageNo page = map.take_page(); page != kNoPage; page = map.take_page())
    EXPECT_GE(raw(page), kHeaderPages);
  EXPECT_EQ(map.free(), 0U);
  EXPECT_EQ(map.busy(), 64 - kHeaderPages);
}

TEST(SpaceMap, PagesOfADurableStateWaitForTheNextCheckpoint) {
  SpaceMap map(200);
  map.finish_load(200);
  const PageRun run = map.take_run(10);
  ASSERT_EQ(run.count, 10U);
  map.publish(run);
  EXPECT_TRUE(map.rewritable(run.first)) << "born after the last checkpoint";
  map.begin_checkpoint();
  EXPECT_FALSE(map.rewritable(run.first)) << "the running checkpoint needs it";
  map.end_checkpoint(true);
  EXPECT_FALSE(map.rewritable(run.first));
  const std::uint64_t free = map.free();
  map.retire_to_limbo(run);
  map.give_back(run);
  EXPECT_EQ(map.free(), free);
  EXPECT_EQ(map.pending(), 10U);
  // A checkpoint that fails frees nothing.
  map.begin_checkpoint();
  EXPECT_EQ(map.pending(), 10U);
  map.end_checkpoint(false);
  EXPECT_EQ(map.pending(), 10U);
  map.begin_checkpoint();
  map.end_checkpoint(true);
  EXPECT_EQ(map.pending(), 0U);
  EXPECT_EQ(map.free(), free + 10);
}

TEST(SpaceMap, PagesBornAndFreedBetweenCheckpointsAreReusedAtOnce) {
  SpaceMap map(200);
  map.finish_load(200);
  for (int i = 0; i < 5; ++i) {
    const PageNo page = map.take_page();
    map.publish({page, 1});
    map.retire_to_limbo({page, 1});
    map.give_back({page, 1});
    EXPECT_EQ(map.take_page(), page) << "recycled ones first";
    map.give_back({page, 1});
  }
}

TEST(SpaceMap, PrefersOneRunOverPieces) {
  SpaceMap map(400);
  map.finish_load(400);
  // Holes of 3, and one of 40 behind them.
  const PageRun all = map.take_run(300);
  ASSERT_EQ(all.count, 300U);
  for (std::uint64_t at = 0; at + 4 < 200; at += 10) map.give_back({all.first + at, 3});
  map.give_back({all.first + 240, 40});
  const PageRun tail = map.take_run(84);  // what was never taken
  ASSERT_EQ(tail.count, 84U);
  const PageRun run = map.take_run(40);
  EXPECT_EQ(run, (PageRun{all.first + 240, 40}));
}

TEST(SpaceMap, ChunksThatChangedAreDirty) {
  SpaceMap map(SpaceMap::kChunkPages * 3);
  map.finish_load(SpaceMap::kChunkPages * 3);
  ASSERT_EQ(map.chunk_count(), 3U);
  EXPECT_TRUE(map.chunk_empty(1));
  for (std::uint64_t chunk = 0; chunk < 3; ++chunk) EXPECT_FALSE(map.chunk_dirty(chunk));
  const PageNo page{SpaceMap::kChunkPages + 5};
  ASSERT_EQ(map.take_run(1, page).first, page);
  EXPECT_FALSE(map.chunk_dirty(1)) << "busy pages are no part of the state";
  map.publish({page, 1});
  EXPECT_TRUE(map.chunk_dirty(1));
  EXPECT_FALSE(map.chunk_dirty(0));
  EXPECT_FALSE(map.chunk_empty(1));
  map.clear_dirty(1);
  map.retire_to_limbo({page, 1});
  map.give_back({page, 1});
  EXPECT_TRUE(map.chunk_dirty(1));
  EXPECT_TRUE(map.chunk_empty(1));
}

TEST(SpaceMap, LoadedBitsCount) {
  SpaceMap map(SpaceMap::kChunkPages * 2);
  std::vector<std::uint64_t> words(store::kPageSize / 8, 0);
  words[0] = 0xFFFF | (0xFULL << 20U);
  map.load_used(0, words.data());
  words[0] = 0xFFFF | (0xFULL << 30U);
  map.load_durable(0, words.data());
  map.log_alloc({PageNo{100}, 3}, false);
  map.log_free({PageNo{20}, 1}, false);
  map.log_alloc({PageNo{200}, 2}, true);
  map.log_free({PageNo{30}, 2}, true);
  map.finish_load(300);
  EXPECT_EQ(map.used(), 16U + 3 + 3);
  EXPECT_EQ(map.pending(), 2U + 2);  // 32, 33, 200, 201
  EXPECT_EQ(map.free(), 300 - map.used() - 4);
  EXPECT_TRUE(map.is_used(PageNo{21}));
  EXPECT_FALSE(map.is_used(PageNo{20}));
  EXPECT_FALSE(map.rewritable(PageNo{32}));
  EXPECT_TRUE(map.rewritable(PageNo{30}));
  EXPECT_EQ(map.high_water(), 202U);
}

// Making the file shorter: no page from the ceiling on is taken, free or pending.
TEST(SpaceMapCeiling, PagesAboveItAreNotTaken) {
  SpaceMap map(1000);
  map.finish_load(1000);
  const PageRun low = map.take_run(100, PageNo{100});
  const PageRun high = map.take_run(100, PageNo{600});
  map.publish(low);
  map.publish(high);
  map.set_ceiling(500);
  EXPECT_EQ(map.free(), 500 - kHeaderPages - 100);
  EXPECT_EQ(map.used_above(), 100U);
  EXPECT_EQ(map.pending(), 0U);
  EXPECT_EQ(map.take_run(10, PageNo{700}).count == 0 || raw(map.take_run(10, PageNo{700}).first) < 500, true);
  while (map.free() > 0) ASSERT_LT(raw(map.take_page()), 500U);
  EXPECT_EQ(map.take_page(), kNoPage);
  map.retire_to_limbo(high);
  EXPECT_EQ(map.used_above(), 0U);
  EXPECT_EQ(map.busy_above(), 100U);
  EXPECT_EQ(map.high_water(), 700U);
  map.give_back(high);
  EXPECT_EQ(map.busy_above(), 0U);
  EXPECT_EQ(map.free(), 0U);
  EXPECT_EQ(map.high_water(), 500U);
  map.set_grown(500);
  map.set_ceiling(SpaceMap::kNoCeiling);
  EXPECT_EQ(map.free(), 0U);
  EXPECT_EQ(map.pending(), 0U);
  map.set_grown(600);
  EXPECT_EQ(map.free(), 100U);
}

TEST(SpaceMapHoles, AreNotTakenBeforeTheyAreFilled) {
  SpaceMap map(1000);
  map.finish_load(1000);
  const PageRun used = map.take_run(50, PageNo{300});
  map.publish(used);
  map.copy_used_to_durable();
  const std::uint64_t free = map.free();
  EXPECT_EQ(map.take_for_hole(0, 800, 900).count, 0U);
  const PageRun first = map.take_for_hole(0, 100, 200);
  EXPECT_EQ(raw(first.first), kHeaderPages);
  EXPECT_EQ(first.count, 200U);
  map.make_hole(first);
  EXPECT_EQ(map.holes(), 200U);
  EXPECT_EQ(map.free(), free - 200);
  EXPECT_EQ(map.pending(), 0U);
  // Freed, but still needed by the durable state: no hole.
  map.retire_to_limbo(used);
  map.give_back(used);
  const PageRun next = map.take_for_hole(290, 50, 900);
  EXPECT_EQ(raw(next.first), 350U);
  map.give_back(next);
  while (map.free() > 0) {
    const std::uint64_t page = raw(map.take_page());
    ASSERT_TRUE(page < kHeaderPages || page >= kHeaderPages + 200) << page;
  }
  map.found_hole({PageNo{300}, 50});  // not free: nothing changes
  EXPECT_EQ(map.holes(), 200U);
  EXPECT_EQ(map.first_hole(30).count, 30U);
  map.fill_hole(map.first_hole(30));
  EXPECT_EQ(map.free(), 30U);
  EXPECT_EQ(map.holes(), 170U);
  map.set_grown(100);  // cuts the rest
  EXPECT_EQ(map.holes(), 100 - kHeaderPages - 30);
}

}  // namespace
}  // namespace lrufs::test
