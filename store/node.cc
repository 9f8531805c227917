#include "store/node.h"

#include <algorithm>
#include <array>

#include "store/bytes.h"

namespace lrufs::store {

namespace {

std::size_t leaf_cell_bytes(std::size_t key, std::size_t value) { return kLeafCellHeader + key + value; }
std::size_t branch_cell_bytes(std::size_t key) { return kBranchHeader + key + kBranchTail; }

}  // namespace

std::uint16_t NodeView::lower_bound(Bytes wanted, bool& found) const {
  std::uint16_t low = 0;
  std::uint16_t high = count();
  found = false;
  while (low < high) {
    const auto middle = static_cast<std::uint16_t>((low + high) / 2);
    const int order = compare_keys(key(middle), wanted);
    if (order == 0) {
      found = true;
      return middle;
    }
    if (order < 0)
      low = static_cast<std::uint16_t>(middle + 1);
    else
      high = middle;
  }
  return low;
}

std::uint16_t NodeView::child_index(Bytes wanted) const {
  // The last cell whose key is <= wanted; cell 0 counts as minus infinity.
  std::uint16_t low = 1;
  std::uint16_t high = count();
  while (low < high) {
    const auto middle = static_cast<std::uint16_t>((low + high) / 2);
    if (compare_keys(key(middle), wanted) <= 0)
      low = static_cast<std::uint16_t>(middle + 1);
    else
      high = middle;
  }
  return static_cast<std::uint16_t>(low - 1);
}

std::size_t NodeView::free_bytes() const {
  return page_->header.heap - (sizeof(PageHeader) + kSlotBytes * count()) + page_->header.garbage;
}

std::size_t NodeView::used_bytes() const { return kPageSize - sizeof(PageHeader) - free_bytes(); }

bool node_is_well_formed(const Page& page) {
  const PageHeader& header = page.header;
  const bool leaf = header.kind == static_cast<std::uint8_t>(PageKind::kLeaf);
  if (!leaf && header.kind != static_cast<std::uint8_t>(PageKind::kBranch)) return false;
  if (leaf != (header.level == 0)) return false;
  const std::size_t slots_end = sizeof(PageHeader) + kSlotBytes * header.count;
  if (slots_end > kPageSize || header.heap < slots_end || header.heap > kPageSize) return false;
  if (!leaf && header.count == 0) return false;
  std::size_t used = 0;
  for (std::uint16_t i = 0; i < header.count; ++i) {
    const std::size_t offset = load_le<std::uint16_t>(page.bytes() + sizeof(PageHeader) + kSlotBytes * i);
    const std::size_t fixed = leaf ? kLeafCellHeader : kBranchHeader + kBranchTail;
    if (offset < header.heap || offset + fixed > kPageSize) return false;
    const std::size_t key_bytes = load_le<std::uint16_t>(page.bytes() + offset);
    std::size_t bytes = fixed + key_bytes;
    if (leaf) bytes += load_le<std::uint16_t>(page.bytes() + offset + 2);
    // Edits copy keys to buffers of kMaxKey bytes, and splits rely on kMaxCell.
    if (key_bytes > kMaxKey || bytes > kMaxCell || offset + bytes > kPageSize) return false;
    used += bytes;
  }
  if (used + header.garbage != kPageSize - header.heap) return false;
  const NodeView node(page);
  for (std::uint16_t i = 1; i < header.count; ++i) {
    if (compare_keys(node.key(static_cast<std::uint16_t>(i - 1)), node.key(i)) >= 0) return false;
  }
  return true;
}

void Node::init(Page& page, PageKind kind, std::uint8_t level) {
  page.header.kind = static_cast<std::uint8_t>(kind);
  page.header.level = level;
  page.header.count = 0;
  page.header.heap = kPageSize;
  page.header.garbage = 0;
}

void Node::set_slot(std::uint16_t index, std::uint16_t offset) {
  store_le(page_mut_->bytes() + sizeof(PageHeader) + kSlotBytes * index, offset);
}

std::byte* Node::allocate_cell(std::uint16_t index, std::size_t bytes) {
  if (free_bytes() < bytes + kSlotBytes) return nullptr;
  PageHeader& header = page_mut_->header;
  if (header.heap - (sizeof(PageHeader) + kSlotBytes * header.count) < bytes + kSlotBytes) compact();
  header.heap = static_cast<std::uint16_t>(header.heap - bytes);
  std::byte* slots = page_mut_->bytes() + sizeof(PageHeader);
  std::memmove(slots + kSlotBytes * (index + 1U), slots + kSlotBytes * index,
               kSlotBytes * (header.count - index));
  ++header.count;
  set_slot(index, header.heap);
  return page_mut_->bytes() + header.heap;
}

bool Node::insert_leaf(std::uint16_t index, Bytes key, Bytes value) {
  std::byte* cell = allocate_cell(index, leaf_cell_bytes(key.size(), value.size()));
  if (cell == nullptr) return false;
  store_le(cell, static_cast<std::uint16_t>(key.size()));
  store_le(cell + 2, static_cast<std::uint16_t>(value.size()));
  if (!key.empty()) std::memcpy(cell + kLeafCellHeader, key.data(), key.size());
  if (!value.empty()) std::memcpy(cell + kLeafCellHeader + key.size(), value.data(), value.size());
  return true;
}

bool Node::insert_branch(std::uint16_t index, Bytes key, PageNo child, TxnId birth) {
  std::byte* cell = allocate_cell(index, branch_cell_bytes(key.size()));
  if (cell == nullptr) return false;
  store_le(cell, static_cast<std::uint16_t>(key.size()));
  if (!key.empty()) std::memcpy(cell + kBranchHeader, key.data(), key.size());
  store_le(cell + kBranchHeader + key.size(), raw(child));
  store_le(cell + kBranchHeader + key.size() + 8, raw(birth));
  return true;
}

bool Node::replace_value(std::uint16_t index, Bytes value) {
  std::byte* cell = page_mut_->bytes() + slot(index);
  const std::size_t key_bytes = load_le<std::uint16_t>(cell);
  const std::size_t old_bytes = load_le<std::uint16_t>(cell + 2);
  if (value.size() <= old_bytes) {
    if (!value.empty()) std::memcpy(cell + kLeafCellHeader + key_bytes, value.data(), value.size());
    store_le(cell + 2, static_cast<std::uint16_t>(value.size()));
    page_mut_->header.garbage =
        static_cast<std::uint16_t>(page_mut_->header.garbage + (old_bytes - value.size()));
    return true;
  }
  const std::size_t need = leaf_cell_bytes(key_bytes, value.size());
  if (free_bytes() + leaf_cell_bytes(key_bytes, old_bytes) < need) return false;
  std::array<std::byte, kMaxKey> key_copy;
  std::memcpy(key_copy.data(), cell + kLeafCellHeader, key_bytes);
  erase(index);
  return insert_leaf(index, {key_copy.data(), key_bytes}, value);
}

void Node::set_child(std::uint16_t index, PageNo child, TxnId birth) {
  std::byte* cell = page_mut_->bytes() + slot(index);
  const std::size_t key_bytes = load_le<std::uint16_t>(cell);
  store_le(cell + kBranchHeader + key_bytes, raw(child));
  store_le(cell + kBranchHeader + key_bytes + 8, raw(birth));
}

void Node::erase(std::uint16_t index) {
  PageHeader& header = page_mut_->header;
  const std::size_t bytes = cell_bytes(index);
  if (slot(index) == header.heap)
    header.heap = static_cast<std::uint16_t>(header.heap + bytes);
  else
    header.garbage = static_cast<std::uint16_t>(header.garbage + bytes);
  std::byte* slots = page_mut_->bytes() + sizeof(PageHeader);
  std::memmove(slots + kSlotBytes * index, slots + kSlotBytes * (index + 1U),
               kSlotBytes * (header.count - index - 1U));
  --header.count;
  if (header.count == 0) {
    header.heap = kPageSize;
    header.garbage = 0;
  }
}

void Node::compact() {
  alignas(16) std::array<std::byte, kPageSize> copy;
  std::size_t heap = kPageSize;
  for (std::uint16_t i = 0; i < count(); ++i) {
    const std::size_t bytes = cell_bytes(i);
    heap -= bytes;
    std::memcpy(copy.data() + heap, page_mut_->bytes() + slot(i), bytes);
    // The slot may change at once: cell_bytes() of later cells does not look at it.
    set_slot(i, static_cast<std::uint16_t>(heap));
  }
  std::memcpy(page_mut_->bytes() + heap, copy.data() + heap, kPageSize - heap);
  page_mut_->header.heap = static_cast<std::uint16_t>(heap);
  page_mut_->header.garbage = 0;
}

void Node::append_from(const NodeView& other, std::uint16_t from, std::uint16_t to) {
  for (std::uint16_t i = from; i < to; ++i) {
    const std::size_t bytes = other.cell_bytes(i);
    std::byte* cell = allocate_cell(count(), bytes);
    std::memcpy(cell, other.page_->bytes() + other.slot(i), bytes);
  }
}

}  // namespace lrufs::store
