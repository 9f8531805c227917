// Node: cells and slots of one page against a std::map, and pages that are damaged. Each page is an
// allocation of its own, so that AddressSanitizer sees any access outside of it.
#include "store/node.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "store/bytes.h"
#include "tests/support/random.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::as_text;
using store::kPageSize;
using store::Node;
using store::NodeView;
using store::Page;
using store::PageKind;
using store::PageNo;
using store::TxnId;

struct PageFree {
  void operator()(Page* page) const { std::free(page); }
};
using OwnPage = std::unique_ptr<Page, PageFree>;

OwnPage fresh_page(PageKind kind = PageKind::kLeaf, std::uint8_t level = 0) {
  OwnPage page(static_cast<Page*>(std::aligned_alloc(kPageSize, kPageSize)));
  std::memset(page->bytes(), 0xEE, kPageSize);
  page->header.page_no = 77;
  page->header.birth = 5;
  Node::init(*page, kind, level);
  return page;
}
OwnPage copy_of(const Page& page) {
  OwnPage copy = fresh_page();
  std::memcpy(copy->bytes(), page.bytes(), kPageSize);
  return copy;
}

using Model = std::map<std::string, std::string>;

void expect_equal(const Page& page, const Model& model) {
  ASSERT_TRUE(node_is_well_formed(page));
  const NodeView node(page);
  ASSERT_EQ(node.count(), model.size());
  std::uint16_t index = 0;
  std::size_t used = 0;
  for (const auto& [key, value] : model) {
    ASSERT_EQ(as_text(node.key(index)), key);
    ASSERT_EQ(as_text(node.value(index)), value);
    ASSERT_EQ(node.cell_bytes(index), store::kLeafCellHeader + key.size() + value.size());
    used += node.cell_bytes(index) + 2;
    ++index;
  }
  ASSERT_EQ(node.used_bytes(), used);
  ASSERT_EQ(node.free_bytes(), kPageSize - sizeof(store::PageHeader) - used);
}

TEST(Node, InitKeepsNumberAndBirth) {
  const OwnPage page = fresh_page(PageKind::kBranch, 3);
  EXPECT_EQ(page->header.page_no, 77U);
  EXPECT_EQ(page->header.birth, 5U);
  const NodeView node(*page);
  EXPECT_FALSE(node.is_leaf());
  EXPECT_EQ(node.level(), 3);
  EXPECT_EQ(node.count(), 0);
  EXPECT_EQ(node.free_bytes(), kPageSize - 32);
}

TEST(Node, ComparesBytewiseShorterFirst) {
  const auto order = [](std::string_view a, std::string_view b) {
    return store::compare_keys(as_bytes(a), as_bytes(b));
  };
  EXPECT_EQ(order("", ""), 0);
  EXPECT_LT(order("", "a"), 0);
  EXPECT_LT(order("a", "ab"), 0);
  EXPECT_LT(order("abcdefgh", "abcdefghi"), 0);
  EXPECT_GT(order("\xff", "\x01zzzzzzzzz"), 0);
  EXPECT_LT(order(std::string_view("abcdefg\0", 8), "abcdefg\x01"), 0);
  EXPECT_GT(order("12345678\x80", "12345678\x7f"), 0);
  EXPECT_EQ(store::compare_keys({}, {}), 0);
}

TEST(Node, ComparesAsStringsDo) {
  Random random;
  SCOPED_TRACE(random.hint());
  for (std::size_t i = 0; i < scaled(20000); ++i) {
    // Few letters and common beginnings, so that keys share prefixes.
    std::string a(random.below(14), 'a');
    std::string b(random.below(14), 'a');
    for (char& c : a) c = random.chance(15) ? static_cast<char>(random.bits()) : 'a';
    for (char& c : b) c = random.chance(15) ? static_cast<char>(random.bits()) : 'a';
    const int expected = a.compare(b);
    const int got = store::compare_keys(as_bytes(a), as_bytes(b));
    ASSERT_EQ(got < 0, expected < 0);
    ASSERT_EQ(got > 0, expected > 0);
  }
}

TEST(Node, FourOfTheLargestCellsFit) {
  OwnPage page = fresh_page();
  Node node(*page);
  const std::string value(store::kMaxCell - store::kLeafCellHeader - 1, 'v');
  for (char c = 'a'; c <= 'd'; ++c)
    ASSERT_TRUE(
        node.insert_leaf(static_cast<std::uint16_t>(c - 'a'), as_bytes(std::string(1, c)), as_bytes(value)));
  EXPECT_TRUE(node_is_well_formed(*page));
  const OwnPage before = copy_of(*page);
  EXPECT_FALSE(node.insert_leaf(4, as_bytes("e"), as_bytes("0123456789")));
  EXPECT_EQ(std::memcmp(before->bytes(), page->bytes(), kPageSize), 0) << "a failed insert changed the page";
}

TEST(Node, RandomEditsEqualAMap) {
  Random random;
  SCOPED_TRACE(random.hint());
  for (std::size_t round = 0; round < scaled(60); ++round) {
    OwnPage page = fresh_page();
    Node node(*page);
    Model model;
    const std::size_t key_limit = random.chance(30) ? store::kMaxKey : 12;
    const std::size_t value_limit =
        random.chance(50) ? store::kMaxCell - store::kLeafCellHeader - store::kMaxKey : 30;
    for (int step = 0; step < 400; ++step) {
      const std::string key = random.text(random.below(key_limit + 1));
      const std::string value = random.text(random.below(value_limit + 1));
      bool found = false;
      switch (random.below(6)) {
        case 0:
        case 1: {
          const std::uint16_t index = node.lower_bound(as_bytes(key), found);
          ASSERT_EQ(found, model.contains(key));
          ASSERT_EQ(index, std::distance(model.begin(), model.lower_bound(key)));
          if (found) break;
          const std::size_t need = store::kLeafCellHeader + key.size() + value.size() + 2;
          const bool fits = need <= node.free_bytes();
          ASSERT_EQ(node.insert_leaf(index, as_bytes(key), as_bytes(value)), fits);
          if (fits) model[key] = value;
          break;
        }
        case 2:
        case 3: {
          if (model.empty()) break;
          const auto at = std::next(model.begin(), static_cast<long>(random.below(model.size())));
          const auto index = static_cast<std::uint16_t>(std::distance(model.begin(), at));
          const OwnPage before = copy_of(*page);
          const bool fits =
              value.size() <= at->second.size() || value.size() - at->second.size() <= node.free_bytes();
          const bool replaced = node.replace_value(index, as_bytes(value));
          ASSERT_EQ(replaced, fits);
          if (replaced) {
            at->second = value;
          } else {
            ASSERT_EQ(std::memcmp(before->bytes(), page->bytes(), kPageSize), 0)
                << "a failed replace changed the page";
          }
          break;
        }
        case 4: {
          if (model.empty()) break;
          const auto at = std::next(model.begin(), static_cast<long>(random.below(model.size())));
          node.erase(static_cast<std::uint16_t>(std::distance(model.begin(), at)));
          model.erase(at);
          break;
        }
        default: {
          node.compact();
          EXPECT_EQ(page->header.garbage, 0);
          break;
        }
      }
      ASSERT_NO_FATAL_FAILURE(expect_equal(*page, model)) << "step " << step;
    }
    // Two halves, as a split makes them.
    if (model.size() < 2) continue;
    const auto cut = static_cast<std::uint16_t>(random.between(1, model.size() - 1));
    OwnPage left = fresh_page();
    OwnPage right = fresh_page();
    Node(*left).append_from(node, 0, cut);
    Node(*right).append_from(node, cut, node.count());
    const auto middle = std::next(model.begin(), cut);
    ASSERT_NO_FATAL_FAILURE(expect_equal(*left, Model(model.begin(), middle)));
    ASSERT_NO_FATAL_FAILURE(expect_equal(*right, Model(middle, model.end())));
    EXPECT_EQ(left->header.garbage, 0);
  }
}

TEST(Node, BranchFindsTheChildThatMayHoldAKey) {
  OwnPage page = fresh_page(PageKind::kBranch, 1);
  Node node(*page);
  ASSERT_TRUE(node.insert_branch(0, {}, PageNo{100}, TxnId{1}));
  ASSERT_TRUE(node.insert_branch(1, as_bytes("m"), PageNo{102}, TxnId{3}));
  ASSERT_TRUE(node.insert_branch(1, as_bytes("d"), PageNo{101}, TxnId{2}));
  ASSERT_TRUE(node_is_well_formed(*page));
  const auto child = [&](std::string_view key) { return raw(node.child(node.child_index(as_bytes(key)))); };
  EXPECT_EQ(child(""), 100U);
  EXPECT_EQ(child("c\xff"), 100U);
  EXPECT_EQ(child("d"), 101U);
  EXPECT_EQ(child("lzzz"), 101U);
  EXPECT_EQ(child("m"), 102U);
  EXPECT_EQ(child("zz"), 102U);
  node.set_child(1, PageNo{500}, TxnId{9});
  EXPECT_EQ(raw(node.child(1)), 500U);
  EXPECT_EQ(raw(node.child_birth(1)), 9U);
  EXPECT_EQ(as_text(node.key(1)), "d");
  EXPECT_EQ(raw(node.child(2)), 102U);
  node.erase(1);
  EXPECT_EQ(child("e"), 100U);
  EXPECT_TRUE(node_is_well_formed(*page));
}

TEST(Node, EmptyAfterTheLastErase) {
  OwnPage page = fresh_page();
  Node node(*page);
  ASSERT_TRUE(node.insert_leaf(0, as_bytes("a"), as_bytes("1")));
  ASSERT_TRUE(node.insert_leaf(1, as_bytes("b"), as_bytes("2")));
  node.erase(0);
  node.erase(0);
  EXPECT_EQ(node.free_bytes(), kPageSize - 32);
  EXPECT_TRUE(node_is_well_formed(*page));
}

// Does everything with a page that was accepted that the tree would do with it.
std::size_t use_all_of(const Page& original) {
  std::size_t sum = 0;
  const NodeView view(original);
  for (std::uint16_t i = 0; i < view.count(); ++i) {
    for (const std::byte b : view.key(i)) sum += static_cast<std::size_t>(b);
    if (view.is_leaf()) {
      for (const std::byte b : view.value(i)) sum += static_cast<std::size_t>(b);
    } else {
      sum += raw(view.child(i)) + raw(view.child_birth(i));
    }
    bool found = false;
    sum += view.is_leaf() ? view.lower_bound(view.key(i), found) : view.child_index(view.key(i));
  }
  sum += view.used_bytes();
  // Edits, each on a copy.
  const std::string value(500, 'x');
  for (int edit = 0; edit < 5; ++edit) {
    OwnPage page = copy_of(original);
    Node node(*page);
    const auto middle = static_cast<std::uint16_t>(node.count() / 2);
    switch (edit) {
      case 0:
        node.compact();
        break;
      case 1:
        if (node.count() > 0) node.erase(middle);
        break;
      case 2:
        if (node.is_leaf()) {
          sum += node.insert_leaf(middle, as_bytes("key"), as_bytes(value)) ? 1 : 0;
        } else {
          sum += node.insert_branch(middle, as_bytes("key"), PageNo{1}, TxnId{1}) ? 1 : 0;
          node.set_child(0, PageNo{3}, TxnId{4});
        }
        break;
      case 3:
        if (node.is_leaf() && node.count() > 0) sum += node.replace_value(middle, as_bytes(value)) ? 1 : 0;
        break;
      default: {
        OwnPage other = fresh_page(node.is_leaf() ? PageKind::kLeaf : PageKind::kBranch, node.level());
        Node(*other).append_from(node, 0, node.count());
        break;
      }
    }
    sum += static_cast<std::size_t>(page->bytes()[kPageSize - 1]);
  }
  return sum + store::page_checksum(original);
}

TEST(Node, DamagedPagesAreRefusedOrHarmless) {
  Random random;
  SCOPED_TRACE(random.hint());
  std::size_t accepted = 0;
  std::size_t refused = 0;
  volatile std::size_t sink = 0;
  for (std::size_t round = 0; round < scaled(40); ++round) {
    const bool leaf = random.chance(60);
    OwnPage page = fresh_page(leaf ? PageKind::kLeaf : PageKind::kBranch, leaf ? 0 : 1);
    Node node(*page);
    for (int i = 0; i < 60; ++i) {
      const std::string key = random.text(random.between(1, random.chance(20) ? store::kMaxKey : 20));
      if (leaf) {
        bool found = false;
        const std::uint16_t at = node.lower_bound(as_bytes(key), found);
        if (!found) node.insert_leaf(at, as_bytes(key), as_bytes(random.text(random.below(200))));
      } else if (node.count() == 0) {
        node.insert_branch(0, {}, PageNo{16}, TxnId{1});
      } else {
        const std::uint16_t at = node.child_index(as_bytes(key));
        if (as_text(node.key(at)) != key)
          node.insert_branch(static_cast<std::uint16_t>(at + 1), as_bytes(key), PageNo{17}, TxnId{1});
      }
      if (node.count() > 4 && random.chance(20))
        node.erase(static_cast<std::uint16_t>(random.between(1, node.count() - 1)));
    }
    ASSERT_TRUE(node_is_well_formed(*page));
    for (int mutation = 0; mutation < 500; ++mutation) {
      OwnPage damaged = copy_of(*page);
      const std::uint64_t flips = random.between(1, 3);
      for (std::uint64_t flip = 0; flip < flips; ++flip) {
        // The header's shape fields, the slots, a cell's lengths, or anywhere.
        std::size_t at = 0;
        switch (random.below(4)) {
          case 0:
            at = random.between(24, 31);
            break;
          case 1:
            at = 32 + random.below(2U * node.count());
            break;
          case 2: {
            const auto slot = static_cast<std::uint16_t>(random.below(node.count()));
            at = store::load_le<std::uint16_t>(page->bytes() + 32 + 2U * slot) + random.below(4);
            break;
          }
          default:
            at = random.below(kPageSize);
            break;
        }
        if (random.chance(50))
          damaged->bytes()[at] ^= static_cast<std::byte>(1U << random.below(8));
        else
          damaged->bytes()[at] = static_cast<std::byte>(random.bits());
      }
      if (node_is_well_formed(*damaged)) {
        ++accepted;
        sink = sink + use_all_of(*damaged);
      } else {
        ++refused;
        sink = sink + store::page_checksum(*damaged);  // "safe for any content"
      }
    }
  }
  // The test is worth something only if both happen.
  EXPECT_GT(accepted, 0U);
  EXPECT_GT(refused, 0U);
}

TEST(Node, NoiseIsRefused) {
  Random random;
  SCOPED_TRACE(random.hint());
  OwnPage page = fresh_page();
  volatile std::uint64_t sink = 0;
  for (std::size_t i = 0; i < scaled(3000); ++i) {
    const std::string noise = random.text(kPageSize);
    std::memcpy(page->bytes(), noise.data(), kPageSize);
    if (random.chance(70)) page->header.kind = static_cast<std::uint8_t>(random.between(1, 2));
    if (random.chance(70)) page->header.level = page->header.kind == 2 ? 0 : 1;
    if (random.chance(70)) page->header.count = static_cast<std::uint16_t>(random.between(1, 3));
    if (node_is_well_formed(*page)) sink = sink + use_all_of(*page);
    sink = sink + store::page_checksum(*page);
  }
}

// Larger than any tree makes them: edits copy keys to buffers of kMaxKey bytes.
TEST(Node, KeysAndCellsThatNoTreeMakesAreRefused) {
  OwnPage page = fresh_page();
  Node leaf(*page);
  ASSERT_TRUE(leaf.insert_leaf(0, as_bytes(std::string(store::kMaxKey, 'k')), as_bytes("v")));
  EXPECT_TRUE(node_is_well_formed(*page));
  page = fresh_page();
  ASSERT_TRUE(Node(*page).insert_leaf(0, as_bytes(std::string(store::kMaxKey + 1, 'k')), as_bytes("v")));
  EXPECT_FALSE(node_is_well_formed(*page));
  page = fresh_page();
  ASSERT_TRUE(Node(*page).insert_leaf(0, as_bytes("k"), as_bytes(std::string(store::kMaxCell, 'v'))));
  EXPECT_FALSE(node_is_well_formed(*page));
  page = fresh_page(PageKind::kBranch, 1);
  ASSERT_TRUE(Node(*page).insert_branch(0, {}, PageNo{20}, TxnId{1}));
  ASSERT_TRUE(
      Node(*page).insert_branch(1, as_bytes(std::string(store::kMaxKey + 1, 'k')), PageNo{21}, TxnId{1}));
  EXPECT_FALSE(node_is_well_formed(*page));
}

TEST(Page, ChecksumCoversAllButTheGapAndItself) {
  OwnPage page = fresh_page();
  Node node(*page);
  ASSERT_TRUE(node.insert_leaf(0, as_bytes("abc"), as_bytes("def")));
  ASSERT_TRUE(node.insert_leaf(1, as_bytes("b"), as_bytes(std::string(200, 'z'))));
  store::seal_page(*page);
  const std::uint64_t sealed = page->header.checksum;
  const std::size_t slots_end = 32 + 2 * 2;
  for (std::size_t at = 0; at < kPageSize; ++at) {
    page->bytes()[at] ^= std::byte{0x10};
    const bool covered = at >= 8 && (at < slots_end || at >= page->header.heap);
    const bool shape = at >= 24 && at < 32;  // decides what the gap is
    if (covered || shape) {
      ASSERT_NE(store::page_checksum(*page), sealed) << at;
    } else {
      ASSERT_EQ(store::page_checksum(*page), sealed) << at;
    }
    page->bytes()[at] ^= std::byte{0x10};
  }
}

}  // namespace
}  // namespace lrufs::test
