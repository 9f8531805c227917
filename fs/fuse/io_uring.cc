#include "fs/fuse/io_uring.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <string_view>

namespace lrufs::fs::fuse {
namespace {

using store::Code;
using store::fail;

[[maybe_unused]] constexpr const char* kSwitch = "/sys/module/fuse/parameters/enable_uring";
constexpr int kLookAgainMilliseconds = 2;

std::string first_line(const std::string& path) {
  std::array<char, 256> text{};
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const ssize_t n = ::read(fd, text.data(), text.size() - 1);
  ::close(fd);
  if (n <= 0) return {};
  const std::string_view line(text.data(), static_cast<std::size_t>(n));
  return std::string(line.substr(0, line.find('\n')));
}

// Is one of them anywhere but in its wait for requests?
bool a_ring_thread_works() {
  const std::string waits = std::to_string(SYS_io_uring_enter) + " ";
  const std::string tasks = "/proc/self/task/";
  DIR* const dir = ::opendir(tasks.c_str());
  if (dir == nullptr) return false;
  bool found = false;
  while (const dirent* entry = ::readdir(dir)) {
    const std::string task = tasks + static_cast<const char*>(entry->d_name);
    if (!first_line(task + "/comm").starts_with("fuse-ring-")) continue;
    const std::string call = first_line(task + "/syscall");  // "running", or its number and arguments
    if (!call.empty() && !call.starts_with(waits)) found = true;
  }
  ::closedir(dir);
  return found;
}

}  // namespace

store::Status io_uring_is_there() {
#ifdef LRUFS_FUSE_IO_URING
  if (::access(kSwitch, F_OK) != 0) {
    return fail(
        Code::kInvalid,
        "mount option io_uring: this kernel has no FUSE over io_uring (Linux 6.14 and later have it)");
  }
  if (first_line(kSwitch) != "Y") {
    return fail(Code::kInvalid, std::string("mount option io_uring: the kernel has it switched off; root can "
                                            "switch it on: echo Y > ") +
                                    kSwitch);
  }
  return {};
#else
  return fail(Code::kInvalid, std::string("mount option io_uring: this lrufs is linked with libfuse ") +
                                  fuse_pkgversion() +
                                  " without io_uring; 3.18 and later can have it (scripts/build-libfuse.sh)");
#endif
}

// libfuse ends its threads by pthread_cancel(3), which must not meet one that holds a lock of ours. No
// request comes any more: who waits for one has answered all.
void end_io_uring(fuse_session* session) {
  while (a_ring_thread_works()) ::poll(nullptr, 0, kLookAgainMilliseconds);
  fuse_session_exit(session);
  fuse_session_loop(session);  // has nothing to do but free them
}

}  // namespace lrufs::fs::fuse
