// FileOps: the seam between the store and the operating system. Everything that reaches the disk goes through
// it, so that tests can inject faults, count calls, and record what a power cut could leave. The real one is
// posix_file_ops(). Functions return kIo (or kNoSpace) with os_errno set and the message naming the call.
//
// Thread-safety: the real implementation may be called from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "store/error.h"
#include "store/types.h"

namespace lrufs::store {

struct FileIdentity {
  std::uint64_t device = 0;      // st_dev
  std::uint64_t inode = 0;       // st_ino
  std::uint64_t size = 0;        // bytes
  std::uint64_t disk_bytes = 0;  // st_blocks * 512
  bool is_regular = false;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

class FileOps {
 public:
  static constexpr std::uint64_t kLockedBytes = 1ULL << 62U;
  virtual ~FileOps() = default;

  // Opens (O_NOFOLLOW, O_CLOEXEC; with `create` mode 0600). Returns a descriptor.
  virtual Result<int> open(const std::string& path, bool create, bool read_only) = 0;
  virtual void close(int fd) = 0;
  virtual Result<FileIdentity> identify(int fd) = 0;
  // An advisory lock on the first kLockedBytes of the file (open file description lock, fcntl(2)
  // F_OFD_SETLK), not waiting: kBusy.
  virtual Status lock(int fd, bool exclusive) = 0;
  virtual void unlock(int fd) = 0;
  // A lock on one of the bytes behind those, for messages between processes: it ends with its holder. False:
  // somebody else has it. The file must be open for writing.
  virtual Result<bool> try_lock_byte(int fd, std::uint64_t byte) = 0;
  virtual void unlock_byte(int fd, std::uint64_t byte) = 0;
  // Does somebody else hold it?
  virtual Result<bool> byte_is_locked(int fd, std::uint64_t byte) = 0;
  // Maps `bytes` from the beginning; may reach beyond the end of the file. Not `writable`: what is stored to
  // the mapping stays with this process.
  virtual Result<std::byte*> map(int fd, std::uint64_t bytes, bool writable) = 0;
  // Maps a range as all others see it, as they change it; it may reach beyond the end of the file.
  virtual Result<std::byte*> map_shared(int fd, std::uint64_t offset, std::uint64_t bytes, bool writable) = 0;
  virtual void unmap(std::byte* base, std::uint64_t bytes) = 0;
  // Makes the file `new_size` bytes long with all blocks allocated (fallocate(2) of the range). kNoSpace if
  // the disk is full: the file's size is then unchanged.
  virtual Status grow(int fd, std::uint64_t old_size, std::uint64_t new_size) = 0;
  virtual Status truncate(int fd, std::uint64_t size) = 0;
  // Gives the blocks of a range back (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE).
  virtual Status punch(int fd, std::uint64_t offset, std::uint64_t length) = 0;
  // Gives blocks to a range within the file that lost them (or never had them), as grow() does behind its
  // end.
  virtual Status fill(int fd, std::uint64_t offset, std::uint64_t length) = 0;
  // The first range at `offset` or behind it that may have no blocks, as [begin, end); an empty one at the
  // file's end if there is none (lseek(2) SEEK_HOLE).
  struct Range {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  virtual Result<Range> next_hole(int fd, std::uint64_t offset) = 0;
  // Writes into the file (and so into the mapping, which shares the page cache).
  virtual Status write(int fd, std::uint64_t offset, Bytes data) = 0;
  virtual Status read(int fd, std::uint64_t offset, MutableBytes out) = 0;
  // Waits until everything stored to the file and the mapping is on stable storage. An error is final: the
  // kernel may have dropped the dirty pages ("fsyncgate", https://lwn.net/Articles/752063/).
  virtual Status sync_all(int fd, std::byte* base, std::uint64_t bytes) = 0;
  // The same for one range of the mapping.
  virtual Status sync_range(int fd, std::byte* base, std::uint64_t offset, std::uint64_t length) = 0;
  // Starts write-back of a range without waiting for it (sync_file_range(2)); a hint.
  virtual void start_write_back(int fd, std::uint64_t offset, std::uint64_t length) = 0;
  // The directory entry of a new file.
  virtual Status sync_parent(const std::string& path) = 0;
  // 32 hex digits that change with each boot of the kernel (/proc/sys/kernel/random/boot_id).
  virtual std::string boot_id() = 0;
};

std::shared_ptr<FileOps> posix_file_ops();

}  // namespace lrufs::store
