// Context: what all requests of one mount share. Made by run.h before the mount, outlives the session.
#pragma once

#include <atomic>
#include <string>

#include "fs/fuse/connection.h"
#include "fs/fuse/counters.h"
#include "fs/fuse/mount_options.h"
#include "fs/volume.h"

namespace lrufs::fs::fuse {

class Notifier;
class WorkerPool;

struct Context {
  Context(Volume& v, Notifier& n, MountOptions o) : volume(v), notifier(n), options(std::move(o)) {}

  Volume& volume;
  Notifier& notifier;
  const MountOptions options;
  Counters counters;                             // any thread
  std::atomic<const WorkerPool*> pool{nullptr};  // while it serves; requests come from nowhere else
  Connection connection;                         // written at INIT, by one thread, before the others start
};

}  // namespace lrufs::fs::fuse
