// The tree against a std::map by generated sequences of operations. RC_PARAMS repeats a rapidcheck failure,
// LRUFS_TEST_SEED a long run.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <vector>

#include "store/btree.h"
#include "tests/support/memory_pages.h"
#include "tests/support/random.h"
#include "tests/support/tree_check.h"

namespace lrufs::test {

// A small description that shrinks well; key and value are made of it.
struct TreeOp {
  int kind = 0;  // 0 … 5 put, 6 … 8 erase, 9 commit
  std::uint16_t key = 0;
  std::uint16_t key_length = 0;
  std::uint16_t value_length = 0;
};
void showValue(const TreeOp& op, std::ostream& out) {
  out << "{" << op.kind << ", " << op.key << ", " << op.key_length << ", " << op.value_length << "}";
}

namespace {

using store::as_bytes;

std::string key_of(const TreeOp& op) {
  std::string key(op.key_length % (store::kMaxKey - 1), static_cast<char>(op.key & 3U));
  key += static_cast<char>(op.key >> 8U);
  key += static_cast<char>(op.key);
  return key;
}
std::string value_of(const TreeOp& op, const std::string& key) {
  const std::size_t limit = store::kMaxCell - store::kLeafCellHeader - key.size();
  return std::string(op.value_length % (limit + 1), static_cast<char>('a' + op.value_length % 26));
}

struct Pair {
  MemoryPages pages{4000};
  store::TreeRoot root;
  ByteMap model;
};

void apply(Pair& state, const TreeOp& op) {
  const std::string key = key_of(op);
  if (op.kind <= 5) {
    const std::string value = value_of(op, key);
    RC_ASSERT(tree_put(state.pages, state.root, as_bytes(key), as_bytes(value)).has_value());
    state.model[key] = value;
  } else if (op.kind <= 8) {
    // A key that is there, mostly.
    std::string victim = key;
    if (!state.model.empty() && op.key_length % 4 != 0) {
      auto at = state.model.lower_bound(key);
      if (at == state.model.end()) at = state.model.begin();
      victim = at->first;
    }
    const auto erased = tree_erase(state.pages, state.root, as_bytes(victim));
    RC_ASSERT(erased.has_value());
    RC_ASSERT(*erased == (state.model.erase(victim) == 1));
  } else {
    state.pages.commit();
    state.pages.reuse();
    state.pages.distrust_all();
    state.pages.begin();
  }
}

void compare(Pair& state) {
  const TreeCheck tree(state.pages.pager(), state.root);
  RC_ASSERT(tree.problems() == "");
  RC_ASSERT(tree.content() == state.model);
}

}  // namespace
}  // namespace lrufs::test

namespace rc {
template <>
struct Arbitrary<lrufs::test::TreeOp> {
  static Gen<lrufs::test::TreeOp> arbitrary() {
    using lrufs::test::TreeOp;
    return gen::build<TreeOp>(
        gen::set(&TreeOp::kind, gen::inRange(0, 10)),
        gen::set(&TreeOp::key, gen::inRange<std::uint16_t>(0, 400)),
        gen::set(&TreeOp::key_length,
                 gen::oneOf(gen::just<std::uint16_t>(0), gen::inRange<std::uint16_t>(0, 298))),
        gen::set(&TreeOp::value_length,
                 gen::oneOf(gen::inRange<std::uint16_t>(0, 20), gen::inRange<std::uint16_t>(0, 1010))));
  }
};
}  // namespace rc

namespace lrufs::test {
namespace {

RC_GTEST_PROP(BTreeModel, SequencesEqualAMap, ()) {
  const auto ops = *rc::gen::scale(6.0, rc::gen::arbitrary<std::vector<TreeOp>>());
  Pair state;
  state.pages.begin();
  for (const TreeOp& op : ops) apply(state, op);
  compare(state);
  expect_cursor_equals(state.pages.pager(), state.root, state.model, 50);
  RC_ASSERT(!::testing::Test::HasFailure());
  // Everything goes away again.
  while (!state.model.empty()) {
    const std::string key = state.model.begin()->first;
    const auto erased = tree_erase(state.pages, state.root, as_bytes(key));
    RC_ASSERT(erased.has_value() && *erased);
    state.model.erase(key);
  }
  RC_ASSERT(state.root == store::TreeRoot{});
  state.pages.commit();
  state.pages.reuse();
  RC_ASSERT(state.pages.in_use() == 0U);
}

// Long runs in phases of growth and decay, with checks after every batch.
TEST(BTreeModel, LongRunsEqualAMap) {
  Random random;
  SCOPED_TRACE(random.hint());
  MemoryPages pages(60000);
  store::TreeRoot root;
  ByteMap model;
  pages.begin();
  const std::size_t batches = scaled(120);
  for (std::size_t batch = 0; batch < batches; ++batch) {
    const unsigned puts = (batch / 12) % 2 == 0 ? 80 : 20;
    const std::size_t pattern = random.below(4);
    std::uint64_t running = random.below(1U << 20U);
    for (int i = 0; i < 400; ++i) {
      if (random.chance(puts) || model.empty()) {
        std::string key;
        if (pattern <= 1) {
          key.resize(8);
          store::store_be64(reinterpret_cast<std::byte*>(key.data()), pattern == 0 ? running++ : running--);
        } else if (pattern == 2) {
          key = random.text(random.skewed(store::kMaxKey));
        } else {
          key = std::string(random.below(store::kMaxKey - 4), 'x') + random.text(random.below(4));
        }
        const std::size_t limit = store::kMaxCell - store::kLeafCellHeader - key.size();
        const std::string value = random.text(random.chance(5) ? limit : random.skewed(limit));
        const auto done = tree_put(pages, root, as_bytes(key), as_bytes(value));
        ASSERT_TRUE(done) << describe(done.error());
        model[key] = value;
      } else {
        auto at = model.lower_bound(random.text(4));
        if (at == model.end()) at = model.begin();
        const std::string key = at->first;
        const auto erased = tree_erase(pages, root, as_bytes(key));
        ASSERT_TRUE(erased) << describe(erased.error());
        ASSERT_TRUE(*erased);
        model.erase(key);
      }
    }
    pages.commit();
    pages.reuse();
    if (batch % 4 == 3) pages.distrust_all();
    pages.edit_all_in_place(batch % 3 == 1);
    const TreeCheck tree(pages.pager(), root);
    ASSERT_EQ(tree.problems(), "") << "batch " << batch;
    ASSERT_EQ(tree.content(), model) << "batch " << batch;
    ASSERT_EQ(tree.page_count(), pages.in_use());
    if (batch % 6 == 0) {
      ASSERT_NO_FATAL_FAILURE(expect_cursor_equals(pages.pager(), root, model, 40));
    }
    pages.begin();
  }
}

}  // namespace
}  // namespace lrufs::test
