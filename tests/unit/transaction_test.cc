// Transactions and snapshots: all or nothing, no trace of what was aborted, and views that do not change.
#include "store/transaction.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <list>
#include <map>
#include <optional>
#include <thread>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/store_fixture.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::as_text;
using store::Code;
using store::Ino;
using store::Inode;
using store::kRootIno;
using store::ReadView;
using store::Snapshot;
using store::Status;
using store::Store;
using store::Transaction;

// Everything that a view shows, as text.
std::string dump(const ReadView& view, Ino ino = kRootIno, const std::string& path = "") {
  const auto inode = view.inode(ino);
  if (!inode) return path + ": " + say(inode) + "\n";
  std::string out = path + " ino=" + std::to_string(raw(ino)) + " mode=" + std::to_string(inode->mode) +
                    " nlink=" + std::to_string(inode->nlink) + " size=" + std::to_string(inode->size) +
                    " entries=" + std::to_string(inode->entries) + " pages=" + std::to_string(inode->pages) +
                    " flags=" + std::to_string(inode->flags) +
                    " touched=" + std::to_string(raw(inode->touched)) + "\n";
  std::string text(inode->size, '?');
  const auto read = view.read(*inode, 0, {reinterpret_cast<std::byte*>(text.data()), text.size()});
  out += read ? std::to_string(store::hash64(as_bytes(text))) + "\n" : say(read);
  const auto names = view.xattr_names(ino);
  if (!names) return out + say(names);
  for (const std::string& name : *names) {
    const auto xattr = view.xattr(ino, name);
    out += "  " + name + "=" + (xattr ? *xattr : say(xattr)) + "\n";
  }
  std::vector<std::pair<std::string, Ino>> entries;
  const Status listed = view.list(ino, store::Cookie{0}, [&](const store::DirEntry& entry) {
    entries.emplace_back(entry.name, entry.ino);
    return true;
  });
  if (!listed) return out + say(listed);
  for (const auto& [name, child] : entries) out += dump(view, child, path + "/" + name);
  return out;
}

class TransactionTest : public StoreTest {
 protected:
  std::string dump_now() { return dump(store().snapshot().view()); }
  // Figures that an abort must not change.
  std::string figures() {
    const store::Statistics s = store().statistics();
    return "files=" + std::to_string(s.files) + " directories=" + std::to_string(s.directories) +
           " orphans=" + std::to_string(s.orphans) + " bytes=" + std::to_string(s.content_bytes) +
           " used=" + std::to_string(s.used_bytes) + " txn=" + std::to_string(s.txn) +
           " touches=" + std::to_string(s.pending_touches) +
           " unused=" + std::to_string(s.free_bytes + s.pending_bytes);
  }
};

TEST_F(TransactionTest, SeesItsOwnChangesAndNobodyElseDoes) {
  put("a", "old");
  const Inode a = resolve("a");
  Transaction txn = *store().begin();
  Inode inode = value(txn.view().inode(a.ino));
  ok(txn.write(inode, 0, as_bytes("new!")));
  ok(txn.put_inode(inode));
  EXPECT_EQ(content(txn.view(), a.ino), "new!");
  {
    const Snapshot other = store().snapshot(Snapshot::Kind::kTransient);
    EXPECT_EQ(content(other.view(), a.ino), "old");
    EXPECT_LT(other.id(), txn.id());
  }
  ok(txn.commit());
  EXPECT_EQ(get("a"), "new!");
  EXPECT_EQ(store().snapshot().id(), txn.id());
}

TEST_F(TransactionTest, DestructionAborts) {
  put("a", "old");
  const std::string before = dump_now();
  const std::string figures_before = figures();
  {
    Transaction txn = *store().begin();
    Inode root = value(txn.view().inode(kRootIno));
    Inode prototype;
    prototype.mode = 0100644;
    Inode made = value(txn.create(prototype));
    ok(txn.link(root, "b", made));
    ok(txn.put_inode(root));
    ok(txn.put_inode(made));
    EXPECT_TRUE(txn.view().lookup(kRootIno, "b"));
  }
  EXPECT_EQ(dump_now(), before);
  EXPECT_EQ(figures(), figures_before);
}

TEST_F(TransactionTest, AnErrorFromTheBodyAborts) {
  put("a", "old");
  const std::string before = dump_now();
  const Status done = store().update([&](Transaction& txn) -> Status {
    Inode inode = value(txn.view().inode(resolve("a").ino));
    LRUFS_TRY(txn.truncate(inode, 100000));
    LRUFS_TRY(txn.put_inode(inode));
    return store::fail(Code::kNotPermitted, "no");
  });
  EXPECT_EQ(code_of(done), "not_permitted");
  EXPECT_EQ(done.error().message, "no");
  EXPECT_EQ(dump_now(), before);
}

TEST_F(TransactionTest, ATransactionWithoutChangesPublishesNothing) {
  put("a", "1");
  const std::uint64_t txn = store().statistics().txn;
  ok(store().update([](Transaction& t) -> Status {
    const auto inode = t.view().inode(kRootIno);
    return inode ? Status{} : store::fail(inode.error());
  }));
  EXPECT_EQ(store().statistics().txn, txn);
}

// Everything at once, aborted: not a page, count, or place in the order may differ.
TEST_F(TransactionTest, AbortsLeaveNoTrace) {
  Random random;
  SCOPED_TRACE(random.hint());
  const auto name_of = [&] { return "f" + std::to_string(random.below(20)); };
  for (int i = 0; i < 20; ++i) put("f" + std::to_string(i), random.text(random.skewed(30000)));
  for (int i = 0; i < 10; ++i) {
    change(resolve(name_of()).ino, [&](Transaction& txn, Inode& inode) {
      return txn.set_xattr(inode, "user.x", as_bytes(random.text(random.skewed(3000))));
    });
  }
  for (std::size_t round = 0; round < scaled(150); ++round) {
    if (round % 10 == 0) ok(store().checkpoint());
    if (random.chance(30)) store().touch(resolve(name_of()).ino);
    const std::string before = dump_now();
    const std::string figures_before = figures();
    store::StagedData staged;
    const std::string staged_text = random.text(70000);
    if (random.chance(30)) staged = value(store().stage(0, as_bytes(staged_text)));
    {
      Transaction txn = *store().begin();
      Inode root = value(txn.view().inode(kRootIno));
      for (int step = 0; step < 8; ++step) {
        const std::string name = name_of();
        const auto entry = txn.view().lookup(kRootIno, name);
        if (!entry) {
          Inode prototype;
          prototype.mode = random.chance(30) ? 0040755U : 0100644U;
          Inode made = value(txn.create(prototype));
          ok(txn.link(root, name, made));
          ok(txn.put_inode(made));
          continue;
        }
        Inode inode = value(txn.view().inode(entry->ino));
        if (inode.is_directory()) continue;
        switch (random.below(7)) {
          case 0:
            ok(txn.write(inode, random.skewed(40000), as_bytes(random.text(random.skewed(20000)))));
            break;
          case 1:
            ok(txn.truncate(inode, random.skewed(40000)));
            break;
          case 2:
            ok(txn.punch(inode, random.skewed(40000), random.skewed(40000)));
            break;
          case 3:
            ok(txn.set_xattr(inode, "user.y", as_bytes(random.text(random.skewed(5000)))));
            break;
          case 4:
            ok(txn.unlink(root, name, inode));
            if (inode.nlink == 0) {
              if (random.chance(50)) {
                ok(txn.destroy(inode));
                continue;
              }
              ok(txn.orphan(inode));
            }
            break;
          case 5: {
            const std::string other = "link" + std::to_string(random.below(1000000));
            ok(txn.link(root, other, inode));
            break;
          }
          default:
            if (!staged.empty()) ok(txn.write(inode, 0, as_bytes(staged_text), &staged));
            break;
        }
        ok(txn.put_inode(inode));
      }
      ok(txn.put_inode(root));
      if (random.chance(50)) txn.abort();
    }
    if (!staged.empty()) staged = store::StagedData();
    ASSERT_EQ(dump_now(), before) << "round " << round;
    ASSERT_EQ(figures(), figures_before) << "round " << round;
    // Something real in between.
    put(name_of(), random.text(random.skewed(30000)));
  }
}

TEST_F(TransactionTest, SnapshotsStayAsTheyWere) {
  Random random;
  SCOPED_TRACE(random.hint());
  struct Held {
    Snapshot snapshot;
    std::string expected;
  };
  std::list<Held> held;
  const auto name_of = [&] {
    return "d" + std::to_string(random.below(3)) + "/f" + std::to_string(random.below(15));
  };
  for (std::size_t step = 0; step < scaled(600); ++step) {
    switch (random.below(8)) {
      case 0:
      case 1:
        put(name_of(), random.text(random.skewed(60000)));
        break;
      case 2: {
        const auto erased = store().erase(name_of());
        ASSERT_TRUE(erased || erased.error().code == Code::kNotFound) << say(erased);
        break;
      }
      case 3: {
        // In place, where it may be.
        const auto inode = store().resolve(name_of());
        if (!inode) break;
        change(inode->ino, [&](Transaction& txn, Inode& file) {
          return txn.write(file, random.skewed(50000), as_bytes(random.text(1 + random.skewed(10000))),
                           nullptr, Transaction::WriteMode::kInPlace);
        });
        break;
      }
      case 4: {
        const auto inode = store().resolve(name_of());
        if (!inode) break;
        change(inode->ino,
               [&](Transaction& txn, Inode& file) { return txn.truncate(file, random.skewed(60000)); });
        break;
      }
      case 5:
        value(store().evict(random.skewed(100000)));
        break;
      case 6:
        if (random.chance(30)) ok(store().checkpoint());
        break;
      default:
        if (held.size() < 6) {
          Snapshot snapshot = store().snapshot(Snapshot::Kind::kFull);
          std::string expected = dump(snapshot.view());
          held.push_back({std::move(snapshot), std::move(expected)});
        } else {
          held.erase(std::next(held.begin(), static_cast<long>(random.below(held.size()))));
        }
        break;
    }
    if (step % 10 == 0) {
      for (const Held& one : held) ASSERT_EQ(dump(one.snapshot.view()), one.expected) << "step " << step;
    }
  }
  EXPECT_EQ(store().statistics().readers, held.size());
  for (const Held& one : held) ASSERT_EQ(dump(one.snapshot.view()), one.expected);
}

TEST_F(TransactionTest, PagesThatASnapshotSeesComeBackWhenItEnds) {
  put("a", std::string(1U << 20U, 'x'));
  ok(store().checkpoint());
  {
    const Snapshot snapshot = store().snapshot();
    ok(store().erase("a"));
    for (int i = 0; i < 3; ++i) {
      put("b", "x");
      ok(store().checkpoint());
    }
    EXPECT_GE(store().statistics().pending_bytes, 1U << 20U);
    EXPECT_GT(store().statistics().oldest_reader_lag, 0U);
  }
  put("b", "y");
  ok(store().checkpoint());
  put("b", "z");
  EXPECT_LT(store().statistics().pending_bytes, 200000U);
}

TEST_F(TransactionTest, WritersInPlaceChangeWhatTransientReadersSee) {
  // The promise of write(2), no more: whether they see the old or the new bytes is open, but a full snapshot
  // sees the old.
  put("a", std::string(50000, 'a'));
  const Inode inode = resolve("a");
  const std::uint64_t used = store().statistics().used_bytes;
  change(inode.ino, [&](Transaction& txn, Inode& file) {
    return txn.write(file, 10000, as_bytes(std::string(20000, 'b')), nullptr,
                     Transaction::WriteMode::kInPlace);
  });
  EXPECT_EQ(store().statistics().used_bytes, used);
  const Snapshot frozen = store().snapshot(Snapshot::Kind::kFull);
  const std::string before = content(frozen.view(), inode.ino);
  EXPECT_EQ(before, std::string(10000, 'a') + std::string(20000, 'b') + std::string(20000, 'a'));
  change(inode.ino, [&](Transaction& txn, Inode& file) {
    return txn.write(file, 0, as_bytes(std::string(50000, 'c')), nullptr, Transaction::WriteMode::kInPlace);
  });
  EXPECT_EQ(content(frozen.view(), inode.ino), before);
  EXPECT_EQ(content(inode.ino), std::string(50000, 'c'));
}

TEST_F(TransactionTest, AKilledWriterInPlaceNeverTouchesWhatIsDurable) {
  put("a", std::string(50000, 'a'));
  const Inode inode = resolve("a");
  ok(store().checkpoint());
  // Pages of the durable state: copied although the caller would take them in place.
  change(inode.ino, [&](Transaction& txn, Inode& file) {
    return txn.write(file, 0, as_bytes(std::string(50000, 'b')), nullptr, Transaction::WriteMode::kInPlace);
  });
  const std::string copied = dir_.file("copy");
  std::filesystem::copy_file(path(), copied);
  store::Options options = options_;
  options.from_checkpoint = true;
  auto old = value(Store::open(copied, options));
  EXPECT_EQ(value(old->get("a")), std::string(50000, 'a'));
  ok(old->close());
}

TEST_F(TransactionTest, StagedDataThatIsNotUsedIsGivenBack) {
  const std::string before = figures();
  {
    const auto staged = store().stage(0, as_bytes(std::string(500000, 'x')));
    ASSERT_TRUE(staged);
    EXPECT_EQ(staged->page_count(), store::pages_for(500000));
    EXPECT_EQ(store().statistics().pending_bytes, staged->page_count() * store::kPageSize);
  }
  EXPECT_EQ(figures(), before);
  EXPECT_EQ(store().statistics().pending_bytes, 0U);
  store::StagedData a = value(store().stage(0, as_bytes(std::string(100000, 'x'))));
  store::StagedData b = value(store().stage(0, as_bytes(std::string(100000, 'y'))));
  b = std::move(a);
  EXPECT_TRUE(a.empty());  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(store().statistics().pending_bytes, b.page_count() * store::kPageSize);
}

TEST_F(TransactionTest, SyncAlwaysIsDurableAtReturn) {
  options_.sync = store::Options::Sync::kAlways;
  reopen();
  put("a", "1");
  EXPECT_EQ(store().statistics().durable_txn, store().statistics().txn);
}

TEST_F(TransactionTest, CheckpointsAreShared) {
  put("a", "1");
  ok(store().checkpoint());
  const store::Statistics before = store().statistics();
  ok(store().checkpoint());
  ok(store().checkpoint());
  const store::Statistics after = store().statistics();
  EXPECT_EQ(after.checkpoints, before.checkpoints) << "nothing was published in between";
  EXPECT_EQ(after.sync_calls, before.sync_calls + 2);
}

TEST_F(TransactionTest, TheBarrierWaitsForTheWriter) {
  std::optional<Transaction> txn = *store().begin();
  bool committed = false;
  std::thread waiter([&] {
    store().writer_barrier();
    EXPECT_TRUE(committed);
  });
  Inode root = value(txn->view().inode(kRootIno));
  ok(txn->put_inode(root));
  committed = true;  // ordered by the writer's lock
  ok(txn->commit());
  waiter.join();
}

// One transaction that needs more than is free while everything else is in use: an answer, not a loop.
TEST_F(TransactionTest, ATransactionThatCannotFitEnds) {
  options_.bound = store::kMinBound;
  close();
  std::filesystem::remove(path());
  open();
  // Half of the store is protected.
  const std::string half(2U << 20U, 'h');
  put("half", half);
  const Store::Protection protection(store(), resolve("half").ino);
  const std::string text(3U << 20U, 'x');
  const Status done = store().update([&](Transaction& txn) -> Status {
    LRUFS_TRY_ASSIGN(Inode root, txn.view().inode(kRootIno));
    Inode prototype;
    prototype.mode = 0100644;
    LRUFS_TRY_ASSIGN(Inode made, txn.create(prototype));
    LRUFS_TRY(txn.link(root, "x", made));
    LRUFS_TRY(txn.write(made, 0, as_bytes(text)));
    LRUFS_TRY(txn.put_inode(root));
    return txn.put_inode(made);
  });
  EXPECT_EQ(code_of(done), "no_space");
  EXPECT_EQ(get("half"), half);
}

// One that fits only if a quarter of the store is evicted for it.
TEST_F(TransactionTest, ALargeTransactionEvictsWhatItNeeds) {
  options_.bound = store::kMinBound;
  close();
  std::filesystem::remove(path());
  open();
  for (int i = 0; i < 60; ++i) put("f" + std::to_string(i), std::string(60000, 'f'));
  const std::string text(3U << 20U, 'x');
  ok(store().update([&](Transaction& txn) -> Status {
    LRUFS_TRY_ASSIGN(Inode root, txn.view().inode(kRootIno));
    Inode prototype;
    prototype.mode = 0100644;
    LRUFS_TRY_ASSIGN(Inode made, txn.create(prototype));
    LRUFS_TRY(txn.link(root, "x", made));
    LRUFS_TRY(txn.write(made, 0, as_bytes(text)));
    LRUFS_TRY(txn.put_inode(root));
    return txn.put_inode(made);
  }));
  EXPECT_EQ(get("x"), text);
}

}  // namespace
}  // namespace lrufs::test
