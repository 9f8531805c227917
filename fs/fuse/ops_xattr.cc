// Extended attributes, and the virtual one with the statistics: user.lrufs.stats of the root, not listed,
// read-only.
#include <sys/stat.h>

#include <cerrno>
#include <optional>
#include <string>
#include <string_view>

#include "fs/fuse/caller_privilege.h"
#include "fs/fuse/control_inode.h"
#include "fs/fuse/ops_table.h"
#include "fs/fuse/request.h"
#include "fs/fuse/stats_json.h"

namespace lrufs::fs::fuse {
namespace {

using store::Ino;

constexpr std::string_view kAccessAcl = "system.posix_acl_access";
constexpr std::string_view kTrusted = "trusted.";

bool is_statistics(fuse_ino_t ino, std::string_view name) {
  return Ino{ino} == store::kRootIno && name == kStatsXattr;
}

// With noxattr: ENOSYS, after which the kernel does not ask again (and says EOPNOTSUPP to programs). The
// control folder has none.
bool refused(Request& request, fuse_ino_t ino, int of_control) {
  if (request.context().options.noxattr) {
    request.fail(ENOSYS);
    return true;
  }
  if (!is_control(ino)) return false;
  request.fail(of_control);
  return true;
}

void answer(Request& request, std::size_t size, std::string_view value) {
  if (size == 0) {
    request.xattr_size(value.size());
  } else if (value.size() > size) {
    request.fail(ERANGE);
  } else {
    request.bytes(value);
  }
}

void answer_statistics(Request& request, std::size_t size) {
  const std::string text = mount_statistics_json(request.context());
  if (size == 0) {
    // Room for what the numbers grow by until the caller comes back with a buffer of this size.
    request.xattr_size(text.size() + 512);
  } else {
    answer(request, size, text);
  }
}

void on_getxattr(fuse_req_t req, fuse_ino_t ino, const char* name, std::size_t size) {
  handle(req, Op::kGetxattr, [&](Request& request) {
    if (refused(request, ino, ENODATA)) return;
    if (is_statistics(ino, name)) {
      answer_statistics(request, size);
      return;
    }
    const auto value = request.volume().get_xattr(Ino{ino}, name);
    if (value) {
      answer(request, size, *value);
    } else {
      request.fail(value.error());
    }
  });
}

void on_listxattr(fuse_req_t req, fuse_ino_t ino, std::size_t size) {
  handle(req, Op::kListxattr, [&](Request& request) {
    if (refused(request, ino, EOPNOTSUPP)) return;
    const auto names = request.volume().list_xattrs(Ino{ino});
    if (!names) {
      request.fail(names.error());
      return;
    }
    std::string text;
    std::optional<bool> privileged;  // found out only if there is something to hide
    for (const std::string& name : *names) {
      // xattr(7): trusted attributes are invisible to processes without CAP_SYS_ADMIN. Reading and changing
      // them the kernel refuses itself.
      if (name.starts_with(kTrusted)) {
        if (!privileged) privileged = may_administer(request.caller_pid(), request.caller().uid);
        if (!*privileged) continue;
      }
      text.append(name).push_back('\0');
    }
    answer(request, size, text);
  });
}

// As chmod(2) does: an ACL takes the set-group-id bit from a file whose group the caller is not in.
bool kills_sgid(Request& request, fuse_ino_t ino, std::string_view name) {
  if (name != kAccessAcl) return false;
  const Caller caller = request.caller();
  if (caller.uid == 0) return false;
  const auto inode = request.volume().getattr(Ino{ino});
  return inode && (inode->mode & S_ISGID) != 0 && !request.caller_in_group(inode->gid);
}

void on_setxattr(fuse_req_t req, fuse_ino_t ino, const char* name, const char* value, std::size_t size,
                 int flags) {
  handle(req, Op::kSetxattr, [&](Request& request) {
    if (refused(request, ino, EOPNOTSUPP)) return;
    if (is_statistics(ino, name)) {
      request.fail(EPERM);
      return;
    }
    request.done(request.volume().set_xattr(Ino{ino}, name, std::as_bytes(std::span(value, size)), flags,
                                            kills_sgid(request, ino, name)));
  });
}

void on_removexattr(fuse_req_t req, fuse_ino_t ino, const char* name) {
  handle(req, Op::kRemovexattr, [&](Request& request) {
    if (refused(request, ino, EOPNOTSUPP)) return;
    if (is_statistics(ino, name)) {
      request.fail(EPERM);
      return;
    }
    request.done(request.volume().remove_xattr(Ino{ino}, name));
  });
}

}  // namespace

void add_xattr_operations(fuse_lowlevel_ops& table) {
  table.getxattr = on_getxattr;
  table.setxattr = on_setxattr;
  table.listxattr = on_listxattr;
  table.removexattr = on_removexattr;
}

}  // namespace lrufs::fs::fuse
