#include "fs/acl.h"

#include <gtest/gtest.h>

#include <span>

namespace lrufs::fs {
namespace {

using store::Code;
using Entries = std::vector<AclEntry>;

constexpr auto kUserObj = AclEntry::kUserObj;
constexpr auto kUser = AclEntry::kUser;
constexpr auto kGroupObj = AclEntry::kGroupObj;
constexpr auto kGroup = AclEntry::kGroup;
constexpr auto kMask = AclEntry::kMask;
constexpr auto kOther = AclEntry::kOther;

const Acl kMinimal{Entries{{kUserObj, 7}, {kGroupObj, 5}, {kOther, 4}}};
const Acl kNamed{
    Entries{{kUserObj, 6}, {kUser, 7, 33}, {kGroupObj, 5}, {kGroup, 3, 44}, {kMask, 6}, {kOther, 1}}};

store::Bytes bytes_of(const std::string& text) { return std::as_bytes(std::span(text.data(), text.size())); }

std::string decoded(const Acl& acl) {
  const auto result = decode_acl(bytes_of(encode_acl(acl)));
  return result ? "ok" : std::string(store::code_name(result.error().code));
}

TEST(Acl, HasTheKernelsBytes) {
  const std::string expected(
      "\x02\0\0\0"
      "\x01\0\x07\0\xff\xff\xff\xff"
      "\x04\0\x05\0\xff\xff\xff\xff"
      "\x20\0\x04\0\xff\xff\xff\xff",
      28);
  EXPECT_EQ(encode_acl(kMinimal), expected);
  EXPECT_EQ(*decode_acl(bytes_of(expected)), kMinimal);
}

TEST(Acl, SurvivesTheRoundTrip) { EXPECT_EQ(*decode_acl(bytes_of(encode_acl(kNamed))), kNamed); }

TEST(Acl, NoBytesOrNoEntriesMeanNone) {
  EXPECT_TRUE(decode_acl({})->entries.empty());
  EXPECT_TRUE(decode_acl(bytes_of(encode_acl(Acl{})))->entries.empty());
}

TEST(Acl, RefusesDamagedBytes) {
  const std::string good = encode_acl(kNamed);
  for (std::size_t length = 1; length < good.size(); ++length) {
    if (length == 4) continue;  // a header alone: no entries
    EXPECT_FALSE(decode_acl(bytes_of(good.substr(0, length)))) << length;
  }
  std::string other_version = good;
  other_version[0] = 1;
  EXPECT_EQ(decode_acl(bytes_of(other_version)).error().code, Code::kUnsupported);
}

TEST(Acl, RefusesWhatTheKernelRefuses) {
  EXPECT_EQ(decoded(kMinimal), "ok");
  EXPECT_EQ(decoded(kNamed), "ok");
  EXPECT_EQ(decoded({Entries{{kUserObj, 7}, {kGroupObj, 5}, {kMask, 7}, {kOther, 4}}}), "ok");
  // A part is missing.
  EXPECT_EQ(decoded({Entries{{kUserObj, 7}, {kGroupObj, 5}}}), "invalid");
  EXPECT_EQ(decoded({Entries{{kUserObj, 7}, {kOther, 5}}}), "invalid");
  EXPECT_EQ(decoded({Entries{{kGroupObj, 7}, {kOther, 5}}}), "invalid");
  // Named entries without a mask.
  EXPECT_EQ(decoded({Entries{{kUserObj, 7}, {kUser, 7, 1}, {kGroupObj, 5}, {kOther, 4}}}), "invalid");
  EXPECT_EQ(decoded({Entries{{kUserObj, 7}, {kGroupObj, 5}, {kGroup, 7, 1}, {kOther, 4}}}), "invalid");
  // Twice, or out of order.
  EXPECT_EQ(decoded({Entries{{kUserObj, 7}, {kUserObj, 7}, {kGroupObj, 5}, {kOther, 4}}}), "invalid");
  EXPECT_EQ(decoded({Entries{{kUserObj, 7}, {kOther, 4}, {kGroupObj, 5}}}), "invalid");
  EXPECT_EQ(decoded({Entries{{kUserObj, 7}, {kGroupObj, 5}, {kOther, 4}, {kOther, 4}}}), "invalid");
  EXPECT_EQ(decoded({Entries{{kUserObj, 7}, {kGroupObj, 5}, {kMask, 7}, {kMask, 7}, {kOther, 4}}}),
            "invalid");
  // Permissions and ids that cannot be; a tag that does not exist.
  EXPECT_EQ(decoded({Entries{{kUserObj, 8}, {kGroupObj, 5}, {kOther, 4}}}), "invalid");
  EXPECT_EQ(decoded({Entries{{kUserObj, 7}, {kUser, 7}, {kGroupObj, 5}, {kMask, 7}, {kOther, 4}}}),
            "invalid");
  EXPECT_EQ(decoded({Entries{{static_cast<AclEntry::Tag>(3), 7}, {kGroupObj, 5}, {kOther, 4}}}), "invalid");
}

TEST(Acl, EqualsAModeOnlyWithoutNamesAndMask) {
  EXPECT_TRUE(equals_mode(kMinimal));
  EXPECT_FALSE(equals_mode(kNamed));
  EXPECT_FALSE(equals_mode({Entries{{kUserObj, 7}, {kGroupObj, 5}, {kMask, 7}, {kOther, 4}}}));
}

TEST(Acl, TheMaskIsTheGroupOfTheMode) {
  EXPECT_EQ(mode_of(kMinimal, 0100000), 0100754U);
  EXPECT_EQ(mode_of(kNamed, 0107777), 0107661U);
}

TEST(Acl, InheritCutsBothToWhatTheOtherAllows) {
  Acl acl = kNamed;
  EXPECT_EQ(inherit(acl, 0100654), 0100640U);
  EXPECT_EQ(acl,
            (Acl{Entries{
                {kUserObj, 6}, {kUser, 7, 33}, {kGroupObj, 5}, {kGroup, 3, 44}, {kMask, 4}, {kOther, 0}}}));
  acl = kMinimal;
  EXPECT_EQ(inherit(acl, 0100666), 0100644U);
  EXPECT_EQ(acl, (Acl{Entries{{kUserObj, 6}, {kGroupObj, 4}, {kOther, 4}}}));
}

TEST(Acl, ChmodChangesOwnerMaskAndOther) {
  Acl acl = kNamed;
  apply_chmod(acl, 0100750);
  EXPECT_EQ(acl,
            (Acl{Entries{
                {kUserObj, 7}, {kUser, 7, 33}, {kGroupObj, 5}, {kGroup, 3, 44}, {kMask, 5}, {kOther, 0}}}));
  acl = kMinimal;
  apply_chmod(acl, 0100612);
  EXPECT_EQ(acl, (Acl{Entries{{kUserObj, 6}, {kGroupObj, 1}, {kOther, 2}}}));
}

}  // namespace
}  // namespace lrufs::fs
