// The inode: everything about an object that is not its name, content or xattrs, and its codec.
//
// The encoded form (docs/format.md) is a sequence of varints, about 30 bytes for an ordinary file. decode()
// accepts any bytes and never reads outside of them.
#pragma once

#include <compare>
#include <cstdint>

#include "store/error.h"
#include "store/types.h"

namespace lrufs::store {

struct Timestamp {
  std::int64_t sec = 0;    // seconds since 1970, negative before
  std::uint32_t nsec = 0;  // 0 … 999,999,999
  friend auto operator<=>(const Timestamp&, const Timestamp&) = default;
};
Timestamp now();  // CLOCK_REALTIME

// Places in the recency tree from here on are parked: eviction does not look there.
inline constexpr std::uint64_t kParkedPlaces = 1ULL << 63U;
// The longest time to live, in milliseconds: a hundred years, so that no sum with it overflows.
inline constexpr std::uint64_t kMaxTtl = 1000ULL * 36'500 * 24 * 60 * 60;

struct Inode {
  enum Flag : std::uint32_t {
    kListed = 1,   // has an entry in the recency tree, at `touched`
    kOrphan = 2,   // has no link any more, but somebody still uses it; listed in the orphan records
    kPaged = 4,    // content is in extents; otherwise inline, and beyond the inline record holes
    kPinned = 8,   // it, and what lies below it, is not evicted
    kTtl = 16,     // it expires: `ttl`, `expires` and `due` count; of a directory only `ttl`
    kParked = 32,  // listed in the parked part of the recency tree: eviction met it, and a pin covers it
  };

  Ino ino = kNoIno;        // not encoded: it is the record's key
  std::uint32_t mode = 0;  // type and permission bits as in stat(2)
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t nlink = 0;  // names; for a directory 2 + subdirectories; 0: no name
  std::uint32_t flags = 0;
  std::uint64_t rdev = 0;     // device numbers as in stat(2)
  std::uint64_t size = 0;     // bytes of content; for a symlink its target's length; 0 for a directory
  std::uint64_t pages = 0;    // pages of the store that its content and large xattrs occupy
  std::uint64_t entries = 0;  // directory: number of entries, "." and ".." not counted
  Timestamp atime, mtime, ctime, btime;
  TouchSeq touched{0};  // last use; at first the inode number. The place in the recency tree if kListed
  // The first name: where the entry that names this object is. Further hard links are link records. For the
  // root and for orphans parent is kNoIno.
  Ino parent = kNoIno;
  Cookie cookie{0};
  // With kTtl, else 0. Of a directory `ttl` is what files made in it get, and it has no other two.
  std::uint64_t ttl = 0;      // milliseconds, at least 1
  std::uint64_t expires = 0;  // nanoseconds since 1970
  std::uint64_t due = 0;      // its place in the expiry tree: at or before `expires`; 0: it has none

  [[nodiscard]] bool is_directory() const { return (mode & 0170000U) == 0040000U; }
  [[nodiscard]] bool is_regular() const { return (mode & 0170000U) == 0100000U; }
  [[nodiscard]] bool is_symlink() const { return (mode & 0170000U) == 0120000U; }
  // The part of the recency tree's keys that is the place.
  [[nodiscard]] TouchSeq listed_at() const {
    return (flags & kParked) != 0U ? TouchSeq{raw(touched) | kParkedPlaces} : touched;
  }
  // Of a file only, since a directory's ttl is not its own.
  [[nodiscard]] bool expires_ever() const { return (flags & (kTtl | kOrphan)) == kTtl && !is_directory(); }
  [[nodiscard]] TouchSeq position() const { return (flags & kListed) != 0U ? touched : TouchSeq{raw(ino)}; }
  friend bool operator==(const Inode&, const Inode&) = default;
};

inline constexpr std::size_t kMaxInodeBytes = 210;

// Writes the encoded inode to `out` (at least kMaxInodeBytes) and returns its length.
std::size_t encode_inode(const Inode& inode, MutableBytes out);
// kCorrupt if the bytes are not an encoded inode.
Result<Inode> decode_inode(Ino ino, Bytes bytes);
// The same to where it is wanted; `inode` means nothing after a failure.
Status decode_inode(Ino ino, Bytes bytes, Inode& inode);

}  // namespace lrufs::store
