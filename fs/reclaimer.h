// Reclaimer: one thread that destroys orphans whose last lookup is gone, in batches, so that a FORGET never
// waits for the writer.
//
// It waits a moment for more before it begins: a thread that were woken for each FORGET would take a core
// from the client that sent it, or wake one that sleeps.
//
// The queue is bounded. What does not fit is not lost: it sets a flag, and the thread then asks the store for
// all of its orphans that nobody holds. The same way serves what a crash left behind.
//
// Where the kernel may hold inodes that nobody has counted (node_table.h), a gate asks it first. What it
// holds is left alone, and comes again when the kernel forgets it.
//
// Thread-safety: push(), request_leftovers() and wait_idle() from any thread; stop() once. No lock is held
// while the store works. Ownership: the store must outlive stop().
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "store/store.h"
#include "store/thread_annotations.h"

namespace lrufs::fs {

class Reclaimer {
 public:
  struct Gate {
    std::function<bool(store::Ino)> may_go;       // null: all may
    std::function<void(store::Ino)> was_handled;  // after its turn
  };
  explicit Reclaimer(store::Store& store, std::size_t queue_limit = kQueueLimit, Gate gate = {});
  ~Reclaimer();  // stops
  Reclaimer(const Reclaimer&) = delete;
  Reclaimer& operator=(const Reclaimer&) = delete;

  void push(store::Ino ino) EXCLUDES(mutex_);
  void request_leftovers() EXCLUDES(mutex_);
  // Returns when everything that was asked for has been done.
  void wait_idle() EXCLUDES(mutex_);
  // Does what is queued, and ends the thread. Later pushes are ignored: the next open of the store finds
  // them.
  void stop() EXCLUDES(mutex_);

  static constexpr std::size_t kQueueLimit = 65536;

 private:
  void run() EXCLUDES(mutex_);
  void gather() REQUIRES(mutex_);
  void destroy(const std::vector<store::Ino>& inodes) EXCLUDES(mutex_);
  void destroy_leftovers() EXCLUDES(mutex_);
  void note_failure() EXCLUDES(mutex_);

  store::Store& store_;
  const std::size_t queue_limit_;
  const Gate gate_;
  store::Mutex mutex_;
  store::CondVar wake_;
  store::CondVar idle_;
  std::vector<store::Ino> queue_ GUARDED_BY(mutex_);
  bool leftovers_ GUARDED_BY(mutex_) = false;
  bool failed_ GUARDED_BY(mutex_) =
      false;  // something was not destroyed: look for leftovers with the next push
  bool working_ GUARDED_BY(mutex_) = false;
  bool asleep_ GUARDED_BY(mutex_) = false;  // until it is notified
  bool hurry_ GUARDED_BY(mutex_) = false;   // somebody waits for it
  bool stop_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace lrufs::fs
