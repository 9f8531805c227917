#include "cmd/live_mount.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "cmd/mount_table.h"
#include "cmd/os.h"
#include "fs/fuse/control_inode.h"
#include "fs/fuse/stats_json.h"
#include "store/file_ops.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Result;

}  // namespace

bool is_dead_mount(int error) { return error == ENOTCONN || error == ECONNABORTED; }

Result<nlohmann::json> mount_statistics(const std::string& mount_point) {
  std::string text(16 * 1024, '\0');
  ssize_t length = 0;
  while ((length = ::getxattr(mount_point.c_str(), fs::fuse::kStatsXattr.data(), text.data(), text.size())) <
             0 &&
         errno == ERANGE) {
    text.resize(text.size() * 2);
  }
  if (length < 0) {
    const int error = errno;
    if (is_dead_mount(error)) {
      return fail(Code::kStale,
                  "the daemon behind the mount " + shown(mount_point) +
                      " is gone; detach it with: lrufs umount " + shown(mount_point),
                  error);
    }
    if (error == ENODATA || error == EOPNOTSUPP || error == EPERM) {
      return fail(Code::kUnsupported, shown(mount_point) + " is not a mount of lrufs", error);
    }
    return fail(Code::kIo,
                "cannot ask the mount " + shown(mount_point) + " for its statistics: " + errno_text(error),
                error);
  }
  nlohmann::json parsed =
      nlohmann::json::parse(std::string_view(text.data(), static_cast<std::size_t>(length)), nullptr, false);
  if (!parsed.is_object()) {
    return fail(Code::kUnsupported,
                shown(mount_point) + " answers with statistics that this version cannot read");
  }
  return parsed;
}

Result<std::string> control_folder_of(const std::string& path) {
  LRUFS_TRY_ASSIGN(const MountTable table, read_mount_table());
  const MountEntry* const mount = mount_containing(table, path);
  if (mount == nullptr || !mount->is_lrufs())
    return fail(Code::kInvalid, shown(path) + " is not in a mount of lrufs");
  const std::string folder = mount->mount_point + "/" + std::string(fs::fuse::kControlName);
  struct stat attributes {};
  if (::stat(folder.c_str(), &attributes) == 0 && attributes.st_ino == fs::fuse::kControlFolder)
    return folder;
  if (is_dead_mount(errno)) {
    return fail(Code::kStale, "the daemon behind the mount " + shown(mount->mount_point) +
                                  " is gone; detach it with: lrufs umount " + shown(mount->mount_point));
  }
  return fail(Code::kUnsupported, "the mount " + shown(mount->mount_point) + " has no control folder " +
                                      std::string(fs::fuse::kControlName) +
                                      ": it was made with --no-control, or the store has that name itself");
}

std::uint64_t number_in(const nlohmann::json& statistics, const char* key) {
  const auto found = statistics.find(key);
  return found != statistics.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

std::string text_in(const nlohmann::json& statistics, const char* key) {
  const auto found = statistics.find(key);
  return found != statistics.end() && found->is_string() ? found->get<std::string>() : std::string();
}

bool store_is_locked(const std::string& store, bool for_reading) {
  const int fd = ::open(store.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return false;
  struct flock lock {};
  lock.l_type = for_reading ? F_RDLCK : F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_len = static_cast<off_t>(store::FileOps::kLockedBytes);
  const bool locked = ::fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  ::close(fd);
  return locked;
}

std::optional<std::string> mount_of_store(const std::string& store) {
  const auto table = read_mount_table();
  if (!table) return std::nullopt;
  const auto mounts = lrufs_mounts_of(*table, store);
  for (const MountEntry* mount : mounts) {
    if (mount_at(*table, mount->mount_point) == mount)
      return mount->mount_point;  // not one that is hidden by another
  }
  // With -o fsname= the source is something else: ask those. Not all mounts: one that hangs would hang us,
  // too.
  for (const MountEntry& mount : *table) {
    if (!mount.is_lrufs() || mount.source.starts_with('/') || mount_at(*table, mount.mount_point) != &mount)
      continue;
    const auto statistics = mount_statistics(mount.mount_point);
    if (statistics && text_in(*statistics, "store") == store) return mount.mount_point;
  }
  return std::nullopt;
}

std::optional<ProcessHandle> ProcessHandle::of_daemon(pid_t pid) {
  if (pid <= 0) return std::nullopt;
  const auto fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) return std::nullopt;
  ProcessHandle handle(fd);
  std::string name;
  std::ifstream("/proc/" + std::to_string(pid) + "/comm") >> name;
  if (!name.empty() && !name.starts_with("lrufs")) return std::nullopt;
  return handle;
}

ProcessHandle::~ProcessHandle() {
  if (fd_ >= 0) ::close(fd_);
}

bool ProcessHandle::has_ended() const {
  pollfd wanted{.fd = fd_, .events = POLLIN, .revents = 0};
  return ::poll(&wanted, 1, 0) > 0;
}

}  // namespace lrufs::cmd
