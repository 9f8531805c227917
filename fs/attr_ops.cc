// Attributes of objects, and of the volume.
#include <sys/stat.h>

#include <algorithm>
#include <span>
#include <utility>

#include "fs/acl.h"
#include "fs/volume_impl.h"

namespace lrufs::fs {

namespace {

// chmod(2): the access ACL, if there is one, follows the mode.
Status change_mode(Transaction& txn, Inode& inode, std::uint32_t mode) {
  inode.mode = (inode.mode & S_IFMT) | (mode & 07777U);
  auto value = txn.view().xattr(inode.ino, kAccessAcl);
  if (!value) {
    if (value.error().code == Code::kNoAttribute) return {};
    return fail(std::move(value).error());
  }
  LRUFS_TRY_ASSIGN(Acl acl, decode_acl(std::as_bytes(std::span(value->data(), value->size()))));
  apply_chmod(acl, inode.mode);
  const std::string changed = encode_acl(acl);
  if (changed == *value) return {};
  return txn.set_xattr(inode, kAccessAcl, std::as_bytes(std::span(changed.data(), changed.size())));
}

}  // namespace

Result<Inode> Volume::getattr(Ino ino) {
  return load(impl_->store->snapshot(Snapshot::Kind::kTransient).view(), ino);
}

Result<Inode> Volume::setattr(Ino ino, const AttrChange& change, const Caller& /*caller*/) {
  if (ServedRequest::executed() != nullptr) return getattr(ino);
  if (change.size) impl_->touch(ino);
  const store::Store::Protection protection(*impl_->store, ino);
  Inode changed;
  // Cutting a file must work when the store is full.
  const Purpose purpose = change.size ? Purpose::kDelete : Purpose::kName;
  Status status = impl_->change(purpose, [&](Transaction& txn, Impl::Effects&) -> Status {
    LRUFS_TRY_ASSIGN(Inode inode, load(txn.view(), ino));
    const Timestamp now = store::now();
    if (change.size) {
      LRUFS_TRY(check_regular(inode));
      if (*change.size > inode.size && *change.size > impl_->max_file_size())
        return fail(Code::kFileTooLarge);
      LRUFS_TRY(txn.truncate(inode, *change.size));
      inode.mtime = now;
    }
    // chown(2) clears set-id bits whoever calls; an explicit mode, which a kernel without HANDLE_KILLPRIV
    // sends for this, has the last word.
    if (change.kill_suid_gid || change.uid || change.gid) LRUFS_TRY(drop_privileges(txn, inode));
    if (change.kill_sgid && !inode.is_directory()) inode.mode &= ~static_cast<std::uint32_t>(S_ISGID);
    if (change.uid) inode.uid = *change.uid;
    if (change.gid) inode.gid = *change.gid;
    if (change.mode) LRUFS_TRY(change_mode(txn, inode, *change.mode));
    if (change.atime) inode.atime = *change.atime;
    if (change.mtime) inode.mtime = *change.mtime;
    // Also where nothing else is asked for, which is what chown(2) of neither owner nor group comes to.
    inode.ctime = change.ctime.value_or(now);
    LRUFS_TRY(txn.put_inode(inode));
    changed = inode;
    return {};
  });
  LRUFS_TRY(std::move(status));
  return changed;
}

Result<VolumeUsage> Volume::usage() {
  const store::Statistics statistics = impl_->store->statistics();
  VolumeUsage usage;
  const auto blocks = [&](std::uint64_t bytes) { return bytes / usage.block_size; };
  usage.blocks = blocks(statistics.capacity_bytes);
  usage.free_blocks = std::min(usage.blocks, blocks(statistics.free_bytes + statistics.pending_bytes));
  usage.used_blocks = usage.blocks - usage.free_blocks;
  // Eviction can free everything but the reserve; what orphans keep is not known here, and comes back.
  usage.available_blocks = usage.blocks - std::min(usage.blocks, blocks(statistics.reserve_bytes));
  const std::uint64_t present = statistics.files + statistics.directories;
  // An object needs at least a share of a page; without a limit of its own, pages are the limit that can be
  // told.
  usage.free_files = usage.free_blocks;
  if (statistics.max_files != 0) {
    usage.free_files = statistics.max_files - std::min(statistics.max_files, statistics.files);
  }
  usage.files = present + usage.free_files;
  return usage;
}

}  // namespace lrufs::fs
