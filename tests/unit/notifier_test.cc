// ctest: fuse
// What the notifier queues and what it leaves out. What the kernel makes of it:
// tests/mount/live_eviction_kernel.py.
#include "fs/fuse/notifier.h"

#include <gmock/gmock.h>

#include <chrono>
#include <functional>
#include <thread>

namespace lrufs::fs::fuse {
namespace {

using store::Evicted;
using store::Ino;

constexpr Ino kFolder{10};
constexpr Ino kFile{11};

// Without a session every notification fails, which is what an ended connection does as well.
class NotifierTest : public ::testing::Test {
 protected:
  NotifierTest() { nodes_.add(kFolder); }

  static Evicted evicted(Ino ino, Ino parent, bool held) {
    return {
        .ino = ino, .parent = parent, .name = "f" + std::to_string(store::raw(ino)), .kept_as_orphan = held};
  }
  static bool comes_true(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }

  NodeTable nodes_;
};

TEST_F(NotifierTest, NothingBeforeTheStartAndAfterTheEnd) {
  Notifier notifier;
  notifier.removed({evicted(kFile, kFolder, true)});
  EXPECT_EQ(notifier.counts().queued, 0U);
  notifier.start(nullptr, nodes_);
  notifier.stop();
  notifier.stop();
  notifier.removed({evicted(kFile, kFolder, true)});
  EXPECT_EQ(notifier.counts().queued, 0U);
  EXPECT_EQ(notifier.counts().names, 0U);
}

TEST_F(NotifierTest, WhatTheKernelDoesNotHoldItHasNotCached) {
  Notifier notifier;
  notifier.start(nullptr, nodes_);
  notifier.removed({evicted(kFile, Ino{99}, false), evicted(kFile, Ino{99}, true)});
  notifier.stop();
  EXPECT_EQ(notifier.counts().names, 0U);
  EXPECT_EQ(notifier.counts().directories, 0U);
}

TEST_F(NotifierTest, AHeldFileIsToldByName) {
  Notifier notifier;
  notifier.start(nullptr, nodes_);
  notifier.removed({evicted(kFile, kFolder, true)});
  EXPECT_TRUE(comes_true([&] { return notifier.counts().names == 1; }));
}

TEST_F(NotifierTest, TheRootCountsAsHeld) {
  Notifier notifier;
  notifier.start(nullptr, nodes_);
  notifier.removed({evicted(kFile, store::kRootIno, true)});
  EXPECT_TRUE(comes_true([&] { return notifier.counts().names == 1; }));
}

TEST_F(NotifierTest, ForFilesThatAreNotHeldTheirFolderIsToldOnce) {
  Notifier notifier;
  notifier.start(nullptr, nodes_);
  notifier.removed({evicted(Ino{20}, kFolder, false), evicted(Ino{21}, kFolder, false)});
  EXPECT_TRUE(comes_true([&] { return notifier.counts().directories >= 1; }));
  EXPECT_EQ(notifier.counts().names, 0U);
  // Once more, after it has settled: a listing that was on its way may have been cached after the first time.
  EXPECT_TRUE(comes_true([&] { return notifier.counts().directories >= 2; }));
  notifier.stop();
  EXPECT_EQ(notifier.counts().directories, 2U);
}

TEST_F(NotifierTest, BeyondTheBoundOnlyTheFolderIsTold) {
  Notifier notifier(2);
  notifier.start(nullptr, nodes_);
  std::vector<Evicted> many;
  for (std::uint64_t i = 0; i < 5; ++i) many.push_back(evicted(Ino{20 + i}, kFolder, true));
  notifier.removed(many);
  EXPECT_EQ(notifier.counts().coalesced, 3U);
  EXPECT_TRUE(comes_true([&] { return notifier.counts().names == 2 && notifier.counts().directories >= 1; }));
}

}  // namespace
}  // namespace lrufs::fs::fuse
