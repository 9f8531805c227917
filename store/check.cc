#include "store/check.h"

#include <dirent.h>
#include <algorithm>

#include "store/bytes.h"
#include "store/damage_mark.h"
#include "store/store_impl.h"

namespace lrufs::store {

namespace {

// What was met of one object while its records pass by.
struct ObjectSeen {
  Ino ino = kNoIno;
  std::optional<Inode> inode;
  std::uint64_t links = 0;  // link records
  std::uint64_t entries = 0;
  std::uint64_t subdirectories = 0;
  std::uint64_t pages = 0;
  std::uint64_t extent_end = 0;  // file pages, of the last extent
  bool has_extents = false;
  std::optional<std::size_t> inline_bytes;
};

class Checker {
 public:
  Checker(StoreImpl& store, const Meta& meta, const SpaceMap& space, CheckReport& report,
          std::size_t max_findings, const std::function<void(std::uint64_t, std::uint64_t)>& on_progress)
      : store_(store),
        on_progress_(on_progress),
        meta_(meta),
        space_(space),
        report_(report),
        max_findings_(max_findings),
        view_(*store.pager, meta.roots, *store.name_hash),
        reached_(store.pager->limit(), false) {}

  void run() {
    for (const std::string& damage : store_.open_damage_) found(damage);
    in_names_ = true;
    walk(meta_.roots.names, [this](Bytes key, Bytes value) { name_record(key, value); });
    finish_object();
    in_names_ = false;
    walk(meta_.roots.recency, [this](Bytes key, Bytes value) { recency_record(key, value); });
    walk(meta_.roots.expiry, [this](Bytes key, Bytes value) { expiry_record(key, value); });
    walk(meta_.roots.spare, [](Bytes, Bytes) {});
    counters();
    space();
  }

 private:
  using Record = std::function<void(Bytes, Bytes)>;

  void found(std::string message, Ino ino = kNoIno, PageNo page = kNoPage) {
    if (report_.findings.size() >= max_findings_) {
      ++report_.suppressed;
      return;
    }
    CheckFinding finding{std::move(message), {}, ino, page};
    if (ino != kNoIno) {
      if (auto path = view_.path_of(ino)) finding.path = *path;
    }
    report_.findings.push_back(std::move(finding));
  }

  // About the object that an entry of the current directory names; its inode may be lost.
  void found_below(std::string message, const DirEntry& entry) {
    const std::size_t before = report_.findings.size();
    found(std::move(message), entry.ino, page_);
    if (report_.findings.size() == before) return;
    const auto dir = view_.path_of(object_.ino);
    if (dir) report_.findings.back().path = (*dir == "/" ? "" : *dir) + "/" + std::string(entry.name);
  }

  void looked_at(std::uint64_t pages) {
    pages_seen_ += pages;
    if (on_progress_ && pages_seen_ >= next_told_) {
      on_progress_(pages_seen_, space_.used());
      next_told_ = pages_seen_ + kReadPages;
    }
  }

  // A page of a tree is lost, and with it all keys in [low, high).
  void lost(const std::string& what, PageNo page, const std::vector<std::byte>& low,
            const std::vector<std::byte>& high) {
    is_whole_ = false;
    if (!in_names_) return found(what, kNoIno, page);
    const auto owner = [](Bytes key) {
      std::array<std::byte, 8> first{};
      std::copy_n(key.begin(), std::min<std::size_t>(key.size(), 8), first.begin());
      return load_be64(first.data());
    };
    const std::uint64_t from = std::max(owner(low), raw(kRootIno));
    // A bound of eight bytes or less leaves nothing of its own owner below it.
    const std::uint64_t to = high.empty() ? 0 : std::max(owner(high) - (high.size() <= 8 ? 1 : 0), from);
    if (from == to) return found(what + ": it holds records of this object", Ino{from}, page);
    found(what + ": it holds records of the inodes from " + std::to_string(from) +
              (to == 0 ? " on" : " to " + std::to_string(to)),
          kNoIno, page);
  }

  bool reach(PageNo page, std::uint64_t count, Ino owner, const char* what) {
    if (raw(page) < kHeaderPages || count > reached_.size() || raw(page) > reached_.size() - count) {
      found(std::string(what) + " lies outside of the store", owner, page);
      return false;
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      if (reached_[raw(page) + i]) {
        found(std::string(what) + " is in use twice", owner, page + i);
        return false;
      }
      reached_[raw(page) + i] = true;
    }
    return true;
  }

  void walk(const TreeRoot& root, const Record& record) {
    if (root.page == kNoPage) return;
    has_previous_ = false;
    walk_page(root.page, root.birth, -1, {}, {}, record);
  }

  // All keys of the page's subtree must lie in [low, high); an empty `high` is infinity.
  void walk_page(PageNo number, TxnId birth, int level, const std::vector<std::byte>& low,
                 const std::vector<std::byte>& high, const Record& record) {
    looked_at(1);
    const auto page = store_.pager->fetch(number, birth);
    if (!page) return lost(describe(page.error()), number, low, high);
    const NodeView node(**page);
    if (level >= 0 && node.level() != level)
      return lost("a tree page is at the wrong level", number, low, high);
    if (!reach(number, 1, kNoIno, "a tree page")) {
      is_whole_ = false;
      return;
    }
    ++report_.tree_pages;
    if (node.is_leaf()) {
      if (node.count() == 0 && level >= 0) found("a leaf is empty", kNoIno, number);
      for (std::uint16_t i = 0; i < node.count(); ++i) {
        const Bytes key = node.key(i);
        if (compare_keys(key, low) < 0 || (!high.empty() && compare_keys(key, high) >= 0))
          found("a key lies outside of its leaf's range", kNoIno, number);
        if (has_previous_ && compare_keys(previous_, key) >= 0)
          found("keys are out of order", kNoIno, number);
        previous_.assign(key.begin(), key.end());
        has_previous_ = true;
        page_ = number;
        record(key, node.value(i));
      }
      return;
    }
    for (std::uint16_t i = 0; i < node.count(); ++i) {
      std::vector<std::byte> from = low;
      std::vector<std::byte> to = high;
      if (i > 0) from.assign(node.key(i).begin(), node.key(i).end());
      if (i + 1 < node.count()) {
        const Bytes next = node.key(static_cast<std::uint16_t>(i + 1));
        to.assign(next.begin(), next.end());
      }
      walk_page(node.child(i), node.child_birth(i), node.level() - 1, from, to, record);
    }
  }

  void name_record(Bytes key, Bytes value) {
    const auto parts = split_key(key);
    if (!parts) return found("a key is too short", kNoIno, page_);
    if (parts->owner == kNoIno) return own_record(*parts);
    if (parts->owner != object_.ino) {
      finish_object();
      object_ = {};
      object_.ino = parts->owner;
    }
    if (raw(parts->owner) >= meta_.counters.next_seq)
      found("an inode's number is above all that were given", parts->owner, page_);
    switch (parts->kind) {
      case Kind::kInode: {
        const auto inode = decode_inode(parts->owner, value);
        if (!inode) return found(describe(inode.error()), parts->owner, page_);
        object_.inode = *inode;
        return;
      }
      case Kind::kLink: {
        ++object_.links;
        if (parts->suffix.size() != 16) return found("a link record is damaged", parts->owner, page_);
        return check_name(object_.ino, Ino{load_be64(parts->suffix.data())},
                          Cookie{load_be64(parts->suffix.data() + 8)});
      }
      case Kind::kXattr:
        return xattr(value);
      case Kind::kInline:
        object_.inline_bytes = value.size();
        return;
      case Kind::kExtent:
        return extent(parts->suffix, value);
      case Kind::kEntry:
        return entry(parts->suffix, value);
      case Kind::kOrphan:
        break;
    }
    found("a record of an unknown kind", parts->owner, page_);
  }

  void own_record(const KeyParts& parts) {
    if (parts.kind != Kind::kOrphan || parts.suffix.size() != 8)
      return found("a record of an unknown kind", kNoIno, page_);
    const Ino ino{load_be64(parts.suffix.data())};
    const auto inode = view_.inode(ino);
    if (!inode) return found("an orphan record without its inode", ino, page_);
    if ((inode->flags & Inode::kOrphan) == 0U)
      found("an orphan record of an object that is none", ino, page_);
    ++report_.orphans;
    if (inode->is_directory()) ++report_.orphan_directories;
  }

  void check_name(Ino ino, Ino parent, Cookie cookie) {
    const auto entry = view_.entry_at(parent, cookie);
    if (!entry && entry.error().code == Code::kCorrupt)
      found("a name of the object is lost", ino, page_);
    else if (!entry || entry->ino != ino)
      found("the entry that names the object is missing in its directory", ino, page_);
  }

  void xattr(Bytes value) {
    if (value.empty()) return found("an xattr's record is damaged", object_.ino, page_);
    if (value.front() == kXattrInline) return;
    const auto paged = decode_paged_xattr(value.subspan(1));
    if (value.front() != kXattrPaged || !paged)
      return found("an xattr's record is damaged", object_.ino, page_);
    for (const PageRun& run : paged->runs) {
      if (reach(run.first, run.count, object_.ino, "an xattr's page")) read_content(run);
      object_.pages += run.count;
      report_.content_pages += run.count;
    }
  }

  void extent(Bytes suffix, Bytes value) {
    if (suffix.size() != 8) return found("an extent's key is damaged", object_.ino, page_);
    const auto extent = decode_extent(load_be64(suffix.data()), value);
    if (!extent) return found(describe(extent.error()), object_.ino, page_);
    if (object_.has_extents && extent->file_page < object_.extent_end)
      found("extents overlap", object_.ino, page_);
    object_.has_extents = true;
    object_.extent_end = extent->end();
    object_.pages += extent->count;
    report_.content_pages += extent->count;
    if (!reach(extent->page, extent->count, object_.ino, "content")) return;
    read_content({extent->page, extent->count});
  }

  // Through the file rather than the map, so that a page that the disk cannot give is an error.
  void read_content(PageRun run) {
    while (run.count > 0) {
      const std::uint64_t pages = std::min(run.count, kReadPages);
      buffer_.resize(pages * kPageSize);
      if (const Status read = store_.ops->read(store_.fd, raw(run.first) * kPageSize, buffer_); !read) {
        ++report_.unreadable;
        return found("content cannot be read: " + describe(read.error()), object_.ino, run.first);
      }
      looked_at(pages);
      run = {run.first + pages, run.count - pages};
    }
  }

  void entry(Bytes suffix, Bytes value) {
    ++object_.entries;
    if (suffix.size() != 8) return found("an entry's key is damaged", object_.ino, page_);
    const Cookie cookie{load_be64(suffix.data())};
    const auto entry = decode_entry(cookie, value);
    if (!entry) return found(describe(entry.error()), object_.ino, page_);
    const Cookie first = store_.name_hash->first_cookie(entry->name);
    if (raw(cookie) < raw(first) || raw(cookie) >= raw(first) + NameHash::kSlots)
      found("the entry \"" + std::string(entry->name) + "\" is at the wrong place of its directory",
            object_.ino, page_);
    const auto child = view_.inode(entry->ino);
    if (!child)
      return found_below(child.error().code == Code::kCorrupt
                             ? "the object is lost: " + describe(child.error())
                             : "the name is of an inode that does not exist",
                         *entry);
    if (((child->mode >> 12U) & 017U) != entry->type) found_below("the entry tells the wrong type", *entry);
    if (child->is_directory()) ++object_.subdirectories;
    const bool is_first = child->parent == object_.ino && child->cookie == cookie;
    if (!is_first) {
      const auto link =
          tree_get(*store_.pager, meta_.roots.names, Key::link(entry->ino, object_.ino, cookie));
      if (!link || !*link) found_below("the entry is not known to its inode", *entry);
    }
  }

  void finish_object() {
    if (object_.ino == kNoIno) return;
    const Ino ino = object_.ino;
    if (!object_.inode) return found("records of an object without an inode", ino, page_);
    const Inode& inode = *object_.inode;
    const bool orphan = (inode.flags & Inode::kOrphan) != 0U;
    ++(inode.is_directory() ? report_.directories : report_.files);
    if (!inode.is_directory()) content_bytes_ += inode.size;
    if (inode.entries != object_.entries) found("a directory's count of entries is wrong", ino);
    if (inode.pages != object_.pages) found("an object's count of pages is wrong", ino);
    if (object_.entries > 0 && !inode.is_directory())
      found("an object that is no directory has entries", ino);
    const bool paged = (inode.flags & Inode::kPaged) != 0U;
    if (object_.has_extents && !paged) found("extents in an object whose content is inline", ino);
    if (object_.inline_bytes && paged) found("inline content in an object whose content is in extents", ino);
    if (object_.inline_bytes && *object_.inline_bytes > inode.size)
      found("inline content is longer than the file", ino);
    if (object_.extent_end > pages_for(inode.size)) found("content behind the end of the file", ino);
    std::uint64_t names = object_.links + (inode.parent != kNoIno ? 1 : 0);
    if (ino == kRootIno) names = 1;
    if (inode.is_directory()) {
      if (object_.links > 0) found("a directory has several names", ino);
      if (inode.nlink != (orphan ? 0 : 2 + object_.subdirectories))
        found("a directory's link count is wrong", ino);
    } else if (inode.nlink != names) {
      found("a link count is wrong", ino);
    }
    if (orphan != (names == 0))
      found(orphan ? "an orphan has a name" : "an object has no name and is no orphan", ino);
    if (orphan) {
      const auto record = tree_get(*store_.pager, meta_.roots.names, Key::orphan(ino));
      if (!record || !*record) found("an orphan without its record", ino);
    }
    if (inode.parent != kNoIno) check_name(ino, inode.parent, inode.cookie);
    if (raw(inode.touched) >= meta_.counters.next_seq) found("a use lies in the future", ino);
    const bool listed = (inode.flags & Inode::kListed) != 0U;
    if (listed) {
      const auto at = tree_get(*store_.pager, meta_.roots.recency, Key::recency(inode.listed_at(), ino));
      if (!at || !*at) found("an object is missing in the LRU order", ino);
    } else if (!orphan && ino != kRootIno && raw(ino) < meta_.counters.scan_mark &&
               !(inode.is_directory() && inode.entries > 0)) {
      found("an object is not in the LRU order: it would never be evicted", ino);
    }
    finish_keeping(inode, listed);
  }

  // Pins and expiry.
  void finish_keeping(const Inode& inode, bool listed) {
    if ((inode.flags & Inode::kPinned) != 0U) {
      ++pinned_;
      if (inode.is_directory())
        ++pinned_directories_;
      else
        pinned_bytes_ += inode.size;
    }
    if ((inode.flags & Inode::kParked) != 0U && !listed)
      found("an object is parked but not listed", inode.ino);
    const bool has_ttl = (inode.flags & Inode::kTtl) != 0U;
    if (has_ttl && (inode.ttl == 0 || inode.ttl > kMaxTtl))
      found("a time to live is out of range", inode.ino);
    if (has_ttl && !inode.is_directory() && !inode.is_regular() && !inode.is_symlink())
      found("an object expires that is neither file nor symlink", inode.ino);
    if (inode.expires_ever() != (inode.due != 0) || inode.due > inode.expires)
      return found("a file's end and its place in the expiry tree do not fit each other", inode.ino);
    if (inode.due == 0) return;
    const auto at = tree_get(*store_.pager, meta_.roots.expiry, Key::expiry(inode.due, inode.ino));
    if (!at || !*at) found("a file is missing in the expiry tree: it would not be reaped", inode.ino);
  }

  void recency_record(Bytes key, Bytes /*value*/) {
    const auto parts = split_recency_key(key);
    if (!parts) return found("a key of the LRU order is damaged", kNoIno, page_);
    const auto inode = view_.inode(parts->ino);
    if (!inode && inode.error().code == Code::kCorrupt) return;  // its page was found to be damaged
    if (!inode) return found("the LRU order names an inode that does not exist", parts->ino, page_);
    if (raw(parts->seq) >= kParkedPlaces) ++parked_;
    if ((inode->flags & Inode::kListed) == 0U || inode->listed_at() != parts->seq)
      found("the LRU order names an object at a place that is not its own", parts->ino, page_);
    if ((inode->flags & Inode::kOrphan) != 0U) found("an orphan is in the LRU order", parts->ino, page_);
  }

  void expiry_record(Bytes key, Bytes /*value*/) {
    const auto parts = split_recency_key(key);
    if (!parts) return found("a key of the expiry tree is damaged", kNoIno, page_);
    const auto inode = view_.inode(parts->ino);
    if (!inode && inode.error().code == Code::kCorrupt) return;  // its page was found to be damaged
    if (!inode) return found("the expiry tree names an inode that does not exist", parts->ino, page_);
    if (inode->due != raw(parts->seq))
      found("the expiry tree names a file at a place that is not its own", parts->ino, page_);
  }

  void counters() {
    if (!is_whole_) return;  // what is lost was not counted
    const Counters& counters = meta_.counters;
    const auto compare = [&](std::uint64_t counted, std::uint64_t told, const char* what) {
      if (counted != told)
        found(std::string("the count of ") + what + " is " + std::to_string(told) + ", there are " +
              std::to_string(counted));
    };
    compare(report_.files, counters.files, "files");
    compare(report_.directories, counters.directories, "directories");
    compare(report_.orphans, counters.orphans, "orphans");
    compare(report_.orphan_directories, counters.orphan_directories, "orphaned directories");
    compare(content_bytes_, counters.content_bytes, "content bytes");
    compare(pinned_, counters.pinned_objects, "pinned objects");
    compare(pinned_directories_, counters.pinned_directories, "pinned directories");
    compare(pinned_bytes_, counters.pinned_bytes, "bytes of pinned files");
    compare(parked_, counters.parked, "parked objects");
    if (counters.unpark_from != 0 && counters.unpark_from < kParkedPlaces)
      found("the place from which parked objects are to be looked at is none");
  }

  void space() {
    if (!store_.space_known_) return;  // opening it has found that
    const auto own = SpaceLog::pages_of(*store_.pager, meta_.space);
    if (!own) return found(describe(own.error()));
    for (const PageRun& run : *own) {
      if (reach(run.first, run.count, kNoIno, "a page of the free-space map"))
        report_.space_pages += run.count;
    }
    for (std::uint64_t page = 0; page < reached_.size(); ++page) {
      const bool used = space_.is_used(PageNo{page});
      if (used) ++report_.used_pages;
      if (page < kHeaderPages || used == reached_[page] || (used && !is_whole_)) continue;
      found(used ? "a page is marked as used, but nothing uses it" : "a page in use is marked as free",
            kNoIno, PageNo{page});
    }
  }

  StoreImpl& store_;
  const std::function<void(std::uint64_t, std::uint64_t)>& on_progress_;
  std::uint64_t pages_seen_ = 0;
  std::uint64_t next_told_ = 0;
  const Meta& meta_;
  const SpaceMap& space_;
  CheckReport& report_;
  std::size_t max_findings_;
  ReadView view_;
  std::vector<bool> reached_;
  std::vector<std::byte> previous_;
  bool has_previous_ = false;
  PageNo page_ = kNoPage;  // where the current record lies
  ObjectSeen object_;
  std::uint64_t content_bytes_ = 0;
  std::uint64_t pinned_ = 0;
  std::uint64_t pinned_directories_ = 0;
  std::uint64_t pinned_bytes_ = 0;
  std::uint64_t parked_ = 0;
  bool in_names_ = false;
  bool is_whole_ = true;  // all tree pages could be read
  static constexpr std::uint64_t kReadPages = 256;
  std::vector<std::byte> buffer_;
};

}  // namespace

CheckReport check_store(StoreImpl& store, std::size_t max_findings,
                        const std::function<void(std::uint64_t, std::uint64_t)>& on_progress) {
  CheckReport report;
  report.opened_from = store.opened_from;
  report.marked = store.damaged_.load() && store.open_damage_.empty();
  const MutexLock lock(store.writer_);
  Checker(store, store.current_, *store.space_, report, max_findings, on_progress).run();
  return report;
}

Result<CheckReport> check_file(const std::string& path, const CheckOptions& options) {
  Options open_options = as_it_lies(options.from_checkpoint, options.file_ops, options.name_hash_mask);
  open_options.shared = options.shared;
  StoreImpl store(path, open_options);
  LRUFS_TRY(store.open());
  CheckReport report = check_store(store, options.max_findings, options.on_progress);
  LRUFS_TRY(store.close());
  const bool damaged = report.findings.size() + report.suppressed > report.unreadable;
  if (options.mark && !options.shared && damaged && !report.marked)
    report.marked = mark_damaged(path, true, options.file_ops).has_value();
  return report;
}

}  // namespace lrufs::store
