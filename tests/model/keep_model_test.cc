// Pins and times to live against a model that knows nothing of parking and of lower bounds: after any mixture
// of pins, moves, links, uses, writes and evictions, what goes next is what the model says, in its order, and
// what expires is what the model says, at its time. ctest: timeout=600
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
using store::Ino;
using store::Inode;
using store::Status;
using store::Transaction;

constexpr std::uint64_t kMilli = 1'000'000;
constexpr std::uint64_t kStart = 1'700'000'000'000 * kMilli;

struct Object {
  bool is_directory = false;
  bool pinned = false;
  std::set<std::pair<std::uint64_t, std::string>> names;  // (parent, name)
  std::size_t entries = 0;
  std::uint64_t used = 0;  // the order of use
  std::size_t size = 0;
  std::uint64_t ttl = 0;      // milliseconds
  std::uint64_t expires = 0;  // nanoseconds; 0: never
};
using Model = std::map<std::uint64_t, Object>;  // by inode number; 1 is the root

class KeepModel : public StoreTest {
 protected:
  KeepModel() {
    options_.wall_clock = [this] { return clock_; };
    options_.on_evict = [this](const std::vector<store::Evicted>& evicted) {
      for (const auto& one : evicted) told_.insert(raw(one.ino));
    };
    model_[1] = {.is_directory = true};
  }

  [[nodiscard]] static bool below_pin(const Model& model, std::uint64_t dir) {
    for (; dir != 1; dir = model.at(dir).names.begin()->first) {
      if (model.at(dir).pinned) return true;
    }
    return model.at(1).pinned;
  }
  [[nodiscard]] static bool is_covered(const Model& model, const Object& object) {
    return object.pinned || std::any_of(object.names.begin(), object.names.end(),
                                        [&](const auto& name) { return below_pin(model, name.first); });
  }
  static void erase(Model& model, std::uint64_t ino) {
    for (const auto& [parent, name] : model.at(ino).names) --model.at(parent).entries;
    model.erase(ino);
  }
  [[nodiscard]] std::vector<Ino> order(std::size_t limit) const {
    Model left = model_;
    std::vector<Ino> order;
    while (order.size() < limit) {
      auto victim = left.end();
      for (auto at = left.begin(); at != left.end(); ++at) {
        if (at->first == 1 || at->second.entries > 0) continue;
        if (victim != left.end() && at->second.used > victim->second.used) continue;
        if (!is_covered(left, at->second)) victim = at;
      }
      if (victim == left.end()) break;
      order.push_back(Ino{victim->first});
      erase(left, victim->first);
    }
    return order;
  }
  [[nodiscard]] bool is_below(std::uint64_t dir, std::uint64_t ancestor) const {
    for (; dir != 1; dir = model_.at(dir).names.begin()->first) {
      if (dir == ancestor) return true;
    }
    return ancestor == 1;
  }
  std::uint64_t any(const std::function<bool(std::uint64_t, const Object&)>& wanted) {
    std::vector<std::uint64_t> choices;
    for (const auto& [ino, object] : model_) {
      if (wanted(ino, object)) choices.push_back(ino);
    }
    return choices.empty() ? 0 : choices[random_.below(choices.size())];
  }
  std::uint64_t any_directory() {
    return any([](std::uint64_t, const Object& object) { return object.is_directory; });
  }
  std::uint64_t any_file() {
    return any([](std::uint64_t, const Object& object) { return !object.is_directory; });
  }
  std::uint64_t any_object() {
    return any([](std::uint64_t ino, const Object&) { return ino != 1; });
  }

  void create() {
    const std::uint64_t parent = any_directory();
    const bool directory = random_.chance(30);
    const std::string name = "o" + std::to_string(++serial_);
    Object object{.is_directory = directory, .names = {{parent, name}}, .used = ++use_};
    object.ttl = model_.at(parent).ttl;
    if (object.ttl != 0 && !directory) object.expires = clock_ + object.ttl * kMilli;
    std::uint64_t made = 0;
    ok(store().update([&](Transaction& txn) -> Status {
      LRUFS_TRY_ASSIGN(Inode dir, txn.view().inode(Ino{parent}));
      Inode prototype;
      prototype.mode = directory ? 0040755 : 0100644;
      prototype.ttl = dir.ttl;
      LRUFS_TRY_ASSIGN(Inode inode, txn.create(prototype));
      LRUFS_TRY(txn.link(dir, name, inode));
      made = raw(inode.ino);
      LRUFS_TRY(txn.put_inode(dir));
      return txn.put_inode(inode);
    }));
    ++model_.at(parent).entries;
    model_[made] = object;
  }
  void pin() {
    // More are pinned than not, and now and then the root: much is covered in several ways.
    const std::uint64_t ino = random_.chance(3) ? 1 : any_object();
    if (ino == 0) return;
    const bool pinned = random_.chance(50);
    change(Ino{ino}, [&](Transaction& txn, Inode& inode) { return txn.set_pinned(inode, pinned); });
    model_.at(ino).pinned = pinned;
  }
  void use() {
    const std::uint64_t ino = any_object();
    if (ino == 0) return;
    store().touch(Ino{ino});
    model_.at(ino).used = ++use_;
  }
  void write() {
    const std::uint64_t ino = any_file();
    if (ino == 0) return;
    Object& object = model_.at(ino);
    const std::size_t size = random_.below(6000);
    const bool cut = random_.chance(30);
    change(Ino{ino}, [&](Transaction& txn, Inode& inode) {
      return cut ? txn.truncate(inode, size) : txn.write(inode, 0, as_bytes(std::string(size, 'w')));
    });
    object.size = cut ? size : std::max(object.size, size);
    if (object.expires != 0 && (cut || size > 0)) object.expires = clock_ + object.ttl * kMilli;
  }
  void set_ttl() {
    const std::uint64_t ino = any([](std::uint64_t, const Object&) { return true; });
    const std::uint64_t ttl = random_.chance(30) ? 0 : random_.between(1, 4000);
    Object& object = model_.at(ino);
    change(Ino{ino}, [&](Transaction& txn, Inode& inode) { return txn.set_ttl(inode, ttl); });
    object.ttl = ttl;
    object.expires = object.is_directory || ttl == 0 ? 0 : clock_ + ttl * kMilli;
  }
  // Moves or, of a file, adds a name; or takes one away.
  void rename() {
    const std::uint64_t ino = any_object();
    if (ino == 0) return;
    Object& object = model_.at(ino);
    const auto old = *std::next(object.names.begin(), static_cast<long>(random_.below(object.names.size())));
    const std::uint64_t to = any_directory();
    const bool adds = !object.is_directory && random_.chance(25);
    const bool drops = object.names.size() > 1 && random_.chance(30);
    if (object.is_directory && is_below(to, ino)) return;
    const std::string name = "o" + std::to_string(++serial_);
    ok(store().update([&](Transaction& txn) -> Status {
      LRUFS_TRY_ASSIGN(Inode child, txn.view().inode(Ino{ino}));
      if (!adds) {
        LRUFS_TRY_ASSIGN(Inode from, txn.view().inode(Ino{old.first}));
        LRUFS_TRY(txn.unlink(from, old.second, child));
        LRUFS_TRY(txn.put_inode(from));
      }
      if (!drops) {
        LRUFS_TRY_ASSIGN(Inode dir, txn.view().inode(Ino{to}));
        LRUFS_TRY(txn.link(dir, name, child));
        LRUFS_TRY(txn.put_inode(dir));
      }
      return txn.put_inode(child);
    }));
    if (!adds) {
      object.names.erase(old);
      --model_.at(old.first).entries;
    }
    if (!drops) {
      object.names.emplace(to, name);
      ++model_.at(to).entries;
    }
  }
  void evict() {
    const std::vector<Ino> expected = order(1);
    told_.clear();
    value(store().evict(1));
    ASSERT_EQ(told_.size(), expected.size());
    if (expected.empty()) return;
    ASSERT_EQ(*told_.begin(), raw(expected[0]));
    erase(model_, raw(expected[0]));
  }
  void let_time_pass() {
    clock_ += random_.between(1, 2000) * kMilli;
    std::set<std::uint64_t> expected;
    for (const auto& [ino, object] : model_) {
      if (object.expires != 0 && object.expires <= clock_) expected.insert(ino);
    }
    const auto now = store().snapshot();
    for (const auto& [ino, object] : model_) {
      const Inode inode = value(now.view().inode(Ino{ino}));
      ASSERT_EQ(store().is_expired(inode), expected.contains(ino)) << "inode " << ino;
      ASSERT_EQ(store().expires_at(inode), object.expires);
    }
    told_.clear();
    ASSERT_EQ(value(store().reap_expired()), expected.size());
    ASSERT_EQ(told_, expected);
    for (const std::uint64_t ino : expected) erase(model_, ino);
  }
  void compare_counts() {
    std::uint64_t pinned = 0;
    std::uint64_t directories = 0;
    std::uint64_t bytes = 0;
    for (const auto& [ino, object] : model_) {
      pinned += object.pinned ? 1 : 0;
      directories += object.pinned && object.is_directory ? 1 : 0;
      bytes += object.pinned ? object.size : 0;
    }
    const auto seen = store().statistics();
    ASSERT_EQ(seen.pinned_objects, pinned);
    ASSERT_EQ(seen.pinned_directories, directories);
    ASSERT_EQ(seen.pinned_bytes, bytes);
  }

  Random random_;
  Model model_;
  std::set<std::uint64_t> told_;
  std::uint64_t clock_ = kStart;
  std::uint64_t use_ = 0;
  std::uint64_t serial_ = 0;
};

TEST_F(KeepModel, GoesAsTheModelSays) {
  SCOPED_TRACE(random_.hint());
  std::uint64_t evicted = 0;
  for (std::size_t step = 0; step < scaled(6000); ++step) {
    SCOPED_TRACE(step);
    const std::uint64_t dice = random_.below(100);
    if (dice < 25 && model_.size() < 60) {
      create();
    } else if (dice < 38) {
      pin();
    } else if (dice < 50) {
      use();
    } else if (dice < 62) {
      rename();
    } else if (dice < 68) {
      write();
    } else if (dice < 72) {
      set_ttl();
    } else if (dice < 84) {
      evict();
      ++evicted;
    } else if (dice < 88) {
      let_time_pass();
    } else if (dice < 90) {
      reopen();
    } else if (dice < 97) {
      const std::size_t limit = random_.between(1, 70);
      ASSERT_EQ(value(store().eviction_order(limit)), order(limit));
    } else {
      compare_counts();
    }
    ASSERT_FALSE(HasFailure());
    if (step % 500 != 0) continue;
    close();
    ASSERT_EQ(check(), "");
    open();
  }
  ASSERT_EQ(value(store().eviction_order(1000)), order(1000));
  EXPECT_GT(evicted, 0U);
}

}  // namespace
}  // namespace lrufs::test
