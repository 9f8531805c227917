// Objects, names and xattrs of a transaction.
#include <algorithm>

#include "store/bytes.h"
#include "store/extents.h"
#include "store/store_impl.h"

namespace lrufs::store {

namespace {

Status check_name(std::string_view name) {
  if (name.size() > kMaxName) return fail(Code::kNameTooLong);
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos ||
      name.find('\0') != std::string_view::npos)
    return fail(Code::kInvalid, "not a name for an entry");
  return {};
}

std::uint8_t entry_type(const Inode& inode) { return static_cast<std::uint8_t>((inode.mode >> 12U) & 017U); }

}  // namespace

Result<Inode> Transaction::find(Ino dir, std::string_view name) {
  State& s = *state_;
  LRUFS_TRY_ASSIGN(const ReadView::Object& object, s.view.find(dir, name, &s.beside));
  s.found_at = object.place.hint();
  s.near = s.named = object.inode.ino;
  s.near_leaf = s.found_at.page;
  s.named_hash = s.view.name_hint(dir, name);
  return object.inode;
}

Result<Inode> Transaction::create(const Inode& prototype) {
  State& s = *state_;
  const std::uint64_t limit = s.store->options.max_files;
  const std::uint64_t orphaned = s.counters.orphans - s.counters.orphan_directories;
  if (!prototype.is_directory() && limit != 0 && s.counters.files - orphaned >= limit)
    return fail(Code::kNoSpace, std::string(kFileLimitReached));
  Inode inode = prototype;
  inode.ino = Ino{s.store->next_seq.fetch_add(1, std::memory_order_relaxed)};
  inode.nlink = inode.is_directory() ? 1 : 0;
  inode.flags = 0;
  inode.ttl = inode.expires = inode.due = 0;
  inode.size = inode.pages = inode.entries = 0;
  inode.touched = TouchSeq{raw(inode.ino)};  // the first touch then leaves the record's length as it is
  inode.parent = kNoIno;
  inode.cookie = Cookie{0};
  ++(inode.is_directory() ? s.counters.directories : s.counters.files);
  s.changed = true;
  const bool is_file = inode.is_regular() || inode.is_symlink();
  std::uint64_t ttl = is_file || inode.is_directory() ? prototype.ttl : 0;
  if (is_file && ttl == 0) ttl = s.store->options.default_ttl;
  if (ttl != 0) LRUFS_TRY(set_ttl(inode, ttl));
  return inode;
}

Status Transaction::put_inode(const Inode& inode) {
  std::array<std::byte, kMaxInodeBytes> buffer;
  const std::size_t length = encode_inode(inode, buffer);
  State& s = *state_;
  const LeafHints::Hint before = inode.ino == s.near ? s.found_at : LeafHints::Hint{};
  LRUFS_TRY_ASSIGN(const LeafHints::Hint place, s.put(Key::inode(inode.ino), {buffer.data(), length}));
  if (place.page == kNoPage || (place.page == before.page && place.index == before.index)) return {};
  LeafHints& hints = s.store->pager->hints();
  hints.note(LeafHints::hash(inode.ino, 0), place);
  if (inode.ino == s.named) hints.note(s.named_hash, place);
  return {};
}

Status Transaction::link(Inode& dir, std::string_view name, Inode& child) {
  State& s = *state_;
  LRUFS_TRY(check_name(name));
  if (child.nlink >= kMaxLinks) return fail(Code::kTooManyLinks);
  if (child.is_directory() && dir.nlink >= kMaxLinks) return fail(Code::kTooManyLinks);
  const Cookie first = s.view.name_hash().first_cookie(name);
  if (const PageNo leaf = s.leaf_without(Key::entry(dir.ino, first)); leaf != kNoPage)
    return s.link_at(dir, name, child, first, leaf);
  std::uint64_t slot = 0;
  bool found_slot = false;
  Cursor cursor(s.pages(), s.roots.names);
  LRUFS_TRY(cursor.seek(Key::entry(dir.ino, first)));
  while (cursor.valid() && is_record_of(cursor.key(), dir.ino, Kind::kEntry) &&
         cursor.key().size() == kKeyPrefix + 8) {
    const Cookie cookie{load_be64(cursor.key().data() + kKeyPrefix)};
    if (raw(cookie) >= raw(first) + NameHash::kSlots) break;
    LRUFS_TRY_ASSIGN(const DirEntry entry, decode_entry(cookie, cursor.value()));
    if (entry.name == name) return fail(Code::kExists);
    if (!found_slot && raw(cookie) == raw(first) + slot)
      ++slot;
    else
      found_slot = true;
    LRUFS_TRY(cursor.next());
  }
  // Not kNoSpace: eviction would not help.
  if (slot >= NameHash::kSlots)
    return fail(Code::kTooManyLinks, "too many names with one hash in a directory");
  const Cookie cookie{raw(first) + slot};
  return s.link_at(dir, name, child, cookie, cursor.valid() ? cursor.place().page : kNoPage);
}

// The leaf where the entry belongs, if that is known and it shows that no name has the hash yet.
PageNo Transaction::State::leaf_without(const Key& entry) const {
  const Page* leaf = beside == kNoPage ? nullptr : pages().leaf(beside);
  if (leaf == nullptr) return kNoPage;
  const NodeView node(*leaf);
  bool found = false;
  const std::uint16_t index = node.lower_bound(entry, found);
  if (found || index == 0 || index == node.count()) return kNoPage;
  const Bytes next = node.key(index);
  if (node.key(0).size() == kRecencyKey || next.size() == kRecencyKey) return kNoPage;
  const bool same_directory =
      next.size() == entry.bytes().size() && is_record_of(next, entry.owner(), Kind::kEntry);
  const std::uint64_t cookie = load_be64(entry.bytes().data() + kKeyPrefix);
  if (same_directory && load_be64(next.data() + kKeyPrefix) < cookie + NameHash::kSlots) return kNoPage;
  return beside;
}

// `leaf`: perhaps the one where the entry belongs.
Status Transaction::State::link_at(Inode& dir, std::string_view name, Inode& child, Cookie cookie,
                                   PageNo leaf) {
  State& s = *this;
  LRUFS_TRY(tree_put(s, s.roots.names, Key::entry(dir.ino, cookie),
                     Value::entry(child.ino, entry_type(child), name), leaf));
  if (child.parent == kNoIno) {
    child.parent = dir.ino;
    child.cookie = cookie;
    s.named = child.ino;
    s.named_hash = s.view.name_hint(dir.ino, name);
  } else {
    LRUFS_TRY(s.put(Key::link(child.ino, dir.ino, cookie), {}));
  }
  if (!moved_out.empty() && child.is_directory()) LRUFS_TRY(s.arrives(dir, child));
  ++dir.entries;
  ++child.nlink;
  if (child.is_directory()) ++dir.nlink;
  if ((child.flags & Inode::kOrphan) != 0U) {
    LRUFS_TRY(s.erase(Key::orphan(child.ino)));
    child.flags &= ~static_cast<std::uint32_t>(Inode::kOrphan);
    --s.counters.orphans;
    if (child.is_directory()) --s.counters.orphan_directories;
    LRUFS_TRY(s.list_at(child, TouchSeq{s.store->next_seq.fetch_add(1, std::memory_order_relaxed)}));
    if (child.expires_ever()) LRUFS_TRY(s.start_ttl(child));
  }
  return {};
}

Status Transaction::unlink(Inode& dir, std::string_view name, Inode& child) {
  State& s = *state_;
  LRUFS_TRY_ASSIGN(const DirEntry entry, s.view.lookup(dir.ino, name));
  if (entry.ino != child.ino) return fail(Code::kNotFound);
  const Cookie cookie = entry.cookie;
  if (s.counters.pinned_objects != 0 || s.counters.parked != 0) LRUFS_TRY(s.leaves(dir, child));
  LRUFS_TRY(s.erase(Key::entry(dir.ino, cookie)));
  if (child.parent == dir.ino && child.cookie == cookie) {
    child.parent = kNoIno;
    child.cookie = Cookie{0};
    // The next link becomes the first.
    LRUFS_TRY_ASSIGN(const std::vector<Link> others, s.view.links(child));
    if (!others.empty()) {
      child.parent = others.front().parent;
      child.cookie = others.front().cookie;
      LRUFS_TRY(s.erase(Key::link(child.ino, child.parent, child.cookie)));
    }
  } else {
    LRUFS_TRY_ASSIGN(const bool had_link, s.erase(Key::link(child.ino, dir.ino, cookie)));
    if (!had_link)
      return fail(Code::kCorrupt, "inode " + std::to_string(raw(child.ino)) + " does not know its name");
  }
  if (dir.entries == 0 || child.nlink == 0)
    return fail(Code::kCorrupt, "the counts of inode " + std::to_string(raw(dir.ino)) + " are damaged");
  --dir.entries;
  --child.nlink;
  if (child.is_directory()) --dir.nlink;
  // An empty directory ages like a file, from its own last use on.
  if (dir.entries == 0 && dir.ino != kRootIno && (dir.flags & (Inode::kListed | Inode::kOrphan)) == 0U &&
      (raw(dir.ino) < s.counters.scan_mark || raw(dir.touched) > raw(dir.ino)))
    LRUFS_TRY(s.list_at(dir, std::max(dir.touched, TouchSeq{raw(dir.ino)})));
  return {};
}

Status Transaction::destroy(const Inode& inode) {
  State& s = *state_;
  Inode victim = inode;
  if ((victim.flags & Inode::kListed) != 0U) LRUFS_TRY(s.unlist(victim));
  LRUFS_TRY(s.unschedule(victim));
  if ((victim.flags & Inode::kPinned) != 0U) s.count_pin(victim, false);
  if ((victim.flags & Inode::kOrphan) != 0U) {
    LRUFS_TRY(s.erase(Key::orphan(victim.ino)));
    --s.counters.orphans;
    if (victim.is_directory()) --s.counters.orphan_directories;
  }
  constexpr std::size_t kBatch = 128;
  std::vector<std::vector<std::byte>> keys;
  do {
    keys.clear();
    Cursor cursor(s.pages(), s.roots.names);
    LRUFS_TRY(cursor.seek(Key::inode(victim.ino)));
    while (cursor.valid() && keys.size() < kBatch) {
      const auto parts = split_key(cursor.key());
      if (!parts || parts->owner != victim.ino) break;
      if (parts->kind == Kind::kExtent && parts->suffix.size() == 8) {
        LRUFS_TRY_ASSIGN(const Extent extent, decode_extent(0, cursor.value()));
        LRUFS_TRY(check_run(*s.store->pager, {extent.page, extent.count}));
        s.free_run({extent.page, extent.count});
      } else if (parts->kind == Kind::kXattr && !cursor.value().empty() &&
                 cursor.value().front() == kXattrPaged) {
        LRUFS_TRY_ASSIGN(const PagedValue paged, decode_paged_xattr(cursor.value().subspan(1)));
        for (const PageRun& run : paged.runs) {
          LRUFS_TRY(check_run(*s.store->pager, run));
          s.free_run(run);
        }
      } else if (parts->kind == Kind::kEntry) {
        return fail(Code::kNotEmpty);
      }
      keys.emplace_back(cursor.key().begin(), cursor.key().end());
      LRUFS_TRY(cursor.next());
    }
    for (const auto& key : keys) LRUFS_TRY(tree_erase(s, s.roots.names, key));
  } while (keys.size() == kBatch);
  --(victim.is_directory() ? s.counters.directories : s.counters.files);
  if (!victim.is_directory()) s.counters.content_bytes -= victim.size;
  s.destroyed.push_back(victim.ino);
  return {};
}

Status Transaction::orphan(Inode& inode) {
  State& s = *state_;
  if ((inode.flags & Inode::kOrphan) != 0U) return {};
  LRUFS_TRY(s.unlist(inode));
  LRUFS_TRY(s.unschedule(inode));
  inode.flags |= Inode::kOrphan;
  ++s.counters.orphans;
  if (inode.is_directory()) ++s.counters.orphan_directories;
  LRUFS_TRY(s.put(Key::orphan(inode.ino), {}));
  return {};
}

Status Transaction::set_xattr(Inode& inode, std::string_view name, Bytes value, XattrMode mode) {
  State& s = *state_;
  if (name.empty() || name.size() > kMaxName)
    return fail(Code::kInvalid, "an xattr's name has 1 to 255 bytes");
  if (value.size() > kMaxXattr) return fail(Code::kValueTooLarge);
  LRUFS_TRY_ASSIGN(const auto old, tree_get(s.pages(), s.roots.names, Key::xattr(inode.ino, name)));
  if (old && mode == XattrMode::kCreate) return fail(Code::kExists);
  if (!old && mode == XattrMode::kReplace) return fail(Code::kNoAttribute);
  if (old) LRUFS_TRY(remove_xattr(inode, name));
  std::vector<std::byte> record;
  if (value.size() <= kMaxInlineXattr) {
    record.push_back(kXattrInline);
    record.insert(record.end(), value.begin(), value.end());
  } else {
    PagedValue paged;
    paged.length = value.size();
    std::size_t done = 0;
    while (done < value.size()) {
      LRUFS_TRY_ASSIGN(const PageRun run, s.take_run(pages_for(value.size() - done), kNoPage));
      const std::size_t part = std::min<std::size_t>(run.count * kPageSize, value.size() - done);
      std::byte* to = s.store->pager->bytes(run.first);
      std::memcpy(to, value.data() + done, part);
      std::memset(to + part, 0, run.count * kPageSize - part);
      paged.runs.push_back(run);
      inode.pages += run.count;
      done += part;
    }
    record = encode_paged_xattr(paged);
  }
  LRUFS_TRY(s.put(Key::xattr(inode.ino, name), record));
  return {};
}

Status Transaction::remove_xattr(Inode& inode, std::string_view name) {
  State& s = *state_;
  if (name.empty() || name.size() > kMaxName) return fail(Code::kNoAttribute);
  LRUFS_TRY_ASSIGN(const auto old, tree_get(s.pages(), s.roots.names, Key::xattr(inode.ino, name)));
  if (!old) return fail(Code::kNoAttribute);
  if (!old->empty() && old->front() == kXattrPaged) {
    LRUFS_TRY_ASSIGN(const PagedValue paged, decode_paged_xattr(old->subspan(1)));
    for (const PageRun& run : paged.runs) {
      LRUFS_TRY(check_run(*s.store->pager, run));
      s.free_run(run);
      inode.pages -= std::min(inode.pages, run.count);
    }
  }
  LRUFS_TRY(s.erase(Key::xattr(inode.ino, name)));
  return {};
}

}  // namespace lrufs::store
