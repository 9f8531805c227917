// Supervisor: the process that owns the mount and the connection to the kernel, and starts another worker
// when the one that serves requests dies (docs/takeover.md). It has no store and touches neither the store
// nor the mount, so that nothing that goes wrong there can take it along or keep it waiting.
//
// A worker is this program once more, with kWorkerVerb and `worker_words`. Beside it run a spare one that
// waits for its turn, a guard (guard.h), a process that writes notifications (kernel_notices.h), and, for the
// end, one that unmounts. A worker is followed by another one only after waitpid(2) has returned it: nothing
// of it runs any more then.
//
// It gives up if twelve workers in a row have failed to serve for a moment (restart_policy.h), or if the
// kernel does not send requests again (before Linux 6.9): then the connection is ended, and nobody hangs.
//
// Where somebody keeps its descriptors (`keep`), its own death is survived, too: another supervisor goes on.
//
// Thread-safety: from one thread, the first of its process, which must not have started others that spawn.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fs/fuse/kept_mount.h"
#include "fs/fuse/mount_options.h"
#include "store/error.h"

namespace lrufs::fs::fuse {

struct SupervisorOptions {
  MountOptions mount;
  std::string program = "/proc/self/exe";
  std::vector<std::string> worker_words;               // behind kWorkerVerb
  std::function<void()> on_ready;                      // the mount answers
  std::function<void()> on_stopping;                   // the mount has ended, the store is being closed
  std::function<void(const std::string&)> on_restart;  // what happened, for people

  KeptMount kept;  // what can_go_on() allows: a mount that an earlier supervisor has left
  // Hands /dev/fuse and the memory to somebody who keeps them beyond our end; null: nobody does.
  std::function<void(int connection, int memory)> keep;
  std::function<void()> drop_kept;
  // At a signal to end: will another supervisor be started at once, which gets what was kept?
  std::function<bool()> comes_back;
};

// Returns when the mount has ended and the store is closed, when it was left to the next supervisor, or with
// the error of the first worker, or when it gave up (kIo). Call it while the process has one thread.
store::Status supervise(SupervisorOptions options);

// The first argument of a process that writes notifications (kernel_notices.h), and its own main().
inline constexpr std::string_view kNoticesVerb = "notices";
int run_notices();

// The first argument of a process that unmounts, and its own main(): exit code 0: done, 1: it is in use, and
// its name was taken away, 2: failed.
inline constexpr std::string_view kDetachVerb = "detach";
int run_detach(const std::vector<std::string>& arguments);

}  // namespace lrufs::fs::fuse
