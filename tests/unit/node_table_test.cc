#include "fs/node_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <thread>
#include <vector>

namespace lrufs::fs {
namespace {

using store::Ino;

TEST(NodeTable, CountsLookups) {
  NodeTable table;
  EXPECT_FALSE(table.held(Ino{5}));
  table.add(Ino{5});
  table.add(Ino{5}, 3);
  EXPECT_EQ(table.lookups(Ino{5}), 4U);
  EXPECT_EQ(table.size(), 1U);
  EXPECT_FALSE(table.remove(Ino{5}, 3));
  EXPECT_TRUE(table.held(Ino{5}));
  EXPECT_FALSE(table.remove(Ino{5}, 1));
  EXPECT_FALSE(table.held(Ino{5}));
  EXPECT_EQ(table.size(), 0U);
}

TEST(NodeTable, TellsOnceWhenAMarkedInodeIsForgotten) {
  NodeTable table;
  table.add(Ino{7}, 2);
  EXPECT_TRUE(table.mark_orphan(Ino{7}));
  EXPECT_TRUE(table.mark_orphan(Ino{7}));
  EXPECT_FALSE(table.remove(Ino{7}, 1));
  EXPECT_TRUE(table.remove(Ino{7}, 1));
  EXPECT_FALSE(table.remove(Ino{7}, 1));
  // The mark does not outlive the inode.
  table.add(Ino{7});
  EXPECT_FALSE(table.remove(Ino{7}, 1));
}

TEST(NodeTable, DoesNotMarkWhatIsNotHeld) {
  NodeTable table;
  EXPECT_FALSE(table.mark_orphan(Ino{9}));
  table.add(Ino{9});
  EXPECT_FALSE(table.remove(Ino{9}, 1));
}

TEST(NodeTable, KeepsTheMarkWhileCountsChange) {
  NodeTable table;
  table.add(Ino{3});
  table.mark_orphan(Ino{3});
  table.add(Ino{3}, 10);
  EXPECT_EQ(table.lookups(Ino{3}), 11U);
  EXPECT_TRUE(table.remove(Ino{3}, 11));
}

TEST(NodeTable, TakesWhatIsInheritedForHeldUntilTheKernelWasAsked) {
  NodeTable table;
  table.inherit(100);
  EXPECT_TRUE(table.held(Ino{99}));
  EXPECT_FALSE(table.held(Ino{100}));
  EXPECT_EQ(table.lookups(Ino{99}), 0U);
  EXPECT_FALSE(table.mark_orphan(Ino{100}));
  // A FORGET of more than was counted here, or of what was not, brings a marked one back.
  EXPECT_TRUE(table.mark_orphan(Ino{99}));
  EXPECT_TRUE(table.remove(Ino{99}, 7));
  table.add(Ino{98});
  EXPECT_TRUE(table.mark_orphan(Ino{98}));
  EXPECT_TRUE(table.remove(Ino{98}, 7));
  EXPECT_FALSE(table.remove(Ino{97}, 1));
}

TEST(NodeTable, LetsGoOfWhatTheKernelDoesNotHold) {
  NodeTable table;
  table.inherit(100);
  EXPECT_TRUE(table.mark_orphan(Ino{5}));
  table.release(Ino{5});
  EXPECT_FALSE(table.held(Ino{5}));
  EXPECT_FALSE(table.mark_orphan(Ino{5}));
  EXPECT_EQ(table.size(), 0U);
  // One that is looked up again is held by its count.
  table.add(Ino{5});
  EXPECT_TRUE(table.mark_orphan(Ino{5}));
  table.settle(Ino{5});
  EXPECT_TRUE(table.held(Ino{5}));
}

TEST(NodeTable, ForgetsTheInheritanceToo) {
  NodeTable table;
  table.inherit(100);
  table.mark_orphan(Ino{5});
  EXPECT_EQ(table.clear(), std::vector<Ino>{Ino{5}});
  EXPECT_FALSE(table.held(Ino{5}));
  EXPECT_FALSE(table.held(Ino{6}));
}

TEST(NodeTable, SurvivesForgetsThatAreNotOwed) {
  NodeTable table;
  EXPECT_FALSE(table.remove(Ino{1}, 1));
  EXPECT_FALSE(table.remove(store::kNoIno, 1));
  table.add(store::kNoIno);
  EXPECT_EQ(table.size(), 0U);
  table.add(Ino{1});
  EXPECT_FALSE(table.remove(Ino{1}, 0));
  EXPECT_TRUE(table.held(Ino{1}));
  EXPECT_FALSE(table.remove(Ino{1}, 1000));
  EXPECT_FALSE(table.held(Ino{1}));
}

TEST(NodeTable, CountsBeyond32Bits) {
  NodeTable table;
  const std::uint64_t large = (1ULL << 33U) + 5;
  table.add(Ino{2}, large);
  table.add(Ino{2});
  table.mark_orphan(Ino{2});
  EXPECT_EQ(table.lookups(Ino{2}), large + 1);
  EXPECT_FALSE(table.remove(Ino{2}, large - 1));
  EXPECT_EQ(table.lookups(Ino{2}), 2U);
  table.add(Ino{2}, (1ULL << 31U) - 3);  // the largest count that needs no more than a slot
  EXPECT_EQ(table.lookups(Ino{2}), (1ULL << 31U) - 1);
  table.add(Ino{2});
  EXPECT_EQ(table.lookups(Ino{2}), 1ULL << 31U);
  EXPECT_TRUE(table.remove(Ino{2}, 1ULL << 31U));
}

TEST(NodeTable, ClearReturnsTheMarked) {
  NodeTable table;
  for (std::uint64_t i = 1; i <= 1000; ++i) table.add(Ino{i});
  table.mark_orphan(Ino{10});
  table.mark_orphan(Ino{700});
  auto marked = table.clear();
  std::sort(marked.begin(), marked.end());
  EXPECT_EQ(marked, (std::vector<Ino>{Ino{10}, Ino{700}}));
  EXPECT_EQ(table.size(), 0U);
  EXPECT_FALSE(table.held(Ino{10}));
  table.add(Ino{10});
  EXPECT_EQ(table.lookups(Ino{10}), 1U);
}

TEST(NodeTable, BehavesLikeAMap) {
  NodeTable table;
  std::map<std::uint64_t, std::pair<std::uint64_t, bool>> model;
  std::mt19937_64 random(1);
  for (int round = 0; round < 400'000; ++round) {
    // Phases that grow, and phases that shrink, so that both kinds of resizing and all gaps are met.
    const bool growing = (round / 50'000) % 2 == 0;
    const std::uint64_t ino = 1 + random() % 20'000;
    switch (random() % (growing ? 4 : 2)) {
      case 0: {
        const std::uint64_t count = 1 + random() % 3;
        const auto found = model.find(ino);
        bool expected = false;
        if (found != model.end()) {
          if (found->second.first <= count) {
            expected = found->second.second;
            model.erase(found);
          } else {
            found->second.first -= count;
          }
        }
        ASSERT_EQ(table.remove(Ino{ino}, count), expected);
        break;
      }
      case 1: {
        const auto found = model.find(ino);
        if (found != model.end()) found->second.second = true;
        ASSERT_EQ(table.mark_orphan(Ino{ino}), found != model.end());
        break;
      }
      default:
        table.add(Ino{ino});
        ++model[ino].first;
    }
  }
  EXPECT_EQ(table.size(), model.size());
  for (std::uint64_t ino = 1; ino <= 20'000; ++ino) {
    const auto found = model.find(ino);
    ASSERT_EQ(table.lookups(Ino{ino}), found == model.end() ? 0 : found->second.first);
  }
}

TEST(NodeTable, TakesTwentyBytesAnInodeAndGivesThemBack) {
  NodeTable table;
  constexpr std::uint64_t kCount = 1'000'000;
  double worst = 0;
  double sum = 0;
  int samples = 0;
  for (std::uint64_t i = 1; i <= kCount; ++i) {
    table.add(Ino{i * 3});
    if (i >= 100'000 && i % 10'000 == 0) {
      const double bytes = static_cast<double>(table.memory_bytes()) / static_cast<double>(i);
      worst = std::max(worst, bytes);
      sum += bytes;
      ++samples;
    }
  }
  EXPECT_LE(worst, 21.0);
  EXPECT_LE(sum / samples, 18.0);
  for (std::uint64_t i = 1; i <= kCount; ++i) {
    table.remove(Ino{i * 3}, 1);
    if (i == kCount / 2) {
      EXPECT_LE(table.memory_bytes(), 31 * kCount / 2);
    }
  }
  EXPECT_EQ(table.size(), 0U);
  EXPECT_LE(table.memory_bytes(), 300U * 1024);
}

TEST(NodeTable, ThreadsShareIt) {
  NodeTable table;
  constexpr int kThreads = 4;
  constexpr std::uint64_t kInodes = 5000;
  std::atomic<int> reclaims{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (std::uint64_t i = 1; i <= kInodes; ++i) table.add(Ino{i}, 2);
      for (std::uint64_t i = 1; i <= kInodes; ++i) table.remove(Ino{i}, 1);
    });
  }
  for (auto& thread : threads) thread.join();
  threads.clear();
  EXPECT_EQ(table.size(), kInodes);
  for (std::uint64_t i = 1; i <= kInodes; ++i) table.mark_orphan(Ino{i});
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (std::uint64_t i = 1; i <= kInodes; ++i) reclaims += table.remove(Ino{i}, 1) ? 1 : 0;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(reclaims, static_cast<int>(kInodes));  // each told exactly once
  EXPECT_EQ(table.size(), 0U);
}

}  // namespace
}  // namespace lrufs::fs
