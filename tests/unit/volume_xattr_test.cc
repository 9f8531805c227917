// Extended attributes and ACLs.
#include <sys/xattr.h>

#include "fs/acl.h"
#include "tests/support/volume_fixture.h"

namespace lrufs::fs {
namespace {

using test::bytes_of;
using test::outcome;
using Names = std::vector<std::string>;

class VolumeXattr : public test::VolumeTest {
 protected:
  std::string set(Ino ino, std::string_view name, std::string_view text, int flags = 0) {
    return outcome(volume().set_xattr(ino, name, bytes_of(text), flags));
  }
  std::string get(Ino ino, std::string_view name) {
    const auto found = volume().get_xattr(ino, name);
    return found ? *found : outcome(found);
  }
  std::uint32_t mode(Ino ino) { return attributes(ino).mode & 07777U; }

  static std::string acl(std::uint16_t owner, std::uint16_t user33, std::uint16_t group, std::uint16_t mask,
                         std::uint16_t other) {
    return encode_acl({{{AclEntry::kUserObj, owner},
                        {AclEntry::kUser, user33, 33},
                        {AclEntry::kGroupObj, group},
                        {AclEntry::kMask, mask},
                        {AclEntry::kOther, other}}});
  }
  static std::string minimal_acl(std::uint16_t owner, std::uint16_t group, std::uint16_t other) {
    return encode_acl(
        {{{AclEntry::kUserObj, owner}, {AclEntry::kGroupObj, group}, {AclEntry::kOther, other}}});
  }
};

TEST_F(VolumeXattr, SetGetListRemove) {
  const Inode f = file(kRoot, "f");
  age({f.ino});
  EXPECT_EQ(set(f.ino, "user.a", "one"), "ok");
  EXPECT_EQ(times_set(f.ino), "c");
  EXPECT_EQ(set(f.ino, "trusted.b", ""), "ok");
  EXPECT_EQ(set(f.ino, "security.c", std::string("\0\1", 2)), "ok");
  EXPECT_EQ(get(f.ino, "user.a"), "one");
  EXPECT_EQ(get(f.ino, "trusted.b"), "");
  EXPECT_EQ(get(f.ino, "security.c"), std::string("\0\1", 2));
  EXPECT_EQ(set(f.ino, "user.a", "two"), "ok");
  EXPECT_EQ(get(f.ino, "user.a"), "two");
  auto names = value(volume().list_xattrs(f.ino));
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (Names{"security.c", "trusted.b", "user.a"}));
  age({f.ino});
  EXPECT_EQ(outcome(volume().remove_xattr(f.ino, "user.a")), "ok");
  EXPECT_EQ(times_set(f.ino), "c");
  EXPECT_EQ(get(f.ino, "user.a"), "no_attribute");
  EXPECT_EQ(outcome(volume().remove_xattr(f.ino, "user.a")), "no_attribute");
  EXPECT_EQ(value(volume().list_xattrs(kRoot)), Names{});
}

TEST_F(VolumeXattr, CreateAndReplace) {
  const Inode f = file(kRoot, "f");
  EXPECT_EQ(set(f.ino, "user.a", "1", XATTR_REPLACE), "no_attribute");
  EXPECT_EQ(set(f.ino, "user.a", "1", XATTR_CREATE), "ok");
  EXPECT_EQ(set(f.ino, "user.a", "2", XATTR_CREATE), "exists");
  EXPECT_EQ(get(f.ino, "user.a"), "1");
  EXPECT_EQ(set(f.ino, "user.a", "2", XATTR_REPLACE), "ok");
  EXPECT_EQ(set(f.ino, "user.a", "3", XATTR_CREATE | XATTR_REPLACE), "invalid");
  EXPECT_EQ(get(f.ino, "user.a"), "2");
}

TEST_F(VolumeXattr, OnlyKnownNamespaces) {
  const Inode f = file(kRoot, "f");
  for (const std::string name :
       {"system.other", "other.a", "noprefix", "", "os2.x", "systemposix_acl_access"}) {
    EXPECT_EQ(set(f.ino, name, "x"), "unsupported") << name;
    EXPECT_EQ(get(f.ino, name), "unsupported") << name;
    EXPECT_EQ(outcome(volume().remove_xattr(f.ino, name)), "unsupported") << name;
  }
  EXPECT_EQ(set(f.ino, "user.", "x"), "invalid");
  EXPECT_EQ(set(f.ino, "user." + std::string(250, 'n'), "x"), "ok");
  EXPECT_EQ(set(f.ino, "user." + std::string(251, 'n'), "x"), "invalid");
}

TEST_F(VolumeXattr, OwnNamesAreReserved) {
  const Inode f = file(kRoot, "f");
  EXPECT_EQ(set(f.ino, "user.lrufs.anything", "1"), "unsupported");
  EXPECT_EQ(get(f.ino, "user.lrufs.anything"), "no_attribute");
  EXPECT_EQ(set(f.ino, "user.lrufsx", "1"), "ok");
}

TEST_F(VolumeXattr, ValuesHaveALimit) {
  const Inode f = file(kRoot, "f");
  const std::string largest(65'536, 'v');
  EXPECT_EQ(set(f.ino, "user.a", largest), "ok");
  EXPECT_TRUE(get(f.ino, "user.a") == largest);
  EXPECT_EQ(set(f.ino, "user.a", largest + "v"), "value_too_large");
  EXPECT_EQ(set(f.ino, "user.a", "small"), "ok");
  EXPECT_EQ(get(f.ino, "user.a"), "small");
}

TEST_F(VolumeXattr, UserAttributesAreForFilesAndDirectories) {
  const Inode link = value(volume().symlink(kRoot, "l", "t", caller_));
  const Inode fifo = value(volume().make(kRoot, "p", S_IFIFO | 0644U, 0, caller_));
  EXPECT_EQ(set(kRoot, "user.a", "1"), "ok");
  for (const Ino ino : {link.ino, fifo.ino}) {
    EXPECT_EQ(set(ino, "user.a", "1"), "not_permitted");
    EXPECT_EQ(get(ino, "user.a"), "no_attribute");
    EXPECT_EQ(outcome(volume().remove_xattr(ino, "user.a")), "not_permitted");
    EXPECT_EQ(set(ino, "trusted.a", "1"), "ok");
    EXPECT_EQ(set(ino, "security.a", "1"), "ok");
  }
}

TEST_F(VolumeXattr, InodesThatAreGone) {
  EXPECT_EQ(get(Ino{999'999}, "user.a"), "stale");
  EXPECT_EQ(set(Ino{999'999}, "user.a", "1"), "stale");
  EXPECT_EQ(outcome(volume().list_xattrs(Ino{999'999})), "stale");
  EXPECT_EQ(outcome(volume().remove_xattr(Ino{999'999}, "user.a")), "stale");
}

TEST_F(VolumeXattr, AnAccessAclSetsTheMode) {
  const Inode f = file(kRoot, "f", 0644);
  age({f.ino});
  EXPECT_EQ(set(f.ino, kAccessAcl, acl(7, 6, 5, 6, 1)), "ok");
  EXPECT_EQ(mode(f.ino), 0761U);
  EXPECT_EQ(times_set(f.ino), "c");
  EXPECT_EQ(get(f.ino, kAccessAcl), acl(7, 6, 5, 6, 1));
  EXPECT_EQ(value(volume().list_xattrs(f.ino)), Names{std::string(kAccessAcl)});
}

TEST_F(VolumeXattr, AnAclThatSaysTheModeIsNotStored) {
  const Inode f = file(kRoot, "f", 0644);
  EXPECT_EQ(set(f.ino, kAccessAcl, acl(7, 6, 5, 6, 1)), "ok");
  EXPECT_EQ(set(f.ino, kAccessAcl, minimal_acl(6, 4, 0)), "ok");
  EXPECT_EQ(mode(f.ino), 0640U);
  EXPECT_EQ(get(f.ino, kAccessAcl), "no_attribute");
  EXPECT_EQ(value(volume().list_xattrs(f.ino)), Names{});
}

TEST_F(VolumeXattr, AnEmptyAclRemovesIt) {
  const Inode f = file(kRoot, "f", 0644);
  EXPECT_EQ(set(f.ino, kAccessAcl, acl(7, 6, 5, 6, 1)), "ok");
  EXPECT_EQ(set(f.ino, kAccessAcl, ""), "ok");
  EXPECT_EQ(get(f.ino, kAccessAcl), "no_attribute");
  EXPECT_EQ(mode(f.ino), 0761U);
  EXPECT_EQ(set(f.ino, kAccessAcl, ""), "ok");
  EXPECT_EQ(set(f.ino, kAccessAcl, acl(7, 6, 5, 6, 1)), "ok");
  EXPECT_EQ(outcome(volume().remove_xattr(f.ino, kAccessAcl)), "ok");
  EXPECT_EQ(get(f.ino, kAccessAcl), "no_attribute");
  EXPECT_EQ(outcome(volume().remove_xattr(f.ino, kAccessAcl)), "ok")
      << "as ext4 and tmpfs: nothing to remove";
}

TEST_F(VolumeXattr, AclsThatAreNone) {
  const Inode f = file(kRoot, "f", 0644);
  const Inode link = value(volume().symlink(kRoot, "l", "t", caller_));
  EXPECT_EQ(set(f.ino, kAccessAcl, "nonsense"), "unsupported");
  EXPECT_EQ(set(f.ino, kAccessAcl, acl(7, 6, 5, 6, 1).substr(0, 30)), "invalid");
  EXPECT_EQ(set(f.ino, kDefaultAcl, acl(7, 6, 5, 6, 1)), "not_permitted");
  EXPECT_EQ(set(f.ino, kDefaultAcl, ""), "ok");
  EXPECT_EQ(set(link.ino, kAccessAcl, acl(7, 6, 5, 6, 1)), "unsupported");
  EXPECT_EQ(mode(f.ino), 0644U);
}

TEST_F(VolumeXattr, AnAclMayClearSetGid) {
  const Inode f = file(kRoot, "f", 02755);
  EXPECT_EQ(set(f.ino, kAccessAcl, acl(7, 6, 5, 7, 1)), "ok");
  EXPECT_EQ(mode(f.ino), 02771U);
  EXPECT_EQ(outcome(volume().set_xattr(f.ino, kAccessAcl, bytes_of(acl(7, 6, 5, 7, 0)), 0, true)), "ok");
  EXPECT_EQ(mode(f.ino), 0770U);
}

TEST_F(VolumeXattr, ChmodChangesTheAcl) {
  const Inode f = file(kRoot, "f", 0644);
  EXPECT_EQ(set(f.ino, kAccessAcl, acl(7, 6, 5, 6, 1)), "ok");
  EXPECT_EQ(outcome(volume().setattr(f.ino, {.mode = 0540}, caller_)), "ok");
  EXPECT_EQ(mode(f.ino), 0540U);
  EXPECT_EQ(get(f.ino, kAccessAcl), acl(5, 6, 5, 4, 0));
}

TEST_F(VolumeXattr, DefaultAclsAreInherited) {
  const Inode dir = folder(kRoot, "d");
  EXPECT_EQ(set(dir.ino, kDefaultAcl, acl(7, 6, 5, 7, 5)), "ok");
  EXPECT_EQ(mode(dir.ino), 0755U);
  caller_.umask = 077;  // does not count here
  const Inode f = file(dir.ino, "f", 0664);
  EXPECT_EQ(f.mode & 07777U, 0664U);
  EXPECT_EQ(get(f.ino, kAccessAcl), acl(6, 6, 5, 6, 4));
  EXPECT_EQ(get(f.ino, kDefaultAcl), "no_attribute");
  const Inode below = folder(dir.ino, "below", 0750);
  EXPECT_EQ(below.mode & 07777U, 0750U);
  EXPECT_EQ(get(below.ino, kAccessAcl), acl(7, 6, 5, 5, 0));
  EXPECT_EQ(get(below.ino, kDefaultAcl), acl(7, 6, 5, 7, 5));
  const Inode link = value(volume().symlink(dir.ino, "l", "t", caller_));
  EXPECT_EQ(value(volume().list_xattrs(link.ino)), Names{});
  const Inode tmp = value(volume().tmpfile(dir.ino, 0600, caller_));
  EXPECT_EQ(get(tmp.ino, kAccessAcl), acl(6, 6, 5, 0, 0));
  const Inode fifo = value(volume().make(dir.ino, "p", S_IFIFO | 0644U, 0, caller_));
  EXPECT_EQ(get(fifo.ino, kAccessAcl), acl(6, 6, 5, 4, 4));
}

TEST_F(VolumeXattr, AMinimalDefaultAclIsOnlyAMode) {
  const Inode dir = folder(kRoot, "d");
  EXPECT_EQ(set(dir.ino, kDefaultAcl, minimal_acl(7, 4, 0)), "ok");
  caller_.umask = 0777;
  const Inode f = file(dir.ino, "f", 0666);
  EXPECT_EQ(f.mode & 07777U, 0640U);
  EXPECT_EQ(value(volume().list_xattrs(f.ino)), Names{});
  const Inode below = folder(dir.ino, "below", 0777);
  EXPECT_EQ(below.mode & 07777U, 0740U);
  EXPECT_EQ(value(volume().list_xattrs(below.ino)), Names{std::string(kDefaultAcl)});
}

TEST_F(VolumeXattr, AttributesGoWithTheirObject) {
  const Inode f = file(kRoot, "f");
  EXPECT_EQ(set(f.ino, "user.large", std::string(60'000, 'v')), "ok");
  EXPECT_EQ(set(f.ino, "user.small", "1"), "ok");
  reopen();
  EXPECT_EQ(get(f.ino, "user.large").size(), 60'000U);
  EXPECT_EQ(outcome(volume().unlink(kRoot, "f")), "ok");  // the check in the teardown finds lost pages
  EXPECT_EQ(get(f.ino, "user.small"), "stale");
}

}  // namespace
}  // namespace lrufs::fs
