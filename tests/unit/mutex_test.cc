// The store's mutex: who works through many critical sections lets others in between.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "store/thread_annotations.h"

namespace lrufs {
namespace {

using store::Mutex;
using store::MutexLock;

TEST(MutexTest, WhoGivesWayComesAfterOneWhoWaits) {
  for (int round = 0; round < 200; ++round) {
    Mutex mutex;
    std::atomic<bool> was_in = false;
    mutex.lock();
    std::thread other([&] {
      const MutexLock lock(mutex);
      was_in = true;
    });
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!mutex.is_wanted() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    mutex.unlock();
    mutex.give_way();
    mutex.lock();
    EXPECT_TRUE(was_in) << "in round " << round;
    mutex.unlock();
    other.join();
  }
}

TEST(MutexTest, GivingWayToNobodyReturns) {
  Mutex mutex;
  mutex.give_way();
  EXPECT_FALSE(mutex.is_wanted());
}

TEST(MutexTest, ManyWhoGiveWayToEachOtherEnd) {
  Mutex mutex;
  long count = 0;
  constexpr int kThreads = 4;
  constexpr int kRounds = 5000;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        mutex.give_way();
        const MutexLock lock(mutex);
        ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, static_cast<long>(kThreads) * kRounds);
}

}  // namespace
}  // namespace lrufs
