// POSIX ACLs as the kernel keeps them in the xattrs system.posix_acl_access and system.posix_acl_default
// (linux/posix_acl_xattr.h), and how they and the mode bits change each other (acl(5); the rules are those of
// the kernel's fs/posix_acl.c). The kernel checks access; here they are kept consistent.
//
// Plain values and functions; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "store/error.h"
#include "store/types.h"

namespace lrufs::fs {

inline constexpr std::string_view kAccessAcl = "system.posix_acl_access";
inline constexpr std::string_view kDefaultAcl = "system.posix_acl_default";

struct AclEntry {
  enum Tag : std::uint16_t {
    kUserObj = 0x01,
    kUser = 0x02,
    kGroupObj = 0x04,
    kGroup = 0x08,
    kMask = 0x10,
    kOther = 0x20,
  };
  static constexpr std::uint32_t kNoId = 0xffffffffU;

  Tag tag = kUserObj;
  std::uint16_t permissions = 0;  // rwx, 0 … 7
  std::uint32_t id = kNoId;       // of kUser and kGroup
  friend bool operator==(const AclEntry&, const AclEntry&) = default;
};

struct Acl {
  std::vector<AclEntry> entries;  // in the order of the tags; none: no ACL
  friend bool operator==(const Acl&, const Acl&) = default;
};

// kInvalid if the bytes are no ACL, or not a valid one; kUnsupported for another version. No bytes, or no
// entries: an empty ACL, which as an argument of setxattr(2) means "remove".
store::Result<Acl> decode_acl(store::Bytes bytes);
std::string encode_acl(const Acl& acl);

// True if the permission bits can say all that the ACL says.
bool equals_mode(const Acl& acl);
// `mode` with the permission bits that the ACL stands for (the group's are the mask's).
std::uint32_t mode_of(const Acl& acl, std::uint32_t mode);

// An object is created below a directory with the default ACL `acl`, with `mode` asked for: both are cut to
// what the other allows. `acl` becomes the access ACL; the result is the mode.
std::uint32_t inherit(Acl& acl, std::uint32_t mode);
// chmod(2) on an object with the access ACL `acl`.
void apply_chmod(Acl& acl, std::uint32_t mode);

}  // namespace lrufs::fs
