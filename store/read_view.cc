#include "store/read_view.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "store/bytes.h"
#include "store/extents.h"
#include "store/keys.h"

namespace lrufs::store {

namespace {

constexpr int kMaxPathDepth = 4096;

void append_segment(std::vector<Segment>& out, const std::byte* data, std::uint64_t length) {
  if (length == 0) return;
  if (!out.empty()) {
    Segment& last = out.back();
    const bool joins =
        data == nullptr ? last.data == nullptr : (last.data != nullptr && last.data + last.length == data);
    if (joins) {
      last.length += length;
      return;
    }
  }
  out.push_back({data, length});
}

// What `search` finds, or kIo. A page that is lost while it is searched looks empty: then the search is done
// again, and meets it as lost.
template <typename Search>
auto found_whole(const Pager& pager, const Search& search) -> decltype(search()) {
  constexpr int kTries = 3;
  std::uint64_t losses = pager.losses();
  auto found = search();
  for (int tries = 1; pager.losses() != losses; ++tries) {
    if (tries == kTries) {
      found = unreadable(kNoPage);
      break;
    }
    losses = pager.losses();
    found = search();
  }
  return found;
}

}  // namespace

Result<Inode> ReadView::inode(Ino ino) const {
  return found_whole(pager(), [&]() -> Result<Inode> {
    LRUFS_TRY_ASSIGN(const auto place, place_of(ino));
    if (!place) return fail(Code::kNotFound);
    return decode_inode(ino, place->value());
  });
}

Result<ReadView::Object> ReadView::object(Ino ino) const {
  return found_whole(pager(), [&] { return object_at(ino, place_of(ino)); });
}

Result<ReadView::Object> ReadView::object_at(Ino ino, Result<std::optional<TreePlace>> place) {
  Result<Object> found;
  if (!place) {
    found = tl::unexpected(std::move(place).error());
  } else if (!*place) {
    found = fail(Code::kNotFound);
  } else {
    found->place = **place;
    if (Status decoded = decode_inode(ino, found->place.value(), found->inode); !decoded)
      found = tl::unexpected(std::move(decoded).error());
  }
  return found;
}

Result<std::optional<TreePlace>> ReadView::place_of(Ino ino) const {
  return tree_find(pages_, roots_->names, Key::inode(ino), LeafHints::hash(ino, 0));
}

// An object's records lie together, mostly in one leaf: its content begins a few cells behind its inode.
Result<std::optional<Bytes>> ReadView::inline_content(Ino ino, const TreePlace& place) const {
  const NodeView node(*place.leaf);
  constexpr int kNear = 4;
  for (int i = 1; i <= kNear && place.index + i < node.count(); ++i) {
    const auto at = static_cast<std::uint16_t>(place.index + i);
    const Bytes key = node.key(at);
    if (is_record_of(key, ino, Kind::kInline)) return node.value(at);
    if (!is_record_of(key, ino, Kind::kXattr) && !is_record_of(key, ino, Kind::kLink)) return std::nullopt;
  }
  return tree_get(pages_, roots_->names, Key::content(ino));
}

Result<DirEntry> ReadView::lookup(Ino dir, std::string_view name) const {
  return lookup(dir, name, pages_.hints(), nullptr);
}

// `hints`: where to leave one; null: nowhere.
Result<DirEntry> ReadView::lookup(Ino dir, std::string_view name, LeafHints* hints, PageNo* beside) const {
  return found_whole(pager(), [&]() -> Result<DirEntry> {
    if (name.size() > kMaxName) return fail(Code::kNameTooLong);
    const Cookie first = hash_->first_cookie(name);
    const Key key = Key::entry(dir, first);
    const std::uint64_t hash = LeafHints::hash(dir, raw(first));
    if (const auto place = tree_find_hinted(pages_, key, hash)) {
      LRUFS_TRY_ASSIGN(const DirEntry entry, decode_entry(first, place->value()));
      if (entry.name == name) return entry;
    }
    Cursor cursor(pages_, roots_->names);
    LRUFS_TRY(cursor.seek(key));
    while (cursor.valid() && is_record_of(cursor.key(), dir, Kind::kEntry) &&
           cursor.key().size() == kKeyPrefix + 8) {
      const Cookie cookie{load_be64(cursor.key().data() + kKeyPrefix)};
      if (raw(cookie) >= raw(first) + NameHash::kSlots) break;
      LRUFS_TRY_ASSIGN(const DirEntry entry, decode_entry(cookie, cursor.value()));
      if (entry.name == name) {
        if (cookie == first && hints != nullptr) hints->note(hash, cursor.place());
        return entry;
      }
      LRUFS_TRY(cursor.next());
    }
    if (beside != nullptr && cursor.valid()) *beside = cursor.place().page;
    return fail(Code::kNotFound);
  });
}

Result<ReadView::Object> ReadView::find(Ino dir, std::string_view name, PageNo* beside) const {
  return found_whole(pager(), [&] {
    Result<Object> found;
    const std::uint64_t hash = name_hint(dir, name);
    if (name.size() > kMaxName)
      found = fail(Code::kNameTooLong);
    else if (!find_hinted(dir, name, hash, *found))
      found = find_by_entry(dir, name, hash, beside);
    return found;
  });
}

// A hint leads from a name straight to the inode, and the inode says whether it is the one: its first name
// lies in that directory, under that hash. Of the name itself nothing is seen: an inode that has come to
// where a hint to another one leads is taken for it if the names agree in the 56 bits of their hash (chances:
// 2^-56 each time). Where tests thin the hash out, the entry is looked at as well.
bool ReadView::find_hinted(Ino dir, std::string_view name, std::uint64_t hash, Object& found) const {
  LeafHints* const hints = pages_.hints();
  if (hints == nullptr) return false;
  const LeafHints::Hint hint = hints->find(hash);
  if (hint.page == kNoPage) return false;
  pager().prefetch(hint);
  const Page* leaf = pages_.leaf(hint.page);
  if (leaf == nullptr) return false;
  const NodeView node(*leaf);
  if (hint.index >= node.count()) return false;
  const Bytes key = node.key(hint.index);
  if (!is_inode_key(key)) return false;
  const Inode& inode = found.inode;
  if (!decode_inode(Ino{load_be64(key.data())}, node.value(hint.index), found.inode)) return false;
  if (inode.parent != dir) return false;
  if (raw(inode.cookie) - raw(hash_->first_cookie(name)) >= NameHash::kSlots) return false;
  if (hash_->is_thinned() && !has_name(inode, name)) return false;
  found.place = {leaf, hint.index};
  if (node.cell(hint.index) != hint.cell) hints->note(hash, found.place.hint());
  return true;
}

Result<ReadView::Object> ReadView::find_by_entry(Ino dir, std::string_view name, std::uint64_t hash,
                                                 PageNo* beside) const {
  // The hint to the name is enough: in a table too small for all, two more would push out two other names'.
  LRUFS_TRY_ASSIGN(const DirEntry entry, lookup(dir, name, nullptr, beside));
  LRUFS_TRY_ASSIGN(const Object object,
                   object_at(entry.ino, tree_find(pages_, roots_->names, Key::inode(entry.ino),
                                                  LeafHints::hash(entry.ino, 0), LeaveHint::kNo)));
  if (pages_.hints() != nullptr && object.inode.parent == dir && object.inode.cookie == entry.cookie)
    pages_.hints()->note(hash, object.place.hint());
  return object;
}

// Is that its first name?
bool ReadView::has_name(const Inode& inode, std::string_view name) const {
  const auto entry = entry_at(inode.parent, inode.cookie);
  return entry && entry->name == name && entry->ino == inode.ino;
}

Result<DirEntry> ReadView::entry_at(Ino dir, Cookie cookie) const {
  return found_whole(pager(), [&]() -> Result<DirEntry> {
    LRUFS_TRY_ASSIGN(const auto value, tree_get(pages_, roots_->names, Key::entry(dir, cookie)));
    if (!value) return fail(Code::kNotFound);
    return decode_entry(cookie, *value);
  });
}

Status ReadView::list(Ino dir, Cookie after, const EntryFn& each) const {
  const std::uint64_t losses = pager().losses();
  const auto list = [&]() -> Status {
    std::array<char, kMaxName> name;
    Cursor cursor(pages_, roots_->names);
    LRUFS_TRY(cursor.seek(Key::entry(dir, Cookie{raw(after) + 1})));
    while (cursor.valid() && is_record_of(cursor.key(), dir, Kind::kEntry) &&
           cursor.key().size() == kKeyPrefix + 8) {
      LRUFS_TRY_ASSIGN(DirEntry entry,
                       decode_entry(Cookie{load_be64(cursor.key().data() + kKeyPrefix)}, cursor.value()));
      // A copy, so that it does not change any more after the look at the losses.
      entry.name = {name.data(), entry.name.copy(name.data(), name.size())};
      if (pager().losses() != losses || !each(entry)) return {};
      LRUFS_TRY(cursor.next());
    }
    return {};
  };
  const Status listed = list();
  return pager().losses() == losses ? listed : unreadable(kNoPage);
}

Result<std::vector<Link>> ReadView::links(const Inode& inode) const {
  return found_whole(pager(), [&]() -> Result<std::vector<Link>> {
    std::vector<Link> links;
    if (inode.parent != kNoIno) links.push_back({inode.parent, inode.cookie});
    Cursor cursor(pages_, roots_->names);
    LRUFS_TRY(cursor.seek(Key::link(inode.ino, Ino{0}, Cookie{0})));
    while (cursor.valid() && is_record_of(cursor.key(), inode.ino, Kind::kLink) &&
           cursor.key().size() == kKeyPrefix + 16) {
      links.push_back({Ino{load_be64(cursor.key().data() + kKeyPrefix)},
                       Cookie{load_be64(cursor.key().data() + kKeyPrefix + 8)}});
      LRUFS_TRY(cursor.next());
    }
    return links;
  });
}

Result<std::string> ReadView::path_of(Ino ino) const {
  return found_whole(pager(), [&]() -> Result<std::string> {
    std::string path;
    for (int depth = 0; ino != kRootIno; ++depth) {
      if (depth == kMaxPathDepth) return fail(Code::kCorrupt, "a directory is its own ancestor");
      LRUFS_TRY_ASSIGN(const Inode inode, this->inode(ino));
      if (inode.parent == kNoIno) return fail(Code::kNotFound);
      LRUFS_TRY_ASSIGN(const DirEntry entry, entry_at(inode.parent, inode.cookie));
      path.insert(0, entry.name);
      path.insert(0, 1, '/');
      ino = inode.parent;
    }
    return path.empty() ? "/" : path;
  });
}

Result<std::uint64_t> ReadView::map_content(const Inode& inode, std::uint64_t offset, std::uint64_t length,
                                            std::vector<Segment>& out) const {
  if (offset >= inode.size) return 0;
  LRUFS_TRY_ASSIGN(const auto place, place_of(inode.ino));
  if (!place) return fail(Code::kNotFound);
  return map_content({inode, *place}, offset, length, out);
}

Result<std::uint64_t> ReadView::map_content(const Object& object, std::uint64_t offset, std::uint64_t length,
                                            std::vector<Segment>& out) const {
  const Inode& inode = object.inode;
  const std::size_t before = out.size();
  return found_whole(pager(), [&]() -> Result<std::uint64_t> {
    out.resize(before);
    if (offset >= inode.size) return 0;
    const std::uint64_t end = offset + std::min(length, inode.size - offset);
    if ((inode.flags & Inode::kPaged) == 0U) {
      LRUFS_TRY_ASSIGN(const auto content, inline_content(inode.ino, object.place));
      const std::uint64_t have = content ? std::min<std::uint64_t>(content->size(), end) : 0;
      if (offset < have) append_segment(out, content->data() + offset, have - offset);
      append_segment(out, nullptr, end - std::max(offset, have));
      return end - offset;
    }
    ExtentCursor extents(pages_, roots_->names, inode.ino);
    std::uint64_t at = offset;
    std::optional<Extent> extent = first_extent(object);
    if (!extent || extent->file_page > offset / kPageSize || extent->end() < pages_for(end)) {
      LRUFS_TRY_ASSIGN(extent, extents.seek(offset / kPageSize));
    }
    while (at < end) {
      const std::uint64_t extent_start = extent ? extent->file_page * kPageSize : end;
      if (extent_start > at) {
        const std::uint64_t stop = std::min(extent_start, end);
        append_segment(out, nullptr, stop - at);
        at = stop;
        continue;
      }
      const std::uint64_t stop = std::min(extent->end() * kPageSize, end);
      const PageNo first = extent->page + (at - extent_start) / kPageSize;
      if (pager().lost(first, pages_for(stop) - at / kPageSize)) return unreadable(first);
      append_segment(out, pager().bytes(extent->page) + (at - extent_start), stop - at);
      at = stop;
      if (at < end) {
        LRUFS_TRY_ASSIGN(extent, extents.next());
      }
    }
    return end - offset;
  });
}

// The extent that lies right behind the inode, if it is the file's first and can be read.
std::optional<Extent> ReadView::first_extent(const Object& object) const {
  const NodeView node(*object.place.leaf);
  const auto at = static_cast<std::uint16_t>(object.place.index + 1);
  if (at >= node.count() || node.key(at).size() != kKeyPrefix + 8 ||
      !is_record_of(node.key(at), object.inode.ino, Kind::kExtent))
    return std::nullopt;
  const auto extent = decode_extent(load_be64(node.key(at).data() + kKeyPrefix), node.value(at));
  if (!extent || !check_run(pager(), {extent->page, extent->count})) return std::nullopt;
  return *extent;
}

Result<std::uint64_t> ReadView::read(const Inode& inode, std::uint64_t offset, MutableBytes out) const {
  std::vector<Segment> segments;
  LRUFS_TRY_ASSIGN(const std::uint64_t total, map_content(inode, offset, out.size(), segments));
  std::byte* to = out.data();
  for (const Segment& segment : segments) {
    if (segment.data == nullptr)
      std::memset(to, 0, segment.length);
    else
      std::memcpy(to, segment.data, segment.length);
    if (segment.data != nullptr && pager().lost_bytes(segment.data, segment.length))
      return fail(Code::kIo, "content of inode " + std::to_string(raw(inode.ino)) + " cannot be read", EIO);
    to += segment.length;
  }
  return total;
}

Result<std::uint64_t> ReadView::next_data(const Inode& inode, std::uint64_t offset) const {
  return found_whole(pager(), [&]() -> Result<std::uint64_t> {
    if (offset >= inode.size) return fail(Code::kNotFound);
    if ((inode.flags & Inode::kPaged) == 0U) {
      LRUFS_TRY_ASSIGN(const auto content, tree_get(pages_, roots_->names, Key::content(inode.ino)));
      if (content && offset < kPageSize) return offset;  // as next_hole() tells it
      return fail(Code::kNotFound);
    }
    ExtentCursor extents(pages_, roots_->names, inode.ino);
    LRUFS_TRY_ASSIGN(const auto extent, extents.seek(offset / kPageSize));
    if (!extent) return fail(Code::kNotFound);
    const std::uint64_t data = std::max(offset, extent->file_page * kPageSize);
    if (data >= inode.size) return fail(Code::kNotFound);
    return data;
  });
}

Result<std::uint64_t> ReadView::next_hole(const Inode& inode, std::uint64_t offset) const {
  return found_whole(pager(), [&]() -> Result<std::uint64_t> {
    if (offset >= inode.size) return fail(Code::kNotFound);
    if ((inode.flags & Inode::kPaged) == 0U) {
      LRUFS_TRY_ASSIGN(const auto content, tree_get(pages_, roots_->names, Key::content(inode.ino)));
      // Holes are told in whole pages, as file systems do, unless the file ends before.
      if (content && offset < kPageSize) return std::min<std::uint64_t>(kPageSize, inode.size);
      return offset;
    }
    ExtentCursor extents(pages_, roots_->names, inode.ino);
    std::uint64_t at = offset;
    LRUFS_TRY_ASSIGN(auto extent, extents.seek(offset / kPageSize));
    while (extent && extent->file_page * kPageSize <= at) {
      at = extent->end() * kPageSize;
      if (at >= inode.size) return inode.size;
      LRUFS_TRY_ASSIGN(extent, extents.next());
    }
    return at;
  });
}

Result<std::string> ReadView::xattr(Ino ino, std::string_view name) const {
  return found_whole(pager(), [&]() -> Result<std::string> {
    if (name.empty() || name.size() > kMaxName) return fail(Code::kNoAttribute);
    LRUFS_TRY_ASSIGN(const auto value, tree_get(pages_, roots_->names, Key::xattr(ino, name)));
    if (!value) return fail(Code::kNoAttribute);
    if (value->empty()) return fail(Code::kCorrupt, "an xattr's record is damaged");
    if (value->front() == kXattrInline) return std::string(as_text(value->subspan(1)));
    LRUFS_TRY_ASSIGN(const PagedValue paged, decode_paged_xattr(value->subspan(1)));
    std::string text;
    for (const PageRun& run : paged.runs) {
      LRUFS_TRY(check_run(pager(), run));
      text.append(reinterpret_cast<const char*>(pager().bytes(run.first)), run.count * kPageSize);
      if (pager().lost(run.first, run.count)) return unreadable(run.first);
    }
    text.resize(paged.length);
    return text;
  });
}

Result<std::vector<std::string>> ReadView::xattr_names(Ino ino) const {
  return found_whole(pager(), [&]() -> Result<std::vector<std::string>> {
    std::vector<std::string> names;
    Cursor cursor(pages_, roots_->names);
    LRUFS_TRY(cursor.seek(Key::xattr(ino, "")));
    while (cursor.valid() && is_record_of(cursor.key(), ino, Kind::kXattr)) {
      names.emplace_back(as_text(cursor.key().subspan(kKeyPrefix)));
      LRUFS_TRY(cursor.next());
    }
    return names;
  });
}

Result<std::vector<Ino>> ReadView::orphans(Ino after, std::size_t limit) const {
  return found_whole(pager(), [&]() -> Result<std::vector<Ino>> {
    std::vector<Ino> found;
    Cursor cursor(pages_, roots_->names);
    LRUFS_TRY(cursor.seek(Key::orphan(Ino{raw(after) + 1})));
    while (found.size() < limit && cursor.valid() && is_record_of(cursor.key(), kNoIno, Kind::kOrphan) &&
           cursor.key().size() == kKeyPrefix + 8) {
      found.push_back(Ino{load_be64(cursor.key().data() + kKeyPrefix)});
      LRUFS_TRY(cursor.next());
    }
    return found;
  });
}

}  // namespace lrufs::store
