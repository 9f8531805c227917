// WorkerPool: the threads that read requests from the kernel and serve them. The one place that decides how
// many there are, and when and where they run.
//
// Who reads, and where, is placement.h's decision: several workers, or one more thread, the lone one, which
// serves what is short itself and hands what may wait (fsync), or moves much while others wait (bulk data,
// listings), to a worker. It may run close: pinned to its client's core and giving way to everything else
// (SCHED_IDLE), so that the kernel takes that core for idle and wakes the client there, and not on a core
// that sleeps. Anything else of ours that woke there would drive the client away, so the watch stays off it.
//
// While there are requests, a watch looks every millisecond (close: every fourth) whether they get on. If the
// lone thread does not, because it waits for the disk or a lock, or because somebody else has its core, the
// workers take over; if these do not, another one is started.
//
// libfuse's own loop is not used: it ends its threads by pthread_cancel, which can lose a request that was
// read but not yet served, and its receive function drops what it has read once the session is to end. Here a
// thread leaves between two requests only: everything that was read is answered.
//
// A worker that is about to wait in the store tells so (waits()). If it was the last one that could read a
// request, another is started: what the store waits for may be a FORGET that nobody else would read. Those
// that have not been needed for some seconds leave again, with their buffers.
//
// Thread-safety: request_stop(), ended_within(), counts() and waits() from any thread; the others from one.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "fs/fuse/placement.h"
#include "fs/receipts.h"
#include "store/error.h"
#include "store/thread_annotations.h"

struct fuse_session;

namespace lrufs::fs::fuse {

class WorkerPool {
 public:
  // `max_write`: what was agreed at INIT; it sizes the buffers. `receipts`: where each thread leaves word of
  // what it does, for a process that takes over; its buffers are locked in memory then. Null: nobody will.
  WorkerPool(fuse_session* session, std::size_t max_write, Placement::Wish wish = Placement::Wish::kAuto,
             ReceiptTable* receipts = nullptr);
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  ~WorkerPool();  // request_stop() and wait()

  // `threads` workers, the lone thread and its watch not among them. kIo: no memory or no threads; none runs
  // then.
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

  struct Counts {
    bool alone = false;             // is the lone thread in charge?
    bool close = false;             // and close to its client?
    std::uint64_t closed = 0;       // times that it went close
    std::uint64_t stuck = 0;        // times that it did not get on
    std::uint64_t requests = 0;     // that it has served
    std::uint64_t handed_over = 0;  // long ones, to workers
    unsigned workers = 0;
  };
  [[nodiscard]] Counts counts() const;

 private:
  struct Worker;
  std::unique_ptr<Worker> make_worker(bool lone);
  static constexpr std::size_t kMaxWorkers = 256;
  void work(Worker& worker);
  bool read_one(Worker& worker);
  void rest(Worker& worker);
  void process(Worker& worker, std::size_t bytes);
  void serve_alone(std::size_t bytes, std::chrono::steady_clock::duration waited);
  bool hand_over(std::size_t bytes);
  void stay_beside(std::uint32_t client, std::chrono::steady_clock::duration waited);
  bool pin_lone_thread(int core) REQUIRES(mutex_);
  void note_request(std::uint32_t client);
  void watch();
  [[nodiscard]] bool request_pending() const;
  [[nodiscard]] bool a_worker_reads() const REQUIRES(mutex_);
  bool retire_spare_workers();
  void retire(Worker& worker) REQUIRES(mutex_);
  void retired(Worker& worker);
  void help_lone_thread(bool pending, int stalled);
  void free_lone_thread();
  store::Status add_worker() REQUIRES(mutex_);
  void add_lone_thread() REQUIRES(mutex_);
  void follow_placement(std::uint32_t client) REQUIRES(mutex_);
  bool go_close(std::uint32_t client) REQUIRES(mutex_);
  void end_close() REQUIRES(mutex_);
  void give_up() REQUIRES(mutex_);
  bool worker_waits(bool begins);
  void left(const Worker& worker, std::optional<store::Error> error, bool disconnected);
  void kick(Worker& worker) REQUIRES(mutex_);
  void kick_readers() REQUIRES(mutex_);
  void end_rests() REQUIRES(mutex_);
  static void end_rest(Worker& worker);

  fuse_session* const session_;
  const int fd_;
  const std::size_t buffer_bytes_;
  ReceiptTable* const receipts_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> alone_{false};  // who reads: the lone thread, or the workers
  std::atomic<bool> close_{false};  // is the lone thread close? Changed under mutex_
  int watch_fd_ = -1;               // eventfd: alone_ or stop_ has changed
  std::unique_ptr<Worker> lone_;    // null: there is none. Set by start(), before there are other threads
  std::thread watch_thread_;
  std::atomic<std::uint64_t> served_{0};
  std::atomic<std::uint64_t> closed_{0};
  std::atomic<std::uint64_t> stuck_{0};
  std::atomic<std::uint64_t> handed_over_{0};

  mutable store::Mutex mutex_;
  store::CondVar changed_;
  Placement placement_ GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Worker>> workers_ GUARDED_BY(mutex_);
  std::vector<pid_t> others_ GUARDED_BY(mutex_);     // while close: those that stay off its core
  std::vector<Worker*> resting_ GUARDED_BY(mutex_);  // workers, while the lone thread is in charge
  bool lone_rests_ GUARDED_BY(mutex_) = false;
  std::vector<std::unique_ptr<Worker>> retired_ GUARDED_BY(mutex_);      // about to end
  unsigned least_ GUARDED_BY(mutex_) = 0;                                // workers that stay
  std::chrono::steady_clock::time_point crowded_at_ GUARDED_BY(mutex_);  // when more were needed
  unsigned running_ GUARDED_BY(mutex_) = 0;                              // threads that have not left
  unsigned readers_ GUARDED_BY(mutex_) = 0;                              // of these, workers
  unsigned waiting_ GUARDED_BY(mutex_) = 0;  // of these, those that wait in the store
  bool disconnected_ GUARDED_BY(mutex_) = false;
  std::optional<store::Error> error_ GUARDED_BY(mutex_);
};

}  // namespace lrufs::fs::fuse
