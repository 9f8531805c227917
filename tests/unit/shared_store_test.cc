// Options::shared: a store that somebody else has open and writes, within one process: two opens of one file
// are two parties to its locks. tests/concurrency/shared_readers_test.cc does the same with processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "store/check.h"
#include "store/faults.h"
#include "store/shared_readers.h"
#include "tests/support/forwarding_file_ops.h"
#include "tests/support/random.h"
#include "tests/support/store_fixture.h"
#include "tests/support/store_ops.h"
#include "tests/support/versioned_files.h"

namespace lrufs::test {
namespace {

using store::Code;
using store::Fault;
using store::FaultSwitch;
using store::kPageSize;
using store::Options;
using store::SharedPage;
using store::SharedReader;
using store::SharedReaders;
using store::SharedSlot;
using store::Store;
using store::TxnId;
using ::testing::Contains;
using ::testing::HasSubstr;

using StorePtr = std::unique_ptr<Store>;

class SharedStoreTest : public StoreTest {
 protected:
  store::Result<StorePtr> try_share(bool from_checkpoint = false,
                                    std::shared_ptr<store::FileOps> ops = nullptr) const {
    Options options;
    options.read_only = true;
    options.shared = true;
    options.create = false;
    options.bound_given = false;
    options.from_checkpoint = from_checkpoint;
    options.file_ops = std::move(ops);
    return Store::open(path(), options);
  }
  StorePtr share(bool from_checkpoint = false) { return value(try_share(from_checkpoint)); }
  static Tree tree(Store& store) { return value(dump_tree(store.snapshot().view())); }
  void churn(int transactions, std::uint64_t seed = 1) {
    Random random(seed);
    for (int i = 0; i < transactions; ++i) {
      ok(VersionedFiles::change(store(), ++version_, random));
      if (random.below(20) == 0) ok(store().checkpoint());
    }
  }
  void fill() {
    ok(VersionedFiles::make(store()));
    churn(60);
  }
  // A process that has the store open shared until it is killed; slot and lock are its own.
  pid_t reader_process() {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
      const auto opened = try_share();
      const char answer = opened ? 'y' : 'n';
      if (::write(ready[1], &answer, 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    char answer = 0;
    EXPECT_EQ(::read(ready[0], &answer, 1), 1);
    EXPECT_EQ(answer, 'y');
    ::close(ready[0]);
    ::close(ready[1]);
    return pid;
  }
  static void kill(pid_t pid) {
    ::kill(pid, SIGKILL);
    ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);
  }

  std::uint64_t version_ = 0;
};

TEST_F(SharedStoreTest, AReaderBesideAWriterSeesOneState) {
  fill();
  const Tree before = tree(store());
  const StorePtr reader = share();
  EXPECT_EQ(reader->statistics().opened_from, "shared");
  EXPECT_TRUE(reader->read_only());
  EXPECT_EQ(difference(before, tree(*reader)), "");
  EXPECT_EQ(store().statistics().shared_readers, 1U);
  EXPECT_EQ(reader->statistics().files, store().statistics().files);
  churn(400, 2);
  EXPECT_EQ(difference(before, tree(*reader)), "");
  EXPECT_EQ(value(reader->get("inline")).substr(8), VersionedFiles::content(60, 0).substr(8));
  EXPECT_EQ(code_of(reader->put("x", {})), "read_only");
  EXPECT_GT(store().statistics().pinned_bytes, 0U);
  const StorePtr later = share();
  EXPECT_EQ(difference(tree(store()), tree(*later)), "");
  EXPECT_EQ(store().statistics().shared_readers, 2U);
  ok(reader->close());
  ok(later->close());
  churn(1, 3);
  EXPECT_EQ(store().statistics().shared_readers, 0U);
  EXPECT_EQ(store().statistics().pinned_bytes, 0U);
}

TEST_F(SharedStoreTest, TheFirstStateOfASessionCanBeRead) {
  fill();
  const Tree before = tree(store());
  reopen();  // no live meta is there
  const StorePtr reader = share();
  EXPECT_EQ(reader->statistics().opened_from, "shared");
  EXPECT_EQ(difference(before, tree(*reader)), "");
}

TEST_F(SharedStoreTest, AStateCanBeChecked) {
  fill();
  const auto options = store::CheckOptions{.shared = true};
  const auto now = value(store::check_file(path(), options));
  EXPECT_TRUE(now.clean());
  EXPECT_EQ(now.files, store().statistics().files);
  EXPECT_EQ(code_of(store::check_file(path())), "busy");
}

TEST_F(SharedStoreTest, AWriterThatComesLaterHeedsWhoReads) {
  fill();
  close();
  const Tree before = [&] {
    open();
    Tree now = tree(store());
    close();
    return now;
  }();
  {
    const StorePtr reader = share();
    EXPECT_EQ(difference(before, tree(*reader)), "");
    open();
    EXPECT_EQ(store().statistics().shared_readers, 1U);
    EXPECT_THAT(events_, Contains(HasSubstr("still read the store as it was before")));
    churn(300, 4);
    EXPECT_EQ(difference(before, tree(*reader)), "");
    // A second one, that reads what this one has left.
    const StorePtr second = share();
    const Tree between = tree(store());
    close();
    EXPECT_EQ(difference(between, tree(*second)), "");
    open();
    churn(300, 5);
    EXPECT_EQ(difference(before, tree(*reader)), "");
    EXPECT_EQ(difference(between, tree(*second)), "");
    close();
    EXPECT_EQ(difference(before, tree(*reader)), "");
  }
}

TEST_F(SharedStoreTest, TheLastCheckpointOfAClosedStoreStays) {
  fill();
  ok(store().checkpoint());
  const Tree durable = tree(store());
  churn(50, 6);
  // The writer dies: what it has published stays in the page cache.
  const std::string copy = dir_.file("copy");
  std::filesystem::copy(path(), copy);
  close();
  std::filesystem::rename(copy, path());
  const StorePtr reader = share(true);
  const Tree before = tree(*reader);
  open();
  churn(400, 7);
  EXPECT_EQ(difference(before, tree(*reader)), "");
}

TEST_F(SharedStoreTest, TheLastCheckpointIsNotReadBesideAWriter) {
  fill();
  const auto refused = try_share(true);
  EXPECT_EQ(code_of(refused), "busy");
  EXPECT_THAT(say(refused), HasSubstr("unmount it first"));
}

TEST_F(SharedStoreTest, WhoReadsDoesNotKeepAWriterOut) {
  fill();
  close();
  const StorePtr reader = share();
  open();
  churn(3, 8);
  close();
  open();
}

TEST_F(SharedStoreTest, AFileWithReadersIsNotCut) {
  fill();
  put("big", std::string(12U << 20U, 'b'));
  ok(store().erase("big"));
  ok(store().checkpoint());
  ok(store().checkpoint());
  const Tree before = tree(store());
  close();
  const auto size = std::filesystem::file_size(path());
  {
    const StorePtr reader = share();
    // The smallest bound that holds what there is.
    for (options_.bound = 5U << 20U; store_ == nullptr; options_.bound += 64U << 10U) {
      auto opened = Store::open(path(), options_);
      if (opened) {
        store_ = *std::move(opened);
        break;
      }
      ASSERT_EQ(code_of(opened), "bound_too_small");
    }
    ASSERT_LT(options_.bound, size);
    EXPECT_EQ(std::filesystem::file_size(path()), size);
    EXPECT_LE(store().statistics().file_bytes, options_.bound);
    EXPECT_EQ(difference(before, tree(*reader)), "");
    close();
    EXPECT_EQ(std::filesystem::file_size(path()), size);
    EXPECT_EQ(difference(before, tree(*reader)), "");
  }
  open();
  EXPECT_LE(std::filesystem::file_size(path()), options_.bound);
}

TEST_F(SharedStoreTest, TheSlotOfADeadReaderIsCleared) {
  fill();
  const pid_t pid = reader_process();
  EXPECT_EQ(store().statistics().shared_readers, 1U);
  churn(50, 10);
  EXPECT_GT(store().statistics().pinned_bytes, 0U);
  EXPECT_EQ(store().statistics().shared_readers, 1U);
  kill(pid);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (store().statistics().shared_readers != 0 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  EXPECT_EQ(store().statistics().shared_readers, 0U);
  EXPECT_THAT(events_, Contains(HasSubstr("process " + std::to_string(pid) + " died while it read")));
  churn(1, 11);
  EXPECT_EQ(store().statistics().pinned_bytes, 0U);
}

TEST_F(SharedStoreTest, SlotsInACopyMeanNothing) {
  fill();
  const StorePtr reader = share();
  ok(store().checkpoint());
  const std::string copy = dir_.file("copy");
  std::filesystem::copy(path(), copy);
  Options options = options_;
  const StorePtr opened = value(Store::open(copy, options));
  EXPECT_EQ(opened->statistics().shared_readers, 0U);
  ok(opened->put("new", store::as_bytes("text")));
  EXPECT_EQ(opened->statistics().pinned_bytes, 0U);
  ok(opened->close());
  EXPECT_EQ(check(copy), "");
}

TEST_F(SharedStoreTest, AnOrderlyCloseLeavesNothingOfIt) {
  fill();
  { const StorePtr reader = share(); }
  close();
  std::vector<char> pages(12 * kPageSize);
  FILE* file = std::fopen(path().c_str(), "rb");
  ASSERT_EQ(std::fseek(file, 4 * kPageSize, SEEK_SET), 0);
  ASSERT_EQ(std::fread(pages.data(), 1, pages.size(), file), pages.size());
  std::fclose(file);
  EXPECT_TRUE(std::all_of(pages.begin(), pages.end(), [](char c) { return c == 0; }));
}

TEST_F(SharedStoreTest, SixtyThreeMayRead) {
  fill();
  std::vector<StorePtr> readers;
  while (readers.size() < store::kSharedSlots) readers.push_back(share());
  const auto refused = try_share();
  EXPECT_EQ(code_of(refused), "busy");
  EXPECT_THAT(say(refused), HasSubstr("63 processes read the store already"));
  readers.pop_back();
  EXPECT_EQ(say(try_share()), "ok");
}

// A file that may be read only.
class OnlyForReading : public ForwardingFileOps {
 public:
  store::Result<int> open(const std::string& path, bool create, bool read_only) override {
    if (!read_only) return store::fail(Code::kNotPermitted, "open: Permission denied", EACCES);
    return ForwardingFileOps::open(path, create, read_only);
  }
};

TEST_F(SharedStoreTest, WhoMayNotWriteReadsClosedStoresOnly) {
  fill();
  const Tree before = tree(store());
  const auto refused = try_share(false, std::make_shared<OnlyForReading>());
  EXPECT_EQ(code_of(refused), "not_permitted");
  EXPECT_THAT(say(refused), HasSubstr("you may not write to it"));
  close();
  const StorePtr reader = value(try_share(false, std::make_shared<OnlyForReading>()));
  EXPECT_EQ(difference(before, tree(*reader)), "");
  EXPECT_EQ(code_of(Store::open(path(), options_)), "busy");  // it holds the lock, since it has no slot
}

TEST_F(SharedStoreTest, AFileThatGrowsAfterTheOpening) {
  fill();
  const StorePtr reader = share();
  const Tree before = tree(*reader);
  const auto size = store().statistics().file_bytes;
  while (store().statistics().file_bytes == size) churn(20, version_);
  EXPECT_EQ(difference(before, tree(*reader)), "");
  EXPECT_EQ(difference(tree(store()), tree(*share())), "");
}

// --- the protocol alone

class SharedTableTest : public SharedStoreTest {
 protected:
  void SetUp() override {
    open();
    close();
    check_at_end_ = false;
    writer_fd_ = value(ops_->open(path(), false, false));
    reader_fd_ = value(ops_->open(path(), false, false));
    map_ = value(ops_->map_shared(writer_fd_, store::kReaderTablePage * kPageSize, kPageSize, true));
    page_ = reinterpret_cast<SharedPage*>(map_);
    writer_ = std::make_unique<SharedReaders>(map_, *ops_, writer_fd_);
  }
  void TearDown() override {
    ops_->unmap(map_, kPageSize);
    ops_->close(writer_fd_);
    ops_->close(reader_fd_);
    StoreTest::TearDown();
  }
  std::shared_ptr<store::FileOps> ops_ = store::posix_file_ops();
  int writer_fd_ = -1;
  int reader_fd_ = -1;
  std::byte* map_ = nullptr;
  SharedPage* page_ = nullptr;
  std::unique_ptr<SharedReaders> writer_;
};

TEST_F(SharedTableTest, WithoutAWriterThereIsNoLatestState) {
  const auto reader = value(SharedReader::claim(*ops_, reader_fd_));
  EXPECT_EQ(code_of(reader->announce_latest()), "stale");
  ok(writer_->begin_session(77, TxnId{5}));
  EXPECT_EQ(raw(value(reader->announce_latest())), 5U);
  writer_->end_session();
  EXPECT_EQ(code_of(reader->announce_latest()), "stale");
}

TEST_F(SharedTableTest, TheWriterSeesReaders) {
  ok(writer_->begin_session(77, TxnId{5}));
  EXPECT_FALSE(writer_->any());
  EXPECT_EQ(writer_->oldest_after(0, 9), 9U);
  {
    const auto reader = value(SharedReader::claim(*ops_, reader_fd_));
    EXPECT_TRUE(writer_->has_claims());
    EXPECT_FALSE(writer_->any());  // it does not read yet
    EXPECT_FALSE(writer_->begin_overwriting());
    EXPECT_EQ(raw(value(reader->announce_latest())), 5U);
    EXPECT_TRUE(writer_->any());
    writer_->publish(TxnId{6});
    EXPECT_EQ(writer_->oldest_after(0, 6), 5U);
    EXPECT_EQ(writer_->oldest_after(5, 6), 6U);
    writer_->clear_dead([](std::uint64_t) { ADD_FAILURE() << "it is alive"; });
    EXPECT_EQ(writer_->count(), 1U);
  }
  EXPECT_FALSE(writer_->has_claims());
  EXPECT_TRUE(writer_->begin_overwriting());
}

TEST_F(SharedTableTest, AWriterThatDiesWhileItIsAloneKeepsNobodyWaiting) {
  for (std::atomic<std::uint64_t>* word : {&page_->excluded, &page_->overwriting}) {
    ok(writer_->begin_session(77, TxnId{5}));
    word->store(1);
    const auto reader = value(SharedReader::claim(*ops_, reader_fd_));
    std::atomic<bool> done{false};
    std::string answer;
    std::thread waiting([&] {
      answer = code_of(reader->announce_latest());
      done = true;
    });
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();
    EXPECT_FALSE(done);
    ops_->unlock_byte(writer_fd_, 0);  // as the kernel does when it dies
    waiting.join();
    EXPECT_EQ(answer, "stale");
  }
}

TEST_F(SharedTableTest, WhoComesWhileTheWriterIsAloneGetsTheNextState) {
  ok(writer_->begin_session(77, TxnId{5}));
  writer_->exclude();
  std::atomic<std::uint64_t> seen{0};
  std::thread waiting([&] {
    const auto reader = value(SharedReader::claim(*ops_, reader_fd_));
    seen = raw(value(reader->announce_latest()));
  });
  while (page_->slots[0].txn.load() != SharedSlot::kWaiting) std::this_thread::yield();
  EXPECT_FALSE(writer_->any());
  EXPECT_EQ(seen, 0U);
  writer_->publish(TxnId{6});
  writer_->admit();
  waiting.join();
  EXPECT_EQ(seen, 6U);
}

// The announcement may be heeded by nobody if the writer changes meanwhile.
TEST_F(SharedTableTest, AnotherWriterIsNoticed) {
  ok(writer_->begin_session(77, TxnId{5}));
  writer_->exclude();
  const auto reader = value(SharedReader::claim(*ops_, reader_fd_));
  std::string answer;
  std::thread waiting([&] { answer = code_of(reader->announce_latest()); });
  while (page_->slots[0].txn.load() != SharedSlot::kWaiting) std::this_thread::yield();
  for (int i = 0; i < 100; ++i) std::this_thread::yield();
  ok(writer_->begin_session(99, TxnId{8}));
  waiting.join();
  // It was in the middle, or had not begun yet.
  EXPECT_THAT(answer, ::testing::AnyOf("stale", "ok"));
  EXPECT_EQ(raw(value(reader->announce_latest())), 8U);
}

// Whoever had to look again has its slot, and the lock that says that it lives.
TEST_F(SharedTableTest, WhoWaitsForAWriterToOpenKeepsASlot) {
  ok(ops_->lock(writer_fd_, true));  // and nothing else yet
  StorePtr reader;
  std::thread waiting([&] { reader = share(); });
  while (page_->claimed.load() == 0) std::this_thread::yield();
  // It looks each millisecond.
  const auto soon = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
  while (std::chrono::steady_clock::now() < soon) std::this_thread::yield();
  ops_->unlock(writer_fd_);
  waiting.join();
  ASSERT_NE(reader, nullptr);
  writer_->clear_dead([](std::uint64_t) { ADD_FAILURE() << "it is alive"; });
  EXPECT_EQ(writer_->count(), 1U);
  ok(reader->close());
  EXPECT_EQ(writer_->count(), 0U);
}

TEST_F(SharedTableTest, GarbageInTheTableIsCleared) {
  std::memset(map_, 0xFF, kPageSize);
  writer_->clear_dead(nullptr);
  EXPECT_FALSE(writer_->has_claims());
  ok(writer_->begin_session(77, TxnId{5}));
  EXPECT_EQ(writer_->oldest_after(0, 5), 5U);
  EXPECT_TRUE(writer_->begin_overwriting());
}

// --- what the tests above and the processes' would see if the table were ignored

TEST_F(SharedStoreTest, AWriterThatIgnoresTheTableIsNoticed) {
  if (!store::kFaultsBuiltIn) GTEST_SKIP() << "no fault switches";
  fill();
  const FaultSwitch fault(Fault::kIgnoreSharedReaders);
  const StorePtr reader = share();
  const store::Snapshot state = reader->snapshot();
  ASSERT_EQ(VersionedFiles::problem(state.view()), "");
  churn(400, 12);
  EXPECT_NE(VersionedFiles::problem(state.view()), "");
}

}  // namespace
}  // namespace lrufs::test
