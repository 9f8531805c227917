// Pins and times to live as a file system shows them: the xattrs, and expired names in the way of each
// operation.
#include <sys/xattr.h>

#include <atomic>

#include "fs/keep_xattrs.h"
#include "tests/support/volume_fixture.h"

namespace lrufs::fs {
namespace {

using test::bytes_of;
using test::outcome;
using Names = std::vector<std::string>;

constexpr std::uint64_t kSecond = 1'000'000'000;

class VolumeKeep : public test::VolumeTest {
 protected:
  VolumeKeep() {
    store_options_.wall_clock = [this] { return clock_.load(); };
  }
  std::string set(Ino ino, std::string_view name, std::string_view text, int flags = 0) {
    return outcome(volume().set_xattr(ino, "user.lrufs." + std::string(name), bytes_of(text), flags));
  }
  std::string get(Ino ino, std::string_view name) {
    const auto found = volume().get_xattr(ino, "user.lrufs." + std::string(name));
    return found ? *found : outcome(found);
  }
  std::string remove(Ino ino, std::string_view name) {
    return outcome(volume().remove_xattr(ino, "user.lrufs." + std::string(name)));
  }
  std::string rename(Ino from, std::string_view name, Ino to, std::string_view new_name,
                     RenameMode mode = RenameMode::kReplace) {
    return outcome(volume().rename(from, name, to, new_name, mode, caller_));
  }
  // Of a file that lives for ten seconds.
  Inode brief(Ino parent, std::string_view name) {
    const Inode made = file(parent, name);
    EXPECT_EQ(set(made.ino, "ttl", "10"), "ok");
    return made;
  }
  void let_go(const Inode& inode) { volume().forget(inode.ino, 1); }

  std::atomic<std::uint64_t> clock_{1'000'000 * kSecond};
};

TEST_F(VolumeKeep, ThePinXattr) {
  const Inode f = file(kRoot, "f");
  const Inode d = folder(kRoot, "d");
  for (const Ino ino : {f.ino, d.ino, kRoot}) {
    EXPECT_EQ(get(ino, "pin"), "no_attribute");
    EXPECT_EQ(remove(ino, "pin"), "no_attribute");
    EXPECT_EQ(set(ino, "pin", "2"), "invalid");
    EXPECT_EQ(set(ino, "pin", "1", XATTR_REPLACE), "no_attribute");
    EXPECT_EQ(set(ino, "pin", "1", XATTR_CREATE), "ok");
    EXPECT_EQ(set(ino, "pin", "", XATTR_CREATE), "exists");
    EXPECT_EQ(set(ino, "pin", ""), "ok");
    EXPECT_EQ(get(ino, "pin"), "1");
    EXPECT_EQ(value(volume().list_xattrs(ino)), (Names{"user.lrufs.pin"}));
    EXPECT_EQ(set(ino, "pin", "0"), "ok");
    EXPECT_EQ(get(ino, "pin"), "no_attribute");
    EXPECT_EQ(set(ino, "pin", "1"), "ok");
    EXPECT_EQ(remove(ino, "pin"), "ok");
    EXPECT_EQ(value(volume().list_xattrs(ino)), Names{});
  }
  EXPECT_EQ(get(file(d.ino, "below").ino, "pin"), "no_attribute") << "a pin of its own it has not";
  const Inode link = value(volume().symlink(kRoot, "s", "target", caller_));
  EXPECT_EQ(set(link.ino, "pin", "1"), "not_permitted");
}

TEST_F(VolumeKeep, TheTtlXattr) {
  const Inode f = file(kRoot, "f");
  for (const auto& [text, shown] : std::vector<std::pair<std::string, std::string>>{{"90", "90"},
                                                                                    {"90s", "90"},
                                                                                    {"0.25", "0.25"},
                                                                                    {"1.5s", "1.5"},
                                                                                    {"250ms", "0.25"},
                                                                                    {"5m", "300"},
                                                                                    {"2h", "7200"},
                                                                                    {"7d", "604800"},
                                                                                    {"0.0001", "0.001"}}) {
    EXPECT_EQ(set(f.ino, "ttl", text), "ok") << text;
    EXPECT_EQ(get(f.ino, "ttl"), shown);
  }
  for (const char* text :
       {"", "x", "-1", "1x", "s", "1 s", "1e3", "inf", "nan", "1.2.3", "99999999d", "0x10"})
    EXPECT_EQ(set(f.ino, "ttl", text), "invalid") << text;
  EXPECT_EQ(get(f.ino, "ttl"), "0.001");
  EXPECT_EQ(set(f.ino, "ttl", "90"), "ok");
  EXPECT_EQ(value(volume().list_xattrs(f.ino)), (Names{"user.lrufs.ttl"})) << "the end is not copied";
  EXPECT_EQ(get(f.ino, "expires"), "1000090");
  clock_ += 500'000'000;
  put(f.ino, "written");
  EXPECT_EQ(get(f.ino, "expires"), "1000090.5");
  EXPECT_EQ(set(f.ino, "expires", "5"), "unsupported");
  EXPECT_EQ(set(f.ino, "ttl", "0"), "ok");
  EXPECT_EQ(get(f.ino, "ttl"), "no_attribute");
  EXPECT_EQ(get(f.ino, "expires"), "no_attribute");
  EXPECT_EQ(remove(f.ino, "ttl"), "no_attribute");
  const Inode d = folder(kRoot, "d");
  EXPECT_EQ(set(d.ino, "ttl", "60"), "ok");
  EXPECT_EQ(get(d.ino, "expires"), "no_attribute");
  EXPECT_EQ(get(folder(d.ino, "e").ino, "ttl"), "60");
  EXPECT_EQ(get(file(d.ino, "f").ino, "expires"), "1000060.5");
}

TEST_F(VolumeKeep, ExpiredNamesAreAbsentForEachOperation) {
  const Inode d = folder(kRoot, "d");
  const auto expired = [&](Ino parent, std::string_view name) {
    let_go(brief(parent, name));
    clock_ += 10 * kSecond;
  };
  expired(kRoot, "f");
  EXPECT_EQ(find(kRoot, "f"), "not_found");
  EXPECT_EQ(names(kRoot), (Names{".", "..", "d"}));
  EXPECT_EQ(outcome(volume().unlink(kRoot, "f")), "not_found");
  EXPECT_EQ(volume().store().statistics().expired_objects, 1U);
  expired(kRoot, "f");
  EXPECT_EQ(rename(kRoot, "f", kRoot, "g"), "not_found");
  expired(kRoot, "f");
  const Inode made = file(kRoot, "f");  // a new one
  EXPECT_EQ(ino_of(kRoot, "f"), made.ino);
  expired(kRoot, "g");
  EXPECT_EQ(rename(kRoot, "f", kRoot, "g", RenameMode::kNoReplace), "ok");
  EXPECT_EQ(ino_of(kRoot, "g"), made.ino);
  expired(kRoot, "h");
  EXPECT_EQ(rename(kRoot, "d", kRoot, "h"), "ok") << "a folder in the place of a file that is not there";
  expired(kRoot, "i");
  EXPECT_EQ(outcome(volume().link(made.ino, kRoot, "i")), "ok");
  expired(kRoot, "j");
  EXPECT_EQ(outcome(volume().symlink(kRoot, "j", "target", caller_)), "ok");
  expired(d.ino, "only");
  let_go(folder(kRoot, "k"));
  EXPECT_EQ(rename(kRoot, "k", kRoot, "h"), "ok") << "nothing is in it any more";
  expired(ino_of(kRoot, "h"), "x");
  expired(ino_of(kRoot, "h"), "y");
  EXPECT_EQ(outcome(volume().rmdir(kRoot, "h")), "ok");
  EXPECT_EQ(names(kRoot), (Names{".", "..", "g", "i", "j"}));
}

TEST_F(VolumeKeep, AFolderWithOneThatIsThereIsNotEmpty) {
  const Inode d = folder(kRoot, "d");
  for (int i = 0; i < 100; ++i) let_go(brief(d.ino, std::to_string(i)));
  let_go(file(d.ino, "stays"));
  clock_ += 11 * kSecond;
  EXPECT_EQ(outcome(volume().rmdir(kRoot, "d")), "not_empty");
  EXPECT_EQ(names(d.ino), (Names{".", "..", "stays"}));
  EXPECT_EQ(outcome(volume().unlink(d.ino, "stays")), "ok");
  EXPECT_EQ(outcome(volume().rmdir(kRoot, "d")), "ok") << "a hundred that have expired";
}

TEST_F(VolumeKeep, WhoHasItOpenGoesOn) {
  const Inode f = brief(kRoot, "f");
  put(f.ino, "content");
  clock_ += 11 * kSecond;
  EXPECT_EQ(content(f.ino), "content");
  put(f.ino, "CON");  // is no reason to come back
  EXPECT_EQ(find(kRoot, "f"), "not_found");
  EXPECT_EQ(value(volume().store().reap_expired()), 1U);
  ASSERT_EQ(removed_.size(), 2U);  // the shorter end was told before
  EXPECT_TRUE(removed_.back().kept_as_orphan);
  EXPECT_EQ(content(f.ino), "CONtent");
  EXPECT_EQ(attributes(f.ino).nlink, 0U);
  EXPECT_EQ(get(f.ino, "expires"), "no_attribute");
  EXPECT_EQ(outcome(volume().link(f.ino, kRoot, "back")), "ok");
  EXPECT_EQ(get(f.ino, "expires"), "1000021") << "a new name begins anew";
  volume().forget(f.ino, 2);
}

TEST_F(VolumeKeep, TheMountsDefaultAndTmpfile) {
  store_options_.default_ttl = 10'000;
  reopen();
  const Inode f = file(kRoot, "f");
  EXPECT_EQ(get(f.ino, "ttl"), "10");
  EXPECT_EQ(get(folder(kRoot, "d").ino, "ttl"), "no_attribute");
  const Inode tmp = value(volume().tmpfile(kRoot, 0600, caller_));
  clock_ += 100 * kSecond;
  EXPECT_EQ(outcome(volume().link(tmp.ino, kRoot, "named")), "ok");
  EXPECT_EQ(find(kRoot, "named"), "ok");
  EXPECT_EQ(find(kRoot, "f"), "not_found");
}

TEST_F(VolumeKeep, LookupsAreUsesAndShowTheEnd) {
  store_options_.ttl_from_use = true;
  reopen();
  let_go(brief(kRoot, "f"));
  for (int i = 0; i < 5; ++i) {
    clock_ += 9 * kSecond;
    const Inode seen = value(volume().lookup(kRoot, "f"));
    EXPECT_EQ(seen.expires, clock_ + 10 * kSecond);
    let_go(seen);
    EXPECT_EQ(value(volume().store().reap_expired()), 0U);
  }
  clock_ += 10 * kSecond;
  EXPECT_EQ(find(kRoot, "f"), "not_found");
}

}  // namespace
}  // namespace lrufs::fs
