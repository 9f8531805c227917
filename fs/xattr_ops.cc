// Extended attributes, ACLs among them.
#include <sys/stat.h>
#include <sys/xattr.h>

#include <span>
#include <utility>

#include "fs/acl.h"
#include "fs/keep_xattrs.h"
#include "fs/volume_impl.h"

namespace lrufs::fs {

namespace {

constexpr std::size_t kMaxXattrName = 255;  // XATTR_NAME_MAX of linux/limits.h

bool is_acl(std::string_view name) { return name == kAccessAcl || name == kDefaultAcl; }
bool is_user(std::string_view name) { return name.starts_with("user."); }

// kUnsupported for a namespace that there is not, kInvalid for a name that cannot be.
Status check_xattr_name(std::string_view name) {
  if (is_acl(name)) return {};
  for (const std::string_view prefix : {"user.", "trusted.", "security."}) {
    if (!name.starts_with(prefix)) continue;
    if (name.size() == prefix.size() || name.size() > kMaxXattrName || name.find('\0') != name.npos) {
      return fail(Code::kInvalid);
    }
    return {};
  }
  return fail(Code::kUnsupported);
}

// user.* has no meaning where permission bits do not mean access to content (xattr(7)).
bool takes_user_xattrs(const Inode& inode) { return inode.is_regular() || inode.is_directory(); }

Status check_change(const Inode& inode, std::string_view name) {
  if (is_user(name) && !takes_user_xattrs(inode)) return fail(Code::kNotPermitted);
  if (is_acl(name) && inode.is_symlink()) return fail(Code::kUnsupported);
  return {};
}

Status remove_if_there(Transaction& txn, Inode& inode, std::string_view name) {
  auto removed = txn.remove_xattr(inode, name);
  if (!removed && removed.error().code == Code::kNoAttribute) return {};
  return removed;
}

Status set_acl(Transaction& txn, Inode& inode, std::string_view name, const Acl& acl, bool kill_sgid) {
  if (acl.entries.empty()) return remove_if_there(txn, inode, name);
  if (name == kDefaultAcl) {
    if (!inode.is_directory()) return fail(Code::kNotPermitted);
  } else {
    inode.mode = mode_of(acl, inode.mode);
    if (kill_sgid) inode.mode &= ~static_cast<std::uint32_t>(S_ISGID);
    if (equals_mode(acl)) return remove_if_there(txn, inode, name);
  }
  const std::string value = encode_acl(acl);
  return txn.set_xattr(inode, name, std::as_bytes(std::span(value.data(), value.size())));
}

}  // namespace

Result<std::string> Volume::get_xattr(Ino ino, std::string_view name) {
  LRUFS_TRY(check_xattr_name(name));
  const Snapshot snapshot = impl_->store->snapshot(Snapshot::Kind::kTransient);
  if (name.starts_with(kReservedXattrs)) {
    LRUFS_TRY_ASSIGN(const Inode inode, load(snapshot.view(), ino));
    if (!takes_user_xattrs(inode)) return fail(Code::kNoAttribute);
    return keep_xattr(inode, name, impl_->store->expires_at(inode));
  }
  auto value = snapshot.view().xattr(ino, name);
  // Only a miss pays for telling why; most are security.capability before a write.
  if (!value && value.error().code == Code::kNoAttribute) LRUFS_TRY(load(snapshot.view(), ino));
  return value;
}

// A pin or a time to live. What it changes is not content: no use.
Status Volume::Impl::set_keep_xattr(Ino ino, std::string_view name, std::optional<Bytes> value, int flags) {
  if (flags != 0 && flags != XATTR_CREATE && flags != XATTR_REPLACE) return fail(Code::kInvalid);
  const bool is_pin = name == kPinXattr;
  bool pinned = false;
  std::uint64_t ttl = 0;
  if (value && is_pin) {
    LRUFS_TRY_ASSIGN(pinned, parse_pin(*value));
  } else if (value) {
    LRUFS_TRY_ASSIGN(ttl, parse_ttl(*value));
  }
  const store::Store::Protection protection(*store, ino);
  std::vector<store::Evicted> shortened;
  // What makes room must work when there is none.
  const Purpose purpose = pinned ? Purpose::kName : Purpose::kDelete;
  LRUFS_TRY(change(purpose, [&](Transaction& txn, Effects&) -> Status {
    shortened.clear();
    LRUFS_TRY_ASSIGN(Inode inode, load(txn.view(), ino));
    if (!takes_user_xattrs(inode)) return fail(Code::kNotPermitted);
    if (is_expired(inode)) return fail(Code::kNotFound);
    const bool was_set = is_pin ? (inode.flags & Inode::kPinned) != 0U : inode.ttl != 0;
    if (was_set && flags == XATTR_CREATE) return fail(Code::kExists);
    if (!was_set && (flags == XATTR_REPLACE || !value)) return fail(Code::kNoAttribute);
    const std::uint64_t end = inode.expires;
    LRUFS_TRY(is_pin ? txn.set_pinned(inode, pinned) : txn.set_ttl(inode, ttl));
    inode.ctime = store::now();
    LRUFS_TRY(txn.put_inode(inode));
    // The kernel may believe its names and attributes for longer than that: it is told of them as of those of
    // an evicted file that is in use, and asks again.
    if (inode.expires_ever() && (end == 0 || inode.expires < end)) {
      LRUFS_TRY_ASSIGN(const auto links, txn.view().links(inode));
      for (const store::Link& link : links) {
        LRUFS_TRY_ASSIGN(const auto entry, txn.view().entry_at(link.parent, link.cookie));
        shortened.push_back({ino, link.parent, std::string(entry.name), true});
      }
    }
    return {};
  }));
  if (!shortened.empty() && on_removed) on_removed(shortened);
  return {};
}

Status Volume::set_xattr(Ino ino, std::string_view name, Bytes value, int flags, bool kill_sgid) {
  LRUFS_TRY(check_xattr_name(name));
  if (is_keep_xattr(name)) return impl_->set_keep_xattr(ino, name, value, flags);
  if (name.starts_with(kReservedXattrs)) return fail(Code::kUnsupported);
  auto mode = Transaction::XattrMode::kAny;
  if (flags == XATTR_CREATE) {
    mode = Transaction::XattrMode::kCreate;
  } else if (flags == XATTR_REPLACE) {
    mode = Transaction::XattrMode::kReplace;
  } else if (flags != 0) {
    return fail(Code::kInvalid);
  }
  if (value.size() > store::kMaxXattr) return fail(Code::kValueTooLarge);
  Acl acl;
  if (is_acl(name)) {
    LRUFS_TRY_ASSIGN(acl, decode_acl(value));
  }

  impl_->touch(ino);
  // Making room for the value must not take the file.
  const store::Store::Protection protection(*impl_->store, ino);
  return impl_->change(Purpose::kName, [&](Transaction& txn, Impl::Effects&) -> Status {
    LRUFS_TRY_ASSIGN(Inode inode, load(txn.view(), ino));
    LRUFS_TRY(check_change(inode, name));
    if (is_acl(name)) {
      LRUFS_TRY(set_acl(txn, inode, name, acl, kill_sgid));
    } else {
      LRUFS_TRY(txn.set_xattr(inode, name, value, mode));
    }
    inode.ctime = store::now();
    return txn.put_inode(inode);
  });
}

Result<std::vector<std::string>> Volume::list_xattrs(Ino ino) {
  const Snapshot snapshot = impl_->store->snapshot(Snapshot::Kind::kTransient);
  LRUFS_TRY_ASSIGN(const Inode inode, load(snapshot.view(), ino));
  LRUFS_TRY_ASSIGN(std::vector<std::string> names, snapshot.view().xattr_names(ino));
  add_keep_xattr_names(inode, names);
  return names;
}

Status Volume::remove_xattr(Ino ino, std::string_view name) {
  LRUFS_TRY(check_xattr_name(name));
  if (is_keep_xattr(name)) return impl_->set_keep_xattr(ino, name, std::nullopt, 0);
  return impl_->change(Purpose::kDelete, [&](Transaction& txn, Impl::Effects&) -> Status {
    LRUFS_TRY_ASSIGN(Inode inode, load(txn.view(), ino));
    LRUFS_TRY(check_change(inode, name));
    // Linux's removal of an ACL that there is not succeeds (the kernel asks for it in place of an empty ACL).
    LRUFS_TRY(is_acl(name) ? remove_if_there(txn, inode, name) : txn.remove_xattr(inode, name));
    inode.ctime = store::now();
    return txn.put_inode(inode);
  });
}

}  // namespace lrufs::fs
