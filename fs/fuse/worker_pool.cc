#include "fs/fuse/worker_pool.h"

#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "fs/fuse/fuse_api.h"
#include "fs/fuse/tmpfile_request.h"
#include "store/types.h"

namespace lrufs::fs::fuse {
namespace {

using store::Code;
using store::Error;
using store::fail;
using store::MutexLock;
using store::Status;

constexpr std::size_t kPage = store::kPageSize;
// A WRITE's data begins here; placed at the end of a page, so that the data itself is aligned.
constexpr std::size_t kWriteHeader = sizeof(fuse_in_header) + sizeof(fuse_write_in);
constexpr std::chrono::milliseconds kWakeAgain{2};

// Ends a read(2) early. It does nothing; what counts is that it is handled, without SA_RESTART.
int wake_signal() { return SIGRTMIN; }
void on_wake(int) {}

thread_local WorkerPool* current_pool = nullptr;  // of a worker's thread

void prepare_wake_signal() {
  struct sigaction action {};
  action.sa_handler = on_wake;
  ::sigaction(wake_signal(), &action, nullptr);
}

}  // namespace

struct WorkerPool::Worker {
  explicit Worker(std::size_t bytes) : map_bytes(bytes) {
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED) map = static_cast<std::byte*>(memory);
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() {
    if (map != nullptr) ::munmap(map, map_bytes);
  }
  [[nodiscard]] std::byte* buffer() const { return map + (kPage - kWriteHeader); }

  std::byte* map = nullptr;
  const std::size_t map_bytes;
  std::atomic<bool> reading{false};  // in read(2), or about to be: may be woken
  std::thread thread;
};

WorkerPool::WorkerPool(fuse_session* session, std::size_t max_write)
    : session_(session), fd_(fuse_session_fd(session)), buffer_bytes_(max_write + kPage) {}

WorkerPool::~WorkerPool() {
  request_stop();
  [[maybe_unused]] const auto end = wait();
}

Status WorkerPool::start(unsigned threads) {
  prepare_wake_signal();
  const MutexLock lock(mutex_);
  for (unsigned i = 0; i < threads; ++i) {
    const Status added = add_worker();
    if (!added && running_ == 0) return added;
    if (!added) break;  // fewer than wished, but it works
  }
  return {};
}

Status WorkerPool::add_worker() {
  auto worker = std::make_unique<Worker>(store::pages_for(buffer_bytes_ + kPage) * kPage);
  if (worker->map == nullptr) return fail(Code::kIo, "no memory for the buffers of requests", ENOMEM);
  try {
    worker->thread = std::thread([this, mine = worker.get()] { work(*mine); });
  } catch (const std::system_error& e) {
    return fail(Code::kIo, "no threads can be started", e.code().value());
  }
  ::pthread_setname_np(worker->thread.native_handle(), ("lrufs-" + std::to_string(workers_.size())).c_str());
  workers_.push_back(std::move(worker));
  ++running_;
  return {};
}

bool WorkerPool::waits(bool begins) { return current_pool == nullptr || current_pool->worker_waits(begins); }

bool WorkerPool::worker_waits(bool begins) {
  const MutexLock lock(mutex_);
  if (!begins) {
    --waiting_;
    return true;
  }
  ++waiting_;
  if (waiting_ < running_ || stop_) return true;
  return workers_.size() < kMaxWorkers && add_worker().has_value();
}

void WorkerPool::work(Worker& worker) {
  current_pool = this;
  std::optional<Error> error;
  bool disconnected = false;
  while (true) {
    // The order matters: wake_readers() sets stop_ and then looks at `reading`, we the other way round, so
    // that either we see the wish or are seen (both sequentially consistent).
    worker.reading = true;
    if (stop_) break;
    const ssize_t n = ::read(fd_, worker.buffer(), buffer_bytes_);
    const int read_errno = errno;
    worker.reading = false;
    if (n >= 0) {
      fuse_buf buffer{};
      buffer.size = static_cast<std::size_t>(n);
      buffer.mem = worker.buffer();
      disguise_tmpfile(buffer.mem, buffer.size);
      fuse_session_process_buf(session_, &buffer);
      continue;
    }
    // ENOENT: the request was withdrawn while it was being read.
    if (read_errno == EINTR || read_errno == EAGAIN || read_errno == ENOENT) continue;
    if (read_errno == ENODEV || read_errno == ECONNABORTED) {
      disconnected = true;
    } else {
      error =
          Error(Code::kIo, "reading requests from /dev/fuse: " + std::generic_category().message(read_errno),
                read_errno);
    }
    break;
  }
  worker.reading = false;
  left(std::move(error), disconnected);
}

void WorkerPool::left(std::optional<Error> error, bool disconnected) {
  // One that leaves early takes the others with it: a pool that only seems to be whole would be slow for no
  // reason.
  stop_ = true;
  const MutexLock lock(mutex_);
  --running_;
  disconnected_ = disconnected_ || disconnected;
  if (error && !error_) error_ = std::move(error);
  changed_.notify_all();
}

void WorkerPool::request_stop() {
  stop_ = true;
  const MutexLock lock(mutex_);
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

void WorkerPool::wake_readers() {
  for (const auto& worker : workers_) {
    if (worker->reading) {
      ::pthread_kill(worker->thread.native_handle(), wake_signal());
    }
  }
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
      wake_readers();
      changed_.wait_until(mutex_, std::chrono::steady_clock::now() + kWakeAgain);
    }
  }
  std::vector<std::unique_ptr<Worker>> ended;
  {
    const MutexLock lock(mutex_);
    ended.swap(workers_);  // all have left: none is added any more
  }
  for (const auto& worker : ended) worker->thread.join();
  const MutexLock lock(mutex_);
  if (error_) return fail(*error_);
  return disconnected_ ? End::kDisconnected : End::kStopped;
}

}  // namespace lrufs::fs::fuse
