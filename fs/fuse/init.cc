#include "fs/fuse/init.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "fs/fuse/kill_privileges.h"

namespace lrufs::fs::fuse {
namespace {

std::uint64_t wanted(const MountOptions& options) {
  std::uint64_t want = 0;
  // Zero-message open and opendir are offered, not asked for: the answer ENOSYS turns them on.
  want |= FUSE_CAP_ASYNC_READ;  // read-ahead sends several requests at once
  want |= FUSE_CAP_ASYNC_DIO;
  // Without READDIRPLUS_AUTO: that one changes to READDIR when a program reads names before it looks at any
  // of them (find, rm -r, rsync), and each of these names then costs a LOOKUP.
  want |= FUSE_CAP_READDIRPLUS;
  want |= FUSE_CAP_CACHE_SYMLINKS;
  want |= FUSE_CAP_PARALLEL_DIROPS;
  want |= FUSE_CAP_EXPORT_SUPPORT;  // inode numbers stay, so NFS and open_by_handle_at(2) may keep them
  want |= FUSE_CAP_DONT_MASK;       // a default ACL replaces the umask; the volume decides
  if (!options.noxattr) want |= FUSE_CAP_POSIX_ACL;
  // One GETXATTR (security.capability) for a file, not one for each write. See kill_privileges.h.
  if (can_handle_killpriv(options.io_uring)) want |= kHandleKillprivV2;
  // Nobody else changes files: cached pages go only when we say so. AUTO_INVAL_DATA would drop them after
  // each write, since the mtime that the daemon sets differs from the one that the kernel knows.
  want |= FUSE_CAP_EXPLICIT_INVAL_DATA;
  // Left out on purpose:
  // ATOMIC_O_TRUNC        there is no OPEN that could carry the flag: the kernel sends a SETATTR instead
  // POSIX_LOCKS, FLOCK    the kernel's own locks are right: there is no other client
  // HANDLE_KILLPRIV       its successor, _V2, tells who may keep set-id bits
  // SPLICE_*              answers are gathered from the map, and a WRITE's data is copied once, from the
  // buffer that it
  //                       was read into: a pipe in between only adds system calls
  // WRITEBACK_CACHE       the kernel would own size and times
  // IOCTL_DIR             there are no ioctls
  return want;
}

#ifdef FUSE_CAP_OVER_IO_URING
// libfuse sets this by itself, for its option io_uring; nothing to decide here.
constexpr std::uint64_t kLeftAlone = FUSE_CAP_OVER_IO_URING;
#else
constexpr std::uint64_t kLeftAlone = 0;
#endif

constexpr std::array<std::pair<std::uint64_t, std::string_view>, 25> kNames = {{
    {FUSE_CAP_ASYNC_READ, "async_read"},
    {FUSE_CAP_POSIX_LOCKS, "posix_locks"},
    {FUSE_CAP_ATOMIC_O_TRUNC, "atomic_o_trunc"},
    {FUSE_CAP_EXPORT_SUPPORT, "export_support"},
    {FUSE_CAP_DONT_MASK, "dont_mask"},
    {FUSE_CAP_SPLICE_WRITE, "splice_write"},
    {FUSE_CAP_SPLICE_MOVE, "splice_move"},
    {FUSE_CAP_SPLICE_READ, "splice_read"},
    {FUSE_CAP_FLOCK_LOCKS, "flock_locks"},
    {FUSE_CAP_IOCTL_DIR, "ioctl_dir"},
    {FUSE_CAP_AUTO_INVAL_DATA, "auto_inval_data"},
    {FUSE_CAP_READDIRPLUS, "readdirplus"},
    {FUSE_CAP_READDIRPLUS_AUTO, "readdirplus_auto"},
    {FUSE_CAP_ASYNC_DIO, "async_dio"},
    {FUSE_CAP_WRITEBACK_CACHE, "writeback_cache"},
    {FUSE_CAP_NO_OPEN_SUPPORT, "no_open_support"},
    {FUSE_CAP_PARALLEL_DIROPS, "parallel_dirops"},
    {FUSE_CAP_POSIX_ACL, "posix_acl"},
    {FUSE_CAP_HANDLE_KILLPRIV, "handle_killpriv"},
    {kHandleKillprivV2, "handle_killpriv_v2"},
    {FUSE_CAP_CACHE_SYMLINKS, "cache_symlinks"},
    {FUSE_CAP_NO_OPENDIR_SUPPORT, "no_opendir_support"},
    {FUSE_CAP_EXPLICIT_INVAL_DATA, "explicit_inval_data"},
    {FUSE_CAP_EXPIRE_ONLY, "expire_only"},
    {1ULL << 31U, "over_io_uring"},  // as above
}};

}  // namespace

Connection negotiate(const MountOptions& options, fuse_conn_info& conn) {
  const std::uint64_t want = wanted(options) & conn.capable;
  // The 32-bit fields: libfuse 3.17 and later have wider ones, but take over what is written here.
  conn.want = static_cast<decltype(conn.want)>(want | (conn.want & kLeftAlone));
  conn.max_write = std::min(conn.max_write, kMaxWrite);
  // Has to be what the mount option says. 0: as much as fits into max_write's number of pages.
  conn.max_read = options.max_read;
  // What the kernel takes is bounded by the device's setting, which set_read_ahead() (mount_point.h) raises
  // after this.
  conn.max_readahead = kMaxReadAhead;
  // Read-ahead of several streams; the kernel's default of 12 holds back a single one at 1 MiB a request.
  conn.max_background = 64;
  conn.congestion_threshold = 48;
  conn.time_gran = 1;

  return {.established = true,
          .protocol_major = conn.proto_major,
          .protocol_minor = conn.proto_minor,
          .offered = conn.capable,
          .enabled = want | (conn.want & kLeftAlone),
          .max_write = conn.max_write,
          .max_readahead = conn.max_readahead,
          .zero_message_open = (conn.capable & FUSE_CAP_NO_OPEN_SUPPORT) != 0,
          .zero_message_opendir = (conn.capable & FUSE_CAP_NO_OPENDIR_SUPPORT) != 0};
}

std::vector<std::string> capability_names(std::uint64_t capabilities) {
  std::vector<std::string> names;
  for (unsigned bit = 0; bit < 64; ++bit) {
    const std::uint64_t mask = 1ULL << bit;
    if ((capabilities & mask) == 0) continue;
    const auto* found =
        std::find_if(kNames.begin(), kNames.end(), [&](const auto& name) { return name.first == mask; });
    names.push_back(found == kNames.end() ? "bit" + std::to_string(bit) : std::string(found->second));
  }
  return names;
}

}  // namespace lrufs::fs::fuse
