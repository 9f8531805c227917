// run(): a mounted store from beginning to end: open, mount, serve, unmount, close. What `lrufs mount` does
// once it has its options and, if wished, its own process.
#pragma once

#include <cstdint>
#include <functional>

#include "fs/fuse/mount_options.h"
#include "store/store.h"

namespace lrufs::fs::fuse {

class WorkerLink;

struct RunOptions {
  MountOptions mount;  // mount.store is the path of the store; mount.read_only makes the store read-only, too
  std::function<void()> on_stopping;  // the mount has ended; what is left is to close the store
  store::Options store;               // is_held, on_evict and (unless it is set) on_event are filled in
  std::uint64_t max_file_size = 0;    // as fs::Volume::Options has it
  WorkerLink* link = nullptr;  // under a supervisor (supervisor.h): its worker's end; must live as long
};

// Returns when the mount has ended and the store is closed: unmounted by anyone, or SIGTERM, SIGINT or
// SIGHUP, all of which are success. `on_ready` is called once, when the mount answers. Events of the store go
// to spdlog's default logger.
//
// Errors: those of Store::open(); those of Session::mount(), after which the store is as it was; an aborted
// connection (kIo); those of closing the store, i.e. of the last checkpoint.
//
// Under a supervisor signals mean nothing. If it orders to hand over, the process ends in here (_exit(2) with
// kHandedOver): the store stays as it is, for the next worker.
//
// Call it while the process has one thread: it blocks the signals above for all threads that it makes. Paths
// must be absolute if the process changes its folder meanwhile.
store::Status run(const RunOptions& options, const std::function<void()>& on_ready);

}  // namespace lrufs::fs::fuse
