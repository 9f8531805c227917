// Pager: tree pages of the mapped file for readers, checked at first touch; PageWriter: what a transaction
// needs on top to copy, make and free pages.
//
// Thread-safety: Pager's functions may be called from any thread. The "verified" bits are atomic: two threads
// may check the same page, the outcome is the same.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "store/error.h"
#include "store/lazy_memory.h"
#include "store/map_guard.h"
#include "store/page.h"
#include "store/types.h"

namespace lrufs::store {

// kIo, naming the page unless it is kNoPage.
tl::unexpected<Error> unreadable(PageNo page);

class Pager {
 public:
  // `base`: the mapping; `pages`: its reach, in pages; `guard`: of the mapping, if it is a file.
  Pager(std::byte* base, std::uint64_t pages, const MapGuard* guard = nullptr);

  // The tree page with this number and birth. The first time, its checksum, number, birth and structure are
  // checked; kCorrupt names the page, kIo one that cannot be read. Later calls cost one bit test and a
  // comparison of the birth.
  [[nodiscard]] Result<const Page*> fetch(PageNo page, TxnId birth) const {
    if (raw(page) < limit_.load(std::memory_order_acquire) && raw(page) >= kHeaderPages) [[likely]] {
      const Page* p = at(page);
      const auto& word = verified_[raw(page) / 64];
      if (((word.load(std::memory_order_acquire) >> (raw(page) % 64)) & 1U) != 0U &&
          p->header.birth == raw(birth)) [[likely]]
        return p;
    }
    return fetch_unverified(page, birth);
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

  // Pages below this number lie within the file and may be touched.
  void set_limit(std::uint64_t pages) { limit_.store(pages, std::memory_order_release); }
  [[nodiscard]] std::uint64_t limit() const { return limit_.load(std::memory_order_acquire); }

  void set_verified(PageNo page) const;    // written by this process
  void clear_verified(PageNo page) const;  // its space is used for something else
  // Told of each failed check, by the thread that made it, which may hold any lock. Set before others use it.
  using OnDamage = std::function<void(PageNo, const char* what)>;
  void set_on_damage(OnDamage on_damage) { on_damage_ = std::move(on_damage); }
  [[nodiscard]] std::uint64_t corrupt_pages() const { return corrupt_.load(std::memory_order_relaxed); }

 private:
  [[nodiscard]] Result<const Page*> fetch_unverified(PageNo page, TxnId birth) const;
  std::byte* base_;
  std::uint64_t pages_;
  const MapGuard* guard_;
  std::atomic<std::uint64_t> limit_{0};
  LazyMemory memory_;
  std::atomic<std::uint64_t>* verified_;  // a bit a page, in memory_
  mutable std::atomic<std::uint64_t> corrupt_{0};
  OnDamage on_damage_;
};

// The page operations of one transaction; implemented over the allocator. Not thread-safe.
class PageWriter {
 public:
  virtual ~PageWriter() = default;
  [[nodiscard]] virtual const Pager& pager() const = 0;
  [[nodiscard]] virtual TxnId birth() const = 0;
  // A fresh tree page with page_no and birth set, the rest undefined. kNoSpace.
  virtual Result<Page*> make_page() = 0;
  // The page as one that may be edited: itself if it was born in this transaction, else a copy (the old one
  // is freed).
  virtual Result<Page*> edit_page(PageNo page, TxnId birth) = 0;
  virtual void free_page(PageNo page) = 0;
};

}  // namespace lrufs::store
