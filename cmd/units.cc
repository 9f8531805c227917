#include "cmd/units.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>
#include <span>

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Result;

struct Unit {
  std::string_view suffix;  // lower case
  std::uint64_t factor;
};

constexpr std::array kSizeUnits = {
    Unit{"", 1},
    Unit{"b", 1},
    Unit{"k", 1ULL << 10U},
    Unit{"kib", 1ULL << 10U},
    Unit{"kb", 1'000},
    Unit{"m", 1ULL << 20U},
    Unit{"mib", 1ULL << 20U},
    Unit{"mb", 1'000'000},
    Unit{"g", 1ULL << 30U},
    Unit{"gib", 1ULL << 30U},
    Unit{"gb", 1'000'000'000},
    Unit{"t", 1ULL << 40U},
    Unit{"tib", 1ULL << 40U},
    Unit{"tb", 1'000'000'000'000},
    Unit{"p", 1ULL << 50U},
    Unit{"pib", 1ULL << 50U},
    Unit{"pb", 1'000'000'000'000'000},
};
constexpr std::array kTimeUnits = {
    // in milliseconds
    Unit{"", 1'000},   Unit{"ms", 1},       Unit{"s", 1'000},     Unit{"sec", 1'000},
    Unit{"m", 60'000}, Unit{"min", 60'000}, Unit{"h", 3'600'000}, Unit{"d", 86'400'000},
};

enum class Problem : std::uint8_t { kNonsense, kTooLarge };

// number [ "." digits ] [ spaces ] [ suffix ], exactly that. Either the value, or what is wrong with the
// text.
struct Parsed {
  std::optional<std::uint64_t> value;
  Problem problem = Problem::kNonsense;
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::optional<std::uint64_t> factor_of(std::span<const Unit> units, std::string_view suffix) {
  std::string lower(suffix);
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const Unit& unit : units) {
    if (unit.suffix == lower) return unit.factor;
  }
  return std::nullopt;
}

Parsed parse(std::string_view text, std::span<const Unit> units) {
  const auto whole_end = std::ranges::find_if_not(text, is_digit);
  const std::string_view whole(text.begin(), whole_end);
  std::string_view rest = text.substr(whole.size());
  std::string_view fraction;
  if (rest.starts_with('.')) {
    rest.remove_prefix(1);
    fraction = std::string_view(rest.begin(), std::ranges::find_if_not(rest, is_digit));
    if (fraction.empty()) return {};
    rest.remove_prefix(fraction.size());
  }
  if (whole.empty() && fraction.empty()) return {};
  while (rest.starts_with(' ')) rest.remove_prefix(1);
  const auto factor = factor_of(units, rest);
  if (!factor) return {};
  if (!fraction.empty() && *factor == 1) return {};  // there is no half byte

  std::uint64_t value = 0;
  if (!whole.empty()) {
    const auto [end, error] = std::from_chars(whole.data(), whole.data() + whole.size(), value);
    if (error == std::errc::result_out_of_range) return {.value = {}, .problem = Problem::kTooLarge};
  }
  if (__builtin_mul_overflow(value, *factor, &value)) return {.value = {}, .problem = Problem::kTooLarge};
  // A fraction below 1 times a factor of at most 2^50: a double holds it exactly enough.
  double below_one = 0;
  double weight = 0.1;
  for (const char digit : fraction) {
    below_one += (digit - '0') * weight;
    weight /= 10;
  }
  const auto extra = static_cast<std::uint64_t>(std::llround(below_one * static_cast<double>(*factor)));
  if (__builtin_add_overflow(value, extra, &value)) return {.value = {}, .problem = Problem::kTooLarge};
  return {.value = value};
}

std::string quoted(std::string_view option, std::string_view text) {
  return std::string(option) + " '" + std::string(text) + "'";
}

std::string with_one_decimal(double value, const char* unit) {
  std::array<char, 48> text{};
  const bool whole = value >= 100 || value == static_cast<double>(static_cast<std::uint64_t>(value));
  std::snprintf(text.data(), text.size(), whole ? "%.0f %s" : "%.1f %s", value, unit);
  return text.data();
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view option, std::string_view text) {
  const Parsed parsed = parse(text, kSizeUnits);
  if (parsed.value) return *parsed.value;
  if (parsed.problem == Problem::kTooLarge) {
    return fail(Code::kInvalid, quoted(option, text) + " is too large: at most 16383P");
  }
  return fail(
      Code::kInvalid,
      quoted(option, text) + " is not a size: give a number with K, M, G or T, such as 10G, 512MiB or 1.5G");
}

Result<std::chrono::milliseconds> parse_duration(std::string_view option, std::string_view text) {
  const Parsed parsed = parse(text, kTimeUnits);
  constexpr std::uint64_t kLongest =
      1000ULL * 366 * 24 * 60 * 60 * 1000;  // a thousand years: nothing overflows later
  if (parsed.value && *parsed.value <= kLongest) return std::chrono::milliseconds(*parsed.value);
  if (parsed.value || parsed.problem == Problem::kTooLarge) {
    return fail(Code::kInvalid, quoted(option, text) + " is too long: at most 366000d");
  }
  return fail(
      Code::kInvalid,
      quoted(option, text) + " is not a time: give a number with ms, s, m, h or d, such as 5s, 500ms or 2m");
}

Result<std::uint64_t> parse_count(std::string_view option, std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && end == text.data() + text.size()) return value;
  if (error == std::errc::result_out_of_range) {
    return fail(Code::kInvalid, quoted(option, text) + " is too large: at most " +
                                    std::to_string(std::numeric_limits<std::uint64_t>::max()));
  }
  return fail(Code::kInvalid,
              quoted(option, text) + " is not a number: give a whole number, such as 1000000");
}

std::string format_size(std::uint64_t bytes) {
  constexpr std::array kNames = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  if (value >= 1023.5 && unit > 0 && unit + 1 < kNames.size()) {  // would read "1024 MiB"
    value = 1;
    ++unit;
  }
  return with_one_decimal(value, kNames.at(unit));
}

std::string format_duration(std::chrono::microseconds duration) {
  const auto micros = duration.count();
  if (micros < 1000) return std::to_string(micros) + " µs";
  if (micros < 1000'000) return with_one_decimal(static_cast<double>(micros) / 1e3, "ms");
  if (micros < 60'000'000) return with_one_decimal(static_cast<double>(micros) / 1e6, "s");
  const auto seconds = micros / 1'000'000;
  if (seconds < 3600) return std::to_string(seconds / 60) + " min " + std::to_string(seconds % 60) + " s";
  if (seconds < 86400)
    return std::to_string(seconds / 3600) + " h " + std::to_string(seconds / 60 % 60) + " min";
  return std::to_string(seconds / 86400) + " d " + std::to_string(seconds / 3600 % 24) + " h";
}

std::string format_count(std::uint64_t count) {
  std::string text = std::to_string(count);
  for (auto at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > 0; at -= 3) {
    text.insert(static_cast<std::size_t>(at), ",");
  }
  return text;
}

std::string counted(std::uint64_t count, const char* one, const char* many) {
  return format_count(count) + " " + (count == 1 ? one : many);
}

}  // namespace lrufs::cmd
