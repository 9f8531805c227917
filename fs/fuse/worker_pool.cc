#include "fs/fuse/worker_pool.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <iterator>
#include <string>
#include <system_error>
#include <utility>

#include "fs/fuse/fuse_api.h"
#include "fs/fuse/request_cost.h"
#include "fs/fuse/serve_request.h"
#include "fs/fuse/thread_core.h"
#include "fs/fuse/worker.h"
#include "store/types.h"

namespace lrufs::fs::fuse {
namespace {

using store::Code;
using store::Error;
using store::fail;
using store::MutexLock;
using store::Status;

constexpr std::size_t kPage = store::kPageSize;
constexpr std::chrono::milliseconds kWakeAgain{2};

// Ends a read(2) early. It does nothing; what counts is that it is handled, without SA_RESTART.
int wake_signal() { return SIGRTMIN; }
void on_wake(int) {}

// Requests after which the lone thread, while it is close, asks where its client is. Asking costs a fourth of
// a round trip. A client that went to another core takes longer to come back with its next request: then at
// once, but less and less often if it is only slow.
constexpr unsigned kRequestsBetweenLooks = 64;
constexpr unsigned kRequestsBetweenClients = 8;
constexpr std::chrono::microseconds kFar{18};

thread_local WorkerPool* current_pool = nullptr;  // of a worker's thread
thread_local bool is_lone_thread = false;

void prepare_wake_signal() {
  struct sigaction action {};
  action.sa_handler = on_wake;
  ::sigaction(wake_signal(), &action, nullptr);
}

void raise_event(int fd) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(fd, &one, sizeof one);
}

}  // namespace

WorkerPool::WorkerPool(fuse_session* session, std::size_t max_write, Placement::Wish wish,
                       ReceiptTable* receipts)
    : session_(session),
      fd_(fuse_session_fd(session)),
      buffer_bytes_(max_write + kPage),
      receipts_(receipts),
      placement_(wish, can_run_close()) {}

WorkerPool::~WorkerPool() {
  request_stop();
  [[maybe_unused]] const auto end = wait();
  if (watch_fd_ >= 0) ::close(watch_fd_);
}

Status WorkerPool::start(unsigned threads) {
  prepare_wake_signal();
  const MutexLock lock(mutex_);
  watch_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (watch_fd_ < 0) return fail(Code::kIo, "no file descriptors left", errno);
  // It has no id yet, so the workers begin; the first request puts it in charge.
  if (placement_.wish() != Placement::Wish::kSpread) add_lone_thread();
  for (unsigned i = 0; i < threads; ++i) {
    const Status added = add_worker();
    if (!added && readers_ == 0) return added;
    if (!added) break;  // fewer than wished, but it works
  }
  least_ = readers_;
  try {
    watch_thread_ = std::thread([this] { watch(); });
  } catch (const std::system_error& e) {
    return fail(Code::kIo, "no threads can be started", e.code().value());
  }
  ::pthread_setname_np(watch_thread_.native_handle(), "lrufs-look");
  return {};
}

std::unique_ptr<WorkerPool::Worker> WorkerPool::make_worker(bool lone) {
  auto worker =
      std::make_unique<Worker>(store::pages_for(buffer_bytes_ + kPage) * kPage, lone, receipts_ != nullptr);
  if (receipts_ != nullptr) worker->receipt = receipts_->claim();
  return worker;
}

Status WorkerPool::add_worker() {
  auto worker = make_worker(false);
  if (worker->map == nullptr) return fail(Code::kIo, "no memory for the buffers of requests", ENOMEM);
  try {
    worker->thread = std::thread([this, mine = worker.get()] { work(*mine); });
  } catch (const std::system_error& e) {
    return fail(Code::kIo, "no threads can be started", e.code().value());
  }
  ::pthread_setname_np(worker->thread.native_handle(), ("lrufs-" + std::to_string(workers_.size())).c_str());
  workers_.push_back(std::move(worker));
  ++running_;
  ++readers_;
  return {};
}

// Without it, everything works as well.
void WorkerPool::add_lone_thread() {
  auto worker = make_worker(true);
  if (worker->map == nullptr) return;
  lone_ = std::move(worker);
  try {
    lone_->thread = std::thread([this] { work(*lone_); });
  } catch (const std::system_error&) {
    return;  // it has no id then, and is never put in charge
  }
  ::pthread_setname_np(lone_->thread.native_handle(), "lrufs-lone");
  ++running_;
}

// --- who reads ---------------------------------------------------------------------------------------------

void WorkerPool::note_request(std::uint32_t client) {
  if (lone_ == nullptr) return;
  // Who finds it taken is not the only one, and is not counted: only several clients lose requests here.
  if (!mutex_.try_lock()) return;
  placement_.request(client, std::chrono::steady_clock::now());
  follow_placement(client);
  mutex_.unlock();
}

// Makes it so.
void WorkerPool::follow_placement(std::uint32_t client) {
  using Mode = Placement::Mode;
  if (placement_.mode() == Mode::kClose && !close_ && !stop_ && !go_close(client)) placement_.cannot_close();
  if (placement_.mode() != Mode::kClose && close_) end_close();
  const bool alone = placement_.mode() != Mode::kSpread && lone_->id != 0 && !stop_;
  if (alone == alone_) return;
  alone_ = alone;
  if (alone) {
    kick_readers();
    if (lone_rests_) end_rest(*lone_);
    lone_rests_ = false;
  } else {
    kick(*lone_);
    end_rests();
    if (waiting_ >= readers_ && !stop_ && workers_.size() < kMaxWorkers) (void)add_worker();
  }
  if (watch_fd_ >= 0) raise_event(watch_fd_);
}

bool WorkerPool::go_close(std::uint32_t client) {
  const int core = core_of(client).value_or(::sched_getcpu());
  close_ = true;
  others_ = own_threads();
  std::erase(others_, lone_->id);
  if (give_way(lone_->id, true) && pin_lone_thread(core)) {
    closed_.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  end_close();
  return false;
}

bool WorkerPool::pin_lone_thread(int core) {
  if (!pin_to(lone_->id, core)) return false;
  lone_->core = core;
  // It gives way to everything, so also to what evicts and checkpoints, for milliseconds.
  for (const pid_t other : others_) move_off(other, core);
  return true;
}

void WorkerPool::end_close() {
  close_ = false;
  for (const pid_t other : others_) unpin(other);
  others_.clear();
  free_lone_thread();
  lone_->core = kNowhere;
}

void WorkerPool::give_up() {
  if (!alone_) return;
  stuck_.fetch_add(1, std::memory_order_relaxed);
  placement_.stuck(std::chrono::steady_clock::now());
  follow_placement(0);
}

bool WorkerPool::waits(bool begins) { return current_pool == nullptr || current_pool->worker_waits(begins); }

bool WorkerPool::worker_waits(bool begins) {
  const MutexLock lock(mutex_);
  if (is_lone_thread) {
    if (begins) give_up();
    return stop_ || waiting_ < readers_;
  }
  if (!begins) {
    --waiting_;
    return true;
  }
  ++waiting_;
  if (waiting_ >= least_) crowded_at_ = std::chrono::steady_clock::now();
  if (waiting_ < readers_ || alone_ || stop_) return true;
  return workers_.size() < kMaxWorkers && add_worker().has_value();
}

// --- a thread's work ---------------------------------------------------------------------------------------

void WorkerPool::process(Worker& worker, std::size_t bytes) {
  serve_request(session_, worker.buffer(), bytes, worker.receipt);
  served_.fetch_add(1, std::memory_order_relaxed);
}

void WorkerPool::stay_beside(std::uint32_t client, std::chrono::steady_clock::duration waited) {
  Worker& one = *lone_;
  ++one.since_look;
  const bool moved = one.core == kNowhere;
  const bool due = one.since_look >= kRequestsBetweenLooks ||
                   (waited > kFar && one.since_look >= one.look_after) ||
                   (client != one.client && one.since_look >= kRequestsBetweenClients);
  if (client == 0 || !(moved || due)) return;
  one.since_look = 0;
  one.client = client;
  const int core = core_of(client).value_or(::sched_getcpu());
  if (core == one.core) {
    one.look_after = std::min(2 * one.look_after, kRequestsBetweenLooks);
    return;
  }
  one.look_after = 1;
  const MutexLock lock(mutex_);
  if (close_) pin_lone_thread(core);
}

void WorkerPool::serve_alone(std::size_t bytes, std::chrono::steady_clock::duration waited) {
  Worker& one = *lone_;
  const std::uint32_t client = client_of(one.buffer(), bytes);
  one.serving = true;
  note_request(client);
  // As long as nobody waits, it does what is much itself: a worker would have to be woken. But not while it
  // gives way to others.
  const RequestCost cost = cost_of(one.buffer(), bytes);
  if (cost == RequestCost::kWait || (cost == RequestCost::kMuch && (close_ || request_pending()))) {
    if (!hand_over(bytes)) {
      {
        const MutexLock lock(mutex_);
        give_up();
      }
      process(one, bytes);
    }
  } else {
    if (close_) stay_beside(client, waited);
    process(one, bytes);
  }
  one.served.fetch_add(1, std::memory_order_relaxed);
  one.serving = false;
}

// To a worker that rests; none does: false.
bool WorkerPool::hand_over(std::size_t bytes) {
  Worker& one = *lone_;
  const MutexLock lock(mutex_);
  if (resting_.empty()) return false;
  Worker& other = *resting_.back();
  resting_.pop_back();
  std::swap(one.map, other.map);
  other.job = bytes;
  handed_over_.fetch_add(1, std::memory_order_relaxed);
  end_rest(other);
  return true;
}

void WorkerPool::end_rest(Worker& worker) {
  worker.rest_ended = 1;
  worker.rest_ended.notify_one();
}

void WorkerPool::end_rests() {
  for (Worker* worker : resting_) end_rest(*worker);
  resting_.clear();
  if (lone_rests_) end_rest(*lone_);
  lone_rests_ = false;
}

// Until it is this thread's turn to read, or there is a request for it.
void WorkerPool::rest(Worker& worker) {
  {
    const MutexLock lock(mutex_);
    if (stop_ || worker.is_lone == alone_) return;
    worker.rest_ended = 0;
    if (worker.is_lone) {
      lone_rests_ = true;
    } else {
      resting_.push_back(&worker);
    }
  }
  while (worker.rest_ended == 0) worker.rest_ended.wait(0);
  if (worker.job == 0) return;
  process(worker, std::exchange(worker.job, 0));
}

// Reads one request and serves it. False, with errno: none came.
bool WorkerPool::read_one(Worker& worker) {
  // The order matters: who kicks sets stop_, alone_ or `retires` and then looks at `reading`, we the other
  // way round, so that either we see the change or are seen (sequentially consistent).
  worker.reading = kReading;
  ssize_t n = -1;
  const auto before_read = std::chrono::steady_clock::now();
  errno = EINTR;
  if (!stop_ && !worker.retires && worker.is_lone == alone_) n = ::read(fd_, worker.buffer(), buffer_bytes_);
  const int read_errno = errno;
  if (const int before = worker.reading.exchange(kNotReading); before != kReading) {
    // The signal is on its way; nothing that it could interrupt may begin.
    if (before == kBeingKicked) {
      while (worker.reading != kKicked) ::sched_yield();
      worker.reading = kNotReading;
    }
    this_thread();  // any system call: signals are taken at its end
  }
  errno = read_errno;
  if (n < 0) return false;
  const auto bytes = static_cast<std::size_t>(n);
  if (worker.is_lone && alone_) {
    serve_alone(bytes, std::chrono::steady_clock::now() - before_read);
  } else {
    if (!worker.is_lone) note_request(client_of(worker.buffer(), bytes));
    process(worker, bytes);
  }
  return true;
}

void WorkerPool::work(Worker& worker) {
  current_pool = this;
  is_lone_thread = worker.is_lone;
  if (worker.is_lone) worker.id = this_thread();
  std::optional<Error> error;
  bool disconnected = false;
  while (!stop_) {
    if (worker.retires) return retired(worker);
    if (worker.is_lone != alone_) {
      rest(worker);
      continue;
    }
    if (read_one(worker)) continue;
    const int why = errno;
    // ENOENT: the request was withdrawn while it was being read.
    if (why == EINTR || why == EAGAIN || why == ENOENT) continue;
    if (why == ENODEV || why == ECONNABORTED) {
      disconnected = true;
    } else {
      error =
          Error(Code::kIo, "reading requests from /dev/fuse: " + std::generic_category().message(why), why);
    }
    break;
  }
  left(worker, std::move(error), disconnected);
}

// --- the end -----------------------------------------------------------------------------------------------

void WorkerPool::left(const Worker& worker, std::optional<Error> error, bool disconnected) {
  // One that leaves early takes the others with it: a pool that only seems to be whole would be slow for no
  // reason.
  request_stop();
  const MutexLock lock(mutex_);
  --running_;
  if (!worker.is_lone) --readers_;
  disconnected_ = disconnected_ || disconnected;
  if (error && !error_) error_ = std::move(error);
  changed_.notify_all();
}

void WorkerPool::request_stop() {
  stop_ = true;
  // As long as it gives way to others, it may take long to leave.
  if (lone_ != nullptr && close_) free_lone_thread();
  const MutexLock lock(mutex_);
  end_rests();
  if (lone_ != nullptr && close_) end_close();
  if (watch_fd_ >= 0) raise_event(watch_fd_);
  changed_.notify_all();
}

bool WorkerPool::ended_within(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  const MutexLock lock(mutex_);
  while (running_ > 0) {
    if (!changed_.wait_until(mutex_, deadline)) return running_ == 0;
  }
  return true;
}

void WorkerPool::kick(Worker& worker) {
  for (int seen : {kReading, kKicked}) {
    if (!worker.reading.compare_exchange_strong(seen, kBeingKicked)) continue;
    ::pthread_kill(worker.thread.native_handle(), wake_signal());
    worker.reading = kKicked;
    return;
  }
}

void WorkerPool::kick_readers() {
  for (const auto& worker : workers_) kick(*worker);
}

store::Result<WorkerPool::End> WorkerPool::wait() {
  {
    const MutexLock lock(mutex_);
    while (running_ > 0) {
      if (!stop_) {
        changed_.wait(mutex_);
        continue;
      }
      // Again and again: a signal that comes just before read(2) begins is lost.
      kick_readers();
      if (lone_ != nullptr) kick(*lone_);
      changed_.wait_until(mutex_, std::chrono::steady_clock::now() + kWakeAgain);
    }
  }
  std::vector<std::unique_ptr<Worker>> ended;
  {
    const MutexLock lock(mutex_);
    ended.swap(workers_);  // all have left: none is added any more
    std::move(retired_.begin(), retired_.end(), std::back_inserter(ended));
    retired_.clear();
  }
  for (const auto& worker : ended) worker->thread.join();
  if (lone_ != nullptr && lone_->thread.joinable()) lone_->thread.join();
  if (watch_thread_.joinable()) watch_thread_.join();
  const MutexLock lock(mutex_);
  if (error_) return fail(*error_);
  return disconnected_ ? End::kDisconnected : End::kStopped;
}

WorkerPool::Counts WorkerPool::counts() const {
  const MutexLock lock(mutex_);
  return {.alone = alone_,
          .close = close_,
          .closed = closed_,
          .stuck = stuck_,
          .requests = lone_ != nullptr ? lone_->served.load() : 0,
          .handed_over = handed_over_,
          .workers = readers_};
}

}  // namespace lrufs::fs::fuse
