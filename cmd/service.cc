#include "cmd/service.h"

#include <sys/vfs.h>
#include <systemd/sd-daemon.h>

#include <cstdint>
#include <system_error>
#include <utility>

namespace lrufs::cmd {
namespace {

using store::MutexLock;

// How often, and by how much, the manager is asked for more time to stop.
constexpr std::chrono::seconds kAskAgain{5};
constexpr const char* kMoreTime = "EXTEND_TIMEOUT_USEC=30000000";

void tell(const std::string& state) { (void)::sd_notify(0, state.c_str()); }

}  // namespace

Service::~Service() { end_thread(); }

void Service::end_thread() {
  {
    const MutexLock lock(mutex_);
    end_ = true;
    wake_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
  const MutexLock lock(mutex_);
  end_ = false;
}

bool Service::sleep(std::chrono::microseconds time) {
  const auto until = std::chrono::steady_clock::now() + time;
  const MutexLock lock(mutex_);
  while (!end_) {
    if (!wake_.wait_until(mutex_, until)) return !end_;
  }
  return false;
}

void Service::ready(const std::string& mount_point, const std::string& store) {
  tell("READY=1\nSTATUS=" + store + " is mounted at " + mount_point);
  std::uint64_t within = 0;
  if (::sd_watchdog_enabled(0, &within) <= 0) return;
  try {
    thread_ = std::thread(
        [this, mount_point, within] { watch(mount_point, std::chrono::microseconds(within / 2)); });
  } catch (const std::system_error&) {
    return;  // the manager will see that nobody reports
  }
}

void Service::status(const std::string& text) { tell("STATUS=" + text); }

void Service::watch(const std::string& mount_point, std::chrono::microseconds each) {
  do {
    struct statfs answer {};
    if (::statfs(mount_point.c_str(), &answer) == 0) tell("WATCHDOG=1");
  } while (sleep(each));
}

void Service::stopping() {
  // The watch asks a mount that is about to go: what it waits for is answered, or fails with the connection.
  end_thread();
  tell(std::string("STOPPING=1\nSTATUS=Writing the last checkpoint\n") + kMoreTime);
  try {
    thread_ = std::thread([this] { keep_waiting(); });
  } catch (const std::system_error&) {
    return;
  }
}

void Service::keep_waiting() {
  while (sleep(kAskAgain)) tell(std::string("WATCHDOG=1\n") + kMoreTime);
}

}  // namespace lrufs::cmd
