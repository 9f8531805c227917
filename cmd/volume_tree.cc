// Tree over a store that this process has open.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>

#include "cmd/key.h"
#include "cmd/tree.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Ino;
using store::Inode;
using store::Result;
using store::Snapshot;
using store::Status;

Attributes attributes_of(const Inode& inode) {
  Attributes out;
  out.ino = raw(inode.ino);
  out.mode = inode.mode;
  out.nlink = inode.nlink;
  out.uid = inode.uid;
  out.gid = inode.gid;
  out.rdev = inode.rdev;
  out.size = inode.size;
  out.stored = inode.pages * store::kPageSize;
  out.atime = inode.atime;
  out.mtime = inode.mtime;
  out.ctime = inode.ctime;
  out.made = inode.btime;
  if (inode.is_directory()) out.entries = inode.entries;
  out.sequence = raw(inode.position());
  out.used = inode.position() > store::TouchSeq{raw(inode.ino)};
  return out;
}

// A lookup that an operation of the volume counted.
class Held {
 public:
  Held(fs::Volume& volume, Ino ino) : volume_(volume), ino_(ino) {}
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() { volume_.forget(ino_, 1); }

 private:
  fs::Volume& volume_;
  Ino ino_;
};

class VolumeTree final : public Tree {
 public:
  explicit VolumeTree(std::unique_ptr<fs::Volume> volume) : volume_(std::move(volume)) {
    const mode_t mask = ::umask(0);
    ::umask(mask);
    caller_ = {.uid = ::geteuid(), .gid = ::getegid(), .umask = mask};
  }

  Result<Attributes> attributes(const std::string& key) override {
    LRUFS_TRY_ASSIGN(const Inode inode, volume_->store().resolve(key));
    return attributes_of(inode);
  }

  Result<Listing> list(const std::string& key) override {
    LRUFS_TRY_ASSIGN(const Inode dir, folder(key));
    const Snapshot snapshot = volume_->store().snapshot(Snapshot::Kind::kTransient);
    Listing listing;
    Status seen;
    LRUFS_TRY(snapshot.view().list(dir.ino, store::Cookie{0}, [&](const store::DirEntry& entry) {
      const auto inode = snapshot.view().inode(entry.ino);
      if (inode && volume_->store().is_expired(*inode)) return true;
      if (inode) {
        listing.emplace_back(std::string(entry.name), attributes_of(*inode));
      } else if (seen) {
        seen = fail(about_key(join_keys(key, std::string(entry.name)), inode.error()));
      }
      return true;
    }));
    LRUFS_TRY(std::move(seen));
    std::ranges::sort(listing, {}, [](const auto& entry) -> const std::string& { return entry.first; });
    return listing;
  }

  Result<std::string> link_target(const std::string& key) override {
    LRUFS_TRY_ASSIGN(const Inode inode, volume_->store().resolve(key));
    return volume_->readlink(inode.ino);
  }

  Status read(const std::string& key, const Sink& sink) override {
    const Snapshot snapshot = volume_->store().snapshot();
    const store::ReadView& view = snapshot.view();
    LRUFS_TRY_ASSIGN(const Inode inode, volume_->store().resolve(key));
    if (inode.is_directory()) return fail(Code::kIsDirectory);
    volume_->store().touch(inode.ino);
    std::vector<std::byte> buffer(kPiece);
    for (std::uint64_t at = 0; at < inode.size;) {
      std::uint64_t data = inode.size;
      if (const auto found = view.next_data(inode, at)) {
        data = *found;
      } else if (found.error().code != Code::kNotFound) {
        return fail(found.error());
      }
      if (data > at) {
        LRUFS_TRY(sink(Piece{.hole = data - at}));
        at = data;
        continue;
      }
      LRUFS_TRY_ASSIGN(const std::uint64_t hole, view.next_hole(inode, at));
      const std::uint64_t wanted = std::min<std::uint64_t>(hole - at, buffer.size());
      LRUFS_TRY_ASSIGN(const std::uint64_t length,
                       view.read(inode, at, store::MutableBytes(buffer).first(wanted)));
      if (length == 0) return fail(Code::kCorrupt);
      LRUFS_TRY(sink(Piece{.data = store::Bytes(buffer).first(length)}));
      at += length;
    }
    return {};
  }

  Status write(const std::string& key, const Source& source, const NewObject& object) override {
    // As in a mount, the parents are made at the end: empty folders may be evicted.
    LRUFS_TRY_ASSIGN(const Ino nearest, walk(parent_key(key), false));
    LRUFS_TRY_ASSIGN(const Inode file, volume_->tmpfile(nearest, 0666, caller_));
    const Held held(*volume_, file.ino);
    for (const auto& [name, value] : object.xattrs) LRUFS_TRY(set(file.ino, name, value));
    std::uint64_t size = 0;
    bool ends_in_hole = false;
    for (;;) {
      LRUFS_TRY_ASSIGN(const Piece piece, source());
      if (piece.is_end()) break;
      ends_in_hole = piece.hole != 0;
      if (!ends_in_hole) LRUFS_TRY(volume_->write(file.ino, size, piece.data, false));
      size += piece.length();
    }
    if (ends_in_hole) LRUFS_TRY(volume_->setattr(file.ino, {.size = size}, caller_));
    constexpr int kTries = 8;
    for (int left = kTries;; --left) {
      LRUFS_TRY_ASSIGN(const Ino parent, walk(parent_key(key), true));
      Status published = publish(file.ino, parent, name_in_key(key));
      if (published || left == 1) return published;
      const Code code = published.error().code;
      if (code != Code::kNotFound && code != Code::kStale) return published;
    }
  }

  Status remove(const std::string& key, bool folder_wanted) override {
    LRUFS_TRY_ASSIGN(const Inode parent, folder(parent_key(key)));
    return folder_wanted ? volume_->rmdir(parent.ino, name_in_key(key))
                         : volume_->unlink(parent.ino, name_in_key(key));
  }

  Status touch(const std::string& key) override {
    LRUFS_TRY_ASSIGN(const Inode inode, volume_->store().resolve(key));
    if (volume_->store().read_only()) return fail(Code::kReadOnly);
    volume_->store().touch(inode.ino);
    return {};
  }

  Result<std::vector<std::string>> xattr_names(const std::string& key) override {
    LRUFS_TRY_ASSIGN(const Inode inode, volume_->store().resolve(key));
    LRUFS_TRY_ASSIGN(auto names, volume_->list_xattrs(inode.ino));
    std::ranges::sort(names);
    return names;
  }

  Result<std::string> xattr(const std::string& key, const std::string& name) override {
    LRUFS_TRY_ASSIGN(const Inode inode, volume_->store().resolve(key));
    return volume_->get_xattr(inode.ino, name);
  }

  Status set_xattr(const std::string& key, const std::string& name, std::string_view value) override {
    LRUFS_TRY_ASSIGN(const Inode inode, volume_->store().resolve(key));
    return set(inode.ino, name, value);
  }

  Status remove_xattr(const std::string& key, const std::string& name) override {
    LRUFS_TRY_ASSIGN(const Inode inode, volume_->store().resolve(key));
    return volume_->remove_xattr(inode.ino, name);
  }

  Status close() override { return volume_->close(); }

 private:
  Result<Inode> folder(const std::string& key) {
    LRUFS_TRY_ASSIGN(const Inode inode, volume_->store().resolve(key));
    if (!inode.is_directory()) return fail(Code::kNotDirectory);
    return inode;
  }

  Status set(Ino ino, const std::string& name, std::string_view value) {
    return volume_->set_xattr(ino, name, std::as_bytes(std::span(value.data(), value.size())), 0);
  }

  // The folder `key`, its missing parts made; else the nearest one there is.
  Result<Ino> walk(const std::string& key, bool make) {
    Ino at = store::kRootIno;
    std::string path;
    for (const std::string& part : parts_of_key(key)) {
      path = join_keys(path, part);
      const auto inode = volume_->store().resolve(path);
      if (inode) {
        if (!inode->is_directory()) return fail(Code::kNotDirectory);
        at = inode->ino;
      } else if (inode.error().code != Code::kNotFound) {
        return fail(inode.error());
      } else if (!make) {
        break;
      } else {
        LRUFS_TRY_ASSIGN(const Inode made, volume_->make(at, part, S_IFDIR | 0777U, 0, caller_));
        volume_->forget(made.ino, 1);
        at = made.ino;
      }
    }
    return at;
  }

  Status publish(Ino file, Ino parent, const std::string& name) {
    const auto linked = volume_->link(file, parent, name);
    if (linked) {
      volume_->forget(file, 1);
      return {};
    }
    if (linked.error().code != Code::kExists) return fail(linked.error());
    const std::string temporary = ".lrufs-put." + std::to_string(std::random_device()());
    LRUFS_TRY(volume_->link(file, parent, temporary));
    volume_->forget(file, 1);
    Status moved = volume_->rename(parent, temporary, parent, name, fs::RenameMode::kReplace, caller_);
    if (!moved) (void)volume_->unlink(parent, temporary);
    return moved;
  }

  std::unique_ptr<fs::Volume> volume_;
  fs::Caller caller_;
};

}  // namespace

std::unique_ptr<Tree> tree_of_volume(std::unique_ptr<fs::Volume> volume) {
  return std::make_unique<VolumeTree>(std::move(volume));
}

}  // namespace lrufs::cmd
