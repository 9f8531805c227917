// ctest: timeout=600
// Pages that are edited in place: SIGKILL between the live meta and the copies, edits that the page cache has
// lost, damaged images, snapshots beside edits. Whatever a file holds, it opens as the newest state or as the
// checkpoint, never as a mixture.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/faults.h"
#include "store/meta.h"
#include "store/pager.h"
#include "tests/support/random.h"
#include "tests/support/store_fixture.h"
#include "tests/support/store_image.h"
#include "tests/support/store_ops.h"

namespace lrufs::test {
namespace {

using store::Fault;
using store::FaultSwitch;
using store::ImageRef;
using store::kPageSize;
using store::Options;
using store::PageNo;
using store::Snapshot;
using store::Status;
using store::Store;
using store::Transaction;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class InPlaceTest : public StoreTest {
 protected:
  void SetUp() override {
    open();
    for (int i = 0; i < 120; ++i) put(key(i), patterned(1, 700));
    ok(store().checkpoint());
    durable_tree_ = tree(store());
    // All leaves get a new place, where they may be edited.
    for (int i = 0; i < 120; ++i) put(key(i), patterned(2, 700));
  }

  static std::string key(std::uint64_t i) { return "d" + std::to_string(i % 3) + "/f" + std::to_string(i); }
  static Tree tree(Store& store) { return value(dump_tree(store.snapshot().view())); }
  std::string copy() { return dir_.file("copy"); }

  // One transaction; the object may be missing.
  void random_change(Random& random) {
    const std::string name = key(random.below(150));
    Status done;
    switch (random.below(8)) {
      case 0:
        done = store().erase(name);
        break;
      case 1:
      case 2: {
        const std::string to = key(random.below(150));
        done = store().update([&](Transaction& txn) { return rename_file(txn, name, to); });
        break;
      }
      case 3:
        done = store().write(name, random.below(1500), store::as_bytes(random.text(random.between(1, 600))));
        break;
      default:
        done = store().put(name, store::as_bytes(patterned(random.bits(), random.below(1300))));
    }
    if (!done) {
      EXPECT_EQ(code_of(done), "not_found");
    }
  }

  // Of key(4), without closing the transaction.
  static Status rewrite(Transaction& txn) {
    LRUFS_TRY_ASSIGN(const auto dir, txn.view().lookup(store::kRootIno, "d1"));
    LRUFS_TRY_ASSIGN(store::Inode inode, txn.find(dir.ino, "f4"));
    LRUFS_TRY(txn.write(inode, 0, store::as_bytes(patterned(20, 700))));
    return txn.put_inode(inode);
  }

  struct Opened {
    std::string from;
    Tree tree;
    std::vector<std::string> events;
  };
  std::unique_ptr<Store> open_at(const std::string& path, bool read_only, Opened& result) {
    Options options;
    options.background = false;
    options.bound_given = false;
    options.read_only = read_only;
    options.on_event = [&](Options::Severity, const std::string& text) { result.events.push_back(text); };
    auto opened = Store::open(path, options);
    EXPECT_TRUE(opened) << say(opened);
    if (!opened) return nullptr;
    result.from = (*opened)->statistics().opened_from;
    result.tree = tree(**opened);
    return *std::move(opened);
  }
  Opened look_at(const std::string& path) {
    Opened result;
    auto opened = open_at(path, true, result);
    if (opened) ok(opened->close());
    return result;
  }
  // Is the file believed to be as its process left it, and shows anything but that?
  static bool shows_another_state(const std::string& path, const Tree& newest) {
    Options options;
    options.background = false;
    options.bound_given = false;
    options.read_only = true;
    const auto opened = value(Store::open(path, options));
    if (opened->statistics().opened_from != "live") return false;
    const auto found = dump_tree(opened->snapshot().view());
    return !found || !difference(newest, *found).empty();
  }
  static void expect_state(const Opened& opened, std::string_view from, const Tree& expected) {
    EXPECT_EQ(opened.from, from);
    EXPECT_EQ(difference(expected, opened.tree), "");
  }
  void expect_checkpoint(const std::string& path) {
    EXPECT_EQ(check(path), "");
    Opened result;
    auto opened = open_at(path, false, result);
    ASSERT_TRUE(opened);
    expect_state(result, "checkpoint", durable_tree_);
    EXPECT_THAT(result.events, ElementsAre(HasSubstr("the newest state of the store is not whole")));
    ok(opened->close());
    opened.reset();
    EXPECT_EQ(check(path), "");
    expect_state(look_at(path), "clean", durable_tree_);
  }
  // The file shows `newest` to whoever looks, is not changed by that, and goes on from there; also if the
  // process that opens it is killed at once, or after its first transaction.
  void expect_newest(Image& image, const Tree& newest) {
    image.write(copy(), true);
    EXPECT_EQ(check(copy()), "");
    expect_state(look_at(copy()), "live", newest);
    Image untouched(copy());
    ASSERT_EQ(untouched.size(), image.size());
    EXPECT_EQ(std::memcmp(untouched.base(), image.base(), image.size()), 0) << "who only reads wrote";

    Opened first;
    auto opened = open_at(copy(), false, first);
    ASSERT_TRUE(opened);
    expect_state(first, "live", newest);
    Image killed(copy());
    ok(opened->put("d0/after", store::as_bytes("after")));
    ok(opened->put("d0/after", store::as_bytes("after that")));
    const Tree later = tree(*opened);
    Image killed_later(copy());
    ok(opened->close());
    opened.reset();
    EXPECT_EQ(check(copy()), "");
    expect_state(look_at(copy()), "clean", later);
    const std::string second = dir_.file("second");
    killed.write(second, true);
    EXPECT_EQ(check(second), "");
    expect_state(look_at(second), "live", newest);
    killed_later.write(second, true);
    EXPECT_EQ(check(second), "");
    expect_state(look_at(second), "live", later);
  }

  // Does the newest live state use this tree page?
  static bool is_reached(Image& image, std::uint64_t page) {
    const std::uint64_t pages = image.size() / kPageSize;
    store::Pager pager(image.base(), pages);
    pager.set_limit(pages);
    bool found = false;
    const store::Roots roots = image.live().roots;
    for (const store::TreeRoot& root : {roots.names, roots.recency, roots.spare}) {
      store::tree_walk(
          pager, root,
          [&](PageNo each, const store::Page&) {
            found = found || raw(each) == page;
            return true;
          },
          [&](PageNo, const store::Error& error) { ADD_FAILURE() << store::describe(error); });
    }
    return found;
  }

  Tree durable_tree_;
};

enum class Left { kOld, kTorn, kMixed, kZeros, kCount };

// What SIGKILL may leave of a page that is being copied; and, beyond that, nothing at all.
void leave(Left how, std::byte* page, const std::byte* old, Random& random) {
  switch (how) {
    case Left::kOld:
      std::memcpy(page, old, kPageSize);
      break;
    case Left::kTorn: {  // new up to some byte
      const std::uint64_t at = random.below(kPageSize + 1);
      std::memcpy(page + at, old + at, kPageSize - at);
      break;
    }
    case Left::kMixed:
      for (std::uint64_t at = 0; at < kPageSize;) {
        const std::uint64_t length = std::min(random.between(1, 600), kPageSize - at);
        if (random.chance(50)) std::memcpy(page + at, old + at, length);
        at += length;
      }
      break;
    case Left::kZeros:
    case Left::kCount:
      std::memset(page, 0, kPageSize);
  }
}

// Does the page hold the same, apart from the gap between its slots and its cells?
bool whole_in(Image& expected, Image& found, PageNo page) {
  const auto& content = *reinterpret_cast<const store::Page*>(found.page(raw(page)));
  const auto& whole = *reinterpret_cast<const store::Page*>(expected.page(raw(page)));
  return content.header.checksum == whole.header.checksum &&
         store::page_checksum(content) == content.header.checksum;
}

TEST_F(InPlaceTest, KilledBetweenTheLiveMetaAndTheCopies) {
  Random random;
  SCOPED_TRACE(random.hint());
  std::size_t edits = 0;
  std::size_t opened = 0;
  for (std::size_t round = 0; round < scaled(6); ++round) {
    Image before(path());
    random_change(random);
    const Tree newest = tree(store());
    Image after(path());
    if (after.live().txn == before.live().txn) continue;  // it had no effect
    for (int how = 0; how < static_cast<int>(Left::kCount); ++how) {
      Image killed(after);
      for (const ImageRef& ref : after.images()) {
        leave(Left{how}, killed.page(raw(ref.target)), before.page(raw(ref.target)), random);
        if (how == 0) ++edits;
      }
      expect_newest(killed, newest);
      ++opened;
      if (HasFailure()) {
        ADD_FAILURE() << "round " << round << ", left as " << how;
        return;
      }
    }
  }
  EXPECT_GT(edits, 0U);
  std::cout << edits << " edits in place, " << opened << " files opened\n";
}

// In a transaction that works on its images: those of the publish before are needed still.
TEST_F(InPlaceTest, KilledInATransactionShowsTheOneBefore) {
  Random random;
  SCOPED_TRACE(random.hint());
  for (std::size_t round = 0; round < scaled(6); ++round) {
    const std::uint64_t number = random.below(120);
    Image before(path());
    put(key(number), patterned(random.bits(), 700));
    Image after(path());
    ASSERT_FALSE(after.images().empty());
    const Tree newest = tree(store());
    std::optional<Image> killed;
    ok(store().update([&](Transaction& txn) -> Status {
      killed.reset();
      LRUFS_TRY_ASSIGN(const auto dir, txn.view().lookup(store::kRootIno, "d" + std::to_string(number % 3)));
      LRUFS_TRY_ASSIGN(store::Inode inode, txn.find(dir.ino, "f" + std::to_string(number)));
      LRUFS_TRY(txn.write(inode, 0, store::as_bytes(patterned(random.bits(), 600))));
      LRUFS_TRY(txn.put_inode(inode));
      killed.emplace(path());
      return {};
    }));
    for (const ImageRef& ref : after.images()) {
      if (random.chance(50))
        leave(Left::kTorn, killed->page(raw(ref.target)), before.page(raw(ref.target)), random);
    }
    expect_newest(*killed, newest);
    if (HasFailure()) return;
  }
}

// An edit of the publish before the last, whose image nobody names any more.
TEST_F(InPlaceTest, ALostEditIsNoticed) {
  Random random;
  SCOPED_TRACE(random.hint());
  std::size_t lost = 0;
  std::size_t mixtures = 0;
  for (std::size_t round = 0; round < scaled(12); ++round) {
    Image before(path());
    random_change(random);
    Image between(path());
    random_change(random);
    Image after(path());
    const Tree newest = tree(store());
    if (between.live().txn == before.live().txn || after.live().txn == between.live().txn) continue;
    for (const ImageRef& ref : between.images()) {
      const std::uint64_t page = raw(ref.target);
      // Still in use, in that version? Then it was really changed, and nothing but the sum tells.
      if (after.has_image_of(page) || std::memcmp(between.page(page), after.page(page), kPageSize) != 0)
        continue;
      if (std::memcmp(before.page(page), between.page(page), sizeof(store::PageHeader)) == 0) continue;
      Image set_back(after);
      std::memcpy(set_back.page(page), before.page(page), kPageSize);
      if (!is_reached(after, page)) continue;
      ++lost;
      set_back.write(copy(), true);
      if (store::kFaultsBuiltIn) {
        const FaultSwitch fault(Fault::kSkipPageSum);
        if (shows_another_state(copy(), newest)) ++mixtures;
      }
      expect_checkpoint(copy());
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(lost, 0U);
  if (store::kFaultsBuiltIn) {
    EXPECT_GT(mixtures, 0U) << "the sum was of no use";
  }
  std::cout << lost << " edits lost, " << mixtures << " of them would have been believed\n";
}

// A publish whose copies were never made.
TEST_F(InPlaceTest, ImagesThatWereNotPutInPlaceAreByTheNextOpen) {
  if (!store::kFaultsBuiltIn) GTEST_SKIP() << "no fault switches in this build";
  Image(path()).write(copy(), true);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    Options options;
    options.background = false;
    options.bound_given = false;
    auto opened = Store::open(copy(), options);
    bool fine = opened.has_value();
    fine = fine && (*opened)->put(key(5), store::as_bytes(patterned(8, 700))).has_value();
    const FaultSwitch fault(Fault::kSkipImages);
    fine = fine && (*opened)->put(key(5), store::as_bytes(patterned(9, 700))).has_value();
    ::_exit(fine ? 0 : 1);  // without closing
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  Image image(copy());
  ASSERT_FALSE(image.images().empty());
  for (const ImageRef& ref : image.images())
    EXPECT_NE(std::memcmp(image.page(raw(ref.image)), image.page(raw(ref.target)), kPageSize), 0);
  EXPECT_EQ(check(copy()), "");
  Opened result;
  auto opened = open_at(copy(), false, result);
  ASSERT_TRUE(opened);
  EXPECT_EQ(result.from, "live");
  EXPECT_EQ(value(opened->get(key(5))), patterned(9, 700));
  for (int i = 0; i < 120; ++i) {
    if (i != 5) {
      EXPECT_EQ(value(opened->get(key(i))), patterned(2, 700)) << i;
    }
  }
  ok(opened->close());
}

// The targets are torn and an image, or the list of them, is damaged.
TEST_F(InPlaceTest, ADamagedImageLeavesTheCheckpoint) {
  Random random;
  SCOPED_TRACE(random.hint());
  Image before(path());
  put(key(7), patterned(3, 700));
  Image after(path());
  const std::vector<ImageRef> refs = after.images();
  ASSERT_FALSE(refs.empty());
  const auto with_list = [](Image& image, const std::function<void(std::vector<ImageRef>&)>& change) {
    std::vector<ImageRef> list = image.images();
    change(list);
    store::encode_meta(image.live(), image.page(image.live_page()), list);
  };
  const PageNo outside{after.size() / kPageSize};
  const std::vector<std::pair<const char*, std::function<void(Image&)>>> damages = {
      {"a byte in the image's header",
       [&](Image& image) { image.page(raw(refs[0].image))[random.below(24)] ^= std::byte{1}; }},
      {"a byte in the image's last cell",
       [&](Image& image) {
         const auto heap = reinterpret_cast<store::Page*>(image.page(raw(refs[0].image)))->header.heap;
         image.page(raw(refs[0].image))[random.between(heap, kPageSize - 1)] ^= std::byte{0x10};
       }},
      {"an image of zeros", [&](Image& image) { std::memset(image.page(raw(refs[0].image)), 0, kPageSize); }},
      {"the last image of zeros",
       [&](Image& image) { std::memset(image.page(raw(refs.back().image)), 0, kPageSize); }},
      {"an image of another page",
       [&](Image& image) {
         std::memcpy(image.page(raw(refs[0].image)), image.page(raw(image.live().roots.recency.page)),
                     kPageSize);
       }},
      {"a byte of the list",
       [&](Image& image) {
         image.page(image.live_page())[store::kMetaBytes + random.below(16 * refs.size())] ^= std::byte{1};
       }},
      {"the list cut off",
       [&](Image& image) { std::memset(image.page(image.live_page()) + store::kMetaBytes, 0, 512); }},
      {"too many images",
       [&](Image& image) {
         with_list(image,
                   [&](auto& list) { list.resize(store::Images::kMax + 1 + random.below(150), refs[0]); });
       }},
      {"no images", [&](Image& image) { with_list(image, [](auto& list) { list.clear(); }); }},
      {"an image outside",
       [&](Image& image) { with_list(image, [&](auto& list) { list[0].image = outside; }); }},
      {"an image far outside",
       [&](Image& image) { with_list(image, [&](auto& list) { list[0].image = PageNo{~0ULL}; }); }},
      {"an image in the header",
       [&](Image& image) { with_list(image, [&](auto& list) { list[0].image = PageNo{random.below(4)}; }); }},
      {"a target outside",
       [&](Image& image) { with_list(image, [&](auto& list) { list[0].target = outside; }); }},
      {"a target far outside",
       [&](Image& image) {
         with_list(image, [&](auto& list) { list[0].target = PageNo{~0ULL / kPageSize + 7}; });
       }},
      {"a target in the header",
       [&](Image& image) {
         with_list(image, [&](auto& list) { list[0].target = PageNo{random.below(4)}; });
       }},
  };
  for (const auto& [what, damage] : damages) {
    SCOPED_TRACE(what);
    for (int how = 0; how < static_cast<int>(Left::kCount); ++how) {
      Image image(after);
      for (const ImageRef& ref : refs) {
        // A few tries: chance may leave all of it.
        for (int tries = 0; tries < 20; ++tries) {
          leave(Left{how}, image.page(raw(ref.target)), before.page(raw(ref.target)), random);
          if (!whole_in(after, image, ref.target)) break;
        }
        ASSERT_FALSE(whole_in(after, image, ref.target));
      }
      image.write(copy(), true);
      damage(image);
      image.put_onto(copy());
      expect_checkpoint(copy());
      if (HasFailure()) return;
    }
  }
}

// Hundreds of random changes, snapshots and checkpoints between them; of the newest publish any copies may be
// missing at any time.
TEST_F(InPlaceTest, WhateverCopiesAreMissingTheNewestStateIsFound) {
  Random random;
  SCOPED_TRACE(random.hint());
  struct Held {
    Snapshot snapshot;
    Tree tree;
  };
  std::vector<Held> held;
  std::size_t in_place = 0;
  std::size_t copied = 0;
  std::size_t files = 0;
  const std::size_t rounds = scaled(300);
  for (std::size_t round = 0; round < rounds; ++round) {
    if (random.chance(3)) ok(store().checkpoint());
    if (random.chance(4) && held.size() < 3) {
      Snapshot snapshot = store().snapshot();
      Tree seen = value(dump_tree(snapshot.view()));
      held.push_back({std::move(snapshot), std::move(seen)});
    }
    if (!held.empty() && random.chance(25)) {
      EXPECT_EQ(difference(held.back().tree, value(dump_tree(held.back().snapshot.view()))), "");
      held.pop_back();
    }
    const bool look = random.chance(15);
    std::optional<Image> before;
    if (look) before.emplace(path());
    const std::uint64_t last = store().statistics().txn;
    random_change(random);
    if (!look || store().statistics().txn == last) continue;
    Image image(path());
    const Tree newest = tree(store());
    const auto refs = image.images();
    ++(refs.empty() ? copied : in_place);
    if (!held.empty()) {
      EXPECT_TRUE(refs.empty()) << "edited in place under a reader";
    }
    for (const ImageRef& ref : refs) {
      if (random.chance(60))
        leave(Left{static_cast<int>(random.below(static_cast<int>(Left::kCount)))},
              image.page(raw(ref.target)), before->page(raw(ref.target)), random);
    }
    expect_newest(image, newest);
    ++files;
    if (HasFailure()) return;
  }
  if (test_scale() >= 1) {
    EXPECT_GT(in_place, 0U);
    EXPECT_GT(copied, 0U);
  }
  std::cout << files << " files opened, " << in_place << " after edits in place, " << copied
            << " after copies\n";
}

TEST_F(InPlaceTest, WhatASnapshotSeesStaysWhileItIsHeld) {
  Random random;
  SCOPED_TRACE(random.hint());
  for (const auto kind : {Snapshot::Kind::kFull, Snapshot::Kind::kTransient}) {
    for (int round = 0; round < 5; ++round) {
      std::size_t free_edits = 0;
      std::size_t changes = 0;
      for (int i = 0; i < 20; ++i) {
        put(key(random.below(120)), patterned(random.bits(), 700));
        free_edits += Image(path()).images().size();
      }
      EXPECT_GT(free_edits, 0U) << "nothing was edited in place";
      std::optional<Snapshot> snapshot(store().snapshot(kind));
      const Tree seen = value(dump_tree(snapshot->view()));
      for (int i = 0; i < 60; ++i) {
        const std::uint64_t last = store().statistics().txn;
        random_change(random);
        if (store().statistics().txn != last) {
          ASSERT_TRUE(Image(path()).images().empty()) << "edited in place under a reader";
          ++changes;
        }
        if (i % 10 == 9) {
          ASSERT_EQ(difference(seen, value(dump_tree(snapshot->view()))), "") << i;
        }
      }
      EXPECT_GT(changes, 0U);
      EXPECT_NE(difference(seen, tree(store())), "");
      snapshot.reset();
    }
  }
  // After the reader: a page that was copied beside it is edited where it is.
  put(key(3), "a");
  put(key(3), "b");
  EXPECT_FALSE(Image(path()).images().empty());
}

// A reader that comes while a transaction works on images sees the state before, and makes it copy instead.
TEST_F(InPlaceTest, AReaderThatComesDuringATransactionIsSpared) {
  const std::string old = get(key(4));
  std::optional<Snapshot> snapshot;
  Tree seen;
  int runs = 0;
  ok(store().update([&](Transaction& txn) -> Status {
    ++runs;
    LRUFS_TRY(rewrite(txn));
    if (!snapshot) {
      snapshot.emplace(store().snapshot(Snapshot::Kind::kTransient));
      LRUFS_TRY_ASSIGN(seen, dump_tree(snapshot->view()));
    }
    LRUFS_TRY_ASSIGN(const Tree again, dump_tree(snapshot->view()));
    EXPECT_EQ(difference(seen, again), "");
    return {};
  }));
  EXPECT_EQ(runs, 2);
  EXPECT_TRUE(Image(path()).images().empty());
  EXPECT_EQ(difference(seen, value(dump_tree(snapshot->view()))), "");
  EXPECT_EQ(get(key(4)), patterned(20, 700));
  EXPECT_NE(old, patterned(20, 700));
  snapshot.reset();
}

// One that has ended before the publish does not: beside a thread that reads all the time somebody always is
// there when a transaction begins.
TEST_F(InPlaceTest, AReaderThatEndsDuringATransactionStopsNobody) {
  for (int i = 0; i < 10; ++i) {
    std::optional<Snapshot> snapshot(store().snapshot(Snapshot::Kind::kTransient));
    int runs = 0;
    ok(store().update([&](Transaction& txn) -> Status {
      ++runs;
      LRUFS_TRY(rewrite(txn));
      snapshot.reset();
      return {};
    }));
    EXPECT_EQ(runs, 1);
    EXPECT_FALSE(Image(path()).images().empty());
  }
}

}  // namespace
}  // namespace lrufs::test
