// Codecs of varints, inodes, keys and values: round trips, order, and bytes that nobody encoded.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "store/bytes.h"
#include "store/inode.h"
#include "store/keys.h"
#include "store/name_hash.h"
#include "store/varint.h"
#include "tests/support/random.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::as_text;
using store::Bytes;
using store::Cookie;
using store::Extent;
using store::Ino;
using store::Inode;
using store::Key;
using store::Kind;
using store::PageNo;
using store::Timestamp;
using store::TouchSeq;
using store::VarintReader;

// Numbers of all magnitudes, and the ends.
rc::Gen<std::uint64_t> numbers() {
  const auto bit = [] { return rc::gen::inRange(0, 64); };
  return rc::gen::oneOf(
      rc::gen::arbitrary<std::uint64_t>(),
      rc::gen::map(bit(), [](int at) { return std::uint64_t{1} << static_cast<unsigned>(at); }),
      rc::gen::map(bit(), [](int at) { return (std::uint64_t{1} << static_cast<unsigned>(at)) - 1; }),
      rc::gen::just(std::uint64_t{~0ULL}));
}

// --- varints
// -----------------------------------------------------------------------------------------------------

RC_GTEST_PROP(Varint, RoundTrip, ()) {
  const auto values = *rc::gen::container<std::vector<std::uint64_t>>(numbers());
  std::vector<std::byte> bytes(values.size() * store::kMaxVarint);
  std::byte* at = bytes.data();
  for (const std::uint64_t value : values) at = store::put_varint(at, value);
  const auto length = static_cast<std::size_t>(at - bytes.data());
  RC_ASSERT(length <= bytes.size());
  VarintReader reader(Bytes(bytes.data(), length));
  for (const std::uint64_t value : values) RC_ASSERT(reader.next() == value);
  RC_ASSERT(reader.ok());
  RC_ASSERT(reader.rest().empty());
  reader.next();
  RC_ASSERT(!reader.ok());
}

RC_GTEST_PROP(Varint, ZigzagRoundTrip, ()) {
  const auto value = static_cast<std::int64_t>(*numbers());
  for (const std::int64_t signed_value :
       {value, static_cast<std::int64_t>(~static_cast<std::uint64_t>(value))}) {
    std::array<std::byte, store::kMaxVarint> bytes;
    const std::byte* end = store::put_zigzag(bytes.data(), signed_value);
    VarintReader reader(Bytes(bytes.data(), static_cast<std::size_t>(end - bytes.data())));
    RC_ASSERT(reader.next_zigzag() == signed_value);
    RC_ASSERT(reader.ok() && reader.rest().empty());
  }
}

TEST(Varint, KnownBytes) {
  std::array<std::byte, store::kMaxVarint> bytes;
  EXPECT_EQ(store::put_varint(bytes.data(), 0) - bytes.data(), 1);
  EXPECT_EQ(bytes[0], std::byte{0});
  EXPECT_EQ(store::put_varint(bytes.data(), 300) - bytes.data(), 2);
  EXPECT_EQ(bytes[0], std::byte{0xAC});
  EXPECT_EQ(bytes[1], std::byte{0x02});
  EXPECT_EQ(store::put_varint(bytes.data(), ~0ULL) - bytes.data(), 10);
}

TEST(Varint, BadBytesAreNoticed) {
  VarintReader empty({});
  EXPECT_EQ(empty.next(), 0U);
  EXPECT_FALSE(empty.ok());
  EXPECT_EQ(empty.next_byte(), 0);
  const std::array<std::byte, 1> cut = {std::byte{0x80}};
  VarintReader reader(cut);
  EXPECT_EQ(reader.next(), 0U);
  EXPECT_FALSE(reader.ok());
  std::array<std::byte, 20> endless;
  endless.fill(std::byte{0xFF});
  VarintReader long_reader(endless);
  EXPECT_EQ(long_reader.next(), 0U);
  EXPECT_FALSE(long_reader.ok());
}

// --- inodes
// ------------------------------------------------------------------------------------------------------

Timestamp random_time(Random& random) {
  return {static_cast<std::int64_t>(random.chance(20) ? random.bits() : 1'700'000'000 + random.below(1000)),
          static_cast<std::uint32_t>(random.below(1'000'000'000))};
}
Inode random_inode(Random& random) {
  const auto number = [&] { return random.bits() >> random.below(64); };
  Inode inode;
  inode.ino = Ino{number()};
  inode.mode = static_cast<std::uint32_t>(number());
  inode.uid = static_cast<std::uint32_t>(number());
  inode.gid = static_cast<std::uint32_t>(number());
  inode.nlink = static_cast<std::uint32_t>(number());
  inode.flags = static_cast<std::uint32_t>(number());
  inode.rdev = number();
  inode.size = number() % (store::kMaxFileSize + 1);
  inode.pages = number();
  inode.entries = number();
  inode.mtime = random_time(random);
  inode.ctime = random.chance(50) ? inode.mtime : random_time(random);
  inode.atime = random.chance(50) ? inode.mtime : random_time(random);
  inode.btime = random.chance(50) ? inode.mtime : random_time(random);
  inode.touched = TouchSeq{number()};
  inode.parent = Ino{number()};
  inode.cookie = Cookie{number()};
  if ((inode.flags & Inode::kTtl) == 0U) return inode;
  inode.ttl = number();
  if (inode.is_directory()) return inode;
  inode.expires = number();
  inode.due = random.chance(20) ? 0 : inode.expires - random.below(inode.expires / 2 + 1);
  return inode;
}

TEST(InodeCodec, RoundTrip) {
  Random random;
  SCOPED_TRACE(random.hint());
  for (std::size_t i = 0; i < scaled(20000); ++i) {
    const Inode inode = random_inode(random);
    std::array<std::byte, store::kMaxInodeBytes> bytes;
    const std::size_t length = encode_inode(inode, bytes);
    ASSERT_LE(length, store::kMaxInodeBytes);
    const auto decoded = store::decode_inode(inode.ino, {bytes.data(), length});
    ASSERT_TRUE(decoded);
    ASSERT_EQ(*decoded, inode);
    // A record that was cut off is noticed.
    const auto cut = store::decode_inode(inode.ino, {bytes.data(), random.below(length)});
    ASSERT_FALSE(cut);
    ASSERT_EQ(cut.error().code, store::Code::kCorrupt);
  }
}

TEST(InodeCodec, ExtremesFitTheBuffer) {
  Inode inode;
  inode.mode = inode.uid = inode.gid = inode.nlink = inode.flags = ~0U;
  inode.rdev = inode.pages = inode.entries = ~0ULL;
  inode.size = store::kMaxFileSize;
  inode.ttl = inode.expires = ~0ULL;
  inode.due = 1;
  inode.touched = TouchSeq{~0ULL};
  inode.parent = Ino{~0ULL};
  inode.cookie = Cookie{~0ULL};
  inode.mtime = {std::numeric_limits<std::int64_t>::min(), 999'999'999};
  inode.ctime = {std::numeric_limits<std::int64_t>::max(), 999'999'998};
  inode.atime = {0, 999'999'997};
  inode.btime = {-1, 999'999'996};
  std::array<std::byte, store::kMaxInodeBytes> bytes;
  const std::size_t length = encode_inode(inode, bytes);
  EXPECT_LE(length, store::kMaxInodeBytes);
  const auto decoded = store::decode_inode(inode.ino, {bytes.data(), length});
  ASSERT_TRUE(decoded);
  EXPECT_EQ(*decoded, inode);
}

TEST(InodeCodec, AnOrdinaryFileIsSmall) {
  Inode inode;
  inode.mode = 0100644;
  inode.uid = inode.gid = 1000;
  inode.nlink = 1;
  inode.size = 3000;
  inode.pages = 1;
  inode.parent = Ino{123456};
  inode.cookie = Cookie{1ULL << 62U};
  inode.mtime = inode.ctime = inode.atime = inode.btime = {1'760'000'000, 123'456'789};
  std::array<std::byte, store::kMaxInodeBytes> bytes;
  EXPECT_LE(encode_inode(inode, bytes), 48U);
}

// --- bytes that nobody encoded
// -----------------------------------------------------------------------------------

// In an allocation of its own length, so that AddressSanitizer sees a read outside of it.
template <typename Body>
void with_noise(Random& random, std::size_t limit, Body&& body) {
  const std::size_t length = random.below(limit);
  const auto bytes = std::make_unique<std::byte[]>(length);
  const unsigned style = static_cast<unsigned>(random.below(3));
  for (std::size_t i = 0; i < length; ++i) {
    const auto any = static_cast<unsigned>(random.bits() & 0xFFU);
    bytes[i] = static_cast<std::byte>(style == 0 ? any : style == 1 ? any & 0x1FU : any | 0x80U);
  }
  body(Bytes(bytes.get(), length));
}

TEST(Decoders, NoiseNeverCrashes) {
  Random random;
  SCOPED_TRACE(random.hint());
  std::size_t accepted = 0;
  for (std::size_t i = 0; i < scaled(100000); ++i) {
    with_noise(random, 60, [&](Bytes bytes) {
      if (const auto inode = store::decode_inode(Ino{5}, bytes)) {
        EXPECT_LE(inode->size, store::kMaxFileSize);
        EXPECT_LT(inode->mtime.nsec, 1'000'000'000U);
        ++accepted;
      }
      if (const auto extent = store::decode_extent(random.below(100), bytes)) {
        EXPECT_GE(raw(extent->page), store::kHeaderPages);
        EXPECT_GT(extent->count, 0U);
        EXPECT_GT(extent->end(), extent->file_page);
        EXPECT_GT(raw(extent->page) + extent->count, raw(extent->page));
        ++accepted;
      }
      if (const auto entry = store::decode_entry(Cookie{128}, bytes)) {
        EXPECT_FALSE(entry->name.empty());
        EXPECT_GE(as_bytes(entry->name).data(), bytes.data());
        EXPECT_LE(as_bytes(entry->name).data() + entry->name.size(), bytes.data() + bytes.size());
        ++accepted;
      }
      if (const auto paged = store::decode_paged_xattr(bytes)) {
        std::uint64_t pages = 0;
        for (const auto& run : paged->runs) pages += run.count;
        EXPECT_EQ(pages, store::pages_for(paged->length));
        EXPECT_LE(paged->length, store::kMaxXattr);
        ++accepted;
      }
      if (const auto parts = store::split_key(bytes)) {
        EXPECT_EQ(parts->suffix.size() + store::kKeyPrefix, bytes.size());
        EXPECT_TRUE(store::is_record_of(bytes, parts->owner, parts->kind));
      } else {
        EXPECT_LT(bytes.size(), store::kKeyPrefix);
        EXPECT_FALSE(store::is_record_of(bytes, Ino{0}, Kind::kInode));
      }
      EXPECT_EQ(store::split_recency_key(bytes).has_value(), bytes.size() == 16);
    });
  }
  EXPECT_GT(accepted, 0U);
}

// --- keys
// --------------------------------------------------------------------------------------------------------

RC_GTEST_PROP(Keys, RecordsOfAnObjectLieTogetherInOrder, ()) {
  const auto a = *numbers();
  const auto b = *numbers();
  RC_PRE(a < b);
  const auto below = [](Bytes x, Bytes y) { return store::compare_keys(x, y) < 0; };
  const std::vector<Key> keys = {Key::inode(Ino{a}),
                                 Key::link(Ino{a}, Ino{a}, Cookie{b}),
                                 Key::link(Ino{a}, Ino{b}, Cookie{a}),
                                 Key::xattr(Ino{a}, "user.a"),
                                 Key::xattr(Ino{a}, "user.ab"),
                                 Key::xattr(Ino{a}, std::string(255, 'z')),
                                 Key::content(Ino{a}),
                                 Key::extent(Ino{a}, a),
                                 Key::extent(Ino{a}, b),
                                 Key::entry(Ino{a}, Cookie{a}),
                                 Key::entry(Ino{a}, Cookie{b}),
                                 Key::inode(Ino{b})};
  for (std::size_t i = 1; i < keys.size(); ++i) RC_ASSERT(below(keys[i - 1], keys[i]));
  RC_ASSERT(below(Key::recency(TouchSeq{a}, Ino{b}), Key::recency(TouchSeq{b}, Ino{a})));
  RC_ASSERT(below(Key::recency(TouchSeq{a}, Ino{a}), Key::recency(TouchSeq{a}, Ino{b})));
  RC_ASSERT(below(Key::orphan(Ino{a}), Key::orphan(Ino{b})));
}

RC_GTEST_PROP(Keys, PartsComeBack, ()) {
  const auto ino = *numbers();
  const auto other = *numbers();
  const Key entry = Key::entry(Ino{ino}, Cookie{other});
  const auto parts = store::split_key(entry);
  RC_ASSERT(parts.has_value());
  RC_ASSERT(raw(parts->owner) == ino);
  RC_ASSERT(parts->kind == Kind::kEntry);
  RC_ASSERT(parts->suffix.size() == 8U);
  RC_ASSERT(store::load_be64(parts->suffix.data()) == other);
  RC_ASSERT(store::is_record_of(entry, Ino{ino}, Kind::kEntry));
  RC_ASSERT(!store::is_record_of(entry, Ino{ino}, Kind::kExtent));
  RC_ASSERT(!store::is_record_of(entry, Ino{ino ^ 1U}, Kind::kEntry));
  const auto recency = store::split_recency_key(Key::recency(TouchSeq{other}, Ino{ino}));
  RC_ASSERT(recency.has_value());
  RC_ASSERT(raw(recency->seq) == other);
  RC_ASSERT(raw(recency->ino) == ino);
}

TEST(Keys, TheLongestFitATreesCell) {
  EXPECT_LE(Key::xattr(Ino{1}, std::string(255, 'x')).bytes().size(), store::kMaxKey);
  EXPECT_EQ(store::kMaxInline + Key::content(Ino{1}).bytes().size() + store::kLeafCellHeader,
            store::kMaxCell);
  // A large xattr in 16 single pages with the highest numbers.
  store::PagedValue paged;
  paged.length = store::kMaxXattr;
  for (std::uint64_t i = 0; i < store::pages_for(store::kMaxXattr); ++i)
    paged.runs.push_back({PageNo{(1ULL << 44U) - i * 2}, 1});
  const auto encoded = store::encode_paged_xattr(paged);
  EXPECT_LE(encoded.size() + store::kKeyPrefix + 255 + store::kLeafCellHeader, store::kMaxCell);
  EXPECT_LE(store::kMaxInlineXattr + 1 + store::kKeyPrefix + 255 + store::kLeafCellHeader, store::kMaxCell);
  const auto decoded = store::decode_paged_xattr(Bytes(encoded).subspan(1));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->length, paged.length);
  EXPECT_EQ(decoded->runs, paged.runs);
}

// --- values
// ------------------------------------------------------------------------------------------------------

TEST(Values, ExtentsRoundTrip) {
  Random random;
  SCOPED_TRACE(random.hint());
  for (std::size_t i = 0; i < scaled(5000); ++i) {
    const Extent extent{random.skewed(1ULL << 50U), PageNo{16 + random.skewed(1ULL << 43U)},
                        1 + random.skewed(1ULL << 40U)};
    const store::Value value = store::Value::extent(extent);
    const auto decoded = store::decode_extent(extent.file_page, value);
    ASSERT_TRUE(decoded);
    ASSERT_EQ(decoded->file_page, extent.file_page);
    ASSERT_EQ(decoded->page, extent.page);
    ASSERT_EQ(decoded->count, extent.count);
  }
}

TEST(Values, EntriesRoundTrip) {
  Random random;
  SCOPED_TRACE(random.hint());
  for (std::size_t i = 0; i < scaled(5000); ++i) {
    const std::string name = random.text(random.between(1, 255));
    const Ino ino{random.bits() >> random.below(64)};
    const auto type = static_cast<std::uint8_t>(random.below(16));
    const store::Value value = store::Value::entry(ino, type, name);
    const auto decoded = store::decode_entry(Cookie{999}, value);
    ASSERT_TRUE(decoded);
    ASSERT_EQ(decoded->ino, ino);
    ASSERT_EQ(decoded->type, type);
    ASSERT_EQ(decoded->name, name);
    ASSERT_EQ(decoded->cookie, Cookie{999});
  }
}

TEST(Values, DamagedExtentsAreRefused) {
  EXPECT_FALSE(store::decode_extent(0, store::Value::extent({0, PageNo{15}, 1})));  // a header page
  EXPECT_FALSE(store::decode_extent(0, store::Value::extent({0, PageNo{16}, 0})));
  EXPECT_FALSE(store::decode_extent(0, store::Value::extent({0, PageNo{1ULL << 60U}, 1})));
  EXPECT_FALSE(store::decode_extent(0, store::Value::extent({0, PageNo{16}, 1ULL << 60U})));
  EXPECT_FALSE(store::decode_extent(1ULL << 60U, store::Value::extent({0, PageNo{16}, 1})));
  EXPECT_TRUE(store::decode_extent(0, store::Value::extent({0, PageNo{16}, 1})));
}

// --- names' hashes
// -----------------------------------------------------------------------------------------------

TEST(NameHash, CookiesArePositiveAndBehindTheReservedOnes) {
  Random random;
  SCOPED_TRACE(random.hint());
  const store::NameHash hash(random.bits());
  const store::NameHash thin(random.bits(), 0x300);
  std::vector<std::uint64_t> seen;
  for (int i = 0; i < 20000; ++i) {
    const std::string name = std::to_string(i) + ':' + random.text(random.below(40));  // no two alike
    const std::uint64_t cookie = raw(hash.first_cookie(name));
    ASSERT_EQ(cookie, raw(hash.first_cookie(name)));
    ASSERT_GE(cookie, 128U);
    ASSERT_EQ(cookie % store::NameHash::kSlots, 0U);
    ASSERT_LT(cookie + store::NameHash::kSlots - 1, 1ULL << 63U);
    seen.push_back(cookie);
    ASSERT_LE(raw(thin.first_cookie(name)) / store::NameHash::kSlots, 3U);
    ASSERT_GE(raw(thin.first_cookie(name)), 128U);
  }
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(std::unique(seen.begin(), seen.end()), seen.end()) << "a collision within 20000 names";
}

TEST(NameHash, TheSeedMatters) {
  EXPECT_NE(store::NameHash(1).first_cookie("a"), store::NameHash(2).first_cookie("a"));
}

}  // namespace
}  // namespace lrufs::test
