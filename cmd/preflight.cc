#include "cmd/preflight.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string_view>

#include "cmd/live_mount.h"
#include "cmd/mount_table.h"
#include "cmd/os.h"
#include "fs/fuse/mount_point.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::Error;
using store::fail;
using store::Result;
using store::Status;

int access_error(const std::string& path, int mode) {
  return ::faccessat(AT_FDCWD, path.c_str(), mode, AT_EACCESS) == 0 ? 0 : errno;
}

Error cannot_create_in(const std::string& store, const std::string& folder, int error) {
  switch (error) {
    case ENOENT:
      return Error(Code::kNotFound, "the folder " + shown(folder) +
                                        " of the store does not exist: make it with mkdir -p " +
                                        shown(folder));
    case ENOTDIR:
      return Error(Code::kNotDirectory, shown(folder) + ", where the store should lie, is not a folder");
    case EROFS:
      return Error(Code::kReadOnly, "cannot make the store " + shown(store) + ": the disk is read-only",
                   error);
    case EACCES:
    case EPERM:
      return Error(Code::kNotPermitted,
                   "cannot make the store " + shown(store) + ": no permission to write in " + shown(folder),
                   error);
    default:
      return Error(Code::kIo, "cannot make the store " + shown(store) + ": " + errno_text(error), error);
  }
}

Error cannot_use(const std::string& store, int error) {
  switch (error) {
    case EROFS:
      return Error(Code::kReadOnly,
                   "cannot write the store " + shown(store) +
                       ": the disk is read-only. Mount with -o ro to read what is in it",
                   error);
    case EACCES:
    case EPERM:
      return Error(Code::kNotPermitted,
                   "no permission to use the store " + shown(store) +
                       ": this user must be able to read and write it (with -o ro, to read it)",
                   error);
    case ENOTDIR:
      return Error(Code::kNotDirectory, "part of the path to the store " + shown(store) + " is not a folder",
                   error);
    case ELOOP:
      return Error(Code::kInvalid, "the store " + shown(store) + " is a symbolic link that leads nowhere",
                   error);
    default:
      return Error(Code::kIo, "cannot use the store " + shown(store) + ": " + errno_text(error), error);
  }
}

Status check_new_store(const std::string& path, bool read_only) {
  if (read_only) {
    return fail(Code::kNotFound, "the store " + shown(path) + " does not exist, and with -o ro none is made");
  }
  const std::string folder = parent_of(path);
  struct stat attributes {};
  if (::stat(folder.c_str(), &attributes) != 0) return fail(cannot_create_in(path, folder, errno));
  if (!S_ISDIR(attributes.st_mode)) return fail(cannot_create_in(path, folder, ENOTDIR));
  if (const int error = access_error(folder, W_OK | X_OK); error != 0)
    return fail(cannot_create_in(path, folder, error));
  return {};
}

Result<bool> is_empty(const std::string& folder) {
  struct Close {
    void operator()(DIR* dir) const { ::closedir(dir); }
  };
  const std::unique_ptr<DIR, Close> dir(::opendir(folder.c_str()));
  if (!dir) {
    const int error = errno;
    return fail(Code::kIo, "cannot look into the mount point " + shown(folder) + ": " + errno_text(error),
                error);
  }
  for (;;) {
    const dirent* entry = ::readdir(dir.get());  // NOLINT(concurrency-mt-unsafe): nobody else has this DIR
    if (entry == nullptr) return true;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") return false;
  }
}

Status check_directory(const std::string& mount_point, const MountPointRules& rules) {
  if (rules.allow_nonempty) return {};
  const auto empty = is_empty(mount_point);
  if (!empty) return fail(empty.error());
  if (*empty) return {};
  return fail(Code::kNotEmpty,
              "the mount point " + shown(mount_point) +
                  " is not empty: what is in it would be hidden. Choose an empty folder, or add -o nonempty");
}

Error cannot_mount_at(const std::string& mount_point, const MountEntry* mounted, int error) {
  switch (error) {
    case ENOENT:
      return Error(Code::kNotFound,
                   "the mount point " + shown(mount_point) + " does not exist: make it with mkdir -p " +
                       shown(mount_point),
                   error);
    case ENOTDIR:
      return Error(Code::kNotDirectory, "the mount point " + shown(mount_point) + " is not a folder", error);
    case EACCES:
    case EPERM:
      return Error(Code::kNotPermitted, "no permission to use the mount point " + shown(mount_point), error);
    default:
      break;
  }
  if (is_dead_mount(error) && mounted != nullptr) {
    return Error(Code::kBusy,
                 "the mount point " + shown(mount_point) + " has a dead mount (" + mounted->fs_type +
                     ") on it: detach it with umount -l " + shown(mount_point),
                 error);
  }
  return Error(Code::kIo, "cannot use the mount point " + shown(mount_point) + ": " + errno_text(error),
               error);
}

bool has_sys_admin() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    constexpr std::string_view kField = "CapEff:\t";
    if (!line.starts_with(kField)) continue;
    std::uint64_t capabilities = 0;
    std::from_chars(line.data() + kField.size(), line.data() + line.size(), capabilities, 16);
    constexpr unsigned kSysAdmin = 21;  // CAP_SYS_ADMIN of linux/capability.h
    return (capabilities >> kSysAdmin & 1U) != 0;
  }
  return true;  // no /proc: mount(2) will tell
}

bool is_on_path(const std::string& program) {
  const char* path = ::getenv("PATH");  // NOLINT(concurrency-mt-unsafe): one thread
  std::string_view rest = path == nullptr ? "" : path;
  for (const char* folder : {"/usr/bin/", "/bin/", "/usr/local/bin/"}) {
    if (::access((folder + program).c_str(), X_OK) == 0) return true;
  }
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    if (::access((std::string(rest.substr(0, end)) + "/" + program).c_str(), X_OK) == 0) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

bool fuse_conf_allows_other() {
  std::ifstream file("/etc/fuse.conf");
  for (std::string line; std::getline(file, line);) {
    const std::size_t begin = line.find_first_not_of(" \t");
    if (begin != std::string::npos && line.compare(begin, 16, "user_allow_other") == 0) return true;
  }
  return false;
}

int fuse_device_error() {
  const int fd = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (fd < 0) return errno;
  ::close(fd);
  return 0;
}

Status cannot_use_fuse(int error) {
  constexpr const char* kInContainer =
      "in a container, add --device /dev/fuse and --cap-add SYS_ADMIN, or --privileged";
  if (error == ENOENT || error == ENODEV || error == ENXIO) {
    return fail(
        Code::kUnsupported,
        std::string("there is no /dev/fuse here: load the kernel module (modprobe fuse); ") + kInContainer,
        error);
  }
  if (error == EACCES && ::geteuid() != 0) {  // fusermount3 opens it with the user's rights
    return fail(Code::kNotPermitted,
                "users other than root may not open /dev/fuse here: let root mount, or chmod 666 /dev/fuse",
                error);
  }
  return fail(Code::kNotPermitted, "cannot open /dev/fuse: " + errno_text(error) + "; " + kInContainer,
              error);
}

}  // namespace

Status check_store_path(const std::string& path, bool read_only) {
  struct stat attributes {};
  if (::stat(path.c_str(), &attributes) != 0) {
    const int error = errno;
    if (error != ENOENT) return fail(cannot_use(path, error));
    if (::lstat(path.c_str(), &attributes) == 0) return fail(cannot_use(path, ELOOP));
    return check_new_store(path, read_only);
  }
  if (S_ISDIR(attributes.st_mode)) {
    return fail(Code::kIsDirectory, shown(path) +
                                        " is a folder, but a store is one file: name a file, such as " +
                                        shown(path + "/cache.lrufs"));
  }
  if (!S_ISREG(attributes.st_mode)) {
    return fail(Code::kNotAStore, shown(path) + " is not a regular file: a store is");
  }
  if (const int error = access_error(path, read_only ? R_OK : R_OK | W_OK); error != 0) {
    return fail(cannot_use(path, error));
  }
  return {};
}

Status prepare_mount_point(const std::string& mount_point, const std::string& store,
                           const MountPointRules& rules) {
  if (descriptor_of(mount_point) >= 0) return {};  // mount(8) has mounted already
  constexpr int kMostStacked = 16;
  for (int dead = 0; dead < kMostStacked; ++dead) {
    LRUFS_TRY_ASSIGN(const MountTable table, read_mount_table());
    const MountEntry* mounted = mount_at(table, mount_point);
    struct stat attributes {};
    struct statfs file_system {};
    // The kernel answers stat(2) for a mount whose daemon is gone from its cache; statfs(2) asks the daemon.
    const bool is_ours = mounted != nullptr && mounted->is_lrufs();
    if (::stat(mount_point.c_str(), &attributes) == 0 &&
        (!is_ours || ::statfs(mount_point.c_str(), &file_system) == 0)) {
      if (!S_ISDIR(attributes.st_mode)) return fail(cannot_mount_at(mount_point, mounted, ENOTDIR));
      if (is_ours) {
        return fail(Code::kBusy, shown(mount_point) + " is mounted already, with the store " +
                                     shown(mounted->source) + ". Unmount it first: lrufs umount " +
                                     shown(mount_point));
      }
      if (store == mount_point || store.starts_with(mount_point + "/")) {
        return fail(Code::kInvalid, "the store " + shown(store) + " lies inside the mount point " +
                                        shown(mount_point) + ": the mount would hide it. Keep it elsewhere");
      }
      return check_directory(mount_point, rules);
    }
    const int error = errno;
    if (!is_dead_mount(error) || !is_ours) {
      return fail(cannot_mount_at(mount_point, mounted, error));
    }
    LRUFS_TRY(fs::fuse::detach(mount_point, true));
    std::fprintf(stderr, "lrufs: detached a dead mount from %s: its daemon had gone\n",
                 shown(mount_point).c_str());
  }
  return fail(Code::kBusy, "too many dead mounts at " + shown(mount_point) + ": detach them with umount -l");
}

Status check_may_mount(const std::string& mount_point, bool allow_other) {
  if (descriptor_of(mount_point) >= 0) return {};
  if (const int error = fuse_device_error(); error != 0) return cannot_use_fuse(error);
  if (has_sys_admin()) return {};
  if (::geteuid() == 0) {
    return fail(Code::kNotPermitted,
                "root here may not mount (CAP_SYS_ADMIN is missing): in a container, add --cap-add SYS_ADMIN "
                "or --privileged");
  }
  if (!is_on_path("fusermount3")) {
    return fail(Code::kNotPermitted,
                "users other than root need fusermount3 to mount: install the package fuse3");
  }
  if (access_error(mount_point, W_OK) != 0) {
    return fail(Code::kNotPermitted,
                "no permission to mount at " + shown(mount_point) + ": the folder must be writable for you");
  }
  if (allow_other && !fuse_conf_allows_other()) {
    return fail(Code::kNotPermitted,
                "-o allow_other is for root only, unless /etc/fuse.conf says user_allow_other");
  }
  return {};
}

Status wait_for_store(const std::string& store, bool read_only) {
  constexpr std::chrono::seconds kPatience(3);
  std::string where;
  const bool free = wait_until(kPatience, [&] {
    if (!store_is_locked(store, read_only)) return true;
    where = mount_of_store(store).value_or("");
    return !where.empty();
  });
  if (where.empty() && free) return {};
  std::string message = "the store " + shown(store) + " is in use";
  if (!where.empty())
    message += ": it is mounted at " + shown(where) + ". Unmount it first: lrufs umount " + shown(where);
  else
    message += " by another process (a mount that cannot be seen from here, or a check that runs)";
  return fail(Code::kBusy, message);
}

}  // namespace lrufs::cmd
