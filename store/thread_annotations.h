// clang's thread-safety annotations and the lock types that carry them
// (https://clang.llvm.org/docs/ThreadSafetyAnalysis.html). With other compilers they vanish.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#if defined(__clang__)
#define LRUFS_TSA(x) __attribute__((x))
#else
#define LRUFS_TSA(x)
#endif

#define CAPABILITY(x) LRUFS_TSA(capability(x))
#define SCOPED_CAPABILITY LRUFS_TSA(scoped_lockable)
#define GUARDED_BY(x) LRUFS_TSA(guarded_by(x))
#define PT_GUARDED_BY(x) LRUFS_TSA(pt_guarded_by(x))
#define REQUIRES(...) LRUFS_TSA(requires_capability(__VA_ARGS__))
#define ACQUIRE(...) LRUFS_TSA(acquire_capability(__VA_ARGS__))
#define RELEASE(...) LRUFS_TSA(release_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) LRUFS_TSA(try_acquire_capability(__VA_ARGS__))
#define EXCLUDES(...) LRUFS_TSA(locks_excluded(__VA_ARGS__))
#define ACQUIRED_BEFORE(...) LRUFS_TSA(acquired_before(__VA_ARGS__))
#define ACQUIRED_AFTER(...) LRUFS_TSA(acquired_after(__VA_ARGS__))
#define RETURN_CAPABILITY(x) LRUFS_TSA(lock_returned(x))
#define ASSERT_CAPABILITY(x) LRUFS_TSA(assert_capability(x))
#define NO_THREAD_SAFETY_ANALYSIS LRUFS_TSA(no_thread_safety_analysis)

namespace lrufs::store {

// Not fair: who unlocks it and locks it again at once comes before those who wait. A thread that works
// through many short critical sections calls give_way() between them, or the others wait for all of its work.
class CAPABILITY("mutex") Mutex {
 public:
  void lock() ACQUIRE() {
    if (mutex_.try_lock()) return;
    waiting_.fetch_add(1);
    mutex_.lock();
    // In this order: who sees in give_way() that somebody waits sees `served_` change later.
    waiting_.fetch_sub(1);
    served_.fetch_add(1);
    served_.notify_all();
  }
  void unlock() RELEASE() { mutex_.unlock(); }
  bool try_lock() TRY_ACQUIRE(true) { return mutex_.try_lock(); }
  // Tells the analysis what a handle (a Transaction) guarantees by existing.
  void assert_held() const ASSERT_CAPABILITY(this) {}
  // Does somebody wait for it? As of now: for tests and give_way().
  [[nodiscard]] bool is_wanted() const { return waiting_.load() != 0; }
  // If somebody waits for it, returns after one of them has got it. Not by its holder.
  void give_way() EXCLUDES(this) {
    const std::uint32_t served = served_.load();
    if (is_wanted()) served_.wait(served);
  }

 private:
  friend class CondVar;
  std::mutex mutex_;
  std::atomic<std::uint32_t> waiting_{0};
  std::atomic<std::uint32_t> served_{0};
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Of who has it by try_lock().
class SCOPED_CAPABILITY AdoptedLock {
 public:
  explicit AdoptedLock(Mutex& mutex) REQUIRES(mutex) : mutex_(mutex) {}
  ~AdoptedLock() RELEASE() { mutex_.unlock(); }
  AdoptedLock(const AdoptedLock&) = delete;
  AdoptedLock& operator=(const AdoptedLock&) = delete;

 private:
  Mutex& mutex_;
};

// Waits release and retake the mutex; callers loop on their condition (spurious wake-ups happen).
class CondVar {
 public:
  void wait(Mutex& mutex) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  // false: the deadline passed.
  bool wait_until(Mutex& mutex, std::chrono::steady_clock::time_point deadline) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool in_time = condition_.wait_until(lock, deadline) == std::cv_status::no_timeout;
    lock.release();
    return in_time;
  }
  // By the wall clock: when that is set, the wait ends at the new time.
  void wait_until(Mutex& mutex, std::chrono::system_clock::time_point deadline) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait_until(lock, deadline);
    lock.release();
  }
  void notify_one() { condition_.notify_one(); }
  void notify_all() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace lrufs::store
