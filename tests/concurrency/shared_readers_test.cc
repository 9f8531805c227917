// ctest: timeout=600
// Processes that read a store beside one that writes it (Options::shared). Each state they see must be one
// state, whatever is killed or stopped meanwhile. Readers are this program again, run by exec: see Reader.
// Beside them the same in one process, with two Store objects, for ThreadSanitizer.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "store/faults.h"
#include "tests/support/random.h"
#include "tests/support/store_fixture.h"
#include "tests/support/store_ops.h"
#include "tests/support/versioned_files.h"

extern char** environ;

namespace lrufs::test {
namespace {

using store::Code;
using store::Fault;
using store::FaultSwitch;
using store::Options;
using store::Store;
using Clock = std::chrono::steady_clock;

constexpr auto kDeadline = std::chrono::seconds(120);

std::size_t scaled(std::size_t count) {
  const char* scale = std::getenv("LRUFS_TEST_SCALE");
  return std::max<std::size_t>(
      1, static_cast<std::size_t>(static_cast<double>(count) * (scale != nullptr ? std::atof(scale) : 1.0)));
}

Options reading() {
  Options options;
  options.read_only = true;
  options.shared = true;
  options.create = false;
  options.bound_given = false;
  return options;
}

// Opens the store and verifies its state, several times over while the writer goes on. What is wrong, or "".
std::string read_once(const std::string& path, std::uint64_t& version) {
  auto opened = Store::open(path, reading());
  if (!opened) return "open: " + say(opened);
  const store::Snapshot state = (*opened)->snapshot();
  for (int i = 0; i < 3; ++i) {
    std::uint64_t seen = 0;
    if (std::string wrong = VersionedFiles::problem(state.view(), &seen); !wrong.empty())
      return wrong + " (state " + std::to_string(raw(state.id())) + " from " +
             (*opened)->statistics().opened_from + ", look " + std::to_string(i) + ")";
    if (i > 0 && seen != version) return "the version changes";
    version = seen;
    std::this_thread::yield();
  }
  return "";
}

// The program that reads. Says one byte on descriptor 3 for each state that was whole; ends with a message
// and status 3 if one was not. Not a test by itself: the tests below start it.
TEST(Reader, DISABLED_Run) {
  const char* path = std::getenv("LRUFS_READ_STORE");
  if (path == nullptr) return;
  std::uint64_t before = 0;
  for (;;) {
    std::uint64_t version = 0;
    std::string wrong = read_once(path, version);
    if (wrong.empty() && version < before) wrong = "an older state than before";
    before = version;
    if (!wrong.empty()) {
      std::fprintf(stderr, "reader %d: %s\n", ::getpid(), wrong.c_str());
      ::_exit(3);
    }
    if (::write(3, "+", 1) != 1) ::_exit(0);  // nobody listens any more
  }
}

class ReaderProcess {
 public:
  explicit ReaderProcess(const std::string& store) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
    told_ = ends[0];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 3);
    std::vector<std::string> words = {"reader", "--gtest_also_run_disabled_tests",
                                      "--gtest_filter=Reader.DISABLED_Run"};
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    std::string variable = "LRUFS_READ_STORE=" + store;
    std::vector<char*> environment = {variable.data()};
    for (char** each = environ; *each != nullptr; ++each) environment.push_back(*each);
    environment.push_back(nullptr);
    EXPECT_EQ(::posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, arguments.data(), environment.data()),
              0);
    posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
  }
  ReaderProcess(const ReaderProcess&) = delete;
  ReaderProcess& operator=(const ReaderProcess&) = delete;
  ~ReaderProcess() { (void)end(SIGKILL); }

  // States that it has verified since the last call.
  std::size_t states() const {
    std::array<char, 4096> bytes{};
    const ssize_t count = ::read(told_, bytes.data(), bytes.size());
    return count > 0 ? static_cast<std::size_t>(count) : 0;
  }
  void signal(int number) const { ::kill(pid_, number); }
  // Its exit status; 128 + the signal that ended it.
  int end(int number) {
    if (pid_ < 0) return 0;
    ::kill(pid_, number);
    ::kill(pid_, SIGCONT);
    ::close(told_);
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  [[nodiscard]] bool has_failed() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == pid_;
  }

 private:
  pid_t pid_ = -1;
  int told_ = -1;
};

class SharedReadersTest : public StoreTest {
 protected:
  void SetUp() override {
    options_.background = true;
    options_.sync_interval = std::chrono::milliseconds(10);
    options_.bound = 24U << 20U;
    open();
    ok(VersionedFiles::make(store()));
  }
  template <typename Condition>
  static bool wait_for(const Condition& condition) {
    const auto deadline = Clock::now() + kDeadline;
    while (!condition()) {
      if (Clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }
  // One more change; a store that is full of what readers see may refuse.
  void change() {
    const store::Status done = VersionedFiles::change(store(), ++version_, random_);
    if (!done) {
      EXPECT_EQ(code_of(done), "no_space") << say(done);
    }
  }

  std::uint64_t version_ = 0;
  Random random_{17};
};

TEST_F(SharedReadersTest, ReadersOfOtherProcessesSeeWholeStates) {
  std::vector<std::unique_ptr<ReaderProcess>> readers;
  for (int i = 0; i < 3; ++i) readers.push_back(std::make_unique<ReaderProcess>(path()));
  std::array<std::size_t, 3> seen{};
  const std::size_t wanted = scaled(60);
  ASSERT_TRUE(wait_for([&] {
    change();
    bool enough = true;
    for (std::size_t i = 0; i < readers.size(); ++i) {
      seen[i] += readers[i]->states();
      enough = enough && (seen[i] >= wanted || readers[i]->has_failed());
    }
    return enough;
  }));
  for (const auto& reader : readers) EXPECT_EQ(reader->end(SIGKILL), 128 + SIGKILL);
  std::cout << "versions " << version_ << ", states seen " << seen[0] << " " << seen[1] << " " << seen[2]
            << "\n";
}

TEST_F(SharedReadersTest, ReadersAreKilledAtAnyMoment) {
  for (std::size_t round = 0; round < scaled(25); ++round) {
    ReaderProcess reader(path());
    const std::size_t most = random_.below(4);
    std::size_t seen = 0;
    ASSERT_TRUE(wait_for([&] {
      change();
      seen += reader.states();
      return seen >= most || reader.has_failed();
    }));
    for (std::uint64_t i = random_.below(10); i > 0; --i) change();
    ASSERT_EQ(reader.end(SIGKILL), 128 + SIGKILL);
  }
  ASSERT_TRUE(wait_for([&] { return store().statistics().shared_readers == 0; }));
  change();
  ASSERT_TRUE(wait_for([&] {
    change();
    return store().statistics().pinned_bytes == 0;
  }));
}

TEST_F(SharedReadersTest, AStoppedReaderPinsWhatItSeesAndStopsNobody) {
  ReaderProcess reader(path());
  std::size_t seen = 0;
  // Stopped while it reads, not between two states.
  ASSERT_TRUE(wait_for([&] {
    change();
    reader.signal(SIGSTOP);
    if (store().statistics().shared_readers == 1 && store().statistics().oldest_reader_lag > 0) return true;
    reader.signal(SIGCONT);
    return reader.has_failed();
  }));
  ASSERT_FALSE(reader.has_failed());
  seen += reader.states();
  for (std::size_t i = 0; i < scaled(500); ++i) change();
  const store::Statistics now = store().statistics();
  EXPECT_EQ(now.shared_readers, 1U);
  EXPECT_GT(now.pinned_bytes, 0U);
  // No more than the state that it sees, and a little (limbo.h).
  EXPECT_LT(now.pinned_bytes, options_.bound / 2);
  reader.signal(SIGCONT);
  const std::size_t wanted = seen + 3;
  ASSERT_TRUE(wait_for([&] {
    change();
    seen += reader.states();
    return seen >= wanted || reader.has_failed();
  }));
  EXPECT_EQ(reader.end(SIGKILL), 128 + SIGKILL);
}

TEST_F(SharedReadersTest, TheWriterIsKilledAndTheStoreOpenedAgain) {
  close();
  ReaderProcess first(path());
  ReaderProcess second(path());
  std::size_t seen = 0;
  for (std::size_t round = 0; round < scaled(15); ++round) {
    const std::uint64_t begin = version_;
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    const pid_t writer = ::fork();
    ASSERT_GE(writer, 0);
    if (writer == 0) {
      Options options = options_;
      options.on_event = nullptr;
      auto opened = Store::open(path(), options);
      if (!opened) {
        std::fprintf(stderr, "writer: %s\n", say(opened).c_str());
        ::_exit(4);
      }
      Random random(begin);
      for (std::uint64_t version = begin + 1;; ++version) {
        const auto done = VersionedFiles::change(**opened, version, random);
        if (!done && done.error().code != Code::kNoSpace) ::_exit(5);
        if (::write(ends[1], "+", 1) != 1) ::_exit(6);
      }
    }
    ::close(ends[1]);
    const std::uint64_t most = 5 + random_.below(150);
    char byte = 0;
    while (version_ < begin + most && ::read(ends[0], &byte, 1) == 1) {
      ++version_;
      seen += first.states() + second.states();
    }
    ::kill(writer, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(writer, &status, 0), writer);
    ASSERT_TRUE(WIFSIGNALED(status)) << "writer: " << WEXITSTATUS(status);
    ::close(ends[0]);
    version_ += 1000;  // above what it may have published after its last word
    ASSERT_FALSE(first.has_failed());
    ASSERT_FALSE(second.has_failed());
  }
  EXPECT_EQ(first.end(SIGKILL), 128 + SIGKILL);
  EXPECT_EQ(second.end(SIGKILL), 128 + SIGKILL);
  std::cout << "states seen " << seen << "\n";
  EXPECT_GT(seen, 0U);
  open();
  EXPECT_EQ(VersionedFiles::problem(store().snapshot().view()), "");
}

// Two Store objects, threads of one process.
TEST_F(SharedReadersTest, TwoOpensInOneProcess) {
  std::atomic<bool> stop{false};
  std::atomic<std::size_t> seen{0};
  std::atomic<std::size_t> failed{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      std::uint64_t before = 0;
      while (!stop) {
        std::uint64_t version = 0;
        const std::string wrong = read_once(path(), version);
        EXPECT_EQ(wrong, "");
        EXPECT_GE(version, before);
        if (!wrong.empty()) ++failed;
        before = version;
        ++seen;
      }
    });
  }
  EXPECT_TRUE(wait_for([&] {
    change();
    return failed > 0 || seen >= scaled(100);
  }));
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

TEST_F(SharedReadersTest, AWriterThatIgnoresTheTableIsNoticed) {
  if (!store::kFaultsBuiltIn) GTEST_SKIP() << "no fault switches";
  const FaultSwitch fault(Fault::kIgnoreSharedReaders);
  ReaderProcess reader(path());
  EXPECT_TRUE(wait_for([&] {
    for (int i = 0; i < 20; ++i) change();
    (void)reader.states();
    return reader.has_failed();
  }));
  EXPECT_EQ(reader.end(SIGKILL), 3);
}

}  // namespace
}  // namespace lrufs::test
