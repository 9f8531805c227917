// The order of eviction against a textbook LRU: the same misses, the same survivors, the same order; across
// reopening, with more touches than the batch holds, with directories, and with a bound of size instead of
// number. ctest: timeout=600
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "store/touch_batch.h"
#include "tests/support/random.h"
#include "tests/support/store_fixture.h"
#include "tests/support/textbook_lru.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::Code;
using store::Ino;
using store::Inode;
using store::kRootIno;
using store::Status;
using store::Transaction;

class Zipf {
 public:
  Zipf(std::size_t keys, double exponent) {
    double sum = 0;
    for (std::size_t i = 1; i <= keys; ++i)
      sums_.push_back(sum += 1 / std::pow(static_cast<double>(i), exponent));
  }
  std::uint64_t next(Random& random) {
    const double at = random.unit() * sums_.back();
    return static_cast<std::uint64_t>(std::lower_bound(sums_.begin(), sums_.end(), at) - sums_.begin());
  }

 private:
  std::vector<double> sums_;
};

class Lru : public StoreTest {
 protected:
  static constexpr std::size_t kLimit = 200;
  using Trace = std::function<std::uint64_t(std::size_t)>;

  static std::string name_of(std::uint64_t key) { return "k" + std::to_string(key); }
  // Options may change only before the store is made.
  void fresh() {
    close();
    std::filesystem::remove(path());
    open();
  }
  std::vector<std::uint64_t> keys_by_eviction() {
    std::map<std::uint64_t, std::uint64_t> keys;
    const auto now = store().snapshot();
    ok(now.view().list(kRootIno, store::Cookie{0}, [&](const store::DirEntry& entry) {
      keys[raw(entry.ino)] = std::stoull(std::string(entry.name.substr(1)));
      return true;
    }));
    std::vector<std::uint64_t> order;
    for (const Ino ino : value(store().eviction_order(1U << 20U))) order.push_back(keys.at(raw(ino)));
    return order;
  }

  void run(std::size_t requests, const Trace& trace, bool disturb, Random& random) {
    options_.max_files = kLimit;
    fresh();
    TextbookLru<std::uint64_t> model(kLimit);
    std::size_t model_misses = 0;
    std::size_t misses = 0;
    for (std::size_t i = 0; i < requests; ++i) {
      const std::uint64_t key = trace(i);
      const bool hit = model.use(key);
      model_misses += hit ? 0 : 1;
      const std::string name = name_of(key);
      const auto got = store().get(name);
      if (!got) {
        ASSERT_EQ(code_of(got), "not_found");
        ++misses;
        put(name, "value " + name);
      } else {
        ASSERT_EQ(*got, "value " + name);
      }
      ASSERT_EQ(misses, model_misses) << "request " << i << ", " << name;
      if (!disturb) continue;
      // None of these is a use.
      if (random.below(800) == 0) reopen();
      if (random.below(300) == 0) ok(store().checkpoint());
      if (random.below(700) == 0) {
        ASSERT_EQ(keys_by_eviction(), model.order()) << "request " << i;
      }
      if (random.below(100) == 0) (void)store().resolve(name_of(random.below(300)));
    }
    const std::vector<std::uint64_t> expected = model.order();
    ASSERT_EQ(keys_by_eviction(), expected);
    ASSERT_EQ(keys_by_eviction(), expected) << "asking changes nothing";
    reopen();
    ASSERT_EQ(keys_by_eviction(), expected);
    // And one by one, for real.
    for (std::size_t i = 0; i < expected.size(); i += 20) {
      while (store().statistics().files > expected.size() - i) value(store().evict(1));
      std::set<std::string> left;
      for (std::size_t k = i; k < expected.size(); ++k) left.insert(name_of(expected[k]));
      const auto names = value(store().names("", "", 1000));
      ASSERT_EQ(std::set<std::string>(names.begin(), names.end()), left);
    }
  }
};

TEST_F(Lru, Uniform) {
  Random random;
  SCOPED_TRACE(random.hint());
  run(
      scaled(20000), [&](std::size_t) { return random.below(400); }, true, random);
}

TEST_F(Lru, ZipfOfPopularKeys) {
  Random random;
  SCOPED_TRACE(random.hint());
  Zipf zipf(2000, 0.9);
  run(
      scaled(20000), [&](std::size_t) { return zipf.next(random); }, true, random);
}

TEST_F(Lru, LoopsThatFitAndThatDoNot) {
  Random random;
  SCOPED_TRACE(random.hint());
  run(
      scaled(20000), [&](std::size_t i) { return i % (kLimit + 1); }, false, random);
  run(
      scaled(10000), [&](std::size_t i) { return i % kLimit; }, true, random);
}

TEST_F(Lru, ScansBetweenHotKeys) {
  Random random;
  SCOPED_TRACE(random.hint());
  std::uint64_t scan = 1000;
  run(
      scaled(20000), [&](std::size_t i) { return i % 500 < 250 ? scan++ : random.below(100); }, true, random);
}

TEST_F(Lru, Mixed) {
  Random random;
  SCOPED_TRACE(random.hint());
  Zipf zipf(1000, 1.1);
  std::uint64_t scan = 100000;
  run(
      scaled(20000),
      [&](std::size_t i) {
        switch ((i / 300) % 4) {
          case 0:
            return zipf.next(random);
          case 1:
            return random.below(500);
          case 2:
            return i % 220;
          default:
            return scan++;
        }
      },
      true, random);
}

// More uses of different files than are kept in memory; the store's own threads write them.
TEST_F(Lru, MoreTouchesThanTheBatchHolds) {
  Random random;
  SCOPED_TRACE(random.hint());
  options_.background = true;
  options_.bound = 256ULL << 20U;
  fresh();
  const std::size_t files = store::TouchBatch::kMax + 5000;
  std::vector<Ino> inodes;
  for (std::size_t from = 0; from < files; from += 500) {
    std::vector<Ino> made;
    ok(store().update([&](Transaction& txn) -> Status {
      made.clear();
      LRUFS_TRY_ASSIGN(Inode root, txn.view().inode(kRootIno));
      for (std::size_t i = from; i < std::min(files, from + 500); ++i) {
        Inode prototype;
        prototype.mode = 0100644;
        LRUFS_TRY_ASSIGN(Inode file, txn.create(prototype));
        LRUFS_TRY(txn.link(root, name_of(i), file));
        LRUFS_TRY(txn.put_inode(file));
        made.push_back(file.ino);
      }
      return txn.put_inode(root);
    }));
    inodes.insert(inodes.end(), made.begin(), made.end());
  }
  std::shuffle(inodes.begin(), inodes.end(), random.engine());
  for (const Ino ino : inodes) store().touch(ino);
  // Some of them again, so that written uses are overtaken.
  std::vector<Ino> again(inodes.begin(), inodes.begin() + 3000);
  for (const Ino ino : again) store().touch(ino);
  std::vector<Ino> expected(inodes.begin() + 3000, inodes.end());
  expected.insert(expected.end(), again.begin(), again.end());
  constexpr std::size_t kCompared = 2000;
  const std::vector<Ino> first(expected.begin(), expected.begin() + kCompared);
  EXPECT_EQ(value(store().eviction_order(kCompared)), first);
  reopen();
  EXPECT_EQ(store().statistics().pending_touches, 0U);
  EXPECT_EQ(value(store().eviction_order(kCompared)), first);
  EXPECT_EQ(store().statistics().files, files);
  EXPECT_EQ(store().statistics().evicted_objects, 0U);
}

// Files in directories; an empty directory is an object like a file, whose place is its own last use.
TEST_F(Lru, EmptyDirectoriesAgeLikeFiles) {
  Random random;
  SCOPED_TRACE(random.hint());
  struct Object {
    bool is_directory = false;
    std::uint64_t parent = 1;
    std::string name;
    std::size_t entries = 0;
    std::uint64_t used = 0;  // the order of use
  };
  std::map<std::uint64_t, Object> model;
  std::uint64_t clock = 0;
  const auto simulate = [&](std::size_t limit) {
    std::map<std::uint64_t, Object> left = model;
    std::vector<Ino> order;
    while (order.size() < limit) {
      auto victim = left.end();
      for (auto at = left.begin(); at != left.end(); ++at) {
        if (at->second.is_directory && at->second.entries > 0) continue;
        if (victim == left.end() || at->second.used < victim->second.used) victim = at;
      }
      if (victim == left.end()) break;
      order.push_back(Ino{victim->first});
      if (victim->second.parent != 1) --left.at(victim->second.parent).entries;
      left.erase(victim);
    }
    return order;
  };
  const auto remove = [&](std::uint64_t ino) {
    const Object gone = model.at(ino);
    if (gone.parent != 1) --model.at(gone.parent).entries;
    model.erase(ino);
  };
  std::vector<std::uint64_t> told;
  options_.on_evict = [&](const std::vector<store::Evicted>& evicted) {
    for (const auto& one : evicted) told.push_back(raw(one.ino));
  };
  fresh();
  for (std::size_t step = 0; step < scaled(2500); ++step) {
    const auto any = [&](bool directory) -> std::uint64_t {
      std::vector<std::uint64_t> choices;
      for (const auto& [ino, object] : model) {
        if (object.is_directory == directory) choices.push_back(ino);
      }
      return choices.empty() ? 0 : choices[random.below(choices.size())];
    };
    const std::uint64_t dice = random.below(100);
    if (dice < 35 && model.size() < 60) {
      const bool directory = random.chance(40);
      std::uint64_t parent = random.chance(25) ? 0 : any(true);
      if (parent == 0) parent = 1;
      const std::string name = "o" + std::to_string(step);
      const Inode made = make(Ino{parent}, name, directory ? 0040755 : 0100644);
      model[raw(made.ino)] = {directory, parent, name, 0, ++clock};
      if (parent != 1) ++model.at(parent).entries;
    } else if (dice < 65) {
      const std::uint64_t ino = any(random.chance(40));
      if (ino == 0) continue;
      store().touch(Ino{ino});
      model.at(ino).used = ++clock;
    } else if (dice < 75) {
      const std::uint64_t ino = any(random.chance(50));
      if (ino == 0 || model.at(ino).entries > 0) continue;
      const Object& object = model.at(ino);
      ok(store().update([&](Transaction& txn) -> Status {
        LRUFS_TRY_ASSIGN(Inode dir, txn.view().inode(Ino{object.parent}));
        LRUFS_TRY_ASSIGN(Inode child, txn.view().inode(Ino{ino}));
        LRUFS_TRY(txn.unlink(dir, object.name, child));
        LRUFS_TRY(txn.put_inode(dir));
        return txn.destroy(child);
      }));
      remove(ino);
    } else if (dice < 85) {
      const std::vector<Ino> expected = simulate(1);
      told.clear();
      value(store().evict(1));
      ASSERT_EQ(told.size(), expected.size());
      if (told.empty()) continue;
      ASSERT_EQ(told[0], raw(expected[0])) << "step " << step;
      remove(told[0]);
    } else if (dice < 88) {
      reopen();
    } else if (dice < 95) {
      const std::size_t limit = random.between(1, 70);
      ASSERT_EQ(value(store().eviction_order(limit)), simulate(limit)) << "step " << step;
    } else {
      ok(store().checkpoint());
    }
  }
  ASSERT_EQ(value(store().eviction_order(1000)), simulate(1000));
}

// With a bound of size the survivors are the most recently used ones: no file that went was used after one
// that stayed.
TEST_F(Lru, ABoundOfSizeKeepsTheLastUsed) {
  Random random;
  SCOPED_TRACE(random.hint());
  options_.bound = 8ULL << 20U;
  fresh();
  std::map<std::string, std::uint64_t> used;  // last use of each key that was ever put
  std::uint64_t clock = 0;
  std::size_t hits = 0;
  std::size_t gone = 0;
  const auto compare = [&] {
    std::uint64_t last_gone = 0;
    std::uint64_t first_left = ~0ULL;
    for (const auto& [name, when] : used) {
      if (store().resolve(name)) {
        first_left = std::min(first_left, when);
      } else {
        last_gone = std::max(last_gone, when);
        ++gone;
      }
    }
    EXPECT_LT(last_gone, first_left) << "a file went that was used after one that stayed";
  };
  for (std::size_t step = 0; step < scaled(3000); ++step) {
    const std::string name = "k" + std::to_string(random.skewed(300));
    if (random.chance(60)) {
      if (store().get(name)) {
        used[name] = ++clock;
        ++hits;
      }
    } else {
      put(name, std::string(random.below(200000), 'x'));
      used[name] = ++clock;
    }
    if (step % 100 == 0) {
      compare();
      ASSERT_FALSE(HasFailure()) << "step " << step;
    }
    if (random.below(500) == 0) reopen();
  }
  compare();
  EXPECT_GT(hits, 0U);
  if (test_scale() >= 1) {
    EXPECT_GT(gone, 0U);
  }
}

}  // namespace
}  // namespace lrufs::test
