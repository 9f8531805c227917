// ctest: timeout=600
// Threads on one store: writers, readers, snapshots, checkpoints and eviction beside each other; a reader
// that stalls; syncs that are shared. Meant for ThreadSanitizer (the tsan preset), too.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "store/faults.h"
#include "store/store.h"
#include "tests/support/power_cut_file_ops.h"
#include "tests/support/random.h"
#include "tests/support/store_fixture.h"
#include "tests/support/store_ops.h"

namespace lrufs::test {
namespace {

using store::Code;
using store::Options;
using store::Snapshot;
using store::Status;
using store::Store;
using store::Transaction;
using Clock = std::chrono::steady_clock;

constexpr auto kDeadline = std::chrono::seconds(120);

// Content that tells whether it is whole: its id, then what the id gives.
std::string whole(std::uint64_t id, std::size_t size) {
  std::string text(8, '\0');
  std::memcpy(text.data(), &id, 8);
  return text + patterned(id, size);
}
bool is_whole(std::string_view text) {
  if (text.size() < 8) return false;
  std::uint64_t id = 0;
  std::memcpy(&id, text.data(), 8);
  return text.substr(8) == patterned(id, text.size() - 8);
}

class StoreConcurrencyTest : public StoreTest {
 protected:
  void SetUp() override {
    options_.background = true;
    options_.sync_interval = std::chrono::milliseconds(10);
    options_.bound = 8U << 20U;
    open();
  }

  // Runs the functions in threads of their own, all at once; they stop by themselves.
  static void run(const std::vector<std::function<void()>>& bodies) {
    std::barrier start(static_cast<std::ptrdiff_t>(bodies.size()));
    std::vector<std::thread> threads;
    for (const auto& body : bodies) {
      threads.emplace_back([&] {
        start.arrive_and_wait();
        body();
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  static std::string key(std::uint64_t number) {
    return "d" + std::to_string(number % 5) + "/f" + std::to_string(number);
  }
  static std::size_t some_size(Random& random) {
    const std::uint64_t kind = random.below(10);
    return kind < 5 ? random.below(900) : kind < 9 ? random.below(20'000) : 65'536 + random.below(60'000);
  }

  // One random change; anything but success and kNotFound fails the test.
  void change(Random& random, std::uint64_t keys) {
    const std::string name = key(random.below(keys));
    Status done;
    switch (random.below(10)) {
      case 0:
        done = store().erase(name);
        break;
      case 1:
      case 2: {
        const std::string to = key(random.below(keys));
        done = store().update([&](Transaction& txn) { return rename_file(txn, name, to); });
        break;
      }
      default:
        done = store().put(name, store::as_bytes(whole(random.bits(), some_size(random))));
    }
    if (!done && done.error().code != Code::kNotFound) ADD_FAILURE() << say(done);
  }

  // All that a snapshot shows is whole.
  static std::optional<Tree> look(const Snapshot& snapshot) {
    const auto tree = dump_tree(snapshot.view());
    EXPECT_TRUE(tree) << say(tree);
    if (!tree) return std::nullopt;
    for (const auto& [path, what] : *tree) {
      if (what.find(" mode 100") == std::string::npos) continue;
      const auto dir = snapshot.view().lookup(store::kRootIno, path.substr(0, path.find('/')));
      EXPECT_TRUE(dir) << path;
      if (!dir) continue;
      const auto entry = snapshot.view().lookup(dir->ino, path.substr(path.find('/') + 1));
      EXPECT_TRUE(entry) << path;
      if (entry) {
        EXPECT_TRUE(is_whole(content(snapshot.view(), entry->ino))) << path;
      }
    }
    return *tree;
  }
};

TEST_F(StoreConcurrencyTest, WritersReadersCheckpointsAndEviction) {
  constexpr std::uint64_t kKeys = 400;
  Random random;
  SCOPED_TRACE(random.hint());
  const std::size_t changes = scaled(400);
  std::atomic<int> writers{4};
  const auto working = [&] { return writers.load() > 0; };
  std::vector<std::function<void()>> bodies;
  for (int i = 0; i < 4; ++i) {
    bodies.emplace_back([&, seed = random.bits()] {
      Random own(seed);
      for (std::size_t n = 0; n < changes; ++n) change(own, kKeys);
      --writers;
    });
  }
  for (int i = 0; i < 2; ++i) {
    bodies.emplace_back([&, seed = random.bits()] {
      Random own(seed);
      while (working()) {
        const std::string name = key(own.below(kKeys));
        const auto value = store().get(name);
        if (value) {
          EXPECT_TRUE(is_whole(*value)) << name;
        } else {
          EXPECT_EQ(code_of(value), "not_found") << say(value);
        }
      }
    });
  }
  bodies.emplace_back([&, seed = random.bits()] {
    Random own(seed);
    while (working()) {
      const auto names = store().names("d" + std::to_string(own.below(5)), "", 1000);
      if (names) {
        EXPECT_TRUE(std::is_sorted(names->begin(), names->end()));
      } else {
        EXPECT_EQ(code_of(names), "not_found") << say(names);
      }
      (void)store().statistics();
    }
  });
  bodies.emplace_back([&] {
    // What a snapshot shows does not change while it lives.
    while (working()) {
      const Snapshot snapshot = store().snapshot();
      const auto first = look(snapshot);
      const auto second = look(snapshot);
      EXPECT_EQ(first, second);
    }
  });
  for (int i = 0; i < 2; ++i) {
    bodies.emplace_back([&] {
      while (working()) ok(store().checkpoint());
    });
  }
  bodies.emplace_back([&] {
    while (working()) {
      const auto freed = store().evict(10 * store::kPageSize);
      EXPECT_TRUE(freed) << say(freed);
    }
  });
  run(bodies);
  const auto statistics = store().statistics();
  EXPECT_GT(statistics.evicted_objects, 0U);
  EXPECT_GT(statistics.checkpoints, 0U);
  EXPECT_LE(statistics.file_bytes, options_.bound);
  EXPECT_FALSE(store().read_only());
}

// A reader that does nothing for a long time.
class Stalled {
 public:
  explicit Stalled(Store& store, Snapshot::Kind kind) : snapshot_(store.snapshot(kind)) {}
  [[nodiscard]] const Snapshot& snapshot() const { return snapshot_; }

 private:
  Snapshot snapshot_;
};

TEST_F(StoreConcurrencyTest, AStalledReaderBlocksNobody) {
  for (std::uint64_t i = 0; i < 50; ++i) put(key(i), whole(i, 3000));
  const Stalled stalled(store(), Snapshot::Kind::kFull);
  const auto before = look(stalled.snapshot());
  ASSERT_TRUE(before);
  const auto start = Clock::now();
  Random random;
  SCOPED_TRACE(random.hint());
  // Less is written than fits beside what the reader sees.
  std::vector<std::function<void()>> bodies;
  for (int i = 0; i < 4; ++i) {
    bodies.emplace_back([&, seed = random.bits()] {
      Random own(seed);
      for (int n = 0; n < 60; ++n)
        ok(store().put(key(own.below(50)), store::as_bytes(whole(own.bits(), 2000))));
    });
  }
  run(bodies);
  for (std::uint64_t i = 0; i < 50; i += 2) {
    const Status erased = store().erase(key(i));
    EXPECT_TRUE(erased || erased.error().code == Code::kNotFound) << say(erased);
  }
  const auto freed = value(store().evict(20 * store::kPageSize));
  EXPECT_GT(freed, 0U);
  ok(store().checkpoint());
  EXPECT_LT(Clock::now() - start, kDeadline);
  const auto statistics = store().statistics();
  EXPECT_GT(statistics.oldest_reader_lag, 200U) << "the store does not say that a reader keeps space";
  EXPECT_GT(statistics.pending_bytes, 0U);
  const auto after = look(stalled.snapshot());
  EXPECT_EQ(before, after);
}

// More is written than the whole store holds: what the reader does not see must be reused.
TEST_F(StoreConcurrencyTest, AStalledReaderDoesNotPinWhatItCannotSee) {
  for (std::uint64_t i = 0; i < 20; ++i) put(key(i), whole(i, 3000));
  const Stalled stalled(store(), Snapshot::Kind::kFull);
  const auto before = look(stalled.snapshot());
  ASSERT_TRUE(before);
  const auto start = Clock::now();
  for (std::uint64_t i = 0; i < 1500 && Clock::now() - start < kDeadline; ++i) {
    const Status done = store().put(key(100 + i % 30), store::as_bytes(whole(i, 20'000)));
    ASSERT_TRUE(done) << say(done) << " at put " << i << ", " << i * 20'000 << " bytes";
  }
  EXPECT_LT(Clock::now() - start, kDeadline);
  EXPECT_EQ(before, look(stalled.snapshot()));
}

TEST_F(StoreConcurrencyTest, ReadersOfTheLatestStateNeverWaitForAWriter) {
  put("d/a", whole(1, 100));
  auto txn = store().begin();
  ASSERT_TRUE(txn);
  // The writer's lock is held; another thread reads.
  std::string found;
  std::thread reader([&] {
    const auto value = store().get("d/a");
    if (value) found = *value;
    (void)store().snapshot(Snapshot::Kind::kTransient);
    (void)store().names("d", "", 10);
  });
  reader.join();  // a deadlock ends at ctest's time limit
  EXPECT_TRUE(is_whole(found));
  txn->abort();
}

TEST_F(StoreConcurrencyTest, ManySnapshotsAtOnce) {
  for (std::uint64_t i = 0; i < 20; ++i) put(key(i), whole(i, 500));
  Random random;
  SCOPED_TRACE(random.hint());
  std::atomic<int> left{12};
  std::vector<std::function<void()>> bodies;
  for (int i = 0; i < 12; ++i) {
    bodies.emplace_back([&] {
      for (std::size_t n = 0; n < scaled(20); ++n) {
        std::vector<Snapshot> held;
        for (int s = 0; s < 8; ++s)
          held.push_back(store().snapshot(s % 2 == 0 ? Snapshot::Kind::kFull : Snapshot::Kind::kTransient));
        for (const Snapshot& snapshot : held) (void)look(snapshot);
      }
      --left;
    });
  }
  bodies.emplace_back([&, seed = random.bits()] {
    Random own(seed);
    while (left > 0) ok(store().put(key(own.below(20)), store::as_bytes(whole(own.bits(), 500))));
  });
  run(bodies);
  EXPECT_EQ(store().statistics().readers, 0U);
}

TEST_F(StoreConcurrencyTest, WithoutTheReaderTableSnapshotsWouldChange) {
  if (!store::kFaultsBuiltIn) GTEST_SKIP() << "fault IgnoreReaders is not built in (LRUFS_FAULTS)";
  close();
  options_.background = false;
  open();
  for (std::uint64_t i = 0; i < 30; ++i) put(key(i), whole(i, 9000));
  const store::FaultSwitch fault(store::Fault::kIgnoreReaders);
  const Snapshot snapshot = store().snapshot();
  const Tree before = value(dump_tree(snapshot.view()));
  for (std::uint64_t i = 0; i < 300; ++i) put(key(i % 30), whole(100 + i, 9000));
  const auto after = dump_tree(snapshot.view());
  EXPECT_FALSE(after && *after == before) << "the test of frozen content notices nothing";
}

// --- syncs are shared
// ------------------------------------------------------------------------------------------------

TEST_F(StoreConcurrencyTest, OneCheckpointForManyCallers) {
  constexpr std::uint64_t kCallers = 12;
  close();
  options_.background = false;
  auto ops = std::make_shared<PowerCutFileOps>();
  options_.file_ops = ops;
  open();
  const auto before = store().statistics();
  // The first sync ends when all have asked.
  std::atomic<bool> late{false};
  ops->set_hook([&](PowerCutFileOps::Moment moment) {
    if (moment != PowerCutFileOps::Moment::kDuringSyncAll || store_ == nullptr) return;
    const auto deadline = Clock::now() + kDeadline;
    while (store().statistics().sync_calls < before.sync_calls + kCallers && !late) {
      if (Clock::now() > deadline) late = true;
      std::this_thread::yield();
    }
  });
  std::barrier published(static_cast<std::ptrdiff_t>(kCallers));
  std::vector<std::function<void()>> bodies;
  for (std::uint64_t i = 0; i < kCallers; ++i) {
    bodies.emplace_back([&, i] {
      ok(store().put(key(i), store::as_bytes(whole(i, 100))));
      published.arrive_and_wait();
      ok(store().checkpoint());
    });
  }
  run(bodies);
  ops->set_hook(nullptr);
  EXPECT_FALSE(late);
  const auto after = store().statistics();
  EXPECT_EQ(after.sync_calls - before.sync_calls, kCallers);
  EXPECT_EQ(after.checkpoints - before.checkpoints, 1U);
  EXPECT_EQ(after.durable_txn, after.txn);
}

TEST_F(StoreConcurrencyTest, ManySyncsAreFewerCheckpoints) {
  const auto before = store().statistics();
  std::vector<std::function<void()>> bodies;
  for (std::uint64_t t = 0; t < 8; ++t) {
    bodies.emplace_back([&, t] {
      for (std::size_t i = 0; i < scaled(40); ++i) {
        ok(store().put(key(t), store::as_bytes(whole(i, 100))));
        ok(store().checkpoint());
      }
    });
  }
  run(bodies);
  const auto after = store().statistics();
  EXPECT_LT(after.checkpoints - before.checkpoints, after.sync_calls - before.sync_calls);
}

}  // namespace
}  // namespace lrufs::test
