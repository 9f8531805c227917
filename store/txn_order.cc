// The LRU order in a transaction. An object is in the order by its entry in the recency tree, or, if it was
// not used since it was created, by its inode number alone: numbers and touches come from one counter. What a
// pin covers stands behind all others once eviction has met it, parked, at its place among its kind.
#include "store/store_impl.h"

namespace lrufs::store {

Status Transaction::State::list_at(Inode& inode, TouchSeq seq, bool parked) {
  LRUFS_TRY(unlist(inode));
  inode.touched = seq;
  inode.flags |= Inode::kListed;
  if (parked) {
    inode.flags |= Inode::kParked;
    ++counters.parked;
  }
  LRUFS_TRY(tree_put(*this, roots.recency, Key::recency(inode.listed_at(), inode.ino), {}));
  return {};
}

Status Transaction::State::unlist(Inode& inode) {
  if ((inode.flags & Inode::kListed) == 0U) return {};
  LRUFS_TRY_ASSIGN(const bool was_there,
                   tree_erase(*this, roots.recency, Key::recency(inode.listed_at(), inode.ino)));
  if ((inode.flags & Inode::kParked) != 0U) --counters.parked;
  inode.flags &= ~static_cast<std::uint32_t>(Inode::kListed | Inode::kParked);
  if (!was_there)
    return fail(Code::kCorrupt, "inode " + std::to_string(raw(inode.ino)) + " is missing in the LRU order");
  return {};
}

Status Transaction::State::apply_touch(const TouchBatch::Touch& touch) {
  touches_written.push_back(touch);
  auto found = view.inode(touch.ino);
  if (!found) {
    if (found.error().code == Code::kNotFound) return {};  // gone meanwhile
    return fail(found.error());
  }
  Inode inode = *found;
  if (inode.ino == kRootIno || (inode.flags & Inode::kOrphan) != 0U || touch.seq <= inode.touched) return {};
  if (inode.is_directory() && inode.entries > 0) {
    // It cannot go while it has entries; it remembers its use for when it has none.
    LRUFS_TRY(unlist(inode));
    inode.touched = touch.seq;
  } else {
    LRUFS_TRY(list_at(inode, touch.seq, (inode.flags & Inode::kParked) != 0U));
  }
  std::array<std::byte, kMaxInodeBytes> buffer;
  const std::size_t length = encode_inode(inode, buffer);
  LRUFS_TRY(put(Key::inode(inode.ino), {buffer.data(), length}));
  return {};
}

}  // namespace lrufs::store
