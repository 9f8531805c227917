// Images: how pages are edited in place. Most pages that a transaction changes were born after the last
// checkpoint began, so no durable state needs them; and mostly no reader is at work, so nobody sees them.
// Such a page need not be copied to a new place, with all pages above it: the transaction edits an image of
// it, in a page set aside for that, and the publish puts the image in the page's place.
//
// SIGKILL may fall between any two stores: the live meta names the images that belong to its state, and
// whoever opens the store puts them in place (again). So the images of a publish stay untouched until the
// next but one: two sets take turns, by the transaction's number, as the live metas do. The idea is the
// double-write buffer of InnoDB (MySQL reference manual, "Doublewrite Buffer"), for SIGKILL instead of torn
// writes.
//
// The set-aside pages are busy in the space map and belong to no state. Not thread-safe: the store's writer
// lock protects it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "store/page.h"
#include "store/types.h"

namespace lrufs::store {

struct ImageRef {
  PageNo image{0};   // where it lies
  PageNo target{0};  // the page that it takes the place of
};

class Images {
 public:
  static constexpr std::size_t kMax = 32;  // of one publish; a live meta's page has room for them

  Images() = default;
  // The first half of `pages` is for even transactions, the second for odd ones.
  explicit Images(std::byte* base, std::vector<PageNo> pages);

  // Forgets the images of the transaction before, and makes room for those of `txn`.
  void start(TxnId txn);
  // An image of `page`, to be edited; nullptr if there is no room left.
  Page* make(const Page& page);
  [[nodiscard]] const Page* find(PageNo target) const {
    for (std::size_t i = 0; i < count_; ++i) {
      if (refs_[i].target == target) return at(refs_[i].image);
    }
    return nullptr;
  }
  [[nodiscard]] Page* find(PageNo target) {
    return const_cast<Page*>(static_cast<const Images*>(this)->find(target));
  }
  void drop(PageNo target);  // the page is freed
  // All that are set aside.
  [[nodiscard]] const std::vector<PageNo>& pages() const { return pages_; }

  [[nodiscard]] std::span<const ImageRef> refs() const { return {refs_.data(), count_}; }
  [[nodiscard]] Page* at(PageNo page) const { return reinterpret_cast<Page*>(base_ + raw(page) * kPageSize); }
  // Copies the images to where they belong. Nobody may be reading there.
  void put_in_place() const;

 private:
  std::byte* base_ = nullptr;
  std::vector<PageNo> pages_;
  std::array<ImageRef, kMax> refs_{};
  std::size_t count_ = 0;
  std::size_t next_ = 0;  // in pages_
  std::size_t end_ = 0;
};

// Copies a page without the gap between its slots and its cells, which holds nothing.
void copy_tree_page(Page& to, const Page& from);

}  // namespace lrufs::store
