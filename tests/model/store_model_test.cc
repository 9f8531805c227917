// Generated operations on a whole store against a tree in memory: names, contents, xattrs, links, orphans,
// snapshots, checkpoints, reopening; without and with eviction, which the model learns of through on_evict.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/store_fixture.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::Code;
using store::DirEntry;
using store::Evicted;
using store::Ino;
using store::Inode;
using store::kRootIno;
using store::ReadView;
using store::Snapshot;
using store::Status;
using store::Store;
using store::Transaction;
using WriteMode = store::Transaction::WriteMode;

struct Object {
  std::uint32_t mode = 0;
  std::uint64_t nlink = 0;  // as names, for directories without "." and subdirectories
  std::string content;
  std::map<std::string, std::string> xattrs;
  std::map<std::string, std::uint64_t> entries;
  bool pinned = false;
  std::uint64_t ttl = 0;
  [[nodiscard]] bool is_directory() const { return (mode & 0170000U) == 0040000U; }
  [[nodiscard]] bool is_regular() const { return (mode & 0170000U) == 0100000U; }
};
using Model = std::map<std::uint64_t, Object>;  // by inode number; 1 is the root

class StoreModel : public StoreTest {
 protected:
  void SetUp() override {}  // each test has options of its own

  void begin(std::uint64_t bound, bool evicts) {
    options_.bound = bound;
    evicts_ = evicts;
    options_.is_held = [this](Ino ino) { return held_.contains(raw(ino)); };
    options_.on_evict = [this](const std::vector<Evicted>& evicted) { learn(evicted); };
    model_.clear();
    Object root;
    root.mode = 0040755;
    root.nlink = 1;
    model_[1] = root;
    open();
  }

  // Eviction told what went: it must have been there, and be allowed to go.
  void learn(const std::vector<Evicted>& evicted) {
    EXPECT_TRUE(evicts_) << "evicted without need";
    for (const Evicted& one : evicted) {
      const auto dir = model_.find(raw(one.parent));
      ASSERT_TRUE(dir != model_.end());
      const auto entry = dir->second.entries.find(one.name);
      ASSERT_TRUE(entry != dir->second.entries.end()) << one.name;
      ASSERT_EQ(entry->second, raw(one.ino));
      ASSERT_FALSE(protected_.contains(raw(one.ino)));
      dir->second.entries.erase(entry);
      Object& gone = model_.at(raw(one.ino));
      ASSERT_TRUE(gone.entries.empty()) << "a directory went that has entries";
      ASSERT_FALSE(gone.pinned) << "a pinned object went";
      ASSERT_EQ(one.kept_as_orphan, held_.contains(raw(one.ino)));
      if (--gone.nlink == 0 && !one.kept_as_orphan) model_.erase(raw(one.ino));
      ++evictions_;
    }
  }

  // --- the store against a model
  // ---------------------------------------------------------------------------------
  static void expect_equal(const ReadView& view, const Model& model) {
    std::set<std::uint64_t> seen;
    std::uint64_t orphans = 0;
    for (const auto& [number, object] : model) {
      const auto inode = view.inode(Ino{number});
      ASSERT_TRUE(inode) << "inode " << number << " is missing";
      ASSERT_EQ(inode->mode, object.mode);
      std::uint64_t subdirectories = 0;
      for (const auto& [name, child] : object.entries)
        subdirectories += model.at(child).is_directory() ? 1 : 0;
      const bool orphan = object.nlink == 0;
      orphans += orphan ? 1 : 0;
      ASSERT_EQ(inode->nlink, object.is_directory() ? (orphan ? 0 : 2 + subdirectories) : object.nlink)
          << "inode " << number;
      ASSERT_EQ((inode->flags & Inode::kOrphan) != 0, orphan);
      ASSERT_EQ((inode->flags & Inode::kPinned) != 0, object.pinned);
      ASSERT_EQ(inode->ttl, object.ttl) << "inode " << number;
      ASSERT_EQ(inode->entries, object.entries.size());
      ASSERT_EQ(inode->size, object.content.size());
      std::string text(object.content.size() + 10, '?');
      const auto bytes = view.read(*inode, 0, {reinterpret_cast<std::byte*>(text.data()), text.size()});
      ASSERT_TRUE(bytes) << say(bytes);
      text.resize(*bytes);
      ASSERT_TRUE(text == object.content) << "the content of inode " << number;
      std::map<std::string, std::string> xattrs;
      const auto names = view.xattr_names(Ino{number});
      ASSERT_TRUE(names);
      for (const std::string& name : *names) {
        const auto xattr = view.xattr(Ino{number}, name);
        ASSERT_TRUE(xattr) << say(xattr);
        xattrs[name] = *xattr;
      }
      ASSERT_TRUE(xattrs == object.xattrs) << "the xattrs of inode " << number;
      std::map<std::string, std::uint64_t> entries;
      const Status listed = view.list(Ino{number}, store::Cookie{0}, [&](const DirEntry& entry) {
        entries.emplace(entry.name, raw(entry.ino));
        return true;
      });
      ASSERT_TRUE(listed) << say(listed);
      ASSERT_EQ(entries, object.entries) << "the entries of inode " << number;
      const auto links = view.links(*inode);
      ASSERT_TRUE(links);
      ASSERT_EQ(links->size(), number == 1 ? 0 : object.nlink);
      for (const store::Link& link : *links) {
        const auto entry = view.entry_at(link.parent, link.cookie);
        ASSERT_TRUE(entry);
        ASSERT_EQ(raw(entry->ino), number);
        ASSERT_EQ(model.at(raw(link.parent)).entries.at(std::string(entry->name)), number);
      }
    }
    const auto listed = view.orphans(store::kNoIno, 100000);
    ASSERT_TRUE(listed);
    ASSERT_EQ(listed->size(), orphans);
  }
  void expect_equal() {
    const Snapshot now = store().snapshot();
    ASSERT_NO_FATAL_FAILURE(expect_equal(now.view(), model_));
    const store::Statistics s = store().statistics();
    std::uint64_t directories = 0;
    std::uint64_t bytes = 0;
    std::uint64_t pinned = 0;
    for (const auto& [number, object] : model_) {
      pinned += object.pinned ? 1 : 0;
      directories += object.is_directory() ? 1 : 0;
      bytes += object.content.size();
    }
    ASSERT_EQ(s.directories, directories);
    ASSERT_EQ(s.files, model_.size() - directories);
    ASSERT_EQ(s.content_bytes, bytes);
    ASSERT_EQ(s.pinned_objects, pinned);
  }

  // --- choosing
  // --------------------------------------------------------------------------------------------------
  std::uint64_t any(Random& random, const std::function<bool(const Object&)>& wanted) {
    std::vector<std::uint64_t> choices;
    for (const auto& [number, object] : model_) {
      if (wanted(object)) choices.push_back(number);
    }
    return choices.empty() ? 0 : choices[random.below(choices.size())];
  }
  std::uint64_t any_directory(Random& random) {
    return any(random, [](const Object& object) { return object.is_directory() && object.nlink > 0; });
  }
  std::uint64_t any_file(Random& random) {
    return any(random, [](const Object& object) { return object.is_regular(); });
  }
  static std::string any_name(Random& random) {
    return random.chance(3) ? std::string(255, static_cast<char>('a' + random.below(3)))
                            : "n" + std::to_string(random.below(12));
  }
  [[nodiscard]] bool is_below(std::uint64_t number, std::uint64_t ancestor) const {
    if (number == ancestor) return true;
    for (const auto& [name, child] : model_.at(ancestor).entries) {
      if (model_.at(child).is_directory() && is_below(number, child)) return true;
    }
    return false;
  }
  static void agree(const Status& done, const std::string& expected) {
    EXPECT_EQ(code_of(done), expected) << say(done);
  }
  // What the model says to an inode that a step works on: eviction may have taken it while the step made
  // room.
  std::string expect_there(std::uint64_t number) { return model_.contains(number) ? "ok" : "not_found"; }

  // --- steps: the store first (which may evict, which the model learns), then the model, then the outcomes
  // compared ---
  void create(Random& random);
  void change_content(Random& random);
  void change_xattr(Random& random);
  void change_keeping(Random& random);
  void link_again(Random& random);
  void remove(Random& random);
  void rename(Random& random);
  void by_path(Random& random);
  void run(std::size_t steps, std::uint64_t max_file, Random& random, bool with_snapshots);

  Model model_;
  std::set<std::uint64_t> held_;
  std::set<std::uint64_t> protected_;
  bool evicts_ = false;
  std::size_t evictions_ = 0;
  std::uint64_t max_file_ = 0;
};

void StoreModel::create(Random& random) {
  const std::uint64_t dir = any_directory(random);
  const std::string name = any_name(random);
  Object object;
  const std::uint64_t kind = random.below(10);
  object.mode = kind < 3 ? 0040755U : kind < 8 ? 0100644U : kind == 8 ? 0120777U : 0010644U;
  if (kind == 8) object.content = random.text(random.between(1, 200));
  std::uint64_t number = 0;
  const Status done = store().update([&](Transaction& txn) -> Status {
    LRUFS_TRY_ASSIGN(Inode parent, txn.view().inode(Ino{dir}));
    Inode prototype;
    prototype.mode = object.mode;
    LRUFS_TRY_ASSIGN(Inode made, txn.create(prototype));
    LRUFS_TRY(txn.link(parent, name, made));
    LRUFS_TRY(txn.write(made, 0, as_bytes(object.content)));
    LRUFS_TRY(txn.put_inode(parent));
    LRUFS_TRY(txn.put_inode(made));
    number = raw(made.ino);
    return {};
  });
  if (!model_.contains(dir)) return agree(done, "not_found");
  if (model_.at(dir).entries.contains(name)) return agree(done, "exists");
  ASSERT_EQ(say(done), "ok");
  ASSERT_FALSE(model_.contains(number)) << "an inode number was used again";
  object.nlink = 1;
  model_[number] = object;
  model_.at(dir).entries[name] = number;
}

void StoreModel::change_content(Random& random) {
  const std::uint64_t number = any_file(random);
  if (number == 0) return;
  const std::uint64_t kind = random.below(10);
  const std::uint64_t offset = random.skewed(max_file_);
  const std::string data = random.text(random.skewed(max_file_ - offset));
  const bool stage = random.chance(30);
  const WriteMode mode = random.chance(50) ? WriteMode::kInPlace : WriteMode::kAtomic;
  store::StagedData staged;
  if (kind < 6 && stage) staged = value(store().stage(offset, as_bytes(data)));
  if (kind >= 9) return by_path(random);
  const Status done = store().update([&](Transaction& txn) -> Status {
    LRUFS_TRY_ASSIGN(Inode inode, txn.view().inode(Ino{number}));
    if (kind < 6) LRUFS_TRY(txn.write(inode, offset, as_bytes(data), stage ? &staged : nullptr, mode));
    if (kind == 6 || kind == 7) LRUFS_TRY(txn.truncate(inode, offset));
    if (kind == 8) LRUFS_TRY(txn.punch(inode, offset, data.size()));
    return txn.put_inode(inode);
  });
  ASSERT_EQ(code_of(done), expect_there(number)) << say(done);
  if (!done) return;
  std::string& content = model_.at(number).content;
  if (kind < 6 && !data.empty()) {
    if (content.size() < offset + data.size()) content.resize(offset + data.size(), '\0');
    content.replace(offset, data.size(), data);
  } else if (kind == 6 || kind == 7) {
    content.resize(offset, '\0');
  } else if (kind == 8) {
    for (std::uint64_t i = offset; i < content.size() && i < offset + data.size(); ++i) content[i] = '\0';
  }
  store().touch(Ino{number});
}

void StoreModel::by_path(Random& random) {
  // A whole value, by a path of at most three parts.
  std::vector<std::string> parts;
  for (std::uint64_t i = random.between(1, 3); i > 0; --i) parts.push_back(any_name(random));
  std::string key;
  for (const std::string& part : parts) key += (key.empty() ? "" : "/") + part;
  const std::string data = random.text(random.skewed(max_file_));
  const Status done = store().put(key, as_bytes(data));
  std::uint64_t at = 1;
  std::size_t depth = 0;
  while (depth < parts.size() && model_.at(at).is_directory() && model_.at(at).entries.contains(parts[depth]))
    at = model_.at(at).entries.at(parts[depth++]);
  if (depth < parts.size() && !model_.at(at).is_directory()) return agree(done, "not_a_directory");
  if (depth == parts.size() && !model_.at(at).is_regular()) return agree(done, "is_a_directory");
  ASSERT_EQ(say(done), "ok") << key;
  for (; depth < parts.size(); ++depth) {
    std::string prefix;
    for (std::size_t i = 0; i <= depth; ++i) prefix += (i == 0 ? "" : "/") + parts[i];
    const std::uint64_t number = raw(resolve(prefix).ino);
    Object object;
    object.mode = depth + 1 == parts.size() ? 0100644U : 0040755U;
    object.nlink = 1;
    object.ttl = model_.at(at).ttl;  // it is inherited
    model_[number] = object;
    model_.at(at).entries[parts[depth]] = number;
    at = number;
  }
  model_.at(at).content = data;
  ASSERT_TRUE(get(key) == data);
}

void StoreModel::change_xattr(Random& random) {
  const std::uint64_t number = any(random, [](const Object&) { return true; });
  const std::string name = "user." + std::to_string(random.below(4));
  const bool set = random.chance(65);
  const std::string text = random.text(random.skewed(10000));
  const Status done = store().update([&](Transaction& txn) -> Status {
    LRUFS_TRY_ASSIGN(Inode inode, txn.view().inode(Ino{number}));
    if (set)
      LRUFS_TRY(txn.set_xattr(inode, name, as_bytes(text)));
    else
      LRUFS_TRY(txn.remove_xattr(inode, name));
    return txn.put_inode(inode);
  });
  if (!model_.contains(number)) return agree(done, "not_found");
  auto& xattrs = model_.at(number).xattrs;
  if (set) {
    ASSERT_EQ(say(done), "ok");
    xattrs[name] = text;
  } else {
    ASSERT_EQ(code_of(done), xattrs.erase(name) == 1 ? "ok" : "no_attribute");
  }
}

// Pins of a few files, and ends that are far away: who goes when is keep_model_test's business, here it is
// what else happens to such objects.
void StoreModel::change_keeping(Random& random) {
  const bool pins = random.chance(60);
  const std::uint64_t number =
      pins ? any_file(random)
           : any(random, [](const Object& object) { return object.is_directory() || object.is_regular(); });
  if (number == 0) return;
  const auto others = std::count_if(model_.begin(), model_.end(), [&](const auto& each) {
    return each.second.pinned && each.first != number;
  });
  const bool pinned = others < 3 && random.chance(60);
  const std::uint64_t ttl = random.chance(30) ? 0 : random.between(3'600'000, 7'200'000);
  const Status done = store().update([&](Transaction& txn) -> Status {
    LRUFS_TRY_ASSIGN(Inode inode, txn.view().inode(Ino{number}));
    LRUFS_TRY(pins ? txn.set_pinned(inode, pinned) : txn.set_ttl(inode, ttl));
    return txn.put_inode(inode);
  });
  if (!model_.contains(number)) return agree(done, "not_found");
  ASSERT_EQ(say(done), "ok");
  if (pins)
    model_.at(number).pinned = pinned;
  else
    model_.at(number).ttl = ttl;
}

// A second name, or a name for an orphan.
void StoreModel::link_again(Random& random) {
  const std::uint64_t number = any(random, [](const Object& object) { return !object.is_directory(); });
  if (number == 0) return;
  const std::uint64_t dir = any_directory(random);
  const std::string name = any_name(random);
  const Status done = store().update([&](Transaction& txn) -> Status {
    LRUFS_TRY_ASSIGN(Inode parent, txn.view().inode(Ino{dir}));
    LRUFS_TRY_ASSIGN(Inode child, txn.view().inode(Ino{number}));
    LRUFS_TRY(txn.link(parent, name, child));
    LRUFS_TRY(txn.put_inode(parent));
    return txn.put_inode(child);
  });
  if (!model_.contains(dir) || !model_.contains(number)) return agree(done, "not_found");
  if (model_.at(dir).entries.contains(name)) return agree(done, "exists");
  ASSERT_EQ(say(done), "ok");
  model_.at(dir).entries[name] = number;
  ++model_.at(number).nlink;
  held_.erase(number);
}

void StoreModel::remove(Random& random) {
  const std::uint64_t dir = any_directory(random);
  const std::string name = any_name(random);
  const bool keep = random.chance(20);
  const Status done = store().update(
      [&](Transaction& txn) -> Status {
        LRUFS_TRY_ASSIGN(Inode parent, txn.view().inode(Ino{dir}));
        LRUFS_TRY_ASSIGN(const DirEntry entry, txn.view().lookup(Ino{dir}, name));
        LRUFS_TRY_ASSIGN(Inode child, txn.view().inode(entry.ino));
        if (child.entries > 0) return store::fail(Code::kNotEmpty);
        LRUFS_TRY(txn.unlink(parent, name, child));
        LRUFS_TRY(txn.put_inode(parent));
        if (child.nlink > (child.is_directory() ? 1U : 0U)) return txn.put_inode(child);
        if (!keep && !held_.contains(raw(child.ino))) return txn.destroy(child);
        child.nlink = 0;
        LRUFS_TRY(txn.orphan(child));
        return txn.put_inode(child);
      },
      Store::Purpose::kDelete);
  if (!model_.contains(dir) || !model_.at(dir).entries.contains(name)) return agree(done, "not_found");
  const std::uint64_t number = model_.at(dir).entries.at(name);
  Object& object = model_.at(number);
  if (!object.entries.empty()) return agree(done, "not_empty");
  ASSERT_EQ(say(done), "ok");
  model_.at(dir).entries.erase(name);
  if (--object.nlink > 0) return;
  if (keep || held_.contains(number))
    held_.insert(number);
  else
    model_.erase(number);
}

// unlink and link in one transaction; what was at the new name goes.
void StoreModel::rename(Random& random) {
  const std::uint64_t from = any_directory(random);
  const std::uint64_t to = any_directory(random);
  const std::string old_name = any_name(random);
  const std::string new_name = any_name(random);
  const auto source = model_.at(from).entries.find(old_name);
  if (source == model_.at(from).entries.end()) return;
  const std::uint64_t number = source->second;
  if (model_.at(number).is_directory() && is_below(to, number)) return;  // the file system's business
  const Status done = store().update([&](Transaction& txn) -> Status {
    LRUFS_TRY_ASSIGN(Inode old_dir, txn.view().inode(Ino{from}));
    LRUFS_TRY_ASSIGN(Inode new_dir, txn.view().inode(Ino{to}));
    Inode& target_dir = from == to ? old_dir : new_dir;
    LRUFS_TRY_ASSIGN(const DirEntry entry, txn.view().lookup(Ino{from}, old_name));
    if (raw(entry.ino) != number) return store::fail(Code::kNotFound);
    LRUFS_TRY_ASSIGN(Inode child, txn.view().inode(entry.ino));
    const auto target = txn.view().lookup(Ino{to}, new_name);
    if (target) {
      if (target->ino == child.ino) return store::fail(Code::kExists);
      LRUFS_TRY_ASSIGN(Inode replaced, txn.view().inode(target->ino));
      if (replaced.is_directory()) return store::fail(Code::kIsDirectory);
      LRUFS_TRY(txn.unlink(target_dir, new_name, replaced));
      if (replaced.nlink > 0) {
        LRUFS_TRY(txn.put_inode(replaced));
      } else if (held_.contains(raw(replaced.ino))) {
        LRUFS_TRY(txn.orphan(replaced));
        LRUFS_TRY(txn.put_inode(replaced));
      } else {
        LRUFS_TRY(txn.destroy(replaced));
      }
    }
    LRUFS_TRY(txn.unlink(old_dir, old_name, child));
    LRUFS_TRY(txn.link(target_dir, new_name, child));
    LRUFS_TRY(txn.put_inode(old_dir));
    if (from != to) LRUFS_TRY(txn.put_inode(new_dir));
    return txn.put_inode(child);
  });
  if (!model_.contains(from) || !model_.contains(to) || !model_.at(from).entries.contains(old_name))
    return agree(done, "not_found");
  const auto target = model_.at(to).entries.find(new_name);
  if (target != model_.at(to).entries.end()) {
    const std::uint64_t replaced = target->second;
    if (replaced == number) return agree(done, "exists");
    if (model_.at(replaced).is_directory()) return agree(done, "is_a_directory");
    ASSERT_EQ(say(done), "ok");
    if (--model_.at(replaced).nlink == 0 && !held_.contains(replaced)) model_.erase(replaced);
  }
  ASSERT_EQ(say(done), "ok");
  model_.at(from).entries.erase(old_name);
  model_.at(to).entries[new_name] = number;
}

void StoreModel::run(std::size_t steps, std::uint64_t max_file, Random& random, bool with_snapshots) {
  max_file_ = max_file;
  struct Held {
    Snapshot snapshot;
    Model model;
  };
  std::deque<Held> snapshots;
  for (std::size_t step = 0; step < steps; ++step) {
    const std::uint64_t dice = random.below(100);
    if (dice < 22) {
      create(random);
    } else if (dice < 47) {
      change_content(random);
    } else if (dice < 52) {
      change_xattr(random);
    } else if (dice < 55) {
      change_keeping(random);
    } else if (dice < 62) {
      link_again(random);
    } else if (dice < 76) {
      remove(random);
    } else if (dice < 86) {
      rename(random);
    } else if (dice < 91) {
      const std::uint64_t number = any(random, [](const Object&) { return true; });
      store().touch(Ino{number});
    } else if (dice < 93) {
      ok(store().checkpoint());
    } else if (dice < 94) {
      // The kernel lets go of some, and takes others.
      std::vector<Ino> released;
      for (const std::uint64_t number : std::set<std::uint64_t>(held_)) {
        if (!random.chance(50)) continue;
        held_.erase(number);
        released.push_back(Ino{number});
        const auto object = model_.find(number);
        if (object != model_.end() && object->second.nlink == 0) model_.erase(object);
      }
      ok(store().reclaim(released));
      const std::uint64_t number = any_file(random);
      if (number != 0) held_.insert(number);
    } else if (dice < 95 && snapshots.empty()) {
      reopen();
      if (HasFatalFailure()) return;
    } else if (dice < 97 && with_snapshots) {
      snapshots.push_back({store().snapshot(Snapshot::Kind::kFull), model_});
      if (snapshots.size() > 3) snapshots.pop_front();
    } else if (dice < 98 && !snapshots.empty()) {
      snapshots.pop_front();
    } else if (evicts_ && dice == 98) {
      value(store().evict(random.skewed(100000)));
    } else if (dice == 99 && snapshots.empty() && random.chance(20)) {
      // The file is made shorter, and may grow again.
      if (evicts_ && random.chance(50) && options_.bound > store::kMinBound + (1U << 20U)) {
        // Smaller or larger, and back: at once, or by the next open.
        const auto resized = store().resize(random.between(store::kMinBound, 2 * options_.bound));
        if (!resized) {
          ASSERT_EQ(code_of(resized), "no_space");
        }
        ASSERT_NO_FATAL_FAILURE(expect_equal()) << "after a resize, step " << step;
        if (random.chance(50)) {
          const auto back = store().resize(options_.bound);
          if (!back) {
            ASSERT_EQ(code_of(back), "no_space");
          }
          ASSERT_NO_FATAL_FAILURE(expect_equal()) << "after the second resize, step " << step;
        }
        reopen();
        if (HasFatalFailure()) return;
      } else {
        ok(store().compact(random.chance(50) ? Store::Company::kAlone : Store::Company::kOthers));
        ASSERT_NO_FATAL_FAILURE(expect_equal()) << "after a compact, step " << step;
      }
    }
    ASSERT_FALSE(HasFatalFailure()) << "step " << step;
    ASSERT_FALSE(HasNonfatalFailure()) << "step " << step;
    if (step % 40 == 0) {
      ASSERT_NO_FATAL_FAILURE(expect_equal()) << "step " << step;
      for (const Held& one : snapshots) {
        ASSERT_NO_FATAL_FAILURE(expect_equal(one.snapshot.view(), one.model))
            << "a snapshot changed, step " << step;
      }
    }
    if (step % 1500 == 1499 && snapshots.empty()) {
      close();
      ASSERT_EQ(check(), "") << "step " << step;
      open();
    }
  }
  snapshots.clear();
  ASSERT_NO_FATAL_FAILURE(expect_equal());
  reopen();
  ASSERT_NO_FATAL_FAILURE(expect_equal());
}

TEST_F(StoreModel, ATreeWithoutEviction) {
  Random random;
  SCOPED_TRACE(random.hint());
  begin(512ULL << 20U, false);
  run(scaled(8000), 30000, random, true);
}

TEST_F(StoreModel, SmallFilesWithoutEviction) {
  Random random;
  SCOPED_TRACE(random.hint());
  begin(512ULL << 20U, false);
  run(scaled(8000), 1500, random, true);
}

TEST_F(StoreModel, ATreeThatIsAlwaysFull) {
  Random random;
  SCOPED_TRACE(random.hint());
  begin(store::kMinBound, true);
  run(scaled(6000), 200000, random, false);
  if (test_scale() >= 1) {
    EXPECT_GT(evictions_, 50U);
  }
}

TEST_F(StoreModel, CollidingNames) {
  Random random;
  SCOPED_TRACE(random.hint());
  options_.name_hash_mask = 0x300;
  begin(512ULL << 20U, false);
  run(scaled(4000), 3000, random, true);
}

}  // namespace
}  // namespace lrufs::test
