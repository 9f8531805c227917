// ctest: cmd
#include "cmd/key.h"

#include <gmock/gmock.h>

#include "cmd/progress.h"

namespace lrufs::cmd {
namespace {

std::string clean(std::string_view text) {
  const auto key = parse_key(text);
  return key ? key->path : "error";
}

TEST(Key, IsCleanedByItsTextAlone) {
  EXPECT_EQ(clean("a/b"), "a/b");
  EXPECT_EQ(clean("//a///./b/"), "a/b");
  EXPECT_EQ(clean(""), "");
  EXPECT_EQ(clean("/"), "");
  EXPECT_EQ(clean("a/../b"), "b");
  EXPECT_EQ(clean("../../a"), "a");
  EXPECT_EQ(clean("a/.."), "");
  EXPECT_EQ(clean("..."), "...");
  EXPECT_EQ(clean("a/..b"), "a/..b");
}

TEST(Key, KnowsWhatMustBeAFolder) {
  for (const char* text : {"", "/", "a/", "a/.", ".", "a/b/.."}) EXPECT_TRUE(parse_key(text)->folder) << text;
  for (const char* text : {"a", "/a", "a/./b", "../a"}) EXPECT_FALSE(parse_key(text)->folder) << text;
}

TEST(Key, HasNamesOfAtMost255Bytes) {
  EXPECT_TRUE(parse_key(std::string(255, 'n') + "/" + std::string(255, 'm')));
  EXPECT_EQ(parse_key("a/" + std::string(256, 'n')).error().code, store::Code::kNameTooLong);
}

TEST(Key, ComesApart) {
  EXPECT_EQ(parent_key("a/b/c"), "a/b");
  EXPECT_EQ(parent_key("a"), "");
  EXPECT_EQ(name_in_key("a/b"), "b");
  EXPECT_EQ(name_in_key("a"), "a");
  EXPECT_EQ(join_keys("", "a"), "a");
  EXPECT_EQ(join_keys("a", ""), "a");
  EXPECT_THAT(parts_of_key("a/b"), testing::ElementsAre("a", "b"));
  EXPECT_THAT(parts_of_key(""), testing::IsEmpty());
}

TEST(Key, IsQuotedAsCoreutilsDoes) {
  EXPECT_EQ(shell_quoted("plain-1.txt"), "plain-1.txt");
  EXPECT_EQ(shell_quoted("a b"), "'a b'");
  EXPECT_EQ(shell_quoted("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_quoted("a\nb"), "'a'$'\\n''b'");
  EXPECT_EQ(shell_quoted("\x01z"), "''$'\\001''z'");
  EXPECT_EQ(shell_quoted("\xff"), "''$'\\377'");
  EXPECT_EQ(shell_quoted("\xc3\xa4"), "\xc3\xa4");
  EXPECT_EQ(shell_quoted(""), "''");
}

TEST(Key, Utf8) {
  EXPECT_TRUE(is_utf8("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"));
  for (const char* text :
       {"\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe0\x80\x80", "\x80"})
    EXPECT_FALSE(is_utf8(text)) << testing::PrintToString(text);
}

// A clock that is driven.
struct Screen {
  std::chrono::steady_clock::time_point now;
  std::vector<std::string> printed;
  ProgressOptions options(bool terminal) {
    ProgressOptions options;
    options.terminal = terminal;
    options.clock = [this] { return now; };
    options.print = [this](const std::string& text) { printed.push_back(text); };
    return options;
  }
};

TEST(Progress, DrawsABarAfterAMomentAndTakesItAway) {
  using std::chrono::milliseconds;
  Screen screen;
  {
    Progress progress("get", Progress::Unit::kBytes, 1000, screen.options(true));
    progress.set(100);
    screen.now += milliseconds(499);
    progress.set(200);
    EXPECT_THAT(screen.printed, testing::IsEmpty());
    screen.now += milliseconds(1);
    progress.set(500);
    ASSERT_EQ(screen.printed.size(), 1U);
    EXPECT_EQ(screen.printed[0],
              "\rget [############............] 50 % 500 B of 1000 B, 1000 B/s, 1 s left\x1b[K");
    screen.now += milliseconds(50);
    progress.add(1);  // too soon
    EXPECT_EQ(screen.printed.size(), 1U);
    screen.now += milliseconds(50);
    progress.set(1200);  // more than was thought
    ASSERT_EQ(screen.printed.size(), 2U);
    EXPECT_THAT(screen.printed[1], testing::HasSubstr("] 100 % 1000 B of 1000 B"));
  }
  EXPECT_EQ(screen.printed.back(), "\r\x1b[K");
}

TEST(Progress, NeverWrapsALine) {
  Screen screen;
  ProgressOptions options = screen.options(true);
  options.columns = 20;
  Progress progress("a long description of work", Progress::Unit::kObjects, 10, options);
  screen.now += std::chrono::seconds(1);
  progress.set(5);
  EXPECT_EQ(screen.printed.at(0).size(), 1 + 19 + 3U);
}

TEST(Progress, PrintsLinesWhereNobodyWatches) {
  Screen screen;
  ProgressOptions options = screen.options(false);
  options.first = options.every = std::chrono::seconds(10);
  {
    Progress progress("check", Progress::Unit::kObjects, 0, options);
    for (int second = 0; second < 25; ++second) {
      screen.now += std::chrono::seconds(1);
      progress.add(100);
    }
  }
  EXPECT_THAT(screen.printed,
              testing::ElementsAre("lrufs: check: 1,000, 100/s\n", "lrufs: check: 2,000, 100/s\n"));
}

}  // namespace
}  // namespace lrufs::cmd
