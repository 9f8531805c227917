// NameHash: where a name lies in its directory. A seeded 64-bit hash (XXH3, https://xxhash.com) whose upper
// 56 bits order the entries; the lower 7 bits of a cookie tell names with equal hashes apart. The seed is the
// store's own and secret, so that nobody who chooses names can make them collide.
#pragma once

#include <cstdint>
#include <string_view>

#include "store/types.h"

namespace lrufs::store {

class NameHash {
 public:
  // `mask` thins the hash out, so that tests meet collisions.
  explicit NameHash(std::uint64_t seed, std::uint64_t mask = ~0ULL) : seed_(seed), mask_(mask) {}

  static constexpr std::uint64_t kSlots = 128;  // names with one hash in one directory

  // The first cookie of the name's hash: slot 0, at least kFirstCookie, 63 bits.
  [[nodiscard]] Cookie first_cookie(std::string_view name) const;
  // Another hash, independent of that one.
  [[nodiscard]] std::uint64_t second(std::string_view name) const;
  [[nodiscard]] bool is_thinned() const { return mask_ != ~0ULL; }

 private:
  std::uint64_t seed_;
  std::uint64_t mask_;
};

}  // namespace lrufs::store
