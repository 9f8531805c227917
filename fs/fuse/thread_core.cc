#include "fs/fuse/thread_core.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string>
#include <system_error>
#include <thread>

namespace lrufs::fs::fuse {

pid_t this_thread() { return static_cast<pid_t>(::syscall(SYS_gettid)); }

std::vector<pid_t> own_threads() {
  std::vector<pid_t> found;
  DIR* const tasks = ::opendir("/proc/self/task");
  if (tasks == nullptr) return found;
  while (const dirent* entry = ::readdir(tasks)) {  // NOLINT(concurrency-mt-unsafe): nobody else has this DIR
    pid_t id = 0;
    const char* const end = entry->d_name + std::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, id).ptr == end && id > 0) found.push_back(id);
  }
  ::closedir(tasks);
  return found;
}

const cpu_set_t& own_cores() {
  static const cpu_set_t cores = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (::sched_getaffinity(0, sizeof set, &set) != 0) CPU_ZERO(&set);
    return set;
  }();
  return cores;
}

bool give_way(pid_t thread, bool yes) {
  const sched_param none{};
  return ::sched_setscheduler(thread, yes ? SCHED_IDLE : SCHED_OTHER, &none) == 0;
}

bool can_run_close() {
  if (CPU_COUNT(&own_cores()) < 2) return false;
  // Others who run it with a policy of their own know why.
  if (::sched_getscheduler(0) != SCHED_OTHER) return false;
  bool can = false;
  try {
    std::thread([&can] { can = give_way(0, true) && give_way(0, false); }).join();
  } catch (const std::system_error&) {
    return false;
  }
  return can;
}

bool pin_to(pid_t thread, int core) {
  if (core < 0 || core >= CPU_SETSIZE || !CPU_ISSET(core, &own_cores())) return false;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(core, &one);
  return ::sched_setaffinity(thread, sizeof one, &one) == 0;
}

bool unpin(pid_t thread) { return ::sched_setaffinity(thread, sizeof(cpu_set_t), &own_cores()) == 0; }

bool move_off(pid_t thread, int core) {
  cpu_set_t others = own_cores();
  CPU_CLR(core, &others);
  return CPU_COUNT(&others) > 0 && ::sched_setaffinity(thread, sizeof others, &others) == 0;
}

std::optional<int> core_of(std::uint32_t thread) {
  if (thread == 0) return std::nullopt;
  const std::string path = "/proc/" + std::to_string(thread) + "/stat";
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  std::array<char, 1024> text{};
  const ssize_t n = ::read(fd, text.data(), text.size() - 1);
  ::close(fd);
  if (n <= 0) return std::nullopt;
  // proc(5): the second field, a name in brackets, may hold anything; the 39th is the core.
  const char* at = std::strrchr(text.data(), ')');
  constexpr int kFieldsBetween = 37;
  for (int field = 0; at != nullptr && field < kFieldsBetween; ++field) at = std::strchr(at + 1, ' ');
  if (at == nullptr) return std::nullopt;
  return std::atoi(at + 1);
}

}  // namespace lrufs::fs::fuse
