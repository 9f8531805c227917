// Context: what all requests of one mount share. Made by run.h before the mount, outlives the session.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "fs/fuse/connection.h"
#include "fs/fuse/counters.h"
#include "fs/fuse/mount_options.h"
#include "fs/fuse/worker_pool.h"
#include "fs/volume.h"
#include "store/thread_annotations.h"

namespace lrufs::fs::fuse {

class Control;
class EventLog;
class Notifier;
class WorkerLink;

struct Context {
  Context(Volume& v, Notifier& n, MountOptions o);
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context();

  Volume& volume;
  Notifier& notifier;
  const MountOptions options;
  const std::chrono::system_clock::time_point started = std::chrono::system_clock::now();
  store::Options store_options;         // for show; set by run.h
  std::shared_ptr<EventLog> event_log;  // the same; null: no log is kept
  WorkerLink* link = nullptr;           // to the supervisor; null: there is none. Set by run.h
  std::unique_ptr<Control> control;     // the control folder; null: there is none
  std::atomic<bool> stopping{false};    // long requests are to end, the session does
  Counters counters;                    // any thread
  // The threads that serve; nullopt while there are none. Any thread may ask, those of the metrics' server,
  // too.
  [[nodiscard]] std::optional<WorkerPool::Counts> threads() const;
  void set_pool(const WorkerPool* pool);  // null before it ends
  Connection connection;                  // written at INIT, by one thread, before the others start

 private:
  mutable store::Mutex pool_mutex_;
  const WorkerPool* pool_ GUARDED_BY(pool_mutex_) = nullptr;
};

}  // namespace lrufs::fs::fuse
