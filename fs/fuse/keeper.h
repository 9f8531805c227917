// Keeper: a small process beside the daemon that keeps the rights which the daemon gives up (confine.h), and
// uses them for nothing but this mount: it unmounts it, and says whether a client lives in the daemon's user
// namespace.
//
// It is this program once more with kKeeperVerb: no store, no requests of the kernel, no threads, two
// sockets. It ends when the daemon does. For users other than root it has no rights to keep, but may execute
// the set-id fusermount3, which the daemon no longer can.
//
// Thread-safety: start() once, while no other thread uses the rest; the others from any thread.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/error.h"
#include "store/thread_annotations.h"

namespace lrufs::fs::fuse {

// The first argument of a process that is to be a keeper.
inline constexpr std::string_view kKeeperVerb = "keeper";

class Keeper {
 public:
  // Starts the process for the mount at `mount_point`; `program`: what to run, usually /proc/self/exe. From
  // then on, and as long as the daemon lives, of_process() is it. Nothing happens if there is one.
  static store::Status start(const std::string& program, const std::string& mount_point);
  static Keeper* of_process();  // nullptr: none was started
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  [[nodiscard]] const std::string& mount_point() const { return mount_point_; }
  // As detach() of mount_point.h does it, for that mount point.
  store::Status detach(bool lazy);
  // nullopt: it cannot be told.
  std::optional<bool> shares_user_namespace(pid_t pid);

 private:
  // Its own socket for each kind of request: an unmount waits for the daemon's workers, and these may ask the
  // other question meanwhile.
  struct Line {
    store::Mutex mutex;
    int fd GUARDED_BY(mutex) = -1;
  };
  explicit Keeper(std::string mount_point) : mount_point_(std::move(mount_point)) {}
  const std::string mount_point_;
  Line unmounting_;
  Line questions_;
};

// Is the process in the same user namespace as this one? nullopt: it cannot be told.
std::optional<bool> is_in_own_user_namespace(pid_t pid);

// The keeper's own main(): `arguments` are those after kKeeperVerb. Returns the exit code.
int run_keeper(const std::vector<std::string>& arguments);

}  // namespace lrufs::fs::fuse
