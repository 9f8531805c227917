#include "fs/fuse/io_uring.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <string_view>

namespace lrufs::fs::fuse {
namespace {

using store::Code;
using store::fail;

constexpr const char* kSwitch = "/sys/module/fuse/parameters/enable_uring";
constexpr int kLookAgainMilliseconds = 2;

std::string first_word(const std::string& path) {
  std::array<char, 64> text{};
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const ssize_t n = ::read(fd, text.data(), text.size() - 1);
  ::close(fd);
  if (n <= 0) return {};
  const std::string_view line(text.data(), static_cast<std::size_t>(n));
  return std::string(line.substr(0, line.find('\n')));
}

bool a_ring_thread_lives() {
  const std::string tasks = "/proc/self/task/";
  DIR* const dir = ::opendir(tasks.c_str());
  if (dir == nullptr) return false;
  bool found = false;
  while (const dirent* entry = ::readdir(dir)) {
    if (first_word(tasks + static_cast<const char*>(entry->d_name) + "/comm").starts_with("fuse-ring-"))
      found = true;
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
  if (first_word(kSwitch) != "Y") {
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

// libfuse ends its threads by pthread_cancel(3), which must not meet one that holds a lock of ours: they end
// by themselves when the connection has.
void end_io_uring(fuse_session* session) {
  while (a_ring_thread_lives()) ::poll(nullptr, 0, kLookAgainMilliseconds);
  fuse_session_exit(session);
  fuse_session_loop(session);  // has nothing to do but free them
}

}  // namespace lrufs::fs::fuse
