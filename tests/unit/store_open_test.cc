// Opening and closing: clean, after a kill, from a checkpoint, with another bound, read-only; and what is
// refused. A copy of the file of an open store is what a power cut with a lucky disk leaves: it names another
// inode, so that it is opened from its checkpoint.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "store/check.h"
#include "tests/support/random.h"
#include "tests/support/store_fixture.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::Inode;
using store::kRootIno;
using store::Status;
using store::Store;
using store::Transaction;

class StoreOpen : public StoreTest {
 protected:
  static std::uint64_t size_of(const std::string& path) { return std::filesystem::file_size(path); }
  static std::uint64_t disk_bytes(const std::string& path) {
    struct stat info {};
    EXPECT_EQ(::stat(path.c_str(), &info), 0);
    return static_cast<std::uint64_t>(info.st_blocks) * 512;
  }
  static std::string slurp(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  }
  std::string copy_file(const std::string& name) {
    const std::string to = dir_.file(name);
    std::filesystem::copy_file(path(), to, std::filesystem::copy_options::overwrite_existing);
    return to;
  }
  store::Result<std::unique_ptr<Store>> try_open(const std::string& path) {
    return Store::open(path, options_);
  }
};

TEST_F(StoreOpen, ANewStoreIsEmpty) {
  EXPECT_EQ(store().statistics().opened_from, "new");
  EXPECT_EQ(store().statistics().files, 0U);
  EXPECT_EQ(store().statistics().directories, 1U);
  EXPECT_TRUE(value(store().names("", "", 10)).empty());
  const Inode root = resolve("");
  EXPECT_EQ(root.ino, kRootIno);
  EXPECT_TRUE(root.is_directory());
  EXPECT_EQ(root.nlink, 2U);
  EXPECT_LT(size_of(path()), options_.bound) << "the file grows as needed";
}

TEST_F(StoreOpen, ReopensAfterACleanClose) {
  put("a/b/c", "hello");
  put("big", std::string(300000, 'x'));
  const std::string uuid = store().statistics().uuid;
  EXPECT_EQ(uuid.size(), 32U);
  reopen();
  EXPECT_EQ(store().statistics().opened_from, "clean");
  EXPECT_EQ(store().statistics().uuid, uuid);
  EXPECT_EQ(get("a/b/c"), "hello");
  EXPECT_EQ(get("big"), std::string(300000, 'x'));
  EXPECT_EQ(store().statistics().files, 2U);
  EXPECT_EQ(store().statistics().content_bytes, 300005U);
  // Opened and closed without a change, again and again.
  for (int i = 0; i < 3; ++i) reopen();
  EXPECT_EQ(store().statistics().opened_from, "clean");
  EXPECT_EQ(get("a/b/c"), "hello");
}

TEST_F(StoreOpen, InodeNumbersAreNeverUsedAgain) {
  std::set<std::uint64_t> seen;
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 20; ++i) {
      const std::string name = "f" + std::to_string(i);
      put(name, "x");
      EXPECT_TRUE(seen.insert(raw(resolve(name).ino)).second);
      ok(store().erase(name));
    }
    reopen();
  }
}

TEST_F(StoreOpen, ACopyOfAStoreInUseOpensAtItsCheckpoint) {
  put("old", "1");
  ok(store().checkpoint());
  put("new", "2");
  const std::string copied = copy_file("copy");
  auto opened = value(try_open(copied));
  EXPECT_EQ(opened->statistics().opened_from, "checkpoint");
  EXPECT_EQ(value(opened->get("old")), "1");
  EXPECT_EQ(code_of(opened->get("new")), "not_found");
  // It goes on from there, and is then a store of its own.
  ok(opened->put("other", as_bytes("3")));
  ok(opened->close());
  EXPECT_EQ(check(copied), "");
  EXPECT_EQ(get("new"), "2");
}

TEST_F(StoreOpen, FromCheckpointForgetsWhatCameAfter) {
  put("old", "1");
  ok(store().checkpoint());
  const std::uint64_t txn = store().statistics().txn;
  EXPECT_EQ(store().statistics().durable_txn, txn);
  put("new", "2");
  const std::string copied = copy_file("copy");
  options_.from_checkpoint = true;
  auto opened = value(try_open(copied));
  EXPECT_EQ(opened->statistics().opened_from, "checkpoint");
  EXPECT_GT(opened->statistics().txn, txn + 1) << "transactions of the lost past are not numbered again";
  EXPECT_EQ(code_of(opened->get("new")), "not_found");
  ok(opened->close());
  opened.reset();
  options_.from_checkpoint = false;
  opened = value(try_open(copied));
  EXPECT_EQ(opened->statistics().opened_from, "clean");
  EXPECT_EQ(value(opened->get("old")), "1");
}

TEST_F(StoreOpen, ASecondOpenIsRefused) {
  put("a", "1");
  const auto second = try_open(path());
  ASSERT_FALSE(second);
  EXPECT_EQ(code_of(second), "busy");
  EXPECT_NE(second.error().message, "");
  store::Options reader = options_;
  reader.read_only = true;
  EXPECT_EQ(code_of(Store::open(path(), reader)), "busy");
  EXPECT_EQ(get("a"), "1");
}

TEST_F(StoreOpen, WhatIsNoStoreIsRefusedAndLeftAlone) {
  const std::string text(100000, 't');
  const std::string file = dir_.file("text");
  std::ofstream(file) << text;
  EXPECT_EQ(code_of(try_open(file)), "not_a_store");
  EXPECT_EQ(slurp(file), text);
  const std::string small = dir_.file("small");
  std::ofstream(small) << "x";
  EXPECT_EQ(code_of(try_open(small)), "not_a_store");
  EXPECT_EQ(slurp(small), "x");
  std::filesystem::create_directory(dir_.file("folder"));
  EXPECT_EQ(code_of(try_open(dir_.file("folder"))), "not_a_store");
  std::filesystem::create_symlink(path(), dir_.file("link"));
  EXPECT_EQ(code_of(try_open(dir_.file("link"))), "not_a_store");
  EXPECT_FALSE(try_open(dir_.file("missing/store")));
}

TEST_F(StoreOpen, WithoutCreateNothingIsMade) {
  options_.create = false;
  EXPECT_FALSE(try_open(dir_.file("missing")));
  EXPECT_FALSE(std::filesystem::exists(dir_.file("missing")));
  std::ofstream(dir_.file("empty")).close();
  EXPECT_EQ(code_of(try_open(dir_.file("empty"))), "not_a_store");
  EXPECT_EQ(size_of(dir_.file("empty")), 0U);
}

TEST_F(StoreOpen, AnEmptyFileBecomesAStore) {
  std::ofstream(dir_.file("empty")).close();
  auto opened = value(try_open(dir_.file("empty")));
  ok(opened->put("a", as_bytes("1")));
  ok(opened->close());
  EXPECT_EQ(check(dir_.file("empty")), "");
}

// The file's length reaches the disk at any time.
TEST_F(StoreOpen, AMarkSaysThatAStoreIsBeingMade) {
  const std::string file = dir_.file("marked");
  std::ofstream(file) << "lrufs: a store that is being made\n" << std::string(50000, 'x');
  auto opened = try_open(file);
  ASSERT_TRUE(opened) << say(opened);
  ok((*opened)->put("a", as_bytes("1")));
  ok((*opened)->close());
  EXPECT_EQ(check(file), "");
  std::ifstream in(file, std::ios::binary);
  std::string head(6, '?');
  in.read(head.data(), 6);
  EXPECT_EQ(head, "lrufs\r");
}

TEST_F(StoreOpen, WhatAPowerCutLeftOfTheMakingBecomesAStore) {
  for (const std::uint64_t size : {1ULL, 4096ULL, 40960ULL, 65535ULL, 1ULL << 20U}) {
    const std::string file = dir_.file("begun" + std::to_string(size));
    std::ofstream(file).close();
    std::filesystem::resize_file(file, size);
    auto opened = try_open(file);
    ASSERT_TRUE(opened) << size << ": " << say(opened);
    ok((*opened)->put("a", as_bytes("1")));
    ok((*opened)->close());
    EXPECT_EQ(check(file), "") << size;
  }
}

TEST_F(StoreOpen, WhatOnlyBeginsWithZerosIsNotWritten) {
  for (const std::uint64_t size : {40960ULL, 1ULL << 20U}) {
    const std::string file = dir_.file("zeros" + std::to_string(size));
    std::ofstream(file).close();
    std::filesystem::resize_file(file, size - 4);
    std::ofstream(file, std::ios::app) << "text";
    EXPECT_EQ(code_of(try_open(file)), "not_a_store");
    std::ifstream in(file, std::ios::binary);
    const std::string left{std::istreambuf_iterator<char>(in), {}};
    EXPECT_EQ(left, std::string(size - 4, '\0') + "text");
  }
}

TEST_F(StoreOpen, BoundsThatAreTooSmall) {
  options_.bound = store::kMinBound - 1;
  EXPECT_EQ(code_of(try_open(dir_.file("tiny"))), "bound_too_small");
  EXPECT_FALSE(std::filesystem::exists(dir_.file("tiny")) && size_of(dir_.file("tiny")) > 0);
  options_.bound = store::kMinBound;
  auto opened = value(try_open(dir_.file("tiny")));
  ok(opened->put("a", as_bytes(std::string(100000, 'x'))));
  ok(opened->close());
  EXPECT_EQ(check(dir_.file("tiny")), "");
}

TEST_F(StoreOpen, TheFileNeverExceedsItsBound) {
  options_.bound = 6U << 20U;
  close();
  std::filesystem::remove(path());
  open();
  Random random;
  SCOPED_TRACE(random.hint());
  for (int i = 0; i < 200; ++i) {
    put("f" + std::to_string(i), random.text(random.below(300000)));
    ASSERT_LE(size_of(path()), options_.bound);
    ASSERT_LE(disk_bytes(path()), options_.bound);
  }
  EXPECT_GT(store().statistics().evicted_objects, 0U);
  EXPECT_EQ(store().statistics().bound_bytes, options_.bound);
}

TEST_F(StoreOpen, TheStoreKeepsItsBoundUnlessOneIsGiven) {
  put("a", "1");
  options_.bound_given = false;
  options_.bound = 0;
  reopen();
  EXPECT_EQ(store().statistics().bound_bytes, 32ULL << 20U);
  options_.bound_given = true;
  options_.bound = 64ULL << 20U;
  reopen();
  EXPECT_EQ(store().statistics().bound_bytes, 64ULL << 20U);
  put("b", "2");
  options_.bound_given = false;
  reopen();
  EXPECT_EQ(store().statistics().bound_bytes, 64ULL << 20U);
}

TEST_F(StoreOpen, ALargerBoundCanBeUsed) {
  put("a", "1");
  options_.bound = 64ULL << 20U;
  reopen();
  for (int i = 0; i < 40; ++i) put("f" + std::to_string(i), std::string(1U << 20U, static_cast<char>(i)));
  EXPECT_EQ(store().statistics().evicted_objects, 0U);
  options_.bound_given = false;
  reopen();
  EXPECT_EQ(get("a"), "1");
  EXPECT_EQ(get("f39"), std::string(1U << 20U, 39));
}

// The file was larger than the new bound allows, but what lies behind is free, and the log tells of its use.
TEST_F(StoreOpen, ASmallerBoundCutsTheFile) {
  put("first", "stays");
  for (int i = 0; i < 60; ++i) put("f" + std::to_string(i), std::string(100000, 'x'));
  put("big", std::string(3U << 20U, 'b'));
  ok(store().erase("big"));
  ok(store().checkpoint());
  ok(store().checkpoint());
  close();
  const std::uint64_t size = size_of(path());
  options_.bound = 8U << 20U;  // holds what there is
  open();
  ASSERT_LT(size_of(path()), size);
  EXPECT_LE(size_of(path()), options_.bound);
  EXPECT_EQ(get("first"), "stays");
  // Killed, or cut off from power, right now: a copy is what is left.
  const std::string copied = copy_file("copy");
  EXPECT_EQ(check(copied), "");
  EXPECT_EQ(check(copied, true), "");
  // Closed without a change.
  close();
  EXPECT_EQ(check(), "");
  options_.bound_given = false;
  open();
  EXPECT_LE(size_of(path()), store().statistics().bound_bytes);
  EXPECT_LT(store().statistics().bound_bytes, size);
  EXPECT_EQ(get("first"), "stays");
  // With changes.
  put("second", std::string(100000, 's'));
  reopen();
  reopen();
  EXPECT_EQ(get("second"), std::string(100000, 's'));
  for (const std::string& event : events_)
    EXPECT_NE(event.find("is made smaller"), std::string::npos) << event;
}

TEST_F(StoreOpen, ReadOnlyChangesNothing) {
  put("a", "1");
  put("d/b", "2");
  close();
  const std::string before = slurp(path());
  options_.read_only = true;
  open();
  EXPECT_TRUE(store().read_only());
  EXPECT_EQ(get("a"), "1");
  EXPECT_EQ(get("d/b"), "2");
  EXPECT_EQ(code_of(store().put("c", as_bytes("3"))), "read_only");
  EXPECT_EQ(code_of(store().put("c", as_bytes(std::string(Store::kStageThreshold, 'x')))), "read_only");
  EXPECT_EQ(code_of(store().erase("a")), "read_only");
  EXPECT_EQ(code_of(store().write("a", 0, as_bytes("x"))), "read_only");
  EXPECT_EQ(code_of(store().evict(1)), "read_only");
  EXPECT_EQ(code_of(store().begin()), "read_only");
  store().touch(kRootIno);
  // Readers may share it.
  auto second = try_open(path());
  EXPECT_TRUE(second) << say(second);
  close();
  second = store::fail(store::Code::kInvalid);
  EXPECT_EQ(slurp(path()), before);
}

// What check and dump meet after a kill: a live state that they may not make durable.
TEST_F(StoreOpen, ReadOnlyWithAStateThatIsNotDurable) {
  put("old", "1");
  ok(store().checkpoint());
  put("new", "2");
  // The same inode again, as after a kill: the copy's content into a second file does not do, so the store
  // file itself is saved and restored.
  const std::string saved = slurp(path());
  close();
  {
    std::fstream out(path(), std::ios::in | std::ios::out | std::ios::binary);
    out.write(saved.data(), static_cast<std::streamsize>(saved.size()));
  }
  options_.read_only = true;
  open();
  EXPECT_EQ(store().statistics().opened_from, "live");
  EXPECT_EQ(get("new"), "2");
  const Status done = store().checkpoint();
  EXPECT_TRUE(done || done.error().code == store::Code::kReadOnly) << say(done);
  close();
  EXPECT_EQ(slurp(path()).substr(0, saved.size()), saved);
  EXPECT_EQ(check(), "");
  options_.read_only = false;
  open();
  EXPECT_EQ(store().statistics().opened_from, "live");
  EXPECT_EQ(get("old"), "1");
  EXPECT_EQ(get("new"), "2");
}

// A kill at each of many moments: the page cache holds what was published.
TEST_F(StoreOpen, AKilledStoreOpensAtItsLastPublish) {
  Random random;
  SCOPED_TRACE(random.hint());
  std::map<std::string, std::string> model;
  for (int round = 0; round < 12; ++round) {
    for (std::uint64_t i = random.between(1, 40); i > 0; --i) {
      const std::string name =
          "d" + std::to_string(random.below(4)) + "/f" + std::to_string(random.below(30));
      if (random.chance(25) && model.contains(name)) {
        ok(store().erase(name));
        model.erase(name);
      } else {
        model[name] = random.text(random.skewed(100000));
        put(name, model[name]);
      }
      if (random.chance(5)) ok(store().checkpoint());
    }
    model["last"] = std::to_string(round);
    put("last", model["last"]);
    const std::string saved = slurp(path());
    close();
    {
      std::fstream out(path(), std::ios::in | std::ios::out | std::ios::binary);
      out.write(saved.data(), static_cast<std::streamsize>(saved.size()));
    }
    std::filesystem::resize_file(path(), saved.size());
    EXPECT_EQ(check(), "") << "round " << round;
    open();
    EXPECT_EQ(store().statistics().opened_from, "live");
    for (const auto& [name, text] : model) ASSERT_EQ(get(name), text) << name;
    EXPECT_EQ(store().statistics().files, model.size());
  }
}

TEST_F(StoreOpen, TheSpaceLogIsCondensedAndTheStoreOpens) {
  Random random;
  SCOPED_TRACE(random.hint());
  // Enough transactions for more than one MiB of log.
  const std::size_t rounds = 16000;
  for (std::size_t i = 0; i < rounds; ++i) {
    put("d/f" + std::to_string(random.below(300)), std::string(random.below(3000), 'x'));
    if (i % 4000 == 3999) ok(store().checkpoint());
  }
  const std::string text = get("d/f7");
  reopen();
  EXPECT_EQ(get("d/f7"), text);
  const std::string copied = copy_file("copy");
  EXPECT_EQ(check(copied, true), "");
}

TEST_F(StoreOpen, CloseTwiceAndDestroyWithoutClose) {
  put("a", "1");
  ok(store().close());
  ok(store().close());
  store_.reset();
  open();
  put("b", "2");
  store_.reset();  // "checkpoints and closes"
  open();
  EXPECT_EQ(store().statistics().opened_from, "clean");
  EXPECT_EQ(get("b"), "2");
}

TEST_F(StoreOpen, StatisticsAddUp) {
  put("d/a", std::string(5000, 'x'));
  put("b", "123");
  ok(store().erase("b"));
  (void)store().get("d/a");
  const store::Statistics s = store().statistics();
  EXPECT_EQ(s.files, 1U);
  EXPECT_EQ(s.directories, 2U);
  EXPECT_EQ(s.content_bytes, 5000U);
  EXPECT_EQ(s.commits, 4U);  // the root's, too
  EXPECT_EQ(s.bytes_written, 5003U);
  EXPECT_EQ(s.bytes_read, 5000U);
  EXPECT_EQ(s.readers, 0U);
  EXPECT_LE(s.capacity_bytes, s.bound_bytes);
  EXPECT_LE(s.file_bytes, s.capacity_bytes);
  EXPECT_LE(s.used_bytes + s.free_bytes + s.pending_bytes, s.capacity_bytes);
  EXPECT_FALSE(s.read_only);
  EXPECT_EQ(s.corrupt_pages, 0U);
  EXPECT_LT(store().max_file_size(), s.bound_bytes);
  EXPECT_EQ(store().failure(), "");
}

}  // namespace
}  // namespace lrufs::test
