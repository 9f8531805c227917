#include "cmd/serve.h"

#include <linux/magic.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "cmd/daemonize.h"
#include "cmd/descriptor_store.h"
#include "cmd/live_mount.h"
#include "cmd/os.h"
#include "cmd/service.h"
#include "cmd/target.h"
#include "cmd/verbs.h"
#include "cmd/worker_command.h"
#include "fs/fuse/confine.h"
#include "fs/fuse/control_inode.h"
#include "fs/fuse/event.h"
#include "fs/fuse/supervisor.h"
#include "fs/fuse/worker_link.h"

namespace lrufs::cmd {
namespace {

using fs::fuse::MountOptions;
using store::Code;
using store::fail;
using store::Status;

// A store file that a failed mount has left where there was none (or an empty file) goes again.
class NewStoreGuard {
 public:
  explicit NewStoreGuard(const std::string& path) : path_(path) {
    struct stat attributes {};
    if (::stat(path.c_str(), &attributes) != 0) {
      before_ = errno == ENOENT ? Before::kAbsent : Before::kFull;
    } else if (attributes.st_size == 0) {
      before_ = Before::kEmpty;
    }
  }
  void undo() const {
    if (before_ == Before::kFull || store_is_locked(path_)) return;  // locked: somebody else was faster
    if (before_ == Before::kAbsent) {
      ::unlink(path_.c_str());
    } else if (::truncate(path_.c_str(), 0) != 0) {
      return;  // nothing more can be done, and the next mount copes with it
    }
  }

 private:
  enum class Before : std::uint8_t { kAbsent, kEmpty, kFull };
  std::string path_;
  Before before_ = Before::kFull;
};

bool has_control(const std::string& mount_point) {
  struct stat folder {};
  return ::lstat((mount_point + "/" + std::string(fs::fuse::kControlName)).c_str(), &folder) == 0 &&
         folder.st_ino == fs::fuse::kControlFolder;
}

// What a program would see now.
Status see_mount(const MountOptions& mount) {
  const std::string& mount_point = mount.mount_point;
  if (descriptor_of(mount_point) >= 0) return {};  // mount(8) knows where it is
  struct statfs file_system {};
  struct stat root {};
  if (::statfs(mount_point.c_str(), &file_system) != 0 || ::stat(mount_point.c_str(), &root) != 0) {
    return fail(Code::kIo,
                "the mount " + shown(mount_point) + " was made but does not answer: " + errno_text(errno),
                errno);
  }
  if (file_system.f_type != FUSE_SUPER_MAGIC) {
    return fail(Code::kIo, "the daemon runs, but nothing is mounted at " + shown(mount_point));
  }
  if ((file_system.f_flags & ST_RDONLY) != 0 && !mount.read_only) {
    std::fprintf(
        stderr,
        "lrufs: the store %s is damaged, so it is mounted read-only. To keep what is whole: unmount, then "
        "lrufs check --repair %s. To write it all the same: mount with --force\n",
        shown(mount.store).c_str(), shown(mount.store).c_str());
  }
  if (mount.control && !has_control(mount_point))
    std::fprintf(
        stderr,
        "lrufs: the store has something of its own named %s in its root, so this mount has no control "
        "folder: rename it, and mount again\n",
        std::string(fs::fuse::kControlName).c_str());
  return {};
}

void log_ready(const MountPlan& plan) {
  const MountOptions& mount = plan.run.mount;
  fs::fuse::tell(fs::fuse::Level::info, "mounted",
                 mount.mount_point + ": mounted, with the store " + mount.store,
                 {{"mount_point", mount.mount_point}, {"store", mount.store}});
}

// Serves, in this process or, with a supervisor, in workers that it starts.
Status serve(MountPlan& plan, const std::function<void()>& on_ready,
             const std::function<void(const std::string&)>& on_restart) {
  if (!plan.supervise) {
    return fs::fuse::run(plan.run, [&] {
      log_ready(plan);
      fs::fuse::confine(plan.run.mount);
      on_ready();
    });
  }
  fs::fuse::SupervisorOptions options;
  options.mount = plan.run.mount;
  options.worker_words = worker_words(plan.run.mount, plan.log.target);
  options.on_ready = on_ready;
  options.on_stopping = plan.run.on_stopping;
  options.on_restart = on_restart;
  if (plan.run.mount.foreground && manager_keeps_descriptors()) {
    options.kept = std::move(plan.kept);
    options.keep = keep_descriptors;
    options.drop_kept = drop_descriptors;
    options.comes_back = manager_starts_again;
  }
  return fs::fuse::supervise(std::move(options));
}

// Before the worker that serves lets go of the store: would this version know its format?
Status can_read(const std::string& path) {
  LRUFS_TRY_ASSIGN(const auto opened, open_for_reading(path));
  return opened->close();
}

[[noreturn]] void serve_as_daemon(MountPlan& plan, DaemonLink& link) {
  const Status ended = serve(
      plan, [&] { link.ready(); }, nullptr);
  if (!ended) fs::fuse::tell(fs::fuse::Level::err, "failed", store::describe(ended.error()));
  if (!ended) link.failed(ended.error());
  spdlog::shutdown();
  std::exit(ended ? kOk : kFailed);  // NOLINT(concurrency-mt-unsafe): run() has ended its threads
}

}  // namespace

int serve_as_worker(MountPlan plan) {
  auto link = fs::fuse::WorkerLink::open();
  if (!link) return report(link.error());
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) ::signal(number, SIG_IGN);  // they are the supervisor's
  if (worker_command()->waits) {
    ::prctl(PR_SET_NAME, "lrufs-spare");
    if (worker_command()->stands_by) {
      if (const Status readable = can_read(plan.run.mount.store); !readable) {
        (*link)->failed(readable.error());
        return kFailed;
      }
      (*link)->stands_by();
    }
    fs::fuse::prepare_to_confine(plan.run.mount);
    if (!(*link)->await_turn()) return kFailed;
  }
  ::prctl(PR_SET_NAME, "lrufs-worker");
  plan.run.link = link->get();
  plan.run.on_stopping = [&] { (*link)->stopping(); };
  const Status ended = fs::fuse::run(plan.run, [&] {
    if (!(*link)->takes_over()) log_ready(plan);
    fs::fuse::confine(plan.run.mount);
    (*link)->ready();
    if (!plan.run.mount.foreground) leave_stderr();
  });
  if (!ended) (*link)->failed(ended.error());
  spdlog::shutdown();
  return ended ? kOk : kFailed;
}

int serve_in_foreground(MountPlan plan) {
  const NewStoreGuard guard(plan.run.mount.store);
  bool was_ready = false;
  Service service;
  plan.run.on_stopping = [&] { service.stopping(); };
  const Status ended = serve(
      plan,
      [&] {
        was_ready = true;
        service.ready(plan.run.mount.mount_point, plan.run.mount.store);
      },
      [&](const std::string& what) { service.status(what); });
  if (ended) return kOk;
  if (!was_ready) guard.undo();
  return report(about_store(plan.run.mount.store, ended.error()));
}

int serve_in_background(MountPlan plan) {
  const NewStoreGuard guard(plan.run.mount.store);
  auto link = fork_daemon();
  if (!link) return report(link.error());
  if (link->is_child()) serve_as_daemon(plan, *link);
  if (const Status ready = link->wait(); !ready) {
    guard.undo();
    return report(about_store(plan.run.mount.store, ready.error()));
  }
  if (const Status seen = see_mount(plan.run.mount); !seen) return report(seen.error());
  return kOk;
}

}  // namespace lrufs::cmd
