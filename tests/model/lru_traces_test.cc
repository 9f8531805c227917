// ctest: timeout=600
// Traces of 100,000 requests at a limit of files, against a textbook LRU: each request is a hit or a miss in
// both, with the store reopened in the middle, with fewer uses kept in memory than there are files, and after
// SIGKILL, which loses the uses in memory and nothing else. A request: is it there (a use)? If not, make it.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <map>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/store_fixture.h"
#include "tests/support/textbook_lru.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::Ino;
using store::kRootIno;
using store::Store;

using Trace = std::vector<std::uint32_t>;

constexpr std::size_t kLimit = 1000;

Trace uniform(Random& random, std::size_t length) {
  Trace trace(length);
  for (auto& key : trace) key = static_cast<std::uint32_t>(random.below(2 * kLimit));
  return trace;
}

Trace zipf(Random& random, std::size_t length) {
  constexpr std::size_t kKeys = 20'000;
  std::vector<double> sums;
  double sum = 0;
  for (std::size_t i = 1; i <= kKeys; ++i) sums.push_back(sum += 1 / std::pow(static_cast<double>(i), 0.99));
  Trace trace(length);
  for (auto& key : trace) {
    const double at = random.unit() * sum;
    key = static_cast<std::uint32_t>(std::lower_bound(sums.begin(), sums.end(), at) - sums.begin());
  }
  return trace;
}

// One more than fits, which LRU never hits, then one that fits.
Trace loops(std::size_t length) {
  Trace trace(length);
  for (std::size_t i = 0; i < length; ++i)
    trace[i] = static_cast<std::uint32_t>(i < length / 2 ? i % (kLimit + 1) : i % (kLimit - 1));
  return trace;
}

Trace scans(Random& random, std::size_t length) {
  Trace trace(length);
  std::uint32_t next = 1'000'000;
  for (std::size_t i = 0; i < length; ++i)
    trace[i] = i % 3000 < 1500 ? next++ : static_cast<std::uint32_t>(random.below(kLimit * 9 / 10));
  return trace;
}

Trace mixed(Random& random, std::size_t length) {
  const Trace kinds[] = {uniform(random, length), zipf(random, length), loops(length), scans(random, length)};
  Trace trace(length);
  for (std::size_t i = 0; i < length; ++i) trace[i] = kinds[i / 700 % 4][i];
  return trace;
}

std::string name_of(std::uint32_t key) { return "k" + std::to_string(key); }

// True: a hit.
bool request(Store& store, std::uint32_t key) {
  const std::string name = name_of(key);
  const auto got = store.get(name);
  if (got) return true;
  EXPECT_EQ(code_of(got), "not_found");
  const auto made = store.put(name, as_bytes(name));
  EXPECT_TRUE(made) << say(made);
  return false;
}

class LruTraces : public StoreTest {
 protected:
  // What tests choose is chosen before open().
  void SetUp() override {
    options_.max_files = kLimit;
    options_.background = true;
  }

  std::vector<std::uint32_t> order() {
    std::map<std::uint64_t, std::uint32_t> keys;
    const auto now = store().snapshot();
    ok(now.view().list(kRootIno, store::Cookie{0}, [&](const store::DirEntry& entry) {
      keys[raw(entry.ino)] = static_cast<std::uint32_t>(std::stoul(std::string(entry.name.substr(1))));
      return true;
    }));
    std::vector<std::uint32_t> order;
    for (const Ino ino : value(store().eviction_order(1U << 20U))) order.push_back(keys.at(raw(ino)));
    return order;
  }

  void replay(const char* name, const Trace& trace, bool remounted) {
    SCOPED_TRACE(name);
    close();
    std::filesystem::remove(path());
    open();
    TextbookLru<std::uint32_t> model(kLimit);
    std::size_t misses = 0;
    std::size_t model_misses = 0;
    for (std::size_t i = 0; i < trace.size(); ++i) {
      const bool hit = request(store(), trace[i]);
      const bool model_hit = model.use(trace[i]);
      misses += hit ? 0 : 1;
      model_misses += model_hit ? 0 : 1;
      ASSERT_EQ(hit, model_hit) << "request " << i << " of " << name_of(trace[i]);
      if (remounted && i % (trace.size() / 5 + 1) == trace.size() / 6) {
        flushes_ += store().statistics().touch_flushes;
        reopen();
      }
    }
    EXPECT_EQ(misses, model_misses);
    EXPECT_EQ(order(), model.order());
    std::cout << name << ": " << misses << " misses in " << trace.size() << " requests\n";
  }

  std::uint64_t flushes_ = 0;  // of uses, before reopening

  void replay_all(bool remounted) {
    Random random;
    SCOPED_TRACE(random.hint());
    const std::size_t length = scaled(100'000);
    replay("uniform", uniform(random, length), remounted);
    replay("Zipf 0.99", zipf(random, length), remounted);
    replay("loops", loops(length), remounted);
    replay("scans", scans(random, length), remounted);
    replay("mixed", mixed(random, length), remounted);
  }
};

TEST_F(LruTraces, MissForMiss) { replay_all(false); }

// Remounts in the middle, and the store's thread writes uses all the time.
TEST_F(LruTraces, MissForMissAcrossRemountsWithOverflowingBatches) {
  options_.max_touches = 50;
  replay_all(true);
  EXPECT_GT(flushes_, 0U);
}

// As many as are not in one ascending sequence: so many at least were moved.
std::size_t moved_in(const std::vector<std::size_t>& places) {
  std::vector<std::size_t> tails;  // of the ascending sequences of each length, the least last one
  for (const std::size_t place : places) {
    const auto at = std::lower_bound(tails.begin(), tails.end(), place);
    if (at == tails.end())
      tails.push_back(place);
    else
      *at = place;
  }
  return places.size() - tails.size();
}

// What docs/durability.md says of SIGKILL: lost are the uses that were in memory, of at most max_touches
// objects (and those that come while the store writes them). These look less recently used; nothing else
// differs, so a later replay has at most one miss more for each of them, and no other object suffers.
TEST_F(LruTraces, SigkillLosesTheUsesInMemoryOnly) {
  Random random;
  SCOPED_TRACE(random.hint());
  struct Seen {
    std::size_t pending;
  };
  void* const shared =
      ::mmap(nullptr, sizeof(Seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(shared, MAP_FAILED);
  auto* const seen = new (shared) Seen{};
  const std::size_t length = scaled(100'000);
  for (std::size_t round = 0; round < 6; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    options_.max_touches = std::vector<std::size_t>{40, 150, 700'000}[round % 3];
    const Trace trace = round % 2 == 0 ? zipf(random, length) : mixed(random, length);
    const std::size_t killed_after = random.between(length / 3, length * 2 / 3);
    close();
    std::filesystem::remove(path());
    const pid_t child = ::fork();
    if (child == 0) {
      auto opened = Store::open(path(), options_);
      if (!opened) ::_exit(1);
      for (std::size_t i = 0; i < killed_after; ++i) (void)request(**opened, trace[i]);
      seen->pending = (*opened)->statistics().pending_touches;
      ::kill(::getpid(), SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << status;

    TextbookLru<std::uint32_t> model(kLimit);
    for (std::size_t i = 0; i < killed_after; ++i) (void)model.use(trace[i]);
    open();
    EXPECT_EQ(store().statistics().opened_from, "live");
    std::map<std::uint32_t, std::size_t> place;
    for (const std::uint32_t key : model.order()) place.emplace(key, place.size());
    std::vector<std::size_t> places;
    for (const std::uint32_t key : order()) {
      ASSERT_TRUE(place.contains(key)) << "nothing is there that should not be";
      places.push_back(place.at(key));
    }
    ASSERT_EQ(places.size(), place.size()) << "nothing is missing";
    // Those that the store's thread had taken to write them, a dozen at a time, and had not published.
    const std::size_t lost = seen->pending + 12;
    EXPECT_LE(moved_in(places), lost);

    std::size_t more = 0;
    for (std::size_t i = killed_after; i < length; ++i) {
      const bool model_hit = model.use(trace[i]);
      const bool hit = request(store(), trace[i]);
      if (model_hit && !hit) ++more;
    }
    EXPECT_LE(more, lost);
    std::cout << "uses of " << seen->pending << " files lost, " << moved_in(places) << " out of place, "
              << more << " misses more in " << length - killed_after << " requests\n";
  }
  ::munmap(shared, sizeof(Seen));
}

// All but directories counts: symlinks, fifos and names that share an inode; folders do not.
TEST_F(LruTraces, EverythingButDirectoriesCounts) {
  options_.max_files = 5;
  options_.background = false;
  open();
  for (int i = 0; i < 20; ++i) make(kRootIno, "dir" + std::to_string(i), 0040755);
  make(kRootIno, "symlink", 0120777);
  make(kRootIno, "fifo", 0010644);
  make(kRootIno, "device", 0020644);
  make(kRootIno, "socket", 0140644);
  make(kRootIno, "file");
  EXPECT_EQ(store().statistics().files, 5U);
  EXPECT_EQ(store().statistics().directories, 21U);
  EXPECT_EQ(store().statistics().evicted_objects, 0U);
  // The empty folders are the least recently used; they go, but make no room under this limit.
  put("one", "more");
  EXPECT_EQ(store().statistics().files, 5U);
  EXPECT_EQ(store().statistics().directories, 1U);
  EXPECT_EQ(code_of(store().resolve("symlink")), "not_found");
  EXPECT_EQ(code_of(store().resolve("fifo")), "ok");
}

}  // namespace
}  // namespace lrufs::test
