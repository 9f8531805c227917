// Pins and expiry in a store, one rule a test; what all of them come to together is
// tests/model/keep_model_test.cc.
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "store/check.h"
#include "tests/support/store_fixture.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::Ino;
using store::Inode;
using store::kRootIno;
using store::Status;
using store::Transaction;

constexpr std::uint64_t kSecond = 1'000'000'000;

class Keep : public StoreTest {
 protected:
  Keep() {
    options_.bound = 8ULL << 20U;
    options_.wall_clock = [this] { return clock_.load(); };
  }
  void pin(std::string_view key, bool pinned = true) {
    change(resolve(key).ino, [&](Transaction& txn, Inode& inode) { return txn.set_pinned(inode, pinned); });
  }
  void live(std::string_view key, std::uint64_t seconds) {
    change(resolve(key).ino,
           [&](Transaction& txn, Inode& inode) { return txn.set_ttl(inode, seconds * 1000); });
  }
  void move(std::string_view from, std::string_view name, std::string_view to) {
    const Ino old_dir = resolve(from).ino;
    const Ino new_dir = resolve(to).ino;
    ok(store().update([&](Transaction& txn) -> Status {
      LRUFS_TRY_ASSIGN(Inode source, txn.view().inode(old_dir));
      LRUFS_TRY_ASSIGN(Inode target, txn.view().inode(new_dir));
      LRUFS_TRY_ASSIGN(Inode child, txn.find(old_dir, name));
      LRUFS_TRY(txn.unlink(source, name, child));
      LRUFS_TRY(txn.link(target, name, child));
      LRUFS_TRY(txn.put_inode(source));
      LRUFS_TRY(txn.put_inode(target));
      return txn.put_inode(child);
    }));
  }
  // All that eviction takes, in its order, as numbers of the keys.
  std::string order(const std::vector<std::string>& keys) {
    std::string text;
    for (const Ino ino : value(store().eviction_order(100))) {
      for (std::size_t i = 0; i < keys.size(); ++i) {
        const auto inode = store().resolve(keys[i]);
        if (inode && inode->ino == ino) text += std::to_string(i);
      }
    }
    return text;
  }
  std::uint64_t parked() { return store().statistics().parked_objects; }

  std::atomic<std::uint64_t> clock_{1'000'000 * kSecond};
};

// --- pins

TEST_F(Keep, EvictionPassesOverWhatIsPinned) {
  for (const char* key : {"a", "b", "c"}) put(key, key);
  pin("a");
  EXPECT_EQ(order({"a", "b", "c"}), "12");
  value(store().evict(1));
  EXPECT_EQ(code_of(store().get("b")), "not_found");
  value(store().evict(1U << 20U));
  EXPECT_EQ(get("a"), "a");
  EXPECT_EQ(code_of(store().get("c")), "not_found");
  EXPECT_EQ(parked(), 1U);
}

TEST_F(Keep, APinCoversWhatLiesBelowNowAndLater) {
  put("d/e/old", "1");
  put("x", "2");
  pin("d");
  put("d/e/new", "3");
  put("moved", "4");
  move("", "moved", "d/e");
  EXPECT_EQ(order({"d/e/old", "x", "d/e/new", "d/e/moved"}), "1");
  move("d/e", "moved", "");
  EXPECT_EQ(order({"d/e/old", "x", "d/e/new", "moved"}), "13");
}

TEST_F(Keep, TheOldOrderComesBackWithThePinGone) {
  const std::vector<std::string> keys = {"0", "d/1", "2", "d/3", "4", "d/5"};
  for (const auto& key : keys) put(key, key);
  (void)get("2");    // 0 1 3 4 5 2
  (void)get("d/1");  // 0 3 4 5 2 1
  pin("d");
  value(store().evict(1));  // parks 3, 5 and 1 only as far as it must
  EXPECT_EQ(order(keys), "42");
  (void)get("d/5");  // a use counts while it is pinned
  reopen();
  EXPECT_EQ(order(keys), "42");
  pin("d", false);
  EXPECT_EQ(order(keys), "34215");
  EXPECT_EQ(store().statistics().evicted_objects, 0U) << "asking evicts nothing";
}

TEST_F(Keep, ADirectoryThatIsMovedOutTakesItsFilesAlong) {
  put("p/d/0", "0");
  put("p/1", "1");
  put("2", "2");
  put("q/3", "3");
  pin("p");
  value(store().evict(1));
  EXPECT_EQ(parked(), 2U);
  move("p", "d", "q");
  EXPECT_EQ(order({"q/d/0", "p/1", "2", "q/3"}), "03");
  value(store().evict(1));  // now for real: looks at what is parked, and at nothing else
  EXPECT_EQ(code_of(store().get("q/d/0")), "not_found");
  EXPECT_EQ(parked(), 1U);
  move("q", "d", "p");
  EXPECT_EQ(order({"p/d", "p/1", "2", "q/3"}), "3");
}

TEST_F(Keep, OneCoveredNameIsEnough) {
  put("d/a", "1");
  put("e/x", "2");
  const Ino file = resolve("d/a").ino;
  ok(store().update([&](Transaction& txn) -> Status {
    LRUFS_TRY_ASSIGN(Inode dir, txn.find(kRootIno, "e"));
    LRUFS_TRY_ASSIGN(Inode inode, txn.view().inode(file));
    LRUFS_TRY(txn.link(dir, "second", inode));
    LRUFS_TRY(txn.put_inode(dir));
    return txn.put_inode(inode);
  }));
  pin("e");
  EXPECT_EQ(order({"d/a", "e/x"}), "");
  value(store().evict(1));
  EXPECT_EQ(parked(), 2U);
  ok(store().erase("e/second"));
  EXPECT_EQ(order({"d/a", "e/x"}), "0");
}

TEST_F(Keep, EverythingPinnedIsNoSpaceUntilAPinGoes) {
  put("d/a", std::string(1U << 20U, 'a'));
  pin("d");
  Status last;
  int files = 0;
  while (last && files < 200)
    last = store().put("d/" + std::to_string(files++), as_bytes(std::string(100'000, 'x')));
  EXPECT_EQ(code_of(last), "no_space");
  EXPECT_EQ(get("d/a").size(), 1U << 20U);
  ok(store().update(
      [&](Transaction& txn) -> Status {
        LRUFS_TRY_ASSIGN(Inode dir, txn.find(kRootIno, "d"));
        LRUFS_TRY(txn.set_pinned(dir, false));
        return txn.put_inode(dir);
      },
      store::Store::Purpose::kDelete));
  ok(store().put("d/more", as_bytes(std::string(100'000, 'x'))));
  EXPECT_EQ(code_of(store().get("d/0")), "not_found") << "the oldest goes";
}

TEST_F(Keep, PinnedDirectoriesStayEvenIfEmpty) {
  make(kRootIno, "empty", 0040755);
  make(kRootIno, "other", 0040755);
  pin("empty");
  value(store().evict(1U << 20U));
  EXPECT_EQ(code_of(store().resolve("empty")), "ok");
  EXPECT_EQ(code_of(store().resolve("other")), "not_found");
}

// Many cold files below a pin are met once, and looked at again once after a pin went: in several
// transactions, of which each looks at a thousand at most.
TEST_F(Keep, WhatIsParkedIsNotMetAgain) {
  constexpr int kFiles = 2000;
  for (int i = 0; i < kFiles; ++i) put("d/" + std::to_string(i), "x");
  pin("d");
  for (int i = 0; i < 50; ++i) put("free/" + std::to_string(i), "x");
  value(store().evict(1));
  EXPECT_EQ(parked(), static_cast<std::uint64_t>(kFiles));
  for (int i = 0; i < 20; ++i) value(store().evict(1));
  EXPECT_EQ(parked(), static_cast<std::uint64_t>(kFiles));
  pin("d", false);
  value(store().evict(1));
  EXPECT_EQ(parked(), 0U);
  EXPECT_EQ(code_of(store().get("d/0")), "not_found");
  EXPECT_EQ(get("d/1"), "x");
}

TEST_F(Keep, CountsPins) {
  put("a", "12345");
  put("d/b", "678");
  pin("a");
  pin("d");
  const auto counts = [&] {
    const auto s = store().statistics();
    return std::vector<std::uint64_t>{s.pinned_objects, s.pinned_directories, s.pinned_bytes};
  };
  EXPECT_EQ(counts(), (std::vector<std::uint64_t>{2, 1, 5}));
  ok(store().write("a", 5, as_bytes("6")));
  EXPECT_EQ(counts(), (std::vector<std::uint64_t>{2, 1, 6}));
  reopen();
  EXPECT_EQ(counts(), (std::vector<std::uint64_t>{2, 1, 6}));
  ok(store().erase("a"));
  EXPECT_EQ(counts(), (std::vector<std::uint64_t>{1, 1, 0}));
}

// --- expiry

TEST_F(Keep, ExpiredIsAbsentAtItsTimeAndReapedLater) {
  put("a", "1");
  put("b", "2");
  live("a", 10);
  clock_ += 10 * kSecond - 1;
  EXPECT_EQ(get("a"), "1");
  clock_ += 1;
  EXPECT_EQ(code_of(store().get("a")), "not_found");
  EXPECT_EQ(code_of(store().resolve("a")), "not_found");
  EXPECT_EQ(value(store().names("", "", 10)), (std::vector<std::string>{"b"}));
  EXPECT_EQ(code_of(store().erase("a")), "not_found");
  EXPECT_EQ(store().statistics().expired_objects, 1U) << "erase met it in the way";
  EXPECT_EQ(value(store().reap_expired()), 0U);
  EXPECT_EQ(store().statistics().files, 1U);
}

TEST_F(Keep, WritesMoveTheEnd) {
  put("a", "1");
  live("a", 10);
  for (int i = 0; i < 5; ++i) {
    clock_ += 9 * kSecond;
    ok(store().write("a", 0, as_bytes("2")));
    EXPECT_EQ(value(store().reap_expired()), 0U);
  }
  clock_ += 10 * kSecond;
  EXPECT_EQ(value(store().reap_expired()), 1U);
}

TEST_F(Keep, APutInThePlaceOfAnExpiredFileIsNew) {
  put("d/a", "old");
  const Ino old = resolve("d/a").ino;
  live("d/a", 10);
  clock_ += 11 * kSecond;
  put("d/a", "new");
  EXPECT_NE(resolve("d/a").ino, old);
  clock_ += 1000 * kSecond;
  EXPECT_EQ(get("d/a"), "new");
  live("d/a", 1);
  clock_ += 2 * kSecond;
  ok(store().erase("d"));  // holds nothing that is there
}

TEST_F(Keep, DirectoriesGiveTheirTtlAndDoNotExpire) {
  make(kRootIno, "d", 0040755);
  live("d", 10);
  put("d/sub/file", "1");
  EXPECT_EQ(resolve("d/sub/file").ttl, 10'000U);
  EXPECT_EQ(resolve("d/sub").ttl, 10'000U);
  clock_ += 11 * kSecond;
  EXPECT_EQ(value(store().reap_expired()), 1U);
  EXPECT_EQ(code_of(store().resolve("d/sub")), "ok");
}

TEST_F(Keep, TheDefaultIsForNewFiles) {
  put("before", "1");
  options_.default_ttl = 10'000;
  reopen();
  put("after", "2");
  put("before", "still without");
  make(kRootIno, "fifo", 0010644);
  clock_ += 11 * kSecond;
  EXPECT_EQ(value(store().names("", "", 10)), (std::vector<std::string>{"before", "fifo"}));
}

TEST_F(Keep, AShorterTtlAndNone) {
  for (const char* key : {"a", "b", "c"}) {
    put(key, key);
    live(key, 100);
  }
  live("a", 10);
  live("b", 0);
  clock_ += 11 * kSecond;
  EXPECT_EQ(value(store().reap_expired()), 1U);
  clock_ += 100 * kSecond;
  EXPECT_EQ(value(store().reap_expired()), 1U);
  EXPECT_EQ(get("b"), "b");
}

TEST_F(Keep, ExpiryWinsOverAPin) {
  put("d/a", "1");
  pin("d");
  pin("d/a");
  live("d/a", 10);
  value(store().evict(1));
  clock_ += 11 * kSecond;
  EXPECT_EQ(value(store().reap_expired()), 1U);
  EXPECT_EQ(store().statistics().pinned_objects, 1U);
}

TEST_F(Keep, AnOrphanDoesNotExpireAndANewNameStartsAnew) {
  put("a", "1");
  live("a", 10);
  const Ino ino = resolve("a").ino;
  options_.is_held = nullptr;
  ok(store().update([&](Transaction& txn) -> Status {
    LRUFS_TRY_ASSIGN(Inode root, txn.view().inode(kRootIno));
    LRUFS_TRY_ASSIGN(Inode inode, txn.view().inode(ino));
    LRUFS_TRY(txn.unlink(root, "a", inode));
    inode.nlink = 0;
    LRUFS_TRY(txn.orphan(inode));
    LRUFS_TRY(txn.put_inode(root));
    return txn.put_inode(inode);
  }));
  clock_ += 100 * kSecond;
  EXPECT_EQ(value(store().reap_expired()), 0U);
  ok(store().update([&](Transaction& txn) -> Status {
    LRUFS_TRY_ASSIGN(Inode root, txn.view().inode(kRootIno));
    LRUFS_TRY_ASSIGN(Inode inode, txn.view().inode(ino));
    LRUFS_TRY(txn.link(root, "b", inode));
    LRUFS_TRY(txn.put_inode(root));
    return txn.put_inode(inode);
  }));
  clock_ += 9 * kSecond;
  EXPECT_EQ(get("b"), "1");
  clock_ += 1 * kSecond;
  EXPECT_EQ(code_of(store().get("b")), "not_found");
}

TEST_F(Keep, FromUseAUseIsEnough) {
  options_.ttl_from_use = true;
  reopen();
  put("a", "1");
  live("a", 100);
  const std::uint64_t commits = store().statistics().commits;
  for (int i = 0; i < 50; ++i) {
    clock_ += kSecond / 10;
    EXPECT_EQ(get("a"), "1");
  }
  EXPECT_EQ(store().statistics().commits, commits) << "uses are not written one by one";
  clock_ += 97 * kSecond;
  EXPECT_EQ(get("a"), "1");
  clock_ += 99 * kSecond;
  EXPECT_EQ(value(store().reap_expired()), 0U);
  EXPECT_EQ(get("a"), "1");
  reopen();  // writes them
  clock_ += 99 * kSecond;
  EXPECT_EQ(get("a"), "1");
  clock_ += 100 * kSecond;
  EXPECT_EQ(code_of(store().get("a")), "not_found");
  EXPECT_EQ(code_of(store().get("a")), "not_found") << "asking is no use";
  EXPECT_EQ(value(store().reap_expired()), 1U);
}

TEST_F(Keep, ExpiresInTheOrderOfTheEndsAndLeavesTheRest) {
  std::vector<std::string> gone;
  options_.on_evict = [&](const std::vector<store::Evicted>& evicted) {
    for (const auto& each : evicted) gone.push_back(each.name);
  };
  reopen();
  for (int i = 0; i < 300; ++i) {
    const std::string name = std::to_string(i);
    put(name, name);
    live(name, static_cast<std::uint64_t>(300 - i));
  }
  clock_ += 150 * kSecond;
  EXPECT_EQ(value(store().reap_expired()), 150U);
  ASSERT_EQ(gone.size(), 150U);
  EXPECT_EQ(gone.front(), "299");
  EXPECT_EQ(gone.back(), "150");
}

// The thread sleeps until the first end, is woken by one that comes before it, and by nothing else.
TEST_F(Keep, TheBackgroundReapsByTheRealClock) {
  options_.wall_clock = nullptr;
  options_.background = true;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> gone;
  options_.on_evict = [&](const std::vector<store::Evicted>& evicted) {
    const std::lock_guard lock(mutex);
    for (const auto& each : evicted) gone.push_back(each.name);
    changed.notify_all();
  };
  reopen();
  put("late", "1");
  live("late", 3600);
  put("second", "2");
  change(resolve("second").ino, [](Transaction& txn, Inode& inode) { return txn.set_ttl(inode, 300); });
  put("first", "3");
  change(resolve("first").ino, [](Transaction& txn, Inode& inode) { return txn.set_ttl(inode, 50); });
  std::unique_lock lock(mutex);
  ASSERT_TRUE(changed.wait_for(lock, std::chrono::seconds(20), [&] { return gone.size() == 2; }));
  EXPECT_EQ(gone, (std::vector<std::string>{"first", "second"}));
  lock.unlock();
  close();
}

}  // namespace
}  // namespace lrufs::test
