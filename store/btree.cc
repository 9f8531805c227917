#include "store/btree.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace lrufs::store {

namespace {

// A node on the way from the root to a leaf.
struct Step {
  const Page* page = nullptr;
  std::uint16_t index = 0;  // the child taken; in the leaf: the cell
  bool editable = false;
};

struct Path {
  std::array<Step, kMaxDepth> steps;
  std::size_t depth = 0;
  [[nodiscard]] Step& leaf() { return steps[depth - 1]; }
};

PageNo number_of(const Page& page) { return PageNo{page.header.page_no}; }
TxnId birth_of(const Page& page) { return TxnId{page.header.birth}; }

tl::unexpected<Error> at_wrong_level(const Page& page) {
  return fail(Code::kCorrupt,
              "page " + std::to_string(page.header.page_no) + " is at the wrong level of its tree");
}

// The way to the leaf that may hold `key`.
Status find_path(const PageSource& pages, const TreeRoot& root, Bytes key, Path& path, bool& found) {
  PageNo page = root.page;
  TxnId birth = root.birth;
  for (;;) {
    if (path.depth == kMaxDepth) return fail(Code::kCorrupt, "a tree is deeper than any tree can be");
    const Page* p = pages.fetch_verified(page, birth);
    if (p == nullptr) [[unlikely]] {
      LRUFS_TRY_ASSIGN(p, pages.fetch(page, birth));
    }
    if (path.depth > 0 && p->header.level + 1 != path.steps[path.depth - 1].page->header.level)
      return at_wrong_level(*p);
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

// Makes the node at `depth` editable, and those above it that must learn its new number.
Result<Page*> edit(PageWriter& writer, TreeRoot& root, Path& path, std::size_t depth) {
  Step& step = path.steps[depth];
  if (step.editable) return const_cast<Page*>(step.page);
  const PageNo old = number_of(*step.page);
  LRUFS_TRY_ASSIGN(Page * page, writer.edit_page(old, birth_of(*step.page)));
  step.page = page;
  step.editable = true;
  if (number_of(*page) != old) {
    if (depth == 0) {
      root = {number_of(*page), birth_of(*page)};
    } else {
      LRUFS_TRY_ASSIGN(Page * parent, edit(writer, root, path, depth - 1));
      Node(*parent).set_child(path.steps[depth - 1].index, number_of(*page), birth_of(*page));
    }
  }
  return page;
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
  LRUFS_TRY_ASSIGN(Page * parent, edit(writer, root, path, depth - 1));
  const auto at = static_cast<std::uint16_t>(path.steps[depth - 1].index + 1);
  if (Node(*parent).insert_branch(at, separator, number_of(right), birth_of(right))) return {};

  LRUFS_TRY_ASSIGN(Page * new_page, writer.make_page());
  Node::init(*new_page, PageKind::kBranch, parent->header.level);
  Node sibling(*new_page);
  const Page old = *parent;
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
    Node left(*parent);
    Node::init(*parent, PageKind::kBranch, old.header.level);
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
  const Step& leaf = path.leaf();
  LRUFS_TRY_ASSIGN(Page * left_page, edit(writer, root, path, path.depth - 1));
  LRUFS_TRY_ASSIGN(Page * new_page, writer.make_page());
  Node::init(*new_page, PageKind::kLeaf, 0);
  Node right(*new_page);
  Node left(*left_page);
  // Ascending keys leave the old node full. An object's own records do not quite ascend: its inode is put
  // after its content.
  constexpr std::uint16_t kNearEnd = 2;
  const bool ascending =
      leaf.index > 0 && leaf.index + kNearEnd >= left.count() && on_right_edge(path, path.depth - 1);
  if (ascending && leaf.index == left.count()) {
    right.insert_leaf(0, key, value);
  } else {
    const Page old = *left_page;
    const NodeView old_node(old);
    const std::uint16_t cut =
        ascending ? leaf.index
                  : balanced_cut(old_node, leaf.index, kLeafCellHeader + key.size() + value.size());
    Node::init(*left_page, PageKind::kLeaf, 0);
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
  LRUFS_TRY_ASSIGN(Page * page, edit(writer, root, path, depth));
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
  const std::uint16_t own_index = path.steps[depth - 1].index;
  const NodeView above(*path.steps[depth - 1].page);
  if (node.count() == 0) {
    writer.free_page(number_of(*page));
    LRUFS_TRY_ASSIGN(Page * parent_page, edit(writer, root, path, depth - 1));
    Node parent(*parent_page);
    parent.erase(own_index);
    clear_first_key(parent);
  } else {
    if (above.count() < 2) return {};
    const bool with_left = own_index > 0;
    const auto left_index = static_cast<std::uint16_t>(with_left ? own_index - 1 : own_index);
    const auto right_index = static_cast<std::uint16_t>(left_index + 1);
    const auto neighbour = with_left ? left_index : right_index;
    const std::size_t separator_bytes = node.is_leaf() ? 0 : above.key(right_index).size();
    LRUFS_TRY_ASSIGN(const Page* other,
                     writer.pages().fetch(above.child(neighbour), above.child_birth(neighbour)));
    if (other->header.level != page->header.level) return at_wrong_level(*other);
    if (NodeView(*other).used_bytes() + node.used_bytes() + separator_bytes > kPageSize - sizeof(PageHeader))
      return {};
    LRUFS_TRY_ASSIGN(Page * parent_page, edit(writer, root, path, depth - 1));
    Node parent(*parent_page);
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
  return rebalance(writer, root, path, depth - 1);
}

bool keys_are_equal(Bytes a, Bytes b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

// Puts the record into a leaf whose range it certainly belongs to (keys of the leaf on both sides, or its own
// key), if that takes no more than an edit in place.
std::optional<LeafHints::Hint> put_into_leaf(PageWriter& writer, PageNo guess, Bytes key, Bytes value) {
  const Page* leaf = writer.pages().leaf(guess);
  // The copy is sought in, which is in the processor's cache then; whoever misses it here edits it as well.
  Page* page = leaf == nullptr ? nullptr : writer.edit_in_place(*leaf);
  if (page == nullptr) return std::nullopt;
  Node node(*page);
  bool found = false;
  const std::uint16_t index = node.lower_bound(key, found);
  if (!found && (index == 0 || index == node.count())) return std::nullopt;
  if (!(found ? node.replace_value(index, value) : node.insert_leaf(index, key, value))) return std::nullopt;
  return TreePlace{page, index}.hint();
}

// The same for an erase; not if the leaf would become so small that it should be merged.
bool erase_from_leaf(PageWriter& writer, PageNo guess, Bytes key) {
  const Page* leaf = writer.pages().leaf(guess);
  if (leaf == nullptr) return false;
  const NodeView node(*leaf);
  bool found = false;
  const std::uint16_t index = node.lower_bound(key, found);
  if (!found) return false;
  if (node.used_bytes() - node.cell_bytes(index) - sizeof(std::uint16_t) < kMergeBelow) return false;
  Page* page = writer.edit_in_place(*leaf);
  if (page == nullptr) return false;
  Node(*page).erase(index);
  return true;
}

}  // namespace

Result<std::optional<Bytes>> tree_get(const PageSource& pages, const TreeRoot& root, Bytes key) {
  if (root.page == kNoPage) return std::nullopt;
  PageNo page = root.page;
  TxnId birth = root.birth;
  for (std::size_t depth = 0; depth < kMaxDepth; ++depth) {
    const Page* p = pages.fetch_verified(page, birth);
    if (p == nullptr) [[unlikely]] {
      LRUFS_TRY_ASSIGN(p, pages.fetch(page, birth));
    }
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

std::optional<TreePlace> tree_find_hinted(const PageSource& pages, Bytes key, std::uint64_t hash) {
  LeafHints* const hints = pages.hints();
  if (hints == nullptr) return std::nullopt;
  const LeafHints::Hint hint = hints->find(hash);
  if (hint.page != kNoPage) pages.pager().prefetch(hint);
  const Page* leaf = hint.page == kNoPage ? nullptr : pages.leaf(hint.page);
  if (leaf == nullptr) return std::nullopt;
  const NodeView node(*leaf);
  if (hint.index < node.count() && node.cell(hint.index) == hint.cell &&
      keys_are_equal(node.key(hint.index), key))
    return TreePlace{leaf, hint.index};
  bool found = false;
  const std::uint16_t index = node.lower_bound(key, found);
  if (!found) return std::nullopt;
  hints->note(hash, TreePlace{leaf, index}.hint());
  return TreePlace{leaf, index};
}

Result<std::optional<TreePlace>> tree_find(const PageSource& pages, const TreeRoot& root, Bytes key,
                                           std::uint64_t hash, LeaveHint leave) {
  if (const auto place = tree_find_hinted(pages, key, hash)) return place;
  LeafHints* const hints = pages.hints();
  if (root.page == kNoPage) return std::nullopt;
  Path path;
  bool found = false;
  LRUFS_TRY(find_path(pages, root, key, path, found));
  if (!found) return std::nullopt;
  const Step& leaf = path.leaf();
  if (hints != nullptr && leave == LeaveHint::kYes)
    hints->note(hash, TreePlace{leaf.page, leaf.index}.hint());
  return TreePlace{leaf.page, leaf.index};
}

Result<LeafHints::Hint> tree_put(PageWriter& writer, TreeRoot& root, Bytes key, Bytes value, PageNo guess) {
  if (kLeafCellHeader + key.size() + value.size() > kMaxCell || key.size() > kMaxKey)
    return fail(Code::kInvalid, "a record is larger than a tree can hold");
  if (guess != kNoPage) {
    if (const auto place = put_into_leaf(writer, guess, key, value)) return *place;
  }
  if (root.page == kNoPage) {
    LRUFS_TRY_ASSIGN(Page * page, writer.make_page());
    Node::init(*page, PageKind::kLeaf, 0);
    Node(*page).insert_leaf(0, key, value);
    root = {number_of(*page), birth_of(*page)};
    return TreePlace{page, 0}.hint();
  }
  Path path;
  bool found = false;
  LRUFS_TRY(find_path(writer.pages(), root, key, path, found));
  LRUFS_TRY_ASSIGN(Page * page, edit(writer, root, path, path.depth - 1));
  const Step& leaf = path.leaf();
  Node node(*page);
  if (found) {
    if (node.replace_value(leaf.index, value)) return TreePlace{page, leaf.index}.hint();
    node.erase(leaf.index);
    if (node.count() == 0) return fail(Code::kCorrupt, "a record does not fit an empty page");
  }
  if (node.insert_leaf(leaf.index, key, value)) return TreePlace{page, leaf.index}.hint();
  LRUFS_TRY(split_leaf(writer, root, path, key, value));
  return LeafHints::Hint{};
}

Result<bool> tree_erase(PageWriter& writer, TreeRoot& root, Bytes key, PageNo guess) {
  if (root.page == kNoPage) return false;
  if (guess != kNoPage && erase_from_leaf(writer, guess, key)) return true;
  Path path;
  bool found = false;
  LRUFS_TRY(find_path(writer.pages(), root, key, path, found));
  if (!found) return false;
  LRUFS_TRY_ASSIGN(Page * page, edit(writer, root, path, path.depth - 1));
  Node(*page).erase(path.leaf().index);
  LRUFS_TRY(rebalance(writer, root, path, path.depth - 1));
  return true;
}

void tree_walk(const PageSource& pages, const TreeRoot& root, const PageVisit& visit,
               const PageDamage& damaged) {
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
    const auto page = pages.fetch(next.page, next.birth);
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
