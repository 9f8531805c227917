#include "store/btree.h"

namespace lrufs::store {

Status Cursor::descend(PageNo page, TxnId birth, int edge) {
  for (;;) {
    if (depth_ == kMaxDepth) return fail(Code::kCorrupt, "a tree is deeper than any tree can be");
    const Page* p = pages_.fetch_verified(page, birth);
    if (p == nullptr) [[unlikely]] {
      LRUFS_TRY_ASSIGN(p, pages_.fetch(page, birth));
    }
    const NodeView node(*p);
    if (depth_ > 0 && node.level() + 1 != NodeView(*path_[depth_ - 1].page).level())
      return fail(Code::kCorrupt, "page " + std::to_string(raw(page)) + " is at the wrong level of its tree");
    const auto edge_index = static_cast<std::uint16_t>(edge < 0 || node.count() == 0 ? 0 : node.count() - 1);
    path_[depth_++] = {p, edge_index};
    if (node.is_leaf()) {
      valid_ = node.count() > 0;
      return {};
    }
    page = node.child(edge_index);
    birth = node.child_birth(edge_index);
  }
}

Status Cursor::seek(Bytes key) {
  depth_ = 0;
  valid_ = false;
  if (root_.page == kNoPage) return {};
  PageNo page = root_.page;
  TxnId birth = root_.birth;
  for (;;) {
    if (depth_ == kMaxDepth) return fail(Code::kCorrupt, "a tree is deeper than any tree can be");
    const Page* p = pages_.fetch_verified(page, birth);
    if (p == nullptr) [[unlikely]] {
      LRUFS_TRY_ASSIGN(p, pages_.fetch(page, birth));
    }
    const NodeView node(*p);
    if (depth_ > 0 && node.level() + 1 != NodeView(*path_[depth_ - 1].page).level())
      return fail(Code::kCorrupt, "page " + std::to_string(raw(page)) + " is at the wrong level of its tree");
    if (node.is_leaf()) {
      bool found = false;
      const std::uint16_t index = node.lower_bound(key, found);
      path_[depth_++] = {p, index};
      valid_ = index < node.count();
      if (!valid_ && node.count() > 0) {
        // The key is above all of this leaf: the answer, if any, is the next leaf's first.
        path_[depth_ - 1].index = static_cast<std::uint16_t>(node.count() - 1);
        valid_ = true;
        return next();
      }
      return {};
    }
    const std::uint16_t index = node.child_index(key);
    path_[depth_++] = {p, index};
    page = node.child(index);
    birth = node.child_birth(index);
  }
}

Status Cursor::first() {
  depth_ = 0;
  valid_ = false;
  return root_.page == kNoPage ? Status{} : descend(root_.page, root_.birth, -1);
}

Status Cursor::last() {
  depth_ = 0;
  valid_ = false;
  return root_.page == kNoPage ? Status{} : descend(root_.page, root_.birth, +1);
}

Status Cursor::next() {
  if (depth_ == 0) return {};
  std::size_t level = depth_;
  while (level > 0) {
    Step& step = path_[level - 1];
    const NodeView node(*step.page);
    if (step.index + 1 < node.count()) {
      ++step.index;
      depth_ = level;
      if (node.is_leaf()) return {};
      return descend(node.child(step.index), node.child_birth(step.index), -1);
    }
    --level;
  }
  // At the end. The path stays where it is, on the last cell, so that prev() can go back.
  valid_ = false;
  return {};
}

Status Cursor::prev() {
  if (depth_ == 0) return {};
  if (!valid_) {
    // One past the end: the last cell is the one before.
    valid_ = NodeView(*path_[depth_ - 1].page).count() > 0;
    return {};
  }
  std::size_t level = depth_;
  while (level > 0) {
    Step& step = path_[level - 1];
    if (step.index > 0) {
      --step.index;
      depth_ = level;
      const NodeView node(*step.page);
      if (node.is_leaf()) return {};
      return descend(node.child(step.index), node.child_birth(step.index), +1);
    }
    --level;
  }
  valid_ = false;
  depth_ = 0;
  return {};
}

LeafHints::Hint Cursor::place() const {
  const Step& step = path_[depth_ - 1];
  return TreePlace{step.page, step.index}.hint();
}
Bytes Cursor::key() const { return NodeView(*path_[depth_ - 1].page).key(path_[depth_ - 1].index); }
Bytes Cursor::value() const { return NodeView(*path_[depth_ - 1].page).value(path_[depth_ - 1].index); }

}  // namespace lrufs::store
