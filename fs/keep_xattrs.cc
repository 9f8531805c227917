#include "fs/keep_xattrs.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace lrufs::fs {

using store::Bytes;
using store::Code;
using store::fail;
using store::Inode;
using store::Result;

namespace {

std::string_view text_of(Bytes value) { return {reinterpret_cast<const char*>(value.data()), value.size()}; }

// number / parts, in decimal, without zeros at its end.
std::string decimal(std::uint64_t number, std::uint64_t parts) {
  std::string text = std::to_string(number / parts);
  std::uint64_t rest = number % parts;
  if (rest == 0) return text;
  text += '.';
  for (; rest != 0; rest %= parts) text += static_cast<char>('0' + (rest *= 10) / parts);
  return text;
}

std::uint64_t factor_of(std::string_view unit) {
  constexpr std::array<std::pair<std::string_view, std::uint64_t>, 6> kUnits = {
      {{"", 1'000}, {"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
  const auto* found =
      std::find_if(kUnits.begin(), kUnits.end(), [&](const auto& each) { return each.first == unit; });
  return found == kUnits.end() ? 0 : found->second;
}

}  // namespace

Result<std::string> keep_xattr(const Inode& inode, std::string_view name, std::uint64_t expires) {
  constexpr std::uint64_t kMillis = 1'000;
  constexpr std::uint64_t kNanos = 1'000'000'000;
  if (name == kPinXattr && (inode.flags & Inode::kPinned) != 0U) return "1";
  if (name == kTtlXattr && inode.ttl != 0) return decimal(inode.ttl, kMillis);
  if (name == kExpiresXattr && expires != 0) return decimal(expires, kNanos);
  return fail(Code::kNoAttribute);
}

void add_keep_xattr_names(const Inode& inode, std::vector<std::string>& names) {
  if (!inode.is_regular() && !inode.is_directory()) return;
  if ((inode.flags & Inode::kPinned) != 0U) names.emplace_back(kPinXattr);
  if (inode.ttl != 0) names.emplace_back(kTtlXattr);
}

Result<bool> parse_pin(Bytes value) {
  const std::string_view text = text_of(value);
  if (text == "1" || text.empty()) return true;
  if (text == "0") return false;
  return fail(Code::kInvalid);
}

Result<std::uint64_t> parse_ttl(Bytes value) {
  const std::string_view text = text_of(value);
  const auto unit_at =
      std::find_if(text.begin(), text.end(), [](char c) { return (c < '0' || c > '9') && c != '.'; });
  const std::string_view number(text.begin(), unit_at);
  const std::uint64_t factor = factor_of({unit_at, text.end()});
  double amount = 0;
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), amount, std::chars_format::fixed);
  if (factor == 0 || error != std::errc() || end != number.data() + number.size())
    return fail(Code::kInvalid);
  const double millis = amount * static_cast<double>(factor);
  if (millis > static_cast<double>(store::kMaxTtl)) return fail(Code::kInvalid);
  // What is not nothing is not forever.
  return millis > 0 ? std::max<std::uint64_t>(static_cast<std::uint64_t>(millis + 0.5), 1) : 0;
}

}  // namespace lrufs::fs
