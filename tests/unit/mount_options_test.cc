// ctest: fuse
// The words of mount(8) and fstab, and what libfuse is given.
#include "fs/fuse/mount_options.h"

#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include "fs/fuse/counters.h"

namespace lrufs::fs::fuse {
namespace {

using store::Code;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

MountOptions parsed(std::string_view list) {
  MountOptions options;
  const auto status = apply_mount_options(options, list);
  EXPECT_TRUE(status) << store::describe(status.error());
  return options;
}

store::Error refused(std::string_view list) {
  MountOptions options;
  const auto status = apply_mount_options(options, list);
  EXPECT_FALSE(status) << list;
  return status ? store::Error() : status.error();
}

WordUse use_of(std::string_view word) {
  MountOptions options;
  const auto use = apply_mount_word(options, word);
  EXPECT_TRUE(use) << word;
  return use.value_or(WordUse::kUnknown);
}

TEST(SplitMountOptions, LeavesEmptyWordsOut) {
  EXPECT_THAT(split_mount_options(""), IsEmpty());
  EXPECT_THAT(split_mount_options(",,"), IsEmpty());
  EXPECT_THAT(split_mount_options("ro,,noatime,"), ElementsAre("ro", "noatime"));
}

TEST(SplitMountOptions, EscapedCommasAndBackslashesStayInTheWord) {
  EXPECT_THAT(split_mount_options(R"(fsname=a\,b,ro)"), ElementsAre("fsname=a,b", "ro"));
  EXPECT_THAT(split_mount_options(R"(fsname=a\\,ro)"), ElementsAre("fsname=a\\", "ro"));
  EXPECT_THAT(split_mount_options(R"(a\b,c\)"), ElementsAre(R"(a\b)", R"(c\)"));
}

TEST(ApplyMountWord, WhatMountPassesOnForFstab) {
  // What mount(8) gives to a helper for "lrufs STORE DIR -o …" of an ordinary line.
  const MountOptions options = parsed(
      "rw,dev,suid,noauto,nofail,_netdev,user=root,x-systemd.automount,X-mount.mkdir,comment=hello,relatime");
  EXPECT_FALSE(options.read_only);
  EXPECT_THAT(options.kernel_words, ElementsAre("dev", "suid"));
}

TEST(ApplyMountWord, TellsWhatItIgnores) {
  for (const char* word : {"defaults", "noauto", "nofail", "user", "users", "x-foo=bar", "nonempty",
                           "default_permissions", "relatime"}) {
    EXPECT_EQ(use_of(word), WordUse::kIgnored) << word;
  }
  for (const char* word : {"ro", "noexec", "allow_other", "noxattr", "no_confine", "threads=3", "io_uring",
                           "placement=spread", "context=system_u"}) {
    EXPECT_EQ(use_of(word), WordUse::kTaken) << word;
  }
  for (const char* word : {"size=10G", "recency=1s", "defaultss", "blkdev", "io_urin", "=", "x"}) {
    EXPECT_EQ(use_of(word), WordUse::kUnknown) << word;
  }
}

TEST(ApplyMountWord, TheLastWordWins) {
  EXPECT_TRUE(parsed("rw,ro").read_only);
  EXPECT_FALSE(parsed("ro,rw").read_only);
  EXPECT_EQ(parsed("placement=spread").placement, Placement::Wish::kSpread);
  EXPECT_EQ(parsed("placement=alone").placement, Placement::Wish::kAlone);
  EXPECT_EQ(parsed("placement=close").placement, Placement::Wish::kClose);
  EXPECT_EQ(parsed("placement=close,placement=auto").placement, Placement::Wish::kAuto);
  EXPECT_THAT(fuse_words(parsed("io_uring")), Contains("io_uring"));
  EXPECT_THAT(fuse_words(parsed("placement=close")), Not(Contains(HasSubstr("placement"))));
  EXPECT_EQ(parsed("threads=2,threads=7").threads, 7U);
}

TEST(ApplyMountOptions, NamesTheUnknownWord) {
  const store::Error error = refused("ro,no_such_thing=1,noatime");
  EXPECT_EQ(error.code, Code::kInvalid);
  EXPECT_THAT(error.message, HasSubstr("no_such_thing=1"));
}

TEST(ApplyMountOptions, RefusesValuesThatCannotBe) {
  for (const char* word : {"threads=0", "threads=257", "threads=", "threads=two", "threads=2x", "placement=",
                           "placement=near", "max_read=17", "max_read=-1", "fsname=", "subtype="}) {
    const store::Error error = refused(word);
    EXPECT_EQ(error.code, Code::kInvalid) << word;
    const std::string name = std::string(word).substr(0, std::string(word).find('='));
    EXPECT_THAT(error.message, HasSubstr(name)) << word;
  }
  EXPECT_THAT(refused("remount").message, HasSubstr("unmount it and mount it again"));
}

TEST(FuseWords, AlwaysLetTheKernelCheckPermissions) {
  MountOptions options;
  options.store = "/srv/cache.lrufs";
  EXPECT_THAT(fuse_words(options),
              ElementsAre("default_permissions", "fsname=/srv/cache.lrufs", "subtype=lrufs", "rw"));
}

TEST(FuseWords, PassOnWhatWasAskedFor) {
  MountOptions options =
      parsed("ro,allow_other,max_read=65536,nodev,noatime,fsname=name,auto_unmount,noxattr,threads=2");
  options.store = "/srv/cache.lrufs";
  EXPECT_THAT(fuse_words(options),
              ElementsAre("default_permissions", "fsname=name", "subtype=lrufs", "ro", "allow_other",
                          "auto_unmount", "max_read=65536", "nodev", "noatime"));
}

TEST(FuseWords, AllowOtherIncludesRoot) {
  EXPECT_THAT(fuse_words(parsed("allow_root")), Contains("allow_root"));
  EXPECT_THAT(fuse_words(parsed("allow_root,allow_other")), Not(Contains("allow_root")));
}

TEST(FuseWords, EscapeTheNameOfTheStore) {
  MountOptions options;
  options.store = R"(/srv/a,b\c)";
  EXPECT_THAT(fuse_words(options), Contains(R"(fsname=/srv/a\,b\\c)"));
}

// Whatever the name is, it comes through libfuse's way of splitting, which is also ours.
RC_GTEST_PROP(FuseWords, NamesComeThrough, (const std::string& name)) {
  RC_PRE(!name.empty() && name.find('\0') == std::string::npos);
  MountOptions options;
  options.store = name;
  for (const std::string& word : fuse_words(options)) {
    if (word.starts_with("fsname="))
      RC_ASSERT(split_mount_options(word) == std::vector<std::string>{"fsname=" + name});
  }
}

TEST(Counters, EachKindOfRequestHasANameOfItsOwn) {
  std::vector<std::string_view> names;
  for (std::size_t i = 0; i < kOpCount; ++i) {
    const std::string_view name = op_name(static_cast<Op>(i));
    EXPECT_THAT(names, Not(Contains(name)));
    EXPECT_NE(name, "unknown");
    names.push_back(name);
  }
}

}  // namespace
}  // namespace lrufs::fs::fuse
