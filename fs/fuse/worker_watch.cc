// WorkerPool's watch: while there are requests, it looks whether they get on.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "fs/fuse/thread_core.h"
#include "fs/fuse/worker.h"

namespace lrufs::fs::fuse {
namespace {

using store::MutexLock;

// Milliseconds: how often it looks, and after how long without progress it acts. Each look costs a close
// client its core, now and then (the kernel wakes it where the watch just ran), so they are few then.
constexpr int kLook = 1;
constexpr int kLookClose = 4;
constexpr int kMoved = 2;
constexpr int kGivenUp = 4;
constexpr int kAsleep = 5;
// For more workers than there were at the start.
constexpr int kLookAtSpare = 1000;
constexpr std::chrono::seconds kSpareFor{5};

}  // namespace

// Looks whether requests get on, as long as there are any; then sleeps until the next one.
void WorkerPool::watch() {
  std::uint64_t seen = 0;
  int stalled = 0;
  int quiet = 0;
  bool spare = false;  // are there more workers than there were at the start?
  auto next_spare = std::chrono::steady_clock::now();
  while (!stop_) {
    std::array<pollfd, 2> fds{
        {{.fd = watch_fd_, .events = POLLIN, .revents = 0}, {.fd = fd_, .events = POLLIN, .revents = 0}}};
    // A request wakes who polls and one who reads: asleep, both come; awake, only the timer wakes us.
    const bool asleep = quiet >= kAsleep;
    const int look = close_ ? kLookClose : kLook;
    const int n_ready = ::poll(fds.data(), asleep ? 2 : 1, !asleep ? look : spare ? kLookAtSpare : -1);
    if (stop_ || (fds[1].revents & POLLERR) != 0) return;  // POLLERR: the connection has ended
    if (const auto now = std::chrono::steady_clock::now(); now >= next_spare) {
      spare = retire_spare_workers();
      next_spare = now + std::chrono::milliseconds(kLookAtSpare);
    }
    if (asleep && n_ready == 0) continue;
    if (asleep) quiet = 0;
    if (fds[0].revents != 0) {
      std::uint64_t events = 0;
      [[maybe_unused]] const ssize_t n = ::read(watch_fd_, &events, sizeof events);
    }
    const bool pending = request_pending();
    const bool alone = alone_;
    const bool serving = alone && lone_->serving;
    const std::uint64_t served = alone ? lone_->served.load() : served_.load();
    if (served != seen || (!pending && !serving)) {
      stalled = 0;
      quiet = served != seen ? 0 : quiet + look;
      seen = served;
      continue;
    }
    stalled += look;
    if (alone) {
      help_lone_thread(pending, stalled);
    } else if (stalled >= kGivenUp) {
      // All workers are in requests, and none ends: they wait for a lock that somebody has who waits for the
      // disk, say.
      stalled = 0;
      const MutexLock lock(mutex_);
      if (!alone_ && !stop_ && !a_worker_reads() && workers_.size() < kMaxWorkers) (void)add_worker();
    }
  }
}

// True: there are still more than there were at the start.
bool WorkerPool::retire_spare_workers() {
  std::vector<std::unique_ptr<Worker>> ended;
  bool more = false;
  {
    const MutexLock lock(mutex_);
    ended.swap(retired_);
    const auto now = std::chrono::steady_clock::now();
    if (waiting_ > least_) crowded_at_ = now;
    more = readers_ > least_ || !ended.empty();
    if (readers_ > least_ && now - crowded_at_ >= kSpareFor && !stop_) {
      for (std::size_t i = least_; i < workers_.size(); ++i) retire(*workers_[i]);
    }
  }
  for (const auto& worker : ended) worker->thread.join();
  return more;
}

// While the lone thread is in charge, one that does not rest has a request, and is asked the next time.
void WorkerPool::retire(Worker& worker) {
  if (!alone_) {
    worker.retires = true;
    kick(worker);
    return;
  }
  const auto resting = std::find(resting_.begin(), resting_.end(), &worker);
  if (resting == resting_.end()) return;
  worker.retires = true;
  resting_.erase(resting);
  end_rest(worker);
}

void WorkerPool::retired(Worker& worker) {
  const MutexLock lock(mutex_);
  if (receipts_ != nullptr) receipts_->release(worker.receipt);
  std::erase(others_, this_thread());
  const auto mine = std::find_if(workers_.begin(), workers_.end(),
                                 [&](const auto& other) { return other.get() == &worker; });
  retired_.push_back(std::move(*mine));
  workers_.erase(mine);
  --running_;
  --readers_;
  changed_.notify_all();
}

// One that does will take the next request, as soon as it has a core.
bool WorkerPool::a_worker_reads() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return worker->reading != kNotReading; });
}

bool WorkerPool::request_pending() const {
  pollfd fd{.fd = fd_, .events = POLLIN, .revents = 0};
  return ::poll(&fd, 1, 0) == 1 && (fd.revents & POLLIN) != 0;
}

void WorkerPool::help_lone_thread(bool pending, int stalled) {
  const bool close = close_;
  if (!close && lone_->reading != kNotReading) return;  // it waits for a core, as the workers would
  if ((pending || close) && stalled >= (close && pending ? kMoved : kGivenUp)) {
    // For alone not sooner: on a busy machine all threads wait for a core at times.
    if (close) free_lone_thread();
    const MutexLock lock(mutex_);
    give_up();
  } else if (close && stalled >= kMoved) {
    // Nobody waits for it but whoever wants its locks: its client has an answer, and computes. Elsewhere it
    // can finish.
    const int core = lone_->core.exchange(kNowhere);
    if (core != kNowhere) move_off(lone_->id, core);
    if (!close_) unpin(lone_->id);
  }
}

// Without a lock: it may have the one that we would wait for.
void WorkerPool::free_lone_thread() {
  give_way(lone_->id, false);
  unpin(lone_->id);
}

}  // namespace lrufs::fs::fuse
