#include "fs/errno_map.h"

#include <cerrno>

namespace lrufs::fs {

int to_errno(store::Code code) {
  using store::Code;
  // No default: a new code without its errno is a compiler warning (-Wswitch), which is an error.
  switch (code) {
    case Code::kNotFound:
      return ENOENT;
    case Code::kExists:
      return EEXIST;
    case Code::kNotDirectory:
      return ENOTDIR;
    case Code::kIsDirectory:
      return EISDIR;
    case Code::kNotEmpty:
      return ENOTEMPTY;
    case Code::kNameTooLong:
      return ENAMETOOLONG;
    case Code::kInvalid:
      return EINVAL;
    case Code::kNoAttribute:
      return ENODATA;
    case Code::kTooManyLinks:
      return EMLINK;
    case Code::kFileTooLarge:
      return EFBIG;
    case Code::kValueTooLarge:
      return E2BIG;
    case Code::kNoSpace:
      return ENOSPC;
    case Code::kReadOnly:
      return EROFS;
    case Code::kBusy:
      return EBUSY;
    case Code::kIo:
    case Code::kCorrupt:
      return EIO;
    // Answers of Store::open() only; no system call on a mount meets them.
    case Code::kNotAStore:
    case Code::kNewerFormat:
    case Code::kBoundTooSmall:
      return EINVAL;
    case Code::kUnsupported:
      return EOPNOTSUPP;
    // Never leaves the store, which runs the transaction again.
    case Code::kConflict:
      return EAGAIN;
    // The kernel answers ESTALE by looking the path up again, so a program sees ENOENT, or the new object.
    case Code::kStale:
      return ESTALE;
    case Code::kNotPermitted:
      return EPERM;
  }
  return EIO;  // a value outside of the enum
}

}  // namespace lrufs::fs
