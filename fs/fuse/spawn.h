// Starting a process of this program with given descriptors, talking to it, and saying how one ended.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "fs/fuse/fd.h"
#include "store/error.h"

namespace lrufs::fs::fuse {

// `descriptors`: (one of ours, above 9; the number it gets there). All others of ours are closed in it if
// they are marked to be (FD_CLOEXEC), and it blocks no signals.
store::Result<pid_t> spawn_process(const std::string& program, const std::vector<std::string>& words,
                                   const std::vector<std::pair<int, int>>& descriptors);

// Two ends of a socket for packets, with numbers above 9.
struct SocketPair {
  Fd ours, theirs;
};
store::Result<SocketPair> socket_pair();

// A copy with a number above 9; closes `fd`.
int move_up(int fd);

// "signal 9 (Killed)", "exit status 1".
std::string how_it_ended(int wait_status);

}  // namespace lrufs::fs::fuse
