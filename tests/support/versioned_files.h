// Files that change together: each transaction writes the same version to all of them, and each content tells
// its version and whether it is whole. So a reader of any one state can tell that it is one. Beside them
// files come and go.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "store/bytes.h"
#include "store/store.h"
#include "tests/support/random.h"
#include "tests/support/store_ops.h"

namespace lrufs::test {

class VersionedFiles {
 public:
  // Inline; in pages; in pages that are overwritten in place.
  static constexpr std::array<std::pair<const char*, std::size_t>, 4> kFiles = {
      {{"inline", 200}, {"pages", 30'000}, {"in place", 90'000}, {"another", 500}}};

  static std::string content(std::uint64_t version, std::size_t file) {
    std::string text(8, '\0');
    std::memcpy(text.data(), &version, 8);
    return text + patterned(version * 8 + file, kFiles[file].second);
  }

  static store::Status make(store::Store& store) {
    for (std::size_t i = 0; i < kFiles.size(); ++i)
      LRUFS_TRY(store.put(kFiles[i].first, store::as_bytes(content(0, i))));
    return {};
  }

  // One transaction, and then what comes and goes.
  static store::Status change(store::Store& store, std::uint64_t version, Random& random) {
    LRUFS_TRY(store.update([&](store::Transaction& txn) -> store::Status {
      for (std::size_t i = 0; i < kFiles.size(); ++i) {
        LRUFS_TRY_ASSIGN(store::Inode inode, txn.find(store::kRootIno, kFiles[i].first));
        const std::string text = content(version, i);
        LRUFS_TRY(txn.write(
            inode, 0, store::as_bytes(text), nullptr,
            i == 2 ? store::Transaction::WriteMode::kInPlace : store::Transaction::WriteMode::kAtomic));
        inode.mtime.nsec = static_cast<std::uint32_t>(version % 1'000'000'000);
        LRUFS_TRY(txn.put_inode(inode));
      }
      return {};
    }));
    for (std::size_t i = 0; i < kFiles.size(); ++i) {  // they are used: eviction leaves them
      LRUFS_TRY_ASSIGN(const store::Inode inode, store.resolve(kFiles[i].first));
      store.touch(inode.ino);
    }
    const std::string name = "churn/" + std::to_string(random.below(300));
    const std::uint64_t id = random.bits();
    if (random.below(4) == 0) {
      const store::Status erased = store.erase(name);
      return erased || erased.error().code == store::Code::kNotFound ? store::Status{} : erased;
    }
    std::string text(8, '\0');
    std::memcpy(text.data(), &id, 8);
    return store.put(name, store::as_bytes(text + patterned(id, random.below(40'000))));
  }

  // What is wrong in a state; empty: nothing.
  static std::string problem(const store::ReadView& view, std::uint64_t* version_seen = nullptr) {
    std::uint64_t version = 0;
    for (std::size_t i = 0; i < kFiles.size(); ++i) {
      const auto entry = view.lookup(store::kRootIno, kFiles[i].first);
      if (!entry) return std::string(kFiles[i].first) + ": " + store::describe(entry.error());
      std::string text;
      if (std::string wrong = read(view, entry->ino, text); !wrong.empty())
        return kFiles[i].first + (": " + wrong);
      std::uint64_t found = 0;
      std::memcpy(&found, text.data(), 8);
      if (i == 0) version = found;
      if (found != version)
        return std::string(kFiles[i].first) + " has version " + std::to_string(found) + ", not " +
               std::to_string(version);
      if (text != content(version, i)) return std::string(kFiles[i].first) + " is torn";
    }
    if (version_seen != nullptr) *version_seen = version;
    return churn_problem(view);
  }

 private:
  static std::string read(const store::ReadView& view, store::Ino ino, std::string& text) {
    const auto inode = view.inode(ino);
    if (!inode) return store::describe(inode.error());
    text.resize(inode->size);
    const auto length = view.read(*inode, 0, {reinterpret_cast<std::byte*>(text.data()), text.size()});
    if (!length) return store::describe(length.error());
    return text.size() < 8 ? "short" : "";
  }
  static std::string churn_problem(const store::ReadView& view) {
    const auto dir = view.lookup(store::kRootIno, "churn");
    if (!dir) return dir.error().code == store::Code::kNotFound ? "" : store::describe(dir.error());
    std::string problem;
    const store::Status listed = view.list(dir->ino, store::Cookie{0}, [&](const store::DirEntry& entry) {
      std::string text;
      problem = read(view, entry.ino, text);
      std::uint64_t id = 0;
      if (problem.empty()) {
        std::memcpy(&id, text.data(), 8);
        const std::string whole = text.substr(0, 8) + patterned(id, text.size() - 8);
        const auto differs = std::mismatch(text.begin(), text.end(), whole.begin()).first - text.begin();
        if (text != whole)
          problem = "torn at " + std::to_string(differs) + " of " + std::to_string(text.size()) + " bytes";
      }
      if (!problem.empty()) problem = "churn/" + std::string(entry.name) + ": " + problem;
      return problem.empty();
    });
    return listed ? problem : store::describe(listed.error());
  }
};

}  // namespace lrufs::test
