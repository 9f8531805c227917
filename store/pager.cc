#include "store/pager.h"

#include <cerrno>
#include <string>

#include "store/node.h"

namespace lrufs::store {

Pager::Pager(std::byte* base, std::uint64_t pages, const MapGuard* guard)
    : base_(base),
      pages_(pages),
      guard_(guard),
      memory_((pages + 63) / 64 * 8),
      verified_(static_cast<std::atomic<std::uint64_t>*>(memory_.data())),
      births_memory_(pages * 8),
      births_(static_cast<std::atomic<std::uint64_t>*>(births_memory_.data())) {}

tl::unexpected<Error> unreadable(PageNo page) {
  return fail(
      Code::kIo,
      (page == kNoPage ? "a page" : "page " + std::to_string(raw(page))) + " of the store cannot be read",
      EIO);
}

Result<const Page*> Pager::fetch_unverified(PageNo page, TxnId birth) const {
  const auto damaged = [&](const char* what) {
    if (raw(page) < pages_ && lost(page)) return unreadable(page);
    // Named by a page that went while it was searched.
    if ((raw(page) == 0 || raw(birth) == 0) && losses() != 0) return unreadable(kNoPage);
    corrupt_.fetch_add(1, std::memory_order_relaxed);
    if (on_damage_) on_damage_(page, what);
    return fail(Code::kCorrupt, "page " + std::to_string(raw(page)) + " " + what);
  };
  if (raw(page) < kHeaderPages || raw(page) >= limit()) return damaged("lies outside of the store");
  const Page* p = at(page);
  if (p->header.page_no != raw(page)) return damaged("holds another page's content");
  if (p->header.birth != raw(birth)) return damaged("is not the version that its parent names");
  if (p->header.checksum != page_checksum(*p)) return damaged("fails its checksum");
  if (!node_is_well_formed(*p)) return damaged("is malformed");
  if (lost(page)) return unreadable(page);
  set_verified(page, birth);
  return p;
}

void Pager::set_verified(PageNo page, TxnId birth) const {
  births_[raw(page)].store(raw(birth), std::memory_order_release);
  verified_[raw(page) / 64].fetch_or(1ULL << (raw(page) % 64), std::memory_order_acq_rel);
}

void Pager::clear_verified(PageNo page) const {
  verified_[raw(page) / 64].fetch_and(~(1ULL << (raw(page) % 64)), std::memory_order_acq_rel);
}

}  // namespace lrufs::store
