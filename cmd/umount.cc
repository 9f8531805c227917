// lrufs umount: checkpoint, unmount, and wait until the store is closed.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "cmd/live_mount.h"
#include "cmd/mount_table.h"
#include "cmd/os.h"
#include "cmd/units.h"
#include "cmd/verbs.h"
#include "fs/fuse/mount_point.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Result;
using store::Status;

struct Arguments {
  std::string mount_point;
  std::string timeout = "60s";
  bool lazy = false;
  bool force = false;
};

// What is known about the daemon behind a mount.
struct Daemon {
  std::optional<ProcessHandle> process;
  std::string store;
};

Result<MountEntry> find_mount(const std::string& path) {
  LRUFS_TRY_ASSIGN(const MountTable table, read_mount_table());
  const MountEntry* mounted = mount_at(table, path);
  if (mounted != nullptr && mounted->is_lrufs()) return *mounted;
  if (mounted != nullptr) {
    return fail(Code::kInvalid, shown(path) + " is a mount of " + mounted->fs_type +
                                    ", not of lrufs: use umount " + shown(path));
  }
  struct stat attributes {};
  if (::stat(path.c_str(), &attributes) != 0 && !is_dead_mount(errno)) {
    return fail(Code::kNotFound, "cannot unmount " + shown(path) + ": " + errno_text(errno));
  }
  if (S_ISREG(attributes.st_mode)) {
    if (const auto where = mount_of_store(path)) return find_mount(*where);
    return fail(Code::kNotFound, shown(path) + " is a file that is not mounted anywhere");
  }
  std::string message = shown(path) + " is not mounted";
  if (const MountEntry* around = mount_containing(table, path); around != nullptr && around->is_lrufs()) {
    message = shown(path) + " is a folder in the mount " + shown(around->mount_point) + ": unmount that";
  }
  return fail(Code::kNotFound, message);
}

Daemon find_daemon(const MountEntry& mount) {
  Daemon daemon{.process = {}, .store = mount.source};
  if (const auto statistics = mount_statistics(mount.mount_point)) {
    daemon.process = ProcessHandle::of_daemon(static_cast<pid_t>(number_in(*statistics, "pid")));
    if (!daemon.store.starts_with('/')) daemon.store = text_in(*statistics, "store");  // -o fsname=
  }
  return daemon;
}

// Everything that programs wrote is on the disk when this returns: an error can still be told here, but no
// longer after the unmount. kStale if the daemon is gone.
Status sync_mount(const std::string& mount_point) {
  const int fd = ::open(mount_point.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    if (is_dead_mount(errno)) return fail(Code::kStale);
    if (errno == EACCES) return {};  // the mount of another user: the daemon checkpoints anyway when it ends
    return fail(Code::kIo, errno_text(errno), errno);
  }
  const int error = ::syncfs(fd) != 0 || ::fsync(fd) != 0 ? errno : 0;
  ::close(fd);
  if (error == 0 || error == EROFS) return {};
  if (is_dead_mount(error)) return fail(Code::kStale);
  return fail(Code::kIo, errno_text(error), error);
}

Status wait_for_end(const Daemon& daemon, const std::string& mount_point, std::chrono::milliseconds timeout) {
  // A process that ended has given its lock back; the lock alone might be another mount's by now.
  const bool ended = wait_until(
      timeout, [&] { return daemon.process ? daemon.process->has_ended() : !store_is_locked(daemon.store); });
  if (ended) return {};
  return fail(Code::kBusy,
              shown(mount_point) + " is unmounted, but its daemon has not closed the store " +
                  shown(daemon.store) + " within " + format_duration(timeout) +
                  ". It goes on: wait for it (--timeout 10m), or look into its log. (A container "
                  "or another mount namespace that was made meanwhile has the mount, too, and "
                  "keeps it until it ends.)");
}

Status unmount(const Arguments& arguments, std::chrono::milliseconds timeout) {
  LRUFS_TRY_ASSIGN(const MountEntry mount, find_mount(absolute_path(arguments.mount_point)));
  const std::string& at = mount.mount_point;
  const Daemon daemon = find_daemon(mount);

  if (const Status synced = sync_mount(at); !synced) {
    if (synced.error().code == Code::kStale) {
      LRUFS_TRY(fs::fuse::detach(at, true));
      std::fprintf(stderr, "lrufs: detached a dead mount from %s: its daemon had gone\n", shown(at).c_str());
      return {};
    }
    const std::string what =
        "what was written to " + shown(at) + " did not reach the disk: " + synced.error().message;
    if (!arguments.force) {
      return fail(Code::kIo, what + ". It is still mounted; --force unmounts it and gives that up",
                  synced.error().os_errno);
    }
    std::fprintf(stderr, "lrufs: %s; unmounting anyway\n", what.c_str());
  }

  if (Status detached = fs::fuse::detach(at, arguments.lazy); !detached) {
    if (detached.error().code != Code::kBusy) return detached;
    return fail(Code::kBusy,
                shown(at) + " is in use: a program has a file open in it, or is in it (fuser -vm " +
                    shown(at) +
                    " names it). It is still mounted; --lazy detaches it now and ends it when they are done");
  }
  // After a lazy unmount the daemon lives as long as somebody uses it: that is what was asked for.
  if (arguments.lazy) return {};
  return wait_for_end(daemon, at, timeout);
}

}  // namespace

Verb add_umount(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = program.add_subcommand(
      "umount", "Write everything to the disk, unmount, and wait until the store is closed");
  app->group(kMountsGroup);
  app->add_option("MOUNTPOINT", arguments->mount_point, "Where it is mounted (or the store's path)")
      ->required()
      ->type_name("");
  app->add_flag("-l,--lazy", arguments->lazy,
                "Detach at once; the daemon ends when the last\nprogram is done with it");
  app->add_flag("--force", arguments->force, "Unmount even if not everything could be written to the disk");
  app->add_option("--timeout", arguments->timeout, "How long to wait for the daemon to close the store")
      ->type_name("TIME")
      ->capture_default_str();
  app->footer("A mount whose daemon is gone is detached.\n\nExample:\n  lrufs umount /mnt/cache");
  return {app, [arguments]() -> int {
            const auto timeout = parse_duration("--timeout", arguments->timeout);
            if (!timeout) return report(timeout.error(), kUsage);
            const Status done = unmount(*arguments, *timeout);
            return done ? kOk : report(done.error());
          }};
}

}  // namespace lrufs::cmd
