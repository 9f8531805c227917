#include "store/salvage.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "store/bytes.h"
#include "store/keys.h"

namespace lrufs::store {

namespace {

using KeyBytes = std::vector<std::byte>;

struct Found {
  SalvagedObject object;
  bool has_inode = false;
  std::uint64_t pages = 0;  // counted
};

class Salvager {
 public:
  explicit Salvager(const ReadView& view) : view_(view) {}

  Salvage run() {
    const TreeRoot& root = view_.roots().names;
    if (root.page != kNoPage) walk(root.page, root.birth, -1, {}, {});
    for (auto& [ino, found] : objects_) {
      if (found.has_inode && is_hurt(found)) found.has_inode = false;
    }
    keep_directories();
    name_all();
    drop_lost();
    return collect();
  }

 private:
  void walk(PageNo number, TxnId birth, int level, const KeyBytes& low, const KeyBytes& high) {
    const auto page = view_.pages().fetch(number, birth);
    if (!page || (level >= 0 && NodeView(**page).level() != level) || !seen_.insert(raw(number)).second) {
      lost_.emplace_back(low, high);
      // Of a branch nobody knows what it led to.
      if (level != 0) dropped_.push_back("all below page " + std::to_string(raw(number)) + " of the tree");
      return;
    }
    const NodeView node(**page);
    for (std::uint16_t i = 0; i < node.count(); ++i) {
      if (node.is_leaf()) {
        record(node.key(i), node.value(i));
        continue;
      }
      const auto bound = [&](std::uint16_t at) {
        const Bytes key = node.key(at);
        return KeyBytes(key.begin(), key.end());
      };
      walk(node.child(i), node.child_birth(i), node.level() - 1, i > 0 ? bound(i) : low,
           i + 1 < node.count() ? bound(static_cast<std::uint16_t>(i + 1)) : high);
    }
  }

  void record(Bytes key, Bytes value) {
    const auto parts = split_key(key);
    if (!parts || parts->owner == kNoIno) return;  // orphans: nobody has them any more
    Found& found = objects_[raw(parts->owner)];
    switch (parts->kind) {
      case Kind::kInode:
        if (const auto inode = decode_inode(parts->owner, value)) {
          found.object.inode = *inode;
          found.has_inode = true;
        }
        return;
      case Kind::kExtent:
        if (const auto extent = decode_extent(0, value)) found.pages += extent->count;
        return;
      case Kind::kXattr:
        if (!value.empty() && value.front() == kXattrPaged) {
          if (const auto paged = decode_paged_xattr(value.subspan(1)))
            found.pages += pages_for(paged->length);
        }
        return;
      case Kind::kEntry:
        if (parts->suffix.size() != 8) return;
        if (const auto entry = decode_entry(Cookie{load_be64(parts->suffix.data())}, value))
          entries_.push_back({{parts->owner, std::string(entry->name)}, entry->ino, entry->cookie});
        return;
      default:
        return;
    }
  }

  // Of a directory only the inode counts.
  [[nodiscard]] bool is_hurt(const Found& found) const {
    const Inode& inode = found.object.inode;
    if (inode.is_directory()) return false;
    const Key first = Key::inode(inode.ino);
    const Key next = Key::inode(Ino{raw(inode.ino) + 1});
    for (const auto& [low, high] : lost_) {
      if (compare_keys(low, next) < 0 && (high.empty() || compare_keys(first, high) < 0)) return true;
    }
    return found.pages != inode.pages;
  }

  Found& directory(Ino ino, std::uint32_t mode) {
    Found& found = objects_[raw(ino)];
    if (!found.has_inode || !found.object.inode.is_directory()) {
      found.object = {};
      found.object.inode.ino = ino;
      found.object.inode.mode = mode;
      found.object.inode.atime = found.object.inode.mtime = found.object.inode.ctime =
          found.object.inode.btime = now();
      found.has_inode = true;
    }
    return found;
  }

  // A directory whose inode is lost still has its entries.
  void keep_directories() {
    directory(kRootIno, 0040755);
    for (const Entry& entry : entries_) {
      const auto dir = objects_.find(raw(entry.name.dir));
      if (dir == objects_.end() || !dir->second.has_inode || !dir->second.object.inode.is_directory())
        directory(entry.name.dir, 0040700);
    }
  }

  void name_all() {
    for (Entry& entry : entries_) {
      const auto child = objects_.find(raw(entry.ino));
      const bool is_lost = child == objects_.end() || !child->second.has_inode || entry.ino == kRootIno;
      if (is_lost) {
        lost_names_.push_back(entry.name);
        if (child != objects_.end()) told_.insert(raw(entry.ino));
      } else if (auto& names = child->second.object.names;
                 names.empty() || !child->second.object.inode.is_directory()) {
        // The first name stays the first.
        const Inode& inode = child->second.object.inode;
        const bool is_first = inode.parent == entry.name.dir && inode.cookie == entry.cookie;
        names.insert(is_first ? names.begin() : names.end(), std::move(entry.name));
      }
    }
    std::vector<std::uint64_t> nameless;
    for (const auto& [ino, found] : objects_) {
      const bool is_orphan = (found.object.inode.flags & Inode::kOrphan) != 0U;
      if (found.has_inode && found.object.names.empty() && Ino{ino} != kRootIno && !is_orphan)
        nameless.push_back(ino);
    }
    // What hangs on itself is reached by no name either.
    for (const auto& [ino, found] : objects_) {
      if (found.has_inode && found.object.inode.is_directory() && !found.object.names.empty() &&
          !is_rooted(ino))
        nameless.push_back(ino);
    }
    if (nameless.empty()) return;
    std::string name = "lost+found";
    while (std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
      return entry.name.dir == kRootIno && entry.name.name == name;
    }))
      name += "+";
    directory(kLostAndFound, 0040700).object.names = {{kRootIno, name}};
    for (const std::uint64_t ino : nameless)
      objects_[ino].object.names = {{kLostAndFound, std::to_string(ino)}};
    found_ = nameless.size();
  }

  [[nodiscard]] bool is_rooted(std::uint64_t ino) const {
    for (std::size_t steps = 0; steps <= objects_.size(); ++steps) {
      if (ino == raw(kRootIno)) return true;
      const auto at = objects_.find(ino);
      if (at == objects_.end() || at->second.object.names.empty()) return at != objects_.end();
      ino = raw(at->second.object.names.front().dir);
    }
    return false;
  }

  [[nodiscard]] std::string path_of(const SalvagedName& name) const {
    std::string path = "/" + name.name;
    Ino dir = name.dir;
    for (std::size_t depth = 0; dir != kRootIno && depth < 4096; ++depth) {
      const auto at = objects_.find(raw(dir));
      if (at == objects_.end() || at->second.object.names.empty()) return "…" + path;
      path = "/" + at->second.object.names.front().name + path;
      dir = at->second.object.names.front().dir;
    }
    return path;
  }

  void drop_lost() {
    for (const SalvagedName& name : lost_names_) dropped_.push_back(path_of(name));
    for (const auto& [ino, found] : objects_) {
      if (!found.has_inode && !told_.contains(ino)) dropped_.push_back("inode " + std::to_string(ino));
    }
    std::sort(dropped_.begin(), dropped_.end());
  }

  Salvage collect() {
    Salvage result;
    for (auto& [ino, found] : objects_) {
      const bool is_kept = found.has_inode && (Ino{ino} == kRootIno || !found.object.names.empty());
      if (is_kept) result.objects.push_back(std::move(found.object));
    }
    std::sort(result.objects.begin(), result.objects.end(), [](const auto& a, const auto& b) {
      return std::pair(a.inode.position(), a.inode.ino) < std::pair(b.inode.position(), b.inode.ino);
    });
    result.dropped = std::move(dropped_);
    result.found = found_;
    return result;
  }

  struct Entry {
    SalvagedName name;
    Ino ino = kNoIno;
    Cookie cookie{0};
  };
  const ReadView& view_;
  std::map<std::uint64_t, Found> objects_;
  std::vector<Entry> entries_;
  std::vector<std::pair<KeyBytes, KeyBytes>> lost_;  // keys in [low, high)
  std::set<std::uint64_t> seen_;                     // tree pages
  std::vector<SalvagedName> lost_names_;
  std::set<std::uint64_t> told_;  // inodes among them
  std::vector<std::string> dropped_;
  std::uint64_t found_ = 0;
};

}  // namespace

Salvage salvage(const ReadView& view) { return Salvager(view).run(); }

}  // namespace lrufs::store
