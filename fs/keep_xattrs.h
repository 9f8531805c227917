// The xattrs by which programs see and set pins and times to live: user.lrufs.pin, user.lrufs.ttl and
// user.lrufs.expires. They are no records of the store but parts of the inode.
//
// | name    | on                  | reads as                        | takes                              |
// | pin     | files, directories  | "1" where it was set            | "1" or "": pin, "0": unpin         |
// | ttl     | the same            | seconds, "90" or "0.25"         | seconds, or with ms, s, m, h, d; 0 |
// | expires | files               | seconds since 1970, as for ttl  | nothing (kUnsupported)             |
//
// Pure functions; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/inode.h"
#include "store/store.h"

namespace lrufs::fs {

inline constexpr std::string_view kReservedXattrs = "user.lrufs.";
inline constexpr std::string_view kPinXattr = "user.lrufs.pin";
inline constexpr std::string_view kTtlXattr = "user.lrufs.ttl";
inline constexpr std::string_view kExpiresXattr = "user.lrufs.expires";

// Of pin and ttl, which can be set.
inline bool is_keep_xattr(std::string_view name) { return name == kPinXattr || name == kTtlXattr; }

// `expires`: in nanoseconds since 1970, 0: never. kNoAttribute: it is not set, or not one of the three.
store::Result<std::string> keep_xattr(const store::Inode& inode, std::string_view name,
                                      std::uint64_t expires);
void add_keep_xattr_names(const store::Inode& inode, std::vector<std::string>& names);

// kInvalid.
store::Result<bool> parse_pin(store::Bytes value);
// Milliseconds; 0: none. kInvalid: no time, or above store::kMaxTtl.
store::Result<std::uint64_t> parse_ttl(store::Bytes value);

}  // namespace lrufs::fs
