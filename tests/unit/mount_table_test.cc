// ctest: cmd
#include "cmd/mount_table.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "cmd/mount_helper.h"
#include "cmd/os.h"

namespace lrufs::cmd {
namespace {

constexpr const char* kTable =
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    "27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard\n"
    "40 27 0:50 / /mnt/my\\040cache rw,nosuid,nodev shared:7 - fuse.lrufs /data/a\\134b\\012c.lrufs "
    "rw,user_id=0,group_id=0\n"
    "41 27 0:51 / /mnt/cache rw - fuse.lrufs /data/cache.lrufs rw\n"
    "42 40 0:52 /sub /mnt/my\\040cache/inner ro - tmpfs tmpfs rw\n"
    "43 27 0:53 / /mnt/empty rw - tmpfs  rw\n";

TEST(MountTable, FieldsAndEscapes) {
  const MountTable table = parse_mount_table(kTable);
  ASSERT_EQ(table.size(), 6U);
  EXPECT_EQ(table[1].mount_point, "/");
  EXPECT_EQ(table[1].fs_type, "ext4");  // after several optional fields
  EXPECT_EQ(table[2].id, 40);
  EXPECT_EQ(table[2].parent_id, 27);
  EXPECT_EQ(table[2].mount_point, "/mnt/my cache");
  EXPECT_EQ(table[2].source, "/data/a\\b\nc.lrufs");
  EXPECT_EQ(table[2].options, "rw,nosuid,nodev");
  EXPECT_EQ(table[2].super_options, "rw,user_id=0,group_id=0");
  EXPECT_TRUE(table[2].is_lrufs());
  EXPECT_FALSE(table[4].is_lrufs());
  EXPECT_EQ(table[5].source, "");
}

TEST(MountTable, LinesThatCannotBeUnderstoodAreLeftOut) {
  EXPECT_TRUE(parse_mount_table("").empty());
  EXPECT_TRUE(parse_mount_table("\n\n").empty());
  EXPECT_TRUE(parse_mount_table("x 1 0:1 / /a rw - ext4 d rw\n").empty());
  EXPECT_TRUE(parse_mount_table("1 1 0:1 / /a rw shared:1").empty());
  EXPECT_TRUE(parse_mount_table("1 1 0:1 / /a rw - ").empty());
  EXPECT_EQ(parse_mount_table("junk\n1 1 0:1 / /a rw - ext4 d rw").size(), 1U);  // and no newline at the end
  EXPECT_EQ(parse_mount_table("1 1 0:1 / /a\\04 rw - ext4 d rw").at(0).mount_point, "/a\\04");
  EXPECT_EQ(parse_mount_table("1 1 0:1 / /a\\089 rw - ext4 d rw").at(0).mount_point, "/a\\089");
  EXPECT_EQ(parse_mount_table("1 1 0:1 / /a\\040 rw - ext4 d rw").at(0).mount_point, "/a ");
}

TEST(MountTable, FindsTheMountAtAPathAndAroundIt) {
  const MountTable table = parse_mount_table(kTable);
  ASSERT_NE(mount_at(table, "/mnt/cache"), nullptr);
  EXPECT_EQ(mount_at(table, "/mnt/cache")->source, "/data/cache.lrufs");
  EXPECT_EQ(mount_at(table, "/mnt/cache/x"), nullptr);
  EXPECT_EQ(mount_at(table, "/mnt"), nullptr);
  EXPECT_EQ(mount_containing(table, "/mnt/cache/x/y")->id, 41);
  EXPECT_EQ(mount_containing(table, "/mnt/cache2")->id, 27);  // not a prefix of a name
  EXPECT_EQ(mount_containing(table, "/mnt/my cache/inner/x")->id, 42);
  EXPECT_EQ(mount_containing(table, "/")->id, 27);
  EXPECT_EQ(mount_containing(table, "relative"), nullptr);
}

TEST(MountTable, OfStackedMountsTheTopmostIsSeen) {
  const std::string low = "50 27 0:60 / /m rw - fuse.lrufs /a rw\n";
  const std::string high = "49 50 0:61 / /m rw - fuse.lrufs /b rw\n";
  EXPECT_EQ(mount_at(parse_mount_table(low + high), "/m")->source, "/b");
  EXPECT_EQ(mount_at(parse_mount_table(high + low), "/m")->source, "/b");
  EXPECT_EQ(mount_containing(parse_mount_table(high + low), "/m/x")->source, "/b");
}

TEST(MountTable, MountsOfAStore) {
  const MountTable table = parse_mount_table(kTable);
  ASSERT_EQ(lrufs_mounts_of(table, "/data/cache.lrufs").size(), 1U);
  EXPECT_EQ(lrufs_mounts_of(table, "/data/cache.lrufs")[0]->mount_point, "/mnt/cache");
  EXPECT_TRUE(lrufs_mounts_of(table, "/dev/vda").empty());
}

TEST(MountTable, ReadsTheRealOne) {
  const auto table = read_mount_table();
  ASSERT_TRUE(table);
  EXPECT_NE(mount_at(*table, "/"), nullptr);
  const auto missing = read_mount_table("/nonexistent/mountinfo");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("/nonexistent/mountinfo"), std::string::npos);
}

TEST(Paths, AbsoluteAlsoForWhatDoesNotExist) {
  EXPECT_EQ(absolute_path("/"), "/");
  EXPECT_EQ(absolute_path("/usr/../usr/"), "/usr");
  EXPECT_EQ(absolute_path("/usr/no such thing"), "/usr/no such thing");
  EXPECT_EQ(absolute_path("/usr/nothing/"), "/usr/nothing");
  EXPECT_EQ(absolute_path("/no/such/thing"), "/no/such/thing");
  EXPECT_EQ(absolute_path("/dev/fd/7"), "/dev/fd/7");
  EXPECT_EQ(absolute_path("x.lrufs"), absolute_path(".") + "/x.lrufs");
  EXPECT_EQ(descriptor_of("/dev/fd/7"), 7);
  EXPECT_EQ(descriptor_of("/dev/fd/7x"), -1);
  EXPECT_EQ(descriptor_of("/dev/fd/"), -1);
  EXPECT_EQ(descriptor_of("/mnt"), -1);
  EXPECT_EQ(shown("/a"), "/a");
  EXPECT_EQ(shown("/a b"), "'/a b'");
}

using Words = std::vector<std::string>;

TEST(MountHelper, CallsOfMount8AreMounts) {
  EXPECT_EQ(as_mount_command({"lrufs", "a.lrufs", "/mnt", "-o", "rw,size=1G"}),
            (Words{"mount", "-o", "rw,size=1G", "a.lrufs", "/mnt"}));
  EXPECT_EQ(as_mount_command(
                {"/sbin/mount.fuse.lrufs", "a.lrufs", "/mnt", "-n", "-s", "-t", "fuse.lrufs", "-o", "rw"}),
            (Words{"mount", "-o", "rw", "a.lrufs", "/mnt"}));
  EXPECT_EQ(as_mount_command({"/sbin/mount.lrufs", "stat", "/mnt"}), (Words{"mount", "stat", "/mnt"}));
}

TEST(MountHelper, OrdinaryCallsAreNot) {
  EXPECT_FALSE(as_mount_command({"lrufs"}));
  EXPECT_FALSE(as_mount_command({"lrufs", "--help"}));
  EXPECT_FALSE(as_mount_command({"lrufs", "a.lrufs", "/mnt"}));  // "mount" was forgotten: a usage error
  EXPECT_FALSE(as_mount_command({"lrufs", "mount", "a.lrufs", "/mnt", "-o", "rw"}));
  EXPECT_FALSE(as_mount_command({"lrufs", "mount", "/mnt", "-o", "rw"}));
  EXPECT_FALSE(as_mount_command({"lrufs", "dump", "-o", "a.tar", "a.lrufs"}));
  EXPECT_FALSE(as_mount_command({"lrufs", "--from-checkpoint", "a", "b", "-o", "rw"}));
  EXPECT_FALSE(as_mount_command({"mount.lrufs", "a", "b", "c"}));
}

}  // namespace
}  // namespace lrufs::cmd
