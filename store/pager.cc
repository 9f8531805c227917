#include "store/pager.h"

#include <algorithm>
#include <cerrno>
#include <string>

#include "store/node.h"

namespace lrufs::store {

namespace {

std::size_t bit_bytes(std::uint64_t pages) { return (pages + 63) / 64 * 8; }

}  // namespace

Pager::Pager(std::byte* base, std::uint64_t pages, const MapGuard* guard, std::uint64_t reach)
    : base_(base),
      reach_(std::max(pages, reach)),
      guard_(guard),
      memory_(LazyMemory::with_reach(bit_bytes(pages), bit_bytes(reach_))),
      verified_(static_cast<std::atomic<std::uint64_t>*>(memory_.data())),
      births_memory_(LazyMemory::with_reach(pages * 8, reach_ * 8)),
      births_(static_cast<std::atomic<std::uint64_t>*>(births_memory_.data())) {}

bool Pager::widen(std::uint64_t pages) {
  return pages <= reach_ && memory_.widen(bit_bytes(pages)) && births_memory_.widen(pages * 8);
}

tl::unexpected<Error> unreadable(PageNo page) {
  return fail(
      Code::kIo,
      (page == kNoPage ? "a page" : "page " + std::to_string(raw(page))) + " of the store cannot be read",
      EIO);
}

Result<const Page*> Pager::fetch_unverified(PageNo page, TxnId birth) const {
  const auto damaged = [&](const char* what) {
    if (raw(page) < limit() && lost(page)) return unreadable(page);
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
