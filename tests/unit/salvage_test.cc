// What of a damaged store counts as whole: an object of which a record may be missing is no part of it, its
// neighbours are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "store/keys.h"
#include "store/node.h"
#include "store/page.h"
#include "store/repair.h"
#include "store/salvage.h"
#include "tests/support/random.h"
#include "tests/support/store_fixture.h"
#include "tests/support/store_ops.h"

namespace lrufs::test {
namespace {

using store::Ino;
using store::Inode;
using store::kPageSize;
using store::NodeView;
using store::Page;
using store::PageNo;
using store::Salvage;
using store::Status;
using store::Transaction;
using ::testing::Contains;
using ::testing::Not;

struct Leaf {
  std::uint64_t page = 0;
  std::set<std::uint64_t> inodes;    // that have their inode's record in it
  std::set<std::uint64_t> contents;  // that have any other record in it
};

class SalvageTest : public StoreTest {
 protected:
  SalvageTest() { check_at_end_ = false; }

  // Files of one page of content each in two extents, with an xattr and a second name: records of five kinds.
  void fill() {
    const Ino dir = make(store::kRootIno, "d", 0040755).ino;
    for (int i = 0; i < 120; ++i) {
      const Inode file = make(dir, "f" + std::to_string(i));
      change(file.ino, [&](Transaction& txn, Inode& inode) -> Status {
        LRUFS_TRY(txn.write(inode, 0, store::as_bytes(patterned(1, kPageSize))));
        LRUFS_TRY(txn.write(inode, 8 * kPageSize, store::as_bytes(patterned(2, kPageSize))));
        LRUFS_TRY(txn.set_xattr(inode, "user.a", store::as_bytes(patterned(3, 300))));
        LRUFS_TRY_ASSIGN(Inode to, txn.view().inode(dir));
        LRUFS_TRY(txn.link(to, "g" + std::to_string(i), inode));
        return txn.put_inode(to);
      });
      files_.insert(raw(file.ino));
    }
    reopen();
  }
  std::vector<Leaf> leaves() {
    std::vector<Leaf> found;
    const store::Snapshot snapshot = store().snapshot();
    store::tree_walk(
        snapshot.view().pager(), snapshot.view().roots().names,
        [&](PageNo page, const Page& content) {
          const NodeView node(content);
          if (!node.is_leaf()) return true;
          Leaf leaf{raw(page), {}, {}};
          for (std::uint16_t i = 0; i < node.count(); ++i) {
            const auto parts = store::split_key(node.key(i));
            if (!parts || !files_.contains(raw(parts->owner))) continue;
            (parts->kind == store::Kind::kInode ? leaf.inodes : leaf.contents).insert(raw(parts->owner));
          }
          found.push_back(std::move(leaf));
          return true;
        },
        [](PageNo, const store::Error&) { FAIL(); });
    return found;
  }
  // The page as `body` leaves it, with the checksum that it then has. The store must be closed.
  void edit_page(std::uint64_t number, const std::function<void(Page&)>& body) const {
    Page page;
    std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(number * kPageSize));
    file.read(reinterpret_cast<char*>(page.bytes()), kPageSize);
    body(page);
    file.seekp(static_cast<std::streamoff>(number * kPageSize));
    file.write(reinterpret_cast<const char*>(page.bytes()), kPageSize);
    ASSERT_TRUE(file.good());
  }
  Salvage salvage() {
    const store::Snapshot snapshot = store().snapshot();
    return store::salvage(snapshot.view());
  }
  [[nodiscard]] std::set<std::uint64_t> kept(const Salvage& salvage) const {
    std::set<std::uint64_t> inodes;
    for (const auto& object : salvage.objects) {
      if (files_.contains(raw(object.inode.ino))) inodes.insert(raw(object.inode.ino));
    }
    return inodes;
  }
  [[nodiscard]] std::set<std::uint64_t> gone(const Salvage& salvage) const {
    const auto left = kept(salvage);
    std::set<std::uint64_t> gone;
    std::set_difference(files_.begin(), files_.end(), left.begin(), left.end(),
                        std::inserter(gone, gone.begin()));
    return gone;
  }

  std::set<std::uint64_t> files_;
};

TEST_F(SalvageTest, OfASoundStoreNothingIsHurt) {
  fill();
  const Salvage found = salvage();
  EXPECT_THAT(found.dropped, ::testing::IsEmpty());
  EXPECT_EQ(kept(found), files_);
  EXPECT_EQ(found.found, 0U);
}

TEST_F(SalvageTest, WhatMayHaveLostARecordIsHurtAndItsNeighboursAreNot) {
  fill();
  std::size_t with_a_part_elsewhere = 0;  // of which the inode alone would tell nothing
  for (const Leaf& leaf : leaves()) {
    SCOPED_TRACE("page " + std::to_string(leaf.page));
    close();
    const auto spoil = [](Page& page) { page.bytes()[kPageSize - 9] ^= std::byte{0x40}; };
    edit_page(leaf.page, spoil);
    open();
    const Salvage found = salvage();
    const auto hurt = gone(found);
    std::set<std::uint64_t> must = leaf.inodes;
    must.insert(leaf.contents.begin(), leaf.contents.end());
    for (const std::uint64_t ino : must) EXPECT_TRUE(hurt.contains(ino)) << "inode " << ino << " is kept";
    // Of the object before it nobody can tell.
    for (const std::uint64_t ino : hurt)
      EXPECT_TRUE(must.contains(ino) || (!must.empty() && ino + 1 == *must.begin())) << "inode " << ino;
    for (const std::uint64_t ino : leaf.contents) {
      if (leaf.inodes.contains(ino)) continue;
      ++with_a_part_elsewhere;
      // Its directory knows what it is called.
      const std::uint64_t number = ino - *files_.begin();
      EXPECT_THAT(found.dropped, Contains("/d/f" + std::to_string(number)));
    }
    close();
    edit_page(leaf.page, spoil);
    open();
    ASSERT_EQ(kept(salvage()), files_);
  }
  EXPECT_GE(with_a_part_elsewhere, 5U);
}

// The page is sound in itself, but not the one that belongs there: what should be there is missing, and no
// error tells.
TEST_F(SalvageTest, APageInTheWrongPlaceHurtsWhatShouldBeThere) {
  fill();
  const auto root = store().snapshot().view().roots().names;
  const auto all = leaves();
  close();
  std::uint64_t lost = 0;
  edit_page(raw(root.page), [&](Page& page) {
    store::Node node(page);
    ASSERT_FALSE(node.is_leaf());
    ASSERT_GE(node.count(), 5U);
    lost = raw(node.child(3));
    node.set_child(3, node.child(2), node.child_birth(2));
    store::seal_page(page);
  });
  const auto leaf = std::find_if(all.begin(), all.end(), [&](const Leaf& one) { return one.page == lost; });
  ASSERT_NE(leaf, all.end());
  ASSERT_FALSE(leaf->contents.empty());
  open();
  const auto hurt = gone(salvage());
  for (const std::uint64_t ino : leaf->inodes) EXPECT_TRUE(hurt.contains(ino)) << ino;
  for (const std::uint64_t ino : leaf->contents) EXPECT_TRUE(hurt.contains(ino)) << ino;
  EXPECT_LE(hurt.size(), leaf->contents.size() + leaf->inodes.size() + 1);
}

// Records that are missing without a trace: zeros must not take the place of the content.
TEST_F(SalvageTest, AnObjectWithFewerPagesThanItCountsIsHurt) {
  fill();
  const std::uint64_t victim = *std::next(files_.begin(), 50);
  std::uint64_t page_of_extent = 0;
  for (const Leaf& leaf : leaves()) {
    if (leaf.contents.contains(victim)) page_of_extent = leaf.page;  // the last one: extents come last
  }
  close();
  edit_page(page_of_extent, [&](Page& page) {
    store::Node node(page);
    for (std::uint16_t i = 0; i < node.count(); ++i) {
      const auto parts = store::split_key(node.key(i));
      if (!parts || raw(parts->owner) != victim || parts->kind != store::Kind::kExtent) continue;
      node.erase(i);
      store::seal_page(page);
      return;
    }
    FAIL() << "no extent";
  });
  open();
  EXPECT_EQ(gone(salvage()), std::set<std::uint64_t>{victim});
  EXPECT_EQ(code_of(store().get("d/f50")), "ok") << "reading alone does not tell";
  close();
  const auto report = store::repair_file(path());
  ASSERT_TRUE(report) << say(report);
  EXPECT_THAT(report->dropped, Contains("/d/f50"));
  EXPECT_THAT(report->dropped, Not(Contains("/d/f49")));
  EXPECT_EQ(check(), "");
  open();
  EXPECT_EQ(code_of(store().get("d/f50")), "not_found");
  EXPECT_EQ(get("d/f49").size(), 9 * kPageSize);
}

}  // namespace
}  // namespace lrufs::test
