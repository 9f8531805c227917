#include "fs/fuse/confine.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "fs/fuse/event.h"
#include "fs/fuse/guard.h"
#include "fs/fuse/keeper.h"
#include "fs/fuse/mount_point.h"
#include "fs/fuse/privileges.h"
#include "fs/fuse/thread_core.h"

namespace lrufs::fs::fuse {
namespace {

// Threads that have been confined, by their ids; what they do to themselves. One confine() runs at a time.
constexpr std::size_t kMostThreads = 1024;
struct Orders {
  const FileRules* files = nullptr;
  std::uint64_t keep = 0;
  std::atomic<std::size_t> reports{0};
  std::array<std::atomic<pid_t>, kMostThreads> done{};
  std::atomic<bool> failed{false};
};
Orders g_orders;

// Only system calls: it runs in a signal handler.
void confine_this_thread() {
  bool fine = refuse_new_privileges();
  fine = g_orders.files->apply() && fine;
  fine = drop_capabilities_but(g_orders.keep) && fine;
  if (!fine) g_orders.failed = true;
  const std::size_t place = g_orders.reports.fetch_add(1);
  if (place < kMostThreads) g_orders.done.at(place) = this_thread();
}

void on_order(int /*signal*/) {
  const int error = errno;
  confine_this_thread();
  errno = error;
}

bool has_reported(pid_t thread) {
  const std::size_t reports = std::min(g_orders.reports.load(), kMostThreads);
  for (std::size_t i = 0; i < reports; ++i) {
    if (g_orders.done.at(i) == thread) return true;
  }
  return false;
}

// Capabilities and file rules belong to a thread, and only it can change them: each is sent a signal, until
// all there are have answered. Those started by one that has answered are confined from the beginning.
bool confine_all_threads() {
  constexpr std::chrono::seconds kPatience{5};
  const int order = SIGRTMIN + 4;
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = on_order;
  action.sa_flags = SA_RESTART;
  ::sigfillset(&action.sa_mask);
  if (::sigaction(order, &action, &before) != 0) return false;
  confine_this_thread();
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  std::set<pid_t> told{this_thread()};
  bool all = false;
  while (!all && std::chrono::steady_clock::now() < deadline) {
    all = true;
    for (const pid_t thread : own_threads()) {
      if (told.insert(thread).second) ::syscall(SYS_tgkill, ::getpid(), thread, order);
      if (!has_reported(thread)) all = false;
    }
    if (!all) std::this_thread::yield();
  }
  // A thread that is late would be killed by the signal without its handler.
  if (all) ::sigaction(order, &before, nullptr);
  return all && !g_orders.failed;
}

}  // namespace

void prepare_to_confine(const MountOptions& options) {
  // confine() tells, if there is no keeper then either.
  if (options.confine) (void)Keeper::start(options.guard_program, options.mount_point);
}

void confine(const MountOptions& options) {
  if (!options.confine) return;
  const std::string& where = options.mount_point;
  if (const auto kept = Keeper::start(options.guard_program, where); !kept) {
    tell(Level::warn, "not_confined", where + ": the daemon keeps all its rights: " + describe(kept.error()),
         {{"mount_point", where}});
    return;
  }
  // Its folder on the way to the mount point may belong to others; see is_mounted() and write_back().
  g_orders.keep = capability_bit(CAP_DAC_READ_SEARCH);
  if (!allow_return_to_normal_priority()) g_orders.keep |= capability_bit(CAP_SYS_NICE);
  // Whose processes ask; libraries that are loaded late; the zone of the log's times; the mount's root.
  std::vector<std::string> writable = {"/dev/null"};
  if (const auto device = device_at(where); options.io_uring && device)
    writable.push_back(connection_control(*device));  // its connection is ended at the end
  const FileRules files({"/proc", "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", where},
                        writable);
  g_orders.files = &files;
  const bool threads_fine = confine_all_threads();
  const bool code = refuse_new_code();
  std::string no_filter;
  const bool filter = refuse_system_calls(options.io_uring, no_filter);
  const bool well = threads_fine && filter;
  tell(well ? Level::info : Level::warn, well ? "confined" : "confined_in_part",
       where + (well ? ": the daemon has given up what it does not need"
                     : ": the daemon could not give up all that it does not need" +
                           (filter ? std::string() : "; system calls: " + no_filter)),
       {{"mount_point", where},
        {"capabilities", capabilities()},
        {"landlock", files.version()},
        {"no_new_code", code},
        {"system_calls", filter}});
}

}  // namespace lrufs::fs::fuse
