#include "store/keys.h"

#include <algorithm>

#include "store/bytes.h"
#include "store/varint.h"

namespace lrufs::store {

Key::Key(Ino owner, Kind kind) {
  append64(raw(owner));
  data_[size_++] = static_cast<std::byte>(kind);
}

// Entries are found by their own hints; an object's other records lie behind its inode.
LeafHints::Hint Key::hint(const LeafHints& hints) const {
  return hints.find(
      LeafHints::hash(owner(), kind() == Kind::kEntry ? load_be64(data_.data() + kKeyPrefix) : 0));
}

void Key::append64(std::uint64_t value) {
  store_be64(data_.data() + size_, value);
  size_ += 8;
}

Key Key::link(Ino ino, Ino parent, Cookie cookie) {
  Key key(ino, Kind::kLink);
  key.append64(raw(parent));
  key.append64(raw(cookie));
  return key;
}

Key Key::xattr(Ino ino, std::string_view name) {
  Key key(ino, Kind::kXattr);
  const std::size_t length = std::min(name.size(), kMaxName);
  std::memcpy(key.data_.data() + key.size_, name.data(), length);
  key.size_ += length;
  return key;
}

Key Key::extent(Ino ino, std::uint64_t file_page) {
  Key key(ino, Kind::kExtent);
  key.append64(file_page);
  return key;
}

Key Key::entry(Ino dir, Cookie cookie) {
  Key key(dir, Kind::kEntry);
  key.append64(raw(cookie));
  return key;
}

Key Key::orphan(Ino ino) {
  Key key(kNoIno, Kind::kOrphan);
  key.append64(raw(ino));
  return key;
}

Key Key::recency(TouchSeq seq, Ino ino) {
  Key key;
  key.append64(raw(seq));
  key.append64(raw(ino));
  return key;
}

std::optional<KeyParts> split_key(Bytes key) {
  if (key.size() < kKeyPrefix) return std::nullopt;
  return KeyParts{Ino{load_be64(key.data())}, static_cast<Kind>(key[8]), key.subspan(kKeyPrefix)};
}

std::optional<RecencyKey> split_recency_key(Bytes key) {
  if (key.size() != kRecencyKey) return std::nullopt;
  return RecencyKey{TouchSeq{load_be64(key.data())}, Ino{load_be64(key.data() + 8)}};
}

Value Value::extent(const Extent& extent) {
  Value value;
  std::byte* at = value.data_.data();
  at = put_varint(at, 0);  // flags, for later formats
  at = put_varint(at, raw(extent.page));
  at = put_varint(at, extent.count);
  value.size_ = static_cast<std::size_t>(at - value.data_.data());
  return value;
}

Value Value::entry(Ino ino, std::uint8_t type, std::string_view name) {
  Value value;
  std::byte* at = put_varint(value.data_.data(), raw(ino));
  *at++ = static_cast<std::byte>(type);
  const std::size_t length = std::min(name.size(), kMaxName);
  std::memcpy(at, name.data(), length);
  value.size_ = static_cast<std::size_t>(at - value.data_.data()) + length;
  return value;
}

Result<Extent> decode_extent(std::uint64_t file_page, Bytes bytes) {
  VarintReader reader(bytes);
  Extent extent;
  extent.file_page = file_page;
  const std::uint64_t flags = reader.next();
  extent.page = PageNo{reader.next()};
  extent.count = reader.next();
  if (!reader.ok() || flags != 0 || extent.count == 0 || raw(extent.page) < kHeaderPages ||
      extent.count > (1ULL << 44U) || raw(extent.page) > (1ULL << 44U) || file_page > (1ULL << 52U))
    return fail(Code::kCorrupt, "an extent record is damaged");
  return extent;
}

Result<DirEntry> decode_entry(Cookie cookie, Bytes bytes) {
  VarintReader reader(bytes);
  DirEntry entry;
  entry.cookie = cookie;
  entry.ino = Ino{reader.next()};
  entry.type = reader.next_byte();
  entry.name = as_text(reader.rest());
  if (!reader.ok() || entry.name.empty() || entry.name.size() > kMaxName)
    return fail(Code::kCorrupt, "a directory entry is damaged");
  return entry;
}

std::vector<std::byte> encode_paged_xattr(const PagedValue& value) {
  std::vector<std::byte> bytes(1 + 2 * kMaxVarint + value.runs.size() * 2 * kMaxVarint);
  bytes[0] = kXattrPaged;
  std::byte* at = put_varint(bytes.data() + 1, value.length);
  at = put_varint(at, value.runs.size());
  for (const PageRun& run : value.runs) {
    at = put_varint(at, raw(run.first));
    at = put_varint(at, run.count);
  }
  bytes.resize(static_cast<std::size_t>(at - bytes.data()));
  return bytes;
}

Result<PagedValue> decode_paged_xattr(Bytes bytes) {
  VarintReader reader(bytes);
  PagedValue value;
  value.length = reader.next();
  const std::uint64_t runs = reader.next();
  std::uint64_t pages = 0;
  for (std::uint64_t i = 0; i < runs && reader.ok() && i < pages_for(kMaxXattr); ++i) {
    const PageNo first{reader.next()};
    const std::uint64_t count = reader.next();
    if (raw(first) < kHeaderPages || raw(first) > (1ULL << 44U) || count == 0 || count > pages_for(kMaxXattr))
      break;
    value.runs.push_back({first, count});
    pages += count;
  }
  if (!reader.ok() || value.length > kMaxXattr || value.runs.size() != runs ||
      pages != pages_for(value.length))
    return fail(Code::kCorrupt, "a large xattr's record is damaged");
  return value;
}

}  // namespace lrufs::store
