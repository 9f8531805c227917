// Page: the 4 KiB unit of the file, and the header that every tree page carries. docs/format.md has the
// bytes.
//
// A tree page is written once, by the transaction that gave birth to it, and sealed (checksum) at that
// transaction's commit; after that it never changes until its space is reused.
#pragma once

#include <cstddef>
#include <cstdint>

#include "store/types.h"

namespace lrufs::store {

enum class PageKind : std::uint8_t { kBranch = 1, kLeaf = 2 };

struct PageHeader {
  std::uint64_t checksum;  // XXH3-64 of bytes 8 … 4095, with the gap between slots and cells left out
  std::uint64_t page_no;   // where it belongs: a misplaced page is noticed
  std::uint64_t birth;     // the transaction that wrote it
  std::uint8_t kind;       // PageKind
  std::uint8_t level;      // 0 = leaf
  std::uint16_t count;     // cells
  std::uint16_t heap;      // offset of the lowest cell
  std::uint16_t garbage;   // bytes above `heap` that belong to no cell
};
static_assert(sizeof(PageHeader) == 32);

struct alignas(kPageSize) Page {
  PageHeader header;
  std::byte body[kPageSize - sizeof(PageHeader)];

  [[nodiscard]] const std::byte* bytes() const { return reinterpret_cast<const std::byte*>(this); }
  [[nodiscard]] std::byte* bytes() { return reinterpret_cast<std::byte*>(this); }
};
static_assert(sizeof(Page) == kPageSize);

// The checksum that the header should hold. Safe for any content.
std::uint64_t page_checksum(const Page& page);
void seal_page(Page& page);

}  // namespace lrufs::store
