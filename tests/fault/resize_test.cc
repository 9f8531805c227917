// ctest: timeout=900
// Store::resize() and compact() of a store that is in use: beside writers and readers, interrupted, beside
// readers of other processes, and wherever a power cut or SIGKILL falls while it grows. (shrink_test.cc has
// these for the smaller file.)
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/power_cut_file_ops.h"
#include "tests/support/random.h"
#include "tests/support/store_fixture.h"
#include "tests/support/store_ops.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::Ino;
using store::Status;
using store::Store;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMiB = 1U << 20U;

std::string name_of(std::uint64_t id) { return "d" + std::to_string(id % 7) + "/f" + std::to_string(id); }
std::string content_of(std::uint64_t id) {
  return patterned(id, id % 5 == 0    ? 600
                       : id % 5 == 1  ? 5000
                       : id % 11 == 2 ? 700'000
                                      : 60'000 + id % 9 * 1000);
}

class Resize : public StoreTest {
 protected:
  void SetUp() override {
    options_.bound = 32 * kMiB;
    open();
  }
  [[nodiscard]] std::uint64_t file_size() const { return std::filesystem::file_size(path()); }
  [[nodiscard]] std::uint64_t disk_bytes() const {
    struct stat attributes {};
    EXPECT_EQ(::stat(path().c_str(), &attributes), 0);
    return static_cast<std::uint64_t>(attributes.st_blocks) * 512;
  }
  void fill(std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t id = from; id < to; ++id) put(name_of(id), content_of(id));
  }
  // How many of them are there; each of these is whole.
  static std::uint64_t whole_files(Store& store, std::uint64_t below) {
    std::uint64_t count = 0;
    for (std::uint64_t id = 0; id < below; ++id) {
      const auto got = store.get(name_of(id));
      if (!got) {
        EXPECT_EQ(code_of(got), "not_found") << id;
        continue;
      }
      EXPECT_EQ(*got == content_of(id), true) << id;
      ++count;
    }
    return count;
  }
};

TEST_F(Resize, LargerIsTakenAtOnce) {
  fill(0, 900);
  const std::uint64_t before = store().statistics().files;
  EXPECT_GT(store().statistics().evicted_objects, 0U);
  ok(store().resize(64 * kMiB));
  EXPECT_EQ(store().statistics().bound_bytes, 64 * kMiB);
  const std::uint64_t evicted = store().statistics().evicted_objects;
  fill(900, 1100);
  EXPECT_EQ(store().statistics().evicted_objects, evicted) << "there was room";
  EXPECT_EQ(store().statistics().files, before + 200);
  EXPECT_GT(file_size(), 36 * kMiB);
  fill(1100, 2200);
  EXPECT_GT(store().statistics().evicted_objects, evicted);
  EXPECT_LE(disk_bytes(), 64 * kMiB);
  options_.bound_given = false;
  reopen();
  EXPECT_EQ(store().statistics().bound_bytes, 64 * kMiB);
  EXPECT_EQ(whole_files(store(), 2200), store().statistics().files);
}

// Writers and readers all the time, while the size changes: no file is wrong, the bound holds, nobody fails.
TEST_F(Resize, BesideWriters) {
  Random random;
  SCOPED_TRACE(random.hint());
  options_.background = true;
  reopen();
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> largest{options_.bound};
  std::atomic<std::uint64_t> next{0};
  std::mutex slowest_mutex;
  std::chrono::microseconds slowest{0};
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&] {
      while (!stop.load()) {
        const std::uint64_t id = next.fetch_add(1);
        const auto start = Clock::now();
        ok(store().put(name_of(id), as_bytes(content_of(id))));
        const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
        const std::lock_guard lock(slowest_mutex);
        slowest = std::max(slowest, took);
      }
    });
  }
  threads.emplace_back([&] {
    Random which(7);
    while (!stop.load()) {
      const std::uint64_t last = next.load();
      const std::uint64_t id = last - std::min(last, which.below(400));
      const auto got = store().get(name_of(id));
      if (got) {
        EXPECT_EQ(*got == content_of(id), true) << id;
      }
    }
  });
  threads.emplace_back([&] {
    while (!stop.load()) {
      EXPECT_LE(disk_bytes(), largest.load());
      std::this_thread::yield();
    }
  });
  while (next.load() < 2500) std::this_thread::yield();
  {
    const std::lock_guard lock(slowest_mutex);
    std::cout << "full, the slowest put took " << std::exchange(slowest, {}).count() << " us\n";
  }
  std::uint64_t bound = options_.bound;
  for (std::size_t round = 0; round < std::max<std::size_t>(scaled(12), 6) && !HasFailure(); ++round) {
    if (random.chance(30)) {
      ok(store().compact(Store::Company::kOthers));
      continue;
    }
    const std::uint64_t wanted = random.between(8, 96) * kMiB;
    largest = std::max(bound, wanted);
    ok(store().resize(wanted));
    bound = wanted;
    EXPECT_EQ(store().statistics().bound_bytes, bound);
    EXPECT_LE(file_size(), bound);
    largest = bound;
    const std::uint64_t until = next.load() + 300;
    while (next.load() < until && !HasFailure()) std::this_thread::yield();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  std::cout << next.load() << " puts, the slowest took " << slowest.count() << " us\n";
  options_.bound_given = false;
  options_.background = false;
  reopen();
  EXPECT_EQ(store().statistics().bound_bytes, bound);
}

TEST_F(Resize, CompactBesideOthersEvictsNothing) {
  options_.background = true;
  reopen();
  fill(0, 600);
  const std::uint64_t evicted = store().statistics().evicted_objects;
  for (std::uint64_t id = 0; id < 600; ++id) {
    if (id % 8 != 3 && store().resolve(name_of(id))) ok(store().erase(name_of(id)));
  }
  const std::uint64_t files = store().statistics().files;
  const std::uint64_t before = file_size();
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    // More than the room that is left: the file grows again, nobody fails, nobody is evicted.
    for (std::uint64_t id = 10'000; id < 10'200; ++id) ok(store().put(name_of(id), as_bytes(content_of(id))));
    stop = true;
  });
  do {
    ok(store().compact(Store::Company::kOthers));
  } while (!stop.load());
  writer.join();
  ok(store().compact(Store::Company::kOthers));
  EXPECT_EQ(store().statistics().evicted_objects, evicted);
  EXPECT_EQ(store().statistics().files, files + 200);
  EXPECT_LT(file_size(), before);
  EXPECT_LT(file_size(), store().statistics().used_bytes * 33 / 32 + 6 * kMiB);
  EXPECT_EQ(whole_files(store(), 600), files);
  fill(20'000, 20'100);
}

TEST_F(Resize, InterruptedItIsAsBefore) {
  fill(0, 350);
  const std::uint64_t bound = store().statistics().bound_bytes;
  std::uint64_t calls = 0;
  std::uint64_t last = 0;
  const auto count = [&](std::uint64_t done, std::uint64_t all) {
    EXPECT_GE(done, last);
    EXPECT_LE(done, all);
    last = done;
    ++calls;
    return true;
  };
  ok(store().resize(20 * kMiB, count));
  EXPECT_GT(calls, 5U);
  std::uint64_t stopped = 0;
  for (std::uint64_t stop_at = 1; stop_at < 10'000 && !HasFailure(); stop_at += 1 + stop_at / 3) {
    ok(store().resize(bound));
    fill(0, 350);
    std::uint64_t left = stop_at;
    const auto stop = [&](std::uint64_t, std::uint64_t) { return --left != 0; };
    const Status done = store().resize(12 * kMiB, stop);
    if (done) break;
    ++stopped;
    EXPECT_EQ(done.error().os_errno, EINTR) << say(done);
    EXPECT_EQ(store().statistics().bound_bytes, bound);
    EXPECT_EQ(whole_files(store(), 350), store().statistics().files);
    left = stop_at;
    const Status compacted =
        store().compact(stop_at % 2 == 0 ? Store::Company::kAlone : Store::Company::kOthers, stop);
    if (!compacted) {
      EXPECT_EQ(compacted.error().os_errno, EINTR) << say(compacted);
    }
    fill(350, 400);
    reopen();
    EXPECT_EQ(store().statistics().bound_bytes, bound);
  }
  EXPECT_GT(stopped, 4U);
}

// Who reads in another process is named, and nothing is evicted in vain.
TEST_F(Resize, AReaderOfAnotherProcessIsNamed) {
  fill(0, 500);
  const std::uint64_t files = store().statistics().files;
  store::Options reading;
  reading.read_only = reading.shared = true;
  reading.create = reading.bound_given = reading.background = false;
  auto reader = value(Store::open(path(), reading));
  const auto start = Clock::now();
  const Status refused = store().resize(12 * kMiB);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(5));
  EXPECT_EQ(code_of(refused), "busy") << say(refused);
  EXPECT_NE(say(refused).find(std::to_string(::getpid())), std::string::npos) << say(refused);
  EXPECT_EQ(store().statistics().files, files) << "nothing was evicted";
  ok(store().resize(64 * kMiB));
  EXPECT_EQ(whole_files(*reader, 500), files);
  // The same for a smaller bound at open.
  close();
  options_.bound = 12 * kMiB;
  const auto again = Clock::now();
  const auto opened = Store::open(path(), options_);
  EXPECT_LT(Clock::now() - again, std::chrono::seconds(5));
  EXPECT_EQ(code_of(opened), "busy") << say(opened);
  EXPECT_NE(say(opened).find(std::to_string(::getpid())), std::string::npos) << say(opened);
  EXPECT_EQ(whole_files(*reader, 500), files);
  ok(reader->close());
  reader.reset();
  open();
  EXPECT_EQ(store().statistics().bound_bytes, 12 * kMiB);
  EXPECT_LE(file_size(), 12 * kMiB);
}

// One that ends soon is waited for.
TEST_F(Resize, AReaderThatEndsIsWaitedFor) {
  fill(0, 500);
  store::Options reading;
  reading.read_only = reading.shared = true;
  reading.create = reading.bound_given = reading.background = false;
  auto reader = value(Store::open(path(), reading));
  std::thread ends([&] {
    const auto until = Clock::now() + std::chrono::milliseconds(200);
    while (Clock::now() < until) std::this_thread::yield();
    ok(reader->close());
    reader.reset();
  });
  ok(store().resize(12 * kMiB));
  ends.join();
  EXPECT_LE(file_size(), 12 * kMiB);
}

// What the kernel holds is waited for, not replaced by more victims.
TEST_F(Resize, HeldVictimsAreWaitedFor) {
  std::atomic<bool> held{true};
  std::mutex mutex;
  std::vector<Ino> gone;
  options_.is_held = [&](Ino) { return held.load(); };
  options_.on_evict = [&](const std::vector<store::Evicted>& evicted) {
    const std::lock_guard lock(mutex);
    for (const store::Evicted& each : evicted) gone.push_back(each.ino);
  };
  reopen();
  fill(0, 350);
  std::thread kernel([&] {
    // Lets go once the eviction has ended: when no more come.
    std::size_t seen = 0;
    auto since = Clock::now();
    while (Clock::now() - since < std::chrono::milliseconds(200) || seen == 0) {
      const std::lock_guard lock(mutex);
      if (gone.size() != seen) since = Clock::now();
      seen = gone.size();
    }
    held = false;
  });
  ok(store().resize(16 * kMiB));
  kernel.join();
  EXPECT_EQ(store().statistics().orphans, 0U);
  EXPECT_GT(store().statistics().used_bytes, 16 * kMiB * 7 / 10) << "no more went than had to";
}

// Every file that a power cut can leave while the bound is made larger and the file grows: never longer than
// the bound that it says.
TEST_F(Resize, PowerCutsWhileItGrows) {
  Random random;
  SCOPED_TRACE(random.hint());
  const auto ops = std::make_shared<PowerCutFileOps>();
  options_.bound = 5 * kMiB;
  options_.file_ops = ops;
  std::filesystem::remove(path());
  close();
  std::filesystem::remove(path());
  open();
  fill(0, 120);
  std::size_t images = 0;
  std::size_t larger = 0;
  const std::string image = dir_.file("image");
  const auto look = [&](const char* when) {
    if (HasFailure()) return;
    const std::string what = ops->make_image(random.bits(), image);
    SCOPED_TRACE(std::string(when) + ": " + what);
    ++images;
    EXPECT_EQ(check(image, true), "");
    store::Options options;
    options.bound_given = options.background = false;
    options.from_checkpoint = true;
    auto opened = Store::open(image, options);
    ASSERT_TRUE(opened) << say(opened);
    const std::uint64_t bound = (*opened)->statistics().bound_bytes;
    EXPECT_TRUE(bound == 5 * kMiB || bound == 12 * kMiB) << bound;
    if (bound > 5 * kMiB) ++larger;
    EXPECT_LE(std::filesystem::file_size(image), bound);
    EXPECT_GT(whole_files(**opened, 350), 20U);
    ok((*opened)->close());
    std::filesystem::remove(image);
  };
  ops->set_hook([&](PowerCutFileOps::Moment moment) {
    if (random.chance(60)) look(PowerCutFileOps::name(moment));
  });
  ok(store().resize(12 * kMiB));
  look("after the resize");
  for (std::uint64_t id = 120; id < 350; ++id) {
    put(name_of(id), content_of(id));
    if (id % 60 == 0) ok(store().checkpoint());
    if (id % 70 == 0) look("while it grows");
  }
  ops->set_hook(nullptr);
  EXPECT_GT(images, 8U);
  EXPECT_GT(larger, 2U);
}

// SIGKILL at any moment of growing and shrinking, again and again.
TEST_F(Resize, Killed) {
  Random random;
  SCOPED_TRACE(random.hint());
  options_.bound = 16 * kMiB;
  close();
  std::filesystem::remove(path());
  open();
  fill(0, 300);
  close();
  const std::string copy = dir_.file("copy");
  std::size_t changed = 0;
  for (std::size_t round = 0; round < std::max<std::size_t>(scaled(20), 8) && !HasFailure(); ++round) {
    std::filesystem::copy_file(path(), copy, std::filesystem::copy_options::overwrite_existing);
    const std::uint64_t seed = random.bits();
    const pid_t child = ::fork();
    if (child == 0) {
      Random mine(seed);
      store::Options options;
      options.bound_given = options.background = false;
      auto opened = Store::open(copy, options);
      if (!opened) ::_exit(1);
      for (std::uint64_t id = 300;; ++id) {
        if (id % 10 == 0 && !(*opened)->resize(mine.between(8, 40) * kMiB)) ::_exit(2);
        if (!(*opened)->put(name_of(id % 900), as_bytes(content_of(id % 900)))) ::_exit(3);
      }
    }
    const auto until = Clock::now() + std::chrono::microseconds(random.below(600'000));
    while (Clock::now() < until) std::this_thread::yield();
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself: " << WEXITSTATUS(status);
    EXPECT_EQ(check(copy), "") << "round " << round;
    store::Options options;
    options.bound_given = options.background = false;
    auto opened = Store::open(copy, options);
    ASSERT_TRUE(opened) << say(opened);
    const std::uint64_t bound = (*opened)->statistics().bound_bytes;
    if (bound != 16 * kMiB) ++changed;
    EXPECT_EQ(bound % kMiB, 0U);
    EXPECT_EQ(whole_files(**opened, 900), (*opened)->statistics().files);
    EXPECT_LE(std::filesystem::file_size(copy), bound);
    ok((*opened)->close());
    EXPECT_EQ(check(copy), "");
  }
  EXPECT_GT(changed, 2U);
}

}  // namespace
}  // namespace lrufs::test
