// Variable-length integers: LEB128, seven bits a byte, least significant first (DWARF 5, section 7.6), and
// zigzag for signed ones. The reader never leaves its bytes: after a bad read `ok` is false and all values
// are 0.
#pragma once

#include <cstdint>

#include "store/types.h"

namespace lrufs::store {

inline constexpr std::size_t kMaxVarint = 10;

inline std::byte* put_varint(std::byte* to, std::uint64_t value) {
  while (value >= 0x80) {
    *to++ = static_cast<std::byte>(value | 0x80U);
    value >>= 7U;
  }
  *to++ = static_cast<std::byte>(value);
  return to;
}
inline std::byte* put_zigzag(std::byte* to, std::int64_t value) {
  return put_varint(to, (static_cast<std::uint64_t>(value) << 1U) ^ static_cast<std::uint64_t>(value >> 63));
}

class VarintReader {
 public:
  explicit VarintReader(Bytes bytes) : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  std::uint64_t next() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) break;
      const auto byte = static_cast<std::uint64_t>(*at_++);
      value |= (byte & 0x7FU) << shift;
      if (byte < 0x80) return value;
    }
    ok_ = false;
    return 0;
  }
  std::int64_t next_zigzag() {
    const std::uint64_t value = next();
    return static_cast<std::int64_t>(value >> 1U) ^ -static_cast<std::int64_t>(value & 1U);
  }
  std::uint8_t next_byte() {
    if (at_ == end_) {
      ok_ = false;
      return 0;
    }
    return static_cast<std::uint8_t>(*at_++);
  }
  [[nodiscard]] Bytes rest() const { return {at_, static_cast<std::size_t>(end_ - at_)}; }
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  const std::byte* at_;
  const std::byte* end_;
  bool ok_ = true;
};

}  // namespace lrufs::store
