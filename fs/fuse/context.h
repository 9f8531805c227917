// Context: what all requests of one mount share. Made by run.h before the mount, outlives the session.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "fs/fuse/connection.h"
#include "fs/fuse/counters.h"
#include "fs/fuse/mount_options.h"
#include "fs/volume.h"

namespace lrufs::fs::fuse {

class Control;
class EventLog;
class Notifier;
class WorkerPool;

struct Context {
  Context(Volume& v, Notifier& n, MountOptions o);
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context();

  Volume& volume;
  Notifier& notifier;
  const MountOptions options;
  const std::chrono::system_clock::time_point started = std::chrono::system_clock::now();
  store::Options store_options;                  // for show; set by run.h
  std::shared_ptr<EventLog> event_log;           // the same; null: no log is kept
  std::unique_ptr<Control> control;              // the control folder; null: there is none
  Counters counters;                             // any thread
  std::atomic<const WorkerPool*> pool{nullptr};  // while it serves; requests come from nowhere else
  Connection connection;                         // written at INIT, by one thread, before the others start
};

}  // namespace lrufs::fs::fuse
