// Set-id bits go when somebody without CAP_FSETID changes content. With HANDLE_KILLPRIV_V2 the daemon does
// that (and the kernel need not ask for `security.capability` before each write): WRITE and SETATTR say
// whether the caller may keep the bits; for fallocate and copy_file_range nothing says it, and /proc is
// asked. File capabilities stay the kernel's matter: it removes them by a REMOVEXATTR.
// chown(2) takes the bits of everything but folders, whoever calls; that, too, is then the daemon's.
//
// libfuse hides the flag of WRITE before 3.18.3, and that of SETATTR before 3.17; note_kill_flag() reads them
// from the request itself.
//
// Thread-safety: any thread; what was noted belongs to the thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fs/fuse/connection.h"
#include "fs/fuse/fuse_api.h"
#include "store/types.h"

namespace lrufs::fs::fuse {

class Request;

inline constexpr std::uint64_t kHandleKillprivV2 = 1ULL
                                                   << 21U;  // FUSE_CAP_…; the name is missing in libfuse 3.14

template <typename FileInfo>
constexpr bool tells_kill_suidgid() {
  return requires(FileInfo file) { file.kill_suidgid; };
}
// Is the flag of each WRITE seen? Not if libfuse reads the requests itself (io_uring) and hides it.
constexpr bool can_handle_killpriv(bool io_uring) {
  return !io_uring || tells_kill_suidgid<fuse_file_info>();
}

// To be called with each request as it was read, before libfuse gets it.
void note_kill_flag(const void* request, std::size_t size);
// Did the request that this thread serves ask for it?
bool request_asks_to_kill();
template <typename FileInfo>
bool asks_to_kill(const FileInfo& file) {
  if constexpr (tells_kill_suidgid<FileInfo>()) {
    if (file.kill_suidgid) return true;
  }
  return request_asks_to_kill();
}

// Has `ino` bits that a change of its content by this caller takes away? `asked`: what the request says, or,
// if it cannot say it, unknown.
enum class Asked : std::uint8_t { kNo, kYes, kUnknown };
bool loses_set_id(Request& request, store::Ino ino, Asked asked);
// After such a change, before the answer: the kernel may not go on with the mode that it knows.
void tell_lost_set_id(Request& request, store::Ino ino);

// What chown(2) does to the bits of `ino`, as notify_change() and setattr_should_drop_sgid() of Linux have
// it: S_ISGID goes also where the group may not execute, if the caller is neither in the group nor has
// CAP_FSETID; and who takes bits away must be the owner or have CAP_FOWNER, which the kernel has checked
// already if the owner or the group changes. If neither does (`bare`), the request looks like the one that
// the kernel sends before anybody's write to a regular file with such bits; so there it must not fail, but
// does nothing: WRITE itself says what goes.
enum class ChownOfSetId : std::uint8_t { kPlain, kAlsoSgid, kNothing, kRefused };
ChownOfSetId chown_of_set_id(Request& request, store::Ino ino, bool bare);

}  // namespace lrufs::fs::fuse
