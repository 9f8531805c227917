// What the full check finds beside damaged tree pages (tests/fault/damage_test.cc has those).
#include "store/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "store/damage_mark.h"
#include "tests/support/store_fixture.h"

namespace lrufs::test {
namespace {

using ::testing::HasSubstr;

class CheckTest : public StoreTest {
 protected:
  // Where the file's content lies in the store.
  [[nodiscard]] std::size_t offset_of(const std::string& text) const {
    std::ifstream in(path(), std::ios::binary);
    const std::string all{std::istreambuf_iterator<char>(in), {}};
    const std::size_t at = all.find(text);
    EXPECT_NE(at, std::string::npos);
    return at;
  }
  void write_byte(std::size_t offset, char byte) const {
    std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(byte);
  }
};

TEST_F(CheckTest, BytesBehindTheEndOfAFileAreFound) {
  const std::string text = std::string(4999, 'q') + "!";
  put("dir/file", text);
  put("other", std::string(5000, 'o'));
  close();
  EXPECT_EQ(check(), "");
  write_byte(offset_of(text) + text.size() + 100, 'x');
  const auto report = store::check_file(path(), {.mark = true});
  ASSERT_TRUE(report) << say(report);
  ASSERT_EQ(report->findings.size(), 1U);
  EXPECT_THAT(report->findings[0].message, HasSubstr("behind the end"));
  EXPECT_EQ(report->findings[0].path, "/dir/file");
  EXPECT_TRUE(report->marked) << "truncate would make it readable";
  check_at_end_ = false;
}

TEST_F(CheckTest, DamagedContentIsNotNoticed) {
  const std::string text = std::string(4999, 'q') + "!";
  put("file", text);
  close();
  write_byte(offset_of(text) + 10, 'x');
  EXPECT_EQ(check(), "") << "content has no checksum: docs/decisions.md";
}

}  // namespace
}  // namespace lrufs::test
