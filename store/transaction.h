// Transaction: the one writer. It sees its own changes, is invisible to readers until commit() publishes all
// of them at once, and leaves no trace when it is aborted (or destroyed without commit).
//
// Copy-on-write: each tree page on the path of a change is copied once; pages born in this transaction are
// edited in place. Commit appends the allocations and frees to the space log, stamps checksums and flips the
// live meta: no system call, no wait. What was committed survives SIGKILL; a checkpoint makes it survive a
// power cut.
//
// Inodes are passed by reference: the functions that change structure (link, unlink, write, …) change the
// fields they own — nlink, size, pages, entries, parent, cookie, flags — in the caller's copy; the caller
// sets times and permissions and ends with put_inode(). An inode that was changed and not put back is a bug;
// the check in every test's teardown finds it.
//
// Ownership and thread-safety: a Transaction holds the store's writer lock from begin() to commit(), abort()
// or its destruction. One thread uses it. Any function may return kNoSpace (then abort, Store::make_room(),
// and run the operation again; Store::update() does that), kIo or kCorrupt.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>

#include "store/error.h"
#include "store/inode.h"
#include "store/read_view.h"
#include "store/staged_data.h"
#include "store/types.h"

namespace lrufs::store {

class StoreImpl;

class Transaction {
 public:
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  Transaction(Transaction&&) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();  // aborts unless committed

  // The state with this transaction's changes. References and spans from it end with the next change.
  [[nodiscard]] const ReadView& view() const;
  // view().find(), for an object that is about to be changed.
  [[nodiscard]] Result<Inode> find(Ino dir, std::string_view name);
  [[nodiscard]] TxnId id() const;

  Status commit();
  void abort();
  // `word`, outside of the store, says that this transaction is about to be published: it is set to 0, under
  // the writer's lock, if that does not happen. (It may be memory that outlives the process: receipts.h.)
  void clear_on_abort(std::atomic<std::uint32_t>& word);

  // --- objects
  // ----------------------------------------------------------------------------------------------------- A
  // new object with the given mode, owner, times, rdev and ttl (that of its directory; a file or symlink
  // gets Options::default_ttl in place of none, others than these and directories get none); gets a fresh
  // inode number, no name and nlink 0 (a directory: nlink 1, its own "."). It must be link()ed, or orphan()ed
  // (O_TMPFILE), before commit. put_inode() needed.
  Result<Inode> create(const Inode& prototype);
  Status put_inode(const Inode& inode);

  // Names `child` in `dir`: adds the entry and the link, dir.entries + 1, child.nlink + 1 (and dir.nlink + 1
  // for a directory). An orphan that is named again is an orphan no more. kExists, kNameTooLong,
  // kTooManyLinks.
  Status link(Inode& dir, std::string_view name, Inode& child);
  // Takes the name away: the reverse of link(). kNotFound, kNotEmpty is not checked: a directory that is
  // moved is unlinked and linked with its content. If child.nlink falls to 0 (a directory: 1) and it is not
  // linked again, destroy() or orphan() must follow before commit.
  Status unlink(Inode& dir, std::string_view name, Inode& child);
  // Frees the content, xattrs, link records, recency entry and the inode itself. Directories must be empty.
  Status destroy(const Inode& inode);
  // Keeps a nameless object for those who use it; it leaves the LRU order. put_inode() needed.
  Status orphan(Inode& inode);

  // --- pins and expiry
  // put_inode() needed. A pinned object, and what lies below it, is not evicted.
  Status set_pinned(Inode& inode, bool pinned);
  // Time to live in milliseconds, 0: none. A file expires so long after this call, or after the last change
  // of its content; what is made in a directory inherits it.
  Status set_ttl(Inode& inode, std::uint64_t ttl);
  // The same with a given end, in nanoseconds since 1970: for copies.
  Status set_expiry(Inode& inode, std::uint64_t ttl, std::uint64_t expires);

  // --- content
  // -----------------------------------------------------------------------------------------------------
  // kInPlace: content in pages born after the last checkpoint began may be overwritten where it is; that is
  // not undone by an abort, and seen at once by readers whose snapshot is kTransient: the promise of
  // write(2), no more.
  enum class WriteMode : std::uint8_t { kAtomic, kInPlace };
  // Replaces [offset, offset + data.size()) and extends the file if needed. `staged` (may be null) brings the
  // pages that were already filled outside of the lock by Store::stage() for exactly this offset and data;
  // commit consumes it. kFileTooLarge.
  Status write(Inode& inode, std::uint64_t offset, Bytes data, StagedData* staged = nullptr,
               WriteMode mode = WriteMode::kAtomic);
  // Cuts, or extends by a hole.
  Status truncate(Inode& inode, std::uint64_t size);
  // Makes [offset, offset + length) read as zeros, and frees its whole pages. Does not change the size.
  Status punch(Inode& inode, std::uint64_t offset, std::uint64_t length);

  // --- xattrs
  // ------------------------------------------------------------------------------------------------------
  enum class XattrMode : std::uint8_t { kAny, kCreate /* kExists */, kReplace /* kNoAttribute */ };
  Status set_xattr(Inode& inode, std::string_view name, Bytes value, XattrMode mode = XattrMode::kAny);
  Status remove_xattr(Inode& inode, std::string_view name);  // kNoAttribute

 private:
  friend class StoreImpl;
  struct State;
  explicit Transaction(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace lrufs::store
