// Store: the facade. One store file holds objects (files, directories, …) by path; its size is bounded, and
// the least recently used objects make room. See docs/architecture.md for the layers below it and
// docs/durability.md for what survives what.
//
// Thread-safety: every function may be called from any thread. Readers (Snapshot, get, list) never wait for
// the writer. Writers are serialised by one lock that is held for the changes of the tree only. Lifetime:
// snapshots, transactions and staged data must be gone before the store is closed.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "store/error.h"
#include "store/file_ops.h"
#include "store/read_view.h"
#include "store/staged_data.h"
#include "store/statistics.h"
#include "store/transaction.h"
#include "store/types.h"

namespace lrufs::store {

// An object that eviction or expiry removed; see Options::on_evict.
struct Evicted {
  Ino ino = kNoIno;
  Ino parent = kNoIno;
  std::string name;
  bool kept_as_orphan = false;  // somebody held it: its content stays until reclaim()
};

struct Options {
  enum class Sync : std::uint8_t { kInterval, kAlways, kUnmount };

  std::uint64_t bound = 10ULL << 30U;  // bytes on disk, never exceeded; at least kMinBound
  bool bound_given = true;             // false: keep the bound that the store has (a new store: `bound`)
  Sync sync =
      Sync::kInterval;  // kAlways: update() returns after a checkpoint; kUnmount: close() and sync() only
  std::chrono::milliseconds sync_interval{5000};
  std::uint64_t max_files = 0;  // objects but directories; 0 = no limit
  // Eviction in the background begins when more than `high` percent of what pages may use is in use, and goes
  // on until at most `low` percent are; 1 ≤ low < high ≤ 99. 0: as late as it can (StoreImpl::evict_start()).
  std::uint32_t high = 0;
  std::uint32_t low = 0;
  // Uses that are kept in memory until they are written, of so many objects: with more the store writes them.
  std::size_t max_touches = 700'000;
  bool trim = false;       // give the disk's blocks of long free runs back, in the background
  bool create = true;      // make the store if the file does not exist or is empty
  bool read_only = false;  // no lock on the file's content is broken, nothing is written
  bool exclusive = false;  // with read_only: nobody else may have it open, nor open it
  // With read_only: another process may have it open and write, or begin to. The store then shows one state,
  // content included, that of the opening; its pages are not reused while it is open, so close it soon. Needs
  // permission to write to the file (the reader announces itself there), unless nobody has it open for
  // writing.
  bool shared = false;
  // A store that is damaged, or was seen to be (Statistics::damaged), is opened read-only unless this is set.
  // Even then if its free space is not known.
  bool force = false;
  bool from_checkpoint = false;  // ignore the live metas: open as after a power cut
  bool background = true;  // run the checkpoint and eviction threads; false: tests drive the steps themselves

  // Milliseconds that a file or symlink lives that is made where no directory says how long; 0: no end. See
  // Transaction::set_ttl().
  std::uint64_t default_ttl = 0;
  bool ttl_from_use = false;  // that long after the last use, not after the last change of content

  // Asked under the writer's lock before an object without names is destroyed: true = somebody still uses it
  // (the kernel holds the inode), so it becomes an orphan. Must not call the store. Default: nobody.
  std::function<bool(Ino)> is_held;
  // Told after the publish, by the thread that evicted or reaped, without any lock. May not start
  // transactions.
  std::function<void(const std::vector<Evicted>&)> on_evict;
  // Called with true before a thread waits for room or for the disk, and with false after. Whoever serves
  // requests with a few threads can take in another one meanwhile: room may only come when the kernel's
  // FORGETs are read. False as the answer to true: this thread must not wait for others (it may get kNoSpace
  // instead). Takes no locks of the store.
  std::function<bool(bool begins)> on_wait;
  // Told by open(), before it writes anything that another open would go by: the number of the transaction
  // that made the state which was found, and the next inode number. A transaction of an earlier process is
  // part of the state if its number is not above that.
  std::function<void(TxnId found, std::uint64_t next_ino)> on_found;
  // Something a person should know (a failed msync, a damaged page, space that an old reader keeps).
  enum class Severity : std::uint8_t { kInfo, kWarning, kError };
  std::function<void(Severity, const std::string&)> on_event;

  std::shared_ptr<FileOps> file_ops;     // the seam to the operating system; default: the real one
  std::uint64_t name_hash_mask = ~0ULL;  // for tests only: thins the hash of names out, so that they collide
  // For tests only: nanoseconds since 1970, by which files expire.
  std::function<std::uint64_t()> wall_clock;
};

inline constexpr std::uint64_t kMinBound = 4ULL << 20U;  // 4 MiB

// A consistent, unchanging view of the state that was current when it was taken; costs a reader slot. While
// it lives, the pages it can reach are not reused: keep it short.
class Snapshot {
 public:
  // kFull: content is frozen too. kTransient: tree and names are frozen, but the content of a file that was
  // written since the last checkpoint may be overwritten in place (what a read(2) beside a write(2) sees); it
  // never delays a writer.
  enum class Kind : std::uint8_t { kFull, kTransient };
  Snapshot(Snapshot&&) noexcept;
  Snapshot& operator=(Snapshot&&) = delete;
  ~Snapshot();
  [[nodiscard]] const ReadView& view() const;
  [[nodiscard]] TxnId id() const;

 private:
  friend class Store;
  friend class StoreImpl;
  struct State;
  explicit Snapshot(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class Store {
 public:
  // Errors: kBusy (in use), kNotAStore, kNewerFormat, kCorrupt, kBoundTooSmall, kReadOnly, kIo, kNotFound.
  // After an error the file is as it was. Damage that leaves something to read is no error: read_only() is
  // then true, and on_event was told.
  static Result<std::unique_ptr<Store>> open(const std::string& path, Options options);
  // Checkpoints and closes; errors are lost. Prefer close().
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Writes the pending touches, checkpoints, and closes. No other call may be running or follow.
  Status close();

  // --- transactions and snapshots
  // ---------------------------------------------------------------------------------- kTransient never
  // waits; kFull waits for a running transaction to end.
  [[nodiscard]] Snapshot snapshot(Snapshot::Kind kind = Snapshot::Kind::kFull) const;

  enum class Purpose : std::uint8_t {
    kWrite,   // content: leaves the reserve alone; makes room by eviction when it is full
    kName,    // names and attributes: may use half of the reserve. Few pages, and they must not queue behind
              // content: in the kernel their caller holds the directory's lock, which the notification of an
              // eviction needs as well before the kernel lets go of what content waits for
    kDelete,  // may use all of the reserve: deleting must always work
  };
  // Waits for the writer's lock. Prefer update().
  [[nodiscard]] Result<Transaction> begin(Purpose purpose = Purpose::kWrite);
  // Runs `body` in a transaction and commits it. If room is missing, the transaction is aborted, room is made
  // (by eviction and, where reuse waits for it, a checkpoint), and `body` runs again from its beginning: it
  // must start from fresh reads and have no effect outside. An error from `body` aborts and is returned.
  // kNoSpace if nothing more can go. With Sync::kAlways returns after a checkpoint.
  using Body = std::function<Status(Transaction&)>;
  Status update(const Body& body, Purpose purpose = Purpose::kWrite);
  // Allocates pages and fills them with data, outside of the writer's lock, for Transaction::write() of the
  // same offset and data. Makes room as update() does.
  Result<StagedData> stage(std::uint64_t offset, Bytes data);
  // While one lives, eviction leaves the inode alone: the file that is being written stays.
  class Protection {
   public:
    Protection(Store& store, Ino ino);
    ~Protection();
    Protection(const Protection&) = delete;
    Protection& operator=(const Protection&) = delete;

   private:
    Store& store_;
    Ino ino_;
  };
  // Data of at least this many bytes is worth staging.
  static constexpr std::size_t kStageThreshold = 64 * 1024;

  // --- use, eviction, orphans
  // -------------------------------------------------------------------------------------- `ino` was used
  // now. Cheap (memory only); written lazily, in batches.
  void touch(Ino ino);
  void touch(const Inode& inode);  // with Options::ttl_from_use that keeps it from expiring
  // Returns when every transaction that was running at the call has ended.
  void writer_barrier() const;
  // Destroys the orphans among `inodes` that are not held (any more).
  Status reclaim(const std::vector<Ino>& inodes);
  // Is eviction due? Then what orphans occupy is wanted back at once, or files go for want of it. Any time,
  // cheap.
  [[nodiscard]] bool is_short_of_room() const;
  // Destroys all orphans that are not held: leftovers of a crash.
  Status reclaim_orphans();
  // Evicts in LRU order until at least `bytes` were freed; returns the bytes freed.
  Result<std::uint64_t> evict(std::uint64_t bytes);
  // Evicts the object at this path now, with all its names, wherever it stands in the order. kNotFound;
  // kNotEmpty: a directory with entries; kBusy: it is being written.
  Result<Evictions> evict_key(std::string_view key);
  // The same for each object whose path begins with `prefix`, as text: "a/b" takes "a/b", "a/bc" and "a/b/c",
  // "a/" all in a, "" everything. What is being written stays, and with it the directories it is in.
  // kNotFound: the directory that the prefix names does not exist; nothing found is no error.
  Result<Evictions> evict_prefix(std::string_view prefix);
  // An object and its place in the order of use.
  struct Standing {
    Inode inode;
    std::string path;  // "/a/b"; by its first name
  };
  // At most `limit` objects, those that go next, or that were used last, first. From a snapshot, without the
  // writer's lock. A bounded look: next_to_go() may find fewer where nearly all was used since it was
  // written.
  [[nodiscard]] Result<std::vector<Standing>> next_to_go(std::size_t limit) const;
  [[nodiscard]] Result<std::vector<Standing>> last_used(std::size_t limit) const;

  // --- the size (resize.cc). One at a time: kBusy. `on_progress` is called with the bytes that were evicted
  // or moved so far, and of all as far as it is known; false ends the work with kIo and EINTR.
  using OnProgress = std::function<bool(std::uint64_t done, std::uint64_t all)>;
  // Another bound, while others use the store. A smaller one evicts in LRU order until what is left fits,
  // moves what lies behind the new end, and cuts the file there; a larger one only counts from now on.
  // kBoundTooSmall; kInvalid (an open store can grow to four times the size that it was opened with, and to
  // 64 GiB in any case); kNoSpace (what is in use does not fit); kBusy with EBUSY: another process reads the
  // store as it was before. After a failure, or a crash in the middle, the store is whole and has its old
  // bound; what was evicted is gone.
  Status resize(std::uint64_t bound, const OnProgress& on_progress = nullptr);
  // Moves everything to the front and cuts the file behind it; nothing is evicted for it, the bound stays.
  // kAlone: nobody else uses the store meanwhile, and the file becomes as small as it can be. kOthers: the
  // file keeps some room to go on with (a 32nd of what is used, and what is kept for deletion, 4 to 16 MiB),
  // more if others write meanwhile.
  enum class Company : std::uint8_t { kAlone, kOthers };
  Status compact(Company company = Company::kAlone, const OnProgress& on_progress = nullptr);

  // The next `limit` objects in the order they would go.
  [[nodiscard]] Result<std::vector<Ino>> eviction_order(std::size_t limit) const;

  // --- expiry. By name an expired file is not there any more, whoever asks and whether it was reaped or not;
  // who has it open goes on as after the removal of its name. The functions by path know that. Those on
  // inodes do not: a file system asks is_expired().
  [[nodiscard]] bool is_expired(const Inode& inode) const;
  [[nodiscard]] std::uint64_t expires_at(const Inode& inode) const;  // nanoseconds since 1970; 0: never
  // Removes those among `inodes` that have expired. For who meets one in the way.
  Status reap(const std::vector<Ino>& inodes);
  // What is in a directory that holds nothing but what has expired, or the beginning of it; else nothing.
  [[nodiscard]] Result<std::vector<Ino>> all_expired(const ReadView& view, Ino dir) const;
  // Removes all that have expired, as the background does when it is time; returns how many.
  Result<std::uint64_t> reap_expired();

  // --- durability
  // --------------------------------------------------------------------------------------------------
  // Returns when everything published before the call survives a power cut. Concurrent callers share one
  // checkpoint.
  Status checkpoint();

  [[nodiscard]] Statistics statistics() const;
  // Set once a failed write-back made the store read-only: what happened. Empty otherwise.
  [[nodiscard]] std::string failure() const;
  [[nodiscard]] bool read_only() const;
  // The largest size one file may have: the bound less what the store itself needs.
  [[nodiscard]] std::uint64_t max_file_size() const;

  // Could all of these pieces of content be read? For who handed them to the kernel, which cannot say what it
  // could not read. A page that cannot is noted: later reads of it give kIo.
  [[nodiscard]] bool all_readable(const std::vector<Segment>& segments);

  // --- by path: for programs that want a cache without a mount
  // ----------------------------------------------------- Keys are paths relative to the root, "a/b/c":
  // components of 1 … 255 bytes, no "." or "..", no symlinks followed.
  Status put(std::string_view key, Bytes value);                // whole value, atomically; parents are made
  [[nodiscard]] Result<std::string> get(std::string_view key);  // counts as a use
  // The same into a string whose memory is used again; it means nothing after a failure.
  Status get(std::string_view key, std::string& value);
  Status erase(std::string_view key);  // a file, or an empty directory
  [[nodiscard]] Result<std::uint64_t> read(std::string_view key, std::uint64_t offset, MutableBytes out);
  Status write(std::string_view key, std::uint64_t offset, Bytes data);  // makes the file if it is absent
  [[nodiscard]] Result<Inode> resolve(std::string_view key) const;
  // The names in a directory ("" = root) from `from` on, in bytewise order, at most `limit`. The entries are
  // kept in hash order, so this sorts: its cost grows with the directory, not with `limit`.
  [[nodiscard]] Result<std::vector<std::string>> names(std::string_view dir, std::string_view from,
                                                       std::size_t limit) const;

 private:
  explicit Store(std::unique_ptr<StoreImpl> impl);
  template <typename ExpiryBody>
  Status without_expired(const ExpiryBody& body, Purpose purpose = Purpose::kWrite);
  std::unique_ptr<StoreImpl> impl_;
};

}  // namespace lrufs::store
