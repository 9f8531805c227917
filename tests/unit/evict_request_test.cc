// Eviction by name, the view of the order, and the statistics of both.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/store_fixture.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::EvictionReason;
using store::Ino;
using store::Store;

class EvictRequest : public StoreTest {
 protected:
  [[nodiscard]] bool there(std::string_view key) { return store().resolve(key).has_value(); }
  static std::vector<std::string> paths(const std::vector<Store::Standing>& standings) {
    std::vector<std::string> out;
    for (const Store::Standing& each : standings) out.push_back(each.path);
    return out;
  }
  std::uint64_t evicted(EvictionReason reason) {
    return store().statistics().evictions.at(static_cast<std::size_t>(reason)).objects;
  }
};

TEST_F(EvictRequest, AKeyGoesWithAllItsNames) {
  put("a/f", "1");
  put("b", "2");
  change(resolve("a/f").ino, [&](store::Transaction& txn, store::Inode& inode) -> store::Status {
    auto root = txn.view().inode(store::kRootIno);
    if (!root) return store::fail(root.error());
    if (auto linked = txn.link(*root, "second", inode); !linked) return linked;
    return txn.put_inode(*root);
  });
  const auto done = value(store().evict_key("a/f"));
  EXPECT_EQ(done.objects, 1U);
  EXPECT_GT(done.bytes, 0U);
  EXPECT_FALSE(there("a/f"));
  EXPECT_FALSE(there("second"));
  EXPECT_TRUE(there("b"));
  EXPECT_EQ(code_of(store().evict_key("a/f")), "not_found");
  ok(store().evict_key("a").map([](const auto&) {}));  // empty now
  EXPECT_EQ(code_of(store().evict_key("")), "not_permitted");
  EXPECT_EQ(evicted(EvictionReason::kRequest), 2U);
  EXPECT_EQ(store().statistics().evicted_objects, 2U);
}

TEST_F(EvictRequest, AFolderWithEntriesAndWhatIsWrittenStay) {
  put("a/f", "1");
  EXPECT_EQ(code_of(store().evict_key("a")), "not_empty");
  const Store::Protection writing(store(), resolve("a/f").ino);
  EXPECT_EQ(code_of(store().evict_key("a/f")), "busy");
  put("a/g", "2");
  EXPECT_EQ(value(store().evict_prefix("")).objects, 1U);
  EXPECT_TRUE(there("a/f"));
  EXPECT_FALSE(there("a/g"));
}

TEST_F(EvictRequest, APrefixIsText) {
  for (const char* key : {"a/b", "a/bc", "a/b2/c/d", "a/c", "ab", "b"}) put(key, "x");
  EXPECT_EQ(code_of(store().evict_prefix("none/")), "not_found");
  EXPECT_EQ(code_of(store().evict_prefix("b/x")), "not_a_directory");
  EXPECT_EQ(value(store().evict_prefix("a/x")).objects, 0U);
  EXPECT_EQ(value(store().evict_prefix("a/b")).objects, 5U);  // b, bc, b2/c/d, b2/c, b2
  EXPECT_TRUE(there("a/c"));
  EXPECT_TRUE(there("ab"));
  EXPECT_FALSE(there("a/b2"));
  EXPECT_EQ(value(store().evict_prefix("a/")).objects, 1U);
  EXPECT_TRUE(there("a"));
  EXPECT_EQ(value(store().evict_prefix("a")).objects, 2U);  // a and ab
  EXPECT_EQ(value(store().evict_prefix("")).objects, 1U);
  EXPECT_EQ(store().statistics().files, 0U);
}

TEST_F(EvictRequest, ManyInDeepFolders) {
  std::string dir;
  for (int level = 0; level < 30; ++level) {
    dir += "d" + std::to_string(level) + "/";
    for (int i = 0; i < 40; ++i) put(dir + "f" + std::to_string(i), std::string(i % 5 == 0 ? 5000 : 10, 'x'));
  }
  EXPECT_EQ(value(store().evict_prefix("d0/d1/")).objects, 28U * 40 + 28 + 40);
  EXPECT_EQ(store().statistics().files, 40U);
  EXPECT_EQ(value(store().evict_prefix("")).objects, 42U);
}

TEST_F(EvictRequest, NextToGoIsTheOrderOfEviction) {
  Random random;
  SCOPED_TRACE(random.hint());
  std::vector<std::string> keys;
  for (int i = 0; i < 300; ++i) {
    keys.push_back("d" + std::to_string(i % 7) + "/f" + std::to_string(i));
    put(keys.back(), "x");
  }
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 40; ++i) (void)get(keys.at(random.below(keys.size())));
    if (round % 5 == 4) reopen();  // writes the uses
    if (round == 10) ok(store().evict(40 * 4096).map([](auto) {}));
    std::erase_if(keys, [&](const std::string& key) { return !there(key); });
    std::vector<std::string> expected;
    for (const Ino ino : value(store().eviction_order(1000))) {
      const auto path = value(store().snapshot().view().path_of(ino));
      if (path.find("/f") != std::string::npos) expected.push_back(path);
    }
    EXPECT_EQ(paths(value(store().next_to_go(1000))), expected);
    std::vector<std::string> reversed(expected.rbegin(), expected.rend());
    EXPECT_EQ(paths(value(store().last_used(1000))), reversed);
    expected.resize(5);
    EXPECT_EQ(paths(value(store().next_to_go(5))), expected);
    reversed.resize(5);
    EXPECT_EQ(paths(value(store().last_used(5))), reversed);
  }
}

TEST_F(EvictRequest, ReasonsAreCounted) {
  close();
  options_.max_files = 3;
  open();
  for (int i = 0; i < 5; ++i) put("f" + std::to_string(i), "x");
  EXPECT_EQ(evicted(EvictionReason::kMaxFiles), 2U);
  EXPECT_EQ(evicted(EvictionReason::kCapacity), 0U);
  ok(store().evict(1).map([](auto) {}));
  EXPECT_EQ(evicted(EvictionReason::kRequest), 1U);
}

TEST_F(EvictRequest, DirtyBytesAreWhatACheckpointIsMissing) {
  ok(store().checkpoint());
  EXPECT_EQ(store().statistics().dirty_bytes, 0U);
  put("f", std::string(400'000, 'x'));
  const auto dirty = store().statistics().dirty_bytes;
  EXPECT_GE(dirty, 400'000U);
  EXPECT_LE(dirty, 600'000U);
  ok(store().checkpoint());
  EXPECT_EQ(store().statistics().dirty_bytes, 0U);
  put("g", "x");
  EXPECT_GT(store().statistics().dirty_bytes, 0U);
  ok(store().checkpoint());
  EXPECT_EQ(store().statistics().dirty_bytes, 0U);
}

}  // namespace
}  // namespace lrufs::test
