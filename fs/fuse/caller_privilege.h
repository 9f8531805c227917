// What a process may do, beyond its ids, which are all that a request tells.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace lrufs::fs::fuse {

// Has the thread `pid` CAP_SYS_ADMIN (effective, in this process's user namespace)? Reads /proc; where that
// does not tell (pid 0, no /proc, gone), root has it and nobody else. Any thread.
bool may_administer(pid_t pid, std::uint32_t uid);

// The same for CAP_FSETID: set-id bits stay when it writes.
bool may_keep_set_id(pid_t pid, std::uint32_t uid);

// The same for CAP_FOWNER: it counts as the owner of every file.
bool may_act_as_owner(pid_t pid, std::uint32_t uid);

}  // namespace lrufs::fs::fuse
