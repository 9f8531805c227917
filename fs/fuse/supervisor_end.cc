// How a supervisor ends: the mount is unmounted, or given up, or left to the next supervisor.
#include <signal.h>
#include <sys/wait.h>

#include <utility>

#include "fs/fuse/event.h"
#include "fs/fuse/mount_point.h"
#include "fs/fuse/spawn.h"
#include "fs/fuse/supervisor_impl.h"

namespace lrufs::fs::fuse {

using store::Code;
using store::fail;
using store::Result;
using store::Status;

namespace {

// For the end of the connection after an unmount: at once, unless another mount namespace has a copy.
constexpr std::chrono::milliseconds kUnmountGrace{1000};
// For a worker that was told to let go: it answers what it has read.
constexpr std::chrono::milliseconds kLetGo{10'000};

}  // namespace

void Supervisor::begin_stop(int signal) {
  if (stopping_) return;
  stopping_ = true;
  if (announced_ && worker_.ready && options_.comes_back && options_.comes_back()) return begin_leave();
  tell(Level::info, "signal", "signal " + std::to_string(signal) + ": unmounting " + where(),
       {{"signal", signal}, {"mount_point", where()}});
  const auto pid = mount_.has_its_name()
                       ? spawn_process(options_.program, {"lrufs", std::string(kDetachVerb), where()}, {})
                       : Result<pid_t>(fail(Code::kNotFound));
  if (pid) {
    detacher_ = *pid;
  } else {
    stop_at_ = Clock::now();
  }
}

void Supervisor::begin_leave() {
  tell(Level::info, "leaves", where() + ": stays mounted, for the supervisor that is started next",
       {{"mount_point", where()}});
  upgrade_failed("the supervisor is started again");
  leaving_ = true;
  memory().mount.leave = 1;
  send_message(worker_.link.get(), Message::kHandOver);
  stop_at_ = Clock::now() + kLetGo;
}

// The worker has let go, or has died: the next one asks for what it had not answered.
void Supervisor::left() {
  put_down(spare_);
  mount_.leave();
  end_ = Status();
}

void Supervisor::detached(int status) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    stop_at_ = Clock::now() + kUnmountGrace;
    return;
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 1) {
    tell(Level::info, "busy_unmount",
         where() + " is in use: programs that have files open on it get ENOTCONN from now on",
         {{"mount_point", where()}});
  } else {
    tell(Level::err, "unmount_failed", "unmounting " + where() + " failed (" + how_it_ended(status) + ")");
  }
  stop_at_ = Clock::now();
}

void Supervisor::end(Status status) {
  if (end_) return;
  end_ = std::move(status);
  upgrade_failed("the mount is ending");
  put_down(spare_);
  if (worker_.pid > 0) ::kill(worker_.pid, SIGKILL);
  mount_.end();
  if (announced_ && options_.drop_kept) options_.drop_kept();
}

int run_detach(const std::vector<std::string>& arguments) {
  constexpr int kDone = 0;
  constexpr int kWasBusy = 1;
  constexpr int kFailed = 2;
  if (arguments.size() != 1) return kFailed;
  const std::string& where = arguments[0];
  if (detach(where, /*lazy=*/false)) return kDone;
  write_back(where);
  return detach(where, /*lazy=*/true) ? kWasBusy : kFailed;
}

}  // namespace lrufs::fs::fuse
