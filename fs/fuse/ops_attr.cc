// Attributes: getattr, setattr, readlink, statfs.
#include <cerrno>

#include "fs/fuse/attributes.h"
#include "fs/fuse/control_requests.h"
#include "fs/fuse/kill_privileges.h"
#include "fs/fuse/ops_table.h"
#include "fs/fuse/request.h"

namespace lrufs::fs::fuse {
namespace {

using store::Ino;

void answer_attributes(Request& request, const store::Result<store::Inode>& inode) {
  if (inode) {
    request.attributes(*inode);
  } else {
    request.fail(inode.error());
  }
}

void on_getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info* /*file*/) {
  handle(req, Op::kGetattr, [&](Request& request) {
    if (is_control(ino)) {
      control_getattr(request, ino);
      return;
    }
    answer_attributes(request, request.volume().getattr(Ino{ino}));
  });
}

// FATTR_KILL_SUIDGID of the protocol, where libfuse passes it on.
constexpr int kKillSuidGid = 1 << 11;

AttrChange to_change(const struct stat& attr, int valid) {
  AttrChange change;
  if ((valid & FUSE_SET_ATTR_MODE) != 0) change.mode = attr.st_mode & 07777U;
  if ((valid & FUSE_SET_ATTR_UID) != 0) change.uid = attr.st_uid;
  if ((valid & FUSE_SET_ATTR_GID) != 0) change.gid = attr.st_gid;
  if ((valid & FUSE_SET_ATTR_SIZE) != 0) change.size = static_cast<std::uint64_t>(attr.st_size);
  if ((valid & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW)) != 0) {
    change.atime = (valid & FUSE_SET_ATTR_ATIME_NOW) != 0 ? store::now() : to_timestamp(attr.st_atim);
  }
  if ((valid & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) != 0) {
    change.mtime = (valid & FUSE_SET_ATTR_MTIME_NOW) != 0 ? store::now() : to_timestamp(attr.st_mtim);
  }
  if ((valid & FUSE_SET_ATTR_CTIME) != 0) change.ctime = to_timestamp(attr.st_ctim);
  change.kill_suid_gid = (valid & kKillSuidGid) != 0 || request_asks_to_kill();
  return change;
}

// A request that asks for nothing: chown(2) of neither owner nor group, or a write that takes privileges
// away.
bool is_bare_chown(int valid) {
  constexpr int kAsked = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID | FUSE_SET_ATTR_SIZE |
                         FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME;
  return (valid & kAsked) == 0;
}

void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat* attr, int valid, fuse_file_info* /*file*/) {
  handle(req, Op::kSetattr, [&](Request& request) {
    if (is_control(ino)) {
      control_setattr(request, ino, *attr, valid);
      return;
    }
    AttrChange change = to_change(*attr, valid);
    const bool bare = is_bare_chown(valid);
    if ((bare || change.uid || change.gid) &&
        (request.context().connection.enabled & kHandleKillprivV2) != 0) {
      const ChownOfSetId bits = chown_of_set_id(request, Ino{ino}, bare);
      if (bits == ChownOfSetId::kRefused) {
        request.fail(EPERM);
        return;
      }
      if (bits == ChownOfSetId::kNothing) {
        answer_attributes(request, request.volume().getattr(Ino{ino}));
        return;
      }
      change.kill_suid_gid = change.kill_suid_gid || bare;
      change.kill_sgid = bits == ChownOfSetId::kAlsoSgid;
    }
    answer_attributes(request, request.volume().setattr(Ino{ino}, change, request.caller()));
  });
}

void on_readlink(fuse_req_t req, fuse_ino_t ino) {
  handle(req, Op::kReadlink, [&](Request& request) {
    if (is_control(ino)) {
      request.fail(EINVAL);
      return;
    }
    const auto target = request.volume().readlink(Ino{ino});
    if (target) {
      request.target(*target);
    } else {
      request.fail(target.error());
    }
  });
}

void on_statfs(fuse_req_t req, fuse_ino_t /*ino*/) {
  handle(req, Op::kStatfs, [&](Request& request) {
    const auto usage = request.volume().usage();
    if (usage) {
      request.usage(*usage);
    } else {
      request.fail(usage.error());
    }
  });
}

}  // namespace

void add_attr_operations(fuse_lowlevel_ops& table) {
  table.getattr = on_getattr;
  table.setattr = on_setattr;
  table.readlink = on_readlink;
  table.statfs = on_statfs;
}

}  // namespace lrufs::fs::fuse
