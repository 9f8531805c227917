// What `lrufs mount` does once it has understood its command line: serve the mount, in this process, in one
// that goes into the background, or in workers of a supervisor (fs/fuse/supervisor.h).
//
// Each function returns the program's exit code when the mount has ended (serve_in_background(): when it
// answers), and has told people what went wrong. A store that is new goes again if it could not be mounted.
// Call them while the process has one thread.
#pragma once

#include "cmd/logging.h"
#include "cmd/preflight.h"
#include "fs/fuse/kept_mount.h"
#include "fs/fuse/run.h"

namespace lrufs::cmd {

struct MountPlan {
  fs::fuse::RunOptions run;
  bool supervise = false;
  fs::fuse::KeptMount kept;  // a mount that a supervisor before this one has left (service.h)
  LogOptions log;
  MountPointRules rules;
};

int serve_in_foreground(MountPlan plan);
int serve_in_background(MountPlan plan);
// In a process that a supervisor has started: it got the command line of the supervisor.
int serve_as_worker(MountPlan plan);

}  // namespace lrufs::cmd
