// Directory listings.
#include <map>
#include <set>

#include "tests/support/volume_fixture.h"

namespace lrufs::fs {
namespace {

using test::outcome;

struct Seen {
  std::string name;
  Ino ino{};
  std::uint32_t type = 0;
  std::uint64_t next_offset = 0;
  std::optional<Inode> inode;
};

class VolumeList : public test::VolumeTest {
 protected:
  std::vector<Seen> list(Ino dir, std::uint64_t offset = 0, bool attributes = false,
                         std::size_t limit = ~0UL) {
    std::vector<Seen> all;
    EXPECT_EQ(outcome(volume().list(
                  dir, offset, attributes,
                  [&](const ListEntry& entry) {
                    if (all.size() == limit) return false;
                    all.push_back({std::string(entry.name), entry.ino, entry.type, entry.next_offset, {}});
                    if (entry.inode != nullptr) all.back().inode = *entry.inode;
                    return all.size() < limit;
                  })),
              "ok");
    return all;
  }
};

TEST_F(VolumeList, DotsComeFirst) {
  const Inode dir = folder(kRoot, "d");
  const auto below = list(dir.ino);
  ASSERT_EQ(below.size(), 2U);
  EXPECT_EQ(below[0].name, ".");
  EXPECT_EQ(below[0].ino, dir.ino);
  EXPECT_EQ(below[0].next_offset, 1U);
  EXPECT_EQ(below[0].type, static_cast<std::uint32_t>(S_IFDIR));
  EXPECT_EQ(below[1].name, "..");
  EXPECT_EQ(below[1].ino, kRoot);
  EXPECT_EQ(below[1].next_offset, 2U);
  EXPECT_EQ(list(kRoot)[1].ino, kRoot);
}

TEST_F(VolumeList, TellsTypes) {
  std::map<std::string, std::uint32_t> types;
  for (const auto& [name, type] : std::initializer_list<std::pair<const char*, std::uint32_t>>{
           {"f", S_IFREG}, {"d", S_IFDIR}, {"p", S_IFIFO}, {"s", S_IFSOCK}, {"c", S_IFCHR}, {"b", S_IFBLK}}) {
    value(volume().make(kRoot, name, type | 0644U, 0, caller_));
    types[name] = type;
  }
  value(volume().symlink(kRoot, "l", "t", caller_));
  types["l"] = S_IFLNK;
  const auto all = list(kRoot, 2);
  EXPECT_EQ(all.size(), types.size());
  for (const Seen& seen : all) EXPECT_EQ(seen.type, types[seen.name]) << seen.name;
}

TEST_F(VolumeList, BringsAttributesWhenAsked) {
  const Inode dir = folder(kRoot, "d");
  const Inode f = file(dir.ino, "f");
  put(f.ino, "text");
  const auto with = list(dir.ino, 0, true);
  ASSERT_EQ(with.size(), 3U);
  EXPECT_FALSE(with[0].inode);
  EXPECT_FALSE(with[1].inode);
  ASSERT_TRUE(with[2].inode);
  EXPECT_EQ(*with[2].inode, attributes(f.ino));
  EXPECT_FALSE(list(dir.ino, 0, false)[2].inode);
  EXPECT_EQ(volume().nodes().lookups(f.ino), 1U);  // listing does not count
}

TEST_F(VolumeList, ContinuesAnywhere) {
  std::set<std::string> expected = {".", ".."};
  for (int i = 0; i < 500; ++i) {
    expected.insert("name" + std::to_string(i));
    volume().forget(file(kRoot, "name" + std::to_string(i)).ino, 1);
  }
  for (const std::size_t step : {1UL, 2UL, 3UL, 100UL}) {
    std::set<std::string> met;
    std::uint64_t offset = 0;
    for (;;) {
      const auto some = list(kRoot, offset, false, step);
      if (some.empty()) break;
      for (const Seen& seen : some) EXPECT_TRUE(met.insert(seen.name).second) << seen.name;
      offset = some.back().next_offset;
    }
    EXPECT_EQ(met, expected) << step;
  }
}

TEST_F(VolumeList, EntriesThatStayAreMetOnceWhateverComesAndGoes) {
  std::set<std::string> stays;
  for (int i = 0; i < 200; ++i) {
    stays.insert("stay" + std::to_string(i));
    file(kRoot, "stay" + std::to_string(i));
    file(kRoot, "go" + std::to_string(i));
  }
  std::multiset<std::string> met;
  std::uint64_t offset = 2;
  int round = 0;
  for (;;) {
    const auto some = list(kRoot, offset, false, 7);
    if (some.empty()) break;
    for (const Seen& seen : some) {
      if (stays.contains(seen.name)) met.insert(seen.name);
    }
    offset = some.back().next_offset;
    // Remove, add, and replace between two calls.
    (void)volume().unlink(kRoot, "go" + std::to_string(round));
    file(kRoot, "come" + std::to_string(round));
    file(kRoot, "temporary");
    const std::string replaced = "stay" + std::to_string(round % 200);
    EXPECT_EQ(outcome(volume().rename(kRoot, "temporary", kRoot, replaced, RenameMode::kReplace, caller_)),
              "ok");
    ++round;
  }
  EXPECT_EQ(met.size(), stays.size());
  EXPECT_EQ(std::set<std::string>(met.begin(), met.end()), stays);
}

TEST_F(VolumeList, Errors) {
  const Inode f = file(kRoot, "f");
  const auto never = [](const ListEntry&) { return true; };
  EXPECT_EQ(outcome(volume().list(f.ino, 0, false, never)), "not_a_directory");
  EXPECT_EQ(outcome(volume().list(Ino{999'999}, 0, false, never)), "stale");
  EXPECT_TRUE(list(kRoot, (1ULL << 63U) - 1).empty());
}

}  // namespace
}  // namespace lrufs::fs
