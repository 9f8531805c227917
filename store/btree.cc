#include "store/btree.h"

#include <algorithm>
#include <array>

namespace lrufs::store {

namespace {

// A node on the way from the root to a leaf, already editable.
struct Step {
  Page* page = nullptr;
  std::uint16_t index = 0;  // the child taken; in the leaf: the cell
};

struct Path {
  std::array<Step, kMaxDepth> steps;
  std::size_t depth = 0;
  [[nodiscard]] Step& leaf() { return steps[depth - 1]; }
};

PageNo number_of(const Page& page) { return PageNo{page.header.page_no}; }
TxnId birth_of(const Page& page) { return TxnId{page.header.birth}; }

// Makes all pages from the root to the leaf that may hold `key` editable.
Status edit_path(PageWriter& writer, TreeRoot& root, Bytes key, Path& path, bool& found) {
  PageNo page = root.page;
  TxnId birth = root.birth;
  for (;;) {
    if (path.depth == kMaxDepth) return fail(Code::kCorrupt, "a tree is deeper than any tree can be");
    LRUFS_TRY_ASSIGN(Page * p, writer.edit_page(page, birth));
    if (path.depth == 0) {
      root = {number_of(*p), birth_of(*p)};
    } else {
      Step& parent = path.steps[path.depth - 1];
      if (p->header.level + 1 != parent.page->header.level)
        return fail(Code::kCorrupt,
                    "page " + std::to_string(raw(page)) + " is at the wrong level of its tree");
      if (number_of(*p) != page) Node(*parent.page).set_child(parent.index, number_of(*p), birth_of(*p));
    }
    const NodeView node(*p);
    if (node.is_leaf()) {
      path.steps[path.depth++] = {p, node.lower_bound(key, found)};
      return {};
    }
    const std::uint16_t index = node.child_index(key);
    path.steps[path.depth++] = {p, index};
    page = node.child(index);
    birth = node.child_birth(index);
  }
}

// The shortest key that is above `left` and not above `right`.
Bytes shortest_separator(Bytes left, Bytes right) {
  std::size_t common = 0;
  const std::size_t limit = std::min(left.size(), right.size());
  while (common < limit && left[common] == right[common]) ++common;
  return right.first(std::min(common + 1, right.size()));
}

bool on_right_edge(const Path& path, std::size_t depth) {
  for (std::size_t i = 0; i < depth; ++i) {
    if (path.steps[i].index + 1 != path.steps[i].page->header.count) return false;
  }
  return true;
}

// Where to cut the cells of `node` plus one of `extra` bytes at `at`, so that both halves have about the same
// bytes: the number of cells of the combined sequence that stay left.
std::uint16_t balanced_cut(const NodeView& node, std::uint16_t at, std::size_t extra) {
  const std::size_t total = node.used_bytes() + extra + sizeof(std::uint16_t);
  std::size_t left = 0;
  const auto cells = static_cast<std::uint16_t>(node.count() + 1);
  for (std::uint16_t i = 0; i < cells; ++i) {
    const std::size_t bytes =
        i == at ? extra : node.cell_bytes(static_cast<std::uint16_t>(i < at ? i : i - 1));
    left += bytes + sizeof(std::uint16_t);
    if (left * 2 >= total)
      return std::clamp<std::uint16_t>(static_cast<std::uint16_t>(i + 1), 1,
                                       static_cast<std::uint16_t>(cells - 1));
  }
  return static_cast<std::uint16_t>(cells - 1);
}

Status grow_root(PageWriter& writer, TreeRoot& root, const Page& left, Bytes separator, const Page& right) {
  LRUFS_TRY_ASSIGN(Page * top, writer.make_page());
  Node::init(*top, PageKind::kBranch, static_cast<std::uint8_t>(left.header.level + 1));
  Node node(*top);
  node.insert_branch(0, {}, number_of(left), birth_of(left));
  node.insert_branch(1, separator, number_of(right), birth_of(right));
  root = {number_of(*top), birth_of(*top)};
  return {};
}

// Puts a new right neighbour of the node at `depth` into its parent, which may split in turn.
Status add_child(PageWriter& writer, TreeRoot& root, Path& path, std::size_t depth, Bytes separator,
                 const Page& right) {
  if (depth == 0) return grow_root(writer, root, *path.steps[0].page, separator, right);
  Step& parent = path.steps[depth - 1];
  const auto at = static_cast<std::uint16_t>(parent.index + 1);
  if (Node(*parent.page).insert_branch(at, separator, number_of(right), birth_of(right))) return {};

  LRUFS_TRY_ASSIGN(Page * new_page, writer.make_page());
  Node::init(*new_page, PageKind::kBranch, parent.page->header.level);
  Node sibling(*new_page);
  Page old = *parent.page;
  const NodeView old_node(old);
  std::array<std::byte, kMaxKey> up_buffer;
  Bytes up;
  const auto lift = [&](Bytes key) {
    std::copy(key.begin(), key.end(), up_buffer.begin());
    up = Bytes(up_buffer.data(), key.size());
  };
  if (at == old_node.count() && on_right_edge(path, depth - 1)) {
    // Ascending keys: leave the old node full.
    lift(separator);
    sibling.insert_branch(0, {}, number_of(right), birth_of(right));
  } else {
    const std::uint16_t cut = balanced_cut(old_node, at, separator.size() + 18);
    Node left(*parent.page);
    Node::init(*parent.page, PageKind::kBranch, old.header.level);
    // Cells of the combined sequence, the new one at `at`; the first of the right half loses its key to the
    // parent.
    const auto total = static_cast<std::uint16_t>(old_node.count() + 1);
    for (std::uint16_t i = 0; i < total; ++i) {
      const bool is_new = i == at;
      const auto source = static_cast<std::uint16_t>(i < at ? i : i - 1);
      const Bytes key = is_new ? separator : old_node.key(source);
      const PageNo child = is_new ? number_of(right) : old_node.child(source);
      const TxnId birth = is_new ? birth_of(right) : old_node.child_birth(source);
      if (i < cut) {
        left.insert_branch(left.count(), key, child, birth);
      } else if (i == cut) {
        lift(key);
        sibling.insert_branch(0, {}, child, birth);
      } else {
        sibling.insert_branch(sibling.count(), key, child, birth);
      }
    }
  }
  return add_child(writer, root, path, depth - 1, up, *new_page);
}

Status split_leaf(PageWriter& writer, TreeRoot& root, Path& path, Bytes key, Bytes value) {
  Step& leaf = path.leaf();
  LRUFS_TRY_ASSIGN(Page * new_page, writer.make_page());
  Node::init(*new_page, PageKind::kLeaf, 0);
  Node right(*new_page);
  Node left(*leaf.page);
  // Ascending keys leave the old node full. An object's own records do not quite ascend: its inode is put
  // after its content.
  constexpr std::uint16_t kNearEnd = 2;
  const bool ascending =
      leaf.index > 0 && leaf.index + kNearEnd >= left.count() && on_right_edge(path, path.depth - 1);
  if (ascending && leaf.index == left.count()) {
    right.insert_leaf(0, key, value);
  } else {
    const Page old = *leaf.page;
    const NodeView old_node(old);
    const std::uint16_t cut =
        ascending ? leaf.index
                  : balanced_cut(old_node, leaf.index, kLeafCellHeader + key.size() + value.size());
    Node::init(*leaf.page, PageKind::kLeaf, 0);
    const bool new_is_left = leaf.index < cut;
    const auto old_cut = static_cast<std::uint16_t>(new_is_left ? cut - 1 : cut);
    left.append_from(old_node, 0, old_cut);
    right.append_from(old_node, old_cut, old_node.count());
    if (new_is_left)
      left.insert_leaf(leaf.index, key, value);
    else
      right.insert_leaf(static_cast<std::uint16_t>(leaf.index - cut), key, value);
  }
  const Bytes separator =
      shortest_separator(left.key(static_cast<std::uint16_t>(left.count() - 1)), right.key(0));
  return add_child(writer, root, path, path.depth - 1, separator, *new_page);
}

// The first cell of a branch stands for minus infinity.
void clear_first_key(Node& node) {
  if (node.is_leaf() || node.count() == 0 || node.key(0).empty()) return;
  const PageNo child = node.child(0);
  const TxnId birth = node.child_birth(0);
  node.erase(0);
  node.insert_branch(0, {}, child, birth);
}

// Below this many bytes a node looks for a neighbour to merge with.
constexpr std::size_t kMergeBelow = (kPageSize - sizeof(PageHeader)) / 4;

// After an erase in the node at `depth`: merges it with a neighbour if it became small, and so on upward.
Status rebalance(PageWriter& writer, TreeRoot& root, Path& path, std::size_t depth) {
  Page* page = path.steps[depth].page;
  const NodeView node(*page);
  if (depth == 0) {
    if (node.count() == 0) {
      writer.free_page(number_of(*page));
      root = {};
    } else if (!node.is_leaf() && node.count() == 1) {
      root = {node.child(0), node.child_birth(0)};
      writer.free_page(number_of(*page));
    }
    return {};
  }
  if (node.used_bytes() >= kMergeBelow) return {};
  Step& up = path.steps[depth - 1];
  Node parent(*up.page);
  if (node.count() == 0) {
    writer.free_page(number_of(*page));
    parent.erase(up.index);
    clear_first_key(parent);
  } else if (parent.count() > 1) {
    const bool with_left = up.index > 0;
    const auto left_index = static_cast<std::uint16_t>(with_left ? up.index - 1 : up.index);
    const auto right_index = static_cast<std::uint16_t>(left_index + 1);
    const auto neighbour = with_left ? left_index : right_index;
    const std::size_t separator_bytes = node.is_leaf() ? 0 : parent.key(right_index).size();
    LRUFS_TRY_ASSIGN(const Page* other,
                     writer.pager().fetch(parent.child(neighbour), parent.child_birth(neighbour)));
    if (other->header.level != page->header.level)
      return fail(Code::kCorrupt,
                  "page " + std::to_string(other->header.page_no) + " is at the wrong level of its tree");
    if (NodeView(*other).used_bytes() + node.used_bytes() + separator_bytes <=
        kPageSize - sizeof(PageHeader)) {
      Page* left = page;
      const Page* right = other;
      if (with_left) {
        LRUFS_TRY_ASSIGN(left, writer.edit_page(parent.child(neighbour), parent.child_birth(neighbour)));
        parent.set_child(left_index, number_of(*left), birth_of(*left));
        right = page;
      }
      Node merged(*left);
      const NodeView from(*right);
      if (merged.is_leaf()) {
        merged.append_from(from, 0, from.count());
      } else {
        merged.insert_branch(merged.count(), parent.key(right_index), from.child(0), from.child_birth(0));
        merged.append_from(from, 1, from.count());
      }
      writer.free_page(number_of(*right));
      parent.erase(right_index);
    }
  }
  return rebalance(writer, root, path, depth - 1);
}

}  // namespace

Result<std::optional<Bytes>> tree_get(const Pager& pager, const TreeRoot& root, Bytes key) {
  if (root.page == kNoPage) return std::nullopt;
  PageNo page = root.page;
  TxnId birth = root.birth;
  for (std::size_t depth = 0; depth < kMaxDepth; ++depth) {
    LRUFS_TRY_ASSIGN(const Page* p, pager.fetch(page, birth));
    const NodeView node(*p);
    if (node.is_leaf()) {
      bool found = false;
      const std::uint16_t index = node.lower_bound(key, found);
      if (!found) return std::nullopt;
      return node.value(index);
    }
    const std::uint16_t index = node.child_index(key);
    page = node.child(index);
    birth = node.child_birth(index);
  }
  return fail(Code::kCorrupt, "a tree is deeper than any tree can be");
}

Status tree_put(PageWriter& writer, TreeRoot& root, Bytes key, Bytes value) {
  if (kLeafCellHeader + key.size() + value.size() > kMaxCell || key.size() > kMaxKey)
    return fail(Code::kInvalid, "a record is larger than a tree can hold");
  if (root.page == kNoPage) {
    LRUFS_TRY_ASSIGN(Page * page, writer.make_page());
    Node::init(*page, PageKind::kLeaf, 0);
    Node(*page).insert_leaf(0, key, value);
    root = {number_of(*page), birth_of(*page)};
    return {};
  }
  Path path;
  bool found = false;
  LRUFS_TRY(edit_path(writer, root, key, path, found));
  Step& leaf = path.leaf();
  Node node(*leaf.page);
  if (found) {
    if (node.replace_value(leaf.index, value)) return {};
    node.erase(leaf.index);
    if (node.count() == 0) return fail(Code::kCorrupt, "a record does not fit an empty page");
  }
  if (node.insert_leaf(leaf.index, key, value)) return {};
  return split_leaf(writer, root, path, key, value);
}

Result<bool> tree_erase(PageWriter& writer, TreeRoot& root, Bytes key) {
  LRUFS_TRY_ASSIGN(const auto present, tree_get(writer.pager(), root, key));
  if (!present) return false;
  Path path;
  bool found = false;
  LRUFS_TRY(edit_path(writer, root, key, path, found));
  Node(*path.leaf().page).erase(path.leaf().index);
  LRUFS_TRY(rebalance(writer, root, path, path.depth - 1));
  return true;
}

void tree_walk(const Pager& pager, const TreeRoot& root, const PageVisit& visit, const PageDamage& damaged) {
  struct Pending {
    PageNo page;
    TxnId birth;
    int level;  // expected; -1 for the root
  };
  std::vector<Pending> stack;
  if (root.page != kNoPage) stack.push_back({root.page, root.birth, -1});
  while (!stack.empty()) {
    const Pending next = stack.back();
    stack.pop_back();
    const auto page = pager.fetch(next.page, next.birth);
    if (!page) {
      damaged(next.page, page.error());
      continue;
    }
    const NodeView node(**page);
    if (next.level >= 0 && node.level() != next.level) {
      damaged(next.page, Error(Code::kCorrupt, "page " + std::to_string(raw(next.page)) +
                                                   " is at the wrong level of its tree"));
      continue;
    }
    if (!visit(next.page, **page) || node.is_leaf()) continue;
    for (std::uint16_t i = node.count(); i > 0; --i) {
      const auto at = static_cast<std::uint16_t>(i - 1);
      stack.push_back({node.child(at), node.child_birth(at), node.level() - 1});
    }
  }
}

}  // namespace lrufs::store
