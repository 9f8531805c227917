#include "fs/fuse/attributes.h"

#include <algorithm>

namespace lrufs::fs::fuse {
namespace {

constexpr std::uint64_t kBlock = 512;  // the unit of st_blocks

timespec to_timespec(const store::Timestamp& time) {
  return {.tv_sec = static_cast<time_t>(time.sec), .tv_nsec = static_cast<long>(time.nsec)};
}

std::uint64_t blocks_of(const store::Inode& inode) {
  // Content that lies inline has no page, yet must not look like a hole: tar --sparse and others take a file
  // without blocks for zeros and do not read it.
  if (inode.pages == 0 && inode.is_regular() && (inode.flags & store::Inode::kPaged) == 0U) {
    return (std::min<std::uint64_t>(inode.size, store::kPageSize) + kBlock - 1) / kBlock;
  }
  return inode.pages * (store::kPageSize / kBlock);
}

}  // namespace

double believable_for(const store::Inode& inode, double seconds) {
  if (!inode.expires_ever()) return seconds;
  constexpr double kRounding = 0.02;
  const store::Timestamp now = store::now();
  const double left =
      static_cast<double>(static_cast<std::int64_t>(inode.expires / 1'000'000'000) - now.sec) +
      (static_cast<double>(inode.expires % 1'000'000'000) - now.nsec) / 1e9 - kRounding;
  return std::clamp(left, 0.0, seconds);
}

struct stat to_stat(const store::Inode& inode) {
  struct stat out {};
  out.st_ino = store::raw(inode.ino);
  out.st_mode = inode.mode;
  out.st_nlink = inode.nlink;
  out.st_uid = inode.uid;
  out.st_gid = inode.gid;
  out.st_rdev = inode.rdev;
  out.st_size = static_cast<off_t>(inode.size);
  out.st_blksize = kPreferredIo;
  out.st_blocks = static_cast<blkcnt_t>(blocks_of(inode));
  out.st_atim = to_timespec(inode.atime);
  out.st_mtim = to_timespec(inode.mtime);
  out.st_ctim = to_timespec(inode.ctime);
  return out;
}

store::Timestamp to_timestamp(const timespec& time) {
  return {.sec = time.tv_sec, .nsec = static_cast<std::uint32_t>(time.tv_nsec)};
}

fuse_entry_param to_entry(const store::Inode& inode, std::chrono::milliseconds recency) {
  fuse_entry_param entry{};
  entry.ino = store::raw(inode.ino);
  entry.generation = 0;  // inode numbers are never reused
  entry.attr = to_stat(inode);
  entry.attr_timeout = believable_for(inode, kAttributeSeconds);
  entry.entry_timeout = believable_for(inode, std::chrono::duration<double>(recency).count());
  return entry;
}

fuse_entry_param negative_entry() {
  fuse_entry_param entry{};
  entry.entry_timeout = kNegativeSeconds;
  return entry;
}

}  // namespace lrufs::fs::fuse
