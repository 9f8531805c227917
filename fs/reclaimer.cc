#include "fs/reclaimer.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace lrufs::fs {

using store::Ino;
using store::MutexLock;

namespace {
// Orphans destroyed in one transaction: the writer's lock is let go between two batches.
constexpr std::size_t kBatch = 128;
// So long it waits for more, unless there are as many as these.
constexpr std::chrono::milliseconds kGather{2};
constexpr std::size_t kEnough = 64;
}  // namespace

Reclaimer::Reclaimer(store::Store& store, std::size_t queue_limit, Gate gate)
    : store_(store), queue_limit_(queue_limit), gate_(std::move(gate)), thread_([this] { run(); }) {}

Reclaimer::~Reclaimer() { stop(); }

void Reclaimer::push(Ino ino) {
  bool wake = false;
  {
    MutexLock lock(mutex_);
    if (stop_) return;
    if (queue_.size() < queue_limit_) {
      queue_.push_back(ino);
    } else {
      leftovers_ = true;
    }
    if (failed_) {
      failed_ = false;
      leftovers_ = true;
    }
    wake = asleep_ || leftovers_ || queue_.size() == kEnough || store_.is_short_of_room();
    asleep_ = false;
  }
  if (wake) wake_.notify_one();
}

void Reclaimer::request_leftovers() {
  {
    MutexLock lock(mutex_);
    if (stop_) return;
    leftovers_ = true;
  }
  wake_.notify_one();
}

void Reclaimer::wait_idle() {
  MutexLock lock(mutex_);
  hurry_ = true;
  wake_.notify_one();
  while (working_ || leftovers_ || !queue_.empty()) idle_.wait(mutex_);
}

void Reclaimer::stop() {
  {
    MutexLock lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Reclaimer::run() {
  for (;;) {
    std::vector<Ino> inodes;
    bool leftovers = false;
    {
      MutexLock lock(mutex_);
      working_ = false;
      while (queue_.empty() && !leftovers_ && !stop_) {
        hurry_ = false;
        idle_.notify_all();
        asleep_ = true;
        wake_.wait(mutex_);
        asleep_ = false;
      }
      gather();
      if (queue_.empty() && !leftovers_) {
        idle_.notify_all();
        return;
      }
      inodes.swap(queue_);
      leftovers = std::exchange(leftovers_, false);
      working_ = true;
    }
    destroy(inodes);
    if (leftovers) destroy_leftovers();
  }
}

void Reclaimer::gather() {
  const auto until = std::chrono::steady_clock::now() + kGather;
  while (queue_.size() < kEnough && !leftovers_ && !hurry_ && !stop_ && !store_.is_short_of_room()) {
    if (!wake_.wait_until(mutex_, until)) return;
  }
}

void Reclaimer::destroy(const std::vector<Ino>& inodes) {
  for (std::size_t done = 0; done < inodes.size(); done += kBatch) {
    const auto first = inodes.begin() + static_cast<std::ptrdiff_t>(done);
    const auto count = static_cast<std::ptrdiff_t>(std::min(kBatch, inodes.size() - done));
    std::vector<Ino> batch(first, first + count);
    if (gate_.may_go) std::erase_if(batch, [&](Ino ino) { return !gate_.may_go(ino); });
    if (!store_.reclaim(batch)) note_failure();
    if (gate_.was_handled) std::for_each(batch.begin(), batch.end(), gate_.was_handled);
  }
}

void Reclaimer::destroy_leftovers() {
  // One pass over the orphans that there are now; those that are held stay.
  Ino after = store::kNoIno;
  for (;;) {
    const auto some = store_.snapshot(store::Snapshot::Kind::kTransient).view().orphans(after, kBatch);
    if (!some) return note_failure();
    if (some->empty()) return;
    destroy(*some);
    after = some->back();
    MutexLock lock(mutex_);
    if (stop_) return;  // the next open goes on
  }
}

void Reclaimer::note_failure() {
  MutexLock lock(mutex_);
  failed_ = true;
}

}  // namespace lrufs::fs
