// Names, hard links, directories, orphans and xattrs through transactions.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/store_fixture.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::Code;
using store::Cookie;
using store::DirEntry;
using store::Ino;
using store::Inode;
using store::kNoIno;
using store::kRootIno;
using store::Link;
using store::Snapshot;
using store::Status;
using store::Transaction;
using XattrMode = store::Transaction::XattrMode;

class Objects : public StoreTest {
 protected:
  Status link(Ino dir, std::string_view name, Ino ino) {
    return store().update([&](Transaction& txn) -> Status {
      LRUFS_TRY_ASSIGN(Inode parent, txn.view().inode(dir));
      LRUFS_TRY_ASSIGN(Inode child, txn.view().inode(ino));
      LRUFS_TRY(txn.link(parent, name, child));
      LRUFS_TRY(txn.put_inode(parent));
      return txn.put_inode(child);
    });
  }
  // Takes a name away; the last one destroys the object, or makes it an orphan.
  Status unlink(Ino dir, std::string_view name, bool keep = false) {
    return store().update([&](Transaction& txn) -> Status {
      LRUFS_TRY_ASSIGN(Inode parent, txn.view().inode(dir));
      LRUFS_TRY_ASSIGN(const DirEntry entry, txn.view().lookup(dir, name));
      LRUFS_TRY_ASSIGN(Inode child, txn.view().inode(entry.ino));
      LRUFS_TRY(txn.unlink(parent, name, child));
      LRUFS_TRY(txn.put_inode(parent));
      if (child.nlink > (child.is_directory() ? 1U : 0U)) return txn.put_inode(child);
      if (!keep) return txn.destroy(child);
      child.nlink = 0;
      LRUFS_TRY(txn.orphan(child));
      return txn.put_inode(child);
    });
  }
  Inode inode(Ino ino) { return value(store().snapshot().view().inode(ino)); }
  std::string state_of(Ino ino) { return code_of(store().snapshot().view().inode(ino)); }
  // "/d/a /e/b", sorted: all names of an object by its link records.
  std::string names_of(Ino ino) {
    const Snapshot now = store().snapshot();
    const Inode object = value(now.view().inode(ino));
    std::vector<std::string> paths;
    for (const Link& link : value(now.view().links(object))) {
      const auto entry = now.view().entry_at(link.parent, link.cookie);
      EXPECT_TRUE(entry);
      if (!entry) continue;
      EXPECT_EQ(entry->ino, ino);
      const std::string dir = value(now.view().path_of(link.parent));
      paths.push_back((dir == "/" ? "" : dir) + "/" + std::string(entry->name));
    }
    std::sort(paths.begin(), paths.end());
    std::string all;
    for (const std::string& path : paths) all += (all.empty() ? "" : " ") + path;
    return all;
  }
  std::set<std::string> list(Ino dir) {
    std::set<std::string> names;
    std::uint64_t last = 0;
    const Snapshot now = store().snapshot();
    ok(now.view().list(dir, Cookie{0}, [&](const DirEntry& entry) {
      EXPECT_GE(raw(entry.cookie), raw(store::kFirstCookie));
      EXPECT_GT(raw(entry.cookie), last) << "cookies ascend";
      last = raw(entry.cookie);
      EXPECT_TRUE(names.emplace(entry.name).second);
      return true;
    }));
    return names;
  }
};

// --- names
// -------------------------------------------------------------------------------------------------------

TEST_F(Objects, NamesThatCannotBe) {
  const Inode file = make(kRootIno, "f");
  for (const std::string& name :
       {std::string(""), std::string("."), std::string(".."), std::string("a/b"), std::string("a\0b", 3)})
    EXPECT_EQ(code_of(link(kRootIno, name, file.ino)), "invalid") << name;
  EXPECT_EQ(code_of(link(kRootIno, std::string(256, 'n'), file.ino)), "name_too_long");
  ok(link(kRootIno, std::string(255, 'n'), file.ino));
  ok(link(kRootIno, "\xff\xfe\n", file.ino));
  EXPECT_EQ(code_of(store().snapshot().view().lookup(kRootIno, std::string(256, 'n'))), "name_too_long");
  EXPECT_EQ(code_of(link(kRootIno, "f", file.ino)), "exists");
  EXPECT_EQ(inode(file.ino).nlink, 3U);
}

TEST_F(Objects, UnlinkOfANameThatIsNot) {
  const Inode a = make(kRootIno, "a");
  make(kRootIno, "b");
  Transaction txn = *store().begin();
  Inode root = value(txn.view().inode(kRootIno));
  Inode child = value(txn.view().inode(a.ino));
  EXPECT_EQ(code_of(txn.unlink(root, "c", child)), "not_found");
  EXPECT_EQ(code_of(txn.unlink(root, "b", child)), "not_found") << "the name is another object's";
  txn.abort();
}

TEST_F(Objects, ListingGoesOnAfterAnyCookie) {
  std::set<std::string> all;
  for (int i = 0; i < 500; ++i) {
    all.insert("name" + std::to_string(i));
    make(kRootIno, "name" + std::to_string(i));
  }
  EXPECT_EQ(list(kRootIno), all);
  const Snapshot now = store().snapshot();
  std::set<std::string> pieces;
  Cookie after{0};
  for (int calls = 0; calls < 1000; ++calls) {
    int count = 0;
    ok(now.view().list(kRootIno, after, [&](const DirEntry& entry) {
      EXPECT_TRUE(pieces.emplace(entry.name).second);
      after = entry.cookie;
      return ++count < 7;
    }));
    if (count == 0) break;
  }
  EXPECT_EQ(pieces, all);
  EXPECT_EQ(inode(kRootIno).entries, 500U);
}

TEST_F(Objects, AnEntryKeepsItsPlaceWhateverComesAndGoes) {
  for (int i = 0; i < 200; ++i) make(kRootIno, "n" + std::to_string(i));
  std::map<std::string, std::uint64_t> before;
  const auto places = [&] {
    std::map<std::string, std::uint64_t> found;
    ok(store().snapshot().view().list(kRootIno, Cookie{0}, [&](const DirEntry& entry) {
      found[std::string(entry.name)] = raw(entry.cookie);
      return true;
    }));
    return found;
  };
  before = places();
  for (int i = 0; i < 200; i += 2) ok(unlink(kRootIno, "n" + std::to_string(i)));
  for (int i = 200; i < 400; ++i) make(kRootIno, "n" + std::to_string(i));
  for (int i = 0; i < 200; i += 4) make(kRootIno, "n" + std::to_string(i));
  const auto after = places();
  for (const auto& [name, cookie] : before) {
    const auto same = after.find(name);
    if (same != after.end()) {
      EXPECT_EQ(same->second, cookie) << name;
    }
  }
}

// --- links
// -------------------------------------------------------------------------------------------------------

TEST_F(Objects, HardLinks) {
  const Inode d = make(kRootIno, "d", 0040755);
  const Inode e = make(kRootIno, "e", 0040755);
  const Inode f = make(d.ino, "first");
  ok(link(e.ino, "second", f.ino));
  ok(link(d.ino, "third", f.ino));
  EXPECT_EQ(names_of(f.ino), "/d/first /d/third /e/second");
  EXPECT_EQ(inode(f.ino).nlink, 3U);
  EXPECT_EQ(value(store().snapshot().view().path_of(f.ino)), "/d/first");
  // The first name goes: another takes its place.
  ok(unlink(d.ino, "first"));
  EXPECT_EQ(names_of(f.ino), "/d/third /e/second");
  const std::string path = value(store().snapshot().view().path_of(f.ino));
  EXPECT_TRUE(path == "/d/third" || path == "/e/second");
  // A middle one.
  ok(link(kRootIno, "fourth", f.ino));
  ok(unlink(e.ino, "second"));
  EXPECT_EQ(names_of(f.ino), "/d/third /fourth");
  ok(unlink(d.ino, "third"));
  EXPECT_EQ(names_of(f.ino), "/fourth");
  EXPECT_EQ(inode(f.ino).nlink, 1U);
  EXPECT_EQ(value(store().snapshot().view().path_of(f.ino)), "/fourth");
  ok(unlink(kRootIno, "fourth"));
  EXPECT_EQ(state_of(f.ino), "not_found");
  EXPECT_EQ(store().statistics().files, 0U);
}

TEST_F(Objects, RenameIsUnlinkAndLink) {
  const Inode d = make(kRootIno, "d", 0040755);
  const Inode e = make(kRootIno, "e", 0040755);
  const Inode sub = make(d.ino, "sub", 0040755);
  make(sub.ino, "file");
  EXPECT_EQ(inode(d.ino).nlink, 3U);
  ok(store().update([&](Transaction& txn) -> Status {
    LRUFS_TRY_ASSIGN(Inode from, txn.view().inode(d.ino));
    LRUFS_TRY_ASSIGN(Inode to, txn.view().inode(e.ino));
    LRUFS_TRY_ASSIGN(Inode child, txn.view().inode(sub.ino));
    LRUFS_TRY(txn.unlink(from, "sub", child));
    LRUFS_TRY(txn.link(to, "moved", child));
    LRUFS_TRY(txn.put_inode(from));
    LRUFS_TRY(txn.put_inode(to));
    return txn.put_inode(child);
  }));
  EXPECT_EQ(inode(d.ino).nlink, 2U);
  EXPECT_EQ(inode(d.ino).entries, 0U);
  EXPECT_EQ(inode(e.ino).nlink, 3U);
  EXPECT_EQ(value(store().snapshot().view().path_of(resolve("e/moved/file").ino)), "/e/moved/file");
}

TEST_F(Objects, DirectoriesCountTheirEntriesAndSubdirectories) {
  const Inode d = make(kRootIno, "d", 0040755);
  EXPECT_EQ(inode(d.ino).nlink, 2U);
  make(d.ino, "s1", 0040755);
  make(d.ino, "s2", 0040755);
  make(d.ino, "f");
  EXPECT_EQ(inode(d.ino).nlink, 4U);
  EXPECT_EQ(inode(d.ino).entries, 3U);
  EXPECT_EQ(store().statistics().directories, 4U);
  EXPECT_EQ(code_of(store().erase("d")), "not_empty");
  // destroy() refuses a directory with entries.
  {
    Transaction txn = *store().begin();
    Inode root = value(txn.view().inode(kRootIno));
    Inode dir = value(txn.view().inode(d.ino));
    ok(txn.unlink(root, "d", dir));
    EXPECT_EQ(code_of(txn.destroy(dir)), "not_empty");
    txn.abort();
  }
  ok(store().erase("d/s1"));
  ok(store().erase("d/s2"));
  ok(store().erase("d/f"));
  EXPECT_EQ(inode(d.ino).nlink, 2U);
  ok(store().erase("d"));
  EXPECT_EQ(store().statistics().directories, 1U);
}

TEST_F(Objects, TooManyLinks) {
  const Inode f = make(kRootIno, "f");
  Transaction txn = *store().begin();
  Inode root = value(txn.view().inode(kRootIno));
  Inode file = value(txn.view().inode(f.ino));
  file.nlink = store::kMaxLinks;
  EXPECT_EQ(code_of(txn.link(root, "g", file)), "too_many_links");
  Inode prototype;
  prototype.mode = 0040755;
  Inode dir = value(txn.create(prototype));
  root.nlink = store::kMaxLinks;
  EXPECT_EQ(code_of(txn.link(root, "g", dir)), "too_many_links");
  txn.abort();
}

// --- orphans
// -----------------------------------------------------------------------------------------------------

TEST_F(Objects, OrphansStayUntilTheyAreReclaimed) {
  std::set<std::uint64_t> held;
  options_.is_held = [&](Ino ino) { return held.contains(raw(ino)); };
  reopen();
  put("f", std::string(20000, 'x'));
  const Inode f = resolve("f");
  held.insert(raw(f.ino));
  ok(store().erase("f"));
  EXPECT_EQ(code_of(store().resolve("f")), "not_found");
  EXPECT_EQ(content(f.ino), std::string(20000, 'x'));
  EXPECT_EQ(store().statistics().orphans, 1U);
  EXPECT_EQ(store().statistics().files, 1U) << "orphans are included";
  EXPECT_EQ(value(store().snapshot().view().orphans(kNoIno, 10)), std::vector<Ino>{f.ino});
  EXPECT_EQ(code_of(store().snapshot().view().path_of(f.ino)), "not_found");
  EXPECT_EQ(inode(f.ino).nlink, 0U);
  ok(store().reclaim({f.ino}));
  EXPECT_EQ(state_of(f.ino), "ok") << "still held";
  EXPECT_EQ(value(store().evict(1U << 30U)), 0U) << "orphans are not in the LRU order";
  held.clear();
  ok(store().reclaim({f.ino, Ino{99999}}));
  EXPECT_EQ(state_of(f.ino), "not_found");
  EXPECT_EQ(store().statistics().orphans, 0U);
  EXPECT_EQ(store().statistics().content_bytes, 0U);
}

TEST_F(Objects, ReclaimLeavesWhatHasANameAlone) {
  put("f", "x");
  ok(store().reclaim({resolve("f").ino, kRootIno}));
  EXPECT_EQ(get("f"), "x");
}

TEST_F(Objects, LeftoversOfACrashAreReclaimed) {
  for (int i = 0; i < 200; ++i) {
    make(kRootIno, "f" + std::to_string(i));
    ok(unlink(kRootIno, "f" + std::to_string(i), true));
  }
  EXPECT_EQ(store().statistics().orphans, 200U);
  reopen();
  EXPECT_EQ(store().statistics().orphans, 200U);
  ok(store().reclaim_orphans());
  EXPECT_EQ(store().statistics().orphans, 0U);
  EXPECT_EQ(store().statistics().files, 0U);
}

TEST_F(Objects, AFileWithoutAName) {
  // O_TMPFILE, and linkat() later.
  Inode made;
  ok(store().update([&](Transaction& txn) -> Status {
    Inode prototype;
    prototype.mode = 0100600;
    LRUFS_TRY_ASSIGN(made, txn.create(prototype));
    LRUFS_TRY(txn.write(made, 0, as_bytes("temporary")));
    LRUFS_TRY(txn.orphan(made));
    return txn.put_inode(made);
  }));
  EXPECT_EQ(store().statistics().orphans, 1U);
  reopen();
  ok(link(kRootIno, "named", made.ino));
  EXPECT_EQ(store().statistics().orphans, 0U);
  EXPECT_EQ(get("named"), "temporary");
  EXPECT_EQ(inode(made.ino).nlink, 1U);
  EXPECT_TRUE(value(store().snapshot().view().orphans(kNoIno, 10)).empty());
  EXPECT_EQ(value(store().eviction_order(10)), std::vector<Ino>{made.ino});
}

// --- collisions
// --------------------------------------------------------------------------------------------------

class Collisions : public Objects {
 protected:
  Collisions() { options_.name_hash_mask = 0x700; }  // 8 hashes, and 0 counts as 1: 7 places of 128 names
};

TEST_F(Collisions, NamesWithOneHashLiveTogether) {
  Random random;
  SCOPED_TRACE(random.hint());
  std::map<std::string, Ino> model;
  for (std::size_t step = 0; step < scaled(1500); ++step) {
    const std::string name = "n" + std::to_string(random.below(150));
    if (random.chance(50)) {
      if (model.contains(name)) {
        EXPECT_EQ(code_of(link(kRootIno, name, model[name])), "exists");
      } else {
        model[name] = make(kRootIno, name).ino;
      }
    } else {
      EXPECT_EQ(code_of(unlink(kRootIno, name)), model.erase(name) == 1 ? "ok" : "not_found");
    }
    if (step % 50 != 0) continue;
    std::set<std::string> names;
    for (const auto& [known, ino] : model) {
      names.insert(known);
      ASSERT_EQ(value(store().snapshot().view().lookup(kRootIno, known)).ino, ino) << known;
    }
    ASSERT_EQ(list(kRootIno), names);
    ASSERT_EQ(inode(kRootIno).entries, model.size());
  }
  reopen();
  for (const auto& [known, ino] : model) EXPECT_EQ(resolve(known).ino, ino);
}

TEST_F(Collisions, TooManyNamesWithOneHashAreAnErrorNotALoop) {
  const Inode d = make(kRootIno, "d", 0040755);
  const Inode file = make(kRootIno, "f");
  std::size_t linked = 0;
  std::size_t refused = 0;
  for (int i = 0; i < 7 * 128 + 100; ++i) {
    const Status done = link(d.ino, "n" + std::to_string(i), file.ino);
    if (done) {
      ++linked;
    } else {
      EXPECT_NE(done.error().code, Code::kNoSpace) << "eviction would not help: update() must not try";
      ++refused;
    }
  }
  EXPECT_GT(refused, 0U);
  EXPECT_EQ(inode(d.ino).entries, linked);
  EXPECT_EQ(list(d.ino).size(), linked);
  EXPECT_EQ(inode(file.ino).nlink, linked + 1);
}

// --- xattrs
// ------------------------------------------------------------------------------------------------------

class Xattrs : public Objects {
 protected:
  Status set(Ino ino, const std::string& name, const std::string& text, XattrMode mode = XattrMode::kAny) {
    return store().update([&](Transaction& txn) -> Status {
      LRUFS_TRY_ASSIGN(Inode object, txn.view().inode(ino));
      LRUFS_TRY(txn.set_xattr(object, name, as_bytes(text), mode));
      return txn.put_inode(object);
    });
  }
  Status remove(Ino ino, const std::string& name) {
    return store().update([&](Transaction& txn) -> Status {
      LRUFS_TRY_ASSIGN(Inode object, txn.view().inode(ino));
      LRUFS_TRY(txn.remove_xattr(object, name));
      return txn.put_inode(object);
    });
  }
  std::string get_xattr(Ino ino, const std::string& name) {
    const auto got = store().snapshot().view().xattr(ino, name);
    return got ? *got : code_of(got);
  }
};

TEST_F(Xattrs, Modes) {
  const Ino f = make(kRootIno, "f").ino;
  EXPECT_EQ(get_xattr(f, "user.a"), "no_attribute");
  EXPECT_EQ(code_of(set(f, "user.a", "1", XattrMode::kReplace)), "no_attribute");
  ok(set(f, "user.a", "1", XattrMode::kCreate));
  EXPECT_EQ(code_of(set(f, "user.a", "2", XattrMode::kCreate)), "exists");
  EXPECT_EQ(get_xattr(f, "user.a"), "1");
  ok(set(f, "user.a", "3", XattrMode::kReplace));
  ok(set(f, "user.a", "", XattrMode::kAny));
  EXPECT_EQ(get_xattr(f, "user.a"), "");
  ok(remove(f, "user.a"));
  EXPECT_EQ(code_of(remove(f, "user.a")), "no_attribute");
  EXPECT_EQ(code_of(remove(f, "")), "no_attribute");
  EXPECT_EQ(code_of(set(f, "", "x")), "invalid");
  EXPECT_EQ(code_of(set(f, std::string(256, 'n'), "x")), "invalid");
  ok(set(f, std::string(255, 'n'), "x"));
  EXPECT_EQ(get_xattr(f, std::string(255, 'n')), "x");
  EXPECT_EQ(get_xattr(f, std::string(254, 'n')), "no_attribute") << "a prefix is another name";
  EXPECT_EQ(get_xattr(f, ""), "no_attribute");
  EXPECT_EQ(get_xattr(f, std::string(256, 'n')), "no_attribute");
  EXPECT_EQ(code_of(set(f, "user.big", std::string(store::kMaxXattr + 1, 'x'))), "value_too_large");
  ok(set(f, "user.big", std::string(store::kMaxXattr, 'x')));
  EXPECT_EQ(get_xattr(f, "user.big"), std::string(store::kMaxXattr, 'x'));
}

TEST_F(Xattrs, EqualAMap) {
  Random random;
  SCOPED_TRACE(random.hint());
  std::vector<Ino> objects = {make(kRootIno, "f").ino, make(kRootIno, "d", 0040755).ino, kRootIno};
  std::vector<std::map<std::string, std::string>> models(objects.size());
  for (std::size_t step = 0; step < scaled(800); ++step) {
    const std::size_t which = random.below(objects.size());
    std::map<std::string, std::string>& model = models[which];
    const std::string name =
        "user." + std::string(random.below(3) * 120, 'x') + std::to_string(random.below(6));
    if (random.chance(70)) {
      const std::string text =
          random.text(random.chance(10) ? 500 + random.below(30) : random.skewed(store::kMaxXattr));
      ok(set(objects[which], name, text));
      model[name] = text;
    } else {
      EXPECT_EQ(code_of(remove(objects[which], name)), model.erase(name) == 1 ? "ok" : "no_attribute");
    }
    std::vector<std::string> names;
    for (const auto& [known, text] : model) {
      names.push_back(known);
      ASSERT_TRUE(get_xattr(objects[which], known) == text) << known;
    }
    std::vector<std::string> got = value(store().snapshot().view().xattr_names(objects[which]));
    std::sort(got.begin(), got.end());
    ASSERT_EQ(got, names);
    if (step % 100 == 50) ok(store().checkpoint());
  }
  reopen();
  for (std::size_t i = 0; i < objects.size(); ++i) {
    for (const auto& [known, text] : models[i]) EXPECT_TRUE(get_xattr(objects[i], known) == text);
  }
  // Gone with the object.
  const std::uint64_t used = store().statistics().used_bytes;
  ok(set(objects[0], "user.big", std::string(60000, 'x')));
  EXPECT_GT(store().statistics().used_bytes, used + 50000);
  ok(store().erase("f"));
  EXPECT_LE(store().statistics().used_bytes, used + 16384);
}

TEST_F(Xattrs, ManyOnOneObject) {
  const Ino f = make(kRootIno, "f").ino;
  for (int i = 0; i < 400; ++i)
    ok(set(f, "user." + std::to_string(i), std::string(static_cast<std::size_t>(i), 'v')));
  EXPECT_EQ(value(store().snapshot().view().xattr_names(f)).size(), 400U);
  ok(store().erase("f"));
  EXPECT_EQ(store().statistics().files, 0U);
}

}  // namespace
}  // namespace lrufs::test
