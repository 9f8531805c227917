// A daemon that tells its parent when it works, or why it does not.
//
// fork_daemon() is called while the process has one thread, with all paths absolute. It returns twice: the
// parent calls wait(), the child ready() or failed(). Until ready() the child keeps stderr, so that what
// libfuse and its helpers print reaches the person, and ends with its parent (^C while mounting leaves
// nothing behind).
#pragma once

#include <sys/types.h>

#include "store/error.h"

namespace lrufs::cmd {

class DaemonLink {
 public:
  DaemonLink(const DaemonLink&) = delete;
  DaemonLink& operator=(const DaemonLink&) = delete;
  DaemonLink(DaemonLink&& other) noexcept : pid_(other.pid_), fd_(other.fd_) { other.fd_ = -1; }
  DaemonLink& operator=(DaemonLink&&) = delete;
  ~DaemonLink();

  [[nodiscard]] bool is_child() const { return pid_ == 0; }
  [[nodiscard]] pid_t pid() const { return pid_; }  // of the daemon; 0 in the daemon itself

  // Child: gets a session of its own, stdio goes to /dev/null, the parent goes on. Once.
  void ready();
  // Child: hands the error to the parent. Nothing after ready().
  void failed(const store::Error& error);
  // Parent: waits for ready() or failed(), or for the end of the child, which is an error that says how it
  // ended.
  store::Status wait();

 private:
  friend store::Result<DaemonLink> fork_daemon();
  DaemonLink(pid_t pid, int fd) : pid_(pid), fd_(fd) {}
  pid_t pid_;
  int fd_;  // our end of the pipe, or -1
};

store::Result<DaemonLink> fork_daemon();

// stderr goes to /dev/null: what DaemonLink::ready() does, for a process beside the daemon.
void leave_stderr();

// Closes what the process was started with beyond stdio, but `keep` (-1: nothing): a pipe or a lock of a
// script must not be held for as long as the daemon lives. Before anything of ours is open.
void close_inherited_descriptors(int keep);

}  // namespace lrufs::cmd
