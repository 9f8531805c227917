// Lookup counts, objects without names, eviction of what is held.
#include "tests/support/volume_fixture.h"

namespace lrufs::fs {
namespace {

using test::outcome;

class VolumeOrphan : public test::VolumeTest {
 protected:
  // Evicts everything that can go.
  void evict_all() { EXPECT_EQ(outcome(volume().store().evict(1ULL << 40U)), "ok"); }
};

TEST_F(VolumeOrphan, LookupsAreCounted) {
  const Inode f = file(kRoot, "f");
  EXPECT_EQ(volume().nodes().lookups(f.ino), 1U);
  value(volume().lookup(kRoot, "f"));
  value(volume().link(f.ino, kRoot, "g"));
  EXPECT_EQ(volume().nodes().lookups(f.ino), 3U);
  (void)volume().lookup(kRoot, "nothing");
  (void)volume().getattr(f.ino);
  EXPECT_EQ(volume().nodes().lookups(f.ino), 3U);
  volume().forget(f.ino, 2);
  EXPECT_EQ(volume().nodes().lookups(f.ino), 1U);
  volume().forget(f.ino, 1);
  EXPECT_EQ(volume().nodes().size(), 0U);
  EXPECT_EQ(find(kRoot, "f"), "ok");
}

TEST_F(VolumeOrphan, UnlinkDestroysWhatNobodyHolds) {
  const Inode f = file(kRoot, "f");
  put(f.ino, std::string(100'000, 'x'));
  volume().forget(f.ino, 1);
  EXPECT_EQ(outcome(volume().unlink(kRoot, "f")), "ok");
  EXPECT_EQ(outcome(volume().getattr(f.ino)), "stale");
  EXPECT_EQ(orphans(), 0U);
}

TEST_F(VolumeOrphan, UnlinkKeepsWhatIsHeld) {
  const Inode f = file(kRoot, "f");
  put(f.ino, "text");
  EXPECT_EQ(outcome(volume().unlink(kRoot, "f")), "ok");
  EXPECT_EQ(find(kRoot, "f"), "not_found");
  EXPECT_EQ(orphans(), 1U);
  // It works as an open, unlinked file does.
  put(f.ino, " and more", 4);
  EXPECT_EQ(content(f.ino), "text and more");
  EXPECT_EQ(outcome(volume().setattr(f.ino, {.mode = 0600}, caller_)), "ok");
  EXPECT_EQ(attributes(f.ino).nlink, 0U);
  EXPECT_EQ(outcome(volume().set_xattr(f.ino, "user.a", test::bytes_of("1"), 0)), "ok");
  volume().forget(f.ino, 1);
  EXPECT_EQ(orphans(), 0U);
  EXPECT_EQ(outcome(volume().getattr(f.ino)), "stale");
}

TEST_F(VolumeOrphan, OnlyTheLastForgetDestroys) {
  const Inode f = file(kRoot, "f");
  value(volume().lookup(kRoot, "f"));
  value(volume().lookup(kRoot, "f"));
  EXPECT_EQ(outcome(volume().unlink(kRoot, "f")), "ok");
  volume().forget(f.ino, 2);
  EXPECT_EQ(orphans(), 1U);
  EXPECT_EQ(outcome(volume().getattr(f.ino)), "ok");
  volume().forget(f.ino, 1);
  EXPECT_EQ(orphans(), 0U);
}

TEST_F(VolumeOrphan, RmdirKeepsWhatIsHeld) {
  const Inode dir = folder(kRoot, "d");
  EXPECT_EQ(outcome(volume().rmdir(kRoot, "d")), "ok");
  EXPECT_EQ(attributes(dir.ino).nlink, 0U);
  EXPECT_EQ(orphans(), 1U);
  volume().forget(dir.ino, 1);
  EXPECT_EQ(orphans(), 0U);
  EXPECT_EQ(outcome(volume().getattr(dir.ino)), "stale");
}

TEST_F(VolumeOrphan, TmpfileLivesUntilItIsForgotten) {
  age({kRoot});
  const Inode tmp = value(volume().tmpfile(kRoot, 0600, caller_));
  EXPECT_EQ(tmp.mode, S_IFREG | 0600U);
  EXPECT_EQ(tmp.nlink, 0U);
  EXPECT_EQ(times_set(kRoot), "");
  EXPECT_EQ(orphans(), 1U);
  put(tmp.ino, std::string(200'000, 'y'));
  EXPECT_EQ(content(tmp.ino).size(), 200'000U);
  volume().forget(tmp.ino, 1);
  EXPECT_EQ(orphans(), 0U);
  EXPECT_EQ(outcome(volume().getattr(tmp.ino)), "stale");
}

TEST_F(VolumeOrphan, TmpfileGetsAName) {
  const Inode tmp = value(volume().tmpfile(kRoot, 0600, caller_));
  put(tmp.ino, "text");
  const Inode named = value(volume().link(tmp.ino, kRoot, "f"));
  EXPECT_EQ(named.nlink, 1U);
  EXPECT_EQ(orphans(), 0U);
  volume().forget(tmp.ino, 2);
  volume().wait_for_reclaim();
  EXPECT_EQ(content(ino_of(kRoot, "f")), "text");
  // And loses it again while it is held.
  value(volume().lookup(kRoot, "f"));
  EXPECT_EQ(outcome(volume().unlink(kRoot, "f")), "ok");
  EXPECT_EQ(orphans(), 1U);
  volume().forget(tmp.ino, 1);
  EXPECT_EQ(orphans(), 0U);
}

TEST_F(VolumeOrphan, LeftoversOfACrashAreReclaimed) {
  std::vector<Ino> inodes;
  for (int i = 0; i < 300; ++i) {
    inodes.push_back(file(kRoot, "f" + std::to_string(i)).ino);
    put(inodes.back(), "x");
    EXPECT_EQ(outcome(volume().unlink(kRoot, "f" + std::to_string(i))), "ok");
  }
  EXPECT_EQ(orphans(), 300U);
  reopen();  // the lookups are gone with the process; the orphans are not
  EXPECT_EQ(volume().store().statistics().orphans, 300U);
  EXPECT_EQ(outcome(volume().getattr(inodes[0])), "ok");
  volume().reclaim_leftovers();
  EXPECT_EQ(orphans(), 0U);
  EXPECT_EQ(outcome(volume().getattr(inodes[0])), "stale");
}

TEST_F(VolumeOrphan, LeftoversThatAreHeldStay) {
  const Inode f = file(kRoot, "f");
  EXPECT_EQ(outcome(volume().unlink(kRoot, "f")), "ok");
  volume().reclaim_leftovers();
  EXPECT_EQ(orphans(), 1U);
  volume().forget(f.ino, 1);
  EXPECT_EQ(orphans(), 0U);
}

TEST_F(VolumeOrphan, UnmountingForgetsAll) {
  for (const char* name : {"a", "b", "c"}) file(kRoot, name);
  EXPECT_EQ(outcome(volume().unlink(kRoot, "a")), "ok");
  EXPECT_EQ(outcome(volume().unlink(kRoot, "b")), "ok");
  EXPECT_EQ(orphans(), 2U);
  volume().forget_all();
  EXPECT_EQ(orphans(), 0U);
  EXPECT_EQ(volume().nodes().size(), 0U);
  EXPECT_EQ(find(kRoot, "c"), "ok");
}

TEST_F(VolumeOrphan, ClosingDestroysWhatWasForgotten) {
  for (int i = 0; i < 500; ++i) {
    const std::string name = "f" + std::to_string(i);
    const Inode f = file(kRoot, name);
    EXPECT_EQ(outcome(volume().unlink(kRoot, name)), "ok");
    volume().forget(f.ino, 1);
  }
  reopen();
  EXPECT_EQ(volume().store().statistics().orphans, 0U);
}

TEST_F(VolumeOrphan, EvictionIsTold) {
  const Inode dir = folder(kRoot, "d");
  const Inode f = file(dir.ino, "f");
  put(f.ino, std::string(10'000, 'x'));
  volume().forget(f.ino, 1);
  volume().forget(dir.ino, 1);
  EXPECT_EQ(outcome(volume().store().evict(1)), "ok");
  ASSERT_FALSE(removed_.empty());
  EXPECT_EQ(removed_[0].ino, f.ino);
  EXPECT_EQ(removed_[0].parent, dir.ino);
  EXPECT_EQ(removed_[0].name, "f");
  EXPECT_FALSE(removed_[0].kept_as_orphan);
  EXPECT_EQ(outcome(volume().getattr(f.ino)), "stale");
}

TEST_F(VolumeOrphan, AnEvictedFileStaysForItsReaders) {
  const Inode f = file(kRoot, "f");
  put(f.ino, "still here");
  evict_all();
  EXPECT_EQ(find(kRoot, "f"), "not_found");
  EXPECT_EQ(content(f.ino), "still here");
  ASSERT_EQ(removed_.size(), 1U);
  EXPECT_TRUE(removed_[0].kept_as_orphan);
  EXPECT_EQ(orphans(), 1U);
  volume().forget(f.ino, 1);
  EXPECT_EQ(orphans(), 0U);
  EXPECT_EQ(outcome(volume().getattr(f.ino)), "stale");
}

TEST_F(VolumeOrphan, LookupsWorkAfterEviction) {
  // The first lookup after an eviction takes the careful way; all must agree.
  for (int i = 0; i < 20; ++i) {
    const std::string name = "f" + std::to_string(i);
    const Inode f = file(kRoot, name);
    volume().forget(f.ino, 1);
  }
  EXPECT_EQ(outcome(volume().store().evict(1)), "ok");
  int found = 0;
  for (int i = 0; i < 20; ++i) {
    const auto looked_up = volume().lookup(kRoot, "f" + std::to_string(i));
    if (!looked_up) continue;
    ++found;
    EXPECT_EQ(volume().nodes().lookups(looked_up->ino), 1U);
  }
  EXPECT_EQ(static_cast<std::size_t>(found) + removed_.size(), 20U);
}

TEST_F(VolumeOrphan, CountLookupKnowsWhatIsGone) {
  const Inode f = file(kRoot, "f");
  EXPECT_TRUE(volume().count_lookup(f.ino));
  EXPECT_EQ(volume().nodes().lookups(f.ino), 2U);
  EXPECT_FALSE(volume().count_lookup(Ino{999'999}));
  EXPECT_EQ(volume().nodes().size(), 1U);
}

TEST_F(VolumeOrphan, CountLookupOfAListedEntry) {
  const Inode f = file(kRoot, "f");
  const Inode g = file(kRoot, "g");
  volume().forget(f.ino, 1);
  volume().forget(g.ino, 1);
  std::vector<std::pair<Ino, std::uint64_t>> listed;
  EXPECT_EQ(outcome(volume().list(kRoot, 2, true,
                                  [&](const ListEntry& entry) {
                                    listed.emplace_back(entry.ino, entry.seen);
                                    return true;
                                  })),
            "ok");
  ASSERT_EQ(listed.size(), 2U);
  EXPECT_TRUE(volume().count_lookup(listed[0].first, listed[0].second));
  EXPECT_EQ(outcome(volume().unlink(kRoot, "g")), "ok");
  const auto other = listed[0].first == g.ino ? listed[1] : listed[0];
  const auto gone = listed[0].first == g.ino ? listed[0] : listed[1];
  EXPECT_TRUE(volume().count_lookup(other.first, other.second));
  // Held if it was counted before the unlink, gone otherwise.
  EXPECT_EQ(volume().count_lookup(gone.first, gone.second), gone == listed[0]);
}

}  // namespace
}  // namespace lrufs::fs
