// The store by path: put, get, read, write, erase, names, resolve; use, protection and eviction.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/store_fixture.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::Code;
using store::Evicted;
using store::Ino;
using store::kRootIno;
using store::Store;

class Facade : public StoreTest {
 protected:
  std::string outcome_of_get(std::string_view key) { return code_of(store().get(key)); }
  std::string outcome_of_put(std::string_view key) { return code_of(store().put(key, as_bytes("x"))); }
};

TEST_F(Facade, PutAndGet) {
  put("a", "1");
  put("b/c/d", "2");
  put("empty", "");
  EXPECT_EQ(get("a"), "1");
  EXPECT_EQ(get("b/c/d"), "2");
  EXPECT_EQ(get("empty"), "");
  EXPECT_TRUE(resolve("b/c").is_directory());
  put("a", "a longer value");
  put("b/c/d", "");
  EXPECT_EQ(get("a"), "a longer value");
  EXPECT_EQ(get("b/c/d"), "");
  EXPECT_EQ(store().statistics().files, 3U);
  EXPECT_EQ(resolve("a").nlink, 1U);
}

TEST_F(Facade, PutReplacesAnyFormByAnyForm) {
  Random random;
  SCOPED_TRACE(random.hint());
  std::string old;
  for (const std::size_t size : {10, 1001, 1002, 4096, 4096, 5000, 9000, 4097, 1001, 100'000, 65'536, 999, 0,
                                 300'000, 1002, 20, 30, 30}) {
    const std::string value = old.size() == size ? std::string(size, 'x') : random.text(size);
    put("f", value);
    EXPECT_TRUE(get("f") == value) << old.size() << " to " << size;
    EXPECT_EQ(resolve("f").pages, size <= 1001 ? 0 : (size + 4095) / 4096) << old.size() << " to " << size;
    old = value;
  }
  EXPECT_EQ(store().statistics().content_bytes, 30U);
}

// The log of free space would otherwise take some 100 bytes a transaction.
TEST_F(Facade, NothingGrowsWithoutCheckpoints) {
  options_.sync = store::Options::Sync::kUnmount;
  reopen();
  for (int i = 0; i < 60'000; ++i) put("f" + std::to_string(i % 2000), std::to_string(i));
  EXPECT_LT(store().statistics().used_bytes, 3U << 20U);
  EXPECT_EQ(store().statistics().checkpoints, 0U);
}

TEST_F(Facade, OnlyALaterUseIsATouch) {
  put("f", "1");
  EXPECT_EQ(store().statistics().pending_touches, 0U) << "its number is its place in the order";
  put("f", "2");
  EXPECT_EQ(store().statistics().pending_touches, 1U);
}

TEST_F(Facade, KeysThatCannotBe) {
  for (const std::string& key : {std::string("/a"), std::string("a/"), std::string("a//b"), std::string("."),
                                 std::string("a/.."), std::string("./a"), std::string("a\0b", 3)})
    EXPECT_EQ(outcome_of_put(key), "invalid") << key;
  EXPECT_EQ(outcome_of_put(std::string(256, 'n')), "name_too_long");
  EXPECT_EQ(outcome_of_put("a/" + std::string(256, 'n')), "name_too_long");
  EXPECT_EQ(outcome_of_put(""), "is_a_directory");
  EXPECT_EQ(store().statistics().directories, 1U) << "a failed put left parents behind";
  put(std::string(255, 'n') + "/" + std::string(255, 'm'), "long");
  EXPECT_EQ(get(std::string(255, 'n') + "/" + std::string(255, 'm')), "long");
  std::string deep;
  for (int i = 0; i < 200; ++i) deep += "d/";
  put(deep + "f", "deep");
  EXPECT_EQ(get(deep + "f"), "deep");
}

TEST_F(Facade, Errors) {
  put("f", "x");
  put("d/g", "y");
  EXPECT_EQ(outcome_of_get("missing"), "not_found");
  EXPECT_EQ(outcome_of_get("d/missing"), "not_found");
  EXPECT_EQ(outcome_of_get("missing/g"), "not_found");
  EXPECT_EQ(outcome_of_get("f/g"), "not_a_directory");
  EXPECT_EQ(outcome_of_get("d"), "is_a_directory");
  EXPECT_EQ(outcome_of_get(""), "is_a_directory");
  EXPECT_EQ(outcome_of_put("d"), "is_a_directory");
  EXPECT_EQ(outcome_of_put("f/g"), "not_a_directory");
  EXPECT_EQ(code_of(store().resolve("f/g/h")), "not_a_directory");
  EXPECT_EQ(code_of(store().erase("missing")), "not_found");
  EXPECT_EQ(code_of(store().erase("f/g")), "not_a_directory");
  EXPECT_EQ(code_of(store().erase("d")), "not_empty");
  EXPECT_EQ(code_of(store().erase("")), "not_permitted");
  EXPECT_EQ(code_of(store().names("f", "", 10)), "not_a_directory");
  EXPECT_EQ(code_of(store().names("missing", "", 10)), "not_found");
  std::array<std::byte, 4> buffer;
  EXPECT_EQ(code_of(store().read("d", 0, buffer)), "is_a_directory");
  EXPECT_EQ(code_of(store().read("missing", 0, buffer)), "not_found");
  EXPECT_EQ(code_of(store().write("d", 0, as_bytes("x"))), "is_a_directory");
}

TEST_F(Facade, EraseTakesFilesAndEmptyDirectories) {
  put("d/f", "x");
  ok(store().erase("d/f"));
  EXPECT_EQ(outcome_of_get("d/f"), "not_found");
  ok(store().erase("d"));
  EXPECT_EQ(code_of(store().resolve("d")), "not_found");
  EXPECT_EQ(store().statistics().files, 0U);
  EXPECT_EQ(store().statistics().directories, 1U);
}

TEST_F(Facade, NamesAreSortedAndCutOff) {
  std::set<std::string> all;
  Random random;
  SCOPED_TRACE(random.hint());
  for (int i = 0; i < 300; ++i) {
    std::string name = random.text(random.between(1, 20));
    for (char& c : name) {
      if (c == '/' || c == '\0') c = '_';
    }
    if (name == "." || name == "..") continue;
    all.insert("d" + name);
    put("dir/d" + name, "x");
  }
  const std::vector<std::string> sorted(all.begin(), all.end());
  EXPECT_EQ(value(store().names("dir", "", 1000)), sorted);
  EXPECT_EQ(value(store().names("", "", 1000)), std::vector<std::string>{"dir"});
  for (int i = 0; i < 50; ++i) {
    const std::string from = random.chance(50) ? sorted[random.below(sorted.size())] : "d" + random.text(3);
    const std::size_t limit = random.below(40);
    auto first = std::lower_bound(sorted.begin(), sorted.end(), from);
    std::vector<std::string> expected(first,
                                      first + std::min<long>(static_cast<long>(limit), sorted.end() - first));
    EXPECT_EQ(value(store().names("dir", from, limit)), expected);
  }
}

TEST_F(Facade, ReadsAndWritesOfRanges) {
  ok(store().write("d/f", 3, as_bytes("abc")));
  EXPECT_EQ(get("d/f"), std::string("\0\0\0abc", 6));
  ok(store().write("d/f", 4, as_bytes("XYZ")));
  EXPECT_EQ(get("d/f"), std::string("\0\0\0aXYZ", 7));
  std::array<std::byte, 4> buffer{};
  EXPECT_EQ(value(store().read("d/f", 5, buffer)), 2U);
  EXPECT_EQ(store::as_text({buffer.data(), 2}), "YZ");
  EXPECT_EQ(value(store().read("d/f", 7, buffer)), 0U);
  EXPECT_EQ(value(store().read("d/f", ~0ULL, buffer)), 0U);
  EXPECT_EQ(value(store().read("d/f", 0, {})), 0U);
}

TEST_F(Facade, AValueOfTheLargestSize) {
  const std::string largest(store().max_file_size() / 10 * 9, 'L');
  put("other", "x");
  put("largest", largest);
  EXPECT_TRUE(get("largest") == largest);
  const std::string larger(options_.bound + 1, 'M');
  EXPECT_EQ(code_of(store().put("larger", as_bytes(larger))), "no_space");
  EXPECT_EQ(code_of(store().write("larger", 0, as_bytes(larger))), "no_space");
  EXPECT_EQ(outcome_of_get("larger"), "not_found");
  EXPECT_TRUE(get("largest") == largest) << "what can never fit evicts nothing";
}

TEST_F(Facade, EvictionTellsWhatWent) {
  std::vector<Evicted> told;
  options_.on_evict = [&](const std::vector<Evicted>& evicted) {
    told.insert(told.end(), evicted.begin(), evicted.end());
  };
  reopen();
  put("d/old", std::string(10000, 'x'));
  put("young", std::string(10000, 'y'));
  const Ino d = resolve("d").ino;
  const Ino old = resolve("d/old").ino;
  // A second name of the old one.
  change(kRootIno, [&](store::Transaction& txn, store::Inode& root) -> store::Status {
    LRUFS_TRY_ASSIGN(store::Inode file, txn.view().inode(old));
    LRUFS_TRY(txn.link(root, "second", file));
    return txn.put_inode(file);
  });
  EXPECT_GE(value(store().evict(8000)), 8000U);
  ASSERT_EQ(told.size(), 2U);
  std::set<std::string> names;
  for (const Evicted& one : told) {
    EXPECT_EQ(one.ino, old);
    EXPECT_FALSE(one.kept_as_orphan);
    EXPECT_EQ(one.parent, one.name == "old" ? d : kRootIno);
    names.insert(one.name);
  }
  EXPECT_EQ(names, (std::set<std::string>{"old", "second"}));
  EXPECT_EQ(outcome_of_get("second"), "not_found");
  EXPECT_EQ(outcome_of_get("young"), "ok");
  EXPECT_EQ(store().statistics().evicted_objects, 1U);
  EXPECT_GE(store().statistics().evicted_bytes, 8000U);
  // Everything that is left: the empty directory, and the young file.
  told.clear();
  value(store().evict(1U << 30U));
  ASSERT_EQ(told.size(), 2U);
  EXPECT_EQ(told[0].ino, d) << "last used before the file";
  EXPECT_EQ(told[1].name, "young");
  EXPECT_EQ(value(store().evict(1)), 0U);
  EXPECT_EQ(store().statistics().directories, 1U) << "the root stays";
}

TEST_F(Facade, HeldFilesBecomeOrphansWhenEvicted) {
  std::set<std::uint64_t> held;
  std::vector<Evicted> told;
  options_.is_held = [&](Ino ino) { return held.contains(raw(ino)); };
  options_.on_evict = [&](const std::vector<Evicted>& evicted) {
    told.insert(told.end(), evicted.begin(), evicted.end());
  };
  reopen();
  put("a", std::string(10000, 'a'));
  const Ino a = resolve("a").ino;
  held.insert(raw(a));
  value(store().evict(1));
  ASSERT_EQ(told.size(), 1U);
  EXPECT_TRUE(told[0].kept_as_orphan);
  EXPECT_EQ(outcome_of_get("a"), "not_found");
  EXPECT_EQ(content(a), std::string(10000, 'a')) << "the reader keeps it until it closes it";
  put("a", "a new one");
  held.clear();
  ok(store().reclaim({a}));
  EXPECT_EQ(get("a"), "a new one");
  EXPECT_EQ(store().statistics().orphans, 0U);
}

TEST_F(Facade, ProtectedFilesStay) {
  for (int i = 0; i < 5; ++i) put("f" + std::to_string(i), "x");
  {
    const Store::Protection one(store(), resolve("f0").ino);
    const Store::Protection again(store(), resolve("f0").ino);
    const Store::Protection other(store(), resolve("f3").ino);
    { const Store::Protection inner(store(), resolve("f0").ino); }
    value(store().evict(1U << 30U));
    EXPECT_EQ(value(store().names("", "", 10)), (std::vector<std::string>{"f0", "f3"}));
  }
  value(store().evict(1U << 30U));
  EXPECT_TRUE(value(store().names("", "", 10)).empty());
}

TEST_F(Facade, AFileThatIsFilledWhileProtectedIsNotItsOwnVictim) {
  options_.bound = 8U << 20U;
  close();
  std::filesystem::remove(path());
  open();
  put("old", std::string(1U << 20U, 'o'));
  put("grows", "");
  const Store::Protection protection(store(), resolve("grows").ino);
  std::string model;
  for (int i = 0; i < 130; ++i) {
    const std::string piece(65536, static_cast<char>('a' + i % 26));
    const auto done = store().write("grows", model.size(), as_bytes(piece));
    if (!done) {
      EXPECT_EQ(code_of(done), "no_space");
      break;
    }
    model += piece;
  }
  EXPECT_GT(model.size(), 6U << 20U);
  EXPECT_TRUE(get("grows") == model);
  EXPECT_EQ(outcome_of_get("old"), "not_found");
  // Deleting works in a full store.
  ok(store().erase("grows"));
  put("again", std::string(1U << 20U, 'n'));
}

TEST_F(Facade, MaxFilesCountsFilesOnly) {
  options_.max_files = 3;
  reopen();
  put("d/a", "1");
  put("d/b", "2");
  put("e/c", "3");
  EXPECT_EQ(store().statistics().evicted_objects, 0U);
  (void)get("d/a");
  put("e/d", "4");
  EXPECT_EQ(outcome_of_get("d/b"), "not_found");
  EXPECT_EQ(store().statistics().files, 3U);
  // A smaller limit takes hold with the next file.
  options_.max_files = 1;
  reopen();
  EXPECT_EQ(store().statistics().files, 3U);
  put("new", "5");
  EXPECT_EQ(store().statistics().files, 1U);
  EXPECT_EQ(get("new"), "5");
}

}  // namespace
}  // namespace lrufs::test
