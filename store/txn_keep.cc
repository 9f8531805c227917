// Pins and expiry in a transaction.
//
// A pin is a flag of the object that carries it. What lies below a pinned directory is not marked: eviction
// finds out when it meets it, and parks it (evictor.cc). So a change that takes the pin's cover from parked
// objects has to be noticed here: of one object it is undone at once, of a whole directory `unpark_from` asks
// eviction to look at all that is parked again.
//
// A file's place in the expiry tree is a lower bound of its end: a write that moves the end further away
// touches the inode only, which it writes anyway.
#include <algorithm>

#include "store/store_impl.h"

namespace lrufs::store {

namespace {

constexpr std::uint64_t kNanosInMilli = 1'000'000;
constexpr int kMaxPathDepth = 4096;

}  // namespace

// --- pins

Result<bool> Transaction::State::is_below_pin(Ino dir) {
  if (counters.pinned_directories == 0) return false;
  if (dir == looked_at && dir != kNoIno) return looked_at_is_below;
  const Ino first = dir;
  bool found = false;
  for (int depth = 0; dir != kNoIno && !found; ++depth) {
    if (depth == kMaxPathDepth) return fail(Code::kCorrupt, "a directory is its own ancestor");
    LRUFS_TRY_ASSIGN(const Inode inode, view.inode(dir));
    found = (inode.flags & Inode::kPinned) != 0U;
    dir = inode.parent;
  }
  looked_at = first;
  looked_at_is_below = found;
  return found;
}

Result<bool> Transaction::State::is_covered(const Inode& inode) {
  if ((inode.flags & Inode::kPinned) != 0U) return true;
  if (counters.pinned_directories == 0) return false;
  LRUFS_TRY_ASSIGN(bool covered, is_below_pin(inode.parent));
  if (covered || inode.is_directory() || inode.nlink < 2) return covered;
  LRUFS_TRY_ASSIGN(const std::vector<Link> links, view.links(inode));
  for (const Link& link : links) {
    LRUFS_TRY_ASSIGN(covered, is_below_pin(link.parent));
    if (covered) return true;
  }
  return false;
}

Status Transaction::State::unpark(Inode& inode) {
  if ((inode.flags & Inode::kParked) == 0U) return {};
  return list_at(inode, inode.touched);
}

void Transaction::State::look_at_parked_again() {
  if (counters.parked == 0) return;
  changed = true;
  counters.unpark_from = kParkedPlaces;
}

// `child` is losing its name in `dir`, which may be the one below a pin.
Status Transaction::State::leaves(const Inode& dir, Inode& child) {
  looked_at = kNoIno;
  if (counters.parked == 0) return {};
  if (!child.is_directory() || child.entries == 0) return unpark(child);
  if ((child.flags & Inode::kPinned) != 0U) return {};
  LRUFS_TRY_ASSIGN(const bool covered, is_below_pin(dir.ino));
  if (covered) moved_out.push_back(child.ino);
  return {};
}

Status Transaction::State::arrives(const Inode& dir, const Inode& child) {
  looked_at = kNoIno;
  const auto moved = std::find(moved_out.begin(), moved_out.end(), child.ino);
  if (moved == moved_out.end()) return {};
  moved_out.erase(moved);
  LRUFS_TRY_ASSIGN(const bool covered, is_below_pin(dir.ino));
  if (!covered) look_at_parked_again();
  return {};
}

void Transaction::State::count_pin(const Inode& inode, bool pinned) {
  const std::uint64_t one = pinned ? 1 : ~std::uint64_t{0};
  counters.pinned_objects += one;
  if (inode.is_directory())
    counters.pinned_directories += one;
  else
    counters.pinned_bytes += pinned ? inode.size : ~inode.size + 1;
  looked_at = kNoIno;
  changed = true;
}

Status Transaction::set_pinned(Inode& inode, bool pinned) {
  State& s = *state_;
  if (((inode.flags & Inode::kPinned) != 0U) == pinned) return {};
  if (pinned) {
    inode.flags |= Inode::kPinned;
    s.count_pin(inode, true);
    return {};
  }
  inode.flags &= ~static_cast<std::uint32_t>(Inode::kPinned);
  s.count_pin(inode, false);
  if (!inode.is_directory() || inode.entries == 0) return s.unpark(inode);
  if (s.counters.parked == 0) return {};
  LRUFS_TRY_ASSIGN(const bool covered, s.is_below_pin(inode.parent));
  if (!covered) s.look_at_parked_again();
  return {};
}

// --- expiry

Status Transaction::State::unschedule(Inode& inode) {
  if (inode.due == 0) return {};
  LRUFS_TRY_ASSIGN(const bool was_there, tree_erase(*this, roots.expiry, Key::expiry(inode.due, inode.ino)));
  if (!was_there)
    return fail(Code::kCorrupt, "inode " + std::to_string(raw(inode.ino)) + " is missing in the expiry tree");
  inode.due = 0;
  return {};
}

Status Transaction::State::schedule(Inode& inode, std::uint64_t expires) {
  inode.expires = std::max<std::uint64_t>(expires, 1);
  if (!inode.expires_ever() || (inode.due != 0 && inode.due <= inode.expires)) return {};
  return schedule_exactly(inode);
}

Status Transaction::State::schedule_exactly(Inode& inode) {
  LRUFS_TRY(unschedule(inode));
  inode.due = inode.expires;
  earliest_due = std::min(earliest_due, inode.due);
  LRUFS_TRY(tree_put(*this, roots.expiry, Key::expiry(inode.due, inode.ino), {}));
  return {};
}

Status Transaction::State::start_ttl(Inode& inode) {
  if (inode.is_directory()) return {};
  return schedule(inode, store->wall_clock() + inode.ttl * kNanosInMilli);
}

Status Transaction::State::renew(Inode& inode) {
  if (!inode.expires_ever() || store->is_expired(inode)) return {};
  return start_ttl(inode);
}

Status Transaction::set_ttl(Inode& inode, std::uint64_t ttl) {
  State& s = *state_;
  s.changed = true;
  if (ttl == 0) {
    LRUFS_TRY(s.unschedule(inode));
    inode.flags &= ~static_cast<std::uint32_t>(Inode::kTtl);
    inode.ttl = inode.expires = 0;
    return {};
  }
  inode.flags |= Inode::kTtl;
  inode.ttl = std::min(ttl, kMaxTtl);
  return s.start_ttl(inode);
}

Status Transaction::set_expiry(Inode& inode, std::uint64_t ttl, std::uint64_t expires) {
  if (ttl == 0) return set_ttl(inode, 0);
  inode.flags |= Inode::kTtl;
  inode.ttl = std::min(ttl, kMaxTtl);
  if (inode.is_directory()) return {};
  return state_->schedule(inode, expires);
}

}  // namespace lrufs::store
