// setattr and statfs.
#include "tests/support/volume_fixture.h"

namespace lrufs::fs {
namespace {

using test::outcome;

class VolumeAttr : public test::VolumeTest {
 protected:
  std::string set(Ino ino, const AttrChange& change) {
    return outcome(volume().setattr(ino, change, caller_));
  }
  std::uint32_t mode(Ino ino) { return attributes(ino).mode & 07777U; }
};

TEST_F(VolumeAttr, Chmod) {
  const Inode f = file(kRoot, "f");
  age({f.ino});
  EXPECT_EQ(set(f.ino, {.mode = 04711}), "ok");
  EXPECT_EQ(attributes(f.ino).mode, S_IFREG | 04711U);
  EXPECT_EQ(times_set(f.ino), "c");
  EXPECT_EQ(set(f.ino, {.mode = S_IFDIR | 0700U}), "ok");  // the type does not change
  EXPECT_EQ(attributes(f.ino).mode, S_IFREG | 0700U);
}

TEST_F(VolumeAttr, SetattrReturnsTheNewAttributes) {
  const Inode f = file(kRoot, "f");
  const Inode returned = value(volume().setattr(f.ino, {.mode = 0600, .uid = 5, .size = 77}, caller_));
  EXPECT_EQ(returned, attributes(f.ino));
  EXPECT_EQ(returned.size, 77U);
}

TEST_F(VolumeAttr, ChownClearsSetIds) {
  const Inode f = file(kRoot, "f", 06755);
  age({f.ino});
  EXPECT_EQ(set(f.ino, {.uid = 1}), "ok");
  EXPECT_EQ(mode(f.ino), 0755U);
  EXPECT_EQ(attributes(f.ino).uid, 1U);
  EXPECT_EQ(attributes(f.ino).gid, 1000U);
  EXPECT_EQ(times_set(f.ino), "c");
  // Without the group's x bit, S_ISGID means mandatory locking.
  EXPECT_EQ(set(f.ino, {.mode = 06745}), "ok");
  EXPECT_EQ(set(f.ino, {.gid = 2}), "ok");
  EXPECT_EQ(mode(f.ino), 02745U);
  // The mode that a kernel without HANDLE_KILLPRIV sends along.
  EXPECT_EQ(set(f.ino, {.mode = 06755, .uid = 3}), "ok");
  EXPECT_EQ(mode(f.ino), 06755U);
  // Directories keep theirs.
  const Inode dir = folder(kRoot, "d");
  EXPECT_EQ(set(dir.ino, {.mode = 02775}), "ok");
  EXPECT_EQ(set(dir.ino, {.uid = 7, .gid = 7}), "ok");
  EXPECT_EQ(mode(dir.ino), 02775U);
}

TEST_F(VolumeAttr, ChownDropsCapabilities) {
  const Inode f = file(kRoot, "f");
  EXPECT_EQ(outcome(volume().set_xattr(f.ino, "security.capability", test::bytes_of("caps"), 0)), "ok");
  EXPECT_EQ(outcome(volume().set_xattr(f.ino, "user.a", test::bytes_of("1"), 0)), "ok");
  EXPECT_EQ(set(f.ino, {.uid = 1}), "ok");
  EXPECT_EQ(value(volume().list_xattrs(f.ino)), (std::vector<std::string>{"user.a"}));
}

TEST_F(VolumeAttr, TheKernelAsksToClearSetIds) {
  const Inode f = file(kRoot, "f", 06755);
  put(f.ino, "text");
  EXPECT_EQ(set(f.ino, {.size = 1}), "ok");
  EXPECT_EQ(mode(f.ino), 06755U);
  EXPECT_EQ(set(f.ino, {.size = 0, .kill_suid_gid = true}), "ok");
  EXPECT_EQ(mode(f.ino), 0755U);
}

TEST_F(VolumeAttr, Truncate) {
  const Inode f = file(kRoot, "f");
  put(f.ino, "0123456789");
  age({f.ino});
  EXPECT_EQ(set(f.ino, {.size = 4}), "ok");
  EXPECT_EQ(content(f.ino), "0123");
  EXPECT_EQ(times_set(f.ino), "cm");
  EXPECT_EQ(set(f.ino, {.size = 6}), "ok");
  EXPECT_EQ(content(f.ino), std::string("0123\0\0", 6));
  age({f.ino});
  EXPECT_EQ(set(f.ino, {.size = 6}), "ok");  // to the size that it has
  EXPECT_EQ(times_set(f.ino), "cm");
  // Times that come along win.
  EXPECT_EQ(set(f.ino, {.size = 0, .mtime = kLongAgo}), "ok");
  EXPECT_EQ(attributes(f.ino).mtime, kLongAgo);
}

TEST_F(VolumeAttr, TruncateRefuses) {
  EXPECT_EQ(set(kRoot, {.size = 0}), "is_a_directory");
  const Inode link = value(volume().symlink(kRoot, "l", "t", caller_));
  EXPECT_EQ(set(link.ino, {.size = 0}), "invalid");
  const Inode fifo = value(volume().make(kRoot, "p", S_IFIFO | 0644U, 0, caller_));
  EXPECT_EQ(set(fifo.ino, {.size = 0}), "invalid");
  const Inode f = file(kRoot, "f");
  const std::uint64_t limit = store::kMaxFileSize;
  EXPECT_EQ(set(f.ino, {.size = limit + 1}), "file_too_large");
  EXPECT_EQ(set(f.ino, {.size = limit}), "ok");
  EXPECT_EQ(attributes(f.ino).size, limit);
  EXPECT_EQ(set(Ino{999'999}, {.size = 0}), "stale");
}

TEST_F(VolumeAttr, AConfiguredLimitCounts) {
  close();
  volume_options_.max_file_size = 1000;
  open();
  const Inode f = file(kRoot, "f");
  EXPECT_EQ(set(f.ino, {.size = 1001}), "file_too_large");
  EXPECT_EQ(set(f.ino, {.size = 1000}), "ok");
  EXPECT_EQ(outcome(volume().write(f.ino, 1000, test::bytes_of("x"), false)), "file_too_large");
  EXPECT_EQ(outcome(volume().write(f.ino, 999, test::bytes_of("x"), false)), "ok");
}

TEST_F(VolumeAttr, Times) {
  const Inode f = file(kRoot, "f");
  const Timestamp a{.sec = -5, .nsec = 7};
  const Timestamp m{.sec = 5'000'000'000, .nsec = 999'999'999};
  age({f.ino});
  EXPECT_EQ(set(f.ino, {.atime = a, .mtime = m}), "ok");
  EXPECT_EQ(attributes(f.ino).atime, a);
  EXPECT_EQ(attributes(f.ino).mtime, m);
  EXPECT_GT(attributes(f.ino).ctime, kLongAgo);
  reopen();
  EXPECT_EQ(attributes(f.ino).atime, a);
}

// chown(2) of neither owner nor group: ext4 and tmpfs, too, move ctime.
TEST_F(VolumeAttr, NothingToChangeMovesCtime) {
  const Inode f = file(kRoot, "f", 0755);
  age({f.ino});
  EXPECT_EQ(set(f.ino, {}), "ok");
  EXPECT_EQ(times_set(f.ino), "c");
  EXPECT_EQ(mode(f.ino), 0755U);
}

TEST_F(VolumeAttr, UsageShowsTheBoundAndTheUse) {
  const VolumeUsage empty = value(volume().usage());
  EXPECT_EQ(empty.block_size, 4096U);
  EXPECT_LE(empty.blocks * empty.block_size, store_options_.bound);
  EXPECT_GE(empty.blocks * empty.block_size, store_options_.bound / 2);
  EXPECT_EQ(empty.used_blocks + empty.free_blocks, empty.blocks);
  const Inode f = file(kRoot, "f");
  for (int i = 0; i < 8; ++i) put(f.ino, std::string(1U << 20U, 'x'), static_cast<std::uint64_t>(i) << 20U);
  const VolumeUsage used = value(volume().usage());
  EXPECT_EQ(used.blocks, empty.blocks);
  EXPECT_GE(used.used_blocks, empty.used_blocks + 2048);
  EXPECT_LT(used.used_blocks, empty.used_blocks + 2300);
  EXPECT_EQ(used.available_blocks, empty.available_blocks);  // eviction makes room
  EXPECT_LE(used.available_blocks, used.blocks);
  EXPECT_GT(used.files, 0U);
  EXPECT_GT(used.free_files, 0U);
  EXPECT_EQ(used.name_max, 255U);
}

}  // namespace
}  // namespace lrufs::fs
