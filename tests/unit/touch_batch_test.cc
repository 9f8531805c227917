// TouchBatch against a map from inodes to their last use.
#include "store/touch_batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "tests/support/random.h"

namespace lrufs::test {
namespace {

using store::Ino;
using store::TouchBatch;
using store::TouchSeq;

class Batch : public ::testing::Test {
 protected:
  void touch(std::uint64_t ino) {
    batch_.touch(Ino{ino});
    model_[ino] = next_ - 1;
  }
  void expect_equal() {
    ASSERT_EQ(batch_.size(), model_.size());
    std::map<std::uint64_t, std::uint64_t> got;
    for (std::size_t shard = 0; shard < TouchBatch::kShards; ++shard) {
      std::uint64_t last = 0;
      for (const auto& touch : batch_.shard(shard)) {
        ASSERT_GT(raw(touch.ino), last) << "by inode";
        last = raw(touch.ino);
        ASSERT_TRUE(got.emplace(raw(touch.ino), raw(touch.seq)).second);
      }
    }
    ASSERT_EQ(got, model_);
  }

  std::atomic<std::uint64_t> next_{10};
  TouchBatch batch_{next_};
  std::map<std::uint64_t, std::uint64_t> model_;
};

TEST_F(Batch, AUseOverwritesTheOneBefore) {
  expect_equal();
  for (const std::uint64_t ino : {7, 8, 7, 7, 9, 8, 8}) touch(ino);
  EXPECT_EQ(batch_.size(), 3U);
  expect_equal();
  EXPECT_EQ(batch_.find(Ino{7}), TouchSeq{13});
  EXPECT_FALSE(batch_.find(Ino{70}));
  for (int i = 0; i < 1'000'000; ++i) batch_.touch(Ino{8});
  EXPECT_EQ(batch_.size(), 3U);
}

TEST_F(Batch, TakenEntriesComeBackUnlessUsedSince) {
  for (const std::uint64_t ino : {1, 2, 3, 4}) touch(ino);
  const auto one = batch_.take(Ino{1});
  const auto two = batch_.take(Ino{2});
  ASSERT_TRUE(one && two);
  EXPECT_FALSE(batch_.take(Ino{1}));
  EXPECT_EQ(batch_.size(), 2U);
  touch(2);
  batch_.restore(*two);  // newest first
  batch_.restore(*one);
  expect_equal();
  EXPECT_EQ(batch_.find(Ino{1}), one->seq);
  EXPECT_NE(batch_.find(Ino{2}), two->seq);
}

TEST_F(Batch, ForgottenEntriesAreGone) {
  for (const std::uint64_t ino : {1, 2, 3}) touch(ino);
  batch_.forget(Ino{1});
  batch_.forget(Ino{50});
  model_.erase(1);
  expect_equal();
  EXPECT_FALSE(batch_.take(Ino{1}));
}

TEST_F(Batch, FullAtItsBound) {
  for (std::uint64_t ino = 1; ino < TouchBatch::kMax; ++ino) touch(ino);
  EXPECT_FALSE(batch_.full());
  touch(1);
  EXPECT_FALSE(batch_.full()) << "no new entry";
  touch(TouchBatch::kMax);
  EXPECT_TRUE(batch_.full());
  // Uses of known inodes make no entries.
  for (int round = 0; round < 6; ++round) {
    for (std::uint64_t ino = 1; ino <= TouchBatch::kMax; ino += 2) touch(ino);
  }
  EXPECT_EQ(batch_.size(), TouchBatch::kMax);
  expect_equal();
}

TEST_F(Batch, RandomUseEqualsTheModel) {
  Random random;
  SCOPED_TRACE(random.hint());
  std::vector<TouchBatch::Touch> taken;  // by a transaction, in the order of taking
  for (std::size_t step = 0; step < scaled(30000); ++step) {
    const std::uint64_t ino = 1 + random.below(600);
    switch (random.below(10)) {
      case 0: {
        batch_.forget(Ino{ino});
        model_.erase(ino);
        // What is gone does not come back.
        std::erase_if(taken, [&](const TouchBatch::Touch& touch) { return raw(touch.ino) == ino; });
        break;
      }
      case 1:
      case 2: {
        const auto touch = batch_.take(Ino{ino});
        ASSERT_EQ(touch.has_value(), model_.contains(ino));
        if (!touch) break;
        ASSERT_EQ(raw(touch->seq), model_[ino]);
        model_.erase(ino);
        taken.push_back(*touch);
        break;
      }
      case 3: {
        if (!random.chance(20)) break;
        if (random.chance(50)) {  // abort
          std::reverse(taken.begin(), taken.end());
          for (const auto& touch : taken) {
            batch_.restore(touch);
            model_.emplace(raw(touch.ino), raw(touch.seq));
          }
        }
        taken.clear();
        break;
      }
      default:
        touch(ino);
        break;
    }
    if (step % 50 == 0) {
      ASSERT_NO_FATAL_FAILURE(expect_equal()) << "step " << step;
    }
  }
}

}  // namespace
}  // namespace lrufs::test
