// ctest: timeout=900
// SIGKILL: a child works on a store with several threads and notes each operation in shared memory before it
// begins and after it returned; the parent kills it at a random moment, and looks. 100 rounds (scaled).
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <iostream>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "store/check.h"
#include "store/faults.h"
#include "store/store.h"
#include "tests/support/random.h"
#include "tests/support/store_fixture.h"
#include "tests/support/store_ops.h"
#include "tests/support/temp_dir.h"

namespace lrufs::test {
namespace {

using store::Code;
using store::Fault;
using store::FaultSwitch;
using store::Options;
using store::Status;
using store::Store;
using store::Transaction;

constexpr std::size_t kThreads = 4;
constexpr std::uint32_t kKeys = 12;  // of each thread
constexpr std::size_t kOperations = 1U << 15U;

struct Operation {
  enum Kind : std::uint32_t { kPut, kErase, kRename, kPutTwo };
  Kind kind;
  std::uint32_t key;
  std::uint32_t other;  // kRename: the new name; kPutTwo: the second file
  std::uint32_t size;
  std::uint64_t id;    // of the content
  bool had_no_effect;  // it returned kNotFound
};

// What a thread did, in order. Written by the child, read by the parent when the child is dead.
struct Journal {
  std::atomic<std::uint32_t> begun{0};
  std::atomic<std::uint32_t> returned{0};
  std::array<Operation, kOperations> operations;
};
struct Shared {
  std::atomic<std::uint32_t> returned{0};  // by all threads
  std::atomic<std::uint32_t> failed{0};
  char failure[256];
  std::array<Journal, kThreads> journals;
};

std::string key_of(std::size_t thread, std::uint32_t key) {
  return "t" + std::to_string(thread) + "/k" + std::to_string(key);
}

std::uint32_t some_size(Random& random) {
  switch (random.below(8)) {
    case 0:
    case 1:
      return static_cast<std::uint32_t>(random.below(100));
    case 2:
    case 3:
      return static_cast<std::uint32_t>(random.below(1400));
    case 4:
    case 5:
    case 6:
      return static_cast<std::uint32_t>(random.below(5 * store::kPageSize));
    default:
      return static_cast<std::uint32_t>(Store::kStageThreshold + random.below(8 * store::kPageSize));
  }
}

Status put_two(Store& store, std::size_t thread, const Operation& op) {
  return store.update([&](Transaction& txn) -> Status {
    LRUFS_TRY_ASSIGN(const auto dir_entry, txn.view().lookup(store::kRootIno, "t" + std::to_string(thread)));
    LRUFS_TRY_ASSIGN(store::Inode dir, txn.view().inode(dir_entry.ino));
    for (const std::uint32_t key : {op.key, op.other}) {
      const std::string name = "k" + std::to_string(key);
      store::Inode inode;
      if (const auto entry = txn.view().lookup(dir.ino, name)) {
        LRUFS_TRY_ASSIGN(inode, txn.view().inode(entry->ino));
        LRUFS_TRY(txn.truncate(inode, 0));
      } else {
        store::Inode prototype;
        prototype.mode = 0100644;
        LRUFS_TRY_ASSIGN(inode, txn.create(prototype));
        LRUFS_TRY(txn.link(dir, name, inode));
      }
      LRUFS_TRY(txn.write(inode, 0, store::as_bytes(patterned(op.id, op.size))));
      LRUFS_TRY(txn.put_inode(inode));
    }
    return txn.put_inode(dir);
  });
}

void work(Store& store, Shared& shared, std::size_t thread, std::uint64_t seed) {
  Random random(seed);
  Journal& journal = shared.journals[thread];
  for (std::uint32_t i = 0; i < kOperations; ++i) {
    Operation& op = journal.operations[i];
    const std::uint64_t kind = random.below(10);
    op.kind = kind < 6   ? Operation::kPut
              : kind < 7 ? Operation::kErase
              : kind < 9 ? Operation::kRename
                         : Operation::kPutTwo;
    op.key = static_cast<std::uint32_t>(random.below(kKeys));
    op.other = static_cast<std::uint32_t>((op.key + random.between(1, kKeys - 1)) % kKeys);
    op.size = some_size(random);
    op.id = random.bits();
    journal.begun.store(i + 1, std::memory_order_release);
    Status done;
    switch (op.kind) {
      case Operation::kPut:
        done = store.put(key_of(thread, op.key), store::as_bytes(patterned(op.id, op.size)));
        break;
      case Operation::kErase:
        done = store.erase(key_of(thread, op.key));
        break;
      case Operation::kRename:
        done = store.update([&](Transaction& txn) {
          return rename_file(txn, key_of(thread, op.key), key_of(thread, op.other));
        });
        break;
      case Operation::kPutTwo:
        done = put_two(store, thread, op);
        break;
    }
    if (!done && done.error().code != Code::kNotFound && shared.failed.fetch_add(1) == 0)
      std::snprintf(shared.failure, sizeof shared.failure, "%s", store::describe(done.error()).c_str());
    op.had_no_effect = !done;
    journal.returned.store(i + 1, std::memory_order_release);
    shared.returned.fetch_add(1, std::memory_order_release);
  }
}

// The files of one thread: key → content's id and size.
using Model = std::map<std::uint32_t, std::pair<std::uint64_t, std::uint32_t>>;

void apply(Model& model, const Operation& op) {
  switch (op.kind) {
    case Operation::kPut:
      model[op.key] = {op.id, op.size};
      break;
    case Operation::kErase:
      model.erase(op.key);
      break;
    case Operation::kRename:
      if (const auto from = model.find(op.key); from != model.end()) {
        model[op.other] = from->second;
        model.erase(op.key);
      }
      break;
    case Operation::kPutTwo:
      model[op.key] = model[op.other] = {op.id, op.size};
      break;
  }
}

struct Setup {
  std::uint64_t bound = 64U << 20U;
  bool evicts = false;       // files may be missing
  bool checkpoints = false;  // in the background, all the time
};

class Kills {
 public:
  explicit Kills(const Setup& setup, std::uint64_t seed) : setup_(setup), random_(seed) {
    void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    shared_ = static_cast<Shared*>(memory);
  }
  ~Kills() { ::munmap(shared_, sizeof(Shared)); }
  Kills(const Kills&) = delete;
  Kills& operator=(const Kills&) = delete;

  // Empty if nothing is wrong.
  std::string round() {
    new (shared_) Shared;
    const std::uint64_t seed = random_.bits();
    const pid_t child = ::fork();
    if (child < 0) return "fork fails";
    if (child == 0) run_child(seed);  // does not return
    // From before the store is open up to some hundred operations.
    const std::uint32_t target = random_.chance(10) ? 0 : static_cast<std::uint32_t>(random_.skewed(2000));
    int status = 0;
    bool ended = false;
    while (shared_->returned.load(std::memory_order_acquire) < target && shared_->failed.load() == 0 &&
           !ended) {
      ended = ::waitpid(child, &status, WNOHANG) == child;
      ::sched_yield();
    }
    for (std::uint64_t spins = random_.skewed(200'000); spins > 0; --spins)
      std::atomic_signal_fence(std::memory_order_seq_cst);
    if (!ended) {
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
    }
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
      return "the child ended by itself, status " + std::to_string(status);
    if (shared_->failed.load() != 0) return std::string("an operation fails: ") + shared_->failure;
    operations_ += shared_->returned.load();
    return look();
  }

  [[nodiscard]] std::uint64_t operations() const { return operations_; }
  [[nodiscard]] std::uint64_t lost_unreturned() const { return not_done_; }
  [[nodiscard]] std::uint64_t done_unreturned() const { return done_; }

 private:
  [[nodiscard]] Options options() const {
    Options options;
    options.bound = setup_.bound;
    options.sync = setup_.checkpoints ? Options::Sync::kInterval : Options::Sync::kUnmount;
    options.sync_interval = std::chrono::milliseconds(3);
    return options;
  }

  [[noreturn]] void run_child(std::uint64_t seed) {
    auto opened = Store::open(path(), options());
    if (!opened) {
      std::snprintf(shared_->failure, sizeof shared_->failure, "open: %s",
                    store::describe(opened.error()).c_str());
      shared_->failed.store(1);
    } else {
      std::vector<std::thread> threads;
      for (std::size_t i = 0; i < kThreads; ++i)
        threads.emplace_back([&, i] { work(**opened, *shared_, i, seed + i); });
      for (std::thread& thread : threads) thread.join();
    }
    for (;;) ::pause();  // the journals are full: only the signal is missing
  }

  std::string path() const { return dir_.file("store"); }

  std::string check(const char* when) const {
    const auto report = store::check_file(path());
    if (!report) return std::string("no check ") + when + ": " + store::describe(report.error());
    if (!report->clean())
      return std::string("the check finds, ") + when + ": " + report->findings.front().message;
    return {};
  }

  std::string look() {
    if (!std::filesystem::exists(path()) || std::filesystem::file_size(path()) == 0)
      return {};  // killed in open
    if (!made_) {
      // A kill while the store is being made may leave a file that is not one yet: the next open makes it.
      auto opened = Store::open(path(), options());
      if (!opened) return "does not open: " + store::describe(opened.error());
      if (const Status closed = (*opened)->close(); !closed)
        return "does not close: " + store::describe(closed.error());
      made_ = true;
      if (shared_->returned.load() == 0) return {};
    }
    if (std::string wrong = check("before it is opened"); !wrong.empty()) return wrong;
    // Sometimes nobody but the next child opens it for writing.
    Options open_options = options();
    open_options.read_only = random_.chance(40);
    open_options.background = false;
    auto opened = Store::open(path(), open_options);
    if (!opened) return "does not open: " + store::describe(opened.error());
    if (std::string wrong = compare(**opened); !wrong.empty()) return wrong;
    const auto statistics = (*opened)->statistics();
    if (!setup_.checkpoints && shared_->returned.load() > 0 && statistics.opened_from != "live" &&
        live_expected_)
      return "opened from \"" + statistics.opened_from + "\"";
    live_expected_ = true;
    if (const Status closed = (*opened)->close(); !closed)
      return "does not close: " + store::describe(closed.error());
    opened->reset();
    return check("after it was closed");
  }

  std::string compare(Store& store) {
    for (std::size_t thread = 0; thread < kThreads; ++thread) {
      const Journal& journal = shared_->journals[thread];
      Model& model = models_[thread];
      const std::uint32_t returned = journal.returned.load();
      for (std::uint32_t i = 0; i < returned; ++i) {
        if (!journal.operations[i].had_no_effect) apply(model, journal.operations[i]);
      }
      std::string wrong = compare_one(store, thread, model);
      if (journal.begun.load() > returned) {
        // One operation was running: it happened as a whole, or not at all.
        const Operation& op = journal.operations[returned];
        Model after = model;
        apply(after, op);
        ++not_done_;
        if (!wrong.empty()) {
          const std::string wrong_after = compare_one(store, thread, after);
          if (!wrong_after.empty())
            return "without the running operation: " + wrong + "; with it (kind " + std::to_string(op.kind) +
                   ", keys " + std::to_string(op.key) + ", " + std::to_string(op.other) + "): " + wrong_after;
          model = after;
          wrong.clear();
          --not_done_;
          ++done_;
        }
      }
      if (!wrong.empty()) return wrong;
      if (setup_.evicts) {
        for (auto at = model.begin(); at != model.end();)
          at = store.resolve(key_of(thread, at->first)) ? std::next(at) : model.erase(at);
      }
    }
    return {};
  }

  std::string compare_one(Store& store, std::size_t thread, const Model& model) const {
    for (std::uint32_t key = 0; key < kKeys; ++key) {
      const std::string name = key_of(thread, key);
      const auto value = store.get(name);
      const auto expected = model.find(key);
      if (!value) {
        if (value.error().code != Code::kNotFound)
          return name + " cannot be read: " + store::describe(value.error());
        if (expected != model.end() && !setup_.evicts) return name + " is missing";
        continue;
      }
      if (expected == model.end()) return name + " is there, but must not be";
      if (*value != patterned(expected->second.first, expected->second.second))
        return name + " holds something else";
    }
    return {};
  }

  Setup setup_;
  Random random_;
  TempDir dir_;
  Shared* shared_ = nullptr;
  bool made_ = false;
  bool live_expected_ = false;
  std::array<Model, kThreads> models_;
  std::uint64_t operations_ = 0;
  std::uint64_t not_done_ = 0;
  std::uint64_t done_ = 0;
};

void run_rounds(const Setup& setup, std::size_t rounds) {
  Random random;
  SCOPED_TRACE(random.hint());
  Kills kills(setup, random.bits());
  for (std::size_t i = 0; i < rounds; ++i) ASSERT_EQ(kills.round(), "") << "round " << i;
  std::cout << random.hint() << ": " << rounds << " kills, " << kills.operations()
            << " operations; running when killed: " << kills.done_unreturned() << " had happened, "
            << kills.lost_unreturned() << " had not (or left no trace)\n";
}

TEST(SigkillTest, NothingThatReturnedIsMissing) { run_rounds({.bound = 64U << 20U}, scaled(40)); }
TEST(SigkillTest, BesideCheckpoints) { run_rounds({.bound = 64U << 20U, .checkpoints = true}, scaled(40)); }
TEST(SigkillTest, BesideEviction) {
  run_rounds({.bound = store::kMinBound, .evicts = true, .checkpoints = true}, scaled(40));
}

TEST(SigkillTest, AMissingPublishIsNoticed) {
  if (!store::kFaultsBuiltIn) GTEST_SKIP() << "fault SkipLiveMeta is not built in (LRUFS_FAULTS)";
  Random random;
  SCOPED_TRACE(random.hint());
  const FaultSwitch fault(Fault::kSkipLiveMeta);
  Kills kills({.bound = 64U << 20U}, random.bits());
  std::string wrong;
  for (int i = 0; i < 50 && wrong.empty(); ++i) wrong = kills.round();
  EXPECT_NE(wrong, "");
  std::cout << "SkipLiveMeta: noticed: " << wrong << "\n";
}

TEST(SigkillTest, AMissingChecksumIsNoticed) {
  if (!store::kFaultsBuiltIn) GTEST_SKIP() << "fault SkipSeal is not built in (LRUFS_FAULTS)";
  Random random;
  SCOPED_TRACE(random.hint());
  const FaultSwitch fault(Fault::kSkipSeal);
  Kills kills({.bound = 64U << 20U}, random.bits());
  std::string wrong;
  for (int i = 0; i < 50 && wrong.empty(); ++i) wrong = kills.round();
  EXPECT_NE(wrong, "");
  std::cout << "SkipSeal: noticed: " << wrong << "\n";
}

}  // namespace
}  // namespace lrufs::test
