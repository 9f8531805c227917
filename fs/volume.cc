#include "fs/volume.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "fs/crash_point.h"
#include "fs/volume_impl.h"

namespace lrufs::fs {

// --- shared with the other families
// ----------------------------------------------------------------------------------

Result<Inode> load(const ReadView& view, Ino ino) {
  auto inode = view.inode(ino);
  if (!inode && inode.error().code == Code::kNotFound) return fail(Code::kStale);
  return inode;
}

Status check_parent(const Inode& dir) {
  if (!dir.is_directory()) return fail(Code::kNotDirectory);
  if (dir.nlink == 0 || (dir.flags & Inode::kOrphan) != 0U) return fail(Code::kNotFound);
  return {};
}

Status check_name(std::string_view name) {
  if (name.size() > store::kMaxName) return fail(Code::kNameTooLong);
  if (name.empty() || name == "." || name == "..") return fail(Code::kInvalid);
  if (name.find('/') != name.npos || name.find('\0') != name.npos) return fail(Code::kInvalid);
  return {};
}

Status check_regular(const Inode& inode) {
  if (inode.is_directory()) return fail(Code::kIsDirectory);
  if (!inode.is_regular()) return fail(Code::kInvalid);
  return {};
}

void clear_set_id(Inode& inode) {
  if (inode.is_directory()) return;
  inode.mode &= ~static_cast<std::uint32_t>(S_ISUID);
  if ((inode.mode & S_IXGRP) != 0U) inode.mode &= ~static_cast<std::uint32_t>(S_ISGID);
}

Status drop_privileges(Transaction& txn, Inode& inode) {
  clear_set_id(inode);
  if (!inode.is_regular()) return {};
  auto removed = txn.remove_xattr(inode, "security.capability");
  if (!removed && removed.error().code != Code::kNoAttribute) return removed;
  return {};
}

Result<Inode*> InodeSet::get(Ino ino) {
  for (std::size_t i = 0; i < count_; ++i) {
    if (inodes_[i].ino == ino) return &inodes_[i];
  }
  LRUFS_TRY_ASSIGN(const Inode inode, load(txn_.view(), ino));
  return adopt(inode);
}

Inode* InodeSet::adopt(const Inode& inode) {
  inodes_.at(count_) = inode;
  return &inodes_[count_++];
}

void InodeSet::gone(const Inode* inode) {
  for (Inode& each : inodes_) {
    if (&each == inode) each.ino = store::kNoIno;
  }
}

Status InodeSet::put_all() {
  for (std::size_t i = 0; i < count_; ++i) {
    if (inodes_[i].ino != store::kNoIno) LRUFS_TRY(txn_.put_inode(inodes_[i]));
  }
  return {};
}

// --- effects outside of the store
// ------------------------------------------------------------------------------------

void Volume::Impl::Effects::count_lookup(Ino ino) {
  impl_.nodes.add(ino);
  counted_ = ino;
}

Status Volume::Impl::Effects::drop(Transaction& txn, Inode& inode) {
  condemned_ = impl_.fence.condemn();
  kept_uncounted_ = impl_.nodes.inherited(inode.ino) ? inode.ino : store::kNoIno;
  if (!impl_.nodes.mark_orphan(inode.ino)) return txn.destroy(inode);
  LRUFS_TRY(txn.orphan(inode));
  inode.nlink = 0;  // a removed directory has lost its "." as well
  return txn.put_inode(inode);
}

Status Volume::Impl::Effects::reap_first(std::vector<Ino> expired) {
  expired_ = std::move(expired);
  return fail(Code::kNotFound);
}

void Volume::Impl::Effects::undo() {
  expired_.clear();
  kept_uncounted_ = store::kNoIno;
  if (counted_ != store::kNoIno) impl_.forget(std::exchange(counted_, store::kNoIno), 1);
}

void Volume::Impl::Effects::end(bool committed) {
  if (!committed) undo();
  if (condemned_ != 0) impl_.fence.settle(condemned_);
  if (kept_uncounted_ != store::kNoIno) impl_.reclaimer->push(kept_uncounted_);
}

Status Volume::Impl::change(Purpose purpose, const ChangeBody& body) {
  if (read_only()) return fail(Code::kReadOnly);
  ServedRequest* const request = ServedRequest::current();
  if (request != nullptr && ServedRequest::executed() != nullptr) return {};
  for (int attempt = 0;;) {
    Effects effects(*this);
    auto status = store->update(
        [&](Transaction& txn) -> Status {
          effects.undo();
          LRUFS_TRY(body(txn, effects));
          if (request != nullptr) request->announce(txn, effects.counted());
          crash_point("changed");
          return {};
        },
        purpose);
    crash_point("published");
    const std::vector<Ino> expired = status ? std::vector<Ino>() : effects.expired();
    effects.end(status.has_value());
    if (!status && status.error().code == Code::kNoSpace && room_may_come(attempt++)) continue;
    if (expired.empty()) return status;
    LRUFS_TRY(store->reap(expired));
  }
}

Status Volume::Impl::expect_free(Transaction& txn, Effects& effects, Ino parent,
                                 std::string_view name) const {
  const auto taken = txn.view().lookup(parent, name);
  if (!taken) return taken.error().code == Code::kNotFound ? Status() : fail(taken.error());
  if (txn.view().roots().expiry.page == store::kNoPage) return fail(Code::kExists);
  LRUFS_TRY_ASSIGN(const Inode inode, load(txn.view(), taken->ino));
  if (is_expired(inode)) return effects.reap_first({inode.ino});
  return fail(Code::kExists);
}

Status Volume::Impl::expect_empty(Transaction& txn, Effects& effects, const Inode& dir) const {
  if (dir.entries == 0) return {};
  LRUFS_TRY_ASSIGN(std::vector<Ino> expired, store->all_expired(txn.view(), dir.ino));
  if (expired.empty()) return fail(Code::kNotEmpty);
  return effects.reap_first(std::move(expired));
}

std::uint64_t Volume::Impl::max_file_size() const {
  // A sparse file may be longer than the store; what it really needs is asked of the store when it is
  // written.
  return options.max_file_size == 0 ? store::kMaxFileSize
                                    : std::min(store::kMaxFileSize, options.max_file_size);
}

// --- life
// ------------------------------------------------------------------------------------------------------------

Volume::Volume(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Volume::~Volume() {
  if (impl_->store != nullptr) (void)close();
}

Result<std::unique_ptr<Volume>> Volume::open(const std::string& path, store::Options store_options,
                                             Options options, RemovedFn on_removed) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->on_removed = std::move(on_removed);
  store_options.read_only = store_options.read_only || options.read_only;
  impl->options.read_only = store_options.read_only;
  store_options.on_found = [self = impl.get()](store::TxnId found, std::uint64_t next_ino) {
    if (self->options.receipts == nullptr) return;
    self->options.receipts->settle(found);
    if (!self->options.takes_over) return;
    self->nodes.inherit(next_ino);
    // Their answers bring a lookup; until then nobody may destroy them.
    for (const auto& kept : self->options.receipts->kept()) self->nodes.add(kept.executed.counted);
  };
  // These are called from the store's threads until close() returns; Impl does not move.
  store_options.is_held = [self = impl.get()](Ino ino) {
    // Not settled here: the end of this transaction is not told. The next lookup finds out by waiting for it.
    self->fence.condemn();
    return self->nodes.mark_orphan(ino);
  };
  store_options.on_evict = [self = impl.get()](const std::vector<store::Evicted>& evicted) {
    if (self->on_removed) self->on_removed(evicted);
    Reclaimer* const reclaimer = self->evicted_to;
    if (reclaimer == nullptr) return;  // it begins with all orphans that there are
    for (const store::Evicted& each : evicted) {
      if (each.kept_as_orphan && self->nodes.inherited(each.ino)) reclaimer->push(each.ino);
    }
  };
  impl->on_wait = store_options.on_wait;
  LRUFS_TRY_ASSIGN(impl->store, store::Store::open(path, std::move(store_options)));
  impl->options.read_only = impl->store->read_only();  // a damaged store is
  impl->reclaimer = std::make_unique<Reclaimer>(
      *impl->store, Reclaimer::kQueueLimit,
      Reclaimer::Gate{.may_go = [self = impl.get()](Ino ino) { return self->may_go(ino); },
                      .was_handled = [self = impl.get()](Ino ino) { self->nodes.settle(ino); }});
  impl->evicted_to = impl->reclaimer.get();
  return std::unique_ptr<Volume>(new Volume(std::move(impl)));
}

Status Volume::close() {
  if (impl_->store == nullptr) return {};
  impl_->reclaimer->stop();
  impl_->evicted_to = nullptr;
  auto status = impl_->store->close();
  impl_->reclaimer.reset();
  impl_->store.reset();
  return status;
}

store::Store& Volume::store() { return *impl_->store; }
const NodeTable& Volume::nodes() const { return impl_->nodes; }

// --- lookup counts
// ---------------------------------------------------------------------------------------------------

void Volume::forget(Ino ino, std::uint64_t count) { impl_->forget(ino, count); }

void Volume::forget_all() {
  for (const Ino ino : impl_->nodes.clear()) impl_->reclaimer->push(ino);
}

bool Volume::count_lookup(Ino ino, std::optional<std::uint64_t> seen) {
  LookupFence& fence = impl_->fence;
  impl_->nodes.add(ino);
  if (seen && fence.condemned() == *seen) return true;
  const std::uint64_t condemned = fence.condemned();
  impl_->store->writer_barrier();
  fence.settle(condemned);
  if (impl_->store->snapshot(Snapshot::Kind::kTransient).view().inode(ino)) return true;
  impl_->forget(ino, 1);
  return false;
}

void Volume::ask_kernel_by(KernelHolds kernel_holds) {
  const store::MutexLock lock(impl_->kernel_mutex);
  impl_->kernel_holds = std::move(kernel_holds);
}

bool Volume::Impl::room_may_come(int attempt) {
  constexpr int kAttempts = 100;
  constexpr std::chrono::milliseconds kPause{10};  // for the FORGETs of what the kernel was told to drop
  if (!nodes.inherited(store::kRootIno) || attempt >= kAttempts) return false;
  const bool may_wait = !on_wait || on_wait(true);
  if (may_wait) {
    reclaimer->request_leftovers();
    reclaimer->wait_idle();
    std::this_thread::sleep_for(kPause);
  }
  if (on_wait) on_wait(false);
  return may_wait;
}

bool Volume::Impl::may_go(Ino ino) {
  if (!nodes.inherited(ino)) return true;
  // Marked before the kernel is asked: a FORGET that comes meanwhile finds the mark, and brings it here
  // again.
  nodes.mark_orphan(ino);
  if (nodes.lookups(ino) != 0) return false;
  const store::MutexLock lock(kernel_mutex);
  if (!kernel_holds || kernel_holds(ino)) return false;
  nodes.release(ino);
  return true;
}

Result<Inode> Volume::Impl::made_before(const Executed& executed) {
  // Its lookup was counted when the volume was opened.
  auto inode = load(store->snapshot(Snapshot::Kind::kTransient).view(), executed.counted);
  if (!inode) forget(executed.counted, 1);
  return inode;
}

void Volume::reclaim_leftovers() {
  if (!impl_->read_only()) impl_->reclaimer->request_leftovers();
}
void Volume::wait_for_reclaim() { impl_->reclaimer->wait_idle(); }

}  // namespace lrufs::fs
