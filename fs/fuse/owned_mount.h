// OwnedMount: the mount and its connection to the kernel, as a supervisor has them. Beside them run a guard
// (guard.h) and a process that writes notifications (kernel_notices.h).
//
// Thread-safety: from one thread, which lives as long as the process.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <thread>

#include "fs/fuse/fd.h"
#include "fs/fuse/fuse_api.h"
#include "fs/fuse/guard.h"
#include "fs/fuse/kept_mount.h"
#include "fs/fuse/mount_options.h"
#include "store/error.h"

namespace lrufs::fs::fuse {

class OwnedMount {
 public:
  // `outlives`: if this process dies, somebody keeps the descriptors, and another one may go on.
  OwnedMount(const MountOptions& options, bool outlives);
  OwnedMount(const OwnedMount&) = delete;
  OwnedMount& operator=(const OwnedMount&) = delete;
  ~OwnedMount();  // end()

  store::Status prepare();  // first of all: the ends of the sockets
  // By mount(2), or by fusermount3 for users; and tells `memory` of it. `program` is what runs beside it;
  // `read_only`, even if the options do not ask for it.
  store::Status mount(TakeoverMemory& memory, const std::string& program, bool read_only);
  // What another supervisor has made, and left.
  store::Status adopt(const Fd& connection, TakeoverMemory& memory, const std::string& program);
  [[nodiscard]] int connection() const { return connection_.get(); }
  [[nodiscard]] int notices_end() const { return for_workers_.get(); }  // where workers hand in notifications
  [[nodiscard]] bool is_connected() const { return fuse::is_connected(connection_.get()); }
  // Is it still what the name shows?
  [[nodiscard]] bool has_its_name() const;

  // A child of ours has ended: if it was the one that writes notifications, it is started again.
  void reap(const std::string& program);
  // Ends the connection, whoever is busy with it, if it still lives.
  void abort();
  // Takes the name away as well, and ends the processes beside it. Harmless a second time.
  void end();
  // Leaves it as it is, to the next supervisor; the guard waits for a while whether one comes.
  void leave();

 private:
  store::Status start_beside(TakeoverMemory& memory, const std::string& program);
  store::Status start_notices(const std::string& program);
  void end_notices();

  MountOptions options_;
  bool outlives_;
  fuse_session* session_ = nullptr;
  Fd connection_;
  std::optional<dev_t> device_;
  std::optional<Guard> guard_;
  Fd for_notices_;
  Fd for_workers_;
  pid_t notices_ = -1;
  std::thread notices_thread_;  // instead, in the first process of a container
};

}  // namespace lrufs::fs::fuse
