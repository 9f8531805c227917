#include "fs/fuse/kill_privileges.h"

#include <linux/fuse.h>
#include <sys/stat.h>

#include <cstring>

#include "fs/fuse/caller_privilege.h"
#include "fs/fuse/notifier.h"
#include "fs/fuse/request.h"

namespace lrufs::fs::fuse {
namespace {

thread_local bool noted = false;

// The flags of a request's body: `Body::*field`, if the request is as long.
template <typename Body>
std::uint32_t flags_of(const std::byte* request, std::size_t size, std::size_t field) {
  if (size < sizeof(fuse_in_header) + sizeof(Body)) return 0;
  std::uint32_t flags = 0;
  std::memcpy(&flags, request + sizeof(fuse_in_header) + field, sizeof flags);
  return flags;
}

}  // namespace

void note_kill_flag(const void* request, std::size_t size) {
  noted = false;
  if (size < sizeof(fuse_in_header)) return;
  const auto* bytes = static_cast<const std::byte*>(request);
  std::uint32_t opcode = 0;
  std::memcpy(&opcode, bytes + offsetof(fuse_in_header, opcode), sizeof opcode);
  if (opcode == FUSE_WRITE) {
    noted = (flags_of<fuse_write_in>(bytes, size, offsetof(fuse_write_in, write_flags)) &
             FUSE_WRITE_KILL_SUIDGID) != 0;
  } else if (opcode == FUSE_SETATTR) {
    noted =
        (flags_of<fuse_setattr_in>(bytes, size, offsetof(fuse_setattr_in, valid)) & FATTR_KILL_SUIDGID) != 0;
  }
}

bool request_asks_to_kill() { return noted; }

bool loses_set_id(Request& request, store::Ino ino, Asked asked) {
  if (asked == Asked::kNo || (request.context().connection.enabled & kHandleKillprivV2) == 0) return false;
  const auto inode = request.volume().getattr(ino);
  if (!inode || (inode->mode & (S_ISUID | S_ISGID)) == 0) return false;
  return asked == Asked::kYes || !may_keep_set_id(request.caller_pid(), request.caller().uid);
}

ChownOfSetId chown_of_set_id(Request& request, store::Ino ino, bool bare) {
  const auto inode = request.volume().getattr(ino);
  if (!inode || inode->is_directory() || (inode->mode & (S_ISUID | S_ISGID)) == 0)
    return ChownOfSetId::kPlain;
  const Caller caller = request.caller();
  const bool sgid = (inode->mode & S_ISGID) != 0;
  const bool group_executes = (inode->mode & S_IXGRP) != 0;
  const bool drops_data_sgid = sgid && !group_executes && !request.caller_in_group(inode->gid) &&
                               !may_keep_set_id(request.caller_pid(), caller.uid);
  const bool drops = (inode->mode & S_ISUID) != 0 || (sgid && group_executes) || drops_data_sgid;
  if (bare && drops && caller.uid != inode->uid && !may_act_as_owner(request.caller_pid(), caller.uid)) {
    return inode->is_regular() ? ChownOfSetId::kNothing : ChownOfSetId::kRefused;
  }
  return drops_data_sgid ? ChownOfSetId::kAlsoSgid : ChownOfSetId::kPlain;
}

void tell_lost_set_id(Request& request, store::Ino ino) {
  request.context().notifier.attributes_changed(ino);
}

}  // namespace lrufs::fs::fuse
