// Variable-length integers: LEB128, seven bits a byte, least significant first (DWARF 5, section 7.6), and
// zigzag for signed ones. The reader never leaves its bytes: after a bad read `ok` is false and all values
// are 0.
#pragma once

#include <bit>
#include <cstdint>

#include "store/bytes.h"
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
    if (at_ != end_ && static_cast<std::uint8_t>(*at_) < 0x80) [[likely]]
      return static_cast<std::uint64_t>(*at_++);
    if (end_ - at_ >= 8) [[likely]] {
      const std::uint64_t word = load_le<std::uint64_t>(at_);
      const std::uint64_t ends = ~word & 0x8080'8080'8080'8080U;
      if (ends != 0) [[likely]] {
        const auto bits = static_cast<unsigned>(std::countr_zero(ends));  // up to the last byte's highest one
        at_ += (bits + 1) / 8;
        return joined(word & (~0ULL >> (63 - bits)));
      }
    }
    return next_by_bytes();
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
  // The lower seven bits of each byte.
  static std::uint64_t joined(std::uint64_t bytes) {
    bytes = (bytes & 0x007F'007F'007F'007FU) | (bytes & 0x7F00'7F00'7F00'7F00U) >> 1U;
    bytes = (bytes & 0x0000'3FFF'0000'3FFFU) | (bytes & 0x3FFF'0000'3FFF'0000U) >> 2U;
    return (bytes & 0x0000'0000'0FFF'FFFFU) | (bytes & 0x0FFF'FFFF'0000'0000U) >> 4U;
  }
  std::uint64_t next_by_bytes() {
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

  const std::byte* at_;
  const std::byte* end_;
  bool ok_ = true;
};

}  // namespace lrufs::store
