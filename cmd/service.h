// Talking to the service manager that started us (sd_notify(3)): ready, stopping, and alive. Without one (no
// NOTIFY_SOCKET) nothing happens.
//
// Thread-safety: one thread; the watchdog has one of its own.
#pragma once

#include <chrono>
#include <string>
#include <thread>

#include "store/thread_annotations.h"

namespace lrufs::cmd {

class Service {
 public:
  Service() = default;
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;
  ~Service();  // ends the watchdog

  // The mount answers. If the manager watches us (WATCHDOG_USEC), a thread asks the mount twice in that time,
  // by statfs(2), and reports each answer: one that hangs is not reported, and the manager then acts.
  void ready(const std::string& mount_point, const std::string& store);
  // A line for whoever asks the manager.
  static void status(const std::string& text);
  // It is being unmounted, and the last checkpoint is written: that may take long, which the manager is told
  // again and again until this object ends.
  void stopping();

 private:
  void watch(const std::string& mount_point, std::chrono::microseconds each) EXCLUDES(mutex_);
  void keep_waiting() EXCLUDES(mutex_);
  void end_thread() EXCLUDES(mutex_);
  bool sleep(std::chrono::microseconds time) EXCLUDES(mutex_);  // false: it is to end

  store::Mutex mutex_;
  store::CondVar wake_;
  bool end_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace lrufs::cmd
