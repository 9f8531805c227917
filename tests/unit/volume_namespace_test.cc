// Names: lookup, make, symlink, link, unlink, rmdir.
#include <sys/sysmacros.h>

#include "tests/support/volume_fixture.h"

namespace lrufs::fs {
namespace {

using test::outcome;

class VolumeNamespace : public test::VolumeTest {};

TEST_F(VolumeNamespace, TheRootIsAnEmptyDirectory) {
  const Inode root = attributes(kRoot);
  EXPECT_TRUE(root.is_directory());
  EXPECT_EQ(root.nlink, 2U);
  EXPECT_EQ(root.entries, 0U);
  EXPECT_EQ(find(kRoot, "nothing"), "not_found");
}

TEST_F(VolumeNamespace, MakesObjectsOfEveryType) {
  const struct {
    const char* name;
    std::uint32_t type;
    std::uint64_t rdev;
  } kinds[] = {{"file", S_IFREG, 0},
               {"fifo", S_IFIFO, 0},
               {"socket", S_IFSOCK, 0},
               {"char", S_IFCHR, makedev(1, 3)},
               {"block", S_IFBLK, makedev(8, 17)},
               {"dir", S_IFDIR, 0}};
  for (const auto& kind : kinds) {
    const auto made = volume().make(kRoot, kind.name, kind.type | 0640U, kind.rdev, caller_);
    ASSERT_EQ(outcome(made), "ok") << kind.name;
    EXPECT_EQ(made->mode, kind.type | 0640U) << kind.name;
    EXPECT_EQ(made->rdev, kind.rdev) << kind.name;
    EXPECT_EQ(made->uid, 1000U);
    EXPECT_EQ(made->gid, 1000U);
    EXPECT_EQ(made->size, 0U);
    EXPECT_EQ(made->nlink, kind.type == S_IFDIR ? 2U : 1U) << kind.name;
    EXPECT_EQ(*made, attributes(made->ino)) << kind.name;
    EXPECT_EQ(ino_of(kRoot, kind.name), made->ino);
  }
  EXPECT_EQ(attributes(kRoot).entries, std::size(kinds));
  EXPECT_EQ(attributes(kRoot).nlink, 3U);
}

TEST_F(VolumeNamespace, MknodWithoutATypeMakesAFile) {
  EXPECT_EQ(value(volume().make(kRoot, "f", 0600, 77, caller_)).mode, S_IFREG | 0600U);
  EXPECT_EQ(attributes(ino_of(kRoot, "f")).rdev, 0U);
  EXPECT_EQ(outcome(volume().make(kRoot, "l", S_IFLNK | 0777U, 0, caller_)), "invalid");
  EXPECT_EQ(outcome(volume().make(kRoot, "x", S_IFMT | 0777U, 0, caller_)), "invalid");
}

TEST_F(VolumeNamespace, MakeSetsTimes) {
  age({kRoot});
  const Inode made = file(kRoot, "f");
  EXPECT_EQ(made.atime, made.btime);
  EXPECT_EQ(made.mtime, made.btime);
  EXPECT_EQ(made.ctime, made.btime);
  EXPECT_LE(made.btime, store::now());
  EXPECT_EQ(times_set(made.ino), "acm");
  EXPECT_EQ(times_set(kRoot), "cm");
}

TEST_F(VolumeNamespace, MakeAppliesTheUmask) {
  caller_.umask = 027;
  EXPECT_EQ(file(kRoot, "f", 0666).mode & 07777U, 0640U);
  EXPECT_EQ(folder(kRoot, "d", 0777).mode & 07777U, 0750U);
  EXPECT_EQ(file(kRoot, "s", 06777).mode & 07777U, 06750U);
}

TEST_F(VolumeNamespace, ASetGidDirectoryGivesItsGroup) {
  const Inode dir = folder(kRoot, "d");
  EXPECT_EQ(outcome(volume().setattr(dir.ino, {.mode = 02775, .gid = 50}, caller_)), "ok");
  const Inode below = folder(dir.ino, "below");
  EXPECT_EQ(below.gid, 50U);
  EXPECT_EQ(below.mode & 07777U, 02755U);
  const Inode child = file(dir.ino, "f");
  EXPECT_EQ(child.gid, 50U);
  EXPECT_EQ(child.mode & 07777U, 0644U);
  EXPECT_EQ(value(volume().symlink(dir.ino, "l", "f", caller_)).gid, 50U);
  // mkdir(2) does not set S_ISGID by itself.
  EXPECT_EQ(folder(kRoot, "plain", 02755).mode & 07777U, 0755U);
}

TEST_F(VolumeNamespace, MakeFindsErrorsInOrder) {
  const Inode f = file(kRoot, "f");
  EXPECT_EQ(outcome(volume().make(kRoot, "f", S_IFREG, 0, caller_)), "exists");
  EXPECT_EQ(outcome(volume().make(kRoot, "f", S_IFDIR, 0, caller_)), "exists");
  EXPECT_EQ(outcome(volume().symlink(kRoot, "f", "t", caller_)), "exists");
  EXPECT_EQ(outcome(volume().make(f.ino, "x", S_IFREG, 0, caller_)), "not_a_directory");
  EXPECT_EQ(outcome(volume().make(Ino{999'999}, "x", S_IFREG, 0, caller_)), "stale");
  EXPECT_EQ(outcome(volume().make(kRoot, std::string(255, 'n'), S_IFREG, 0, caller_)), "ok");
  EXPECT_EQ(outcome(volume().make(kRoot, std::string(256, 'n'), S_IFREG, 0, caller_)), "name_too_long");
  for (const std::string_view name : {std::string_view(""), std::string_view("."), std::string_view(".."),
                                      std::string_view("a/b"), std::string_view("a\0b", 3)}) {
    EXPECT_EQ(outcome(volume().make(kRoot, name, S_IFREG, 0, caller_)), "invalid");
  }
  EXPECT_EQ(attributes(kRoot).entries, 2U);
}

TEST_F(VolumeNamespace, FailedMakesLeaveNothingHeld) {
  const Inode f = file(kRoot, "f");
  (void)volume().make(kRoot, "f", S_IFREG, 0, caller_);
  (void)volume().make(f.ino, "x", S_IFREG, 0, caller_);
  EXPECT_EQ(volume().nodes().size(), 1U);
  EXPECT_EQ(volume().nodes().lookups(f.ino), 1U);
}

TEST_F(VolumeNamespace, NamesAreBytes) {
  const std::string odd = "\xff\xfe \n\t*";
  const Inode f = file(kRoot, odd);
  EXPECT_EQ(ino_of(kRoot, odd), f.ino);
  EXPECT_EQ(find(kRoot, "\xff\xfe"), "not_found");
}

TEST_F(VolumeNamespace, LookupFindsErrorsInOrder) {
  const Inode f = file(kRoot, "f");
  EXPECT_EQ(find(f.ino, "x"), "not_a_directory");
  EXPECT_EQ(find(Ino{999'999}, "x"), "stale");
  EXPECT_EQ(find(kRoot, std::string(256, 'n')), "name_too_long");
}

TEST_F(VolumeNamespace, LookupKnowsDots) {
  const Inode dir = folder(kRoot, "d");
  const Inode below = folder(dir.ino, "below");
  EXPECT_EQ(ino_of(below.ino, "."), below.ino);
  EXPECT_EQ(ino_of(below.ino, ".."), dir.ino);
  EXPECT_EQ(ino_of(dir.ino, ".."), kRoot);
  EXPECT_EQ(ino_of(kRoot, ".."), kRoot);
  const Inode f = file(dir.ino, "f");
  EXPECT_EQ(ino_of(f.ino, "."), f.ino);
  EXPECT_EQ(find(f.ino, ".."), "not_a_directory");
  EXPECT_EQ(find(Ino{999'999}, "."), "stale");
}

TEST_F(VolumeNamespace, Symlinks) {
  age({kRoot});
  const Inode link = value(volume().symlink(kRoot, "l", "../target", caller_));
  EXPECT_EQ(link.mode, S_IFLNK | 0777U);
  EXPECT_EQ(link.size, 9U);
  EXPECT_EQ(times_set(kRoot), "cm");
  EXPECT_EQ(value(volume().readlink(link.ino)), "../target");
  const std::string longest(4095, 'x');
  const Inode large = value(volume().symlink(kRoot, "long", longest, caller_));
  EXPECT_EQ(value(volume().readlink(large.ino)), longest);
  EXPECT_EQ(outcome(volume().symlink(kRoot, "longer", longest + "x", caller_)), "name_too_long");
  EXPECT_EQ(outcome(volume().symlink(kRoot, "empty", "", caller_)), "not_found");
  EXPECT_EQ(outcome(volume().readlink(kRoot)), "invalid");
  EXPECT_EQ(outcome(volume().readlink(Ino{999'999})), "stale");
  caller_.umask = 077;
  EXPECT_EQ(value(volume().symlink(kRoot, "l2", "t", caller_)).mode, S_IFLNK | 0777U);
}

TEST_F(VolumeNamespace, HardLinks) {
  const Inode f = file(kRoot, "f");
  const Inode dir = folder(kRoot, "d");
  put(f.ino, "text");
  age({kRoot, f.ino, dir.ino});
  const Inode linked = value(volume().link(f.ino, dir.ino, "g"));
  EXPECT_EQ(linked.ino, f.ino);
  EXPECT_EQ(linked.nlink, 2U);
  EXPECT_EQ(times_set(f.ino), "c");
  EXPECT_EQ(times_set(dir.ino), "cm");
  EXPECT_EQ(times_set(kRoot), "");
  EXPECT_EQ(volume().nodes().lookups(f.ino), 2U);
  EXPECT_EQ(outcome(volume().unlink(kRoot, "f")), "ok");
  EXPECT_EQ(content(ino_of(dir.ino, "g")), "text");
  EXPECT_EQ(attributes(f.ino).nlink, 1U);
}

TEST_F(VolumeNamespace, LinkRefuses) {
  const Inode f = file(kRoot, "f");
  const Inode dir = folder(kRoot, "d");
  EXPECT_EQ(outcome(volume().link(dir.ino, kRoot, "e")), "not_permitted");
  EXPECT_EQ(outcome(volume().link(f.ino, kRoot, "d")), "exists");
  EXPECT_EQ(outcome(volume().link(f.ino, kRoot, "f")), "exists");
  EXPECT_EQ(outcome(volume().link(f.ino, f.ino, "x")), "not_a_directory");
  EXPECT_EQ(outcome(volume().link(Ino{999'999}, kRoot, "x")), "stale");
  EXPECT_EQ(outcome(volume().link(f.ino, kRoot, std::string(256, 'n'))), "name_too_long");
  EXPECT_EQ(outcome(volume().link(f.ino, kRoot, "..")), "invalid");
  EXPECT_EQ(attributes(f.ino).nlink, 1U);
}

TEST_F(VolumeNamespace, Unlink) {
  const Inode f = file(kRoot, "f");
  folder(kRoot, "d");
  value(volume().link(f.ino, kRoot, "g"));
  age({kRoot, f.ino});
  EXPECT_EQ(outcome(volume().unlink(kRoot, "f")), "ok");
  EXPECT_EQ(times_set(kRoot), "cm");
  EXPECT_EQ(times_set(f.ino), "c");
  EXPECT_EQ(find(kRoot, "f"), "not_found");
  EXPECT_EQ(outcome(volume().unlink(kRoot, "f")), "not_found");
  EXPECT_EQ(outcome(volume().unlink(kRoot, "d")), "is_a_directory");
  EXPECT_EQ(outcome(volume().unlink(kRoot, ".")), "invalid");
  EXPECT_EQ(outcome(volume().unlink(f.ino, "x")), "not_a_directory");
  EXPECT_EQ(outcome(volume().unlink(Ino{999'999}, "x")), "stale");
  EXPECT_EQ(outcome(volume().unlink(kRoot, std::string(256, 'n'))), "name_too_long");
}

TEST_F(VolumeNamespace, Rmdir) {
  const Inode dir = folder(kRoot, "d");
  const Inode below = folder(dir.ino, "below");
  file(kRoot, "f");
  EXPECT_EQ(attributes(dir.ino).nlink, 3U);
  EXPECT_EQ(outcome(volume().rmdir(kRoot, "d")), "not_empty");
  EXPECT_EQ(outcome(volume().rmdir(kRoot, "f")), "not_a_directory");
  EXPECT_EQ(outcome(volume().rmdir(kRoot, "x")), "not_found");
  EXPECT_EQ(outcome(volume().rmdir(kRoot, ".")), "invalid");
  EXPECT_EQ(outcome(volume().rmdir(kRoot, "..")), "invalid");
  age({dir.ino, below.ino});
  EXPECT_EQ(outcome(volume().rmdir(dir.ino, "below")), "ok");
  EXPECT_EQ(times_set(dir.ino), "cm");
  EXPECT_EQ(attributes(dir.ino).nlink, 2U);
  EXPECT_EQ(outcome(volume().rmdir(kRoot, "d")), "ok");
  EXPECT_EQ(names(kRoot), (std::vector<std::string>{".", "..", "f"}));
  EXPECT_EQ(attributes(kRoot).nlink, 2U);
}

TEST_F(VolumeNamespace, ARemovedDirectoryTakesNoNames) {
  const Inode dir = folder(kRoot, "d");  // held: the lookup that make() counted
  const Inode f = file(kRoot, "f");
  EXPECT_EQ(outcome(volume().rmdir(kRoot, "d")), "ok");
  EXPECT_EQ(attributes(dir.ino).nlink, 0U);
  EXPECT_EQ(outcome(volume().make(dir.ino, "x", S_IFREG, 0, caller_)), "not_found");
  EXPECT_EQ(outcome(volume().make(dir.ino, "x", S_IFDIR, 0, caller_)), "not_found");
  EXPECT_EQ(outcome(volume().symlink(dir.ino, "x", "t", caller_)), "not_found");
  EXPECT_EQ(outcome(volume().tmpfile(dir.ino, 0600, caller_)), "not_found");
  EXPECT_EQ(outcome(volume().link(f.ino, dir.ino, "x")), "not_found");
  EXPECT_EQ(outcome(volume().rename(kRoot, "f", dir.ino, "x", RenameMode::kReplace, caller_)), "not_found");
  EXPECT_EQ(outcome(volume().unlink(dir.ino, "x")), "not_found");
  EXPECT_EQ(find(dir.ino, "x"), "not_found");
  EXPECT_EQ(names(dir.ino), (std::vector<std::string>{".", ".."}));
}

TEST_F(VolumeNamespace, EverythingIsThereAfterReopening) {
  const Inode dir = folder(kRoot, "d");
  const Inode f = file(dir.ino, "f");
  put(f.ino, "kept");
  value(volume().symlink(dir.ino, "l", "f", caller_));
  reopen();
  const Ino again = ino_of(kRoot, "d");
  EXPECT_EQ(again, dir.ino);
  EXPECT_EQ(names(again), (std::vector<std::string>{".", "..", "f", "l"}));
  EXPECT_EQ(content(ino_of(again, "f")), "kept");
}

TEST_F(VolumeNamespace, AReadOnlyVolumeChangesNothing) {
  const Inode f = file(kRoot, "f");
  const Inode dir = folder(kRoot, "d");
  put(f.ino, "text");
  close();
  volume_options_.read_only = true;
  open();
  EXPECT_EQ(content(f.ino), "text");
  EXPECT_EQ(ino_of(kRoot, "f"), f.ino);
  EXPECT_EQ(outcome(volume().make(kRoot, "g", S_IFREG, 0, caller_)), "read_only");
  EXPECT_EQ(outcome(volume().symlink(kRoot, "g", "t", caller_)), "read_only");
  EXPECT_EQ(outcome(volume().tmpfile(kRoot, 0600, caller_)), "read_only");
  EXPECT_EQ(outcome(volume().link(f.ino, kRoot, "g")), "read_only");
  EXPECT_EQ(outcome(volume().unlink(kRoot, "f")), "read_only");
  EXPECT_EQ(outcome(volume().rmdir(kRoot, "d")), "read_only");
  EXPECT_EQ(outcome(volume().rename(kRoot, "f", kRoot, "g", RenameMode::kReplace, caller_)), "read_only");
  EXPECT_EQ(outcome(volume().setattr(f.ino, {.mode = 0600}, caller_)), "read_only");
  EXPECT_EQ(outcome(volume().write(f.ino, 0, test::bytes_of("x"), false)), "read_only");
  EXPECT_EQ(outcome(volume().write(f.ino, 0, test::bytes_of(std::string(1 << 20, 'x')), false)), "read_only");
  EXPECT_EQ(outcome(volume().fallocate(f.ino, 0, 0, 100)), "read_only");
  EXPECT_EQ(outcome(volume().set_xattr(f.ino, "user.a", test::bytes_of("x"), 0)), "read_only");
  EXPECT_EQ(outcome(volume().remove_xattr(f.ino, "user.a")), "read_only");
  EXPECT_EQ(outcome(volume().sync(f.ino)), "ok");
  EXPECT_EQ(volume().store().statistics().pending_touches, 0U);
  EXPECT_EQ(names(dir.ino), (std::vector<std::string>{".", ".."}));
}

}  // namespace
}  // namespace lrufs::fs
