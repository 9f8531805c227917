#include "store/bytes.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace lrufs::store {

std::uint64_t hash64(Bytes bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

}  // namespace lrufs::store
