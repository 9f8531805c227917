// What lies behind a file's end in its last page, where a write in place that SIGKILL cut off may have left
// bytes: it is no part of the file, and never becomes one.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "tests/support/store_fixture.h"

namespace lrufs::test {
namespace {

using store::Inode;
using store::Transaction;

class FileTailTest : public StoreTest {
 protected:
  // Writes bytes behind the end of the only file.
  void leave_bytes_behind_the_end() {
    close();
    std::ifstream in(path(), std::ios::binary);
    const std::string all{std::istreambuf_iterator<char>(in), {}};
    const std::size_t at = all.find(text_);
    ASSERT_NE(at, std::string::npos);
    std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(at + text_.size()));
    file << "not yours";
    file.close();
    EXPECT_EQ(check(), "");
    open();
  }

  const std::string text_ = std::string(4999, 'q') + "!";
};

TEST_F(FileTailTest, IsZerosOnceTheFileIsExtended) {
  put("file", text_);
  leave_bytes_behind_the_end();
  change(resolve("file").ino, [](Transaction& txn, Inode& inode) { return txn.truncate(inode, 6000); });
  EXPECT_EQ(get("file"), text_ + std::string(1000, '\0'));
}

TEST_F(FileTailTest, IsZerosBeforeAWriteBehindIt) {
  for (const std::uint64_t offset : {5020ULL, 9000ULL, 200'000ULL}) {
    put("file", text_);
    leave_bytes_behind_the_end();
    ok(store().write("file", offset, store::as_bytes("far")));
    EXPECT_EQ(get("file"), text_ + std::string(offset - text_.size(), '\0') + "far");
    ok(store().erase("file"));
  }
}

TEST_F(FileTailTest, IsOverwrittenByWhatIsAppended) {
  put("file", text_);
  leave_bytes_behind_the_end();
  ok(store().write("file", text_.size(), store::as_bytes("more")));
  EXPECT_EQ(get("file"), text_ + "more");
  change(resolve("file").ino, [](Transaction& txn, Inode& inode) { return txn.truncate(inode, 5010); });
  EXPECT_EQ(get("file"), text_ + "more" + std::string(6, '\0'));
}

}  // namespace
}  // namespace lrufs::test
