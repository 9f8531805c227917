// Little-endian and big-endian access to unaligned bytes, and checksums. Callers check the bounds.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "store/types.h"

namespace lrufs::store {

static_assert(std::endian::native == std::endian::little,
              "the format is little endian, and so must be the machine");

template <typename T>
T load_le(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}
template <typename T>
void store_le(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof(T));
}
inline std::uint64_t load_be64(const std::byte* from) {
  return __builtin_bswap64(load_le<std::uint64_t>(from));
}
inline void store_be64(std::byte* to, std::uint64_t value) { store_le(to, __builtin_bswap64(value)); }

inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// XXH3-64 (https://xxhash.com); `seed` chains several ranges.
std::uint64_t hash64(Bytes bytes, std::uint64_t seed = 0);

}  // namespace lrufs::store
