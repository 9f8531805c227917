// ReadView: typed, read-only access to the objects of one published state (a snapshot's) or of a running
// transaction. It owns nothing; it is as valid as the Snapshot or Transaction it came from.
//
// Thread-safety: a snapshot's view may be used by any number of threads; a transaction's only by its own.
// Memory: spans and segments point into the mapped file; they stay valid and unchanged as long as the
// snapshot lives (content of a file that is overwritten in place excepted, see Snapshot::Kind), or until the
// transaction's next change.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/btree.h"
#include "store/error.h"
#include "store/inode.h"
#include "store/types.h"

namespace lrufs::store {

struct DirEntry {
  Ino ino = kNoIno;
  Cookie cookie{0};       // position: list() continues after it
  std::uint8_t type = 0;  // DT_REG, DT_DIR, … of dirent.h
  std::string_view name;  // points into the map; in list(): valid while `each` runs
};

struct Link {
  Ino parent = kNoIno;
  Cookie cookie{0};
};

// A piece of a file's content. data == nullptr: a hole, reads as zeros.
struct Segment {
  const std::byte* data = nullptr;
  std::uint64_t length = 0;
};

struct Extent;

class ReadView {
 public:
  ReadView(const PageSource& pages, const Roots& roots, const NameHash& hash)
      : pages_(pages), roots_(&roots), hash_(&hash) {}

  // kNotFound if there is no such inode; orphans are found.
  [[nodiscard]] Result<Inode> inode(Ino ino) const;
  // kNotFound if the directory has no such entry (or does not exist). Does not check that `dir` is a
  // directory.
  [[nodiscard]] Result<DirEntry> lookup(Ino dir, std::string_view name) const;
  struct Object {
    Inode inode;
    TreePlace place;  // of its record; near that lies its content
  };
  // The object of that name. If there is none, `beside` becomes the leaf where its entry would be, if that is
  // known.
  [[nodiscard]] Result<Object> find(Ino dir, std::string_view name, PageNo* beside = nullptr) const;
  [[nodiscard]] Result<Object> object(Ino ino) const;  // kNotFound
  // What the hint to find() is filed under.
  [[nodiscard]] std::uint64_t name_hint(Ino dir, std::string_view name) const {
    return LeafHints::hash(dir, hash_->second(name));
  }
  // The entry at a link, or kNotFound.
  [[nodiscard]] Result<DirEntry> entry_at(Ino dir, Cookie cookie) const;
  // Calls `each` for the entries after `after` (Cookie{0}: from the first) in cookie order, until it returns
  // false. An entry's cookie depends only on its name, so an entry that is there throughout a listing is met
  // exactly once, whatever else comes, goes, or replaces it. "." and ".." are not stored. Cookies are at
  // least kFirstCookie.
  using EntryFn = std::function<bool(const DirEntry&)>;
  [[nodiscard]] Status list(Ino dir, Cookie after, const EntryFn& each) const;
  // All names of an object: the first link and the link records.
  [[nodiscard]] Result<std::vector<Link>> links(const Inode& inode) const;
  // The path from the root, "/a/b", by the first link; for messages. kNotFound for orphans.
  [[nodiscard]] Result<std::string> path_of(Ino ino) const;

  // Appends the content of [offset, offset + length) ∩ [0, size) to `out` and returns the number of bytes
  // covered.
  [[nodiscard]] Result<std::uint64_t> map_content(const Inode& inode, std::uint64_t offset,
                                                  std::uint64_t length, std::vector<Segment>& out) const;
  // The same, when it is known where the inode lies.
  [[nodiscard]] Result<std::uint64_t> map_content(const Object& object, std::uint64_t offset,
                                                  std::uint64_t length, std::vector<Segment>& out) const;
  // Copies content to `out`; returns the number of bytes (short at the end of the file).
  [[nodiscard]] Result<std::uint64_t> read(const Inode& inode, std::uint64_t offset, MutableBytes out) const;
  // SEEK_DATA and SEEK_HOLE of lseek(2): the next data at or after offset (kNotFound: none), the next hole
  // (the file's end counts as one; kNotFound if offset >= size).
  [[nodiscard]] Result<std::uint64_t> next_data(const Inode& inode, std::uint64_t offset) const;
  [[nodiscard]] Result<std::uint64_t> next_hole(const Inode& inode, std::uint64_t offset) const;

  // kNoAttribute if the object has no such xattr. Names are full ("user.x", "system.posix_acl_access"), 1 …
  // 255 bytes.
  [[nodiscard]] Result<std::string> xattr(Ino ino, std::string_view name) const;
  [[nodiscard]] Result<std::vector<std::string>> xattr_names(Ino ino) const;

  // Orphans, ascending, those after `after`.
  [[nodiscard]] Result<std::vector<Ino>> orphans(Ino after, std::size_t limit) const;

  [[nodiscard]] const PageSource& pages() const { return pages_; }
  [[nodiscard]] const Pager& pager() const { return pages_.pager(); }
  [[nodiscard]] const Roots& roots() const { return *roots_; }
  [[nodiscard]] const NameHash& name_hash() const { return *hash_; }

 private:
  [[nodiscard]] Result<DirEntry> lookup(Ino dir, std::string_view name, LeafHints* hints,
                                        PageNo* beside) const;
  static Result<Object> object_at(Ino ino, Result<std::optional<TreePlace>> place);
  bool find_hinted(Ino dir, std::string_view name, std::uint64_t hash, Object& found) const;
  [[nodiscard]] Result<Object> find_by_entry(Ino dir, std::string_view name, std::uint64_t hash,
                                             PageNo* beside) const;
  [[nodiscard]] bool has_name(const Inode& inode, std::string_view name) const;
  [[nodiscard]] Result<std::optional<TreePlace>> place_of(Ino ino) const;
  [[nodiscard]] std::optional<Extent> first_extent(const Object& object) const;
  [[nodiscard]] Result<std::optional<Bytes>> inline_content(Ino ino, const TreePlace& place) const;
  PageSource pages_;
  const Roots* roots_;
  const NameHash* hash_;
};

inline constexpr Cookie kFirstCookie{128};  // 1 and 2 stand for "." and ".." in readdir

}  // namespace lrufs::store
