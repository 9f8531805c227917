#include "store/copier.h"

#include <algorithm>
#include <deque>
#include <unordered_map>

#include "store/bytes.h"
#include "store/extents.h"
#include "store/keys.h"

namespace lrufs::store {

namespace {

constexpr std::uint64_t kPiecePages = 1024;  // of content, at a time

using Xattrs = std::vector<std::pair<std::string, std::string>>;

class Copier {
 public:
  Copier(const CopySource& from, const std::vector<SalvagedObject>& objects, Store& to)
      : from_(from), objects_(objects), to_(to) {
    for (const SalvagedObject& object : objects) by_ino_[raw(object.inode.ino)] = &object;
  }

  Result<CopyReport> run() {
    for (const SalvagedObject& object : objects_) {
      if (object.inode.is_directory()) {
        LRUFS_TRY(directory(object));
      } else {
        LRUFS_TRY(file(object));
      }
      if (from_.on_progress) LRUFS_TRY(from_.on_progress(bytes_));
    }
    return std::move(report_);
  }

 private:
  Result<Xattrs> xattrs_of(Ino ino) const {
    Xattrs xattrs;
    LRUFS_TRY_ASSIGN(const auto names, from_.view.xattr_names(ino));
    for (const std::string& name : names) {
      LRUFS_TRY_ASSIGN(std::string value, from_.view.xattr(ino, name));
      xattrs.emplace_back(name, std::move(value));
    }
    return xattrs;
  }

  static Status set_xattrs(Transaction& txn, Inode& inode, const Xattrs& xattrs) {
    for (const auto& [name, value] : xattrs) LRUFS_TRY(txn.set_xattr(inode, name, as_bytes(value)));
    return {};
  }

  Status directory(const SalvagedObject& object) {
    std::vector<const SalvagedObject*> missing;  // it, and what it lies in, from below
    for (const SalvagedObject* at = &object; !copied_.contains(raw(at->inode.ino));) {
      missing.push_back(at);
      if (at->inode.ino == kRootIno) break;
      at = by_ino_.at(raw(at->names.front().dir));
    }
    for (auto at = missing.rbegin(); at != missing.rend(); ++at) LRUFS_TRY(one_directory(**at));
    return {};
  }

  Status one_directory(const SalvagedObject& object) {
    // Xattrs of a directory that is hurt may be lost; the directory is not.
    const Xattrs xattrs = xattrs_of(object.inode.ino).value_or(Xattrs{});
    Ino made = kRootIno;
    LRUFS_TRY(to_.update([&](Transaction& txn) -> Status {
      Inode inode;
      if (object.inode.ino == kRootIno) {
        LRUFS_TRY_ASSIGN(inode, txn.view().inode(kRootIno));
        inode.mode = object.inode.mode;
        inode.uid = object.inode.uid;
        inode.gid = object.inode.gid;
        inode.atime = object.inode.atime;
        inode.mtime = object.inode.mtime;
        inode.ctime = object.inode.ctime;
        inode.btime = object.inode.btime;
      } else {
        LRUFS_TRY_ASSIGN(inode, txn.create(object.inode));
        LRUFS_TRY(name(txn, object, inode));
      }
      LRUFS_TRY(set_xattrs(txn, inode, xattrs));
      made = inode.ino;
      return txn.put_inode(inode);
    }));
    copied_[raw(object.inode.ino)] = made;
    // While it is empty it could be evicted, and what lies in it comes later.
    kept_.emplace_back(to_, made);
    ++report_.directories;
    return {};
  }

  Status name(Transaction& txn, const SalvagedObject& object, Inode& inode) const {
    for (const SalvagedName& name : object.names) {
      LRUFS_TRY_ASSIGN(Inode dir, txn.view().inode(copied_.at(raw(name.dir))));
      LRUFS_TRY(txn.link(dir, name.name, inode));
      LRUFS_TRY(txn.put_inode(dir));
    }
    return {};
  }

  Status file(const SalvagedObject& object) {
    for (const SalvagedName& name : object.names) LRUFS_TRY(directory(*by_ino_.at(raw(name.dir))));
    const auto xattrs = xattrs_of(object.inode.ino);
    const auto content = inline_content(object.inode);
    if (!xattrs || !content) {
      report_.dropped.push_back(object.inode.ino);
      return {};
    }
    Ino made = kNoIno;
    LRUFS_TRY(to_.update([&](Transaction& txn) -> Status {
      LRUFS_TRY_ASSIGN(Inode inode, txn.create(object.inode));
      LRUFS_TRY(name(txn, object, inode));
      LRUFS_TRY(set_xattrs(txn, inode, *xattrs));
      LRUFS_TRY(txn.write(inode, 0, *content));
      LRUFS_TRY(txn.truncate(inode, object.inode.size));
      made = inode.ino;
      return txn.put_inode(inode);
    }));
    if ((object.inode.flags & Inode::kPaged) != 0U) {
      const Store::Protection protection(to_, made);
      LRUFS_TRY_ASSIGN(const bool is_whole, paged_content(object.inode, made));
      if (!is_whole) {
        report_.dropped.push_back(object.inode.ino);
        return remove(object, made);
      }
    }
    ++report_.files;
    return {};
  }

  Result<Bytes> inline_content(const Inode& inode) const {
    if ((inode.flags & Inode::kPaged) != 0U) return Bytes{};
    LRUFS_TRY_ASSIGN(const auto content,
                     tree_get(from_.view.pages(), from_.view.roots().names, Key::content(inode.ino)));
    return content ? content->first(std::min<std::uint64_t>(content->size(), inode.size)) : Bytes{};
  }

  // False: it could not be read to its end.
  Result<bool> paged_content(const Inode& inode, Ino made) {
    ExtentCursor extents(from_.view.pages(), from_.view.roots().names, inode.ino);
    auto extent = extents.seek(0);
    while (extent && *extent) {
      Extent piece = **extent;
      while (piece.count > 0) {
        const std::uint64_t pages = std::min(piece.count, kPiecePages);
        const std::uint64_t offset = piece.file_page * kPageSize;
        if (offset >= inode.size) break;
        buffer_.resize(pages * kPageSize);
        if (!from_.ops.read(from_.fd, raw(piece.page) * kPageSize, buffer_)) return false;
        const Bytes data = Bytes(buffer_).first(std::min(buffer_.size(), inode.size - offset));
        LRUFS_TRY(write(made, offset, data));
        bytes_ += data.size();
        if (from_.on_progress) LRUFS_TRY(from_.on_progress(bytes_));
        piece = {piece.file_page + pages, piece.page + pages, piece.count - pages};
      }
      extent = extents.next();
    }
    return extent.has_value();
  }

  Status write(Ino made, std::uint64_t offset, Bytes data) {
    StagedData staged;
    if (data.size() >= Store::kStageThreshold) {
      LRUFS_TRY_ASSIGN(staged, to_.stage(offset, data));
    }
    return to_.update([&](Transaction& txn) -> Status {
      LRUFS_TRY_ASSIGN(Inode inode, txn.view().inode(made));
      LRUFS_TRY(txn.write(inode, offset, data, &staged));
      return txn.put_inode(inode);
    });
  }

  Status remove(const SalvagedObject& object, Ino made) {
    return to_.update(
        [&](Transaction& txn) -> Status {
          LRUFS_TRY_ASSIGN(Inode inode, txn.view().inode(made));
          for (const SalvagedName& name : object.names) {
            LRUFS_TRY_ASSIGN(Inode dir, txn.view().inode(copied_.at(raw(name.dir))));
            LRUFS_TRY(txn.unlink(dir, name.name, inode));
            LRUFS_TRY(txn.put_inode(dir));
          }
          return txn.destroy(inode);
        },
        Store::Purpose::kDelete);
  }

  const CopySource& from_;
  const std::vector<SalvagedObject>& objects_;
  Store& to_;
  std::unordered_map<std::uint64_t, const SalvagedObject*> by_ino_;
  std::unordered_map<std::uint64_t, Ino> copied_;  // directories: old number → new one
  std::deque<Store::Protection> kept_;
  std::vector<std::byte> buffer_;
  std::uint64_t bytes_ = 0;
  CopyReport report_;
};

}  // namespace

Result<CopyReport> copy_objects(const CopySource& from, const std::vector<SalvagedObject>& objects,
                                Store& to) {
  return Copier(from, objects, to).run();
}

}  // namespace lrufs::store
