// The reclaimer alone: its queue, its bound, its end.
#include <set>

#include "fs/reclaimer.h"
#include "store/check.h"
#include "store/store.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace lrufs::fs {
namespace {

using store::Ino;
using store::Inode;

class VolumeReclaimer : public ::testing::Test {
 protected:
  void SetUp() override {
    store::Options options;
    options.bound = 64U << 20U;
    options.background = false;
    options.is_held = [this](Ino ino) { return held_.contains(ino); };
    auto opened = store::Store::open(dir_.file("store"), std::move(options));
    ASSERT_TRUE(opened);
    store_ = *std::move(opened);
  }
  void TearDown() override {
    EXPECT_TRUE(store_->close());
    store_.reset();
    const auto report = store::check_file(dir_.file("store"));
    ASSERT_TRUE(report);
    EXPECT_TRUE(report->clean());
  }

  Ino orphan() {
    Ino ino = store::kNoIno;
    EXPECT_TRUE(store_->update([&](store::Transaction& txn) -> store::Status {
      Inode prototype;
      prototype.mode = S_IFREG | 0600;
      LRUFS_TRY_ASSIGN(Inode made, txn.create(prototype));
      ino = made.ino;
      LRUFS_TRY(txn.orphan(made));
      return txn.put_inode(made);
    }));
    return ino;
  }
  std::vector<Ino> orphans(int count) {
    std::vector<Ino> made;
    for (int i = 0; i < count; ++i) made.push_back(orphan());
    return made;
  }
  std::uint64_t left() { return store_->statistics().orphans; }

  test::TempDir dir_;
  std::set<Ino> held_;
  std::unique_ptr<store::Store> store_;
};

TEST_F(VolumeReclaimer, DestroysWhatIsPushed) {
  const auto all = orphans(3);
  Reclaimer reclaimer(*store_);
  reclaimer.push(all[0]);
  reclaimer.push(all[2]);
  reclaimer.wait_idle();
  EXPECT_EQ(left(), 1U);
  EXPECT_TRUE(store_->snapshot().view().inode(all[1]));
}

TEST_F(VolumeReclaimer, IgnoresWhatIsNoOrphan) {
  Reclaimer reclaimer(*store_);
  reclaimer.push(store::kRootIno);
  reclaimer.push(Ino{12345});
  reclaimer.wait_idle();
  EXPECT_TRUE(store_->snapshot().view().inode(store::kRootIno));
}

TEST_F(VolumeReclaimer, LosesNothingBeyondItsBound) {
  const auto all = orphans(400);
  Reclaimer reclaimer(*store_, 2);
  for (const Ino ino : all) reclaimer.push(ino);
  reclaimer.wait_idle();
  EXPECT_EQ(left(), 0U);
}

TEST_F(VolumeReclaimer, TakesAllLeftoversButThoseHeld) {
  const auto all = orphans(300);
  for (int i = 0; i < 200; ++i)
    held_.insert(all[static_cast<std::size_t>(i)]);  // more than one batch in front
  Reclaimer reclaimer(*store_);
  reclaimer.request_leftovers();
  reclaimer.wait_idle();
  EXPECT_EQ(left(), 200U);
}

TEST_F(VolumeReclaimer, StopDoesWhatIsQueued) {
  const auto all = orphans(500);
  {
    Reclaimer reclaimer(*store_);
    for (const Ino ino : all) reclaimer.push(ino);
    reclaimer.stop();
    EXPECT_EQ(left(), 0U);
    reclaimer.push(all[0]);  // ignored
    reclaimer.stop();
  }
}

}  // namespace
}  // namespace lrufs::fs
