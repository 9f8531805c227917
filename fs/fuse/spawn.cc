#include "fs/fuse/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace lrufs::fs::fuse {

using store::Code;
using store::fail;

store::Result<pid_t> spawn_process(const std::string& program, const std::vector<std::string>& words,
                                   const std::vector<std::pair<int, int>>& descriptors) {
  std::vector<std::string> copies = words;
  std::vector<char*> argv;
  argv.reserve(copies.size() + 1);
  for (std::string& word : copies) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  for (const auto& [ours, theirs] : descriptors) ::posix_spawn_file_actions_adddup2(&actions, ours, theirs);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, program.c_str(), &actions, &attributes, argv.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error == 0) return pid;
  return fail(Code::kIo, program + " cannot be started: " + std::strerror(error), error);
}

store::Result<SocketPair> socket_pair() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return fail(Code::kIo, "no sockets for the processes of a mount", errno);
  return SocketPair{Fd(move_up(ends[0])), Fd(move_up(ends[1]))};
}

int move_up(int fd) {
  constexpr int kFirst = 10;
  if (fd < 0 || fd >= kFirst) return fd;
  const int moved = ::fcntl(fd, F_DUPFD_CLOEXEC, kFirst);
  ::close(fd);
  return moved;
}

std::string how_it_ended(int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    const char* const name = ::sigdescr_np(WTERMSIG(wait_status));
    return "signal " + std::to_string(WTERMSIG(wait_status)) + " (" + (name == nullptr ? "unknown" : name) +
           ")";
  }
  return "exit status " + std::to_string(WEXITSTATUS(wait_status));
}

}  // namespace lrufs::fs::fuse
