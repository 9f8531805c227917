// Guard: a small process beside the daemon that ends the connection to the kernel when the daemon dies.
//
// Usually the kernel does so itself, when a dead process's descriptors are closed. But the notifier's thread
// may be waiting in the kernel, not to be interrupted even by SIGKILL, for a directory's lock; the program
// that has the lock waits for an answer of the daemon; and as long as one of its threads lives, the
// descriptors of a process stay open. Nobody would ever go on, and the store would stay locked.
//
// The guard is this program once more with kGuardVerb: it has no store, no threads, and no descriptor but the
// one that ends this very connection, and sleeps until the kernel tells it of its parent's death
// (PR_SET_PDEATHSIG, prctl(2)). Where descriptors outlive the daemon, since a service manager keeps them, it
// waits for half a minute whether another supervisor goes on, which dismisses it.
//
// Thread-safety: from one thread, the one that lives as long as the process: the kernel tells of the death of
// the thread that started the guard.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace lrufs::fs::fuse {

// The first argument of a process that is to be a guard.
inline constexpr std::string_view kGuardVerb = "guard";

class Guard {
 public:
  // `program`: what to run, usually /proc/self/exe; empty: no guard. `device`: of the mount. That no guard
  // could be started is logged, and otherwise the same as none. `outlives`: see above.
  Guard(const std::string& program, dev_t device, const std::string& mount_point, bool outlives = false);
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;
  ~Guard();  // ends it: the connection has ended as it should

  [[nodiscard]] pid_t pid() const { return pid_; }
  void leave_behind() { pid_ = -1; }  // it goes on
  // Ends the guard that an earlier daemon has left behind, if that is what this process is.
  static void dismiss(pid_t pid, const std::string& mount_point);

 private:
  pid_t pid_ = -1;
};

// The file of fusectl by which the connection of a mount is ended.
std::string connection_control(dev_t device);

// Ends the connection behind this mount, whatever it is busy with: by fusectl, or else by umount2(2).
void abort_connection(dev_t device, const std::string& mount_point);

// The guard's own main(): `arguments` are those after kGuardVerb, as Guard gave them. Returns the exit code.
int run_guard(const std::vector<std::string>& arguments);

}  // namespace lrufs::fs::fuse
