#include "cmd/tar_load.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <memory>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "cmd/os.h"
#include "cmd/tar_input.h"
#include "fs/keep_xattrs.h"
#include "store/bytes.h"

namespace lrufs::cmd {
namespace {

using store::Bytes;
using store::Code;
using store::fail;
using store::Ino;
using store::Inode;
using store::Result;
using store::Status;
using store::Timestamp;
using store::Transaction;

using Parts = std::vector<std::string>;

constexpr std::size_t kPiece = std::size_t{4} << 20U;  // of content, at a time

struct Piece {  // of content
  std::uint64_t offset = 0;
  std::vector<std::byte> data;
};

class Loader {
 public:
  Loader(int fd, store::Store& store, const LoadOptions& options)
      : store_(store), options_(options), in_(fd, options) {}

  Result<LoadReport> run() {
    LRUFS_TRY(in_.open());
    for (;;) {
      LRUFS_TRY_ASSIGN(archive_entry* const entry, in_.next());
      if (entry == nullptr) return report_;
      const Status done = member(entry);
      if (!done) {
        const Code code = done.error().code;
        if (code == Code::kIo || code == Code::kCorrupt || code == Code::kReadOnly) return fail(done.error());
        refuse(name_of(entry), store::describe(done.error()));
      }
      if (options_.stop && options_.stop()) return fail(Code::kIo, "interrupted", EINTR);
    }
  }

 private:
  static std::string name_of(archive_entry* entry) {
    const char* name = archive_entry_pathname(entry);
    return name != nullptr ? name : "";
  }
  void note(const std::string& text) const {
    if (options_.on_note) options_.on_note(text);
  }
  void refuse(const std::string& name, const std::string& why) {
    ++report_.refused;
    note(shown(name) + " is left out: " + why);
  }

  Result<Parts> take_name(const std::string& name) {
    if (name.starts_with('/') && !std::exchange(told_absolute_, true))
      note("a leading \"/\" is cut off names");
    return parts_of_member(name);
  }

  Status member(archive_entry* entry) {
    LRUFS_TRY_ASSIGN(const Parts parts, take_name(name_of(entry)));
    if (const char* target = archive_entry_hardlink(entry); target != nullptr)
      return hard_link(parts, target);
    if (archive_entry_filetype(entry) == AE_IFDIR) return directory(parts, entry);
    if (parts.empty()) return fail(Code::kInvalid, "it has no name");
    switch (archive_entry_filetype(entry)) {
      case AE_IFREG:
        return file(parts, entry);
      case AE_IFLNK:
      case AE_IFCHR:
      case AE_IFBLK:
      case AE_IFIFO:
        return special(parts, entry);
      default:
        return fail(Code::kUnsupported, "it is of a kind that a store does not hold");
    }
  }

  static Inode prototype_of(archive_entry* entry) {
    Inode inode;
    inode.mode = archive_entry_mode(entry);
    inode.uid = static_cast<std::uint32_t>(archive_entry_uid(entry));
    inode.gid = static_cast<std::uint32_t>(archive_entry_gid(entry));
    inode.rdev = archive_entry_rdev(entry);
    const Timestamp now = store::now();
    const auto time = [](la_int64_t sec, long nsec) {
      return Timestamp{sec, static_cast<std::uint32_t>(nsec)};
    };
    inode.mtime = archive_entry_mtime_is_set(entry) != 0
                      ? time(archive_entry_mtime(entry), archive_entry_mtime_nsec(entry))
                      : now;
    inode.atime = archive_entry_atime_is_set(entry) != 0
                      ? time(archive_entry_atime(entry), archive_entry_atime_nsec(entry))
                      : inode.mtime;
    inode.ctime = archive_entry_ctime_is_set(entry) != 0
                      ? time(archive_entry_ctime(entry), archive_entry_ctime_nsec(entry))
                      : now;
    inode.btime = archive_entry_birthtime_is_set(entry) != 0
                      ? time(archive_entry_birthtime(entry), archive_entry_birthtime_nsec(entry))
                      : inode.mtime;
    return inode;
  }

  // Pins and times to live are xattrs of the archive, but not of the store; other names of ours are nothing
  // to keep.
  static Status set_xattrs(Transaction& txn, Inode& inode, archive_entry* entry) {
    archive_entry_xattr_reset(entry);
    const char* name = nullptr;
    const void* value = nullptr;
    std::size_t size = 0;
    while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
      const store::Bytes bytes{static_cast<const std::byte*>(value), size};
      if (!std::string_view(name).starts_with(fs::kReservedXattrs)) {
        LRUFS_TRY(txn.set_xattr(inode, decoded_xattr_name(name), bytes));
      } else if (name == fs::kPinXattr) {
        LRUFS_TRY_ASSIGN(const bool pinned, fs::parse_pin(bytes));
        LRUFS_TRY(txn.set_pinned(inode, pinned));
      } else if (name == fs::kTtlXattr) {
        LRUFS_TRY_ASSIGN(const std::uint64_t ttl, fs::parse_ttl(bytes));
        LRUFS_TRY(txn.set_ttl(inode, ttl));
      }
    }
    return {};
  }

  // --- names

  // The folder that the last part belongs in; those that are missing are made.
  Result<Inode> parent(Transaction& txn, const Parts& parts, std::vector<Ino>& made) const {
    LRUFS_TRY_ASSIGN(Inode dir, txn.view().inode(store::kRootIno));
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = txn.find(dir.ino, parts[i]);
      if (found) {
        if (!found->is_directory()) return fail(Code::kNotDirectory, parts[i] + " is no folder here");
        dir = *found;
        continue;
      }
      if (found.error().code != Code::kNotFound) return fail(found.error());
      Inode prototype;
      prototype.mode = 0040755;
      prototype.uid = ::geteuid();
      prototype.gid = ::getegid();
      prototype.atime = prototype.mtime = prototype.ctime = prototype.btime = store::now();
      LRUFS_TRY_ASSIGN(Inode child, txn.create(prototype));
      LRUFS_TRY(txn.link(dir, parts[i], child));
      LRUFS_TRY(put_changed(txn, dir));
      LRUFS_TRY(txn.put_inode(child));
      made.push_back(child.ino);
      dir = child;
    }
    return dir;
  }

  // A folder that got another entry: a folder of the archive keeps the archive's times.
  Status put_changed(Transaction& txn, Inode& dir) const {
    if (!restored_.contains(raw(dir.ino))) dir.mtime = dir.ctime = store::now();
    return txn.put_inode(dir);
  }

  // Gives the object its name, in the place of what has it.
  Status place(Transaction& txn, const Parts& parts, Inode& inode, std::vector<Ino>& made) const {
    LRUFS_TRY_ASSIGN(Inode dir, parent(txn, parts, made));
    const auto there = txn.find(dir.ino, parts.back());
    if (there) {
      Inode old = *there;
      if (old.ino == inode.ino) return {};
      if (old.is_directory() && old.entries != 0)
        return fail(Code::kNotEmpty, "a folder has that name, and is not empty");
      LRUFS_TRY(txn.unlink(dir, parts.back(), old));
      if (old.nlink <= (old.is_directory() ? 1U : 0U)) {
        LRUFS_TRY(txn.destroy(old));
      } else {
        LRUFS_TRY(txn.put_inode(old));
      }
    } else if (there.error().code != Code::kNotFound) {
      return fail(there.error());
    }
    LRUFS_TRY(txn.link(dir, parts.back(), inode));
    return put_changed(txn, dir);
  }

  // Folders are not evicted before what belongs in them comes.
  void keep(const std::vector<Ino>& made) {
    for (const Ino ino : made) kept_.emplace_back(store_, ino);
  }

  // --- kinds

  Status directory(const Parts& parts, archive_entry* entry) {
    const Inode wanted = prototype_of(entry);
    std::vector<Ino> made;
    LRUFS_TRY(store_.update([&](Transaction& txn) -> Status {
      made.clear();
      Inode inode;
      auto there = parts.empty() ? txn.view().inode(store::kRootIno) : find(txn, parts);
      if (there && there->is_directory()) {
        inode = *there;
        inode.mode = wanted.mode;
        inode.uid = wanted.uid;
        inode.gid = wanted.gid;
        inode.mtime = wanted.mtime;
        inode.atime = wanted.atime;
        inode.ctime = wanted.ctime;
      } else {
        LRUFS_TRY_ASSIGN(inode, txn.create(wanted));
        LRUFS_TRY(place(txn, parts, inode, made));
      }
      LRUFS_TRY(set_xattrs(txn, inode, entry));
      made.push_back(inode.ino);
      return txn.put_inode(inode);
    }));
    restored_.insert(raw(made.back()));
    keep(made);
    ++report_.directories;
    return {};
  }

  static Result<Inode> find(Transaction& txn, const Parts& parts) {
    LRUFS_TRY_ASSIGN(Inode inode, txn.view().inode(store::kRootIno));
    for (const std::string& part : parts) {
      if (!inode.is_directory()) return fail(Code::kNotDirectory);
      LRUFS_TRY_ASSIGN(inode, txn.find(inode.ino, part));
    }
    return inode;
  }

  Status special(const Parts& parts, archive_entry* entry) {
    std::vector<Ino> made;
    LRUFS_TRY(store_.update([&](Transaction& txn) -> Status {
      made.clear();
      LRUFS_TRY_ASSIGN(Inode inode, txn.create(prototype_of(entry)));
      if (inode.is_symlink()) {
        const char* target = archive_entry_symlink(entry);
        LRUFS_TRY(txn.write(inode, 0, store::as_bytes(target != nullptr ? target : "")));
      }
      LRUFS_TRY(set_xattrs(txn, inode, entry));
      LRUFS_TRY(place(txn, parts, inode, made));
      return txn.put_inode(inode);
    }));
    keep(made);
    ++report_.files;
    return {};
  }

  Status hard_link(const Parts& parts, const char* target) {
    if (parts.empty()) return fail(Code::kInvalid, "it has no name");
    LRUFS_TRY_ASSIGN(const Parts from, take_name(target));
    std::vector<Ino> made;
    LRUFS_TRY(store_.update([&](Transaction& txn) -> Status {
      made.clear();
      auto inode = find(txn, from);
      if (!inode) return fail(Code::kNotFound, "it is a link to " + shown(target) + ", which is not there");
      if (inode->is_directory()) return fail(Code::kNotPermitted, "it is a link to a folder");
      const Timestamp changed = inode->ctime;
      LRUFS_TRY(place(txn, parts, *inode, made));
      inode->ctime = changed;
      return txn.put_inode(*inode);
    }));
    keep(made);
    ++report_.links;
    return {};
  }

  // A regular file: nameless until it is complete.
  Status file(const Parts& parts, archive_entry* entry) {
    const auto size = static_cast<std::uint64_t>(archive_entry_size(entry));
    if (size > store_.max_file_size()) return fail(Code::kFileTooLarge, "it is larger than the store");
    Piece piece;
    ahead_.data.clear();
    LRUFS_TRY_ASSIGN(bool more, next_piece(piece));
    Ino nameless = store::kNoIno;
    if (more) {
      LRUFS_TRY(store_.update([&](Transaction& txn) -> Status {
        LRUFS_TRY_ASSIGN(Inode inode, txn.create(prototype_of(entry)));
        LRUFS_TRY(txn.orphan(inode));
        nameless = inode.ino;
        return txn.put_inode(inode);
      }));
      Status written;
      while (written && more) {
        written = write(nameless, piece);
        if (!written) break;
        const auto next = next_piece(piece);
        if (next)
          more = *next;
        else
          written = fail(next.error());
      }
      if (!written) {
        (void)store_.reclaim({nameless});
        return written;
      }
    }
    const Status named = finish(parts, entry, size, nameless, piece);
    if (!named && nameless != store::kNoIno) (void)store_.reclaim({nameless});
    return named;
  }

  Status finish(const Parts& parts, archive_entry* entry, std::uint64_t size, Ino nameless,
                const Piece& last) {
    store::StagedData staged;
    if (last.data.size() >= store::Store::kStageThreshold) {
      LRUFS_TRY_ASSIGN(staged, store_.stage(last.offset, last.data));
    }
    std::vector<Ino> made;
    LRUFS_TRY(store_.update([&](Transaction& txn) -> Status {
      made.clear();
      Inode inode;
      if (nameless != store::kNoIno) {
        LRUFS_TRY_ASSIGN(inode, txn.view().inode(nameless));
      } else {
        LRUFS_TRY_ASSIGN(inode, txn.create(prototype_of(entry)));
      }
      LRUFS_TRY(txn.write(inode, last.offset, last.data, &staged));
      LRUFS_TRY(txn.truncate(inode, size));
      LRUFS_TRY(set_xattrs(txn, inode, entry));
      LRUFS_TRY(place(txn, parts, inode, made));
      return txn.put_inode(inode);
    }));
    keep(made);
    report_.content_bytes += last.data.size();
    if (options_.on_progress) options_.on_progress(report_.content_bytes);
    ++report_.files;
    return {};
  }

  // --- content

  // The next bytes that lie together. False: they are the last.
  Result<bool> next_piece(Piece& piece) {
    piece.data.clear();
    if (!ahead_.data.empty()) std::swap(piece, ahead_);
    ahead_.data.clear();
    for (;;) {
      const void* bytes = nullptr;
      std::size_t length = 0;
      la_int64_t at = 0;
      LRUFS_TRY_ASSIGN(const bool more, in_.block(bytes, length, at));
      if (!more) return false;
      const auto offset = static_cast<std::uint64_t>(at);
      const auto* first = static_cast<const std::byte*>(bytes);
      const bool joins = piece.data.empty() || offset == piece.offset + piece.data.size();
      if (joins && piece.data.size() + length <= kPiece) {
        if (piece.data.empty()) piece.offset = offset;
        piece.data.insert(piece.data.end(), first, first + length);
        continue;
      }
      ahead_.offset = offset;
      ahead_.data.assign(first, first + length);
      return true;
    }
  }

  Status write(Ino ino, const Piece& piece) {
    store::StagedData staged;
    if (piece.data.size() >= store::Store::kStageThreshold) {
      LRUFS_TRY_ASSIGN(staged, store_.stage(piece.offset, piece.data));
    }
    LRUFS_TRY(store_.update([&](Transaction& txn) -> Status {
      LRUFS_TRY_ASSIGN(Inode inode, txn.view().inode(ino));
      LRUFS_TRY(txn.write(inode, piece.offset, piece.data, &staged));
      return txn.put_inode(inode);
    }));
    report_.content_bytes += piece.data.size();
    if (options_.on_progress) options_.on_progress(report_.content_bytes);
    return {};
  }

  store::Store& store_;
  const LoadOptions& options_;
  TarInput in_;
  Piece ahead_;
  bool told_absolute_ = false;
  std::unordered_set<std::uint64_t> restored_;  // folders that have the archive's attributes
  std::deque<store::Store::Protection> kept_;
  LoadReport report_;
};

}  // namespace

Result<LoadReport> load_tar(int fd, store::Store& store, const LoadOptions& options) {
  return Loader(fd, store, options).run();
}

}  // namespace lrufs::cmd
