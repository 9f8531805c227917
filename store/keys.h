// Keys and values of the records in the namespace and recency trees. docs/format.md lists them to the byte.
//
// Namespace keys are (owner inode: 8 bytes big endian, kind: 1 byte, suffix), so that all of an object lies
// together and in this order: the inode, further links, xattrs, inline content, extents, directory entries.
// Owner 0 holds the store's own records.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "store/bytes.h"
#include "store/error.h"
#include "store/node.h"
#include "store/read_view.h"
#include "store/staged_data.h"
#include "store/types.h"

namespace lrufs::store {

enum class Kind : std::uint8_t {
  kInode = 0,   // suffix: none                                   value: inode.h
  kLink = 1,    // suffix: parent 8, cookie 8 (big endian)         value: none
  kXattr = 2,   // suffix: name                                   value: 0, bytes | 1, length, runs (varints)
  kInline = 3,  // suffix: none                                   value: the first bytes of the content
  kExtent = 4,  // suffix: file page 8 (big endian)               value: flags 0, page, count (varints)
  kEntry = 5,   // suffix: cookie 8 (big endian)                  value: inode (varint), type 1, name
  kOrphan = 0x80,  // owner 0; suffix: inode 8                    value: none
};

class Key {
 public:
  [[nodiscard]] Bytes bytes() const { return {data_.data(), size_}; }
  operator Bytes() const { return bytes(); }  // NOLINT(google-explicit-constructor): a key is its bytes

  [[nodiscard]] Ino owner() const { return Ino{load_be64(data_.data())}; }
  [[nodiscard]] Kind kind() const { return static_cast<Kind>(data_[8]); }
  // Where a hint says that the key may be: the entry itself, or the inode that it belongs to.
  [[nodiscard]] LeafHints::Hint hint(const LeafHints& hints) const;

  static Key inode(Ino ino) { return Key(ino, Kind::kInode); }
  static Key link(Ino ino, Ino parent, Cookie cookie);
  static Key xattr(Ino ino, std::string_view name);
  static Key content(Ino ino) { return Key(ino, Kind::kInline); }
  static Key extent(Ino ino, std::uint64_t file_page);
  static Key entry(Ino dir, Cookie cookie);
  static Key orphan(Ino ino);
  static Key recency(TouchSeq seq, Ino ino);
  static Key expiry(std::uint64_t due, Ino ino) { return recency(TouchSeq{due}, ino); }

 private:
  Key() = default;
  Key(Ino owner, Kind kind);
  void append64(std::uint64_t value);
  std::array<std::byte, 9 + kMaxName> data_;
  std::size_t size_ = 0;
};

inline constexpr std::size_t kKeyPrefix = 9;    // owner and kind
inline constexpr std::size_t kRecencyKey = 16;  // and expiry keys

// The parts of a key from the tree; nullopt if it is too short.
struct KeyParts {
  Ino owner{0};
  Kind kind{};
  Bytes suffix;
};
std::optional<KeyParts> split_key(Bytes key);
struct RecencyKey {
  TouchSeq seq{0};
  Ino ino{0};
};
std::optional<RecencyKey> split_recency_key(Bytes key);
inline bool is_record_of(Bytes key, Ino owner, Kind kind) {
  return key.size() >= kKeyPrefix && load_be64(key.data()) == raw(owner) &&
         key[8] == static_cast<std::byte>(kind);
}
// The record of an inode, whichever it is.
inline bool is_inode_key(Bytes key) {
  return key.size() == kKeyPrefix && key[8] == static_cast<std::byte>(Kind::kInode) &&
         load_be64(key.data()) != raw(kNoIno);
}

struct Extent {
  std::uint64_t file_page = 0;
  PageNo page{0};
  std::uint64_t count = 0;
  [[nodiscard]] std::uint64_t end() const { return file_page + count; }
};

// Encoded values; small fixed buffers, no allocation.
class Value {
 public:
  [[nodiscard]] Bytes bytes() const { return {data_.data(), size_}; }
  operator Bytes() const { return bytes(); }  // NOLINT(google-explicit-constructor)
  static Value extent(const Extent& extent);
  static Value entry(Ino ino, std::uint8_t type, std::string_view name);

 private:
  std::array<std::byte, 16 + kMaxName> data_;
  std::size_t size_ = 0;
};

Result<Extent> decode_extent(std::uint64_t file_page, Bytes value);
Result<DirEntry> decode_entry(Cookie cookie, Bytes value);

// The longest content that is kept in the tree: what is left of a cell.
inline constexpr std::size_t kMaxInline = kMaxCell - kLeafCellHeader - kKeyPrefix;

// A large xattr's place.
struct PagedValue {
  std::uint64_t length = 0;
  std::vector<PageRun> runs;
};
inline constexpr std::size_t kMaxInlineXattr = 512;  // bytes of value kept in the tree
std::vector<std::byte> encode_paged_xattr(const PagedValue& value);
Result<PagedValue> decode_paged_xattr(Bytes value);  // the bytes after the tag
inline constexpr std::byte kXattrInline{0};
inline constexpr std::byte kXattrPaged{1};

}  // namespace lrufs::store
