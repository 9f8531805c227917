// Notifier: tells the kernel which names eviction took away, so that its caches of names, attributes and
// listings stay true. One thread of its own: the kernel takes the directory's lock for a notification, and a
// request handler may be what the holder of that lock is waiting for.
//
// removed() never blocks on the kernel. The queue is bounded: beyond the bound only the directories are
// remembered, whose listings and attributes are dropped as a whole; a name that is missed goes stale for
// `recency` at most.
//
// Thread-safety: removed() and counts() from any thread; start() and stop() from one.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "fs/node_table.h"
#include "store/store.h"
#include "store/thread_annotations.h"

struct fuse_session;

namespace lrufs::fs::fuse {

class KernelNotices;

class Notifier {
 public:
  static constexpr std::size_t kDefaultBound = 65'536;  // names, and the same number of directories

  explicit Notifier(std::size_t bound = kDefaultBound);
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;
  ~Notifier();  // stop()

  // From now on the kernel is told. `nodes`: which inodes the kernel holds; what it does not hold it cannot
  // have cached. Both must live until stop() returns.
  // `socket` and `generation`: as KernelNotices has them.
  void start(fuse_session* session, const NodeTable& nodes, int socket = -1, std::uint32_t generation = 0);
  // Ends the thread; what is still queued is dropped. The requests must still be served meanwhile, or the
  // connection ended. Idempotent.
  void stop();

  // Names that went away. Before start() and after stop() nothing happens: no kernel is there to know them.
  void removed(const std::vector<store::Evicted>& evicted);

  // Makes the kernel ask for an object's attributes again. It takes no lock for that, so that a handler may
  // call this before it answers.
  void attributes_changed(store::Ino ino);

  struct Counts {
    std::uint64_t names = 0;        // told one by one
    std::uint64_t directories = 0;  // dropped as a whole
    std::uint64_t coalesced = 0;    // names beyond the bound, told by their directory only
    std::uint64_t queued = 0;       // names and directories waiting
  };
  [[nodiscard]] Counts counts() const;
  // True once the kernel was told of everything so far. Not from a request whose caller holds a directory's
  // lock.
  bool idle_within(std::chrono::milliseconds timeout);

 private:
  using InoSet = std::unordered_set<std::uint64_t>;
  struct Work {
    std::vector<store::Evicted> names;
    InoSet directories;
  };

  void run();
  bool next(Work& work);
  void tell_names(Work& work);
  void tell_directories(const InoSet& directories);
  void add_directory(std::uint64_t ino) REQUIRES(mutex_);

  const std::size_t bound_;
  mutable store::Mutex mutex_;
  store::CondVar wake_;
  Work work_ GUARDED_BY(mutex_);
  Counts counts_ GUARDED_BY(mutex_);
  fuse_session* session_ GUARDED_BY(mutex_) = nullptr;
  const NodeTable* nodes_ GUARDED_BY(mutex_) = nullptr;
  bool running_ GUARDED_BY(mutex_) = false;
  bool idle_ GUARDED_BY(mutex_) = true;
  store::CondVar became_idle_;
  std::unique_ptr<KernelNotices> notices_;  // of the thread, but for its stop()
  // Directories to be told once more, see run(). Only the thread uses it.
  InoSet settling_;
  std::chrono::steady_clock::time_point settle_at_;
  std::thread thread_;
};

}  // namespace lrufs::fs::fuse
