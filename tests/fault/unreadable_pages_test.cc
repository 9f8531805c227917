// Pages of the store that the disk does not give back (SIGBUS in the map), and a file that somebody cuts off:
// EIO to who needs them, nothing else is lost, nothing dies, and no zeros are taken for content.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "store/map_guard.h"
#include "store/meta.h"
#include "tests/support/forwarding_file_ops.h"
#include "tests/support/store_fixture.h"
#include "tests/support/store_ops.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::Code;
using store::kPageSize;
using store::MapGuard;
using store::PageNo;
using store::Result;
using store::Segment;
using store::Status;
using ::testing::Contains;
using ::testing::HasSubstr;

std::byte touch(const std::byte* at) { return *static_cast<const volatile std::byte*>(at); }

// Pages that raise SIGBUS, and EIO from read(2), as a bad sector does.
class BadSectors final : public ForwardingFileOps {
 public:
  ~BadSectors() override { ::close(empty_); }
  Result<std::byte*> map(int fd, std::uint64_t bytes, bool writable) override {
    auto mapped = under_->map(fd, bytes, writable);
    if (mapped) base_ = *mapped;
    fd_ = fd;
    return mapped;
  }
  Status read(int fd, std::uint64_t offset, store::MutableBytes out) override {
    if (bad_.contains(offset / kPageSize)) return store::fail(Code::kIo, "pread: injected", EIO);
    return under_->read(fd, offset, out);
  }
  // A page behind the end of a file cannot be read either.
  void spoil(PageNo page) {
    bad_.insert(raw(page));
    remap(page, empty_, 0);
  }
  // Takes the page away from who uses the map, and gives it back.
  void take_away(PageNo page) { remap(page, empty_, 0); }
  void give_back(PageNo page) { remap(page, fd_, static_cast<off_t>(raw(page) * kPageSize)); }
  [[nodiscard]] PageNo page_of(const std::byte* data) const {
    return PageNo{static_cast<std::uint64_t>(data - base_) / kPageSize};
  }
  [[nodiscard]] const std::byte* base() const { return base_; }

 private:
  void remap(PageNo page, int fd, off_t offset) {
    void* at = base_ + raw(page) * kPageSize;
    ASSERT_EQ(::mmap(at, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, offset), at);
  }
  std::byte* base_ = nullptr;
  int fd_ = -1;
  int empty_ = ::memfd_create("empty", MFD_CLOEXEC);
  std::set<std::uint64_t> bad_;
};

class UnreadablePages : public StoreTest {
 protected:
  UnreadablePages() { options_.file_ops = disk_; }

  // The store's page that holds the byte at `offset` of a file.
  PageNo page_of(std::string_view key, std::uint64_t offset) {
    const auto inode = resolve(key);
    std::vector<Segment> segments;
    value(store().snapshot().view().map_content(inode, offset, 1, segments));
    return disk_->page_of(segments.at(0).data);
  }
  std::string outcome_of_get(std::string_view key) { return code_of(store().get(key)); }
  std::string outcome_of_put(std::string_view key, std::string_view text) {
    return code_of(store().put(key, as_bytes(text)));
  }

  std::shared_ptr<BadSectors> disk_ = std::make_shared<BadSectors>();
  const std::string big_ = patterned(1, 20 * kPageSize);
};

TEST_F(UnreadablePages, ContentGivesAnErrorToItsReadersOnly) {
  put("big", big_);
  put("other", big_);
  disk_->spoil(page_of("big", 3 * kPageSize));
  EXPECT_EQ(outcome_of_get("big"), "io");
  EXPECT_EQ(outcome_of_get("big"), "io") << "zeros took the place of the content";
  EXPECT_EQ(get("other"), big_);
  std::string part(3 * kPageSize, '?');
  EXPECT_EQ(value(store().read("big", 0, {reinterpret_cast<std::byte*>(part.data()), part.size()})),
            part.size());
  EXPECT_EQ(part, big_.substr(0, part.size()));
  EXPECT_EQ(store().statistics().unreadable_pages, 1U);
  EXPECT_THAT(events_, Contains(HasSubstr("does not give back 1 pages")));
  EXPECT_FALSE(store().read_only());
  // Written anew it is readable again: the bad page is no part of it any more.
  put("big", big_);
  EXPECT_EQ(get("big"), big_);
  ok(store().checkpoint());
}

TEST_F(UnreadablePages, WhatTheKernelCouldNotReadIsNoted) {
  put("big", big_);
  const PageNo page = page_of("big", 5 * kPageSize);
  disk_->spoil(page);
  std::vector<Segment> segments;
  {
    const auto snapshot = store().snapshot();
    value(snapshot.view().map_content(resolve("big"), 0, big_.size(), segments));
    EXPECT_FALSE(store().all_readable(segments));
    EXPECT_EQ(code_of(snapshot.view().map_content(resolve("big"), 0, big_.size(), segments)), "io");
  }
  EXPECT_EQ(store().statistics().unreadable_pages, 1U);
  segments.clear();
  value(store().snapshot().view().map_content(resolve("big"), 0, 5 * kPageSize, segments));
  EXPECT_TRUE(store().all_readable(segments));
  put("big", "");
}

TEST_F(UnreadablePages, ATreePageIsAnErrorAndNoDamage) {
  for (int i = 0; i < 400; ++i) put("f" + std::to_string(i), patterned(static_cast<std::uint64_t>(i), 600));
  const PageNo leaf = page_of("f7", 0);  // inline: its content lies in a leaf
  ASSERT_NE(leaf, page_of("f200", 0));
  disk_->spoil(leaf);
  EXPECT_EQ(outcome_of_get("f7"), "io");
  EXPECT_EQ(outcome_of_put("f7", "anew"), "io");
  EXPECT_EQ(get("f200"), patterned(200, 600));
  put("f200", "anew");
  EXPECT_EQ(get("f200"), "anew");
  EXPECT_EQ(store().statistics().corrupt_pages, 0U);
  EXPECT_FALSE(store().read_only());
  ok(store().close());
  store_.reset();
}

// Between the check of a tree page and its use. Zeros would be an empty page: a name that is missing, a
// folder that ends early, or a child that is damage.
TEST_F(UnreadablePages, ATreePageThatGoesWhileItIsSearchedIsAnError) {
  for (int i = 0; i < 300; ++i) put("f" + std::to_string(i), patterned(static_cast<std::uint64_t>(i), 600));
  const auto inode = resolve("f7");
  const auto root = store().snapshot().view().roots().names;
  std::size_t errors = 0;
  for (const PageNo page : {page_of("f7", 0), root.page}) {
    std::atomic<bool> stop{false};
    std::thread disk([&] {
      while (!stop) {
        disk_->take_away(page);
        disk_->give_back(page);
      }
    });
    std::map<std::string, std::string> wrong;
    for (int i = 0; i < 300'000; ++i) {
      const auto snapshot = store().snapshot(store::Snapshot::Kind::kTransient);
      const store::ReadView& view = snapshot.view();
      std::size_t listed = 0;
      const std::pair<const char*, Status> outcomes[] = {
          {"inode", view.inode(inode.ino).map([](const auto&) {})},
          {"lookup", view.lookup(store::kRootIno, "f7").map([](const auto&) {})},
          {"path_of", view.path_of(inode.ino).map([](const auto&) {})},
          {"list", view.list(store::kRootIno, store::Cookie{0}, [&](const store::DirEntry& entry) {
             ++listed;
             if (!entry.name.starts_with('f')) wrong["list"] = "another name";
             return i % 100 == 0;
           })}};
      for (const auto& [what, outcome] : outcomes) {
        if (!outcome) ++errors;
        if (!outcome && outcome.error().code != Code::kIo) wrong[what] = say(outcome);
      }
      if (i % 100 == 0 && outcomes[3].second && listed != 300) wrong["list"] = std::to_string(listed);
      std::byte byte{};
      const auto read = view.read(inode, 0, {&byte, 1});
      if (read && (*read != 1 || byte != std::byte(patterned(7, 600)[0]))) wrong["read"] = "another byte";
    }
    stop = true;
    disk.join();
    for (const auto& [what, outcome] : wrong) ADD_FAILURE() << what << ": " << outcome;
  }
  EXPECT_GT(errors, 0U) << "nothing was met";
  EXPECT_EQ(store().statistics().corrupt_pages, 0U);
  EXPECT_FALSE(store().statistics().damaged);
}

TEST_F(UnreadablePages, OverwritingAPartOfOneFailsAndAllOfItHeals) {
  put("big", big_);
  ok(store().checkpoint());
  disk_->spoil(page_of("big", 0));
  EXPECT_EQ(code_of(store().write("big", 10, as_bytes(std::string_view("part")))), "io");
  EXPECT_EQ(outcome_of_get("big"), "io");
  const std::string page = patterned(2, kPageSize);
  ok(store().write("big", 0, as_bytes(page)));
  EXPECT_EQ(get("big"), page + big_.substr(kPageSize));
}

TEST_F(UnreadablePages, WrittenInPlaceAsAWholeItMoves) {
  put("big", big_);
  const PageNo page = page_of("big", kPageSize);
  disk_->spoil(page);
  EXPECT_EQ(outcome_of_get("big"), "io");
  const std::string text = patterned(3, kPageSize);
  change(resolve("big").ino, [&](store::Transaction& txn, store::Inode& inode) {
    return txn.write(inode, kPageSize, as_bytes(text), nullptr, store::Transaction::WriteMode::kInPlace);
  });
  EXPECT_NE(page_of("big", kPageSize), page);
  EXPECT_EQ(get("big"), big_.substr(0, kPageSize) + text + big_.substr(2 * kPageSize));
}

// What is written into one is not in the file: the check at the end would find tree pages there.
TEST_F(UnreadablePages, LostPagesAreNeverUsedAgain) {
  put("big", big_);
  std::set<PageNo> lost;
  for (std::uint64_t at = 0; at < big_.size(); at += kPageSize) lost.insert(page_of("big", at));
  for (const PageNo page : lost) disk_->spoil(page);
  EXPECT_EQ(outcome_of_get("big"), "io");
  EXPECT_EQ(store().statistics().unreadable_pages, lost.size());
  ok(store().erase("big"));
  ok(store().checkpoint());
  const auto expect_elsewhere = [&](const std::string& key, std::size_t bytes) {
    for (std::uint64_t at = 0; at < bytes; at += kPageSize)
      ASSERT_FALSE(lost.contains(page_of(key, at))) << key;
  };
  // Tree pages one by one, and then runs: more than fits, so that every page is used that may be.
  for (std::uint64_t i = 0; i < 300; ++i) {
    const std::string key = "inline/f" + std::to_string(i);
    put(key, patterned(i, 900));
    expect_elsewhere(key, 1);
  }
  for (std::uint64_t i = 0; i < 600; ++i) {
    const std::string key = "d/f" + std::to_string(i);
    const std::string text = patterned(i, (1 + i % 40) * kPageSize);
    put(key, text);
    ASSERT_EQ(get(key), text);
    expect_elsewhere(key, text.size());
  }
  EXPECT_GT(store().statistics().evicted_objects, 0U);
}

TEST_F(UnreadablePages, LostPagesAreNotTakenForContentEither) {
  put("small", patterned(5, 3000));
  ok(store().checkpoint());
  put("big", big_);
  for (std::uint64_t at = 0; at < big_.size(); at += kPageSize) disk_->spoil(page_of("big", at));
  EXPECT_EQ(outcome_of_get("big"), "io");
  // One transaction that frees them all, and one whose first page is for content.
  ok(store().erase("big"));
  const std::string text = patterned(6, 3000);
  change(resolve("small").ino,
         [&](store::Transaction& txn, store::Inode& inode) { return txn.write(inode, 0, as_bytes(text)); });
  EXPECT_EQ(get("small"), text);
}

TEST_F(UnreadablePages, ATransactionThatMetOneDoesNotPublish) {
  put("big", big_);
  put("small", "before");
  disk_->spoil(page_of("big", 0));
  const auto before = store().statistics().txn;
  auto begun = store().begin();
  ASSERT_TRUE(begun) << say(begun);
  auto& txn = *begun;
  std::string seen(10, '?');
  const auto inode = value(txn.view().inode(resolve("big").ino));
  (void)txn.view().read(inode, 0,
                        {reinterpret_cast<std::byte*>(seen.data()), seen.size()});  // and goes on regardless
  auto small = value(txn.view().inode(resolve("small").ino));
  ok(txn.write(small, 0, as_bytes(std::string_view("after!"))));
  ok(txn.put_inode(small));
  EXPECT_EQ(code_of(txn.commit()), "io");
  EXPECT_EQ(store().statistics().txn, before);
  EXPECT_EQ(get("small"), "before");
  put("small", "after");
  EXPECT_EQ(get("small"), "after");
}

// Without these two the store could publish nothing that another process would find.
TEST_F(UnreadablePages, WithoutItsLiveMetaTheStoreFails) {
  put("a", "1");
  disk_->spoil(PageNo{store::kLiveMetaPage});
  disk_->spoil(PageNo{store::kLiveMetaPage + 1});
  (void)store().put("b", as_bytes(std::string_view("2")));
  EXPECT_TRUE(store().read_only());
  EXPECT_THAT(store().failure(), HasSubstr("cannot be read"));
  EXPECT_EQ(code_of(store().checkpoint()), "io");
  EXPECT_EQ(outcome_of_put("c", "3"), "read_only");
  EXPECT_EQ(get("a"), "1");
  EXPECT_EQ(code_of(store().close()), "io");
  store_.reset();
}

TEST_F(UnreadablePages, WithoutItsLogTheStoreFails) {
  put("a", "1");
  const auto newest = [&] {
    const auto first = store::decode_meta(disk_->base() + store::kLiveMetaPage * kPageSize).meta;
    const auto second = store::decode_meta(disk_->base() + (store::kLiveMetaPage + 1) * kPageSize).meta;
    return !second || (first && first->txn > second->txn) ? *first : *second;
  }();
  disk_->spoil(newest.space.log_end.segment + newest.space.log_end.offset / kPageSize);
  EXPECT_EQ(outcome_of_put("b", std::string(20000, '2')), "io") << "what takes pages is noted in the log";
  EXPECT_TRUE(store().read_only());
  EXPECT_EQ(code_of(store().checkpoint()), "io");
  EXPECT_EQ(get("a"), "1");
  EXPECT_EQ(outcome_of_get("b"), "not_found");
  EXPECT_EQ(code_of(store().close()), "io");
  store_.reset();
}

TEST_F(UnreadablePages, ADurableMetaThatCannotBeWrittenFailsTheSync) {
  put("a", "1");
  disk_->spoil(PageNo{store::kDurableMetaPage});
  disk_->spoil(PageNo{store::kDurableMetaPage + 1});
  EXPECT_EQ(code_of(store().checkpoint()), "io") << "msync(2) of memory succeeds, but it is not the file";
  EXPECT_EQ(code_of(store().checkpoint()), "io");
  EXPECT_TRUE(store().read_only());
  EXPECT_EQ(code_of(store().close()), "io");
  store_.reset();
}

// --- a file that somebody cuts off
// -------------------------------------------------------------------------------

class CutOff : public UnreadablePages, public ::testing::WithParamInterface<std::uint64_t> {};

TEST_P(CutOff, ReadersGetErrorsAndTheStoreFails) {
  check_at_end_ = false;
  for (int i = 0; i < 40; ++i) put("f" + std::to_string(i), big_);
  ok(store().checkpoint());
  std::filesystem::resize_file(path(), GetParam());
  std::size_t failed = 0;
  for (int i = 0; i < 40; ++i) {
    const auto text = store().get("f" + std::to_string(i));
    if (text) {
      EXPECT_EQ(*text, big_) << "f" << i;
    } else {
      ++failed;
    }
  }
  EXPECT_GT(failed, 0U);
  EXPECT_NE(outcome_of_put("new", big_ + big_), "ok");
  EXPECT_TRUE(store().read_only());
  EXPECT_THAT(store().failure(), HasSubstr("cut off"));
  EXPECT_EQ(code_of(store().checkpoint()), "io");
  EXPECT_EQ(outcome_of_put("more", "1"), "read_only");
  EXPECT_THAT(events_, Contains(HasSubstr("cut off")));
  EXPECT_EQ(std::filesystem::file_size(path()), GetParam()) << "growing hides what was lost";
  EXPECT_EQ(code_of(store().close()), "io");
  store_.reset();
}

INSTANTIATE_TEST_SUITE_P(Sizes, CutOff, ::testing::Values(0, 1U << 20U, (1U << 20U) + 100));

TEST_F(UnreadablePages, ASyncNoticesACutOffFile) {
  check_at_end_ = false;
  put("a", big_);
  std::filesystem::resize_file(path(), std::filesystem::file_size(path()) - kPageSize);
  EXPECT_EQ(code_of(store().checkpoint()), "io");
  EXPECT_TRUE(store().read_only());
  EXPECT_EQ(code_of(store().close()), "io");
  store_.reset();
}

// What happens between looking at the file and comparing: somebody else makes it longer.
class GrowingFile : public ForwardingFileOps {
 public:
  store::Result<store::FileIdentity> identify(int fd) override {
    auto found = under_->identify(fd);
    if (const auto meanwhile = std::exchange(meanwhile_, nullptr)) meanwhile();
    return found;
  }
  std::function<void()> meanwhile_;
};

TEST_F(UnreadablePages, AFileThatGrowsMeanwhileIsNotCutOff) {
  close();
  const auto growing = std::make_shared<GrowingFile>();
  options_.file_ops = growing;
  open();
  const std::string staged = patterned(1, store::Store::kStageThreshold);
  put("a", staged);  // there is room for the next one of this size
  ok(store().erase("a"));
  const std::uint64_t before = store().statistics().file_bytes;
  growing->meanwhile_ = [&] {
    std::thread([&] {
      for (int i = 0; store().statistics().file_bytes == before; ++i) put("b" + std::to_string(i), staged);
    }).join();
  };
  put("a", staged);
  EXPECT_EQ(growing->meanwhile_, nullptr) << "the file was not looked at";
  EXPECT_GT(store().statistics().file_bytes, before);
  EXPECT_FALSE(store().read_only());
}

// --- the guard alone
// ---------------------------------------------------------------------------------------------

TEST(MapGuardTest, ADeadDiskCostsNoMappingsWithoutEnd) {
  const std::uint64_t pages = 140'000;  // every other one alone is more than the kernel's 65,530 mappings
  const int empty = ::memfd_create("empty", MFD_CLOEXEC);
  const int file = ::memfd_create("file", MFD_CLOEXEC);  // as long as it should be: not cut off
  ASSERT_EQ(::ftruncate(file, static_cast<off_t>(pages * kPageSize)), 0);
  void* map = ::mmap(nullptr, pages * kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, empty, 0);
  ASSERT_NE(map, MAP_FAILED);
  {
    auto* base = static_cast<std::byte*>(map);
    const MapGuard guard(base, pages * kPageSize, file, true);
    EXPECT_FALSE(guard.lost(PageNo{0}, pages));
    EXPECT_EQ(touch(base + 10 * kPageSize), std::byte{0});
    EXPECT_TRUE(guard.lost(PageNo{10}, 1));
    EXPECT_FALSE(guard.lost(PageNo{11}, 1));
    for (std::uint64_t page = 0; page < pages; page += 2) base[page * kPageSize] = std::byte{1};
    EXPECT_TRUE(guard.lost(PageNo{0}, 1));
    for (std::uint64_t page = 1; page < pages; page += 2)
      ASSERT_EQ(touch(base + page * kPageSize), std::byte{0});
    for (std::uint64_t page = 0; page < pages; ++page) ASSERT_TRUE(guard.lost(PageNo{page}, 1)) << page;
    EXPECT_GE(guard.lost_pages(), MapGuard::kMaxSinglePages);
  }
  ::munmap(map, pages * kPageSize);
  ::close(empty);
  ::close(file);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// The handler that was there before is the sanitizer's, which ends the process in its own way.
bool is_ended_as_before(int status) { return !WIFEXITED(status) || WEXITSTATUS(status) != 0; }
#else
bool is_ended_as_before(int status) { return ::testing::KilledBySignal(SIGBUS)(status); }
#endif

TEST(MapGuardDeathTest, OtherErrorsEndTheProcessAsBefore) {
  const int empty = ::memfd_create("empty", MFD_CLOEXEC);
  auto* guarded = static_cast<std::byte*>(::mmap(nullptr, kPageSize, PROT_READ, MAP_SHARED, empty, 0));
  auto* other = static_cast<std::byte*>(::mmap(nullptr, kPageSize, PROT_READ, MAP_SHARED, empty, 0));
  const MapGuard guard(guarded, kPageSize, empty, false);
  EXPECT_EQ(touch(guarded), std::byte{0});
  EXPECT_TRUE(guard.lost(PageNo{0}, 1));
  EXPECT_EXIT((void)touch(other), is_ended_as_before, "");
  EXPECT_EXIT(::kill(::getpid(), SIGBUS), is_ended_as_before, "");
  ::close(empty);
}

}  // namespace
}  // namespace lrufs::test
