#include "fs/fuse/mount_point.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <system_error>
#include <vector>

#include "fs/fuse/keeper.h"

namespace lrufs::fs::fuse {
namespace {

using store::Code;
using store::fail;
using store::Status;

std::string read_to_end(int fd) {
  std::string text;
  std::array<char, 512> buffer{};
  for (ssize_t n = 0; (n = ::read(fd, buffer.data(), buffer.size())) != 0;) {
    if (n > 0) text.append(buffer.data(), static_cast<std::size_t>(n));
    if (n < 0 && errno != EINTR) break;
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// fusermount3 is set-uid root and unmounts what its caller has mounted. Only its message tells "busy" from
// other failures.
Status detach_by_helper(const std::string& path, bool lazy) {
  std::vector<std::string> words = {"fusermount3", "-u"};
  if (lazy) words.emplace_back("-z");
  words.emplace_back("--");
  words.push_back(path);
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(Code::kIo, "no file descriptors left", errno);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  // Signals that we wait for with a signalfd are blocked in this thread; the helper should not inherit that.
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, argv[0], &actions, &attributes, argv.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  const std::string said = error == 0 ? read_to_end(ends[0]) : "";
  ::close(ends[0]);
  if (error != 0) return fail(Code::kNotPermitted, "fusermount3 cannot be started", error);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  const bool busy = said.ends_with(std::generic_category().message(EBUSY));
  return fail(busy ? Code::kBusy : Code::kIo, "unmounting " + path + ": " + said, busy ? EBUSY : 0);
}

}  // namespace

std::optional<dev_t> device_at(const std::string& path) {
  struct statx attributes {};
  constexpr int kFlags = AT_STATX_DONT_SYNC | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
  if (::statx(AT_FDCWD, path.c_str(), kFlags, 0, &attributes) != 0) return std::nullopt;
  return makedev(attributes.stx_dev_major, attributes.stx_dev_minor);
}

void set_read_ahead(dev_t device, std::uint64_t bytes) {
  const std::string path = "/sys/class/bdi/" + std::to_string(major(device)) + ":" +
                           std::to_string(minor(device)) + "/read_ahead_kb";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  const std::string value = std::to_string(bytes / 1024);
  [[maybe_unused]] const ssize_t n = ::write(fd, value.data(), value.size());
  ::close(fd);
}

Status detach(const std::string& path, bool lazy) {
  if (Keeper* const keeper = Keeper::of_process(); keeper != nullptr && keeper->mount_point() == path)
    return keeper->detach(lazy);
  if (::umount2(path.c_str(), UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0) return {};
  const int error = errno;
  if (error == EPERM) return detach_by_helper(path, lazy);
  return fail(error == EBUSY ? Code::kBusy : Code::kIo,
              "unmounting " + path + ": " + std::generic_category().message(error), error);
}

void write_back(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::syncfs(fd);
  ::close(fd);
}

}  // namespace lrufs::fs::fuse
