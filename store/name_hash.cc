#include "store/name_hash.h"

#include "store/bytes.h"
#include "store/read_view.h"

namespace lrufs::store {

Cookie NameHash::first_cookie(std::string_view name) const {
  const std::uint64_t hash = hash64(as_bytes(name), seed_) & mask_;
  // 56 bits of hash over 7 bits of slot: 63 bits, since readdir offsets are signed. Hash 0 would collide with
  // the offsets of "." and "..".
  std::uint64_t upper = hash >> 8U;
  if (upper == 0) upper = 1;
  return Cookie{upper * kSlots};
}

std::uint64_t NameHash::second(std::string_view name) const { return hash64(as_bytes(name), ~seed_); }

}  // namespace lrufs::store
