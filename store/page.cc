#include "store/page.h"

#include "store/bytes.h"

namespace lrufs::store {

std::uint64_t page_checksum(const Page& page) {
  std::size_t slots_end = sizeof(PageHeader) + 2U * page.header.count;
  std::size_t heap = page.header.heap;
  if (slots_end > kPageSize || heap < slots_end || heap > kPageSize)
    slots_end = heap = kPageSize;  // damaged: all of it
  const std::uint64_t front = hash64({page.bytes() + 8, slots_end - 8});
  return hash64({page.bytes() + heap, kPageSize - heap}, front);
}

void seal_page(Page& page) { page.header.checksum = page_checksum(page); }

}  // namespace lrufs::store
