// ReaderTable: leases hold the oldest state back; readers always get the roots of the state they announced.
#include "store/reader_table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace lrufs::test {
namespace {

using store::PageNo;
using store::ReaderTable;
using store::Roots;
using store::TreeRoot;
using store::TxnId;

// Roots that tell their transaction in every word.
Roots roots_of(std::uint64_t txn) {
  const auto root = [&](std::uint64_t i) { return TreeRoot{PageNo{txn * 8 + i}, TxnId{txn * 16 + i}}; };
  return {root(0), root(1), root(2), root(3)};
}
bool same(const Roots& a, const Roots& b) {
  return a.names == b.names && a.recency == b.recency && a.expiry == b.expiry && a.spare == b.spare;
}

TEST(ReaderTable, ReadersStartAtTheLatestState) {
  ReaderTable table;
  table.publish(TxnId{5}, roots_of(5));
  EXPECT_EQ(table.latest(), TxnId{5});
  EXPECT_EQ(table.oldest(), TxnId{5});
  const auto a = table.acquire(false);
  EXPECT_EQ(a.txn, TxnId{5});
  EXPECT_TRUE(same(a.roots, roots_of(5)));
  table.publish(TxnId{6}, roots_of(6));
  const auto b = table.acquire(true);
  EXPECT_EQ(b.txn, TxnId{6});
  EXPECT_TRUE(same(b.roots, roots_of(6)));
  EXPECT_NE(a.slot, b.slot);
  EXPECT_EQ(table.count(), 2U);
  EXPECT_TRUE(table.any_frozen());
  table.publish(TxnId{7}, roots_of(7));
  EXPECT_EQ(table.oldest(), TxnId{5});
  table.release(a, false);
  EXPECT_EQ(table.oldest(), TxnId{6});
  EXPECT_TRUE(table.any_frozen());
  table.release(b, true);
  EXPECT_FALSE(table.any_frozen());
  EXPECT_EQ(table.oldest(), TxnId{7});
  EXPECT_EQ(table.count(), 0U);
}

TEST(ReaderTable, ManyStatesPassALongReader) {
  ReaderTable table;
  table.publish(TxnId{100}, roots_of(100));
  const auto lease = table.acquire(false);
  for (std::uint64_t txn = 101; txn < 1000; ++txn) {
    table.publish(TxnId{txn}, roots_of(txn));
    ASSERT_EQ(table.oldest(), TxnId{100});
    const auto short_lease = table.acquire(false);
    ASSERT_EQ(short_lease.txn, TxnId{txn});
    ASSERT_TRUE(same(short_lease.roots, roots_of(txn)));
    table.release(short_lease, false);
  }
  EXPECT_TRUE(same(lease.roots, roots_of(100)));
  table.release(lease, false);
}

TEST(ReaderTable, AllSlotsCanBeTaken) {
  ReaderTable table;
  table.publish(TxnId{1}, roots_of(1));
  std::vector<ReaderTable::Lease> leases;
  std::vector<bool> seen(ReaderTable::kSlots);
  for (std::size_t i = 0; i < ReaderTable::kSlots; ++i) {
    leases.push_back(table.acquire(false));
    ASSERT_LT(leases.back().slot, ReaderTable::kSlots);
    ASSERT_FALSE(seen[leases.back().slot]);
    seen[leases.back().slot] = true;
  }
  EXPECT_EQ(table.count(), ReaderTable::kSlots);
  // One more waits until a slot is free.
  std::atomic<bool> got{false};
  std::thread waiter([&] {
    const auto lease = table.acquire(false);
    got = true;
    table.release(lease, false);
  });
  EXPECT_FALSE(got);
  table.release(leases.back(), false);
  waiter.join();
  EXPECT_TRUE(got);
  leases.pop_back();
  for (const auto& lease : leases) table.release(lease, false);
  EXPECT_EQ(table.count(), 0U);
}

TEST(ReaderTable, RootsAreNeverTornAndNeverTooOld) {
  ReaderTable table;
  table.publish(TxnId{1}, roots_of(1));
  std::atomic<std::uint64_t> oldest_seen{1};  // what the writer would reuse pages by
  std::atomic<int> wrong{0};
  std::atomic<int> done{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&] {
      std::uint64_t last = 0;
      for (int i = 0; i < 20000; ++i) {
        const std::uint64_t before = table.latest() == TxnId{0} ? 0 : raw(table.latest());
        const auto lease = table.acquire(i % 3 == 0);
        // While the lease lives the writer's view of the oldest state must not pass it.
        if (!same(lease.roots, roots_of(raw(lease.txn)))) ++wrong;
        if (raw(lease.txn) < before || raw(lease.txn) < last) ++wrong;
        if (oldest_seen.load() > raw(lease.txn)) ++wrong;
        last = raw(lease.txn);
        table.release(lease, i % 3 == 0);
      }
      ++done;
    });
  }
  for (std::uint64_t txn = 2; done.load() < 3; ++txn) {
    table.publish(TxnId{txn}, roots_of(txn));
    oldest_seen = raw(table.oldest());
  }
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(table.count(), 0U);
  EXPECT_FALSE(table.any_frozen());
}

TEST(ReaderTable, ExcludeGivesUpWhileAReaderStays) {
  ReaderTable table;
  table.publish(TxnId{3}, roots_of(3));
  EXPECT_TRUE(table.exclude());
  table.admit();
  for (const bool frozen : {false, true}) {
    const auto lease = table.acquire(frozen);
    ASSERT_FALSE(table.exclude());
    // It has not shut anybody out.
    const auto other = table.acquire(false);
    EXPECT_TRUE(same(other.roots, roots_of(3)));
    table.release(other, false);
    EXPECT_FALSE(table.exclude());
    table.release(lease, frozen);
    EXPECT_TRUE(table.exclude());
    EXPECT_FALSE(table.any());
    table.admit();
  }
}

TEST(ReaderTable, WhoComesWhileTheWriterIsAloneWaitsForTheNextState) {
  ReaderTable table;
  table.publish(TxnId{3}, roots_of(3));
  ASSERT_TRUE(table.exclude());
  std::atomic<bool> inside{false};
  std::atomic<std::uint64_t> seen{0};
  std::thread reader([&] {
    const auto lease = table.acquire(false);
    seen = same(lease.roots, roots_of(raw(lease.txn))) ? raw(lease.txn) : 0;
    inside = true;
    table.release(lease, false);
  });
  // Its slot is taken, and it waits there.
  while (table.count() == 0 && !inside) std::this_thread::yield();
  for (int i = 0; i < 1000 && !inside; ++i) std::this_thread::yield();
  table.publish(TxnId{4}, roots_of(4));
  EXPECT_FALSE(inside);
  table.admit();
  reader.join();
  EXPECT_EQ(seen, 4U);
  EXPECT_EQ(table.count(), 0U);
}

// The writer changes under everybody's feet what only readers look at: two words that must agree. Plain
// memory, so that ThreadSanitizer looks, too.
TEST(ReaderTable, NobodyReadsWhileTheWriterIsAlone) {
  ReaderTable table;
  table.publish(TxnId{1}, roots_of(1));
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  std::atomic<bool> alone{false};
  std::atomic<int> wrong{0};
  std::atomic<std::uint64_t> reads{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&, t] {
      while (!stop.load()) {
        const auto lease = table.acquire(t == 0);
        if (alone.load()) ++wrong;
        if (first != second) ++wrong;
        if (!same(lease.roots, roots_of(raw(lease.txn)))) ++wrong;
        if (alone.load()) ++wrong;
        ++reads;
        table.release(lease, t == 0);
        if (t == 2) std::this_thread::yield();
      }
    });
  }
  std::uint64_t excluded = 0;
  std::uint64_t refused = 0;
  for (std::uint64_t txn = 2; excluded < 2000 || reads.load() < 20000; ++txn) {
    if (table.exclude()) {
      alone = true;
      ++first;
      if (txn % 16 == 0) std::this_thread::yield();
      ++second;
      alone = false;
      table.publish(TxnId{txn}, roots_of(txn));
      table.admit();
      ++excluded;
    } else {
      ++refused;
      std::this_thread::yield();
    }
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(first, excluded);
  EXPECT_EQ(second, excluded);
  EXPECT_EQ(table.count(), 0U);
}

}  // namespace
}  // namespace lrufs::test
