// Node: slots and cells within one tree page. Pure functions over bytes: no allocation, no I/O.
//
//   header 32 | slots: u16 offsets, ascending by key | gap | cells
//   leaf cell:   u16 key length | u16 value length | key | value
//   branch cell: u16 key length | key | u64 child page | u64 child birth
//
// Lengths and offsets are little endian. Slots stay sorted, so search is binary; cells are in any order, and
// a freed cell's bytes count as garbage until compact(). Preconditions: a Node is only made of a page that
// validate() accepted or that this process wrote.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>

#include "store/bytes.h"
#include "store/page.h"
#include "store/types.h"

namespace lrufs::store {

inline constexpr std::size_t kMaxCell = (kPageSize - sizeof(PageHeader)) / 4 - sizeof(std::uint16_t);
inline constexpr std::size_t kLeafCellHeader = 4;
inline constexpr std::size_t kBranchHeader = 2;  // key length
inline constexpr std::size_t kBranchTail = 16;   // child page and its birth
inline constexpr std::size_t kSlotBytes = sizeof(std::uint16_t);
inline constexpr std::size_t kMaxKey = 300;

// Bytewise order, shorter first where one is a prefix of the other.
inline int compare_keys(Bytes a, Bytes b) {
  // The first sixteen bytes nearly always decide: inode number or sequence, then kind and most of a cookie.
  const std::size_t common = std::min(a.size(), b.size());
  std::size_t at = 0;
  for (; at < 16 && common - at >= 8; at += 8) {
    const std::uint64_t x = load_be64(a.data() + at);
    const std::uint64_t y = load_be64(b.data() + at);
    if (x != y) return x < y ? -1 : 1;
  }
  const int order = common == at ? 0 : std::memcmp(a.data() + at, b.data() + at, common - at);
  if (order != 0) return order;
  return a.size() == b.size() ? 0 : (a.size() < b.size() ? -1 : 1);
}

// Bounds, order and header of a tree page that came from the file: afterwards no access through Node leaves
// the page. (The checksum is the pager's.)
bool node_is_well_formed(const Page& page);

class NodeView {
 public:
  explicit NodeView(const Page& page) : page_(&page) {}

  [[nodiscard]] bool is_leaf() const {
    return page_->header.kind == static_cast<std::uint8_t>(PageKind::kLeaf);
  }
  [[nodiscard]] std::uint16_t count() const { return page_->header.count; }
  [[nodiscard]] std::uint8_t level() const { return page_->header.level; }
  [[nodiscard]] Bytes key(std::uint16_t index) const {
    const std::byte* cell = page_->bytes() + slot(index);
    return {cell + (is_leaf() ? kLeafCellHeader : kBranchHeader), load_le<std::uint16_t>(cell)};
  }
  // Where the cell begins within the page, in bytes.
  [[nodiscard]] std::uint16_t cell(std::uint16_t index) const { return slot(index); }
  // Of a leaf.
  [[nodiscard]] Bytes value(std::uint16_t index) const {
    const std::byte* cell = page_->bytes() + slot(index);
    return {cell + kLeafCellHeader + load_le<std::uint16_t>(cell), load_le<std::uint16_t>(cell + 2)};
  }
  // Of a branch.
  [[nodiscard]] PageNo child(std::uint16_t index) const {
    const std::byte* cell = page_->bytes() + slot(index);
    return PageNo{load_le<std::uint64_t>(cell + kBranchHeader + load_le<std::uint16_t>(cell))};
  }
  [[nodiscard]] TxnId child_birth(std::uint16_t index) const {
    const std::byte* cell = page_->bytes() + slot(index);
    return TxnId{load_le<std::uint64_t>(cell + kBranchHeader + load_le<std::uint16_t>(cell) + 8)};
  }
  [[nodiscard]] std::size_t cell_bytes(std::uint16_t index) const {
    const std::byte* cell = page_->bytes() + slot(index);
    const std::size_t key_bytes = load_le<std::uint16_t>(cell);
    return is_leaf() ? kLeafCellHeader + key_bytes + load_le<std::uint16_t>(cell + 2)
                     : kBranchHeader + key_bytes + kBranchTail;
  }

  // Leaf: the first index whose key is >= `key` (count() if none); `found` tells equality.
  [[nodiscard]] std::uint16_t lower_bound(Bytes key, bool& found) const;
  // Branch: the child that may hold `key`.
  [[nodiscard]] std::uint16_t child_index(Bytes key) const;

  // Bytes free for cells and their slots, garbage included.
  [[nodiscard]] std::size_t free_bytes() const;
  [[nodiscard]] std::size_t used_bytes() const;  // by cells and slots

 private:
  friend class Node;
  [[nodiscard]] std::uint16_t slot(std::uint16_t index) const {
    return load_le<std::uint16_t>(page_->bytes() + sizeof(PageHeader) + kSlotBytes * index);
  }
  const Page* page_;
};

class Node : public NodeView {
 public:
  explicit Node(Page& page) : NodeView(page), page_mut_(&page) {}

  // An empty node; keeps page_no and birth of the header.
  static void init(Page& page, PageKind kind, std::uint8_t level);

  // Insert at `index`; false if it does not fit even after compaction.
  bool insert_leaf(std::uint16_t index, Bytes key, Bytes value);
  bool insert_branch(std::uint16_t index, Bytes key, PageNo child, TxnId birth);
  // Replaces the value; in place if the length is the same. False (and unchanged) if it does not fit.
  bool replace_value(std::uint16_t index, Bytes value);
  void set_child(std::uint16_t index, PageNo child, TxnId birth);
  void erase(std::uint16_t index);
  void compact();
  // Appends cells [from, to) of another node of the same kind.
  void append_from(const NodeView& other, std::uint16_t from, std::uint16_t to);

 private:
  std::byte* allocate_cell(std::uint16_t index, std::size_t bytes);
  void set_slot(std::uint16_t index, std::uint16_t offset);
  Page* page_mut_;
};

}  // namespace lrufs::store
