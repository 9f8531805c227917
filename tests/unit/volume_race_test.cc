// Threads: lookups, forgets, removals, eviction and reclaim at once. What a counted lookup returned must work
// until it is forgotten, and nothing may be left behind at the end.
#include <atomic>
#include <cstdlib>
#include <random>
#include <thread>

#include "tests/support/volume_fixture.h"

namespace lrufs::fs {
namespace {

using test::bytes_of;
using test::outcome;

int scaled(int count) {
  const char* scale = std::getenv("LRUFS_TEST_SCALE");
  return std::max(1, static_cast<int>(count * (scale != nullptr ? std::atof(scale) : 1.0)));
}

class VolumeRace : public test::VolumeTest {
 protected:
  VolumeRace() { store_options_.background = true; }

  // Looks names up until `stop`, and uses what it finds.
  void reader(unsigned seed, const std::atomic<bool>& stop, std::atomic<std::uint64_t>& found) {
    std::mt19937 random(seed);
    while (!stop) {
      const auto inode = volume().lookup(kRoot, "f" + std::to_string(random() % 8));
      if (!inode) {
        ASSERT_EQ(outcome(inode), "not_found");
        continue;
      }
      ++found;
      ASSERT_EQ(outcome(volume().getattr(inode->ino)), "ok") << "a held inode is gone";
      const auto reply = volume().read(inode->ino, 0, 10);
      ASSERT_EQ(outcome(reply), "ok");
      volume().forget(inode->ino, 1);
    }
  }
  void lister(const std::atomic<bool>& stop) {
    while (!stop) {
      std::vector<Ino> counted;
      ASSERT_EQ(outcome(volume().list(kRoot, 2, true,
                                      [&](const ListEntry& entry) {
                                        if (volume().count_lookup(entry.ino, entry.seen))
                                          counted.push_back(entry.ino);
                                        return true;
                                      })),
                "ok");
      for (const Ino ino : counted) {
        ASSERT_EQ(outcome(volume().getattr(ino)), "ok") << "a held inode is gone";
        volume().forget(ino, 1);
      }
    }
  }
};

TEST_F(VolumeRace, LookupsAgainstRemovalAndReplacement) {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> found{0};
  std::vector<std::thread> threads;
  threads.emplace_back([&] { reader(1, stop, found); });
  threads.emplace_back([&] { reader(2, stop, found); });
  threads.emplace_back([&] { lister(stop); });
  std::mt19937 random(3);
  for (int i = 0; i < scaled(20'000); ++i) {
    const std::string name = "f" + std::to_string(random() % 8);
    switch (random() % 3) {
      case 0:
        if (const auto made = volume().make(kRoot, name, S_IFREG | 0644U, 0, caller_)) {
          (void)volume().write(made->ino, 0, bytes_of("content"), false);
          volume().forget(made->ino, 1);
        }
        break;
      case 1:
        (void)volume().unlink(kRoot, name);
        break;
      default:
        (void)volume().rename(kRoot, name, kRoot, "f" + std::to_string(random() % 8), RenameMode::kReplace,
                              caller_);
    }
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_GT(found, 0U);
  EXPECT_EQ(volume().nodes().size(), 0U);
  EXPECT_EQ(orphans(), 0U);
}

TEST_F(VolumeRace, LookupsAgainstEviction) {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> found{0};
  std::vector<std::thread> threads;
  threads.emplace_back([&] { reader(1, stop, found); });
  threads.emplace_back([&] { lister(stop); });
  threads.emplace_back([&] {
    while (!stop) ASSERT_EQ(outcome(volume().store().evict(1)), "ok");
  });
  std::mt19937 random(3);
  for (int i = 0; i < scaled(10'000); ++i) {
    const auto made = volume().make(kRoot, "f" + std::to_string(random() % 8), S_IFREG | 0644U, 0, caller_);
    if (made) volume().forget(made->ino, 1);
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(volume().nodes().size(), 0U);
  EXPECT_EQ(orphans(), 0U);
}

TEST_F(VolumeRace, TemporaryFilesAreNamedAndForgotten) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < scaled(2000); ++i) {
        const auto tmp = volume().tmpfile(kRoot, 0600, caller_);
        ASSERT_EQ(outcome(tmp), "ok");
        ASSERT_EQ(outcome(volume().write(tmp->ino, 0, bytes_of("content"), false)), "ok");
        std::uint64_t owed = 1;
        const std::string name = "n" + std::to_string(t);
        if (i % 2 == 0 && volume().link(tmp->ino, kRoot, name)) ++owed;
        ASSERT_EQ(outcome(volume().getattr(tmp->ino)), "ok");
        volume().forget(tmp->ino, owed);
        if (owed == 2) {
          ASSERT_EQ(outcome(volume().unlink(kRoot, name)), "ok");
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(orphans(), 0U);
  EXPECT_EQ(attributes(kRoot).entries, 0U);
}

TEST_F(VolumeRace, ManyWritersOfManyFiles) {
  constexpr int kThreads = 4;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const auto dir = volume().make(kRoot, "d" + std::to_string(t), S_IFDIR | 0755U, 0, caller_);
      ASSERT_EQ(outcome(dir), "ok");
      const std::string text(100'000, static_cast<char>('a' + t));
      for (int i = 0; i < scaled(150); ++i) {
        const auto made = volume().make(dir->ino, "f" + std::to_string(i), S_IFREG | 0644U, 0, caller_);
        ASSERT_EQ(outcome(made), "ok");
        ASSERT_EQ(outcome(volume().write(made->ino, 0, bytes_of(text), false)), "ok");
        EXPECT_TRUE(content(made->ino) == text);
        volume().forget(made->ino, 1);
      }
      volume().forget(dir->ino, 1);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(volume().nodes().size(), 0U);
}

}  // namespace
}  // namespace lrufs::fs
