// The tree against a std::map: sizes up to the largest cell, orders of insertion, versions, aborts, damage.
#include "store/btree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/memory_pages.h"
#include "tests/support/random.h"
#include "tests/support/tree_check.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::Code;
using store::kMaxCell;
using store::kMaxKey;
using store::TreeRoot;

constexpr std::size_t kMaxValue0 = kMaxCell - store::kLeafCellHeader;  // with an empty key

std::string be64(std::uint64_t value) {
  std::string text(8, '\0');
  store::store_be64(reinterpret_cast<std::byte*>(text.data()), value);
  return text;
}

class BTree : public ::testing::Test {
 protected:
  void put(const std::string& key, const std::string& value) {
    ASSERT_TRUE(tree_put(pages_, root_, as_bytes(key), as_bytes(value)));
    model_[key] = value;
  }
  void erase(const std::string& key) {
    const auto erased = tree_erase(pages_, root_, as_bytes(key));
    ASSERT_TRUE(erased);
    ASSERT_EQ(*erased, model_.erase(key) == 1);
  }
  void expect_equal(std::size_t seeks = 30) {
    const TreeCheck tree(pages_.pager(), root_);
    ASSERT_EQ(tree.problems(), "");
    ASSERT_EQ(tree.content(), model_);
    ASSERT_NO_FATAL_FAILURE(expect_cursor_equals(pages_.pager(), root_, model_, seeks));
  }
  // Commits; from now on pages are checked as if they came from the disk.
  void commit() {
    pages_.commit();
    pages_.distrust_all();
    ASSERT_NO_FATAL_FAILURE(expect_equal());
    // Nothing leaks: every page that is not free is in the tree.
    pages_.reuse();
    ASSERT_EQ(pages_.in_use(), TreeCheck(pages_.pager(), root_).page_count());
    pages_.begin();
  }

  void SetUp() override { pages_.begin(); }

  MemoryPages pages_{20000};
  TreeRoot root_;
  ByteMap model_;
};

TEST_F(BTree, EmptyTree) {
  store::Cursor cursor(pages_.pager(), root_);
  EXPECT_TRUE(cursor.first());
  EXPECT_FALSE(cursor.valid());
  EXPECT_TRUE(cursor.last());
  EXPECT_FALSE(cursor.valid());
  EXPECT_TRUE(cursor.seek(as_bytes("x")));
  EXPECT_FALSE(cursor.valid());
  EXPECT_TRUE(cursor.next());
  EXPECT_TRUE(cursor.prev());
  EXPECT_FALSE(cursor.valid());
  const auto got = tree_get(pages_.pager(), root_, as_bytes("x"));
  ASSERT_TRUE(got);
  EXPECT_FALSE(got->has_value());
  const auto erased = tree_erase(pages_, root_, as_bytes("x"));
  ASSERT_TRUE(erased);
  EXPECT_FALSE(*erased);
  EXPECT_EQ(pages_.in_use(), 0U);
}

TEST_F(BTree, LargestAndSmallestRecords) {
  put("", "");
  put(std::string(kMaxKey, '\xff'), std::string(kMaxCell - store::kLeafCellHeader - kMaxKey, 'v'));
  put("k", std::string(kMaxValue0 - 1, 'w'));
  put(std::string(1, '\0'), "nul");
  expect_equal();
  EXPECT_EQ(tree_put(pages_, root_, as_bytes(std::string(kMaxKey + 1, 'k')), {}).error().code,
            Code::kInvalid);
  EXPECT_EQ(tree_put(pages_, root_, as_bytes("k"), as_bytes(std::string(kMaxValue0, 'w'))).error().code,
            Code::kInvalid);
  expect_equal();
  erase("");
  erase("k");
  commit();
}

TEST_F(BTree, ErasingAnAbsentKeyCopiesNothing) {
  for (int i = 0; i < 2000; ++i) put(be64(static_cast<std::uint64_t>(i) * 2), "v");
  commit();
  const TreeRoot before = root_;
  const std::uint64_t pages = pages_.in_use();
  erase(be64(777));
  EXPECT_EQ(root_, before);
  EXPECT_EQ(pages_.in_use(), pages);
}

TEST_F(BTree, AscendingKeysFillTheirPages) {
  for (std::uint64_t i = 0; i < 20000; ++i) put(be64(i), std::string(20, 'v'));
  commit();
  const TreeCheck tree(pages_.pager(), root_);
  EXPECT_GT(static_cast<double>(tree.used_bytes()) / static_cast<double>(tree.page_count() * 4064), 0.95);
  // And away from the front, as the recency tree is used.
  for (std::uint64_t i = 0; i < 20000; ++i) {
    erase(be64(i));
    if (i % 4000 == 1234) commit();
  }
  commit();
  EXPECT_EQ(root_, TreeRoot{});
  EXPECT_EQ(pages_.in_use(), 0U);
}

// As a store does for each new file: the content first, then the inode, whose key is before it.
TEST_F(BTree, ObjectsThatAscendFillTheirPages) {
  for (std::uint64_t i = 0; i < 2000; ++i) {
    put(be64(i) + "3", std::string(100, 'v'));
    put(be64(i) + "0", std::string(40, 'i'));
  }
  const TreeCheck tree(pages_.pager(), root_);
  EXPECT_GT(static_cast<double>(tree.used_bytes()) / static_cast<double>(tree.page_count() * 4064), 0.92);
  commit();
}

TEST_F(BTree, DescendingKeys) {
  for (std::uint64_t i = 20000; i > 0; --i) put(be64(i), std::string(i % 60, 'v'));
  commit();
  const TreeCheck tree(pages_.pager(), root_);
  EXPECT_GT(static_cast<double>(tree.used_bytes()) / static_cast<double>(tree.page_count() * 4064), 0.45);
  for (std::uint64_t i = 20000; i > 0; --i) {
    erase(be64(i));
    if (i % 4000 == 1234) commit();
  }
  commit();
  EXPECT_EQ(root_, TreeRoot{});
  EXPECT_EQ(pages_.in_use(), 0U);
}

TEST_F(BTree, LongCommonPrefixesGrowDeepTrees) {
  // Separators nearly as long as the keys: small fan-out, many branch splits.
  Random random;
  SCOPED_TRACE(random.hint());
  const std::string prefix(kMaxKey - 8, 'p');
  std::vector<std::uint64_t> order;
  for (std::uint64_t i = 0; i < scaled(6000); ++i) order.push_back(i);
  std::shuffle(order.begin(), order.end(), random.engine());
  for (const std::uint64_t i : order) put(prefix + be64(i), random.text(random.below(100)));
  commit();
  EXPECT_GE(store::NodeView(**pages_.pager().fetch(root_.page, root_.birth)).level(), 2);
  std::shuffle(order.begin(), order.end(), random.engine());
  for (std::size_t i = 0; i < order.size(); ++i) {
    erase(prefix + be64(order[i]));
    if (i % 1000 == 999) commit();
  }
  EXPECT_EQ(root_, TreeRoot{});
}

TEST_F(BTree, MassErasureMergesPages) {
  for (std::uint64_t i = 0; i < 20000; ++i) put(be64(i), std::string(40, 'v'));
  commit();
  const std::size_t before = TreeCheck(pages_.pager(), root_).page_count();
  for (std::uint64_t i = 0; i < 20000; ++i) {
    if (i % 20 != 0) erase(be64(i));
  }
  commit();
  EXPECT_LT(TreeCheck(pages_.pager(), root_).page_count() * 4, before);
}

TEST_F(BTree, OldVersionsStayAsTheyWere) {
  Random random;
  SCOPED_TRACE(random.hint());
  struct Version {
    TreeRoot root;
    ByteMap content;
  };
  std::vector<Version> versions;
  for (int txn = 0; txn < 12; ++txn) {
    for (int i = 0; i < 150; ++i) {
      const std::string key = be64(random.below(800));
      if (random.chance(35))
        erase(key);
      else
        put(key, random.text(random.skewed(900)));
    }
    pages_.commit();
    versions.push_back({root_, model_});
    pages_.begin();
  }
  pages_.distrust_all();
  for (const Version& version : versions) {
    const TreeCheck tree(pages_.pager(), version.root);
    ASSERT_EQ(tree.problems(), "");
    ASSERT_EQ(tree.content(), version.content);
  }
}

TEST_F(BTree, AFailedChangeLeavesTheOldVersion) {
  Random random;
  SCOPED_TRACE(random.hint());
  for (int i = 0; i < 3000; ++i) put(random.text(8), random.text(random.below(80)));
  commit();
  std::size_t failures = 0;
  for (std::size_t round = 0; round < scaled(300); ++round) {
    const TreeRoot before = root_;
    TreeRoot attempt = root_;
    pages_.fail_after(random.below(8));
    bool failed = false;
    for (int i = 0; i < 3 && !failed; ++i) {
      if (random.chance(50)) {
        const auto done =
            tree_put(pages_, attempt, as_bytes(random.text(8)), as_bytes(random.text(random.below(900))));
        failed = !done;
        if (failed) {
          ASSERT_EQ(done.error().code, Code::kNoSpace);
        }
      } else {
        const auto at = std::next(model_.begin(), static_cast<long>(random.below(model_.size())));
        const auto done = tree_erase(pages_, attempt, as_bytes(at->first));
        failed = !done;
        if (failed) {
          ASSERT_EQ(done.error().code, Code::kNoSpace);
        }
      }
    }
    failures += failed ? 1 : 0;
    pages_.never_fail();
    pages_.abort();
    pages_.begin();
    root_ = before;
    if (round % 20 == 0) {
      ASSERT_NO_FATAL_FAILURE(expect_equal(5));
    }
  }
  EXPECT_GT(failures, 0U);
  pages_.distrust_all();
  expect_equal();
}

TEST_F(BTree, DamageIsNoticedAndNamed) {
  for (std::uint64_t i = 0; i < 5000; ++i) put(be64(i), std::string(30, 'v'));
  commit();
  const store::Page* top = *pages_.pager().fetch(root_.page, root_.birth);
  const store::NodeView branch(*top);
  ASSERT_FALSE(branch.is_leaf());
  const store::PageNo leaf = branch.child(2);
  const store::TxnId leaf_birth = branch.child_birth(2);
  const std::string inside(store::as_text(branch.key(2)));

  const auto expect_noticed = [&](const char* what) {
    SCOPED_TRACE(what);
    pages_.distrust_all();
    const auto got = tree_get(pages_.pager(), root_, as_bytes(inside));
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, Code::kCorrupt);
    EXPECT_NE(got.error().message.find(std::to_string(raw(leaf))), std::string::npos) << got.error().message;
    // The rest stays readable, and a walk tells the page.
    EXPECT_TRUE(tree_get(pages_.pager(), root_, as_bytes(be64(0))));
    std::vector<store::PageNo> damaged;
    tree_walk(
        pages_.pager(), root_, [](store::PageNo, const store::Page&) { return true; },
        [&](store::PageNo page, const store::Error&) { damaged.push_back(page); });
    EXPECT_EQ(damaged, std::vector<store::PageNo>{leaf});
    store::Cursor cursor(pages_.pager(), root_);
    EXPECT_FALSE(cursor.seek(as_bytes(inside)));
    // A scan meets it, too, and does not read over it.
    store::Status step = cursor.first();
    while (step && cursor.valid()) step = cursor.next();
    EXPECT_FALSE(step);
    TreeRoot attempt = root_;
    EXPECT_FALSE(tree_put(pages_, attempt, as_bytes(inside), {}));
    EXPECT_FALSE(tree_erase(pages_, attempt, as_bytes(inside)));
    pages_.abort();
    pages_.begin();
  };
  store::Page* bytes = pages_.mutable_pager().at(leaf);
  const store::Page saved = *bytes;
  bytes->bytes()[4000] ^= std::byte{1};
  expect_noticed("a flipped bit");
  *bytes = saved;
  bytes->header.birth = raw(leaf_birth) - 1;
  store::seal_page(*bytes);
  expect_noticed("an older version of the page: a lost write");
  *bytes = saved;
  bytes->header.page_no += 1;
  store::seal_page(*bytes);
  expect_noticed("another page's content: a misplaced write");
  *bytes = saved;
  std::memset(bytes->bytes(), 0, store::kPageSize);
  expect_noticed("zeros");
  *bytes = saved;
  pages_.distrust_all();
  expect_equal();
}

TEST_F(BTree, APageAtTheWrongLevelIsNoticed) {
  for (std::uint64_t i = 0; i < 60000; ++i) put(be64(i), std::string(8, 'v'));
  pages_.commit();
  store::Page* top = pages_.mutable_pager().at(root_.page);
  ASSERT_EQ(top->header.level, 2);
  const store::NodeView root_node(*top);
  const store::NodeView middle(**pages_.pager().fetch(root_node.child(1), root_node.child_birth(1)));
  // The root's second child is now a leaf.
  store::Node(*top).set_child(1, middle.child(0), middle.child_birth(0));
  store::seal_page(*top);
  pages_.distrust_all();
  std::size_t damaged = 0;
  tree_walk(
      pages_.pager(), root_, [](store::PageNo, const store::Page&) { return true; },
      [&](store::PageNo, const store::Error& error) {
        EXPECT_EQ(error.code, Code::kCorrupt);
        ++damaged;
      });
  EXPECT_EQ(damaged, 1U);
  store::Cursor cursor(pages_.pager(), root_);
  store::Status step = cursor.first();
  while (step && cursor.valid()) step = cursor.next();
  ASSERT_FALSE(step);
  EXPECT_EQ(step.error().code, Code::kCorrupt);
  pages_.begin();
  const std::string key(store::as_text(root_node.key(1)));
  EXPECT_FALSE(tree_put(pages_, root_, as_bytes(key), {}));
}

TEST_F(BTree, ATreeThatContainsItselfEnds) {
  for (std::uint64_t i = 0; i < 60000; ++i) put(be64(i), std::string(8, 'v'));
  pages_.commit();
  store::Page* top = pages_.mutable_pager().at(root_.page);
  store::Node(*top).set_child(0, root_.page, root_.birth);
  store::seal_page(*top);
  pages_.distrust_all();
  const auto got = tree_get(pages_.pager(), root_, as_bytes(be64(0)));
  EXPECT_FALSE(got);
  store::Cursor cursor(pages_.pager(), root_);
  EXPECT_FALSE(cursor.first());
  std::size_t damaged = 0;
  tree_walk(
      pages_.pager(), root_, [](store::PageNo, const store::Page&) { return true; },
      [&](store::PageNo, const store::Error&) { ++damaged; });
  EXPECT_EQ(damaged, 1U);
}

}  // namespace
}  // namespace lrufs::test
