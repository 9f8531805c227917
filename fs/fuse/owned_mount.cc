#include "fs/fuse/owned_mount.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "fs/fuse/event.h"
#include "fs/fuse/fuse_mount.h"
#include "fs/fuse/kernel_notices.h"
#include "fs/fuse/libfuse_log.h"
#include "fs/fuse/mount_point.h"
#include "fs/fuse/spawn.h"
#include "fs/fuse/supervisor.h"

namespace lrufs::fs::fuse {

using store::Code;
using store::fail;
using store::Status;

OwnedMount::OwnedMount(const MountOptions& options, bool outlives) : options_(options), outlives_(outlives) {}

OwnedMount::~OwnedMount() {
  end();
  if (session_ != nullptr) fuse_session_destroy(session_);
}

Status OwnedMount::prepare() {
  LRUFS_TRY_ASSIGN(SocketPair pair, socket_pair());
  for_notices_ = std::move(pair.ours);
  for_workers_ = std::move(pair.theirs);
  return {};
}

// Nothing is ever read through this session.
Status OwnedMount::mount(TakeoverMemory& memory, const std::string& program, bool read_only) {
  MountOptions options = options_;
  options.read_only = options.read_only || read_only;
  FuseArguments arguments(options);
  const fuse_lowlevel_ops nothing{};
  {
    const CollectedComplaints complaints;
    session_ = fuse_session_new(arguments.get(), &nothing, sizeof nothing, nullptr);
    if (session_ == nullptr)
      return fail(Code::kInvalid, "libfuse refuses the mount options: " + complaints.text("no reason given"));
  }
  LRUFS_TRY(mount_on(session_, options_.mount_point));
  connection_ = Fd(::fcntl(fuse_session_fd(session_), F_DUPFD_CLOEXEC, 10));
  if (connection_.get() < 0) return fail(Code::kIo, "no file descriptors left", errno);
  memory.mount.identity = identity_of(options_);
  return start_beside(memory, program);
}

Status OwnedMount::adopt(const Fd& connection, TakeoverMemory& memory, const std::string& program) {
  connection_ = Fd(::fcntl(connection.get(), F_DUPFD_CLOEXEC, 10));  // as spawn_process() wants it
  if (connection_.get() < 0) return fail(Code::kIo, "no file descriptors left", errno);
  const std::int32_t old_guard = memory.mount.guard;
  LRUFS_TRY(start_beside(memory, program));
  Guard::dismiss(old_guard, options_.mount_point);
  return {};
}

Status OwnedMount::start_beside(TakeoverMemory& memory, const std::string& program) {
  device_ = device_at(options_.mount_point);
  if (device_) {
    guard_.emplace(options_.guard_program, *device_, options_.mount_point, outlives_);
    memory.mount.device = *device_;
    memory.mount.guard = guard_->pid();
  }
  return start_notices(program);
}

// The first process of a container takes all others with it when it is killed, the guard as well, and waits
// for them: a process of notices that waits in the kernel would never end, and nobody be left to end the
// connection. A thread of its own in there keeps the first process as long as that, and so the others.
Status OwnedMount::start_notices(const std::string& program) {
  if (::getpid() == 1) {
    try {
      notices_thread_ = std::thread([this] { write_notices(for_notices_.get(), connection_.get()); });
    } catch (const std::system_error& error) {
      return fail(Code::kIo, "no thread for notifications", error.code().value());
    }
    return {};
  }
  LRUFS_TRY_ASSIGN(notices_, spawn_process(program, {"lrufs", std::string(kNoticesVerb)},
                                           {{connection_.get(), kNoticesConnectionFd},
                                            {for_notices_.get(), kNoticesSocketFd}}));
  return {};
}

void OwnedMount::reap(const std::string& program) {
  if (notices_ <= 0 || ::waitpid(notices_, nullptr, WNOHANG) != notices_) return;
  notices_ = -1;
  if (is_connected()) (void)start_notices(program);
}

bool OwnedMount::has_its_name() const { return device_ && device_at(options_.mount_point) == device_; }

void OwnedMount::abort() {
  if (device_ && is_connected()) abort_connection(*device_, options_.mount_point);
}

void OwnedMount::end() {
  const bool named = has_its_name();
  abort();
  if (named) {
    // Given up, or aborted: the name goes as well, so that the next mount finds a folder.
    if (const Status done = detach(options_.mount_point, /*lazy=*/true); !done)
      tell(Level::err, "unmount_failed", store::describe(done.error()));
  }
  device_.reset();
  end_notices();
  guard_.reset();
}

void OwnedMount::end_notices() {
  if (notices_ > 0) {
    ::kill(notices_, SIGKILL);
    ::waitpid(notices_, nullptr, 0);
    notices_ = -1;
  }
  if (notices_thread_.joinable()) {
    ::shutdown(for_notices_.get(), SHUT_RDWR);
    notices_thread_.join();
  }
}

void OwnedMount::leave() {
  device_.reset();
  // It may wait in the kernel for what only the next worker can answer; it ends when nobody holds its socket.
  notices_ = -1;
  if (notices_thread_.joinable()) {
    ::shutdown(for_notices_.get(), SHUT_RDWR);
    notices_thread_.detach();
  }
  if (guard_) guard_->leave_behind();
  guard_.reset();
}

}  // namespace lrufs::fs::fuse
