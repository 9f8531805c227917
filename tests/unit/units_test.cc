// ctest: cmd
#include "cmd/units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lrufs::cmd {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr std::uint64_t kKi = 1024;

std::uint64_t parsed_size(std::string_view text) {
  const auto value = parse_size("--size", text);
  EXPECT_TRUE(value) << text;
  return value.value_or(~0ULL);
}

milliseconds parsed_duration(std::string_view text) {
  const auto value = parse_duration("--sync", text);
  EXPECT_TRUE(value) << text;
  return value.value_or(milliseconds(-1));
}

TEST(Units, SizesAsPeopleWriteThem) {
  EXPECT_EQ(parsed_size("0"), 0U);
  EXPECT_EQ(parsed_size("4096"), 4096U);
  EXPECT_EQ(parsed_size("4096B"), 4096U);
  EXPECT_EQ(parsed_size("1K"), kKi);
  EXPECT_EQ(parsed_size("1k"), kKi);
  EXPECT_EQ(parsed_size("512MiB"), 512 * kKi * kKi);
  EXPECT_EQ(parsed_size("512mib"), 512 * kKi * kKi);
  EXPECT_EQ(parsed_size("10G"), 10 * kKi * kKi * kKi);
  EXPECT_EQ(parsed_size("10 GiB"), 10 * kKi * kKi * kKi);
  EXPECT_EQ(parsed_size("2T"), 2 * kKi * kKi * kKi * kKi);
  EXPECT_EQ(parsed_size("3KB"), 3000U);
  EXPECT_EQ(parsed_size("3MB"), 3'000'000U);
  EXPECT_EQ(parsed_size("3GB"), 3'000'000'000U);
}

TEST(Units, FractionsOfSizes) {
  EXPECT_EQ(parsed_size("1.5G"), kKi * kKi * kKi * 3 / 2);
  EXPECT_EQ(parsed_size(".5K"), 512U);
  EXPECT_EQ(parsed_size("0.1KB"), 100U);
  EXPECT_EQ(parsed_size("1.25M"), kKi * kKi * 5 / 4);
}

TEST(Units, SizesThatAreNonsenseNameTheOptionAndWhatItTakes) {
  for (const char* text : {"",  " ",   "G",    "ten",  "10X",  "10GG", "-1",     "+1",    "1,5G", "1.",
                           ".", "1.5", "0x10", "10G ", " 10G", "1e9",  "10G10M", "1..5G", "½G",   "10%"}) {
    const auto value = parse_size("--size", text);
    ASSERT_FALSE(value) << "'" << text << "' was taken as " << *value;
    EXPECT_EQ(value.error().code, store::Code::kInvalid);
    EXPECT_THAT(value.error().message, HasSubstr("--size '" + std::string(text) + "'"));
    EXPECT_THAT(value.error().message, HasSubstr("10G"));
  }
}

TEST(Units, SizesThatAreTooLargeSaySo) {
  EXPECT_EQ(parsed_size("16383P"), 16383ULL << 50U);
  EXPECT_EQ(parsed_size("18446744073709551615"), ~0ULL);
  for (const char* text : {"16384P", "18446744073709551616", "99999999999999999999999G", "16777216T"}) {
    const auto value = parse_size("--size", text);
    ASSERT_FALSE(value) << text;
    EXPECT_THAT(value.error().message, HasSubstr("too large"));
  }
}

TEST(Units, DurationsAsPeopleWriteThem) {
  EXPECT_EQ(parsed_duration("5s"), milliseconds(5000));
  EXPECT_EQ(parsed_duration("5"), milliseconds(5000));
  EXPECT_EQ(parsed_duration("500ms"), milliseconds(500));
  EXPECT_EQ(parsed_duration("2m"), milliseconds(120'000));
  EXPECT_EQ(parsed_duration("2min"), milliseconds(120'000));
  EXPECT_EQ(parsed_duration("1h"), milliseconds(3'600'000));
  EXPECT_EQ(parsed_duration("1d"), milliseconds(86'400'000));
  EXPECT_EQ(parsed_duration("0.5s"), milliseconds(500));
  EXPECT_EQ(parsed_duration("1.5"), milliseconds(1500));
  EXPECT_EQ(parsed_duration("0"), milliseconds(0));
}

TEST(Units, DurationsThatAreNonsenseOrTooLong) {
  for (const char* text : {"", "s", "soon", "5 years", "-5s", "5ss", "1.5ms"}) {
    const auto value = parse_duration("--sync", text);
    ASSERT_FALSE(value) << "'" << text << "' was taken as " << value->count();
    EXPECT_THAT(value.error().message, HasSubstr("--sync '" + std::string(text) + "'"));
    EXPECT_THAT(value.error().message, HasSubstr("5s"));
  }
  for (const char* text : {"400000d", "99999999999999999999s", "18446744073709551615h"}) {
    const auto value = parse_duration("--sync", text);
    ASSERT_FALSE(value) << text;
    EXPECT_THAT(value.error().message, HasSubstr("too long"));
  }
}

TEST(Units, Counts) {
  EXPECT_EQ(parse_count("--max-files", "1000000").value(), 1'000'000U);
  EXPECT_EQ(parse_count("--max-files", "0").value(), 0U);
  for (const char* text : {"", "-1", "many", "1K", "1.0", "18446744073709551616"}) {
    const auto value = parse_count("--max-files", text);
    ASSERT_FALSE(value) << text;
    EXPECT_THAT(value.error().message, HasSubstr("--max-files"));
  }
}

TEST(Units, FormattedForPeople) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(1023), "1023 B");
  EXPECT_EQ(format_size(1024), "1 KiB");
  EXPECT_EQ(format_size(1536), "1.5 KiB");
  EXPECT_EQ(format_size(10ULL << 30U), "10 GiB");
  EXPECT_EQ(format_size((1ULL << 30U) - 1), "1 GiB");
  EXPECT_EQ(format_size(999ULL << 20U), "999 MiB");
  EXPECT_EQ(format_size(~0ULL), "16 EiB");
  EXPECT_EQ(format_duration(microseconds(0)), "0 µs");
  EXPECT_EQ(format_duration(microseconds(250)), "250 µs");
  EXPECT_EQ(format_duration(microseconds(1500)), "1.5 ms");
  EXPECT_EQ(format_duration(milliseconds(2500)), "2.5 s");
  EXPECT_EQ(format_duration(std::chrono::seconds(185)), "3 min 5 s");
  EXPECT_EQ(format_duration(std::chrono::minutes(130)), "2 h 10 min");
  EXPECT_EQ(format_duration(std::chrono::hours(49)), "2 d 1 h");
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(1234567), "1,234,567");
}

// What is printed can be given again.
TEST(Units, SizesRoundTrip) {
  for (const std::uint64_t bytes : {1ULL, 512ULL, 1024ULL, 1536ULL, 10ULL << 30U, 3ULL << 40U}) {
    EXPECT_EQ(parsed_size(format_size(bytes)), bytes);
  }
}

}  // namespace
}  // namespace lrufs::cmd
