// WorkerPool: the threads that read requests from the kernel and serve them. The one place that decides how
// many there are and when they run.
//
// libfuse's own loop is not used: it ends its threads by pthread_cancel, which can lose a request that was
// read but not yet served, and its receive function drops what it has read once the session is to end. Here a
// thread leaves between two requests only: everything that was read is answered.
//
// A worker that is about to wait in the store tells so (waits()). If it was the last one that could read a
// request, another is started: what the store waits for may be a FORGET that nobody else would read.
//
// Thread-safety: request_stop(), ended_within() and waits() from any thread; the others from one.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "store/error.h"
#include "store/thread_annotations.h"

struct fuse_session;

namespace lrufs::fs::fuse {

class WorkerPool {
 public:
  // `max_write`: what was agreed at INIT; it sizes the buffers.
  WorkerPool(fuse_session* session, std::size_t max_write);
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  ~WorkerPool();  // request_stop() and wait()

  // kIo: no memory or no threads; none runs then.
  store::Status start(unsigned threads);

  // The workers leave after the request that they are serving.
  void request_stop();
  // True once all workers have left.
  bool ended_within(std::chrono::milliseconds timeout);

  enum class End : std::uint8_t { kStopped, kDisconnected };
  // Waits until all workers have left. kDisconnected: the kernel has ended the connection (unmounted, or
  // aborted). kIo: reading requests failed.
  store::Result<End> wait();

  // For store::Options::on_wait: the calling thread, if it is a worker, begins or ends to wait. False: no
  // further worker can be started, so this one must not wait for what a request would bring.
  static bool waits(bool begins);

  // How many threads to use if the user does not say. Enough that a few that wait for the disk (fsync) do not
  // keep quick requests waiting; more would only take turns, and each idle one makes caches colder.
  static unsigned default_threads() { return 4; }

 private:
  struct Worker;
  static constexpr std::size_t kMaxWorkers = 256;
  void work(Worker& worker);
  store::Status add_worker() REQUIRES(mutex_);
  bool worker_waits(bool begins);
  void left(std::optional<store::Error> error, bool disconnected);
  void wake_readers() REQUIRES(mutex_);

  fuse_session* const session_;
  const int fd_;
  const std::size_t buffer_bytes_;
  std::atomic<bool> stop_{false};

  store::Mutex mutex_;
  store::CondVar changed_;
  std::vector<std::unique_ptr<Worker>> workers_ GUARDED_BY(mutex_);
  unsigned running_ GUARDED_BY(mutex_) = 0;
  unsigned waiting_ GUARDED_BY(mutex_) = 0;
  bool disconnected_ GUARDED_BY(mutex_) = false;
  std::optional<store::Error> error_ GUARDED_BY(mutex_);
};

}  // namespace lrufs::fs::fuse
