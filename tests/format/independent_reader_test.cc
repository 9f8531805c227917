// ctest: timeout=600
// docs/format.md is enough to read a store without this program: read_store.py, which knows nothing else,
// sees what the store's own interface sees. A change of the format that is not in the document makes this
// fail.
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <set>

#include "store/meta.h"
#include "tests/format/store_listing.h"
#include "tests/support/random.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::Ino;
using store::Inode;
using store::Status;
using store::Transaction;

std::string pattern(std::size_t size, unsigned salt) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>((i * 31 + i / 251 + salt * 7919U) >> 3U);
  return text;
}

class IndependentReader : public StoreTest {
 protected:
  // What the script prints; a failure of it fails the test.
  std::string read(const std::string& path, const std::string& options = "") {
    std::string complaint;
    const CommandResult result = read_store(path, complaint, options);
    EXPECT_EQ(result.status, 0) << complaint;
    return result.output;
  }
  // Closes the store and compares.
  void expect_same() {
    const std::string expected = listing_of(store());
    close();
    EXPECT_EQ(read(path()), expected);
  }
  // The store as it is on disk and in the page cache now, while it is open.
  std::string copy(const std::string& name) {
    const std::string to = dir_.file(name);
    std::filesystem::copy_file(path(), to);
    return to;
  }
  [[nodiscard]] store::Meta durable_meta(const std::string& path) const {
    const std::string text = file_text(path);
    store::Meta newest;
    for (std::size_t page = 0; page < 2; ++page) {
      const auto decoded = store::decode_meta(as_bytes(text).data() + page * store::kPageSize);
      if (decoded.meta && decoded.meta->txn >= newest.txn) newest = *decoded.meta;
    }
    return newest;
  }

  void make_everything() {
    for (const std::size_t size : {0, 1, 100, 1000, 1001, 1002, 4095, 4096, 4097, 65535, 65536, 300000})
      put("sizes/" + std::to_string(size), pattern(size, static_cast<unsigned>(size)));
    for (unsigned n = 0; n < 700; ++n) put("many/" + std::to_string(n), pattern(n % 90, n));
    for (unsigned n = 0; n < 700; n += 3) ok(store().erase("many/" + std::to_string(n)));
    put("a/b/c/d/e/f/g/deep", "deep");
    put(std::string(255, 'n'), "a long name");
    put("odd \n\t\\\x01\x7f\xff", "odd bytes");

    // Overwritten here and there, cut, extended.
    put("changed", pattern(200000, 1));
    for (const std::uint64_t offset : {0U, 5000U, 70000U, 199990U})
      ok(store().write("changed", offset, as_bytes(pattern(3000, static_cast<unsigned>(offset)))));
    change(resolve("changed").ino,
           [](Transaction& txn, Inode& inode) { return txn.truncate(inode, 123457); });
    put("cut", pattern(50000, 2));
    change(resolve("cut").ino, [](Transaction& txn, Inode& inode) { return txn.truncate(inode, 700); });
    put("emptied", pattern(50000, 3));
    change(resolve("emptied").ino, [](Transaction& txn, Inode& inode) { return txn.truncate(inode, 0); });

    // Holes: in the middle, at the end, behind inline content, nothing but a hole.
    for (const std::uint64_t offset : {0ULL, 5ULL << 20U, 9ULL << 20U})
      ok(store().write("holes", offset + 123, as_bytes(pattern(9000, 4))));
    put("punched", pattern(100000, 5));
    change(resolve("punched").ino,
           [](Transaction& txn, Inode& inode) { return txn.punch(inode, 10000, 60000); });
    put("tail", "inline, and then a hole");
    change(resolve("tail").ino,
           [](Transaction& txn, Inode& inode) { return txn.truncate(inode, 1U << 20U); });
    put("hole", "");
    change(resolve("hole").ino, [](Transaction& txn, Inode& inode) { return txn.truncate(inode, 12345); });

    const Ino root = store::kRootIno;
    for (const auto& [name, target] :
         {std::pair{"short link", std::string("a/b")}, {"long link", std::string(3000, 't')}})
      change(make(root, name, 0120777).ino, [target = target](Transaction& txn, Inode& inode) {
        return txn.write(inode, 0, as_bytes(target));
      });
    make(root, "fifo", 0010600);
    change(make(root, "device", 0020640).ino, [](Transaction&, Inode& inode) -> Status {
      inode.rdev = 0x123456789;
      inode.uid = 4'000'000'000U;
      inode.gid = 77;
      inode.mtime = {-12345, 999'999'999};
      inode.atime = {1'000'000'000'000, 1};
      return {};
    });
    make_links(root);
    make_xattrs();
  }

  void make_links(Ino root) {
    const Inode file = resolve("sizes/4097");
    ok(store().update([&](Transaction& txn) -> Status {
      LRUFS_TRY_ASSIGN(Inode child, txn.view().inode(file.ino));
      LRUFS_TRY_ASSIGN(Inode top, txn.view().inode(root));
      LRUFS_TRY_ASSIGN(const auto entry, txn.view().lookup(root, "a"));
      LRUFS_TRY_ASSIGN(Inode folder, txn.view().inode(entry.ino));
      for (int n = 0; n < 40; ++n)
        LRUFS_TRY(txn.link(n % 2 == 0 ? top : folder, "link" + std::to_string(n), child));
      LRUFS_TRY(txn.put_inode(top));
      LRUFS_TRY(txn.put_inode(folder));
      return txn.put_inode(child);
    }));
    ok(store().erase("sizes/4097"));  // the first name: one of the others takes its place
    ok(store().erase("link6"));
  }

  void make_xattrs() {
    for (const char* key : {"many/1", "sizes", "holes"}) {
      change(resolve(key).ino, [](Transaction& txn, Inode& inode) -> Status {
        for (const std::size_t size : {0, 1, 511, 512, 513, 4096, 4097, 65536})
          LRUFS_TRY(txn.set_xattr(inode, "user.size" + std::to_string(size),
                                  as_bytes(pattern(size, static_cast<unsigned>(size)))));
        LRUFS_TRY(txn.set_xattr(inode, "user." + std::string(250, 'x'), as_bytes("a long name")));
        LRUFS_TRY(txn.set_xattr(inode, "trusted.\xff \n", as_bytes("odd")));
        return txn.remove_xattr(inode, "user.size4096");
      });
    }
  }
};

TEST_F(IndependentReader, ReadsAnEmptyStore) { expect_same(); }

TEST_F(IndependentReader, ReadsEveryKindOfObject) {
  make_everything();
  expect_same();
  open();
  expect_same();  // after a second session
}

TEST_F(IndependentReader, ReadsUsesAndOrphans) {
  std::set<Ino> held;
  close();
  options_.is_held = [&held](Ino ino) { return held.contains(ino); };
  open();
  make_everything();
  for (unsigned n = 1; n < 600; n += 5) {
    if (n % 3 != 0) (void)get("many/" + std::to_string(n));
  }
  held = {resolve("changed").ino, resolve("punched").ino};
  ok(store().erase("changed"));
  ok(store().erase("punched"));
  (void)value(store().evict(40ULL * store::kPageSize));
  expect_same();
}

// The durable state is the last checkpoint's, the live one what was published last.
TEST_F(IndependentReader, ReadsBothStates) {
  make_everything();
  ok(store().checkpoint());
  const std::string durable = listing_of(store());
  put("after", pattern(70000, 9));
  ok(store().erase("cut"));
  const std::string live = listing_of(store());
  const std::string at_once = copy("copy.lrufs");
  EXPECT_EQ(read(at_once), durable);
  EXPECT_EQ(read(at_once, "--live"), live);
  ok(store().checkpoint());
  EXPECT_EQ(read(copy("later.lrufs")), live);
}

// Several segments of the space log, and the map that it is condensed into; the script compares them with all
// pages that it reaches.
TEST_F(IndependentReader, ReadsTheFreeSpaceMap) {
  Random random;
  SCOPED_TRACE(random.hint());
  std::size_t rounds = 0;
  while (raw(durable_meta(path()).space.directory) == 0 && ++rounds < 60) {
    for (int i = 0; i < 500; ++i)
      put("f" + std::to_string(random.below(300)), pattern(random.below(9000), 0));
    ok(store().checkpoint());
  }
  ASSERT_NE(raw(durable_meta(path()).space.directory), 0U) << "the log was not condensed";
  put("more", pattern(20000, 1));
  expect_same();
}

TEST_F(IndependentReader, NoticesDamage) {
  make_everything();
  close();
  const store::Meta meta = durable_meta(path());
  const auto expect_noticed = [&](const char* what, std::uint64_t offset) {
    const std::string hurt = dir_.file("hurt.lrufs");
    std::filesystem::copy_file(path(), hurt, std::filesystem::copy_options::overwrite_existing);
    const int fd = ::open(hurt.c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    char byte = 0;
    ASSERT_EQ(::pread(fd, &byte, 1, static_cast<off_t>(offset)), 1);
    byte = static_cast<char>(byte ^ 0x10);
    ASSERT_EQ(::pwrite(fd, &byte, 1, static_cast<off_t>(offset)), 1);
    ::close(fd);
    std::string complaint;
    EXPECT_EQ(read_store(hurt, complaint).status, 1) << what << ": expected a complaint, saw: " << complaint;
    EXPECT_TRUE(complaint.starts_with("read_store.py: ")) << what << ": " << complaint;
  };
  const auto at = [](store::PageNo page, std::uint64_t offset) {
    return raw(page) * store::kPageSize + offset;
  };
  expect_noticed("the birth of a root", at(meta.roots.names.page, 17));
  expect_noticed("a key in a root", at(meta.roots.names.page, 4090));
  expect_noticed("the checksum of a root", at(meta.roots.names.page, 3));
  expect_noticed("the log's first segment", at(meta.space.log, 9));
  expect_noticed("the log's first record", at(meta.space.log, 32 + 24));
}

}  // namespace
}  // namespace lrufs::test
