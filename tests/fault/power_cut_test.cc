// ctest: timeout=1500
// Power cuts: workloads on a store over PowerCutFileOps; at random moments, also within checkpoints, the
// files that a power cut could leave are made, and each must open at exactly the state of the last
// checkpoint. 200 images (scaled); 2,000 with LRUFS_LONG=1. The same with a fault built in must find bad
// images: that shows that it would notice.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "store/check.h"
#include "store/faults.h"
#include "store/store.h"
#include "tests/support/power_cut_file_ops.h"
#include "tests/support/random.h"
#include "tests/support/store_fixture.h"
#include "tests/support/store_ops.h"
#include "tests/support/temp_dir.h"

namespace lrufs::test {
namespace {

using store::Code;
using store::Fault;
using store::FaultSwitch;
using store::Inode;
using store::Options;
using store::Status;
using store::Store;
using store::Transaction;
using Moment = PowerCutFileOps::Moment;

// Runs workloads until enough images were made, or a bad one was found.
class PowerCuts {
 public:
  struct Outcome {
    std::size_t images = 0;
    std::size_t within_checkpoints = 0;
    std::size_t workloads = 0;
    std::uint64_t checkpoints = 0;
    std::uint64_t evicted = 0;
    std::string bad;  // what is wrong with the first bad image; empty: nothing
  };

  // `reopen`: workloads close and open the store, too (a fault may make that fail).
  // `fault`: on from the end of the first open, so that the store is made as it should be.
  explicit PowerCuts(bool reopen, std::optional<Fault> fault = std::nullopt)
      : reopen_(reopen), fault_(fault) {}

  // `seed` gives all of it. With `only_bad_images` an operation that fails ends its workload quietly.
  Outcome run(std::uint64_t seed, std::size_t images, std::size_t max_workloads) {
    for (std::uint64_t i = 0; outcome_.images < images && outcome_.bad.empty() && i < max_workloads; ++i) {
      Workload workload(seed + i * 1'000'003, images, reopen_, fault_, outcome_);
      workload.run();
      ++outcome_.workloads;
    }
    return outcome_;
  }

 private:
  class Workload {
   public:
    Workload(std::uint64_t seed, std::size_t wanted, bool reopen, std::optional<Fault> fault,
             Outcome& outcome)
        : seed_(seed), random_(seed), wanted_(wanted), reopen_(reopen), fault_(fault), outcome_(outcome) {
      options_.bound = random_.chance(60) ? store::kMinBound : random_.between(5U << 20U, 12U << 20U);
      options_.background = false;
      options_.file_ops = ops_;
      options_.is_held = [this](store::Ino ino) { return held_.contains(raw(ino)); };
      options_.on_evict = [this](const std::vector<store::Evicted>& gone) {
        outcome_.evicted += gone.size();
      };
      // Some workloads overwrite so much between two checkpoints that the space log is condensed.
      churns_ = random_.chance(15);
      ops_->set_hook([this](Moment moment) { in_sync(moment); });
    }

    void run() {
      if (!open()) return;
      const std::size_t steps = random_.between(60, 250);
      const std::size_t image_percent = random_.between(2, 12);
      for (std::size_t i = 0; i < steps && !finished(); ++i) {
        if (!step()) break;
        if (random_.chance(static_cast<unsigned>(image_percent))) image("between operations");
      }
      if (store_ != nullptr && !finished()) close();
      if (!finished()) image("after the last close");
      store_.reset();
      ops_->set_hook(nullptr);
    }

   private:
    [[nodiscard]] bool finished() const { return outcome_.images >= wanted_ || !outcome_.bad.empty(); }

    void bad(const std::string& text) {
      if (outcome_.bad.empty()) outcome_.bad = text + "\n(workload seed " + std::to_string(seed_) + ")";
    }
    // false: an operation failed that should not
    bool expect(const Status& status, const char* what) {
      if (status) return true;
      if (reopen_) bad(std::string(what) + " fails: " + store::describe(status.error()));
      return false;
    }

    // --- the store
    // -------------------------------------------------------------------------------------------------
    bool open() {
      auto opened = Store::open(path(), options_);
      if (!opened) {
        if (reopen_) bad("open fails: " + store::describe(opened.error()));
        return false;
      }
      store_ = *std::move(opened);
      if (durable_ == std::nullopt) durable_ = Tree{};
      if (fault_ && !switched_on_) switched_on_ = std::make_unique<FaultSwitch>(*fault_);
      return true;
    }

    bool close() {
      closing_ = true;
      const Status closed = store_->close();
      closing_ = false;
      store_.reset();
      settle();
      return expect(closed, "close");
    }

    // A checkpoint returned: its state is durable.
    void settle() {
      if (in_progress_) durable_ = std::move(in_progress_);
      in_progress_.reset();
    }

    bool checkpoint() {
      if (!expect(store_->checkpoint(), "checkpoint")) return false;
      settle();
      return true;
    }

    std::string path() const { return dir_.file("store"); }

    // --- in the middle of a checkpoint
    // -------------------------------------------------------------------------------
    void in_sync(Moment moment) {
      if (finished()) return;
      // A checkpoint that the store began itself (to make room) may have ended since.
      if (moment == Moment::kBeforeSyncAll) {
        settle();
        if (store_ != nullptr) note_state();
      }
      // Without the first sync there is no earlier moment.
      if (!in_progress_ && store_ != nullptr) note_state();
      if (moment == Moment::kAfterSyncRange) settle();
      if (random_.chance(40)) image(PowerCutFileOps::name(moment));
      if (store_ != nullptr && !closing_ && moment != Moment::kAfterSyncRange && random_.chance(70)) {
        const std::size_t count = random_.between(1, 12);
        for (std::size_t i = 0; i < count; ++i) small_step();
        if (random_.chance(30)) image(PowerCutFileOps::name(moment));
      }
    }

    // What the checkpoint that begins will make durable: nothing is running beside it.
    void note_state() {
      const auto snapshot = store_->snapshot();
      auto tree = dump_tree(snapshot.view());
      if (!tree) return bad("the tree cannot be read: " + store::describe(tree.error()));
      // The store may have evicted files; what is there must be what was written.
      for (const auto& [key, text] : *tree) {
        const auto expected = contents_.find(key);
        if (text.find(" mode 100") == std::string::npos || key.starts_with("//")) continue;
        if (expected == contents_.end()) return bad(key + " is there, but was erased");
        char hash[17];
        std::snprintf(hash, sizeof hash, "%016llx",
                      static_cast<unsigned long long>(store::hash64(store::as_bytes(expected->second))));
        if (text.find(hash) == std::string::npos)
          return bad(key + " does not hold what was written to it: " + text);
      }
      in_progress_ = *std::move(tree);
    }

    // --- operations
    // ----------------------------------------------------------------------------------------------------
    std::string some_key() {
      return "d" + std::to_string(random_.below(4)) + "/f" + std::to_string(random_.skewed(39));
    }
    std::string existing_key() {
      if (contents_.empty()) return some_key();
      auto at = contents_.begin();
      std::advance(at, static_cast<long>(random_.below(contents_.size())));
      return at->first;
    }
    std::size_t some_size(bool small) {
      switch (random_.below(small ? 3 : 5)) {
        case 0:
          return random_.below(60);
        case 1:
          return random_.below(1500);
        case 2:
          return random_.below(3 * store::kPageSize);
        case 3:
          return random_.below(20 * store::kPageSize);
        default:
          return random_.below(70 * store::kPageSize);
      }
    }
    bool evicted(const std::string& key) {
      const auto there = store_->resolve(key);
      if (!there && there.error().code == Code::kNotFound) {
        contents_.erase(key);
        return true;
      }
      return false;
    }

    bool put(const std::string& key, std::size_t size) {
      const std::string text = patterned(random_.bits(), size);
      const Status done = store_->put(key, store::as_bytes(text));
      if (done) contents_[key] = text;
      return expect(done, "put");
    }

    bool write(const std::string& key, bool small) {
      // The store makes room before it writes: what it evicts may be this very file, which then begins anew.
      (void)evicted(key);
      const std::string text = patterned(random_.bits(), some_size(small) + 1);
      const std::size_t old_size = contents_.contains(key) ? contents_[key].size() : 0;
      const std::size_t offset = random_.below(old_size + 2 * store::kPageSize);
      const auto before = store_->resolve(key);
      const Status done = store_->write(key, offset, store::as_bytes(text));
      if (!done) return expect(done, "write");
      const auto after = store_->resolve(key);
      if (!before || (after && after->ino != before->ino)) contents_[key].clear();
      std::string& content = contents_[key];
      content.resize(std::max(content.size(), offset + text.size()), '\0');
      content.replace(offset, text.size(), text);
      return true;
    }

    // In place where the store allows that: content that a checkpoint holds must not change.
    bool overwrite_in_place(const std::string& key) {
      if (evicted(key) || contents_[key].empty()) return true;
      std::string& content = contents_[key];
      const std::size_t offset = random_.below(content.size());
      const std::string text = patterned(random_.bits(), random_.between(1, content.size() - offset));
      bool gone = false;
      const Status done = store_->update([&](Transaction& txn) -> Status {
        gone = false;
        const auto dir = txn.view().lookup(store::kRootIno, key.substr(0, key.find('/')));
        const auto entry = dir ? txn.view().lookup(dir->ino, key.substr(key.find('/') + 1)) : dir;
        gone = !entry;
        if (gone) return {};
        LRUFS_TRY_ASSIGN(Inode inode, txn.view().inode(entry->ino));
        LRUFS_TRY(txn.write(inode, offset, store::as_bytes(text), nullptr, Transaction::WriteMode::kInPlace));
        return txn.put_inode(inode);
      });
      if (gone)
        contents_.erase(key);
      else if (done)
        content.replace(offset, text.size(), text);
      return expect(done, "overwrite");
    }

    bool rename() {
      const std::string from = existing_key();
      const std::string to = random_.chance(50) ? existing_key() : some_key();
      const Status done = store_->update([&](Transaction& txn) { return rename_file(txn, from, to); });
      if (!done) {
        if (done.error().code == Code::kNotFound) return true;  // evicted, or no such directory
        return expect(done, "rename");
      }
      if (from != to) {
        contents_[to] = contents_[from];
        contents_.erase(from);
      }
      return true;
    }

    bool erase(const std::string& key) {
      if (random_.chance(10)) {
        if (const auto inode = store_->resolve(key)) held_.insert(raw(inode->ino));
      }
      const Status done = store_->erase(key);
      if (!done && done.error().code != Code::kNotFound) return expect(done, "erase");
      contents_.erase(key);
      return true;
    }

    bool cut(const std::string& key) {
      if (evicted(key)) return true;
      const bool punch = random_.chance(50);
      std::string& content = contents_[key];
      const std::size_t from = random_.below(content.size() + 1);
      const std::size_t length = random_.below(content.size() - from + 1);
      bool gone = false;
      const Status done = store_->update([&](Transaction& txn) -> Status {
        gone = false;
        const auto dir = txn.view().lookup(store::kRootIno, key.substr(0, key.find('/')));
        const auto entry = dir ? txn.view().lookup(dir->ino, key.substr(key.find('/') + 1)) : dir;
        gone = !entry;
        if (gone) return {};
        LRUFS_TRY_ASSIGN(Inode inode, txn.view().inode(entry->ino));
        LRUFS_TRY(punch ? txn.punch(inode, from, length) : txn.truncate(inode, from));
        return txn.put_inode(inode);
      });
      if (gone)
        contents_.erase(key);
      else if (done && punch)
        content.replace(from, length, length, '\0');
      else if (done)
        content.resize(from);
      return expect(done, "cut");
    }

    bool let_go() {
      std::vector<store::Ino> inodes;
      for (const std::uint64_t ino : held_) inodes.push_back(store::Ino{ino});
      held_.clear();
      return expect(store_->reclaim(inodes), "reclaim");
    }

    bool step() {
      switch (random_.below(24)) {
        case 0:
        case 1:
        case 2:
        case 3:
        case 4:
        case 5:
          return put(some_key(), some_size(false));
        case 6:
        case 7:
          return put(existing_key(), some_size(false));
        case 8:
        case 9:
          return write(existing_key(), false);
        case 10:
        case 11:
          return overwrite_in_place(existing_key());
        case 12:
        case 13:
          return rename();
        case 14:
          return erase(existing_key());
        case 15:
          return cut(existing_key());
        case 16:
          return let_go();
        case 17: {
          (void)store_->get(existing_key());
          return true;
        }
        case 18: {
          const auto freed = store_->evict(random_.between(1, 40) * store::kPageSize);
          return freed || expect(store::fail(freed.error()), "evict");
        }
        case 19: {
          // An empty directory goes, and comes back with the next file.
          (void)store_->erase("d" + std::to_string(random_.below(4)));
          return true;
        }
        case 20: {
          if (!reopen_ || !random_.chance(30)) return true;
          return close() && open();
        }
        case 21: {
          if (!churns_) return true;
          churns_ = false;
          for (int i = 0; i < 9000; ++i) {
            if (!put("churn/" + std::to_string(i % 50), 40)) return false;
          }
          return checkpoint();
        }
        default:
          return checkpoint();
      }
    }

    // Only what surely needs no checkpoint to make room: one is running.
    void small_step() {
      const auto statistics = store_->statistics();
      if (statistics.free_bytes < statistics.reserve_bytes + 100 * store::kPageSize) return;
      switch (random_.below(7)) {
        case 0:
          (void)put(some_key(), some_size(true));
          break;
        case 1:
          (void)put(existing_key(), some_size(true));
          break;
        case 2:
          (void)write(existing_key(), true);
          break;
        case 3:
          (void)overwrite_in_place(existing_key());
          break;
        case 4:
          (void)rename();
          break;
        case 5:
          (void)erase(existing_key());
          break;
        default:
          (void)store_->evict(random_.between(1, 10) * store::kPageSize);
      }
    }

    // --- images
    // ----------------------------------------------------------------------------------------------------------
    void image(const std::string& when) {
      if (finished()) return;
      const std::uint64_t image_seed = random_.bits();
      const std::string file = dir_.file("image");
      const std::string plan = ops_->make_image(image_seed, file);
      ++outcome_.images;
      if (in_progress_) ++outcome_.within_checkpoints;
      outcome_.checkpoints = ops_->syncs() / 2;
      const std::string wrong = examine(file);
      std::filesystem::remove(file);
      if (!wrong.empty())
        bad("image " + std::to_string(outcome_.images) + " " + when + ", " + plan + ": " + wrong);
    }

    // Empty if the image is good.
    std::string examine(const std::string& file) {
      const bool unfinished = !durable_ && !in_progress_;  // cut while the store was being made
      if (!unfinished) {
        for (const bool from_checkpoint : {false, true}) {
          store::CheckOptions options;
          options.from_checkpoint = from_checkpoint;
          const auto report = store::check_file(file, options);
          if (!report) return "no check: " + store::describe(report.error());
          if (report->opened_from == "live") return "a live meta of another file is believed";
          if (!report->clean()) return "the check finds: " + report->findings.front().message;
        }
      }
      Options options;
      options.bound = options_.bound;
      options.background = false;
      auto opened = Store::open(file, options);
      if (!opened) return "does not open: " + store::describe(opened.error());
      const auto tree = dump_tree((*opened)->snapshot().view());
      if (!tree) return "cannot be read: " + store::describe(tree.error());
      if (unfinished) {
        if (!tree->empty()) return "a new store is not empty";
      } else if (!(durable_ && *tree == *durable_) && !(in_progress_ && *tree == *in_progress_)) {
        return "shows a state that is no checkpoint's:\n" + difference(durable_ ? *durable_ : Tree{}, *tree) +
               (in_progress_ ? "or, against the checkpoint in progress:\n" + difference(*in_progress_, *tree)
                             : "");
      }
      // And it goes on from there.
      if (const Status written = (*opened)->put("after/the cut", store::as_bytes("x")); !written)
        return "takes nothing new: " + store::describe(written.error());
      if (const Status closed = (*opened)->close(); !closed)
        return "does not close: " + store::describe(closed.error());
      opened->reset();
      const auto report = store::check_file(file);
      if (!report) return "no check after a write: " + store::describe(report.error());
      if (!report->clean()) return "the check finds, after a write: " + report->findings.front().message;
      return {};
    }

    std::uint64_t seed_;
    Random random_;
    std::size_t wanted_;
    bool reopen_;
    std::optional<Fault> fault_;
    std::unique_ptr<FaultSwitch> switched_on_;
    Outcome& outcome_;
    TempDir dir_;
    std::shared_ptr<PowerCutFileOps> ops_ = std::make_shared<PowerCutFileOps>();
    Options options_;
    std::unique_ptr<Store> store_;
    bool closing_ = false;
    bool churns_ = false;
    std::map<std::string, std::string> contents_;  // what was written last; eviction may have taken it
    std::set<std::uint64_t> held_;
    std::optional<Tree> durable_;      // what the last checkpoint that returned holds
    std::optional<Tree> in_progress_;  // what the running one will
  };

  bool reopen_;
  std::optional<Fault> fault_;
  Outcome outcome_;
};

std::size_t wanted_images() {
  const char* text = std::getenv("LRUFS_LONG");
  return text != nullptr && std::string_view(text) == "1" ? 2000 : scaled(200);
}

TEST(PowerCutTest, EveryImageIsTheLastCheckpoint) {
  Random random;
  SCOPED_TRACE(random.hint());
  const auto outcome = PowerCuts(true).run(random.bits(), wanted_images(), 1'000'000);
  EXPECT_EQ(outcome.bad, "") << random.hint();
  std::cout << random.hint() << ": " << outcome.images << " images, " << outcome.within_checkpoints
            << " of them within checkpoints, of " << outcome.workloads << " workloads; " << outcome.evicted
            << " objects evicted\n";
  EXPECT_GE(outcome.images, wanted_images());
}

// --- the same with a step left out: the test must notice
// -------------------------------------------------------------

class PowerCutFaultTest : public ::testing::TestWithParam<std::pair<const char*, Fault>> {};

TEST_P(PowerCutFaultTest, IsNoticed) {
  if (!store::kFaultsBuiltIn)
    GTEST_SKIP() << "fault " << GetParam().first << " is not built in (LRUFS_FAULTS)";
  Random random;
  SCOPED_TRACE(random.hint());
  const auto outcome = PowerCuts(false, GetParam().second).run(random.bits(), 2000, 400);
  EXPECT_NE(outcome.bad, "") << "no image of " << outcome.images << " is bad with the fault "
                             << GetParam().first << "; " << random.hint();
  std::cout << GetParam().first << ": noticed at image " << outcome.images << ": "
            << outcome.bad.substr(0, outcome.bad.find('\n')) << "\n";
}

INSTANTIATE_TEST_SUITE_P(Faults, PowerCutFaultTest,
                         ::testing::Values(std::pair{"SkipFirstSync", Fault::kSkipFirstSync},
                                           std::pair{"SkipMetaSync", Fault::kSkipMetaSync},
                                           std::pair{"MetaBeforePages", Fault::kMetaBeforePages},
                                           std::pair{"ReuseDurablePages", Fault::kReuseDurablePages},
                                           std::pair{"ReuseCheckpointPages", Fault::kReuseCheckpointPages},
                                           std::pair{"RewriteDurable", Fault::kRewriteDurable},
                                           std::pair{"SkipSeal", Fault::kSkipSeal}),
                         [](const auto& tested) { return std::string(tested.param.first); });

}  // namespace
}  // namespace lrufs::test
