#include "store/images.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace lrufs::store {

void copy_tree_page(Page& to, const Page& from) {
  const std::size_t front = sizeof(PageHeader) + sizeof(std::uint16_t) * from.header.count;
  const std::size_t heap = from.header.heap;
  std::memcpy(to.bytes(), from.bytes(), front);
  std::memcpy(to.bytes() + heap, from.bytes() + heap, kPageSize - heap);
}

Images::Images(std::byte* base, std::vector<PageNo> pages) : base_(base), pages_(std::move(pages)) {}

void Images::start(TxnId txn) {
  const std::size_t half = std::min(pages_.size() / 2, kMax);
  count_ = 0;
  next_ = raw(txn) % 2 * half;
  end_ = next_ + half;
}

Page* Images::make(const Page& page) {
  if (next_ == end_) return nullptr;
  const PageNo image = pages_[next_++];
  refs_[count_++] = {image, PageNo{page.header.page_no}};
  copy_tree_page(*at(image), page);
  return at(image);
}

void Images::drop(PageNo target) {
  const auto found = std::find_if(refs_.begin(), refs_.begin() + static_cast<long>(count_),
                                  [&](const ImageRef& ref) { return ref.target == target; });
  if (found == refs_.begin() + static_cast<long>(count_)) return;
  *found = refs_[--count_];
}

void Images::put_in_place() const {
  for (const ImageRef& ref : refs()) copy_tree_page(*at(ref.target), *at(ref.image));
}

}  // namespace lrufs::store
