// What the files that implement Volume share; not for others. One file a family: volume.cc (life, lookup
// counts), namespace_ops.cc, rename_ops.cc, attr_ops.cc, data_ops.cc, xattr_ops.cc, list_ops.cc.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "fs/lookup_fence.h"
#include "fs/node_table.h"
#include "fs/reclaimer.h"
#include "fs/volume.h"
#include "store/store.h"
#include "store/transaction.h"

namespace lrufs::fs {

using store::Code;
using store::fail;
using store::ReadView;
using store::Snapshot;
using store::Transaction;

using Purpose = store::Store::Purpose;

// The inode, or kStale.
Result<Inode> load(const ReadView& view, Ino ino);
// kNotDirectory; kNotFound for a directory that was removed and is only held.
Status check_parent(const Inode& dir);
// A name to make, remove or move: kInvalid (empty, ".", "..", with a slash or a zero byte), kNameTooLong.
Status check_name(std::string_view name);
// kIsDirectory for directories, kInvalid for whatever else has no content to read and write.
Status check_regular(const Inode& inode);
// What write(2), truncate(2) and chown(2) clear in the mode: S_ISUID, and S_ISGID where the group may execute
// (without that bit it means mandatory locking). Regular files only.
void clear_set_id(Inode& inode);
// clear_set_id() and the file's capabilities.
Status drop_privileges(Transaction& txn, Inode& inode);

// The inodes that one run of a transaction's body works on: one copy for one inode, however many roles it
// plays (the old and the new parent of a rename may be the same, the replaced object one of them). put_all()
// writes them back.
class InodeSet {
 public:
  explicit InodeSet(Transaction& txn) : txn_(txn) {}
  InodeSet(const InodeSet&) = delete;
  InodeSet& operator=(const InodeSet&) = delete;

  // The working copy; valid as long as the set. kStale if there is no such inode.
  Result<Inode*> get(Ino ino);
  Inode* adopt(const Inode& inode);  // one that was created in this transaction
  void gone(const Inode* inode);     // destroyed: nothing to write back
  Status put_all();

 private:
  static constexpr std::size_t kMax = 6;
  Transaction& txn_;
  std::array<Inode, kMax> inodes_;
  std::size_t count_ = 0;
};

struct Volume::Impl {
  Options options;
  RemovedFn on_removed;
  NodeTable nodes;
  LookupFence fence;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<Reclaimer> reclaimer;         // after the store: it uses it
  std::atomic<Reclaimer*> evicted_to{nullptr};  // the same, for the store's threads: set once it is there
  std::function<bool(bool)> on_wait;            // as store::Options has it
  store::Mutex kernel_mutex;
  KernelHolds kernel_holds GUARDED_BY(kernel_mutex);

  // What a run of a transaction's body does outside of the store. Bodies run again when room was missing, so
  // each run begins with undo() of the one before.
  class Effects {
   public:
    explicit Effects(Impl& impl) : impl_(impl) {}
    Effects(const Effects&) = delete;
    Effects& operator=(const Effects&) = delete;

    // Counts a lookup for an object that the transaction makes or names: under the writer's lock, so that
    // nobody can destroy it between the publish and the count.
    void count_lookup(Ino ino);
    // An object lost its last name: destroys it, or keeps it as an orphan if it is held. Done with the inode:
    // it is put back where needed.
    Status drop(Transaction& txn, Inode& inode);
    // An expired object stands in the way, which by its name is not there any more: fails, and change() reaps
    // it and runs the body again.
    Status reap_first(std::vector<Ino> expired);
    [[nodiscard]] const std::vector<Ino>& expired() const { return expired_; }
    [[nodiscard]] Ino counted() const { return counted_; }
    void undo();
    void end(bool committed);

   private:
    Impl& impl_;
    Ino counted_ = store::kNoIno;
    std::uint64_t condemned_ = 0;
    std::vector<Ino> expired_;
    Ino kept_uncounted_ = store::kNoIno;  // an orphan of which only the kernel knows whether it is held
  };

  using ChangeBody = std::function<Status(Transaction&, Effects&)>;
  // Store::update() for operations on a mount: kReadOnly first, and Effects that follow the transaction's
  // fate.
  Status change(Purpose purpose, const ChangeBody& body);

  [[nodiscard]] bool read_only() const { return options.read_only || store->read_only(); }
  [[nodiscard]] std::uint64_t max_file_size() const;
  void touch(Ino ino) const {
    if (!options.read_only) store->touch(ino);
  }
  void touch(const Inode& inode) const {
    if (!options.read_only) store->touch(inode);
  }
  // Nothing to those that do not expire.
  [[nodiscard]] bool is_expired(const Inode& inode) const {
    return inode.expires_ever() && store->is_expired(inode);
  }
  // The name is to be given: fails if it is taken.
  Status expect_free(Transaction& txn, Effects& effects, Ino parent, std::string_view name) const;
  // The directory is to go, or to be replaced: kNotEmpty unless all that it holds has expired.
  Status expect_empty(Transaction& txn, Effects& effects, const Inode& dir) const;
  // There was no room. After a takeover it may still come: of orphans of before nobody knows whether the
  // kernel holds them before it was asked. False: it will not.
  bool room_may_come(int attempt);
  // May the orphan be destroyed, as far as the kernel is concerned?
  bool may_go(Ino ino);
  // The answer to a request that an earlier process has executed.
  Result<Inode> made_before(const Executed& executed);
  void forget(Ino ino, std::uint64_t count) {
    if (nodes.remove(ino, count)) reclaimer->push(ino);
  }

  // Makes an object with mode, owner and ACLs as the parent and the caller demand; it has no name yet.
  static Result<Inode> create_child(Transaction& txn, const Inode& dir, std::uint32_t mode,
                                    std::uint64_t rdev, const Caller& caller);
  // create_child() with a name and content (a symlink's target), counted.
  Result<Inode> make_named(Ino parent, std::string_view name, std::uint32_t mode, std::uint64_t rdev,
                           std::string_view content, const Caller& caller);
  // unlink and rmdir.
  Status remove(Ino parent, std::string_view name, bool directory);
  // Without a value: takes the xattr away.
  Status set_keep_xattr(Ino ino, std::string_view name, std::optional<Bytes> value, int flags);
  // One atomic change of content each. The caller has checked the end against max_file_size().
  Status write_data(Ino ino, std::uint64_t offset, Bytes data, bool kill_suid_gid);
  Status write_hole(Ino ino, std::uint64_t offset, std::uint64_t length, bool kill_suid_gid);
};

}  // namespace lrufs::fs
