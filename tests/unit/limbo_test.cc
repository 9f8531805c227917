// Limbo: which freed pages wait for which readers.
#include "store/limbo.h"

#include <gtest/gtest.h>

namespace lrufs::store {
namespace {

using std::chrono_literals::operator""ms;

class LimboTest : public ::testing::Test {
 protected:
  LimboTest() { space_.finish_load(4096); }

  // A transaction that takes `count` pages and frees `freed`; returns the pages that it took.
  PageRun commit(std::uint64_t count, PageRun freed = {}) {
    const PageRun taken = space_.take_run(count);
    EXPECT_EQ(taken.count, count);
    readers_.publish(TxnId{++txn_}, {});
    space_.publish(taken);
    if (freed.count > 0) space_.retire_to_limbo(freed);
    if (freed.count > 0) limbo_.add(TxnId{txn_}, freed, now_);
    limbo_.release(now_);
    return taken;
  }
  void later(std::chrono::milliseconds time) {
    now_ += time;
    limbo_.release(now_);
  }

  std::uint64_t txn_ = 0;
  Limbo::Clock::time_point now_ = Limbo::Clock::now();
  ReaderTable readers_;
  SpaceMap space_{4096};
  Limbo limbo_{readers_, space_};
};

TEST_F(LimboTest, WithoutReadersNothingWaits) {
  const PageRun run = commit(10);
  commit(1, run);
  EXPECT_TRUE(limbo_.empty());
  EXPECT_EQ(space_.busy(), 0U);
}

TEST_F(LimboTest, AReaderKeepsWhatItSees) {
  const PageRun run = commit(10);
  const auto reader = readers_.acquire(false);
  commit(1, run);
  EXPECT_EQ(limbo_.pages(), 10U);
  EXPECT_EQ(space_.busy(), 10U);
  later(10'000ms);
  EXPECT_EQ(limbo_.pages(), 10U);
  EXPECT_EQ(limbo_.age(now_), 10'000ms);
  readers_.release(reader, false);
  later(0ms);
  EXPECT_TRUE(limbo_.empty());
  EXPECT_EQ(space_.busy(), 0U);
}

TEST_F(LimboTest, AStalledReaderPinsNothingThatIsBornLater) {
  PageRun seen = commit(10);
  const auto stalled = readers_.acquire(false);
  PageRun churn = commit(5, seen);
  later(Limbo::kStalled + 1ms);  // it is noted that these 5 are taken
  churn = commit(5, churn);
  EXPECT_EQ(limbo_.pages(), 15U);
  for (int i = 0; i < 1000; ++i) churn = commit(5, churn);
  EXPECT_EQ(limbo_.pages(), 15U);
  readers_.release(stalled, false);
  later(0ms);
  EXPECT_TRUE(limbo_.empty());
}

TEST_F(LimboTest, ManyPagesAreNoticedBeforeTime) {
  PageRun churn = commit(100);
  const auto stalled = readers_.acquire(false);
  for (int i = 0; i < 1000; ++i) churn = commit(100, churn);
  EXPECT_LE(limbo_.pages(), 200U);
  readers_.release(stalled, false);
  later(0ms);
  EXPECT_TRUE(limbo_.empty());
}

TEST_F(LimboTest, YoungPagesWaitForYoungReaders) {
  const PageRun seen = commit(10);
  const auto stalled = readers_.acquire(false);
  commit(1, seen);
  later(Limbo::kStalled + 1ms);
  const PageRun young = commit(7);
  const auto reader = readers_.acquire(false);
  commit(1, young);
  EXPECT_EQ(limbo_.pages(), 17U);
  readers_.release(reader, false);
  later(0ms);
  EXPECT_EQ(limbo_.pages(), 10U);
  readers_.release(stalled, false);
  later(0ms);
  EXPECT_TRUE(limbo_.empty());
}

TEST_F(LimboTest, EachStalledReaderPinsWhatItSees) {
  const PageRun first_seen = commit(10);
  const auto first = readers_.acquire(false);
  commit(1, first_seen);
  later(Limbo::kStalled + 1ms);
  const PageRun second_seen = commit(20);
  const auto second = readers_.acquire(false);
  PageRun churn = commit(3, second_seen);
  later(Limbo::kStalled + 1ms);  // noted again
  for (int i = 0; i < 100; ++i) churn = commit(3, churn);
  EXPECT_EQ(limbo_.pages(), 33U);
  // The second one's pages were merged into those that wait for all.
  readers_.release(second, false);
  later(0ms);
  EXPECT_EQ(limbo_.pages(), 33U);
  readers_.release(first, false);
  later(0ms);
  EXPECT_TRUE(limbo_.empty());
  EXPECT_EQ(space_.busy(), 0U);
}

}  // namespace
}  // namespace lrufs::store
