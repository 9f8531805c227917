// ctest: timeout=600
// The bounds hold at every moment while eight writers fill the store several times over: the file's blocks on
// the disk, the pages in use, the number of files; with and without watermarks of their own.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/store_fixture.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::Statistics;

class Bounds : public StoreTest {
 protected:
  static constexpr std::uint64_t kMostFiles = 300;

  void SetUp() override {
    options_.background = true;
    options_.bound = 16U << 20U;
    options_.max_files = kMostFiles;
    options_.sync_interval = std::chrono::milliseconds(50);
  }

  // Files of up to `largest` bytes; gives the most that were there at a time.
  std::uint64_t run(std::size_t largest) {
    open();
    std::atomic<std::size_t> working{8};
    std::vector<std::thread> threads;
    for (std::uint64_t writer = 0; writer < 8; ++writer) {
      threads.emplace_back([&, writer] {
        Random random(writer);
        const std::string data(largest, 'd');
        for (std::size_t i = 0; i < scaled(400); ++i) {
          const std::string name = "w" + std::to_string(writer) + "/f" + std::to_string(i);
          const auto done = store().put(name, as_bytes(data.substr(0, random.below(data.size()))));
          EXPECT_TRUE(done) << say(done);
        }
        --working;
      });
    }
    std::uint64_t samples = 0;
    Statistics most;
    while (working.load() > 0 || samples < 10) {
      struct stat attributes {};
      EXPECT_EQ(::stat(path().c_str(), &attributes), 0);
      const auto disk = static_cast<std::uint64_t>(attributes.st_blocks) * 512;
      EXPECT_LE(disk, options_.bound);
      const Statistics now = store().statistics();
      EXPECT_LE(now.files, kMostFiles);
      EXPECT_LE(now.used_bytes, now.capacity_bytes);
      EXPECT_LE(now.file_bytes, now.capacity_bytes);
      most.files = std::max(most.files, now.files);
      most.used_bytes = std::max(most.used_bytes, now.used_bytes);
      ++samples;
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_GT(store().statistics().evicted_objects, 0U);
    std::cout << samples << " samples: at most " << most.files << " files, " << most.used_bytes << " of "
              << store().statistics().capacity_bytes << " bytes in use\n";
    return most.files;
  }
};

TEST_F(Bounds, OfSizeHoldsUnderEightWriters) { EXPECT_LT(run(150'000), kMostFiles); }

TEST_F(Bounds, OfFilesHoldsUnderEightWriters) { EXPECT_GT(run(20'000), kMostFiles * 9 / 10); }

TEST_F(Bounds, HoldWithWatermarks) {
  options_.high = 70;
  options_.low = 50;
  (void)run(150'000);
  // What is above the low mark goes once more than the high mark was in use, without another write.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const Statistics marks = store().statistics();
  EXPECT_NEAR(static_cast<double>(marks.evict_above_bytes) / static_cast<double>(marks.capacity_bytes), 0.7,
              0.02);
  EXPECT_NEAR(static_cast<double>(marks.evict_until_bytes) / static_cast<double>(marks.capacity_bytes), 0.5,
              0.02);
  while (store().statistics().used_bytes > marks.evict_above_bytes &&
         std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  EXPECT_LE(store().statistics().used_bytes, marks.evict_above_bytes);
}

}  // namespace
}  // namespace lrufs::test
