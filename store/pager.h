// Pager: tree pages of the mapped file for readers, checked at first touch; PageSource: the same as a reader
// or a transaction sees them; PageWriter: what a transaction needs on top to copy, make and free pages.
//
// Thread-safety: Pager's functions may be called from any thread. The "verified" bits are atomic: two threads
// may check the same page, the outcome is the same.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "store/error.h"
#include "store/images.h"
#include "store/lazy_memory.h"
#include "store/leaf_hints.h"
#include "store/map_guard.h"
#include "store/page.h"
#include "store/types.h"

namespace lrufs::store {

// kIo, naming the page unless it is kNoPage.
tl::unexpected<Error> unreadable(PageNo page);

class Pager {
 public:
  // `base`: the mapping; `pages`: how much of it may be used; `guard`: of the mapping, if it is a file;
  // `reach`: all of it, to which widen() may go.
  Pager(std::byte* base, std::uint64_t pages, const MapGuard* guard = nullptr, std::uint64_t reach = 0);
  // False: no memory.
  [[nodiscard]] bool widen(std::uint64_t pages);

  // The tree page with this number and birth. The first time, its checksum, number, birth and structure are
  // checked; kCorrupt names the page, kIo one that cannot be read. Later calls cost one bit test and a
  // comparison of the birth.
  [[nodiscard]] Result<const Page*> fetch(PageNo page, TxnId birth) const {
    if (const Page* p = fetch_verified(page, birth)) [[likely]]
      return p;
    return fetch_unverified(page, birth);
  }
  // The same if it was checked before; nullptr: fetch() it.
  [[nodiscard]] const Page* fetch_verified(PageNo page, TxnId birth) const {
    if (raw(page) >= limit_.load(std::memory_order_acquire) || raw(page) < kHeaderPages) return nullptr;
    const auto& word = verified_[raw(page) / 64];
    if (((word.load(std::memory_order_acquire) >> (raw(page) % 64)) & 1U) == 0U) return nullptr;
    const Page* p = at(page);
    return p->header.birth == raw(birth) ? p : nullptr;
  }

  [[nodiscard]] const Page* at(PageNo page) const {
    return reinterpret_cast<const Page*>(base_ + raw(page) * kPageSize);
  }
  [[nodiscard]] Page* at(PageNo page) { return reinterpret_cast<Page*>(base_ + raw(page) * kPageSize); }
  [[nodiscard]] std::byte* bytes(PageNo page) const { return base_ + raw(page) * kPageSize; }

  // Could any of these pages not be read? To be asked after copying from them.
  [[nodiscard]] bool lost(PageNo first, std::uint64_t count = 1) const {
    return guard_ != nullptr && guard_->losses() != 0 && guard_->lost(first, count);
  }
  // Rises when a page is lost. To be asked before pages are searched and after it: a page that goes while it
  // is searched shows zeros, which mean nothing.
  [[nodiscard]] std::uint64_t losses() const { return guard_ == nullptr ? 0 : guard_->losses(); }
  // The same as lost() for bytes within the mapping.
  [[nodiscard]] bool lost_bytes(const std::byte* data, std::uint64_t length) const {
    if (guard_ == nullptr || guard_->losses() == 0 || length == 0) return false;
    const auto first = static_cast<std::uint64_t>(data - base_) / kPageSize;
    return guard_->lost(PageNo{first}, pages_for(static_cast<std::uint64_t>(data - base_) + length) - first);
  }

  // The leaf at `page`, if it belongs to the latest published state and was born by `at`, so that it belongs
  // to that state, too; for readers who announced `at`. nullptr: perhaps it does not.
  [[nodiscard]] const Page* current_leaf(PageNo page, TxnId at_state) const {
    if (current_ == nullptr || raw(page) >= limit_.load(std::memory_order_acquire) || page == kNoPage)
      return nullptr;
    // A page in use whose content was verified is a tree page: other uses clear that.
    const std::atomic_ref<const std::uint64_t> used(current_[raw(page) / 64]);
    const auto& checked = verified_[raw(page) / 64];
    const std::uint64_t bit = 1ULL << (raw(page) % 64);
    if ((used.load(std::memory_order_acquire) & checked.load(std::memory_order_acquire) & bit) == 0U)
      return nullptr;
    // The page itself must not be looked at before: one that is born later may be used again meanwhile.
    if (births_[raw(page)].load(std::memory_order_acquire) > raw(at_state)) return nullptr;
    const Page* p = at(page);
    return p->header.kind == static_cast<std::uint8_t>(PageKind::kLeaf) ? p : nullptr;
  }
  // What a hint leads to will be looked at: its header, its first slots, and the cell come nearer, all at
  // once.
  void prefetch(LeafHints::Hint hint) const {
    const std::byte* page = base_ + raw(hint.page) * kPageSize;
    __builtin_prefetch(page);
    __builtin_prefetch(page + hint.cell);
    __builtin_prefetch(page + hint.cell + kCacheLine);
    __builtin_prefetch(&births_[raw(hint.page) < reach_ ? raw(hint.page) : 0]);
  }
  // The bits of the pages in use by the latest published state. A page's bit is cleared before the state
  // without it is published. Set before others use it.
  void set_current(const std::uint64_t* bits) { current_ = bits; }
  [[nodiscard]] LeafHints& hints() const { return hints_; }

  // Pages below this number lie within the file and may be touched.
  void set_limit(std::uint64_t pages) { limit_.store(pages, std::memory_order_release); }
  [[nodiscard]] std::uint64_t limit() const { return limit_.load(std::memory_order_acquire); }

  void set_verified(PageNo page, TxnId birth) const;  // or written by this process
  void clear_verified(PageNo page) const;             // its space is used for something else
  // Told of each failed check, by the thread that made it, which may hold any lock. Set before others use it.
  using OnDamage = std::function<void(PageNo, const char* what)>;
  void set_on_damage(OnDamage on_damage) { on_damage_ = std::move(on_damage); }
  [[nodiscard]] std::uint64_t corrupt_pages() const { return corrupt_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::size_t kCacheLine = 64;
  [[nodiscard]] Result<const Page*> fetch_unverified(PageNo page, TxnId birth) const;
  std::byte* base_;
  std::uint64_t reach_;  // pages
  const MapGuard* guard_;
  std::atomic<std::uint64_t> limit_{0};
  LazyMemory memory_;
  std::atomic<std::uint64_t>* verified_;  // a bit a page, in memory_
  LazyMemory births_memory_;
  std::atomic<std::uint64_t>* births_;  // of verified pages, in births_memory_
  const std::uint64_t* current_ = nullptr;
  mutable LeafHints hints_;
  mutable std::atomic<std::uint64_t> corrupt_{0};
  OnDamage on_damage_;
};

// Tree pages as somebody sees them: a reader the published ones; a transaction, instead of those that it
// edits in place, their images (images.h). A value, as valid as what it was made of.
class PageSource {
 public:
  // Without a state it does not follow hints.
  PageSource(const Pager& pager)  // NOLINT(google-explicit-constructor)
      : pager_(&pager) {}
  // Of a reader who announced `at`; or of the transaction `at`, with its images and the pages it has freed.
  PageSource(const Pager& pager, TxnId at, const Images* images = nullptr,
             const std::vector<PageNo>* freed = nullptr)
      : pager_(&pager), hints_(&pager.hints()), at_(at), images_(images), freed_(freed) {}

  [[nodiscard]] Result<const Page*> fetch(PageNo page, TxnId birth) const {
    if (const Page* p = fetch_verified(page, birth)) [[likely]]
      return p;
    return pager_->fetch(page, birth);
  }
  [[nodiscard]] const Page* fetch_verified(PageNo page, TxnId birth) const {
    const Page* p = pager_->fetch_verified(page, birth);
    if (images_ != nullptr && p != nullptr) [[unlikely]] {
      if (const Page* image = images_->find(page)) return image;
    }
    return p;
  }
  // A leaf of what this source sees; nullptr: perhaps it is none.
  [[nodiscard]] const Page* leaf(PageNo page) const {
    if (hints_ == nullptr) return nullptr;
    if (images_ != nullptr) {
      const Page* image = images_->find(page);
      if (image != nullptr) return image->header.level == 0 ? image : nullptr;
    }
    constexpr std::size_t kMany = 64;
    if (freed_ != nullptr &&
        (freed_->size() > kMany || std::find(freed_->begin(), freed_->end(), page) != freed_->end()))
      return nullptr;
    return pager_->current_leaf(page, at_);
  }
  [[nodiscard]] LeafHints* hints() const { return hints_; }
  [[nodiscard]] const Pager& pager() const { return *pager_; }

 private:
  const Pager* pager_;
  LeafHints* hints_ = nullptr;
  TxnId at_{0};
  const Images* images_ = nullptr;
  const std::vector<PageNo>* freed_ = nullptr;
};

// The page operations of one transaction; implemented over the allocator. Not thread-safe.
class PageWriter {
 public:
  virtual ~PageWriter() = default;
  [[nodiscard]] virtual PageSource pages() const = 0;
  [[nodiscard]] virtual TxnId birth() const = 0;
  // A fresh tree page with page_no and birth set, the rest undefined. kNoSpace.
  virtual Result<Page*> make_page() = 0;
  // The page as one that may be edited: itself if it was born in this transaction; its image, with the same
  // number and birth, if it is edited in place; else a copy, with a new number (the old page is freed).
  virtual Result<Page*> edit_page(PageNo page, TxnId birth) = 0;
  // The page as one that may be edited, if that is possible without a new number; else nullptr.
  virtual Page* edit_in_place(const Page& page) = 0;
  virtual void free_page(PageNo page) = 0;
};

}  // namespace lrufs::store
