// ctest: timeout=900
// A store's file made shorter (a smaller bound, compact): what stays is whole and the last used, the file is
// as short as it should be, beside readers, and wherever a power cut or SIGKILL falls.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "store/check.h"
#include "tests/support/power_cut_file_ops.h"
#include "tests/support/random.h"
#include "tests/support/store_fixture.h"
#include "tests/support/store_ops.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::Ino;
using store::Inode;
using store::kRootIno;
using store::Status;
using store::Store;
using store::Transaction;

constexpr std::uint64_t kMiB = 1U << 20U;
constexpr std::uint64_t kSmall = 8 * kMiB;

std::string name_of(std::uint64_t id) { return "d" + std::to_string(id % 7) + "/f" + std::to_string(id); }
std::size_t size_for(std::uint64_t id) {
  return id % 5 == 0 ? 600 : id % 5 == 1 ? 5000 : id % 11 == 2 ? 700'000 : 60'000 + id % 9 * 1000;
}
std::string content_of(std::uint64_t id) { return patterned(id, size_for(id)); }

class Shrink : public StoreTest {
 protected:
  void SetUp() override {
    options_.bound = 64 * kMiB;
    open();
  }
  [[nodiscard]] std::uint64_t file_size() const { return std::filesystem::file_size(path()); }
  [[nodiscard]] std::uint64_t disk_bytes() const {
    struct stat attributes {};
    EXPECT_EQ(::stat(path().c_str(), &attributes), 0);
    return static_cast<std::uint64_t>(attributes.st_blocks) * 512;
  }
  void put_file(std::uint64_t id) {
    put(name_of(id), content_of(id));
    if (id % 6 != 0) return;
    change(resolve(name_of(id)).ino, [&](Transaction& txn, Inode& inode) {
      return txn.set_xattr(inode, "user.large", as_bytes(patterned(id + 1, 20'000)));
    });
  }
  // Some 40 MiB, in no order.
  void fill(std::uint64_t count = 420) {
    for (std::uint64_t id = 0; id < count; ++id) put_file(id);
    for (std::uint64_t id = 0; id < count; id += 3) ok(store().erase(name_of(id)));
    for (std::uint64_t id = 0; id < count; id += 3) put_file(id);
    for (std::uint64_t id = 0; id < count; id += 4) (void)get(name_of(id));
  }
  // The ids of the files that are there, each of them whole.
  static std::set<std::uint64_t> whole_files(Store& store) {
    std::set<std::uint64_t> ids;
    for (int dir = 0; dir < 7; ++dir) {
      const std::string parent = "d" + std::to_string(dir);
      const auto names = store.names(parent, "", 10'000);
      if (!names) continue;
      for (const std::string& name : *names) {
        const std::uint64_t id = std::stoull(name.substr(1));
        ids.insert(id);
        std::string key = parent;
        key.append("/").append(name);
        const auto inode = store.resolve(key);
        EXPECT_TRUE(inode) << say(inode);
        const auto now = store.snapshot();
        EXPECT_EQ(content(now.view(), inode->ino) == content_of(id), true) << key;
        if (id % 6 == 0) {
          const auto value = now.view().xattr(inode->ino, "user.large");
          EXPECT_TRUE(value) << say(value);
          if (value) {
            EXPECT_EQ(*value == patterned(id + 1, 20'000), true) << key;
          }
        }
      }
    }
    return ids;
  }
  std::vector<Ino> order() { return value(store().eviction_order(100'000)); }
};

TEST_F(Shrink, ASmallerBoundKeepsTheLastUsed) {
  fill();
  const std::vector<Ino> before = order();
  close();
  options_.bound = kSmall;
  open();
  EXPECT_LE(file_size(), kSmall);
  EXPECT_LE(disk_bytes(), kSmall);
  EXPECT_EQ(store().statistics().bound_bytes, kSmall);
  const std::vector<Ino> after = order();
  ASSERT_GT(after.size(), 20U);
  ASSERT_LT(after.size(), before.size());
  EXPECT_TRUE(std::equal(after.rbegin(), after.rend(), before.rbegin()))
      << "the last used ones, in their order";
  // It is well used: no more went than had to.
  EXPECT_GT(store().statistics().used_bytes, kSmall * 7 / 10);
  const auto ids = whole_files(store());
  // It works on within the new bound.
  for (std::uint64_t id = 1000; id < 1200; ++id) put_file(id);
  EXPECT_LE(file_size(), kSmall);
  close();
  EXPECT_EQ(check(), "");
  options_.bound_given = false;
  open();
  EXPECT_EQ(store().statistics().bound_bytes, kSmall);
  // And larger again.
  options_.bound_given = true;
  options_.bound = 64 * kMiB;
  reopen();
  for (std::uint64_t id = 2000; id < 2600; ++id) put_file(id);
  EXPECT_GT(file_size(), 2 * kSmall);
  EXPECT_EQ(whole_files(store()).size(), store().statistics().files);
}

TEST_F(Shrink, ToTheLeastThatAStoreMayHave) {
  fill();
  close();
  options_.bound = store::kMinBound;
  open();
  EXPECT_LE(disk_bytes(), store::kMinBound);
  EXPECT_GT(whole_files(store()).size(), 3U);
  for (std::uint64_t id = 0; id < 100; ++id) put_file(id * 5);
}

TEST_F(Shrink, OrphansOfACrashMakeRoomFirst) {
  fill(60);
  for (int i = 0; i < 40; ++i) {
    ok(store().update([&](Transaction& txn) -> Status {
      Inode prototype;
      prototype.mode = 0100644;
      LRUFS_TRY_ASSIGN(Inode orphan, txn.create(prototype));
      LRUFS_TRY(txn.orphan(orphan));
      LRUFS_TRY(txn.write(orphan, 0, as_bytes(std::string(300'000, 'o'))));
      return txn.put_inode(orphan);
    }));
  }
  const std::uint64_t files = store().statistics().files;
  close();
  options_.bound = kSmall;
  open();
  EXPECT_EQ(store().statistics().orphans, 0U);
  EXPECT_EQ(store().statistics().files, files - 40) << "no file had to go";
  EXPECT_EQ(whole_files(store()).size(), 60U);
}

TEST_F(Shrink, Refusals) {
  fill(20);
  EXPECT_EQ(code_of(store().resize(1ULL << 40U)), "invalid") << "further than the map reaches";
  ok(store().resize(options_.bound));
  EXPECT_EQ(code_of(store().resize(kMiB)), "bound_too_small");
  EXPECT_EQ(store().statistics().bound_bytes, options_.bound);
  options_.high = 50;
  options_.low = 50;
  const auto opened = Store::open(dir_.file("other"), options_);
  EXPECT_EQ(code_of(opened), "invalid");
  options_.high = options_.low = 0;
  options_.read_only = true;
  reopen();
  EXPECT_EQ(code_of(store().resize(kSmall)), "read_only");
  EXPECT_EQ(code_of(store().compact()), "read_only");
}

// In use: a snapshot that stays for a while, and a reader all the time.
TEST_F(Shrink, BesideReaders) {
  options_.background = true;
  reopen();
  fill();
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    Random random(7);
    while (!stop.load()) {
      const std::uint64_t id = random.below(420);
      const auto got = store().get(name_of(id));
      if (got)
        EXPECT_EQ(*got == content_of(id), true) << id;
      else
        EXPECT_EQ(code_of(got), "not_found");
    }
  });
  {
    // The file is not cut before this one ends.
    auto held = std::make_unique<store::Snapshot>(store().snapshot());
    const Ino ino = resolve(name_of(417)).ino;
    std::thread releaser([&] {
      for (int i = 0; i < 200; ++i) {
        EXPECT_EQ(content(held->view(), ino) == content_of(417), true);
        std::this_thread::yield();
      }
      held.reset();
    });
    const Status shrunk = store().resize(12 * kMiB);
    EXPECT_TRUE(shrunk) << say(shrunk);
    releaser.join();
  }
  EXPECT_LE(file_size(), 12 * kMiB);
  EXPECT_EQ(store().statistics().bound_bytes, 12 * kMiB);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(file_size(), 12 * kMiB);
  options_.background = false;  // eviction ahead of need ends
  options_.bound_given = false;
  reopen();
  EXPECT_EQ(store().statistics().bound_bytes, 12 * kMiB);
  EXPECT_EQ(whole_files(store()).size(), store().statistics().files);
}

TEST_F(Shrink, CompactKeepsAllInTheSmallestFile) {
  fill();
  for (std::uint64_t id = 0; id < 420; ++id) {
    if (id % 10 != 3) ok(store().erase(name_of(id)));
  }
  const std::vector<Ino> before = order();
  const auto ids = whole_files(store());
  const std::uint64_t old_size = file_size();
  ok(store().compact());
  EXPECT_EQ(order(), before);
  EXPECT_EQ(whole_files(store()), ids);
  EXPECT_EQ(store().statistics().bound_bytes, options_.bound);
  EXPECT_EQ(store().statistics().evicted_objects, 0U);
  const std::uint64_t used = store().statistics().used_bytes;
  close();
  EXPECT_LT(file_size(), old_size / 3);
  EXPECT_LT(file_size(), used + kMiB);
  EXPECT_EQ(check(), "");
  open();
  EXPECT_EQ(whole_files(store()), ids);
  fill(200);  // it grows as before
  whole_files(store());
}

TEST_F(Shrink, CompactOfAFullStoreEvictsNothing) {
  for (std::uint64_t id = 0; store().statistics().evicted_objects == 0; ++id) put_file(id);
  const std::uint64_t evicted = store().statistics().evicted_objects;
  const auto ids = whole_files(store());
  ok(store().compact());
  EXPECT_EQ(whole_files(store()), ids);
  EXPECT_EQ(store().statistics().evicted_objects, evicted);
}

// Every file that a power cut can leave, around each sync of a shrink and of a compact, opens with whole
// files.
TEST_F(Shrink, PowerCuts) {
  Random random;
  SCOPED_TRACE(random.hint());
  const auto ops = std::make_shared<PowerCutFileOps>();
  options_.file_ops = ops;
  reopen();
  fill(300);
  ok(store().checkpoint());
  std::size_t images = 0;
  std::size_t shorter = 0;
  std::size_t least = 20;  // files
  const std::string image = dir_.file("image");
  const auto look = [&](const char* when) {
    if (HasFailure()) return;
    const std::string what = ops->make_image(random.bits(), image);
    SCOPED_TRACE(std::string(when) + ": " + what);
    ++images;
    if (std::filesystem::file_size(image) <= kSmall) ++shorter;
    EXPECT_EQ(check(image, true), "");
    store::Options options;
    options.bound_given = false;
    options.background = false;
    options.from_checkpoint = true;
    auto opened = Store::open(image, options);
    ASSERT_TRUE(opened) << say(opened);
    EXPECT_GT(whole_files(**opened).size(), least);
    ok((*opened)->put("d1/f1", as_bytes(content_of(1))));
    ok((*opened)->close());
    EXPECT_EQ(check(image), "");
    std::filesystem::remove(image);
  };
  ops->set_hook([&](PowerCutFileOps::Moment moment) {
    if (random.chance(60)) look(PowerCutFileOps::name(moment));
  });
  ok(store().resize(kSmall));
  ops->set_hook(nullptr);
  look("after the shrink");
  least = 0;
  for (std::uint64_t id = 0; id < 300; id += 2) (void)store().erase(name_of(id));
  ops->set_hook([&](PowerCutFileOps::Moment moment) {
    if (random.chance(60)) look(PowerCutFileOps::name(moment));
  });
  ok(store().compact());
  ops->set_hook(nullptr);
  look("after the compact");
  EXPECT_GT(images, 10U);
  EXPECT_GT(shorter, 0U);
}

// SIGKILL at any moment of a shrink: the next open finds whole files, and goes on.
TEST_F(Shrink, Killed) {
  Random random;
  SCOPED_TRACE(random.hint());
  fill(300);
  close();
  const std::string copy = dir_.file("copy");
  std::size_t killed = 0;
  std::size_t between = 0;
  const auto microseconds_of = [&](const std::function<void()>& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start)
        .count();
  };
  std::int64_t whole_time = 0;
  for (std::size_t round = 0; round < std::max<std::size_t>(scaled(25), 8) && !HasFailure(); ++round) {
    std::filesystem::copy_file(path(), copy, std::filesystem::copy_options::overwrite_existing);
    const pid_t child = ::fork();
    if (child == 0) {
      store::Options options;
      options.bound = kSmall;
      options.background = false;
      auto opened = Store::open(copy, options);
      if (!opened) ::_exit(1);
      ::_exit(0);  // no close: as if killed just after it
    }
    int status = 0;
    if (round == 0) {
      whole_time = microseconds_of([&] { ::waitpid(child, &status, 0); });
      ASSERT_EQ(status, 0);
    } else {
      const auto until = std::chrono::steady_clock::now() +
                         std::chrono::microseconds(random.below(static_cast<std::uint64_t>(whole_time)));
      while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      if (WIFSIGNALED(status)) ++killed;
    }
    EXPECT_EQ(check(copy), "") << "round " << round;
    store::Options options;
    options.bound_given = false;
    options.background = false;
    {
      auto opened = Store::open(copy, options);
      ASSERT_TRUE(opened) << say(opened);
      const auto left = whole_files(**opened).size();
      EXPECT_GT(left, 20U);
      if (left < 300 && (*opened)->statistics().bound_bytes > kSmall) ++between;
      ok((*opened)->close());
    }
    options.bound_given = true;
    options.bound = kSmall;
    auto opened = Store::open(copy, options);
    ASSERT_TRUE(opened) << say(opened);
    EXPECT_GT(whole_files(**opened).size(), 20U);
    EXPECT_LE(std::filesystem::file_size(copy), kSmall);
    ok((*opened)->close());
    EXPECT_EQ(check(copy), "");
  }
  std::cout << killed << " killed, " << between << " of them in the middle of the eviction or the move\n";
  EXPECT_GT(killed, 0U);
}

}  // namespace
}  // namespace lrufs::test
