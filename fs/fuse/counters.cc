#include "fs/fuse/counters.h"

namespace lrufs::fs::fuse {

std::string_view op_name(Op op) {
  switch (op) {
    case Op::kLookup:
      return "lookup";
    case Op::kForget:
      return "forget";
    case Op::kBatchForget:
      return "batch_forget";
    case Op::kGetattr:
      return "getattr";
    case Op::kSetattr:
      return "setattr";
    case Op::kReadlink:
      return "readlink";
    case Op::kMknod:
      return "mknod";
    case Op::kMkdir:
      return "mkdir";
    case Op::kUnlink:
      return "unlink";
    case Op::kRmdir:
      return "rmdir";
    case Op::kSymlink:
      return "symlink";
    case Op::kRename:
      return "rename";
    case Op::kLink:
      return "link";
    case Op::kTmpfile:
      return "tmpfile";
    case Op::kOpen:
      return "open";
    case Op::kOpendir:
      return "opendir";
    case Op::kRelease:
      return "release";
    case Op::kReleasedir:
      return "releasedir";
    case Op::kRead:
      return "read";
    case Op::kWrite:
      return "write";
    case Op::kFlush:
      return "flush";
    case Op::kFsync:
      return "fsync";
    case Op::kFsyncdir:
      return "fsyncdir";
    case Op::kReaddir:
      return "readdir";
    case Op::kReaddirplus:
      return "readdirplus";
    case Op::kStatfs:
      return "statfs";
    case Op::kSetxattr:
      return "setxattr";
    case Op::kGetxattr:
      return "getxattr";
    case Op::kListxattr:
      return "listxattr";
    case Op::kRemovexattr:
      return "removexattr";
    case Op::kFallocate:
      return "fallocate";
    case Op::kLseek:
      return "lseek";
    case Op::kCopyFileRange:
      return "copy_file_range";
  }
  return "unknown";
}

}  // namespace lrufs::fs::fuse
