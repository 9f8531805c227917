// SpaceLog: what is loaded equals what was logged, for every state since the last condensing and the ones
// before it that still have their pages; rewinding, missing space, damage.
#include "store/space_log.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "store/lazy_memory.h"
#include "tests/support/random.h"

namespace lrufs::test {
namespace {

using store::Code;
using store::kHeaderPages;
using store::kPageSize;
using store::PageNo;
using store::PageRun;
using store::SpaceChange;
using store::SpaceLog;
using store::SpaceMap;
using store::SpaceRoots;
using store::TxnId;

class SpaceLogTest : public ::testing::Test {
 protected:
  void make(std::uint64_t capacity) {
    capacity_ = capacity;
    memory_ = store::LazyMemory(capacity * kPageSize);
    pager_ = std::make_unique<store::Pager>(static_cast<std::byte*>(memory_.data()), capacity);
    pager_->set_limit(capacity);
    map_ = std::make_unique<SpaceMap>(capacity);
    map_->finish_load(capacity);
    log_ = std::make_unique<SpaceLog>(*pager_);
  }
  PageRun take(std::uint64_t want) { return map_->take_run(want); }

  // One transaction as the store does it: pages are taken, some used ones freed, all logged and published.
  store::Status commit(const std::vector<PageRun>& taken, const std::vector<PageRun>& freed) {
    std::vector<SpaceChange> changes;
    for (const PageRun& run : taken) changes.push_back({run, false});
    for (const PageRun& run : freed) changes.push_back({run, true});
    std::vector<PageRun> own;
    const auto logged = log_->append(TxnId{++txn_}, changes, [&](std::uint64_t want) {
      const PageRun run = have_space_ ? take(want) : PageRun{};
      if (run.count > 0) own.push_back(run);
      return run;
    });
    if (!logged) {
      for (const PageRun& run : own) map_->give_back(run);
      for (const PageRun& run : taken) map_->give_back(run);
      return logged;
    }
    std::uint64_t own_pages = 0;
    for (const PageRun& run : own) own_pages += run.count;
    std::uint64_t logged_pages = 0;
    for (const SpaceChange& change : changes) {
      if (change.freed) {
        map_->retire_to_limbo(change.run);
        map_->give_back(change.run);
      } else {
        map_->publish(change.run);
        logged_pages += change.run.count;
      }
    }
    std::uint64_t taken_pages = 0;
    for (const PageRun& run : taken) taken_pages += run.count;
    EXPECT_EQ(logged_pages, taken_pages + own_pages) << "the log's own pages are part of the changes";
    return {};
  }
  store::Status random_commit(Random& random) {
    std::vector<PageRun> taken;
    std::vector<PageRun> freed;
    for (std::uint64_t i = random.below(6); i > 0; --i) taken.push_back(take(1 + random.skewed(40)));
    for (std::uint64_t i = random.below(6); i > 0 && !live_.empty(); --i) {
      const std::size_t at = random.below(live_.size());
      freed.push_back(live_[at]);
      live_[at] = live_.back();
      live_.pop_back();
    }
    auto done = commit(taken, freed);
    if (done) live_.insert(live_.end(), taken.begin(), taken.end());
    return done;
  }

  [[nodiscard]] std::vector<bool> used() const {
    std::vector<bool> bits(capacity_);
    for (std::uint64_t page = 0; page < capacity_; ++page) bits[page] = map_->is_used(PageNo{page});
    return bits;
  }
  store::Result<std::vector<bool>> load(const SpaceRoots& roots) {
    SpaceMap map(capacity_);
    SpaceLog reader(*pager_);
    if (const auto loaded = reader.load(roots, map, false, false); !loaded)
      return store::fail(loaded.error());
    std::vector<bool> bits(capacity_);
    for (std::uint64_t page = 0; page < capacity_; ++page) bits[page] = map.is_used(PageNo{page});
    return bits;
  }
  void expect_loads(const SpaceRoots& roots, const std::vector<bool>& expected) {
    const auto loaded = load(roots);
    ASSERT_TRUE(loaded) << describe(loaded.error());
    ASSERT_EQ(*loaded, expected);
  }

  std::uint64_t capacity_ = 0;
  store::LazyMemory memory_;
  std::unique_ptr<store::Pager> pager_;
  std::unique_ptr<SpaceMap> map_;
  std::unique_ptr<SpaceLog> log_;
  std::vector<PageRun> live_;
  std::uint64_t txn_ = 0;
  bool have_space_ = true;
};

// A lost write leaves an older record, whole, where a newer one belongs: its transaction gives it away.
TEST_F(SpaceLogTest, RecordsOfAnotherTimeAreRefused) {
  make(4096);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(commit({take(3)}, {}));
  const store::LogPosition middle = log_->roots().log_end;
  const SpaceRoots older = log_->roots();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(commit({take(3)}, {}));
  const SpaceRoots newest = log_->roots();
  const auto loads = [&](const SpaceRoots& roots, const SpaceLog::Bounds& bounds) {
    SpaceMap map(capacity_);
    SpaceLog reader(*pager_);
    return reader.load(roots, map, false, false, bounds).has_value();
  };
  EXPECT_TRUE(loads(newest, {.last = TxnId{10}, .older_end = middle, .older = TxnId{5}}));
  EXPECT_FALSE(loads(newest, {.last = TxnId{9}, .older_end = middle, .older = TxnId{5}}))
      << "from the future";
  EXPECT_FALSE(loads(newest, {.last = TxnId{10}, .older_end = middle, .older = TxnId{4}}))
      << "the older state's";
  EXPECT_FALSE(loads(newest, {.last = TxnId{10}, .older_end = middle, .older = TxnId{6}})) << "from before";
  EXPECT_TRUE(loads(older, {.last = TxnId{5}}));
  EXPECT_FALSE(loads(older, {.last = TxnId{4}}));
}

TEST_F(SpaceLogTest, NothingLoggedIsAllFree) {
  make(500);
  expect_loads(SpaceRoots{}, used());
  EXPECT_EQ(log_->roots(), SpaceRoots{});
}

TEST_F(SpaceLogTest, EveryStateLoadsAsItWas) {
  Random random;
  SCOPED_TRACE(random.hint());
  make(4000);
  std::vector<std::pair<SpaceRoots, std::vector<bool>>> states;
  std::vector<std::vector<PageRun>> retired;
  int condensed = 0;
  for (int i = 0; i < 1500; ++i) {
    ASSERT_TRUE(random_commit(random));
    if (random.chance(2)) states.emplace_back(log_->roots(), used());
    if (i % 400 == 399) {
      // The old pages stay busy here, so that the older states stay readable, too.
      auto old = log_->condense(*map_);
      ASSERT_TRUE(old) << describe(old.error());
      retired.push_back(*std::move(old));
      ++condensed;
      EXPECT_EQ(log_->log_bytes(), 0U);
      states.emplace_back(log_->roots(), used());
    }
    // A file that is freed must not be reused while older states are still looked at: pages of the log are,
    // others may be.
  }
  EXPECT_EQ(condensed, 3);
  states.emplace_back(log_->roots(), used());
  for (const auto& [roots, bits] : states) ASSERT_NO_FATAL_FAILURE(expect_loads(roots, bits));
  // The pages of map and log are part of the used bits.
  const auto pages = SpaceLog::pages_of(*pager_, log_->roots());
  ASSERT_TRUE(pages);
  EXPECT_FALSE(pages->empty());
  for (const PageRun& run : *pages) {
    for (std::uint64_t i = 0; i < run.count; ++i) ASSERT_TRUE(map_->is_used(run.first + i));
  }
  // Once the caller gives the old pages back, everything adds up.
  for (const auto& runs : retired) {
    for (const PageRun& run : runs) map_->give_back(run);
  }
  EXPECT_EQ(map_->busy(), 0U);
}

TEST_F(SpaceLogTest, ManySegments) {
  make(60000);
  // Single pages, every second one freed: nothing joins.
  std::vector<PageRun> taken;
  for (int i = 0; i < 40000; ++i) taken.push_back({map_->take_page(), 1});
  ASSERT_TRUE(commit(taken, {}));
  std::vector<PageRun> freed;
  for (std::size_t i = 0; i < taken.size(); i += 2) freed.push_back(taken[i]);
  ASSERT_TRUE(commit({}, freed));
  EXPECT_GT(log_->log_bytes(), 3 * SpaceLog::kSegmentPages * kPageSize);
  expect_loads(log_->roots(), used());
}

TEST_F(SpaceLogTest, RunsLongerThanAnEntry) {
  make(1'500'000);
  const PageRun run = take(1'300'000);
  ASSERT_EQ(run.count, 1'300'000U);
  ASSERT_TRUE(commit({run}, {}));
  expect_loads(log_->roots(), used());
  ASSERT_TRUE(commit({}, {{run.first + 3, 1'299'000}}));
  expect_loads(log_->roots(), used());
  ASSERT_TRUE(log_->condense(*map_));
  expect_loads(log_->roots(), used());
}

TEST_F(SpaceLogTest, ALogThatIsContinuedAfterLoading) {
  Random random;
  SCOPED_TRACE(random.hint());
  make(4000);
  for (int round = 0; round < 6; ++round) {
    for (int i = 0; i < 150; ++i) ASSERT_TRUE(random_commit(random));
    if (round == 2) {
      const auto old = log_->condense(*map_);
      ASSERT_TRUE(old);
      for (const PageRun& run : *old) map_->give_back(run);
    }
    const std::vector<bool> before = used();
    const SpaceRoots roots = log_->roots();
    const std::uint64_t bytes = log_->log_bytes();
    map_ = std::make_unique<SpaceMap>(capacity_);
    log_ = std::make_unique<SpaceLog>(*pager_);
    ASSERT_TRUE(log_->load(roots, *map_, false, true));
    map_->finish_load(capacity_);
    ASSERT_EQ(used(), before);
    EXPECT_EQ(log_->roots(), roots);
    EXPECT_EQ(log_->log_bytes(), bytes);
  }
  // After a load only the chunks that the log changed are dirty, and condensing still writes a whole map.
  ASSERT_TRUE(log_->condense(*map_));
  expect_loads(log_->roots(), used());
}

TEST_F(SpaceLogTest, DurableBitsAreLoadedBesideTheUsedOnes) {
  Random random;
  SCOPED_TRACE(random.hint());
  make(3000);
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(random_commit(random));
  const SpaceRoots durable = log_->roots();
  const std::vector<bool> durable_bits = used();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(random_commit(random));
  const std::vector<bool> used_bits = used();
  SpaceMap map(capacity_);
  SpaceLog log(*pager_);
  ASSERT_TRUE(log.load(log_->roots(), map, false, true));
  SpaceLog reader(*pager_);
  ASSERT_TRUE(reader.load(durable, map, true, false));
  map.finish_load(capacity_);
  std::uint64_t pending = 0;
  for (std::uint64_t page = kHeaderPages; page < capacity_; ++page) {
    ASSERT_EQ(map.is_used(PageNo{page}), used_bits[page]);
    ASSERT_EQ(map.rewritable(PageNo{page}), !durable_bits[page]) << page;
    pending += durable_bits[page] && !used_bits[page] ? 1 : 0;
  }
  EXPECT_EQ(map.pending(), pending);
}

TEST_F(SpaceLogTest, RewindForgetsWhatWasAppended) {
  Random random;
  SCOPED_TRACE(random.hint());
  make(6000);
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(random_commit(random));
    if (!random.chance(30)) continue;
    const SpaceRoots roots = log_->roots();
    const std::uint64_t bytes = log_->log_bytes();
    const SpaceLog::Mark mark = log_->mark();
    // Sometimes long enough to begin a new segment.
    std::vector<SpaceChange> changes;
    const std::uint64_t count = random.chance(10) ? 20000 : random.between(1, 50);
    for (std::uint64_t c = 0; c < count; ++c)
      changes.push_back({{PageNo{kHeaderPages + c % 100}, 1}, c % 2 == 0});
    std::vector<PageRun> own;
    ASSERT_TRUE(log_->append(TxnId{++txn_}, changes, [&](std::uint64_t want) {
      own.push_back(take(want));
      return own.back();
    }));
    log_->rewind(mark);
    for (const PageRun& run : own) map_->give_back(run);
    ASSERT_EQ(log_->roots(), roots);
    ASSERT_EQ(log_->log_bytes(), bytes);
    ASSERT_NO_FATAL_FAILURE(expect_loads(roots, used()));
  }
  expect_loads(log_->roots(), used());
}

TEST_F(SpaceLogTest, WithoutSpaceForASegmentTheLogStays) {
  Random random;
  SCOPED_TRACE(random.hint());
  make(6000);
  have_space_ = false;
  const auto first = commit({take(3)}, {});
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().code, Code::kNoSpace);
  EXPECT_EQ(log_->roots(), SpaceRoots{});
  have_space_ = true;
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(random_commit(random));
  have_space_ = false;
  std::size_t refused = 0;
  for (int i = 0; i < 3000 && refused < 3; ++i) {
    const SpaceRoots roots = log_->roots();
    const std::vector<PageRun> live = live_;
    if (random_commit(random)) continue;
    ++refused;
    live_ = live;
    EXPECT_EQ(log_->roots(), roots);
    ASSERT_NO_FATAL_FAILURE(expect_loads(roots, used()));
  }
  EXPECT_EQ(refused, 3U);
  have_space_ = true;
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(random_commit(random));
  expect_loads(log_->roots(), used());
}

TEST_F(SpaceLogTest, CondensingNeedsSpace) {
  make(120);
  ASSERT_TRUE(commit({take(20)}, {}));
  const SpaceRoots roots = log_->roots();
  const PageRun rest = take(120);
  ASSERT_GT(rest.count, 10U);
  const std::vector<bool> before = used();
  const auto condensed = log_->condense(*map_);
  ASSERT_FALSE(condensed);
  EXPECT_EQ(condensed.error().code, Code::kNoSpace);
  EXPECT_EQ(log_->roots(), roots);
  EXPECT_EQ(used(), before);
  expect_loads(roots, before);
}

TEST_F(SpaceLogTest, CondensesOnlyALongLog) {
  make(60000);
  EXPECT_FALSE(log_->wants_condensing(*map_));
  const PageRun run = take(1);
  ASSERT_TRUE(commit({run}, {}));
  std::size_t commits = 0;
  while (!log_->wants_condensing(*map_)) {
    ASSERT_TRUE(commit({}, {run}));
    ASSERT_EQ(map_->take_run(1, run.first), run);
    ASSERT_TRUE(commit({run}, {}));
    ASSERT_LT(++commits, 100000U);
  }
  EXPECT_GT(log_->log_bytes(), 1U << 19U);
  ASSERT_TRUE(log_->condense(*map_));
  EXPECT_FALSE(log_->wants_condensing(*map_));
  expect_loads(log_->roots(), used());
}

TEST_F(SpaceLogTest, EveryDamagedByteIsNoticed) {
  Random random;
  SCOPED_TRACE(random.hint());
  make(3000);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(random_commit(random));
  const auto retired = log_->condense(*map_);
  ASSERT_TRUE(retired);
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(random_commit(random));
  const SpaceRoots roots = log_->roots();
  const auto expect_noticed = [&](std::uint64_t offset) {
    std::byte* byte = static_cast<std::byte*>(memory_.data()) + offset;
    const std::byte saved = *byte;
    *byte ^= static_cast<std::byte>(1U << random.below(8));
    const auto loaded = load(roots);
    *byte = saved;
    ASSERT_FALSE(loaded) << "byte " << offset % kPageSize << " of page " << offset / kPageSize;
    ASSERT_EQ(loaded.error().code, Code::kCorrupt);
    ASSERT_NE(loaded.error().message, "");
  };
  // The log up to its end.
  for (std::uint64_t at = 0; at < roots.log_end.offset; ++at)
    ASSERT_NO_FATAL_FAILURE(expect_noticed(raw(roots.log_end.segment) * kPageSize + at));
  // The map: its directory and chunks.
  const auto pages = SpaceLog::pages_of(*pager_, roots);
  ASSERT_TRUE(pages);
  std::size_t map_pages = 0;
  for (const PageRun& run : *pages) {
    if (run.first == roots.log_end.segment) continue;
    ++map_pages;
    for (std::uint64_t at = 0; at < kPageSize; at += 1 + random.below(20))
      ASSERT_NO_FATAL_FAILURE(expect_noticed(raw(run.first) * kPageSize + at));
  }
  EXPECT_EQ(map_pages, 2U);  // a directory page, a chunk
  expect_loads(roots, used());
}

TEST_F(SpaceLogTest, WrongRootsAreNoticed) {
  Random random;
  SCOPED_TRACE(random.hint());
  make(3000);
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(random_commit(random));
  SpaceRoots roots = log_->roots();
  const auto expect_corrupt = [&](const SpaceRoots& wrong) {
    const auto loaded = load(wrong);
    ASSERT_FALSE(loaded);
    EXPECT_EQ(loaded.error().code, Code::kCorrupt);
  };
  for (const std::uint64_t offset : {roots.log_end.offset + 8, roots.log_end.offset - 8, std::uint64_t{0},
                                     std::uint64_t{33}, std::uint64_t{~0ULL}}) {
    SpaceRoots wrong = roots;
    wrong.log_end.offset = offset;
    expect_corrupt(wrong);
  }
  SpaceRoots wrong = roots;
  wrong.log = PageNo{5};
  expect_corrupt(wrong);
  wrong.log = PageNo{1ULL << 60U};
  expect_corrupt(wrong);
  wrong = roots;
  wrong.directory = roots.log;
  expect_corrupt(wrong);
  // A file that was cut off.
  pager_->set_limit(raw(roots.log) + 1);
  expect_corrupt(roots);
  pager_->set_limit(capacity_);
  expect_loads(roots, used());
}

// The bound became smaller after pages behind it were used and freed: they are gone with the end of the file.
TEST_F(SpaceLogTest, LoadsAfterTheBoundWasReduced) {
  for (const bool condensed : {false, true}) {
    SCOPED_TRACE(condensed);
    make(SpaceMap::kChunkPages * 3);
    ASSERT_TRUE(commit({take(100)}, {}));
    const PageRun high = map_->take_run(50, PageNo{SpaceMap::kChunkPages * 2 + 10});
    ASSERT_EQ(high.count, 50U);
    ASSERT_TRUE(commit({high}, {}));
    if (condensed) {
      const auto old = log_->condense(*map_);
      ASSERT_TRUE(old);
      for (const PageRun& run : *old) map_->give_back(run);
    }
    const std::uint64_t smaller = SpaceMap::kChunkPages / 2;
    const auto load_smaller = [&](SpaceLog& log, SpaceMap& map) {
      pager_->set_limit(smaller);
      const auto loaded = log.load(log_->roots(), map, false, true);
      pager_->set_limit(capacity_);
      return loaded;
    };
    {
      // In use behind the new end.
      SpaceMap map(smaller);
      SpaceLog log(*pager_);
      const auto loaded = load_smaller(log, map);
      ASSERT_FALSE(loaded);
      EXPECT_EQ(loaded.error().code, Code::kCorrupt);
    }
    ASSERT_TRUE(commit({}, {high}));
    SpaceMap map(smaller);
    SpaceLog log(*pager_);
    const auto loaded = load_smaller(log, map);
    ASSERT_TRUE(loaded) << describe(loaded.error());
    map.finish_load(smaller);
    for (std::uint64_t page = 0; page < smaller; ++page)
      ASSERT_EQ(map.is_used(PageNo{page}), map_->is_used(PageNo{page})) << page;
    EXPECT_LE(map.high_water(), smaller);
    // And it goes on from there.
    const auto old = log.condense(map);
    ASSERT_TRUE(old);
    for (const PageRun& run : *old) map.give_back(run);
    EXPECT_EQ(map.busy(), 0U);
    SpaceMap again(smaller);
    SpaceLog reader(*pager_);
    pager_->set_limit(smaller);
    ASSERT_TRUE(reader.load(log.roots(), again, false, false));
    for (std::uint64_t page = 0; page < smaller; ++page)
      ASSERT_EQ(again.is_used(PageNo{page}), map.is_used(PageNo{page})) << page;
  }
}

}  // namespace
}  // namespace lrufs::test
