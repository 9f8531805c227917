// Volume: the semantics of a POSIX file system over a Store, one transaction an operation; it knows no
// libfuse. The adapters (fs/fuse/) translate requests into these calls, tests and the command line use it
// without a mount.
//
// Errors are those that POSIX and Linux name for the system call, as store codes (fs/errno_map.h turns them
// into errno). Permission checks on mode bits and ACLs are the kernel's (default_permissions); what the
// kernel leaves to the file system is done here: times of files and parents, link counts, set-id bits cleared
// on write and chown, ACL inheritance, sizes, the order in which errors are found.
//
// Thread-safety: all functions may be called from any thread, but open() and close(). Lock order: the store's
// writer lock before the node table's shard locks and the reclaimer's queue; no lock is held while the store
// makes room.
//
// Inode numbers that do not exist (any more) give kStale; a name that does not exist kNotFound. A read-only
// volume answers every change with kReadOnly and does not record uses.
//
// Access times change by setattr only, as on a file system mounted noatime: the kernel leaves atime to a FUSE
// file system, and a write for each read would wear the disk. The order of use, which eviction goes by, is
// kept apart from it.
//
// Expiry: by its names an expired file is not there, for lookups and listings and as an obstacle to any other
// operation, whether it was reaped or not. By its number it is, like an orphan. Pins and times to live are
// set by xattrs (fs/keep_xattrs.h).
//
// Lookup counts: an operation documented with "counts one lookup" adds one to the node table for the returned
// inode; the caller owes a forget(). An object that loses its last name while its count is not 0 becomes an
// orphan in the store and is destroyed when the count falls to 0.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/node_table.h"
#include "fs/receipts.h"
#include "store/store.h"

namespace lrufs::fs {

using store::Bytes;
using store::Ino;
using store::Inode;
using store::MutableBytes;
using store::Result;
using store::Status;
using store::Timestamp;

// Who asks, as the kernel tells it.
struct Caller {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t umask = 0;  // applied here, unless the parent has a default ACL
};

// What setattr changes; as utimensat(2), chmod(2), chown(2), truncate(2) need it.
struct AttrChange {
  std::optional<std::uint32_t> mode;  // permission bits and set-id bits (07777)
  std::optional<std::uint32_t> uid;
  std::optional<std::uint32_t> gid;
  std::optional<std::uint64_t> size;
  std::optional<Timestamp> atime;
  std::optional<Timestamp> mtime;
  std::optional<Timestamp> ctime;  // normally unset: now
  bool kill_suid_gid = false;      // the kernel asks to clear set-id bits (HANDLE_KILLPRIV)
  bool kill_sgid = false;          // S_ISGID goes also where the group may not execute
};

enum class RenameMode : std::uint8_t { kReplace, kNoReplace, kExchange, kWhiteout, kNoReplaceWhiteout };

// As statvfs(3) has it, in units of block_size. df prints blocks, blocks − free_blocks (used) and
// available_blocks, so it shows the bound, the use, and what may still be written; since eviction makes room,
// available does not fall to 0.
struct VolumeUsage {
  std::uint64_t block_size = 4096;
  std::uint64_t blocks = 0;            // f_blocks: what pages of the store may use under the bound
  std::uint64_t free_blocks = 0;       // f_bfree: in no use now: free, not yet grown, or pending a checkpoint
  std::uint64_t available_blocks = 0;  // f_bavail: what could be written, evicting all that is there
  std::uint64_t used_blocks = 0;       // blocks − free_blocks
  std::uint64_t files = 0;             // f_files: objects that are there, and free_files
  std::uint64_t free_files = 0;        // f_ffree and f_favail: what could still be made without eviction
  std::uint32_t name_max = 255;
};

// Content to reply from without a copy: segments point into the map as long as `snapshot` lives, which is to
// be short.
struct ReadReply {
  store::Snapshot snapshot;
  std::vector<store::Segment> segments;  // nullptr data: zeros
  std::uint64_t bytes = 0;               // short only at the end of the file
};

struct ListEntry {
  std::string_view name;  // valid during the call
  Ino ino{};
  std::uint32_t type = 0;         // S_IFMT bits of the mode
  std::uint64_t next_offset = 0;  // to continue after this entry
  std::uint64_t seen = 0;         // for count_lookup()
  // Attributes, if asked for; null for "." and "..", and where the record is damaged.
  const Inode* inode = nullptr;
};

class Volume {
 public:
  struct Impl;  // fs/volume_impl.h, for the files that implement this class

  struct Options {
    bool read_only = false;
    std::uint64_t max_file_size = 0;   // 0: no limit of its own
    ReceiptTable* receipts = nullptr;  // where receipts.h keeps them; null: nobody will take over
    bool takes_over = false;           // the kernel holds objects that an earlier process gave it
  };
  // `store_options.is_held` and on_evict are set by the volume; `on_removed` is told of names that went away
  // by eviction, (parent, ino, name), without any lock held, so that the adapter can tell the kernel.
  using RemovedFn = std::function<void(const std::vector<store::Evicted>&)>;
  static Result<std::unique_ptr<Volume>> open(const std::string& path, store::Options store_options,
                                              Options options, RemovedFn on_removed = nullptr);
  ~Volume();  // closes; errors are lost
  // Destroys the orphans that are queued, checkpoints and closes the store. No other call may be running or
  // follow, but the destructor. Orphans that are still held stay in the store: a next daemon may go on
  // serving them.
  Status close();

  [[nodiscard]] store::Store& store();

  // --- names ---
  // Counts one lookup; a use. "." and ".." are valid (NFS exports ask for them).
  Result<Inode> lookup(Ino parent, std::string_view name);
  // Does not wait for the writer: orphans are destroyed in the background.
  void forget(Ino ino, std::uint64_t count);
  void forget_all();               // the kernel holds nothing any more: it was unmounted
  Result<Inode> getattr(Ino ino);  // kStale if it is gone
  Result<Inode> setattr(Ino ino, const AttrChange& change, const Caller& caller);
  // Regular files (also type 0), fifos, sockets, devices, directories by `mode`'s type; counts one lookup.
  Result<Inode> make(Ino parent, std::string_view name, std::uint32_t mode, std::uint64_t rdev,
                     const Caller& caller);
  // Counts one lookup.
  Result<Inode> symlink(Ino parent, std::string_view name, std::string_view target, const Caller& caller);
  // Nameless (O_TMPFILE); counts one lookup.
  Result<Inode> tmpfile(Ino parent, std::uint32_t mode, const Caller& caller);
  Result<std::string> readlink(Ino ino);
  Result<Inode> link(Ino ino, Ino new_parent, std::string_view new_name);  // counts one lookup
  Status unlink(Ino parent, std::string_view name);
  Status rmdir(Ino parent, std::string_view name);
  // `caller` owns the whiteout that kWhiteout and kNoReplaceWhiteout leave behind.
  Status rename(Ino parent, std::string_view name, Ino new_parent, std::string_view new_name, RenameMode mode,
                const Caller& caller);

  // Calls `each` for "." (offset 0 → 1), ".." (1 → 2) and the entries after `offset`, until it returns false.
  // With `attributes`, entries bring their inode; the caller counts lookups itself (count_lookup) for what it
  // sends.
  using ListFn = std::function<bool(const ListEntry&)>;
  Status list(Ino dir, std::uint64_t offset, bool attributes, const ListFn& each);
  // For readdirplus: counts a lookup of an entry that list() gave; false if it went away meanwhile. With the
  // entry's `seen` it costs next to nothing; without, it always waits for the running transaction.
  bool count_lookup(Ino ino, std::optional<std::uint64_t> seen = std::nullopt);

  // --- content ---
  Result<ReadReply> read(Ino ino, std::uint64_t offset, std::uint64_t length);
  // `kill_suid_gid`: clear set-id bits and file capabilities, as write(2) by an unprivileged caller does. All
  // or nothing: kFileTooLarge if the end is above the largest size.
  Result<std::uint64_t> write(Ino ino, std::uint64_t offset, Bytes data, bool kill_suid_gid);
  // Modes of fallocate(2): 0, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE[|KEEP_SIZE]; others kUnsupported.
  // Plain preallocation extends the size and reserves no pages: eviction makes room when they are written.
  Status fallocate(Ino ino, int mode, std::uint64_t offset, std::uint64_t length, bool kill_suid_gid = false);
  // SEEK_DATA, SEEK_HOLE. kNotFound: no more data, or offset at or beyond the end; lseek(2) says ENXIO to
  // that.
  Result<std::uint64_t> seek(Ino ino, std::uint64_t offset, int whence);
  // Copies piece by piece, each piece atomically; holes stay holes. Returns the bytes copied, which may be
  // fewer than asked for; 0 at the end of `from`. An error is returned only if nothing was copied.
  Result<std::uint64_t> copy_range(Ino from, std::uint64_t from_offset, Ino to, std::uint64_t to_offset,
                                   std::uint64_t length, bool kill_suid_gid = false);
  Status sync(Ino ino);  // fsync and fsyncdir: a checkpoint

  // --- xattrs: namespaces user., trusted., security., system.posix_acl_access, system.posix_acl_default ---
  Result<std::string> get_xattr(Ino ino, std::string_view name);
  // `flags`: XATTR_CREATE, XATTR_REPLACE. `kill_sgid`: an access ACL also clears S_ISGID
  // (SETXATTR_ACL_KILL_SGID). An access ACL sets the permission bits, and is not stored if these say the
  // same; an empty one removes it.
  Status set_xattr(Ino ino, std::string_view name, Bytes value, int flags, bool kill_sgid = false);
  Result<std::vector<std::string>> list_xattrs(Ino ino);
  Status remove_xattr(Ino ino, std::string_view name);

  Result<VolumeUsage> usage();
  [[nodiscard]] const NodeTable& nodes() const;
  // After a takeover: does the kernel hold this inode? Until it can be asked (null), orphans stay.
  using KernelHolds = std::function<bool(Ino)>;
  void ask_kernel_by(KernelHolds kernel_holds);
  // Starts to destroy, in the background, what crashes left behind: orphans that nobody holds.
  void reclaim_leftovers();
  // Returns when no reclaim is queued or running.
  void wait_for_reclaim();

 private:
  explicit Volume(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lrufs::fs
