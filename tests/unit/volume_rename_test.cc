// rename(2) and renameat2(2).
#include <random>
#include <set>

#include "tests/support/volume_fixture.h"

namespace lrufs::fs {
namespace {

using test::outcome;

class VolumeRename : public test::VolumeTest {
 protected:
  std::string rename(Ino from, std::string_view name, Ino to, std::string_view new_name,
                     RenameMode mode = RenameMode::kReplace) {
    return outcome(volume().rename(from, name, to, new_name, mode, caller_));
  }
};

TEST_F(VolumeRename, WithinADirectory) {
  const Inode f = file(kRoot, "a");
  put(f.ino, "text");
  age({kRoot, f.ino});
  EXPECT_EQ(rename(kRoot, "a", kRoot, "b"), "ok");
  EXPECT_EQ(find(kRoot, "a"), "not_found");
  EXPECT_EQ(ino_of(kRoot, "b"), f.ino);
  EXPECT_EQ(content(f.ino), "text");
  EXPECT_EQ(times_set(kRoot), "cm");
  EXPECT_EQ(times_set(f.ino), "c");
  EXPECT_EQ(attributes(kRoot).entries, 1U);
  EXPECT_EQ(attributes(f.ino).nlink, 1U);
}

TEST_F(VolumeRename, BetweenDirectories) {
  const Inode a = folder(kRoot, "a");
  const Inode b = folder(kRoot, "b");
  const Inode f = file(a.ino, "f");
  age({a.ino, b.ino, f.ino, kRoot});
  EXPECT_EQ(rename(a.ino, "f", b.ino, "g"), "ok");
  EXPECT_EQ(ino_of(b.ino, "g"), f.ino);
  EXPECT_EQ(attributes(a.ino).entries, 0U);
  EXPECT_EQ(attributes(b.ino).entries, 1U);
  EXPECT_EQ(times_set(a.ino), "cm");
  EXPECT_EQ(times_set(b.ino), "cm");
  EXPECT_EQ(times_set(kRoot), "");
}

TEST_F(VolumeRename, ADirectoryTakesItsLinkAlong) {
  const Inode a = folder(kRoot, "a");
  const Inode b = folder(kRoot, "b");
  const Inode moved = folder(a.ino, "d");
  const Inode below = folder(moved.ino, "below");
  file(moved.ino, "f");
  EXPECT_EQ(rename(a.ino, "d", b.ino, "d"), "ok");
  EXPECT_EQ(attributes(a.ino).nlink, 2U);
  EXPECT_EQ(attributes(b.ino).nlink, 3U);
  EXPECT_EQ(attributes(moved.ino).nlink, 3U);
  EXPECT_EQ(ino_of(moved.ino, ".."), b.ino);
  EXPECT_EQ(ino_of(below.ino, ".."), moved.ino);
  EXPECT_EQ(names(moved.ino), (std::vector<std::string>{".", "..", "below", "f"}));
}

TEST_F(VolumeRename, ReplacesAFile) {
  const Inode f = file(kRoot, "f");
  const Inode old = file(kRoot, "g");
  put(f.ino, "new");
  volume().forget(old.ino, 1);
  EXPECT_EQ(rename(kRoot, "f", kRoot, "g"), "ok");
  EXPECT_EQ(content(ino_of(kRoot, "g")), "new");
  EXPECT_EQ(outcome(volume().getattr(old.ino)), "stale");
  EXPECT_EQ(attributes(kRoot).entries, 1U);
}

TEST_F(VolumeRename, ReplacesAFileThatIsOpen) {
  const Inode f = file(kRoot, "f");
  const Inode old = file(kRoot, "g");
  put(old.ino, "old");
  age({old.ino});
  EXPECT_EQ(rename(kRoot, "f", kRoot, "g"), "ok");
  EXPECT_EQ(content(old.ino), "old");
  EXPECT_EQ(attributes(old.ino).nlink, 0U);
  EXPECT_EQ(times_set(old.ino), "c");
  EXPECT_EQ(orphans(), 1U);
  volume().forget(old.ino, 1);
  EXPECT_EQ(orphans(), 0U);
  EXPECT_EQ(outcome(volume().getattr(old.ino)), "stale");
  EXPECT_EQ(ino_of(kRoot, "g"), f.ino);
}

TEST_F(VolumeRename, ReplacesOneOfSeveralNames) {
  const Inode f = file(kRoot, "f");
  const Inode other = file(kRoot, "g");
  value(volume().link(other.ino, kRoot, "h"));
  EXPECT_EQ(rename(kRoot, "f", kRoot, "g"), "ok");
  EXPECT_EQ(attributes(other.ino).nlink, 1U);
  EXPECT_EQ(ino_of(kRoot, "h"), other.ino);
  EXPECT_EQ(ino_of(kRoot, "g"), f.ino);
}

TEST_F(VolumeRename, ReplacesAnEmptyDirectory) {
  const Inode a = folder(kRoot, "a");
  const Inode b = folder(kRoot, "b");
  file(a.ino, "f");
  EXPECT_EQ(rename(kRoot, "a", kRoot, "b"), "ok");
  EXPECT_EQ(ino_of(kRoot, "b"), a.ino);
  EXPECT_EQ(attributes(kRoot).nlink, 3U);
  EXPECT_EQ(attributes(b.ino).nlink, 0U);  // held
  volume().forget(b.ino, 1);
  EXPECT_EQ(orphans(), 0U);
  // And one that nobody holds.
  const Inode c = folder(kRoot, "c");
  volume().forget(c.ino, 1);
  EXPECT_EQ(rename(kRoot, "b", kRoot, "c"), "ok");
  EXPECT_EQ(outcome(volume().getattr(c.ino)), "stale");
}

TEST_F(VolumeRename, ReplacesADirectoryInAnotherOne) {
  const Inode a = folder(kRoot, "a");
  const Inode b = folder(kRoot, "b");
  const Inode from = folder(a.ino, "d");
  folder(b.ino, "d");
  EXPECT_EQ(rename(a.ino, "d", b.ino, "d"), "ok");
  EXPECT_EQ(attributes(a.ino).nlink, 2U);
  EXPECT_EQ(attributes(b.ino).nlink, 3U);
  EXPECT_EQ(attributes(from.ino).nlink, 2U);
}

TEST_F(VolumeRename, TypesMustAgree) {
  const Inode f = file(kRoot, "f");
  const Inode dir = folder(kRoot, "d");
  const Inode full = folder(kRoot, "full");
  file(full.ino, "x");
  EXPECT_EQ(rename(kRoot, "d", kRoot, "f"), "not_a_directory");
  EXPECT_EQ(rename(kRoot, "f", kRoot, "d"), "is_a_directory");
  EXPECT_EQ(rename(kRoot, "d", kRoot, "full"), "not_empty");
  EXPECT_EQ(rename(kRoot, "nothing", kRoot, "f"), "not_found");
  EXPECT_EQ(rename(f.ino, "x", kRoot, "y"), "not_a_directory");
  EXPECT_EQ(rename(kRoot, "f", f.ino, "y"), "not_a_directory");
  EXPECT_EQ(rename(Ino{999'999}, "x", kRoot, "y"), "stale");
  EXPECT_EQ(rename(kRoot, "f", kRoot, std::string(256, 'n')), "name_too_long");
  EXPECT_EQ(rename(kRoot, "f", kRoot, ".."), "invalid");
  EXPECT_EQ(rename(kRoot, ".", kRoot, "z"), "invalid");
  EXPECT_EQ(attributes(dir.ino).nlink, 2U);
}

TEST_F(VolumeRename, TwoNamesOfOneObjectStay) {
  const Inode f = file(kRoot, "f");
  value(volume().link(f.ino, kRoot, "g"));
  age({kRoot, f.ino});
  EXPECT_EQ(rename(kRoot, "f", kRoot, "g"), "ok");
  EXPECT_EQ(rename(kRoot, "f", kRoot, "f"), "ok");
  EXPECT_EQ(rename(kRoot, "f", kRoot, "g", RenameMode::kExchange), "ok");
  EXPECT_EQ(rename(kRoot, "f", kRoot, "g", RenameMode::kWhiteout), "ok");
  EXPECT_EQ(rename(kRoot, "f", kRoot, "g", RenameMode::kNoReplace), "exists");
  EXPECT_EQ(names(kRoot), (std::vector<std::string>{".", "..", "f", "g"}));
  EXPECT_EQ(attributes(f.ino).nlink, 2U);
  EXPECT_EQ(times_set(kRoot), "");
  EXPECT_EQ(times_set(f.ino), "");
}

TEST_F(VolumeRename, NoDirectoryBelowItself) {
  const Inode a = folder(kRoot, "a");
  const Inode b = folder(a.ino, "b");
  const Inode c = folder(b.ino, "c");
  const Inode f = file(c.ino, "f");
  EXPECT_EQ(rename(kRoot, "a", a.ino, "x"), "invalid");
  EXPECT_EQ(rename(kRoot, "a", c.ino, "x"), "invalid");
  EXPECT_EQ(rename(kRoot, "a", c.ino, "f"), "invalid");
  // Over its own ancestor.
  EXPECT_EQ(rename(b.ino, "c", kRoot, "a"), "not_empty");
  EXPECT_EQ(rename(c.ino, "f", a.ino, "b"), "not_empty");
  EXPECT_EQ(rename(c.ino, "f", kRoot, "a", RenameMode::kExchange), "invalid");
  EXPECT_EQ(rename(kRoot, "a", c.ino, "f", RenameMode::kExchange), "invalid");
  EXPECT_EQ(rename(a.ino, "b", kRoot, "b"), "ok");  // up is fine
  EXPECT_EQ(ino_of(b.ino, ".."), kRoot);
  EXPECT_EQ(attributes(a.ino).nlink, 2U);
  EXPECT_EQ(ino_of(c.ino, "f"), f.ino);
}

TEST_F(VolumeRename, NoReplace) {
  const Inode f = file(kRoot, "f");
  file(kRoot, "g");
  EXPECT_EQ(rename(kRoot, "f", kRoot, "g", RenameMode::kNoReplace), "exists");
  EXPECT_EQ(rename(kRoot, "f", kRoot, "h", RenameMode::kNoReplace), "ok");
  EXPECT_EQ(ino_of(kRoot, "h"), f.ino);
  EXPECT_EQ(rename(kRoot, "f", kRoot, "g", RenameMode::kNoReplace), "not_found");
}

TEST_F(VolumeRename, NoReplaceWithAWhiteout) {
  const Inode f = file(kRoot, "f");
  file(kRoot, "g");
  EXPECT_EQ(rename(kRoot, "f", kRoot, "g", RenameMode::kNoReplaceWhiteout), "exists");
  EXPECT_EQ(ino_of(kRoot, "f"), f.ino);
  EXPECT_EQ(rename(kRoot, "f", kRoot, "h", RenameMode::kNoReplaceWhiteout), "ok");
  EXPECT_EQ(ino_of(kRoot, "h"), f.ino);
  EXPECT_EQ(attributes(ino_of(kRoot, "f")).mode, static_cast<std::uint32_t>(S_IFCHR));
}

TEST_F(VolumeRename, ExchangeAcrossTypes) {
  const Inode a = folder(kRoot, "a");
  const Inode b = folder(kRoot, "b");
  const Inode f = file(a.ino, "x");
  const Inode d = folder(b.ino, "y");
  file(d.ino, "inside");
  age({a.ino, b.ino, f.ino, d.ino});
  EXPECT_EQ(rename(a.ino, "x", b.ino, "y", RenameMode::kExchange), "ok");
  EXPECT_EQ(ino_of(a.ino, "x"), d.ino);
  EXPECT_EQ(ino_of(b.ino, "y"), f.ino);
  EXPECT_EQ(attributes(a.ino).nlink, 3U);
  EXPECT_EQ(attributes(b.ino).nlink, 2U);
  EXPECT_EQ(attributes(d.ino).nlink, 2U);
  EXPECT_EQ(ino_of(d.ino, ".."), a.ino);
  EXPECT_EQ(names(d.ino), (std::vector<std::string>{".", "..", "inside"}));
  for (const Ino ino : {a.ino, b.ino}) EXPECT_EQ(times_set(ino), "cm");
  for (const Ino ino : {f.ino, d.ino}) EXPECT_EQ(times_set(ino), "c");
}

TEST_F(VolumeRename, ExchangeInOneDirectory) {
  const Inode f = file(kRoot, "f");
  const Inode d = folder(kRoot, "d");
  EXPECT_EQ(rename(kRoot, "f", kRoot, "d", RenameMode::kExchange), "ok");
  EXPECT_EQ(ino_of(kRoot, "d"), f.ino);
  EXPECT_EQ(ino_of(kRoot, "f"), d.ino);
  EXPECT_EQ(attributes(kRoot).nlink, 3U);
  EXPECT_EQ(attributes(kRoot).entries, 2U);
  EXPECT_EQ(rename(kRoot, "f", kRoot, "nothing", RenameMode::kExchange), "not_found");
  EXPECT_EQ(rename(kRoot, "nothing", kRoot, "f", RenameMode::kExchange), "not_found");
}

TEST_F(VolumeRename, ExchangeOfHardLinks) {
  const Inode f = file(kRoot, "f");
  const Inode g = file(kRoot, "g");
  value(volume().link(f.ino, kRoot, "f2"));
  value(volume().link(g.ino, kRoot, "g2"));
  EXPECT_EQ(rename(kRoot, "f", kRoot, "g2", RenameMode::kExchange), "ok");
  EXPECT_EQ(ino_of(kRoot, "f"), g.ino);
  EXPECT_EQ(ino_of(kRoot, "g2"), f.ino);
  EXPECT_EQ(attributes(f.ino).nlink, 2U);
  EXPECT_EQ(attributes(g.ino).nlink, 2U);
}

TEST_F(VolumeRename, WhiteoutStaysBehind) {
  const Inode a = folder(kRoot, "a");
  const Inode f = file(a.ino, "f");
  file(kRoot, "g");
  EXPECT_EQ(rename(a.ino, "f", kRoot, "g", RenameMode::kWhiteout), "ok");
  EXPECT_EQ(ino_of(kRoot, "g"), f.ino);
  const Inode whiteout = attributes(ino_of(a.ino, "f"));
  EXPECT_EQ(whiteout.mode, static_cast<std::uint32_t>(S_IFCHR));
  EXPECT_EQ(whiteout.rdev, 0U);
  EXPECT_EQ(whiteout.nlink, 1U);
  EXPECT_EQ(whiteout.uid, caller_.uid);
  EXPECT_EQ(volume().nodes().lookups(whiteout.ino), 0U);
  EXPECT_EQ(attributes(a.ino).entries, 1U);
}

// Random renames among few directories, so that every way of sharing inodes between the roles comes up; the
// check of the store in the teardown finds wrong counts.
TEST_F(VolumeRename, RandomRenamesKeepTheTreeWhole) {
  std::mt19937_64 random(7);
  std::vector<Ino> dirs = {kRoot};
  for (int i = 0; i < 6; ++i)
    dirs.push_back(folder(dirs[random() % dirs.size()], "d" + std::to_string(i)).ino);
  const auto any_name = [&] { return (random() % 2 == 0 ? "d" : "f") + std::to_string(random() % 6); };
  int done = 0;
  for (int i = 0; i < 3000; ++i) {
    const Ino from = dirs[random() % dirs.size()];
    const Ino to = dirs[random() % dirs.size()];
    switch (random() % 8) {
      case 0:
        (void)volume().make(from, any_name(), S_IFREG | 0644U, 0, caller_);
        break;
      case 1:
        if (const auto found = volume().lookup(from, any_name())) {
          (void)volume().link(found->ino, to, any_name());
          volume().forget(found->ino, volume().nodes().lookups(found->ino));
        }
        break;
      default: {
        const auto mode = static_cast<RenameMode>(random() % 5);
        if (rename(from, any_name(), to, any_name(), mode) == "ok") ++done;
      }
    }
  }
  EXPECT_GT(done, 100);
  // Every directory that still has a name is met exactly once from the root.
  std::set<Ino> seen;
  std::vector<Ino> next = {kRoot};
  while (!next.empty()) {
    const Ino dir = next.back();
    next.pop_back();
    EXPECT_TRUE(seen.insert(dir).second);
    std::uint32_t folders = 0;
    std::uint64_t entries = 0;
    EXPECT_EQ(outcome(volume().list(dir, 2, false,
                                    [&](const ListEntry& entry) {
                                      ++entries;
                                      if (entry.type == S_IFDIR) {
                                        ++folders;
                                        next.push_back(entry.ino);
                                      }
                                      return true;
                                    })),
              "ok");
    EXPECT_EQ(attributes(dir).nlink, 2 + folders);
    EXPECT_EQ(attributes(dir).entries, entries);
  }
}

}  // namespace
}  // namespace lrufs::fs
