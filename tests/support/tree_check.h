// All invariants of btree.h, and a tree's content against a std::map.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <set>
#include <string>

#include "store/btree.h"
#include "store/bytes.h"
#include "store/node.h"

namespace lrufs::test {

using ByteMap = std::map<std::string, std::string>;  // std::string compares as unsigned bytes

class TreeCheck {
 public:
  TreeCheck(const store::Pager& pager, const store::TreeRoot& root) : pager_(pager), root_(root) {
    if (root.page == store::kNoPage) return;
    const store::Page* top = fetch(root.page, root.birth);
    if (top == nullptr) return;
    const store::NodeView node(*top);
    if (node.count() == 0 && !node.is_leaf()) problem("the root branch is empty");
    visit(root.page, root.birth, node.level(), std::nullopt, std::nullopt, true);
    // tree_walk() must see the same pages, each once, parents first.
    std::set<std::uint64_t> walked;
    store::tree_walk(
        pager, root,
        [&](store::PageNo page, const store::Page& content) {
          if (!walked.insert(raw(page)).second)
            problem("tree_walk visits page " + std::to_string(raw(page)) + " twice");
          if (content.header.page_no != raw(page)) problem("tree_walk hands out the wrong page");
          return true;
        },
        [&](store::PageNo, const store::Error& error) { problem("tree_walk: " + store::describe(error)); });
    if (walked != pages_) problem("tree_walk sees other pages than a walk by hand");
  }

  [[nodiscard]] const std::string& problems() const { return problems_; }
  [[nodiscard]] const ByteMap& content() const { return content_; }
  [[nodiscard]] std::size_t page_count() const { return pages_.size(); }
  [[nodiscard]] std::size_t used_bytes() const { return used_bytes_; }

 private:
  void problem(const std::string& text) {
    if (problems_.size() < 2000) problems_ += text + "\n";
  }
  const store::Page* fetch(store::PageNo page, store::TxnId birth) {
    const auto fetched = pager_.fetch(page, birth);
    if (!fetched) {
      problem(store::describe(fetched.error()));
      return nullptr;
    }
    return *fetched;
  }
  static std::string text(store::Bytes bytes) { return std::string(store::as_text(bytes)); }

  // Keys of the subtree lie in [low, high).
  void visit(store::PageNo number, store::TxnId birth, int level, const std::optional<std::string>& low,
             const std::optional<std::string>& high, bool is_root) {
    const std::string where = "page " + std::to_string(raw(number)) + ": ";
    const store::Page* page = fetch(number, birth);
    if (page == nullptr) return;
    if (!pages_.insert(raw(number)).second) return problem(where + "is in the tree twice");
    if (page->header.birth != raw(birth)) problem(where + "is not the version its parent names");
    if (!store::node_is_well_formed(*page)) return problem(where + "is malformed");
    const store::NodeView node(*page);
    if (node.level() != level) problem(where + "is at the wrong level");
    if (node.count() == 0 && !is_root) problem(where + "is empty");
    std::optional<std::string> before;
    used_bytes_ += node.used_bytes();
    for (std::uint16_t i = 0; i < node.count(); ++i) {
      const std::string key = text(node.key(i));
      if (before && !(*before < key)) problem(where + "keys do not ascend");
      before = key;
      const bool minus_infinity = !node.is_leaf() && i == 0;
      if (minus_infinity && !key.empty()) problem(where + "the first cell of a branch has a key");
      if (!minus_infinity && low && key < *low) problem(where + "a key is below its parent's bound");
      if (high && key >= *high) problem(where + "a key is above its parent's bound");
      if (node.is_leaf()) {
        if (!content_.emplace(key, text(node.value(i))).second) problem(where + "a key is there twice");
        continue;
      }
      std::optional<std::string> child_low = minus_infinity ? low : std::optional<std::string>(key);
      std::optional<std::string> child_high = high;
      if (i + 1 < node.count()) child_high = text(node.key(static_cast<std::uint16_t>(i + 1)));
      visit(node.child(i), node.child_birth(i), level - 1, child_low, child_high, false);
    }
  }

  const store::Pager& pager_;
  store::TreeRoot root_;
  std::string problems_;
  ByteMap content_;
  std::set<std::uint64_t> pages_;
  std::size_t used_bytes_ = 0;
};

// Forward, backward, and by seeks to every key and beside it.
inline void expect_cursor_equals(const store::Pager& pager, const store::TreeRoot& root, const ByteMap& model,
                                 std::size_t seeks) {
  const auto same = [](const store::Cursor& cursor, ByteMap::const_iterator at) {
    return store::as_text(cursor.key()) == at->first && store::as_text(cursor.value()) == at->second;
  };
  store::Cursor cursor(pager, root);
  ASSERT_TRUE(cursor.first());
  for (auto at = model.begin(); at != model.end(); ++at) {
    ASSERT_TRUE(cursor.valid());
    ASSERT_TRUE(same(cursor, at));
    ASSERT_TRUE(cursor.next());
  }
  ASSERT_FALSE(cursor.valid());
  ASSERT_TRUE(cursor.last());
  for (auto at = model.rbegin(); at != model.rend(); ++at) {
    ASSERT_TRUE(cursor.valid());
    ASSERT_TRUE(same(cursor, std::prev(at.base())));
    ASSERT_TRUE(cursor.prev());
  }
  ASSERT_FALSE(cursor.valid());
  std::size_t left = seeks;
  const std::size_t step = model.size() / (seeks + 1) + 1;
  std::size_t index = 0;
  for (auto entry = model.begin(); entry != model.end() && left > 0; ++entry, ++index) {
    if (index % step != 0) continue;
    --left;
    for (const std::string& wanted :
         {entry->first, entry->first + '\0', entry->first.substr(0, entry->first.size() / 2)}) {
      const auto at = model.lower_bound(wanted);
      ASSERT_TRUE(cursor.seek(store::as_bytes(wanted)));
      ASSERT_EQ(cursor.valid(), at != model.end());
      if (cursor.valid()) {
        ASSERT_TRUE(same(cursor, at));
      }
      // One step in each direction from there.
      store::Cursor back = cursor;
      ASSERT_TRUE(back.prev());
      ASSERT_EQ(back.valid(), at != model.begin());
      if (back.valid()) {
        ASSERT_TRUE(same(back, std::prev(at)));
      }
      if (at != model.end()) {
        ASSERT_TRUE(cursor.next());
        ASSERT_EQ(cursor.valid(), std::next(at) != model.end());
        if (cursor.valid()) {
          ASSERT_TRUE(same(cursor, std::next(at)));
        }
      }
      const auto got = store::tree_get(pager, root, store::as_bytes(wanted));
      ASSERT_TRUE(got);
      const auto exact = model.find(wanted);
      ASSERT_EQ(got->has_value(), exact != model.end());
      if (exact != model.end()) {
        ASSERT_EQ(store::as_text(**got), exact->second);
      }
    }
  }
}

}  // namespace lrufs::test
