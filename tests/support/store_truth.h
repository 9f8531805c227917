// What one state of a store holds, record by record, to compare with what is read from the same state after
// damage: each answer must be the truth or an error that says so.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "store/bytes.h"
#include "store/store.h"

namespace lrufs::test {

struct ObjectTruth {
  store::Inode inode;
  std::map<std::string, std::string> xattrs;
  std::vector<std::pair<std::string, store::Ino>> entries;  // in the order of list()
  std::string content;
};

struct StateTruth {
  std::map<store::Ino, ObjectTruth> objects;
  std::set<std::string> absent = {"absent", "no such name"};
};

// Everything that can be reached by name, and the orphans.
inline store::Result<StateTruth> truth_of(const store::ReadView& view) {
  using namespace store;  // NOLINT(google-build-using-namespace)
  StateTruth truth;
  LRUFS_TRY_ASSIGN(std::vector<Ino> todo, view.orphans(kNoIno, 1'000'000));
  todo.push_back(kRootIno);
  while (!todo.empty()) {
    const Ino ino = todo.back();
    todo.pop_back();
    if (truth.objects.contains(ino)) continue;
    ObjectTruth& object = truth.objects[ino];
    LRUFS_TRY_ASSIGN(object.inode, view.inode(ino));
    LRUFS_TRY_ASSIGN(const auto names, view.xattr_names(ino));
    for (const std::string& name : names) {
      LRUFS_TRY_ASSIGN(object.xattrs[name], view.xattr(ino, name));
    }
    LRUFS_TRY(view.list(ino, Cookie{0}, [&](const DirEntry& entry) {
      object.entries.emplace_back(entry.name, entry.ino);
      todo.push_back(entry.ino);
      return true;
    }));
    if (object.inode.is_directory()) continue;
    object.content.resize(object.inode.size);
    LRUFS_TRY(view.read(object.inode, 0,
                        {reinterpret_cast<std::byte*>(object.content.data()), object.content.size()}));
  }
  return truth;
}

// Compares all that the view says with the truth.
class TruthCheck {
 public:
  // `content_too`: the bytes in content pages must be right as well, not only which pages they are.
  TruthCheck(const store::ReadView& view, const StateTruth& truth, bool content_too)
      : view_(view), truth_(truth), content_too_(content_too) {
    for (const auto& [ino, object] : truth.objects) check(ino, object);
  }
  [[nodiscard]] const std::string& lies() const { return lies_; }  // empty: nothing wrong was told
  [[nodiscard]] std::size_t errors() const { return errors_; }     // answers that were kCorrupt
  [[nodiscard]] std::size_t answers() const { return answers_; }

 private:
  // Is there an answer to compare? Any error but kCorrupt is a lie.
  template <typename T>
  bool answered(const store::Result<T>& result, store::Ino ino, const char* what) {
    if (result) {
      ++answers_;
      return true;
    }
    if (result.error().code == store::Code::kCorrupt)
      ++errors_;
    else
      lie(ino, std::string(what) + ": " + std::string(store::code_name(result.error().code)));
    return false;
  }
  void lie(store::Ino ino, const std::string& what) {
    if (lies_.size() < 1000) lies_ += "inode " + std::to_string(raw(ino)) + ": " + what + "\n";
  }

  void check(store::Ino ino, const ObjectTruth& object) {
    const auto inode = view_.inode(ino);
    if (answered(inode, ino, "inode") && !(*inode == object.inode)) lie(ino, "another inode");
    names(ino, object);
    const auto xattrs = view_.xattr_names(ino);
    if (answered(xattrs, ino, "xattr_names")) {
      std::vector<std::string> expected;
      for (const auto& [name, value] : object.xattrs) expected.push_back(name);
      if (*xattrs != expected) lie(ino, "other xattrs");
    }
    for (const auto& [name, value] : object.xattrs) {
      const auto found = view_.xattr(ino, name);
      if (!answered(found, ino, "xattr")) continue;
      const bool in_tree = value.size() <= 512;
      if ((in_tree || content_too_) && *found != value) lie(ino, "another value of xattr " + name);
    }
    if (inode && !inode->is_directory()) content(*inode, object);
    const auto path = view_.path_of(ino);
    if (object.inode.parent != store::kNoIno || ino == store::kRootIno) (void)answered(path, ino, "path_of");
  }

  void names(store::Ino ino, const ObjectTruth& object) {
    std::vector<std::pair<std::string, store::Ino>> listed;
    const auto done = view_.list(ino, store::Cookie{0}, [&](const store::DirEntry& entry) {
      listed.emplace_back(entry.name, entry.ino);
      return listed.size() <= object.entries.size();
    });
    const bool complete = answered(done, ino, "list");
    if (listed.size() > object.entries.size() || (complete && listed.size() != object.entries.size()) ||
        !std::equal(listed.begin(), listed.end(), object.entries.begin()))
      lie(ino, "other entries");
    for (const auto& [name, child] : object.entries) {
      const auto entry = view_.lookup(ino, name);
      if (answered(entry, ino, "lookup") && entry->ino != child) lie(ino, "another object as " + name);
    }
    for (const std::string& name : truth_.absent) {
      const auto entry = view_.lookup(ino, name);
      if (entry ||
          (entry.error().code != store::Code::kNotFound && entry.error().code != store::Code::kCorrupt))
        lie(ino, "a name that does not exist: " + name);
    }
  }

  void content(const store::Inode& inode, const ObjectTruth& object) {
    std::string bytes(inode.size, '?');
    const auto read = view_.read(inode, 0, {reinterpret_cast<std::byte*>(bytes.data()), bytes.size()});
    if (!answered(read, inode.ino, "read")) return;
    const bool in_tree = (inode.flags & store::Inode::kPaged) == 0U;
    if ((in_tree || content_too_) && bytes != object.content) lie(inode.ino, "other content");
  }

  const store::ReadView& view_;
  const StateTruth& truth_;
  bool content_too_;
  std::string lies_;
  std::size_t errors_ = 0;
  std::size_t answers_ = 0;
};

}  // namespace lrufs::test
