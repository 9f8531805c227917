// Strong types and constants that the whole store shares. Identifiers of different kinds do not mix by
// accident: each is its own enum class; `raw()` gives the number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace lrufs::store {

enum class PageNo : std::uint64_t {};    // position in the file, in pages of kPageSize
enum class TxnId : std::uint64_t {};     // sequence number of a publish; also a page's birth
enum class Ino : std::uint64_t {};       // inode number, 1 = root, never reused
enum class TouchSeq : std::uint64_t {};  // position in the LRU order; larger = used later
enum class Cookie : std::uint64_t {};    // position of an entry in its directory, 63 bits (see dirent.h)

template <typename E>
requires std::is_enum_v<E>
constexpr std::uint64_t raw(E e) { return static_cast<std::uint64_t>(e); }
constexpr PageNo operator+(PageNo page, std::uint64_t n) { return PageNo{raw(page) + n}; }

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline constexpr std::size_t kPageSize = 4096;
inline constexpr PageNo kNoPage{0};  // page 0 is a meta, so never a child, an extent or a log page
inline constexpr Ino kNoIno{0};      // also the owner of the store's own records (see keys.h)
inline constexpr Ino kRootIno{1};
inline constexpr std::uint64_t kHeaderPages = 16;  // metas, reader table, reserve for later formats

inline constexpr std::size_t kMaxName = 255;           // bytes, as NAME_MAX of linux/limits.h
inline constexpr std::size_t kMaxXattr = 65536;        // bytes, as XATTR_SIZE_MAX of linux/limits.h
inline constexpr std::uint32_t kMaxLinks = 1'000'000;  // EMLINK above
inline constexpr std::uint64_t kMaxFileSize = (1ULL << 62);

constexpr std::uint64_t pages_for(std::uint64_t bytes) { return (bytes + kPageSize - 1) / kPageSize; }

}  // namespace lrufs::store
