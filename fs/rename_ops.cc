// Names: the operations that take one away, or move it.
#include <sys/stat.h>

#include <utility>

#include "fs/volume_impl.h"

namespace lrufs::fs {

namespace {

// The object that loses its last name here is not linked again in this transaction. A directory loses its
// only one.
bool nameless(const Inode& inode) { return inode.is_directory() || inode.nlink == 0; }

// True if `dir` is `ancestor` or below it.
Result<bool> is_below(const ReadView& view, Ino dir, Ino ancestor) {
  for (Ino at = dir; at != store::kNoIno;) {
    if (at == ancestor) return true;
    if (at == store::kRootIno) return false;
    LRUFS_TRY_ASSIGN(const Inode inode, load(view, at));
    at = inode.parent;
  }
  return false;
}

// One rename in one run of its transaction. Inode pointers are into `inodes`, so two roles of one inode are
// one copy.
class Renaming {
 public:
  Renaming(const Volume::Impl& volume, Transaction& txn, Volume::Impl::Effects& effects,
           std::string_view old_name, std::string_view new_name)
      : volume_(volume),
        txn_(txn),
        effects_(effects),
        inodes_(txn),
        old_name_(old_name),
        new_name_(new_name) {}

  Status run(Ino old_parent, Ino new_parent, RenameMode mode, const Caller& caller) {
    LRUFS_TRY_ASSIGN(old_dir_, inodes_.get(old_parent));
    LRUFS_TRY_ASSIGN(new_dir_, inodes_.get(new_parent));
    LRUFS_TRY(check_parent(*old_dir_));
    LRUFS_TRY(check_parent(*new_dir_));
    LRUFS_TRY(check_name(old_name_));
    LRUFS_TRY(check_name(new_name_));
    LRUFS_TRY(find_objects());
    const bool may_replace = mode != RenameMode::kNoReplace && mode != RenameMode::kNoReplaceWhiteout;
    if (!may_replace && target_ != nullptr) return fail(Code::kExists);
    if (mode == RenameMode::kExchange && target_ == nullptr) return fail(Code::kNotFound);
    if (source_ == target_) return {};  // two names of one object: rename(2) does nothing
    LRUFS_TRY(check_loops(mode));

    const Timestamp now = store::now();
    source_->ctime = old_dir_->mtime = old_dir_->ctime = new_dir_->mtime = new_dir_->ctime = now;
    if (target_ != nullptr) target_->ctime = now;
    if (mode == RenameMode::kExchange) {
      LRUFS_TRY(exchange());
    } else {
      LRUFS_TRY(replace());
      const bool whiteout = mode == RenameMode::kWhiteout || mode == RenameMode::kNoReplaceWhiteout;
      if (whiteout) LRUFS_TRY(leave_whiteout(caller));
    }
    return inodes_.put_all();
  }

 private:
  Status find_objects() {
    LRUFS_TRY_ASSIGN(const auto source, txn_.view().lookup(old_dir_->ino, old_name_));
    const Ino source_ino = source.ino;
    const auto target = txn_.view().lookup(new_dir_->ino, new_name_);
    if (!target && target.error().code != Code::kNotFound) return fail(target.error());
    LRUFS_TRY_ASSIGN(source_, inodes_.get(source_ino));
    if (target) {
      LRUFS_TRY_ASSIGN(target_, inodes_.get(target->ino));
    }
    if (volume_.is_expired(*source_)) return effects_.reap_first({source_->ino});
    if (target_ != nullptr && volume_.is_expired(*target_)) return effects_.reap_first({target_->ino});
    return {};
  }

  // A directory must not become its own ancestor.
  Status check_loops(RenameMode mode) const {
    if (old_dir_ == new_dir_) return {};
    if (source_->is_directory()) {
      LRUFS_TRY_ASSIGN(const bool loop, is_below(txn_.view(), new_dir_->ino, source_->ino));
      if (loop) return fail(Code::kInvalid);
    }
    if (target_ != nullptr && target_->is_directory()) {
      LRUFS_TRY_ASSIGN(const bool loop, is_below(txn_.view(), old_dir_->ino, target_->ino));
      if (loop) return fail(mode == RenameMode::kExchange ? Code::kInvalid : Code::kNotEmpty);
    }
    return {};
  }

  Status exchange() {
    LRUFS_TRY(txn_.unlink(*old_dir_, old_name_, *source_));
    LRUFS_TRY(txn_.unlink(*new_dir_, new_name_, *target_));
    LRUFS_TRY(txn_.link(*new_dir_, new_name_, *source_));
    return txn_.link(*old_dir_, old_name_, *target_);
  }

  Status replace() {
    if (target_ != nullptr) {
      if (source_->is_directory() && !target_->is_directory()) return fail(Code::kNotDirectory);
      if (!source_->is_directory() && target_->is_directory()) return fail(Code::kIsDirectory);
      if (target_->is_directory()) LRUFS_TRY(volume_.expect_empty(txn_, effects_, *target_));
      LRUFS_TRY(txn_.unlink(*new_dir_, new_name_, *target_));
      if (nameless(*target_)) {
        LRUFS_TRY(effects_.drop(txn_, *target_));
        inodes_.gone(target_);
      }
    }
    LRUFS_TRY(txn_.unlink(*old_dir_, old_name_, *source_));
    return txn_.link(*new_dir_, new_name_, *source_);
  }

  // As overlayfs wants it: a character device 0:0 without permissions.
  Status leave_whiteout(const Caller& caller) {
    Inode prototype;
    prototype.mode = S_IFCHR;
    prototype.uid = caller.uid;
    prototype.gid = (old_dir_->mode & S_ISGID) != 0U ? old_dir_->gid : caller.gid;
    prototype.atime = prototype.mtime = prototype.ctime = prototype.btime = source_->ctime;
    LRUFS_TRY_ASSIGN(const Inode created, txn_.create(prototype));
    return txn_.link(*old_dir_, old_name_, *inodes_.adopt(created));
  }

  const Volume::Impl& volume_;
  Transaction& txn_;
  Volume::Impl::Effects& effects_;
  InodeSet inodes_;
  std::string_view old_name_, new_name_;
  Inode* old_dir_ = nullptr;
  Inode* new_dir_ = nullptr;
  Inode* source_ = nullptr;
  Inode* target_ = nullptr;
};

}  // namespace

Status Volume::Impl::remove(Ino parent, std::string_view name, bool directory) {
  return change(Purpose::kDelete, [&](Transaction& txn, Effects& effects) -> Status {
    InodeSet inodes(txn);
    LRUFS_TRY_ASSIGN(Inode * dir, inodes.get(parent));
    LRUFS_TRY(check_parent(*dir));
    LRUFS_TRY(check_name(name));
    LRUFS_TRY_ASSIGN(const auto entry, txn.view().lookup(parent, name));
    LRUFS_TRY_ASSIGN(Inode * child, inodes.get(entry.ino));
    if (is_expired(*child)) return effects.reap_first({child->ino});
    if (directory) {
      if (!child->is_directory()) return fail(Code::kNotDirectory);
      LRUFS_TRY(expect_empty(txn, effects, *child));
    } else if (child->is_directory()) {
      return fail(Code::kIsDirectory);
    }
    LRUFS_TRY(txn.unlink(*dir, name, *child));
    dir->mtime = dir->ctime = child->ctime = store::now();
    if (nameless(*child)) {
      LRUFS_TRY(effects.drop(txn, *child));
      inodes.gone(child);
    }
    return inodes.put_all();
  });
}

Status Volume::unlink(Ino parent, std::string_view name) { return impl_->remove(parent, name, false); }
Status Volume::rmdir(Ino parent, std::string_view name) { return impl_->remove(parent, name, true); }

Status Volume::rename(Ino parent, std::string_view name, Ino new_parent, std::string_view new_name,
                      RenameMode mode, const Caller& caller) {
  impl_->touch(parent);
  impl_->touch(new_parent);
  const store::Store::Protection protection(*impl_->store, new_parent);
  return impl_->change(Purpose::kName, [&](Transaction& txn, Impl::Effects& effects) -> Status {
    return Renaming(*impl_, txn, effects, name, new_name).run(parent, new_parent, mode, caller);
  });
}

}  // namespace lrufs::fs
