#include "fs/fuse/serve_request.h"

#include <cstring>

#include "fs/crash_point.h"
#include "fs/fuse/kill_privileges.h"
#include "fs/fuse/tmpfile_request.h"

namespace lrufs::fs::fuse {

RequestHeader header_of(const void* request, std::size_t bytes) {
  fuse_in_header header{};
  if (bytes >= sizeof header) std::memcpy(&header, request, sizeof header);
  return {.unique = header.unique, .opcode = header.opcode};
}

const char* kind_name(std::uint32_t opcode) {
  switch (opcode) {
    case FUSE_LOOKUP:
      return "lookup";
    case FUSE_GETATTR:
      return "getattr";
    case FUSE_SETATTR:
      return "setattr";
    case FUSE_READLINK:
      return "readlink";
    case FUSE_SYMLINK:
      return "symlink";
    case FUSE_MKNOD:
      return "mknod";
    case FUSE_MKDIR:
      return "mkdir";
    case FUSE_UNLINK:
      return "unlink";
    case FUSE_RMDIR:
      return "rmdir";
    case FUSE_RENAME:
    case FUSE_RENAME2:
      return "rename";
    case FUSE_LINK:
      return "link";
    case FUSE_READ:
      return "read";
    case FUSE_WRITE:
      return "write";
    case FUSE_STATFS:
      return "statfs";
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
      return "fsync";
    case FUSE_SETXATTR:
      return "setxattr";
    case FUSE_GETXATTR:
      return "getxattr";
    case FUSE_LISTXATTR:
      return "listxattr";
    case FUSE_REMOVEXATTR:
      return "removexattr";
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
      return "readdir";
    case FUSE_FALLOCATE:
      return "fallocate";
    case FUSE_LSEEK:
      return "lseek";
    case FUSE_COPY_FILE_RANGE:
      return "copy_file_range";
    case 51:  // FUSE_TMPFILE
      return "tmpfile";
    default:
      return "other";
  }
}

void serve_request(fuse_session* session, void* request, std::size_t bytes, Receipt* slot,
                   const Executed* executed) {
  const RequestHeader header = header_of(request, bytes);
  const ServedRequest served(slot, header.id(), header.opcode, executed);
  crash_point("begun");
  fuse_buf buffer{};
  buffer.size = bytes;
  buffer.mem = request;
  note_kill_flag(buffer.mem, buffer.size);
  disguise_tmpfile(buffer.mem, buffer.size);
  fuse_session_process_buf(session, &buffer);
  crash_point("answered");
}

}  // namespace lrufs::fs::fuse
