#include "fs/acl.h"

#include <cstddef>

namespace lrufs::fs {

using store::Code;
using store::fail;

namespace {

constexpr std::uint32_t kVersion = 2;  // POSIX_ACL_XATTR_VERSION
constexpr std::size_t kHeaderBytes = 4;
constexpr std::size_t kEntryBytes = 8;

std::uint32_t get(store::Bytes bytes, std::size_t at, std::size_t width) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < width; ++i) value |= std::to_integer<std::uint32_t>(bytes[at + i]) << (8 * i);
  return value;
}

void put(std::string& out, std::uint32_t value, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i) out.push_back(static_cast<char>((value >> (8 * i)) & 0xffU));
}

// As posix_acl_valid(): owner, users, group, groups, a mask (a must if users or groups are named), others.
bool valid(const Acl& acl) {
  enum { kWantOwner, kWantUsers, kWantGroups, kWantOther, kDone } want = kWantOwner;
  bool named = false;
  bool mask = false;
  for (const AclEntry& entry : acl.entries) {
    if (entry.permissions > 7) return false;
    switch (entry.tag) {
      case AclEntry::kUserObj:
        if (want != kWantOwner) return false;
        want = kWantUsers;
        break;
      case AclEntry::kUser:
        if (want != kWantUsers || entry.id == AclEntry::kNoId) return false;
        named = true;
        break;
      case AclEntry::kGroupObj:
        if (want != kWantUsers) return false;
        want = kWantGroups;
        break;
      case AclEntry::kGroup:
        if (want != kWantGroups || entry.id == AclEntry::kNoId) return false;
        named = true;
        break;
      case AclEntry::kMask:
        if (want != kWantGroups) return false;
        mask = true;
        want = kWantOther;
        break;
      case AclEntry::kOther:
        if (want != kWantOther && (want != kWantGroups || named)) return false;
        want = kDone;
        break;
      default:
        return false;
    }
  }
  return want == kDone && (mask || !named);
}

// The entries that stand for the three classes of the mode; the group class is the mask's if there is one.
struct Classes {
  AclEntry* owner = nullptr;
  AclEntry* group = nullptr;
  AclEntry* other = nullptr;
};

Classes classes_of(Acl& acl) {
  Classes classes;
  for (AclEntry& entry : acl.entries) {
    if (entry.tag == AclEntry::kUserObj) classes.owner = &entry;
    if (entry.tag == AclEntry::kGroupObj || entry.tag == AclEntry::kMask) classes.group = &entry;
    if (entry.tag == AclEntry::kOther) classes.other = &entry;
  }
  return classes;
}

void restrict_to(AclEntry* entry, std::uint32_t bits) {
  if (entry != nullptr) entry->permissions = static_cast<std::uint16_t>(entry->permissions & bits);
}

void assign(AclEntry* entry, std::uint32_t bits) {
  if (entry != nullptr) entry->permissions = static_cast<std::uint16_t>(bits & 7U);
}

}  // namespace

store::Result<Acl> decode_acl(store::Bytes bytes) {
  Acl acl;
  if (bytes.empty()) return acl;
  if (bytes.size() < kHeaderBytes) return fail(Code::kInvalid);
  if (get(bytes, 0, 4) != kVersion) return fail(Code::kUnsupported);
  if ((bytes.size() - kHeaderBytes) % kEntryBytes != 0) return fail(Code::kInvalid);
  for (std::size_t at = kHeaderBytes; at < bytes.size(); at += kEntryBytes) {
    AclEntry entry;
    entry.tag = static_cast<AclEntry::Tag>(get(bytes, at, 2));
    entry.permissions = static_cast<std::uint16_t>(get(bytes, at + 2, 2));
    if (entry.tag == AclEntry::kUser || entry.tag == AclEntry::kGroup) entry.id = get(bytes, at + 4, 4);
    acl.entries.push_back(entry);
  }
  if (!acl.entries.empty() && !valid(acl)) return fail(Code::kInvalid);
  return acl;
}

std::string encode_acl(const Acl& acl) {
  std::string out;
  out.reserve(kHeaderBytes + acl.entries.size() * kEntryBytes);
  put(out, kVersion, 4);
  for (const AclEntry& entry : acl.entries) {
    put(out, entry.tag, 2);
    put(out, entry.permissions, 2);
    put(out, entry.id, 4);
  }
  return out;
}

bool equals_mode(const Acl& acl) {
  for (const AclEntry& entry : acl.entries) {
    if (entry.tag == AclEntry::kUser || entry.tag == AclEntry::kGroup || entry.tag == AclEntry::kMask)
      return false;
  }
  return true;
}

std::uint32_t mode_of(const Acl& acl, std::uint32_t mode) {
  Acl copy = acl;
  const Classes classes = classes_of(copy);
  const auto bits = [](const AclEntry* entry) -> std::uint32_t {
    return entry == nullptr ? 0U : entry->permissions;
  };
  return (mode & ~0777U) | bits(classes.owner) << 6U | bits(classes.group) << 3U | bits(classes.other);
}

std::uint32_t inherit(Acl& acl, std::uint32_t mode) {
  const Classes classes = classes_of(acl);
  restrict_to(classes.owner, mode >> 6U);
  restrict_to(classes.group, mode >> 3U);
  restrict_to(classes.other, mode);
  return mode_of(acl, mode);
}

void apply_chmod(Acl& acl, std::uint32_t mode) {
  const Classes classes = classes_of(acl);
  assign(classes.owner, mode >> 6U);
  assign(classes.group, mode >> 3U);
  assign(classes.other, mode);
}

}  // namespace lrufs::fs
