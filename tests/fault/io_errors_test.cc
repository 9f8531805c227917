// Calls of the operating system that fail: each is an error to the caller, loses no older file, leaks
// nothing, and is never followed by a success that is not true.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "store/check.h"
#include "store/meta.h"
#include "store/store.h"
#include "tests/support/forwarding_file_ops.h"
#include "tests/support/power_cut_file_ops.h"
#include "tests/support/random.h"
#include "tests/support/store_fixture.h"
#include "tests/support/store_ops.h"

namespace lrufs::test {
namespace {

using store::Code;
using store::FileIdentity;
using store::FileOps;
using store::kPageSize;
using store::Options;
using store::Result;
using store::Status;
using store::Store;
using ::testing::HasSubstr;

// Fails where it is told to; counts what must be given back.
class FailingFileOps final : public ForwardingFileOps {
 public:
  explicit FailingFileOps(std::shared_ptr<FileOps> under = store::posix_file_ops())
      : ForwardingFileOps(std::move(under)) {}

  // How often the call fails from now on; -1: always.
  struct Times {
    std::atomic<int> left{0};
    bool fails() {
      const int now = left.load();
      if (now == 0) return false;
      if (now > 0) --left;
      return true;
    }
  };
  Times open_fails, identify_fails, lock_fails, map_fails, truncate_fails, write_fails, read_fails,
      sync_all_fails, sync_range_fails, sync_parent_fails;
  std::atomic<std::uint64_t> disk_size{~0ULL};  // growth beyond it fails with ENOSPC
  std::function<void()> before_sync_range;
  std::atomic<int> open_files{0};
  std::atomic<int> maps{0};

  Result<int> open(const std::string& path, bool create, bool read_only) override {
    if (open_fails.fails()) return error("open", EMFILE);
    auto fd = under_->open(path, create, read_only);
    if (fd) ++open_files;
    return fd;
  }
  void close(int fd) override {
    --open_files;
    under_->close(fd);
  }
  Result<FileIdentity> identify(int fd) override {
    if (identify_fails.fails()) return error("fstat", EIO);
    return under_->identify(fd);
  }
  Status lock(int fd, bool exclusive) override {
    if (lock_fails.fails()) return store::fail(Code::kBusy, "the store is in use by another process", EAGAIN);
    return under_->lock(fd, exclusive);
  }
  Result<std::byte*> map(int fd, std::uint64_t bytes, bool writable) override {
    if (map_fails.fails()) return error("mmap", ENOMEM);
    auto base = under_->map(fd, bytes, writable);
    if (base) ++maps;
    return base;
  }
  void unmap(std::byte* base, std::uint64_t bytes) override {
    --maps;
    under_->unmap(base, bytes);
  }
  Status grow(int fd, std::uint64_t old_size, std::uint64_t new_size) override {
    if (new_size > disk_size) return error("fallocate", ENOSPC);
    return under_->grow(fd, old_size, new_size);
  }
  Status truncate(int fd, std::uint64_t size) override {
    if (truncate_fails.fails()) return error("ftruncate", EIO);
    return under_->truncate(fd, size);
  }
  Status write(int fd, std::uint64_t offset, store::Bytes data) override {
    if (write_fails.fails()) {
      // Some of it arrived.
      (void)under_->write(fd, offset, data.first(data.size() / 2));
      return error("pwrite", EIO);
    }
    return under_->write(fd, offset, data);
  }
  Status read(int fd, std::uint64_t offset, store::MutableBytes out) override {
    if (read_fails.fails()) return error("pread", EIO);
    return under_->read(fd, offset, out);
  }
  Status sync_all(int fd, std::byte* base, std::uint64_t bytes) override {
    if (sync_all_fails.fails()) return error("fdatasync", EIO);
    return under_->sync_all(fd, base, bytes);
  }
  Status sync_range(int fd, std::byte* base, std::uint64_t offset, std::uint64_t length) override {
    if (before_sync_range) before_sync_range();
    if (sync_range_fails.fails()) {
      (void)under_->sync_range(fd, base, offset, length);  // the worst case: it failed, but the bytes arrived
      return error("msync", EIO);
    }
    return under_->sync_range(fd, base, offset, length);
  }
  Status sync_parent(const std::string& path) override {
    if (sync_parent_fails.fails()) return error("fsync", EIO);
    return under_->sync_parent(path);
  }

 private:
  static tl::unexpected<store::Error> error(const char* call, int number) {
    return store::fail(number == ENOSPC ? Code::kNoSpace : Code::kIo, std::string(call) + ": injected",
                       number);
  }
};

class IoErrorsTest : public StoreTest {
 protected:
  void SetUp() override {
    options_.file_ops = ops_;
    options_.on_event = [this](Options::Severity severity, const std::string& text) {
      const std::lock_guard lock(told_mutex_);
      told_.emplace_back(severity, text);
    };
    open();
  }
  void TearDown() override {
    StoreTest::TearDown();
    EXPECT_EQ(ops_->open_files, 0) << "a descriptor leaks";
    EXPECT_EQ(ops_->maps, 0) << "a mapping leaks";
  }
  // Closes a store that is expected to complain.
  void close_failed() {
    const Status closed = store_->close();
    EXPECT_EQ(code_of(closed), "io");
    store_.reset();
  }
  std::string failed_open() {
    auto opened = Store::open(path(), options_);
    EXPECT_FALSE(opened);
    return opened ? "ok" : say(opened);
  }
  std::string bytes() const {
    std::ifstream file(path(), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  Tree tree() { return value(dump_tree(store().snapshot().view())); }
  std::size_t told(Options::Severity severity) {
    const std::lock_guard lock(told_mutex_);
    std::size_t count = 0;
    for (const auto& one : told_) count += one.first == severity ? 1 : 0;
    return count;
  }

  std::shared_ptr<FailingFileOps> ops_ = std::make_shared<FailingFileOps>();
  std::mutex told_mutex_;
  std::vector<std::pair<Options::Severity, std::string>> told_;
};

// --- the disk is full
// ------------------------------------------------------------------------------------------------

TEST_F(IoErrorsTest, AFullDiskMakesOlderFilesGo) {
  ops_->disk_size = 3U << 20U;
  const std::string text = patterned(1, 16'000);
  for (int i = 0; i < 600; ++i) put("d/f" + std::to_string(i), text);
  const auto statistics = store().statistics();
  EXPECT_LE(statistics.file_bytes, 3U << 20U);
  EXPECT_LE(std::filesystem::file_size(path()), 3U << 20U);
  EXPECT_GT(statistics.evicted_objects, 0U);
  EXPECT_FALSE(store().read_only());
  EXPECT_EQ(told(Options::Severity::kWarning), 1U) << "told once, not at each write";
  EXPECT_EQ(get("d/f599"), text);
  EXPECT_EQ(get("d/f590"), text);
  EXPECT_EQ(code_of(store().get("d/f0")), "not_found");
  // One file alone that is larger than what there is room for.
  EXPECT_EQ(code_of(store().put("d/large", store::as_bytes(patterned(2, 5U << 20U)))), "no_space");
  put("d/after", text);
  EXPECT_EQ(get("d/after"), text);
  reopen();
  EXPECT_EQ(get("d/after"), text);
}

TEST_F(IoErrorsTest, AFullDiskWithBackgroundThreads) {
  close();
  options_.background = true;
  options_.sync_interval = std::chrono::milliseconds(2);
  ops_->disk_size = 3U << 20U;
  open();
  const std::string text = patterned(1, 16'000);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 150; ++i)
        ok(store().put("d/f" + std::to_string(t) + "." + std::to_string(i), store::as_bytes(text)));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(store().statistics().evicted_objects, 0U);
  EXPECT_LE(std::filesystem::file_size(path()), 3U << 20U);
}

// --- syncs that fail
// -------------------------------------------------------------------------------------------------

TEST_F(IoErrorsTest, AFailedSyncIsNeverASuccessLater) {
  put("d/old", "old");
  ok(store().checkpoint());
  const Tree durable = tree();
  put("d/new", "new");
  put("d/old", "changed");
  ops_->sync_all_fails.left = 1;  // once: the kernel tells only once
  const Status failed = store().checkpoint();
  EXPECT_EQ(code_of(failed), "io");
  EXPECT_THAT(say(failed), HasSubstr("injected"));

  // Read-only, and it says why; what was published is still served.
  EXPECT_TRUE(store().read_only());
  EXPECT_THAT(store().failure(), HasSubstr("injected"));
  EXPECT_EQ(told(Options::Severity::kError), 1U);
  EXPECT_EQ(store().statistics().checkpoint_failures, 1U);
  EXPECT_EQ(get("d/new"), "new");
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(code_of(store().checkpoint()), "io") << "the disk works again, but it is too late";
  EXPECT_EQ(code_of(store().put("d/x", store::as_bytes("x"))), "read_only");
  EXPECT_EQ(code_of(store().put("d/x", store::as_bytes(patterned(1, 200'000)))), "read_only");
  EXPECT_EQ(code_of(store().erase("d/old")), "read_only");
  EXPECT_EQ(code_of(store().evict(1)), "read_only");
  EXPECT_EQ(store().statistics().checkpoints, 2U) << "of the making, and ours";

  // The dirty pages may be gone although the page cache still shows them: it is not believed.
  close_failed();
  EXPECT_EQ(check(), "");
  open();
  EXPECT_EQ(store().statistics().opened_from, "checkpoint");
  EXPECT_EQ(difference(durable, tree()), "");
  put("d/new", "again");
  ok(store().checkpoint());
}

TEST_F(IoErrorsTest, AFailedSyncOfTheMetaIsNeverASuccessLater) {
  put("d/old", "old");
  ok(store().checkpoint());
  const Tree durable = tree();
  put("d/new", "new");
  ops_->sync_range_fails.left = 1;
  EXPECT_EQ(code_of(store().checkpoint()), "io");
  EXPECT_TRUE(store().read_only());
  EXPECT_EQ(code_of(store().checkpoint()), "io");
  close_failed();
  open();
  EXPECT_EQ(store().statistics().opened_from, "checkpoint");
  EXPECT_EQ(difference(durable, tree()), "");
}

// The meta whose sync failed may be on the disk all the same: then its pages must still be there after a
// power cut.
TEST_F(IoErrorsTest, AFailedMetaThatArrivedIsWhole) {
  close();
  auto cut = std::make_shared<PowerCutFileOps>();
  ops_ = std::make_shared<FailingFileOps>(cut);
  options_.file_ops = ops_;
  open();
  const std::string a = patterned(1, 300'000);
  const std::string b = patterned(2, 300'000);
  put("d/a", a);
  bool changed = false;
  ops_->before_sync_range = [&] {
    if (std::exchange(changed, true)) return;
    // Beside the checkpoint the file is replaced: its pages belong to the state that becomes durable only.
    put("d/a", b);
  };
  ops_->sync_range_fails.left = 1;
  EXPECT_EQ(code_of(store().checkpoint()), "io");
  ops_->before_sync_range = nullptr;
  const std::string image = dir_.file("image");
  for (std::uint64_t i = 0; i < 40; ++i) {
    // Writers are at work still.
    EXPECT_FALSE(store().stage(0, store::as_bytes(patterned(100 + i, 300'000))));
    (void)store().put("d/b", store::as_bytes(patterned(100 + i, 300'000)));
    const std::string plan = cut->make_image(i, image);
    ASSERT_EQ(check(image), "") << plan;
    Options options;
    options.background = false;
    options.bound_given = false;
    auto opened = Store::open(image, options);
    ASSERT_TRUE(opened) << say(opened) << plan;
    const auto found = (*opened)->get("d/a");
    if (found) {
      EXPECT_TRUE(*found == a) << plan;
    } else {
      EXPECT_EQ(code_of(found), "not_found");
    }
  }
  close_failed();
  // Opened again in the same boot, the older state goes on; what a power cut leaves is one of the two, whole.
  open();
  for (std::uint64_t i = 0; i < 40; ++i) {
    put("d/c", patterned(200 + i, 300'000));
    const std::string plan = cut->make_image(i, image);
    ASSERT_EQ(check(image), "") << plan;
    Options options;
    options.background = false;
    options.bound_given = false;
    auto opened = Store::open(image, options);
    ASSERT_TRUE(opened) << say(opened) << plan;
    const auto found = (*opened)->get("d/a");
    if (found) {
      EXPECT_TRUE(*found == a) << plan;
    }
  }
}

TEST_F(IoErrorsTest, AFailedSyncInTheBackgroundIsTold) {
  close();
  options_.background = true;
  options_.sync_interval = std::chrono::milliseconds(1);
  std::promise<void> told_error;
  options_.on_event = [&, done = false](Options::Severity severity, const std::string&) mutable {
    if (severity == Options::Severity::kError && !std::exchange(done, true)) told_error.set_value();
  };
  open();
  ops_->sync_all_fails.left = 1;
  put("d/a", "a");
  auto future = told_error.get_future();
  ASSERT_EQ(future.wait_for(std::chrono::seconds(60)), std::future_status::ready);
  EXPECT_TRUE(store().read_only());
  EXPECT_EQ(code_of(store().checkpoint()), "io");
  close_failed();
}

TEST_F(IoErrorsTest, AFailedSyncFailsUpdatesThatWaitForIt) {
  close();
  options_.sync = Options::Sync::kAlways;
  open();
  put("d/a", "a");
  ops_->sync_all_fails.left = 1;
  EXPECT_EQ(code_of(store().put("d/b", store::as_bytes("b"))), "io");
  EXPECT_EQ(code_of(store().put("d/c", store::as_bytes("c"))), "read_only");
  close_failed();
  open();
  EXPECT_EQ(get("d/a"), "a");
  EXPECT_EQ(code_of(store().get("d/b")), "not_found");
}

TEST_F(IoErrorsTest, AFailedSyncAtCloseIsReported) {
  put("d/a", "a");
  ok(store().checkpoint());
  put("d/b", "b");
  ops_->sync_all_fails.left = 1;
  EXPECT_EQ(code_of(store().close()), "io");
  store_.reset();
  open();
  EXPECT_EQ(get("d/a"), "a");
  EXPECT_EQ(code_of(store().get("d/b")), "not_found");
}

// --- writes
// ------------------------------------------------------------------------------------------------------------

TEST_F(IoErrorsTest, AFailedWriteLeaksNothing) {
  const std::string old = patterned(1, 200'000);
  put("d/a", old);
  ok(store().checkpoint());
  const auto before = store().statistics();
  for (int i = 0; i < 5; ++i) {
    ops_->write_fails.left = 1;
    EXPECT_EQ(code_of(store().put("d/a", store::as_bytes(patterned(2, 200'000)))), "io");
    ops_->write_fails.left = 1;
    EXPECT_EQ(code_of(store().write("d/a", 5, store::as_bytes(patterned(3, 100'000)))), "io");
  }
  EXPECT_EQ(get("d/a"), old);
  EXPECT_FALSE(store().read_only()) << "nothing that was promised is lost";
  const auto after = store().statistics();
  EXPECT_EQ(after.used_bytes, before.used_bytes);
  EXPECT_EQ(after.pending_bytes, before.pending_bytes) << "staged pages leak";
  put("d/a", patterned(4, 200'000));
  EXPECT_EQ(get("d/a"), patterned(4, 200'000));
}

// --- opening
// -----------------------------------------------------------------------------------------------------------

TEST_F(IoErrorsTest, AFailedOpenTouchesNothing) {
  put("d/a", "a");
  close();
  const std::string before = bytes();
  const std::vector<std::pair<FailingFileOps::Times*, std::string>> calls = {{&ops_->open_fails, "io: "},
                                                                             {&ops_->identify_fails, "io: "},
                                                                             {&ops_->lock_fails, "busy: "},
                                                                             {&ops_->read_fails, "io: "},
                                                                             {&ops_->map_fails, "io: "}};
  for (const auto& [call, expected] : calls) {
    call->left = call == &ops_->map_fails ? 2 : 1;  // a shorter map is tried as well
    EXPECT_THAT(failed_open(), HasSubstr(expected));
    EXPECT_EQ(ops_->open_files, 0);
    EXPECT_EQ(ops_->maps, 0);
    EXPECT_TRUE(bytes() == before);
  }
  open();
  EXPECT_EQ(get("d/a"), "a");
}

TEST_F(IoErrorsTest, AStoreThatCannotBeMadeLeavesNothing) {
  close();
  const auto remake = [&] { std::filesystem::remove(path()); };
  const std::vector<FailingFileOps::Times*> calls = {
      &ops_->identify_fails, &ops_->lock_fails,       &ops_->truncate_fails,   &ops_->map_fails,
      &ops_->sync_all_fails, &ops_->sync_range_fails, &ops_->sync_parent_fails};
  for (std::size_t i = 0; i < calls.size(); ++i) {
    remake();
    calls[i]->left = calls[i] == &ops_->map_fails ? 2 : 1;
    (void)failed_open();
    EXPECT_EQ(calls[i]->left, 0) << i;
    EXPECT_EQ(ops_->open_files, 0) << i;
    EXPECT_EQ(ops_->maps, 0) << i;
    EXPECT_TRUE(!std::filesystem::exists(path()) || std::filesystem::file_size(path()) == 0) << i;
  }
  remake();
  ops_->disk_size = 100'000;
  EXPECT_THAT(failed_open(), HasSubstr("no_space"));
  ops_->disk_size = ~0ULL;
  open();
  put("d/a", "a");
}

TEST_F(IoErrorsTest, AStoreInUseIsBusy) {
  put("d/a", "a");
  const std::string before = bytes();
  EXPECT_THAT(failed_open(), HasSubstr("busy: "));
  options_.read_only = true;
  EXPECT_THAT(failed_open(), HasSubstr("busy: "));
  options_.read_only = false;
  EXPECT_TRUE(bytes() == before);
  EXPECT_THAT(check(), HasSubstr("busy: "));
  put("d/b", "b");
  EXPECT_EQ(get("d/a"), "a");
  close();
  // Readers share it.
  options_.read_only = true;
  open();
  auto other = Store::open(path(), options_);
  ASSERT_TRUE(other) << say(other);
  EXPECT_EQ(value((*other)->get("d/b")), "b");
}

TEST_F(IoErrorsTest, ADamagedStoreIsNotWrittenByOpening) {
  // Not closed cleanly, and both the log that the state names are hurt.
  for (int i = 0; i < 20; ++i) put("d/f" + std::to_string(i), patterned(1, 5000));
  ok(store().checkpoint());
  const std::string copy = dir_.file("copy");
  {
    std::ofstream out(copy, std::ios::binary);
    out << bytes();
  }
  std::string content = bytes();
  const auto meta = [&](std::size_t slot) {
    return store::decode_meta(reinterpret_cast<const std::byte*>(content.data()) + slot * kPageSize).meta;
  };
  const auto newest = meta(0) && (!meta(1) || meta(0)->txn > meta(1)->txn) ? meta(0) : meta(1);
  ASSERT_TRUE(newest);
  content[raw(newest->space.log) * kPageSize + 100] ^= 1;
  {
    std::ofstream out(copy, std::ios::binary);
    out << content;
  }
  Options options = options_;
  auto opened = Store::open(copy, options);
  ASSERT_TRUE(opened) << say(opened);
  EXPECT_TRUE((*opened)->read_only());
  EXPECT_EQ(value((*opened)->get("d/f3")), patterned(1, 5000));
  EXPECT_EQ(code_of((*opened)->put("d/new", store::as_bytes("new"))), "read_only");
  opened = store::fail(Code::kIo);
  std::ifstream in(copy, std::ios::binary);
  const std::string after{std::istreambuf_iterator<char>(in), {}};
  EXPECT_TRUE(after == content) << "a damaged store was written to";
}

// --- the bound changes
// ---------------------------------------------------------------------------------------------------

TEST_F(IoErrorsTest, AStoreThatShrinksOpensAgain) {
  close();
  const std::string large = patterned(1, 12U << 20U);
  const std::string small = patterned(2, 100'000);
  options_.bound = 200U << 20U;  // two chunks of the space map
  open();
  for (int i = 0; i < 13; ++i) put("d/large" + std::to_string(i), large);
  for (int i = 0; i < 13; ++i) ok(store().erase("d/large" + std::to_string(i)));
  put("d/small", small);
  ok(store().checkpoint());
  reopen();
  // Whatever lies at the end moves to the front.
  put("d/small", small);
  close();
  options_.bound = 8U << 20U;
  open();
  EXPECT_LE(std::filesystem::file_size(path()), 8U << 20U);
  EXPECT_EQ(get("d/small"), small);
  // As after a power cut right now: what is durable still speaks of the long file.
  const std::string copy = dir_.file("copy");
  std::filesystem::copy_file(path(), copy);
  EXPECT_EQ(check(copy), "");
  reopen();
  EXPECT_EQ(get("d/small"), small);
  for (int i = 0; i < 50; ++i) put("d/f" + std::to_string(i), patterned(3, 50'000));
  reopen();
  EXPECT_EQ(get("d/f49"), patterned(3, 50'000));
}

}  // namespace
}  // namespace lrufs::test
