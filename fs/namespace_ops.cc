// Names: lookup, and the operations that make an object or give it another name.
#include <linux/limits.h>
#include <sys/stat.h>

#include <span>
#include <string>
#include <utility>

#include "fs/acl.h"
#include "fs/volume_impl.h"

namespace lrufs::fs {

namespace {

// The inode that a name leads to. "." is asked for by NFS exports, of objects of any type.
Result<Ino> find(const ReadView& view, Ino parent, std::string_view name) {
  if (name == "." || name == "..") {
    LRUFS_TRY_ASSIGN(const Inode dir, load(view, parent));
    if (name == ".") return parent;
    LRUFS_TRY(check_parent(dir));
    return parent == store::kRootIno ? parent : dir.parent;
  }
  if (name.size() > store::kMaxName) return fail(Code::kNameTooLong);
  auto entry = view.lookup(parent, name);
  if (entry) return entry->ino;
  if (entry.error().code != Code::kNotFound) return fail(std::move(entry).error());
  // Only a miss pays for telling why.
  LRUFS_TRY_ASSIGN(const Inode dir, load(view, parent));
  LRUFS_TRY(check_parent(dir));
  return fail(Code::kNotFound);
}

// In one snapshot, what an entry names is there.
Result<Inode> named_inode(const ReadView& view, Ino ino) {
  auto inode = view.inode(ino);
  if (!inode && inode.error().code == Code::kNotFound) {
    return fail(Code::kCorrupt,
                "an entry names inode " + std::to_string(raw(ino)) + ", which does not exist");
  }
  return inode;
}

bool is_device(std::uint32_t mode) { return S_ISCHR(mode) || S_ISBLK(mode); }

Bytes bytes_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

}  // namespace

Result<Inode> Volume::lookup(Ino parent, std::string_view name) {
  for (;;) {
    const std::uint64_t seen = impl_->fence.settled();
    Inode inode;
    {
      const Snapshot snapshot = impl_->store->snapshot(Snapshot::Kind::kTransient);
      LRUFS_TRY_ASSIGN(const Ino ino, find(snapshot.view(), parent, name));
      LRUFS_TRY_ASSIGN(inode, named_inode(snapshot.view(), ino));
    }
    if (inode.expires_ever()) {
      if (impl_->is_expired(inode)) return fail(Code::kNotFound);
      impl_->touch(inode);
      inode.expires = impl_->store->expires_at(inode);
    } else {
      impl_->touch(inode.ino);
    }
    impl_->nodes.add(inode.ino);
    if (impl_->fence.condemned() == seen) return inode;

    // Somebody was asked about since: look once more, now that those who asked before the count have ended.
    const std::uint64_t condemned = impl_->fence.condemned();
    impl_->store->writer_barrier();
    impl_->fence.settle(condemned);
    const Snapshot snapshot = impl_->store->snapshot(Snapshot::Kind::kTransient);
    const auto again = find(snapshot.view(), parent, name);
    if (again && *again == inode.ino) {
      auto fresh = named_inode(snapshot.view(), inode.ino);
      if (fresh && impl_->is_expired(*fresh)) fresh = fail(Code::kNotFound);
      if (!fresh) impl_->forget(inode.ino, 1);
      return fresh;
    }
    impl_->forget(inode.ino, 1);
  }
}

Result<Inode> Volume::Impl::create_child(Transaction& txn, const Inode& dir, std::uint32_t mode,
                                         std::uint64_t rdev, const Caller& caller) {
  Inode prototype;
  prototype.ttl = dir.ttl;
  prototype.mode = mode;
  prototype.uid = caller.uid;
  prototype.gid = caller.gid;
  prototype.rdev = rdev;
  if ((dir.mode & S_ISGID) != 0U) {
    prototype.gid = dir.gid;
    if (S_ISDIR(mode)) prototype.mode |= S_ISGID;
  }
  prototype.atime = prototype.mtime = prototype.ctime = prototype.btime = store::now();

  Acl acl;
  std::string inherited;
  if (!S_ISLNK(mode)) {
    auto value = txn.view().xattr(dir.ino, kDefaultAcl);
    if (value) {
      inherited = *std::move(value);
      LRUFS_TRY_ASSIGN(acl, decode_acl(bytes_of(inherited)));
      prototype.mode = inherit(acl, prototype.mode);
    } else if (value.error().code == Code::kNoAttribute) {
      prototype.mode &= ~(caller.umask & 0777U);
    } else {
      return fail(std::move(value).error());
    }
  }

  LRUFS_TRY_ASSIGN(Inode child, txn.create(prototype));
  if (!equals_mode(acl)) LRUFS_TRY(txn.set_xattr(child, kAccessAcl, bytes_of(encode_acl(acl))));
  if (S_ISDIR(mode) && !inherited.empty()) LRUFS_TRY(txn.set_xattr(child, kDefaultAcl, bytes_of(inherited)));
  return child;
}

Result<Inode> Volume::Impl::make_named(Ino parent, std::string_view name, std::uint32_t mode,
                                       std::uint64_t rdev, std::string_view content, const Caller& caller) {
  if (const Executed* executed = ServedRequest::executed()) return made_before(*executed);
  touch(parent);
  // It may be empty, and so the next to go.
  const store::Store::Protection protection(*store, parent);
  Inode made;
  Status status = change(Purpose::kName, [&](Transaction& txn, Effects& effects) -> Status {
    InodeSet inodes(txn);
    LRUFS_TRY_ASSIGN(Inode * dir, inodes.get(parent));
    LRUFS_TRY(check_parent(*dir));
    LRUFS_TRY(check_name(name));
    // Before anything is made: link() would notice too, but this way costs no pages.
    LRUFS_TRY(expect_free(txn, effects, parent, name));

    LRUFS_TRY_ASSIGN(const Inode created, create_child(txn, *dir, mode, rdev, caller));
    Inode* child = inodes.adopt(created);
    if (!content.empty()) LRUFS_TRY(txn.write(*child, 0, bytes_of(content)));
    LRUFS_TRY(txn.link(*dir, name, *child));
    dir->mtime = dir->ctime = child->ctime;
    LRUFS_TRY(inodes.put_all());
    effects.count_lookup(child->ino);
    made = *child;
    return {};
  });
  LRUFS_TRY(std::move(status));
  return made;
}

Result<Inode> Volume::make(Ino parent, std::string_view name, std::uint32_t mode, std::uint64_t rdev,
                           const Caller& caller) {
  switch (mode & S_IFMT) {
    case 0:  // mknod(2): "zero file type is equivalent to type S_IFREG"
      mode |= S_IFREG;
      break;
    case S_IFDIR:
      mode &= S_IFMT | 01777U;  // S_ISGID is the parent's to give
      break;
    case S_IFREG:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK:
      break;
    default:
      return fail(Code::kInvalid);
  }
  return impl_->make_named(parent, name, mode & (S_IFMT | 07777U), is_device(mode) ? rdev : 0, {}, caller);
}

Result<Inode> Volume::symlink(Ino parent, std::string_view name, std::string_view target,
                              const Caller& caller) {
  if (target.empty()) return fail(Code::kNotFound);  // symlink(2)
  if (target.size() >= PATH_MAX) return fail(Code::kNameTooLong);
  return impl_->make_named(parent, name, S_IFLNK | 0777U, 0, target, caller);
}

Result<Inode> Volume::tmpfile(Ino parent, std::uint32_t mode, const Caller& caller) {
  if (const Executed* executed = ServedRequest::executed()) return impl_->made_before(*executed);
  impl_->touch(parent);
  Inode made;
  Status status = impl_->change(Purpose::kName, [&](Transaction& txn, Impl::Effects& effects) -> Status {
    LRUFS_TRY_ASSIGN(const Inode dir, load(txn.view(), parent));
    LRUFS_TRY(check_parent(dir));
    LRUFS_TRY_ASSIGN(made, Impl::create_child(txn, dir, S_IFREG | (mode & 07777U), 0, caller));
    effects.count_lookup(made.ino);  // so that drop() finds it held, and keeps it
    return effects.drop(txn, made);
  });
  LRUFS_TRY(std::move(status));
  return made;
}

Result<std::string> Volume::readlink(Ino ino) {
  const Snapshot snapshot = impl_->store->snapshot(Snapshot::Kind::kTransient);
  LRUFS_TRY_ASSIGN(const Inode inode, load(snapshot.view(), ino));
  if (!inode.is_symlink()) return fail(Code::kInvalid);
  if (inode.size >= PATH_MAX) return fail(Code::kCorrupt, "a symlink's target is longer than any can be");
  std::string target(inode.size, '\0');
  LRUFS_TRY_ASSIGN(
      const std::uint64_t length,
      snapshot.view().read(inode, 0, std::as_writable_bytes(std::span(target.data(), target.size()))));
  target.resize(length);
  impl_->touch(inode);
  return target;
}

Result<Inode> Volume::link(Ino ino, Ino new_parent, std::string_view new_name) {
  if (const Executed* executed = ServedRequest::executed()) return impl_->made_before(*executed);
  impl_->touch(new_parent);
  impl_->touch(ino);
  const store::Store::Protection protect_parent(*impl_->store, new_parent);
  const store::Store::Protection protect_child(*impl_->store, ino);
  Inode linked;
  Status status = impl_->change(Purpose::kName, [&](Transaction& txn, Impl::Effects& effects) -> Status {
    InodeSet inodes(txn);
    LRUFS_TRY_ASSIGN(Inode * dir, inodes.get(new_parent));
    LRUFS_TRY(check_parent(*dir));
    LRUFS_TRY(check_name(new_name));
    LRUFS_TRY(impl_->expect_free(txn, effects, new_parent, new_name));
    LRUFS_TRY_ASSIGN(Inode * child, inodes.get(ino));
    if (impl_->is_expired(*child)) return fail(Code::kNotFound);
    if (child->is_directory()) return fail(Code::kNotPermitted);
    // An orphan, too: it is one of O_TMPFILE. The kernel itself refuses files that were unlinked.
    LRUFS_TRY(txn.link(*dir, new_name, *child));
    dir->mtime = dir->ctime = child->ctime = store::now();
    LRUFS_TRY(inodes.put_all());
    effects.count_lookup(ino);
    linked = *child;
    return {};
  });
  LRUFS_TRY(std::move(status));
  return linked;
}

}  // namespace lrufs::fs
