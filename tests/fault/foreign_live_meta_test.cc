// Which live metas are believed: only those whose page cache must still be there. Copies of stores in use,
// lost pages, other boots and sessions, --from-checkpoint.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "store/btree.h"
#include "store/meta.h"
#include "store/pager.h"
#include "tests/support/random.h"
#include "tests/support/store_fixture.h"
#include "tests/support/store_image.h"
#include "tests/support/store_ops.h"

namespace lrufs::test {
namespace {

using store::kPageSize;
using store::Meta;
using store::Options;
using store::PageNo;
using store::Store;
using ::testing::HasSubstr;

class ForeignLiveMetaTest : public StoreTest {
 protected:
  void SetUp() override {
    open();
    for (int i = 0; i < 120; ++i)
      put("d" + std::to_string(i % 3) + "/f" + std::to_string(i), patterned(1, 700));
    put("d0/large", patterned(2, 100'000));
    ok(store().checkpoint());
    durable_tree_ = tree(store());
    for (int i = 0; i < 120; i += 7)
      put("d" + std::to_string(i % 3) + "/f" + std::to_string(i), patterned(3, 900));
    put("d1/new", patterned(4, 3000));
    ok(store().erase("d0/large"));
    live_tree_ = tree(store());
  }

  static Tree tree(Store& store) { return value(dump_tree(store.snapshot().view())); }

  struct Opened {
    std::string from;
    Tree tree;
    std::vector<std::string> events;
  };
  Opened open_file(const std::string& path, bool from_checkpoint = false, bool read_only = false) {
    Opened result;
    Options options;
    options.background = false;
    options.bound_given = false;
    options.from_checkpoint = from_checkpoint;
    options.read_only = read_only;
    options.on_event = [&](Options::Severity, const std::string& text) { result.events.push_back(text); };
    auto opened = Store::open(path, options);
    EXPECT_TRUE(opened) << say(opened);
    if (!opened) return result;
    result.from = (*opened)->statistics().opened_from;
    result.tree = tree(**opened);
    ok((*opened)->close());
    opened->reset();
    EXPECT_EQ(check(path, from_checkpoint && read_only), "");
    return result;
  }
  void expect_checkpoint(const Opened& opened) {
    EXPECT_EQ(opened.from, "checkpoint");
    EXPECT_EQ(difference(durable_tree_, opened.tree), "");
  }
  void expect_live(const Opened& opened) {
    EXPECT_EQ(opened.from, "live");
    EXPECT_EQ(difference(live_tree_, opened.tree), "");
  }
  std::string copy() { return dir_.file("copy"); }

  Tree durable_tree_, live_tree_;
};

TEST_F(ForeignLiveMetaTest, AFileWhoseProcessDiedShowsTheLastOperation) {
  Image(path()).write(copy(), true);
  expect_live(open_file(copy()));
  EXPECT_EQ(open_file(copy()).from, "clean");
}

TEST_F(ForeignLiveMetaTest, ACopyOfAStoreInUseShowsTheCheckpoint) {
  Image(path()).write(copy(), false);
  EXPECT_EQ(check(copy()), "");
  expect_checkpoint(open_file(copy()));
}

TEST_F(ForeignLiveMetaTest, AnotherBootShowsTheCheckpoint) {
  Image image(path());
  image.change_live([](Meta& meta) { meta.boot_id[5] ^= 1; });
  image.write(copy(), true);
  expect_checkpoint(open_file(copy()));
}

TEST_F(ForeignLiveMetaTest, AnotherFileOrDeviceShowsTheCheckpoint) {
  for (const bool device : {false, true}) {
    Image image(path());
    image.write(copy(), true);
    image.change_live([&](Meta& meta) { ++(device ? meta.device : meta.inode); });
    // Onto the same file: its identity stays.
    std::fstream file(copy(), std::ios::binary | std::ios::in | std::ios::out);
    file.write(reinterpret_cast<const char*>(image.base()), static_cast<std::streamsize>(image.size()));
    file.close();
    expect_checkpoint(open_file(copy()));
  }
}

TEST_F(ForeignLiveMetaTest, AnotherStoreOrSessionShowsTheCheckpoint) {
  const std::vector<std::function<void(Meta&)>> changes = {
      [](Meta& meta) { meta.uuid[0] ^= 1; },
      // A session that went on from another durable state than the one that is there.
      [](Meta& meta) { meta.session ^= 1, meta.durable_session ^= 2; },
      [](Meta& meta) { meta.session ^= 1, meta.durable_txn = store::TxnId{raw(meta.durable_txn) - 1}; },
  };
  for (const auto& change : changes) {
    Image image(path());
    image.change_live(change);
    image.write(copy(), true);
    expect_checkpoint(open_file(copy()));
  }
}

// The whole of an older file, but for its durable metas: they are newer.
TEST_F(ForeignLiveMetaTest, LiveMetasOlderThanTheDurableOneAreNotBelieved) {
  Image old(path());
  ok(store().checkpoint());
  const Tree newer = tree(store());
  Image image(path());
  std::memcpy(image.page(store::kLiveMetaPage), old.page(store::kLiveMetaPage), 2 * kPageSize);
  image.write(copy(), true);
  const Opened opened = open_file(copy());
  EXPECT_EQ(opened.from, "checkpoint");
  EXPECT_EQ(difference(newer, opened.tree), "");
}

TEST_F(ForeignLiveMetaTest, ALostTreePageIsNoticed) {
  Image image(path());
  const Meta live = image.live();
  const Meta durable = image.durable();
  const std::uint64_t pages = image.size() / kPageSize;
  store::Pager pager(image.base(), pages);
  pager.set_limit(pages);
  std::vector<std::uint64_t> fresh;
  for (const store::TreeRoot& root : {live.roots.names, live.roots.recency}) {
    store::tree_walk(
        pager, root,
        [&](PageNo page, const store::Page& content) {
          if (content.header.birth > raw(durable.txn)) fresh.push_back(raw(page));
          return true;
        },
        [&](PageNo, const store::Error& error) { ADD_FAILURE() << store::describe(error); });
  }
  ASSERT_GE(fresh.size(), 4U);
  Random random;
  SCOPED_TRACE(random.hint());
  std::size_t torn_believed = 0;
  for (const std::uint64_t page : fresh) {
    Image lost(image);
    std::memset(lost.page(page), 0, kPageSize);
    lost.write(copy(), true);
    const Opened opened = open_file(copy());
    if (image.has_image_of(page)) {
      EXPECT_EQ(opened.from, "live");
      EXPECT_EQ(difference(live_tree_, opened.tree), "");
      continue;
    }
    expect_checkpoint(opened);
    ASSERT_EQ(opened.events.size(), 1U);
    EXPECT_THAT(opened.events.front(), HasSubstr("page " + std::to_string(page)));

    // Torn: some sectors are old (zeros here). It may be that they held nothing.
    Image torn(image);
    for (std::size_t sector = 0; sector < kPageSize; sector += 512) {
      if (random.chance(30)) std::memset(torn.page(page) + sector, 0, 512);
    }
    torn.write(copy(), true);
    const Opened result = open_file(copy());
    if (result.from == "live") {
      ++torn_believed;
      expect_live(result);
    } else {
      expect_checkpoint(result);
    }
  }
  std::cout << fresh.size() << " pages lost, each; of the torn ones " << torn_believed
            << " had lost nothing\n";
}

// Two sessions that went on from the same checkpoint. Pages of the first had reached the disk when it was
// lost; the second one numbers its transactions and pages anew.
TEST_F(ForeignLiveMetaTest, APageOfALostSessionIsNotTakenForOneOfTheNext) {
  Image start(path());
  const auto session = [&](const std::string& text) {
    start.write(copy(), false);
    const pid_t child = ::fork();
    if (child == 0) {
      Options options;
      options.background = false;
      options.bound_given = false;
      auto opened = Store::open(copy(), options);
      bool fine = opened.has_value();
      for (int i = 0; fine && i < 20; ++i)
        fine = (*opened)
                   ->put("d" + std::to_string(i % 3) + "/f" + std::to_string(i), store::as_bytes(text))
                   .has_value();
      ::_exit(fine ? 0 : 1);  // without closing
    }
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    return Image(copy());
  };
  Image first = session(patterned(10, 700));
  Image second = session(patterned(11, 700));
  const Meta live = second.live();
  const std::uint64_t pages = std::min(first.size(), second.size()) / kPageSize;
  store::Pager pager(second.base(), pages);
  pager.set_limit(pages);
  std::vector<std::uint64_t> mixed;
  store::tree_walk(
      pager, live.roots.names,
      [&](PageNo page, const store::Page&) {
        if (std::memcmp(first.page(raw(page)), second.page(raw(page)), kPageSize) != 0)
          mixed.push_back(raw(page));
        return true;
      },
      [&](PageNo, const store::Error& error) { ADD_FAILURE() << store::describe(error); });
  ASSERT_GE(mixed.size(), 4U);
  Image(second).write(copy(), true);
  const Tree newest = open_file(copy()).tree;
  std::size_t noticed = 0;
  for (const std::uint64_t page : mixed) {
    if (second.has_image_of(page)) continue;  // that would bring it back
    Image image(second);
    std::memcpy(image.page(page), first.page(page), kPageSize);
    image.write(copy(), true);
    const Opened opened = open_file(copy());
    if (second.has_image_of(page)) {  // which brings it back
      EXPECT_EQ(opened.from, "live");
      EXPECT_EQ(difference(newest, opened.tree), "");
      continue;
    }
    expect_checkpoint(opened);
    ++noticed;
  }
  EXPECT_GT(noticed, 0U);
}

TEST_F(ForeignLiveMetaTest, ALostLogPageIsNoticed) {
  Image image(path());
  const auto durable_end = image.durable().space.log_end;
  const auto live_end = image.live().space.log_end;
  ASSERT_EQ(raw(durable_end.segment), raw(live_end.segment)) << "choose another workload";
  ASSERT_LT(durable_end.offset, live_end.offset);
  std::memset(image.page(raw(durable_end.segment)) + durable_end.offset, 0,
              live_end.offset - durable_end.offset);
  image.write(copy(), true);
  expect_checkpoint(open_file(copy()));
}

TEST_F(ForeignLiveMetaTest, ALostGrowthIsNoticed) {
  const std::uint64_t size_before = std::filesystem::file_size(path());
  // Content only: no tree page lies in what was grown.
  const std::uint64_t want = size_before + (2U << 20U);
  put("d2/large", patterned(5, want));
  live_tree_ = tree(store());
  Image image(path());
  ASSERT_GT(image.size(), size_before);
  image.cut(size_before);
  image.write(copy(), true);
  expect_checkpoint(open_file(copy()));
}

TEST_F(ForeignLiveMetaTest, ATornLiveMetaLeavesTheOneBefore) {
  // SIGKILL while it is written: all else is as before, pages that are edited in place, too.
  const Tree before = live_tree_;
  Image image(path());
  put("d1/last", "x");
  Image after(path());
  const std::uint64_t slot = store::kLiveMetaPage + raw(after.live().txn) % 2;
  for (const std::size_t at : {0U, 100U, 504U, 511U}) {
    Image torn(image);
    std::copy_n(after.page(slot), kPageSize, torn.page(slot));
    torn.write(copy(), true);  // adopts
    torn.page(slot)[at] ^= std::byte{1};
    std::fstream file(copy(), std::ios::binary | std::ios::in | std::ios::out);
    file.write(reinterpret_cast<const char*>(torn.base()), static_cast<std::streamsize>(torn.size()));
    file.close();
    const Opened opened = open_file(copy());
    EXPECT_EQ(opened.from, "live");
    EXPECT_EQ(difference(before, opened.tree), "");
  }
}

TEST_F(ForeignLiveMetaTest, FromCheckpointIgnoresLiveMetas) {
  Image(path()).write(copy(), true);
  // Reading only changes nothing.
  expect_checkpoint(open_file(copy(), true, true));
  expect_live(open_file(copy(), false, true));
  // Once it was opened for writing that way, the live metas of the past stay ignored.
  expect_checkpoint(open_file(copy(), true));
  const Opened again = open_file(copy());
  EXPECT_EQ(again.from, "clean");
  EXPECT_EQ(difference(durable_tree_, again.tree), "");
}

TEST_F(ForeignLiveMetaTest, AfterFromCheckpointAKillDoesNotBringThePastBack) {
  for (const bool changes : {false, true}) {
    Image(path()).write(copy(), true);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      Options options;
      options.background = false;
      options.from_checkpoint = true;
      options.bound_given = false;
      auto opened = Store::open(copy(), options);
      bool fine = opened.has_value();
      if (fine && changes) fine = (*opened)->put("d1/after", store::as_bytes("x")).has_value();
      ::_exit(fine ? 0 : 1);  // without closing
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0);
    const Opened opened = open_file(copy());
    EXPECT_EQ(opened.from, changes ? "live" : "checkpoint");
    EXPECT_EQ(opened.tree.contains("d1/after"), changes);
    EXPECT_FALSE(opened.tree.contains("d1/new"));
    EXPECT_TRUE(opened.tree.contains("d0/large"));
  }
}

// The bound that was given to a session that died is the bound that its state has.
TEST_F(ForeignLiveMetaTest, AKillAfterTheBoundRose) {
  close();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    Options options;
    options.background = false;
    options.sync = Options::Sync::kUnmount;
    options.bound = 128U << 20U;
    auto opened = Store::open(path(), options);
    bool fine = opened.has_value();
    for (int i = 0; fine && i < 6; ++i)
      fine = (*opened)
                 ->put("d1/large" + std::to_string(i), store::as_bytes(patterned(6, 10U << 20U)))
                 .has_value();
    ::_exit(fine ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_EQ(check(), "");
  const Opened opened = open_file(path());
  EXPECT_EQ(opened.from, "live");
  EXPECT_TRUE(opened.tree.contains("d1/large5"));
}

TEST_F(ForeignLiveMetaTest, ACleanCloseIsKnownAsOne) {
  for (int i = 0; i < 4; ++i) {
    if (i % 2 == 0) put("d1/x", std::to_string(i));
    ok(store().checkpoint());
    close();
    open();
    EXPECT_EQ(store().statistics().opened_from, "clean") << i;
    put("d1/y", std::to_string(i));
  }
}

}  // namespace
}  // namespace lrufs::test
