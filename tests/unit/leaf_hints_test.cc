// ctest: timeout=600
// LeafHints: what is found was noted; and names through hints: whatever moves, goes and comes back under
// another name, a lookup tells what the tree holds.
#include "store/leaf_hints.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "store/bytes.h"
#include "tests/support/random.h"
#include "tests/support/store_fixture.h"

namespace lrufs::test {
namespace {

using store::Ino;
using store::Inode;
using store::LeafHints;
using store::PageNo;
using store::ReadView;
using store::Snapshot;
using store::Status;
using store::Transaction;

constexpr std::uint64_t kMaxPage = (1ULL << 32U) - 2;
constexpr std::uint16_t kMaxIndex = (1U << 9U) - 1;
constexpr std::uint16_t kMaxCell = (1U << 12U) - 1;

TEST(LeafHints, WhatWasNotedIsFound) {
  LeafHints hints;
  EXPECT_EQ(hints.find(0).page, store::kNoPage);
  EXPECT_EQ(hints.find(~0ULL).page, store::kNoPage);
  const std::uint64_t hash = LeafHints::hash(Ino{7}, 9);
  EXPECT_EQ(hints.find(hash).page, store::kNoPage);
  for (const PageNo page : {PageNo{4}, PageNo{kMaxPage}, PageNo{1000}}) {
    for (const std::uint16_t index : {std::uint16_t{0}, std::uint16_t{17}, kMaxIndex}) {
      for (const std::uint16_t cell : {std::uint16_t{0}, std::uint16_t{1234}, kMaxCell}) {
        hints.note(hash, {page, index, cell});
        EXPECT_EQ(raw(hints.find(hash).page), raw(page));
        EXPECT_EQ(hints.find(hash).index, index);
        EXPECT_EQ(hints.find(hash).cell, cell);
      }
    }
  }
  // What has no room in a word is not kept, nor is a part of it.
  hints.note(hash, {PageNo{1ULL << 32U}, 0});
  hints.note(hash, {PageNo{5}, 0, kMaxCell + 1});
  hints.note(hash, {PageNo{5}, kMaxIndex + 1});
  EXPECT_EQ(raw(hints.find(hash).page), 1000U);
  EXPECT_EQ(hints.find(hash).index, kMaxIndex);
  EXPECT_NE(LeafHints::hash(Ino{7}, 9), LeafHints::hash(Ino{9}, 7));
  EXPECT_NE(LeafHints::hash(Ino{7}, 0), LeafHints::hash(Ino{7}, 1));
}

// Hashes that agree in the bits that make the tag, and that choose the line: few lines, full ones, through
// all sizes of the table. A hint that is found was noted under a hash of that tag.
TEST(LeafHints, NothingIsFoundThatWasNotNotedUnderThatTag) {
  Random random;
  SCOPED_TRACE(random.hint());
  LeafHints hints;
  const auto tag = [](std::uint64_t hash) { return std::max<std::uint64_t>(hash >> 53U, 1); };
  std::map<std::uint64_t, std::set<std::pair<std::uint64_t, std::uint16_t>>> noted;
  std::size_t found = 0;
  for (std::size_t i = 0; i < scaled(60'000); ++i) {
    // 64 tags over 64 lines, but for every fourth, which fills the table.
    const std::uint64_t hash =
        i % 4 == 0 ? random.bits() : random.below(64) << 53U | random.below(8) << 32U | random.below(64);
    if (random.chance(50)) {
      const LeafHints::Hint hint{PageNo{random.between(4, kMaxPage)},
                                 static_cast<std::uint16_t>(random.below(kMaxIndex + 1))};
      hints.note(hash, hint);
      noted[tag(hash)].emplace(raw(hint.page), hint.index);
      // A newer hint takes its place, so it is there at once, unless the table was replaced meanwhile.
      const LeafHints::Hint back = hints.find(hash);
      ASSERT_TRUE(back.page == store::kNoPage || (back.page == hint.page && back.index == hint.index));
    }
    const LeafHints::Hint hint = hints.find(hash);
    if (hint.page == store::kNoPage) continue;
    ++found;
    const auto known = noted.find(tag(hash));
    ASSERT_TRUE(known != noted.end());
    ASSERT_TRUE(known->second.contains({raw(hint.page), hint.index}));
  }
  EXPECT_GT(found, 0U);
}

// The table grows with what is noted: of many more hints than the first table has words most are found.
TEST(LeafHints, TheTableGrows) {
  LeafHints hints;
  const auto hash = [](std::uint64_t i) { return LeafHints::hash(Ino{i}, i % 7); };
  const auto hint = [](std::uint64_t i) {
    return LeafHints::Hint{PageNo{4 + i}, static_cast<std::uint16_t>(i % 500)};
  };
  constexpr std::uint64_t kMany = 300'000;
  // Twice: a table that is replaced loses what it held.
  for (int pass = 0; pass < 2; ++pass) {
    for (std::uint64_t i = 0; i < kMany; ++i) hints.note(hash(i), hint(i));
  }
  std::uint64_t found = 0;
  std::uint64_t wrong = 0;
  for (std::uint64_t i = 0; i < kMany; ++i) {
    const LeafHints::Hint got = hints.find(hash(i));
    if (got.page == store::kNoPage) continue;
    ++(got.page == hint(i).page && got.index == hint(i).index ? found : wrong);
  }
  EXPECT_GT(found, kMany * 9 / 10);
  EXPECT_LT(wrong, kMany / 100);  // the tags of two hashes agree
}

TEST(LeafHints, ThreadsNoteAndFindWhileTheTableGrows) {
  LeafHints hints;
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> found{0};
  const std::uint64_t count = scaled(40'000);
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < count; ++i) {
        // A hint tells its hash: page and index never come from two of them.
        const auto hint_of = [](std::uint64_t hash) {
          const std::uint64_t page = 4 + (hash >> 54U);
          return LeafHints::Hint{PageNo{page}, static_cast<std::uint16_t>(page % 509)};
        };
        const std::uint64_t noted = LeafHints::hash(Ino{i}, t % 2);
        hints.note(noted, hint_of(noted));
        const LeafHints::Hint got = hints.find(LeafHints::hash(Ino{i / 2}, (t + 1) % 2));
        if (got.page == store::kNoPage) continue;
        ++found;
        if (got.index != raw(got.page) % 509) ++wrong;
        if (got.page != hint_of(LeafHints::hash(Ino{i / 2}, (t + 1) % 2)).page) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_GT(found, 0U);
}

// --- names through hints

using Names = std::map<std::pair<std::uint64_t, std::string>, Ino>;  // (directory, name) → inode

class NamesTest : public StoreTest, public ::testing::WithParamInterface<std::uint64_t> {
 protected:
  static constexpr std::uint64_t kDirs = 3;
  static constexpr std::uint64_t kNames = 40;

  void SetUp() override {
    options_.name_hash_mask = GetParam();
    open();
    for (std::uint64_t i = 0; i < kDirs; ++i)
      dirs_.push_back(make(store::kRootIno, "dir" + std::to_string(i), 0040755).ino);
  }

  static std::string name_of(std::uint64_t i) { return "n" + std::to_string(i); }
  Ino random_dir(Random& random) { return dirs_[random.below(kDirs)]; }

  // In a transaction: one random change; `names` follows.
  Status change(Transaction& txn, Random& random, Names& names) {
    const std::pair<std::uint64_t, std::string> at = {raw(random_dir(random)), name_of(random.below(kNames))};
    const std::pair<std::uint64_t, std::string> to = {raw(random_dir(random)), name_of(random.below(kNames))};
    const std::uint64_t kind = random.below(10);
    if (kind < 4) return names.contains(at) ? unlink(txn, names, at) : create(txn, names, at, random);
    if (kind < 6) return unlink(txn, names, at);
    if (!names.contains(at) || names.contains(to)) return {};
    const Ino ino = names.at(at);
    LRUFS_TRY_ASSIGN(Inode child, txn.view().inode(ino));
    LRUFS_TRY_ASSIGN(Inode target, txn.view().inode(Ino{to.first}));
    if (kind < 8) {  // another name
      LRUFS_TRY(txn.link(target, to.second, child));
    } else if (to.first == at.first) {  // renamed
      LRUFS_TRY(txn.unlink(target, at.second, child));
      LRUFS_TRY(txn.link(target, to.second, child));
      names.erase(at);
    } else {
      LRUFS_TRY_ASSIGN(Inode source, txn.view().inode(Ino{at.first}));
      LRUFS_TRY(txn.unlink(source, at.second, child));
      LRUFS_TRY(txn.link(target, to.second, child));
      LRUFS_TRY(txn.put_inode(source));
      names.erase(at);
    }
    names[to] = ino;
    LRUFS_TRY(txn.put_inode(target));
    return txn.put_inode(child);
  }
  static Status create(Transaction& txn, Names& names, const Names::key_type& at, Random& random) {
    LRUFS_TRY_ASSIGN(Inode dir, txn.view().inode(Ino{at.first}));
    Inode prototype;
    prototype.mode = 0100644;
    LRUFS_TRY_ASSIGN(Inode child, txn.create(prototype));
    LRUFS_TRY(txn.link(dir, at.second, child));
    LRUFS_TRY(txn.write(child, 0, store::as_bytes(random.text(random.below(900)))));
    LRUFS_TRY(txn.put_inode(dir));
    names[at] = child.ino;
    return txn.put_inode(child);
  }
  static Status unlink(Transaction& txn, Names& names, const Names::key_type& at) {
    if (!names.contains(at)) return {};
    LRUFS_TRY_ASSIGN(Inode dir, txn.view().inode(Ino{at.first}));
    LRUFS_TRY_ASSIGN(Inode child, txn.view().inode(names.at(at)));
    LRUFS_TRY(txn.unlink(dir, at.second, child));
    names.erase(at);
    LRUFS_TRY(txn.put_inode(dir));
    return child.nlink == 0 ? txn.destroy(child) : txn.put_inode(child);
  }

  // Empty if lookup() and find() tell the truth of these names; else the first lie.
  std::string lie(const ReadView& view, const Names& names) const {
    for (const Ino dir : dirs_) {
      for (std::uint64_t i = 0; i < kNames; ++i) {
        const auto known = names.find({raw(dir), name_of(i)});
        const Ino expected = known == names.end() ? store::kNoIno : known->second;
        const auto entry = view.lookup(dir, name_of(i));
        const auto object = view.find(dir, name_of(i));
        const auto seen = [&](const auto& result, Ino ino) {
          return result ? std::to_string(raw(ino)) : say(result);
        };
        const std::string where =
            std::to_string(raw(dir)) + "/" + name_of(i) + " is " + std::to_string(raw(expected)) + ", not ";
        const bool none = expected == store::kNoIno;
        if (none ? code_of(entry) != "not_found" : !entry || entry->ino != expected)
          return "lookup: " + where + seen(entry, entry ? entry->ino : store::kNoIno);
        if (none ? code_of(object) != "not_found" : !object || object->inode.ino != expected)
          return "find: " + where + seen(object, object ? object->inode.ino : store::kNoIno);
        if (none) continue;
        const auto inode = view.inode(expected);
        if (!inode || !(*inode == object->inode)) return "inode: " + where + "another inode";
      }
    }
    return {};
  }

  std::vector<Ino> dirs_;
};

TEST_P(NamesTest, LookupsTellTheTruthAfterEachStep) {
  Random random;
  SCOPED_TRACE(random.hint());
  Names names;
  struct Held {
    Snapshot snapshot;
    Names names;
  };
  std::deque<Held> held;
  for (std::size_t step = 0; step < scaled(600); ++step) {
    if (random.chance(3)) ok(store().checkpoint());
    if (random.chance(5) && held.size() < 3) held.push_back({store().snapshot(), names});
    if (!held.empty() && random.chance(10)) held.pop_front();
    const bool abort = random.chance(10);
    Names next;
    const Status done = store().update([&](Transaction& txn) -> Status {
      next = names;
      Random same(random.bits());
      const std::uint64_t changes = same.skewed(12) + 1;
      for (std::uint64_t i = 0; i < changes; ++i) {
        LRUFS_TRY(change(txn, same, next));
        if (same.chance(30)) {
          EXPECT_EQ(lie(txn.view(), next), "") << "in a transaction";
        }
      }
      return abort ? Status(store::fail(store::Code::kInvalid)) : Status{};
    });
    ASSERT_EQ(code_of(done), abort ? "invalid" : "ok") << say(done);
    if (!abort) names = next;
    if (random.chance(3) && held.empty()) {  // the least recently used object goes, with all its names
      const auto order = value(store().eviction_order(1));
      // An empty directory ages like a file; the names need all of theirs.
      const bool is_dir =
          !order.empty() && std::find(dirs_.begin(), dirs_.end(), order.front()) != dirs_.end();
      if (!order.empty() && !is_dir) {
        ASSERT_EQ(say(store().evict(1)), "ok");
        std::erase_if(names, [&](const auto& name) { return name.second == order.front(); });
      }
    }
    ASSERT_EQ(lie(store().snapshot().view(), names), "") << "step " << step;
    for (const Held& each : held) ASSERT_EQ(lie(each.snapshot.view(), each.names), "") << "step " << step;
  }
}

// Readers beside a writer: names in pairs, which each transaction moves together, so that a state tells
// whether it is one.
TEST_P(NamesTest, ReadersBesideAWriterSeeOneState) {
  Random random;
  SCOPED_TRACE(random.hint());
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::atomic<std::uint64_t> looks{0};
  const Ino a = dirs_[0];
  const Ino b = dirs_[1];
  // The same object in both, or in neither.
  const auto twist = [&](std::uint64_t i) {
    return store().update([&](Transaction& txn) -> Status {
      LRUFS_TRY_ASSIGN(Inode in_a, txn.view().inode(a));
      LRUFS_TRY_ASSIGN(Inode in_b, txn.view().inode(b));
      const auto found = txn.find(a, name_of(i));
      Inode child;
      if (found) {
        child = *found;
        LRUFS_TRY(txn.unlink(in_a, name_of(i), child));
        LRUFS_TRY(txn.unlink(in_b, name_of(i), child));
        LRUFS_TRY(txn.destroy(child));
      } else {
        Inode prototype;
        prototype.mode = 0100644;
        prototype.uid = static_cast<std::uint32_t>(i);
        LRUFS_TRY_ASSIGN(child, txn.create(prototype));
        LRUFS_TRY(txn.link(in_a, name_of(i), child));
        LRUFS_TRY(txn.link(in_b, name_of(i), child));
        LRUFS_TRY(txn.put_inode(child));
      }
      LRUFS_TRY(txn.put_inode(in_a));
      return txn.put_inode(in_b);
    });
  };
  std::vector<std::thread> readers;
  for (int t = 0; t < 2; ++t) {
    readers.emplace_back([&, seed = random.bits()] {
      Random mine(seed);
      while (!stop.load()) {
        const Snapshot snapshot = store().snapshot(Snapshot::Kind::kTransient);
        for (int i = 0; i < 8; ++i) {
          const std::uint64_t number = mine.below(kNames);
          const auto one = snapshot.view().find(a, name_of(number));
          const auto other = snapshot.view().find(b, name_of(number));
          const bool same = one && other && one->inode == other->inode && one->inode.uid == number;
          const bool none = code_of(one) == "not_found" && code_of(other) == "not_found";
          if (!same && !none) ++wrong;
          ++looks;
        }
      }
    });
  }
  const std::size_t count = scaled(3000);
  for (std::size_t i = 0; i < count || looks.load() < 1000; ++i) {
    ok(twist(random.below(kNames)));
    if (HasFailure()) break;
    if (i % 500 == 499) ok(store().checkpoint());
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
}

// All bits; a few hashes for all names; one.
INSTANTIATE_TEST_SUITE_P(Masks, NamesTest, ::testing::Values(~0ULL, 0x300ULL, 0ULL));

}  // namespace
}  // namespace lrufs::test
