#include "fs/fuse/guard.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "fs/fuse/event.h"
#include "fs/fuse/mount_point.h"
#include "fs/fuse/privileges.h"

namespace lrufs::fs::fuse {
namespace {

constexpr int kParentDied = SIGUSR1;
constexpr int kControl = 3;  // the guard's descriptor

// As the kernel's Documentation/filesystems/fuse.rst has it: a directory a connection, named by the minor
// number of the device. Belongs to the user who mounted. -1: it is not there. A descriptor stays that of this
// connection when the number is used again: then nothing happens.
int open_control(dev_t device) { return ::open(connection_control(device).c_str(), O_WRONLY | O_CLOEXEC); }

// How long a mount may be without a supervisor, if there may be another one.
constexpr unsigned kGraceSeconds = 30;

bool abort_by_control(int control) { return ::write(control, "1", 1) == 1; }

// Where fusectl is not mounted: umount2(2) with MNT_FORCE aborts first. The descriptor keeps the mount busy,
// so that it stays: programs are to see a dead mount, and not write into the folder below it.
void abort_by_unmount(const std::string& mount_point) {
  const int fd = ::open(mount_point.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::umount2(mount_point.c_str(), MNT_FORCE | UMOUNT_NOFOLLOW);
  ::close(fd);
}

}  // namespace

Guard::Guard(const std::string& program, dev_t device, const std::string& mount_point, bool outlives) {
  if (program.empty()) return;
  // Opened here, and not by the guard, before which we may have died and another connection may have the
  // number.
  const int opened = open_control(device);
  const int control = opened < 0 ? -1 : ::fcntl(opened, F_DUPFD_CLOEXEC, kControl + 1);
  if (opened >= 0) ::close(opened);
  std::array<std::string, 7> words = {"lrufs",
                                      std::string(kGuardVerb),
                                      mount_point,
                                      std::to_string(device),
                                      std::to_string(::getpid()),
                                      control < 0 ? "0" : "1",
                                      std::to_string(outlives ? kGraceSeconds : 0)};
  std::array<char*, words.size() + 1> argv{};
  for (std::size_t i = 0; i < words.size(); ++i) argv.at(i) = words.at(i).data();
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  if (control >= 0) ::posix_spawn_file_actions_adddup2(&actions, control, kControl);
  const int error = ::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (control >= 0) ::close(control);
  if (error == 0) return;
  pid_ = -1;
  tell(Level::warn, "no_guard",
       mount_point + ": no guard process (" + std::strerror(error) +
           "): after a crash, the mount may have to be ended by umount -f",
       {{"mount_point", mount_point}});
}

Guard::~Guard() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Guard::dismiss(pid_t pid, const std::string& mount_point) {
  if (pid <= 0) return;
  const int process = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (process < 0) return;
  // Its command line, looked at while the descriptor makes sure that the number stays its own.
  std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline");
  std::string name;
  std::string verb;
  std::string where;
  std::getline(file, name, '\0');
  std::getline(file, verb, '\0');
  std::getline(file, where, '\0');
  if (verb == kGuardVerb && where == mount_point)
    ::syscall(SYS_pidfd_send_signal, process, SIGKILL, nullptr, 0);
  ::close(process);
}

std::string connection_control(dev_t device) {
  return "/sys/fs/fuse/connections/" + std::to_string(minor(device)) + "/abort";
}

void abort_connection(dev_t device, const std::string& mount_point) {
  const int control = open_control(device);
  if (control < 0 || !abort_by_control(control)) abort_by_unmount(mount_point);
  if (control >= 0) ::close(control);
}

int run_guard(const std::vector<std::string>& arguments) {
  constexpr int kWrongUse = 2;
  if (arguments.size() != 5) return kWrongUse;
  const std::string& mount_point = arguments[0];
  const auto device = static_cast<dev_t>(std::strtoull(arguments[1].c_str(), nullptr, 10));
  const auto parent = static_cast<pid_t>(std::strtol(arguments[2].c_str(), nullptr, 10));
  const bool has_control = arguments[3] == "1";
  const auto grace = static_cast<unsigned>(std::strtoul(arguments[4].c_str(), nullptr, 10));

  // Signals to the whole group (^C, a service that stops) are for the daemon, which ends us.
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::setsid();
  ::prctl(PR_SET_NAME, "lrufs-guard");
  ::close_range(0, kControl - 1, 0);
  ::close_range(has_control ? kControl + 1 : kControl, ~0U, 0);
  if (::chdir("/") != 0) return kWrongUse;
  // To end the connection by its descriptor nothing is needed; else it is unmounted.
  (void)drop_capabilities_but(
      has_control ? 0 : capability_bit(CAP_SYS_ADMIN) | capability_bit(CAP_DAC_READ_SEARCH));
  (void)refuse_new_privileges();
  ::prctl(PR_SET_PDEATHSIG, kParentDied);
  sigset_t death;
  ::sigemptyset(&death);
  ::sigaddset(&death, kParentDied);
  // Its process id may live on: that of threads which cannot die is what this is about.
  const bool is_ours = ::getppid() == parent;
  if (is_ours) {
    while (::sigwaitinfo(&death, nullptr) < 0) {
      if (errno != EINTR) return kWrongUse;
    }
  }
  for (unsigned left = grace; left > 0; left = ::sleep(left)) {
  }
  // Not what somebody has mounted there since, perhaps with the same number.
  if (has_control)
    (void)abort_by_control(kControl);
  else if (device_at(mount_point) == device)
    abort_connection(device, mount_point);
  return 0;
}

}  // namespace lrufs::fs::fuse
