// WorkerPool's threads: the part of them that worker_pool.cc and worker_watch.cc share.
//
// Ownership: the pool's; a worker lives until its thread has ended. Thread-safety: `map` and `job` are the
// thread's own, or, while it rests, whose who holds the pool's mutex; the rest is atomic or constant.
#pragma once

#include <linux/fuse.h>
#include <sys/mman.h>
#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>

#include "fs/fuse/worker_pool.h"
#include "store/types.h"

namespace lrufs::fs::fuse {

// Worker::reading. A signal is only sent to a thread in, or on its way to, read(2); one that came too late is
// taken before anything else is done (read_one()), for other system calls must not be interrupted.
enum Reading : int { kNotReading, kReading, kBeingKicked, kKicked };

// A WRITE's data begins here; placed at the end of a page, so that the data itself is aligned.
inline constexpr std::size_t kWriteHeader = sizeof(fuse_in_header) + sizeof(fuse_write_in);
inline constexpr int kNowhere = -1;

struct WorkerPool::Worker {
  // `locked`: the buffer is there from the beginning. SIGKILL while the kernel copies a request into a page
  // that is not would end the request, and nobody could take over.
  Worker(std::size_t bytes, bool lone, bool locked) : map_bytes(bytes), is_lone(lone) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (locked ? MAP_POPULATE : 0);
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED) return;
    map = static_cast<std::byte*>(memory);
    if (locked) (void)::mlock(map, map_bytes);  // without the right to, it is there nearly always
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() {
    if (map != nullptr) ::munmap(map, map_bytes);
  }
  [[nodiscard]] std::byte* buffer() const { return map + (store::kPageSize - kWriteHeader); }

  std::byte* map = nullptr;
  const std::size_t map_bytes;
  const bool is_lone;
  std::atomic<int> reading{kNotReading};
  std::atomic<std::uint32_t> rest_ended{0};
  std::atomic<bool> retires{false};  // it leaves after the request that it is serving
  std::size_t job = 0;               // bytes of a request that was put into `map` while it rested
  Receipt* receipt = nullptr;        // constant
  std::thread thread;

  // Of the lone thread.
  std::atomic<pid_t> id{0};
  std::atomic<std::uint64_t> served{0};
  std::atomic<bool> serving{false};
  std::atomic<int> core{kNowhere};  // it is pinned to
  std::uint32_t client = 0;
  unsigned since_look = 0;  // requests
  unsigned look_after = 1;  // slow ones
};

}  // namespace lrufs::fs::fuse
