// MemoryPages: a PageWriter over plain memory, so that trees can be tested without a store. Versions work as
// in the store: begin() starts a transaction, commit() seals its pages, abort() forgets them. Pages that a
// commit freed are used again only after reuse(), so that older roots stay whole until then.
#pragma once

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "store/btree.h"
#include "store/pager.h"

namespace lrufs::test {

class MemoryPages final : public store::PageWriter {
 public:
  explicit MemoryPages(std::uint64_t pages)
      : pages_(pages),
        memory_(static_cast<std::byte*>(std::aligned_alloc(store::kPageSize, pages * store::kPageSize)),
                &std::free),
        pager_(memory_.get(), pages) {
    std::memset(memory_.get(), 0xA5, pages * store::kPageSize);  // what fresh pages hold must not matter
    pager_.set_limit(pages);
    next_ = store::kHeaderPages;
  }

  void begin() { ++txn_; }
  void commit() {
    for (const store::PageNo page : made_) store::seal_page(*pager_.at(page));
    for (std::uint64_t page = store::kHeaderPages; in_place_ && page < next_; ++page)
      store::seal_page(*pager_.at(store::PageNo{page}));
    made_.clear();
    retired_.insert(retired_.end(), freed_.begin(), freed_.end());
    freed_.clear();
    free_.insert(free_.end(), spare_.begin(), spare_.end());
    spare_.clear();
  }
  void abort() {
    free_.insert(free_.end(), made_.begin(), made_.end());
    made_.clear();
    freed_.clear();
    spare_.clear();
  }
  // Nobody looks at older versions any more.
  void reuse() {
    for (const store::PageNo page : retired_) pager_.clear_verified(page);
    free_.insert(free_.end(), retired_.begin(), retired_.end());
    retired_.clear();
  }
  // Older pages are edited where they are, as in the store when nobody sees them. Older versions are lost
  // then.
  void edit_all_in_place(bool value) { in_place_ = value; }
  // make_page() fails after this many more.
  void fail_after(std::uint64_t pages) { allowance_ = pages; }
  void never_fail() { allowance_ = ~0ULL; }

  [[nodiscard]] std::uint64_t in_use() const {
    return raw(store::PageNo{next_}) - store::kHeaderPages - free_.size() - spare_.size() - freed_.size() -
           retired_.size();
  }
  // The next fetch checks the page anew.
  void distrust_all() {
    for (std::uint64_t page = 0; page < pages_; ++page) pager_.clear_verified(store::PageNo{page});
  }
  store::Pager& mutable_pager() { return pager_; }

  [[nodiscard]] const store::Pager& pager() const { return pager_; }
  [[nodiscard]] store::PageSource pages() const override { return pager_; }
  [[nodiscard]] store::TxnId birth() const override { return store::TxnId{txn_}; }

  store::Result<store::Page*> make_page() override {
    if (allowance_ == 0) return store::fail(store::Code::kNoSpace);
    store::PageNo number = store::kNoPage;
    if (!spare_.empty()) {
      number = spare_.back();
      spare_.pop_back();
    } else {
      if (!free_.empty()) {
        number = free_.back();
        free_.pop_back();
      } else if (next_ < pages_) {
        number = store::PageNo{next_++};
      } else {
        return store::fail(store::Code::kNoSpace);
      }
      made_.push_back(number);
    }
    if (allowance_ != ~0ULL) --allowance_;
    store::Page* page = pager_.at(number);
    std::memset(page->bytes(), 0x5A, store::kPageSize);
    page->header.page_no = raw(number);
    page->header.birth = txn_;
    pager_.set_verified(number, store::TxnId{txn_});
    return page;
  }
  store::Result<store::Page*> edit_page(store::PageNo number, store::TxnId page_birth) override {
    auto old = pager_.fetch(number, page_birth);
    if (!old) return store::fail(old.error());
    if (raw(page_birth) == txn_ || in_place_) return pager_.at(number);
    auto copy = make_page();
    if (!copy) return copy;
    const std::uint64_t copy_number = (*copy)->header.page_no;
    std::memcpy((*copy)->bytes(), (*old)->bytes(), store::kPageSize);
    (*copy)->header.page_no = copy_number;
    (*copy)->header.birth = txn_;
    free_page(number);
    return copy;
  }
  store::Page* edit_in_place(const store::Page& page) override {
    return page.header.birth == txn_ || in_place_ ? pager_.at(store::PageNo{page.header.page_no}) : nullptr;
  }
  void free_page(store::PageNo page) override {
    if (pager_.at(page)->header.birth == txn_)
      spare_.push_back(page);
    else
      freed_.push_back(page);
  }

 private:
  std::uint64_t pages_;
  std::unique_ptr<std::byte, decltype(&std::free)> memory_;
  store::Pager pager_;
  std::uint64_t next_ = 0;
  std::uint64_t txn_ = 0;
  std::uint64_t allowance_ = ~0ULL;
  bool in_place_ = false;
  std::vector<store::PageNo> made_;     // by this transaction
  std::vector<store::PageNo> spare_;    // of those, freed again
  std::vector<store::PageNo> freed_;    // of older ones, by this transaction
  std::vector<store::PageNo> retired_;  // freed by committed ones
  std::vector<store::PageNo> free_;
};

}  // namespace lrufs::test
