// ctest: timeout=120
// The layout on disk is pinned. Two ways: a store that each format version wrote lies in golden/ and must
// open, read as the text beside it lists it, and take changes, for ever; and pages and records that are made
// in memory must be, byte for byte, what docs/format.md says (the checksums in here come from another
// implementation).
//
// A test that fails here means that stores of users would not be read any more: raise kFormatVersion and read
// both, or undo the change. Only for a new format version the golden files are written anew, under its name:
//   LRUFS_WRITE_GOLDEN=1 build/release/tests/format/golden_test --gtest_filter='*Golden.*'
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "store/inode.h"
#include "store/keys.h"
#include "store/meta.h"
#include "store/name_hash.h"
#include "store/node.h"
#include "store/page.h"
#include "store/pager.h"
#include "store/space_log.h"
#include "tests/format/store_listing.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::as_text;
using store::Bytes;
using store::Cookie;
using store::Ino;
using store::Inode;
using store::kPageSize;
using store::Node;
using store::Page;
using store::PageKind;
using store::PageNo;
using store::Status;
using store::TouchSeq;
using store::Transaction;
using store::TxnId;

constexpr std::string_view kOrderMark = "# first to be evicted:";

std::string golden(const std::string& name) {
  return std::string(LRUFS_TESTS_DIR) + "/format/golden/" + name;
}

// Repeats often, so that the golden file is small; differs from page to page all the same.
std::string pattern(std::size_t size, std::size_t salt) {
  std::string text;
  while (text.size() < size)
    text += "file " + std::to_string(salt) + " at " + std::to_string(text.size() / 4096) + '\n';
  text.resize(size);
  return text;
}

class Golden : public StoreTest, public ::testing::WithParamInterface<std::uint32_t> {
 protected:
  void SetUp() override {
    static bool written = false;
    const bool is_current = GetParam() == store::kFormatVersion;
    if (is_current && std::getenv("LRUFS_WRITE_GOLDEN") != nullptr && !std::exchange(written, true)) write();
    options_.bound_given = false;  // the golden store's own
    const std::string packed = golden(name() + ".lrufs.gz");
    ASSERT_TRUE(std::filesystem::exists(packed)) << packed << " is missing; it belongs into the repository";
    ASSERT_EQ(run_command("gzip -dc " + packed + " > " + path()).status, 0);
    expected_ = file_text(golden(name() + ".txt"));
    ASSERT_NE(expected_.find(kOrderMark), std::string::npos)
        << golden(name() + ".txt") << " is missing, or is not whole";
  }

  // The lines of names, and after them the order of eviction.
  std::string description() {
    std::string text = listing_of(store());
    text += kOrderMark;
    for (const Ino ino : value(store().eviction_order(20))) text += ' ' + std::to_string(raw(ino));
    return text + '\n';
  }
  [[nodiscard]] std::string expected_names() const { return expected_.substr(0, expected_.find(kOrderMark)); }

  std::string expected_;

 private:
  static std::string name() { return 'v' + std::to_string(GetParam()); }
  void write() {
    options_.bound = 8ULL << 20U;
    open();
    fill();
    close();
    open();  // so that what is listed was read from the bytes
    std::filesystem::create_directories(golden(""));
    std::ofstream(golden(name() + ".txt"), std::ios::binary) << description();
    close();
    ASSERT_EQ(check(), "");
    ASSERT_EQ(run_command("gzip -9nc " + path() + " > " + golden(name() + ".lrufs.gz")).status, 0);
  }

  void fill() {
    for (const std::size_t size : {0, 1, 1001, 1002, 4096, 4097, 65536, 100000})
      put("sizes/" + std::to_string(size), pattern(size, size));
    for (unsigned n = 0; n < 120; ++n) put("many/" + std::to_string(n), pattern(n % 60, n));
    for (unsigned n = 0; n < 120; n += 3) ok(store().erase("many/" + std::to_string(n)));
    put("a/b/c/d/deep", "deep");
    put(std::string(255, 'n'), "a long name");
    put("odd \n\\\x01\xff", "odd bytes");
    put("changed", pattern(60000, 1));
    ok(store().write("changed", 7000, as_bytes(pattern(3000, 2))));
    change(resolve("changed").ino, [](Transaction& txn, Inode& inode) { return txn.truncate(inode, 55555); });
    for (const std::uint64_t offset : {0ULL, 5ULL << 20U})
      ok(store().write("holes", offset + 99, as_bytes(pattern(5000, 3))));
    put("tail", "inline, and then a hole");
    change(resolve("tail").ino, [](Transaction& txn, Inode& inode) { return txn.truncate(inode, 50000); });
    change(make(store::kRootIno, "short", 0120777).ino,
           [](Transaction& txn, Inode& inode) { return txn.write(inode, 0, as_bytes("a/b")); });
    change(make(store::kRootIno, "long", 0120777).ino,
           [](Transaction& txn, Inode& inode) { return txn.write(inode, 0, as_bytes(pattern(3000, 4))); });
    make(store::kRootIno, "fifo", 0010600);
    change(make(store::kRootIno, "device", 0060640).ino, [](Transaction&, Inode& inode) -> Status {
      inode.rdev = 0x123456789;
      inode.uid = 4'000'000'000U;
      inode.gid = 77;
      inode.mtime = {-12345, 999'999'999};
      inode.atime = {1'000'000'000'000, 1};
      return {};
    });
    const Inode file = resolve("sizes/4097");
    ok(store().update([&](Transaction& txn) -> Status {
      LRUFS_TRY_ASSIGN(Inode child, txn.view().inode(file.ino));
      LRUFS_TRY_ASSIGN(Inode top, txn.view().inode(store::kRootIno));
      for (int n = 0; n < 5; ++n) LRUFS_TRY(txn.link(top, "link" + std::to_string(n), child));
      LRUFS_TRY(txn.put_inode(top));
      return txn.put_inode(child);
    }));
    change(resolve("sizes").ino, [](Transaction& txn, Inode& inode) -> Status {
      for (const std::size_t size : {0, 1, 512, 513, 20000})
        LRUFS_TRY(txn.set_xattr(inode, "user.size" + std::to_string(size), as_bytes(pattern(size, size))));
      return txn.set_xattr(inode, "user." + std::string(250, 'x'), as_bytes("a long name"));
    });
    for (unsigned n = 1; n < 20; n += 3) (void)get("many/" + std::to_string(n));
    pin_and_expire();
  }

  // Since version 3. The ends lie in the far future: a golden store is for ever.
  void pin_and_expire() {
    put("kept/cold", "below a pin");
    put("kept/colder/coldest", pattern(9000, 7));
    change(resolve("kept").ino, [](Transaction& txn, Inode& inode) { return txn.set_pinned(inode, true); });
    change(resolve("sizes/1001").ino,
           [](Transaction& txn, Inode& inode) { return txn.set_pinned(inode, true); });
    put("brief/before", "made before the folder had a time to live");
    change(resolve("brief").ino,
           [](Transaction& txn, Inode& inode) { return txn.set_ttl(inode, store::kMaxTtl); });
    for (const char* name : {"brief/a", "brief/b", "brief/inner/c"}) put(name, name);
    ok(store().write("brief/b", 1, as_bytes("later")));
    value(store().evict(1));  // parks what it meets
  }
};

TEST_P(Golden, OpensAndReadsAsListed) {
  EXPECT_EQ(check(), "");
  open();
  EXPECT_EQ(store().statistics().opened_from, "clean");
  EXPECT_EQ(description(), expected_);
}

TEST_P(Golden, IsReadByTheIndependentReader) {
  std::string complaint;
  const CommandResult read = read_store(path(), complaint);
  EXPECT_EQ(read.status, 0) << complaint;
  EXPECT_EQ(read.output, expected_names());
}

TEST_P(Golden, OpensFromItsCheckpoint) {
  options_.from_checkpoint = true;
  open();
  EXPECT_EQ(listing_of(store()), expected_names());
}

TEST_P(Golden, TakesChanges) {
  open();
  put("new/file", pattern(30000, 5));
  ok(store().erase("changed"));
  put("tail", "changed");
  reopen();
  EXPECT_EQ(get("new/file"), pattern(30000, 5));
  EXPECT_EQ(get("tail"), "changed");
  EXPECT_EQ(code_of(store().get("changed")), "not_found");
  EXPECT_EQ(get("sizes/100000"), pattern(100000, 100000));
}

INSTANTIATE_TEST_SUITE_P(Formats, Golden, ::testing::Range(1U, store::kFormatVersion + 1),
                         [](const auto& each) { return "V" + std::to_string(each.param); });

// --- bytes
// -------------------------------------------------------------------------------------------------------

std::string hex(Bytes bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const std::byte byte : bytes) {
    out += kDigits[std::to_integer<unsigned>(byte) >> 4U];
    out += kDigits[std::to_integer<unsigned>(byte) & 15U];
  }
  return out;
}
std::string hex(std::string_view text) { return hex(as_bytes(text)); }
// Little endian, 8 bytes.
std::string le64(std::uint64_t number) {
  std::array<std::byte, 8> bytes;
  store::store_le(bytes.data(), number);
  return hex(bytes);
}
std::string bytes_of(const Page& page, std::size_t from, std::size_t to) {
  return hex(Bytes(page.bytes() + from, to - from));
}

TEST(FormatBytes, Checksums) {
  const auto input = [](std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 + 3);
    return text;
  };
  struct Expectation {
    std::size_t size;
    std::uint64_t plain;
    std::uint64_t seeded;
  };
  for (const Expectation& e : {Expectation{0, 0x2d06800538d394c2, 0x602b0e2cd6662c8b},
                               {3, 0xa9088dda485b481c, 0xa8bacd847619199e},
                               {8, 0x60539db630471163, 0xbc53d62e02f670a4},
                               {16, 0xb8c859b0f030b585, 0x7775d23337d796b5},
                               {128, 0x67425a03650261bf, 0xe9e239440dac1b3c},
                               {240, 0x64556dc6b462a6cf, 0x6ea73b2be19b57c5},
                               {241, 0x8beadd3a8874fe17, 0xa0462d397650b282},
                               {4096, 0xd7428746842be37e, 0x0caed020a4f33ca1}}) {
    EXPECT_EQ(store::hash64(as_bytes(input(e.size))), e.plain) << e.size << " bytes";
    EXPECT_EQ(store::hash64(as_bytes(input(e.size)), 0x9E3779B97F4A7C15), e.seeded)
        << e.size << " bytes, seeded";
  }
}

TEST(FormatBytes, Meta) {
  store::Meta meta;
  for (std::size_t i = 0; i < 16; ++i) {
    meta.uuid[i] = static_cast<std::uint8_t>(0xA0 + i);
    meta.boot_id[i] = static_cast<std::uint8_t>(0xB0 + i);
  }
  meta.name_seed = 0x0102030405060708;
  meta.bound_bytes = 10ULL << 30U;
  meta.txn = TxnId{0x1122334455};
  meta.session = 0xFEDCBA9876543210;
  meta.roots = {{PageNo{100}, TxnId{101}},
                {PageNo{102}, TxnId{103}},
                {PageNo{104}, TxnId{105}},
                {PageNo{106}, TxnId{107}}};
  meta.space = {PageNo{200}, PageNo{201}, {PageNo{202}, 203}};
  meta.counters = {.next_seq = 300,
                   .files = 301,
                   .directories = 302,
                   .orphans = 303,
                   .content_bytes = 304,
                   .scan_mark = 305,
                   .pinned_objects = 306,
                   .pinned_directories = 307,
                   .pinned_bytes = 308,
                   .parked = 309,
                   .unpark_from = 310};
  meta.device = 401;
  meta.inode = 402;
  meta.durable_txn = TxnId{403};
  meta.durable_session = 404;
  meta.clean = true;
  meta.grown_pages = 405;
  meta.new_pages_sum = 406;
  std::array<std::byte, store::kMetaBytes + 32> page;
  page.fill(std::byte{0xEE});
  const std::array<store::ImageRef, 2> images = {{{PageNo{500}, PageNo{501}}, {PageNo{502}, PageNo{503}}}};
  store::encode_meta(meta, page.data(), images);

  std::string expected = hex("lrufs\r\n\x1a") + "03000000" + "00100000";  //   0: magic, version, page size
  expected += "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf";                         //  16: uuid
  expected += le64(0x0102030405060708) + le64(10ULL << 30U);              //  32: seed of names, bound
  expected += le64(0x1122334455) + le64(0xFEDCBA9876543210);              //  48: transaction, session
  for (std::uint64_t n = 100; n < 108; ++n) expected += le64(n);          //  64: roots: page and birth
  for (std::uint64_t n = 200; n < 204; ++n) expected += le64(n);          // 128: free space
  for (std::uint64_t n = 300; n < 306; ++n) expected += le64(n);          // 160: counters
  expected += "b0b1b2b3b4b5b6b7b8b9babbbcbdbebf";                         // 208: boot id
  for (std::uint64_t n = 401; n < 405; ++n) expected += le64(n);          // 224: the file, the durable meta
  expected += le64(1) + le64(405);                                        // 256: flags, pages
  expected += le64(0) + le64(406);                                // 272: orphaned folders, sum of pages
  expected += le64(2) + le64(0x9a6260b69a2f2e51);                 // 288: images, their XXH3-64
  for (std::uint64_t n = 306; n < 311; ++n) expected += le64(n);  // 304: pins and what is parked
  expected += std::string(320, '0');                              // 344: zeros
  expected += le64(0x468f2a414af10d17);                           // 504: XXH3-64 of 0 … 503
  for (std::uint64_t n = 500; n < 504; ++n) expected += le64(n);  // 512: images and their places
  EXPECT_EQ(hex(page), expected);

  const auto decoded = store::decode_meta(page.data());
  ASSERT_TRUE(decoded.meta.has_value());
  EXPECT_EQ(decoded.meta->counters, meta.counters);
  EXPECT_EQ(decoded.meta->space, meta.space);
  EXPECT_EQ(decoded.meta->roots.spare, meta.roots.spare);
  EXPECT_EQ(decoded.meta->boot_id, meta.boot_id);
  EXPECT_EQ(decoded.meta->new_pages_sum, 406U);
  const auto refs = store::decode_images(page.data());
  ASSERT_TRUE(refs);
  ASSERT_EQ(refs->size(), 2U);
  EXPECT_EQ(refs->back().image, PageNo{502});
  EXPECT_EQ(refs->back().target, PageNo{503});
  page[store::kMetaBytes + 1] ^= std::byte{1};
  EXPECT_FALSE(store::decode_images(page.data()));
}

Page fresh(std::uint64_t number, std::uint64_t birth) {
  Page page;
  std::memset(page.bytes(), 0xEE, kPageSize);  // the gap is not part of the format
  page.header.page_no = number;
  page.header.birth = birth;
  return page;
}

TEST(FormatBytes, Leaf) {
  Page page = fresh(0x1234, 0x56);
  Node::init(page, PageKind::kLeaf, 0);
  Node node(page);
  ASSERT_TRUE(node.insert_leaf(0, as_bytes("bb"), as_bytes("2")));
  ASSERT_TRUE(node.insert_leaf(0, as_bytes("a"), as_bytes("1111")));
  ASSERT_TRUE(node.insert_leaf(2, as_bytes("c"), {}));
  node.erase(0);  // leaves garbage between the cells
  store::seal_page(page);
  EXPECT_EQ(bytes_of(page, 0, 36), le64(0xbb8ae11780af2311)         //  0: checksum
                                       + le64(0x1234) + le64(0x56)  //  8: page, birth
                                       + "02" + "00" + "0200"       // 24: kind, level, cells
                                       + "eb0f" + "0900"    // 28: lowest cell at 4075, 9 bytes of garbage
                                       + "f90f" + "eb0f");  // 32: slots: "bb" at 4089, "c" at 4075
  EXPECT_EQ(bytes_of(page, 4075, 4096),
            "0100"
            "0000" +
                hex("c") +
                "0100"
                "0400" +
                hex("a1111") +
                "0200"
                "0100" +
                hex("bb2"));
  EXPECT_EQ(store::kMaxCell, 1014U);
}

TEST(FormatBytes, Branch) {
  Page page = fresh(0x4321, 0x99);
  Node::init(page, PageKind::kBranch, 1);
  Node node(page);
  ASSERT_TRUE(node.insert_branch(0, {}, PageNo{16}, TxnId{3}));
  ASSERT_TRUE(node.insert_branch(1, as_bytes("m"), PageNo{0x1122334455}, TxnId{0x7766}));
  store::seal_page(page);
  EXPECT_EQ(bytes_of(page, 0, 36), le64(0x082fd4459136fabc) + le64(0x4321) + le64(0x99) + "01" + "01" +
                                       "0200" + "db0f" + "0000" + "ee0f" + "db0f");
  EXPECT_EQ(bytes_of(page, 4059, 4096),
            "0100" + hex("m") + le64(0x1122334455) + le64(0x7766) + "0000" + le64(16) + le64(3));
}

TEST(FormatBytes, Keys) {
  using store::Key;
  EXPECT_EQ(hex(Key::inode(Ino{0x0102})),
            "0000000000000102"
            "00");
  EXPECT_EQ(hex(Key::link(Ino{3}, Ino{4}, Cookie{5})),
            "0000000000000003"
            "01"
            "0000000000000004"
            "0000000000000005");
  EXPECT_EQ(hex(Key::xattr(Ino{3}, "user.x")),
            "0000000000000003"
            "02" +
                hex("user.x"));
  EXPECT_EQ(hex(Key::content(Ino{3})),
            "0000000000000003"
            "03");
  EXPECT_EQ(hex(Key::extent(Ino{3}, 0x10)),
            "0000000000000003"
            "04"
            "0000000000000010");
  EXPECT_EQ(hex(Key::entry(Ino{3}, Cookie{0x1180})),
            "0000000000000003"
            "05"
            "0000000000001180");
  EXPECT_EQ(hex(Key::orphan(Ino{7})),
            "0000000000000000"
            "80"
            "0000000000000007");
  EXPECT_EQ(hex(Key::recency(TouchSeq{9}, Ino{7})),
            "0000000000000009"
            "0000000000000007");
}

TEST(FormatBytes, NameHashes) {
  const store::NameHash hash(0x0123456789ABCDEF);
  EXPECT_EQ(raw(hash.first_cookie("a")), 0x7e79b4fcf3aa0e80U);
  EXPECT_EQ(raw(hash.first_cookie("name")), 0x607571f795bf8f80U);
  EXPECT_EQ(raw(hash.first_cookie("ten bytes.")), 0x0e9d82d9e0309600U);
  EXPECT_EQ(raw(hash.first_cookie("a name of more than sixteen bytes")), 0x230955f6d2cfed80U);
  EXPECT_EQ(raw(hash.first_cookie(std::string(129, 'x'))), 0x2b9094c94d6e8f80U);
  EXPECT_EQ(raw(hash.first_cookie(std::string(255, 'n'))), 0x7c7c16b615b98080U);
}

TEST(FormatBytes, Values) {
  using store::Value;
  EXPECT_EQ(hex(Value::extent({.file_page = 5, .page = PageNo{300}, .count = 2})),
            "00"
            "ac02"
            "02");
  EXPECT_EQ(hex(Value::entry(Ino{130}, 4, "dir")),
            "8201"
            "04" +
                hex("dir"));
  const store::PagedValue paged{.length = 5000, .runs = {{PageNo{16}, 1}, {PageNo{200}, 1}}};
  EXPECT_EQ(hex(store::encode_paged_xattr(paged)),
            "01"
            "8827"
            "02"
            "1001"
            "c80101");
}

Inode value_of(const std::array<std::byte, store::kMaxInodeBytes>& buffer, std::size_t size) {
  const auto decoded = store::decode_inode(Ino{99}, Bytes(buffer.data(), size));
  EXPECT_TRUE(decoded.has_value());
  return decoded.value_or(Inode());
}

TEST(FormatBytes, Inodes) {
  Inode inode;
  inode.ino = Ino{99};
  inode.mode = 0100644;
  inode.uid = 1000;
  inode.gid = 100;
  inode.nlink = 1;
  inode.flags = Inode::kListed | Inode::kPaged;
  inode.size = 5000;
  inode.pages = 2;
  inode.touched = TouchSeq{200};
  inode.parent = Ino{1};
  inode.cookie = Cookie{0x1180};
  inode.mtime = inode.ctime = inode.atime = inode.btime = {1000, 5};
  std::array<std::byte, store::kMaxInodeBytes> buffer;
  const auto encoded = [&] { return hex(Bytes(buffer.data(), store::encode_inode(inode, buffer))); };
  const std::string front =
      "a48302"
      "05"
      "e807"
      "64"
      "01"  // mode, flags, uid, gid, nlink
      "00"
      "8827"
      "02"
      "00"  // rdev, size, pages, entries
      "c801"
      "01"
      "8023";  // touched, parent, cookie
  EXPECT_EQ(encoded(), front +
                           "d00f"
                           "05"
                           "00");  // mtime (zigzag), nanoseconds; the others are equal
  inode.ctime = {1001, 6};
  inode.atime = {990, 0};
  inode.btime = {-1, 7};
  EXPECT_EQ(encoded(), front +
                           "d00f"
                           "05"
                           "07"
                           "02"
                           "06"
                           "13"
                           "00"
                           "d10f"
                           "07");
  const auto decoded = store::decode_inode(Ino{99}, Bytes(buffer.data(), store::encode_inode(inode, buffer)));
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(*decoded, inode);

  inode.atime = inode.btime = inode.ctime = inode.mtime;
  inode.flags |= Inode::kPinned | Inode::kTtl | Inode::kParked;
  inode.ttl = 300;
  inode.expires = 1000;
  inode.due = 998;
  std::string kept = front;
  kept.replace(6, 2, "3d");                                                    // flags
  EXPECT_EQ(encoded(), kept + "d00f" + "05" + "00" + "ac02" + "e807" + "03");  // ttl, end, due before it
  EXPECT_EQ(value_of(buffer, encoded().size() / 2), inode);
  inode.due = 0;
  EXPECT_EQ(encoded(), kept + "d00f" + "05" + "00" + "ac02" + "e807" + "00");
  EXPECT_EQ(value_of(buffer, encoded().size() / 2), inode);
  inode.mode = 0040755;
  inode.expires = 0;
  EXPECT_TRUE(encoded().ends_with("d00f0500ac02"));  // a directory's ttl is not its own
  EXPECT_EQ(value_of(buffer, encoded().size() / 2), inode);
}

// The space log, and the map that it is condensed into.
class FormatSpace : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kPages = 256;
  FormatSpace()
      : memory_(static_cast<std::byte*>(std::aligned_alloc(kPageSize, kPages * kPageSize)), &std::free),
        pager_(memory_.get(), kPages),
        log_(pager_) {
    std::memset(memory_.get(), 0, kPages * kPageSize);
    pager_.set_limit(kPages);
  }
  [[nodiscard]] Bytes at(PageNo page, std::size_t from, std::size_t bytes) const {
    return {pager_.bytes(page) + from, bytes};
  }
  static std::string checksum(Bytes bytes) { return le64(store::hash64(bytes)); }

  std::unique_ptr<std::byte, decltype(&std::free)> memory_;
  store::Pager pager_;
  store::SpaceLog log_;
};

TEST_F(FormatSpace, Log) {
  std::vector<store::SpaceChange> changes = {{{PageNo{100}, 3}, false}, {{PageNo{50}, 1}, true}};
  ASSERT_TRUE(log_.append(TxnId{7}, changes, [](std::uint64_t) { return store::PageRun{PageNo{20}, 2}; }));
  EXPECT_EQ(log_.roots(), (store::SpaceRoots{store::kNoPage, PageNo{20}, {PageNo{20}, 32 + 24 + 3 * 8}}));
  EXPECT_EQ(hex(at(PageNo{20}, 0, 32)),
            hex("rufs-log") + le64(20) + le64(2) + checksum(at(PageNo{20}, 0, 24)));
  const std::string entries =
      le64(100ULL << 20U | 2U << 1U) + le64(50ULL << 20U | 1U) + le64(20ULL << 20U | 1U << 1U);
  EXPECT_EQ(hex(at(PageNo{20}, 32, 48)), checksum(at(PageNo{20}, 40, 40)) + le64(7) +
                                             "03000000"
                                             "01000000" +
                                             entries);

  // The segment fills up; its last record jumps to the next one.
  std::uint64_t txn = 8;
  while (log_.roots().log_end.segment == PageNo{20}) {
    std::vector<store::SpaceChange> one = {{{PageNo{60}, 1}, txn % 2 == 0}};
    ASSERT_TRUE(log_.append(TxnId{txn++}, one, [](std::uint64_t) { return store::PageRun{PageNo{30}, 1}; }));
  }
  // 32 bytes a record of one entry, and 32 for the jump.
  const std::size_t jump = 32 + 48 + (txn - 9) * 32;
  EXPECT_EQ(hex(at(PageNo{20}, jump, 32)), checksum(at(PageNo{20}, jump + 8, 24)) + le64(txn - 1) +
                                               "01000000"
                                               "02000000" +
                                               le64(30));
  EXPECT_EQ(hex(at(PageNo{30}, 0, 16)), hex("rufs-log") + le64(30));
  EXPECT_EQ(log_.roots().log, PageNo{20});
}

TEST_F(FormatSpace, Map) {
  store::SpaceMap map(kPages);
  map.finish_load(kPages);
  const auto retired = log_.condense(map);
  ASSERT_TRUE(retired.has_value());
  const store::SpaceRoots roots = log_.roots();
  EXPECT_EQ(roots.log_end, (store::LogPosition{roots.log, 32}));
  const PageNo page{store::load_le<std::uint64_t>(pager_.bytes(roots.directory) + 32)};
  EXPECT_EQ(hex(at(roots.directory, 0, 48)), checksum(at(roots.directory, 8, kPageSize - 8)) +
                                                 le64(raw(roots.directory)) + le64(0) +
                                                 "00000000"
                                                 "01000000" +
                                                 le64(raw(page)) + checksum(at(page, 0, kPageSize)));
  // A bit a page, the lowest bit of the lowest byte first: the header's 16, the directory, the map, the new
  // segment.
  for (std::uint64_t n = 0; n < kPages; ++n) {
    const bool segment = n >= raw(roots.log) && n < raw(roots.log) + store::SpaceLog::kSegmentPages;
    const bool used = n < store::kHeaderPages || PageNo{n} == roots.directory || PageNo{n} == page || segment;
    const auto byte = std::to_integer<unsigned>(pager_.bytes(page)[n / 8]);
    EXPECT_EQ((byte >> n % 8 & 1U) != 0, used) << "page " << n;
  }
}

}  // namespace
}  // namespace lrufs::test
