// KernelNotices: the way in which the notifier tells the kernel, and a process that does it for a worker.
//
// A notification may wait in the kernel, uninterruptibly, for a directory's lock whose holder waits for an
// answer of ours. A worker with such a thread could not die, and as long as it does not, nobody may take over
// from it. So under a supervisor a small process writes the notifications: it has the connection's descriptor
// and one end of a socket, outlives the workers, and tells what a dead one had still handed to it.
//
// Thread-safety: from one thread, but stop().
#pragma once

#include <linux/fuse.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fs/fuse/fuse_api.h"
#include "store/types.h"

namespace lrufs::fs::fuse {

// The descriptors of a process that writes notifications (its main() is run_notices() of supervisor.h).
inline constexpr int kNoticesConnectionFd = 3;
inline constexpr int kNoticesSocketFd = 4;

class KernelNotices {
 public:
  // `socket`: of the process that does it; -1: this one does.
  KernelNotices(fuse_session* session, int socket, std::uint32_t generation);
  KernelNotices(const KernelNotices&) = delete;
  KernelNotices& operator=(const KernelNotices&) = delete;
  ~KernelNotices();

  // Collects; send() tells the kernel of all of them, and returns for each 0 or an errno, in order.
  void name_gone(store::Ino parent, std::string_view name);
  // Negative offset: its attributes alone; otherwise its content, or listing, as well.
  void inode_changed(store::Ino ino, std::int64_t offset);
  std::vector<int> send();
  // send() returns early, from now on.
  void stop();

 private:
  void add(std::int32_t code, std::string_view body);
  std::vector<int> send_some(std::string_view messages, std::uint32_t count);

  fuse_session* const session_;
  const int socket_;
  int stop_fd_ = -1;
  std::atomic<bool> stopped_{false};
  std::uint64_t sequence_;
  std::vector<std::string> messages_;
};

// Writes what comes from `socket`, until its other ends are closed, or it is shut down. Returns 0, or 1 if
// what came was no message.
int write_notices(int socket, int connection);

// Does the kernel hold this inode? It waits for nobody.
bool kernel_holds(fuse_session* session, store::Ino ino);

}  // namespace lrufs::fs::fuse
