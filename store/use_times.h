// UseTimes: when files that expire so long after their last use were used last, as far as it is not written
// yet. With Options::ttl_from_use only, and for files with a time to live only.
//
// A use costs an entry here and no write. An entry is written (reaper.cc) when it moves the file's end by a
// quarter of its time to live (a second at least), when the file's place in the expiry tree comes up, when
// there are kMax entries, and at close: that is what SIGKILL can take back.
//
// Thread-safety: all functions from any thread; one mutex, nothing is locked under it.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "store/thread_annotations.h"
#include "store/types.h"

namespace lrufs::store {

class UseTimes {
 public:
  static constexpr std::size_t kMax = 200'000;  // some 14 MiB

  // `time` in nanoseconds since 1970. `write`: it is worth it. True: there is something to be written that
  // was not before.
  bool note(Ino ino, std::uint64_t time, bool write) {
    const MutexLock lock(mutex_);
    // Nobody writes them any more: the store has failed.
    if (uses_.size() >= 2 * kMax && !uses_.contains(raw(ino))) return false;
    Use& use = uses_[raw(ino)];
    if (time > use.time) use.time = time;
    if (uses_.size() >= kMax && !full_) return full_ = true;
    if (!write || use.queued) return false;
    use.queued = true;
    queue_.push_back(ino);
    return queue_.size() == 1;
  }
  // 0: not used since it was written.
  [[nodiscard]] std::uint64_t find(Ino ino) const {
    const MutexLock lock(mutex_);
    const auto found = uses_.find(raw(ino));
    return found == uses_.end() ? 0 : found->second.time;
  }
  // What is to be written now: all, if there are too many. They stay here until they were written.
  [[nodiscard]] std::vector<Ino> take_queue(bool all) {
    const MutexLock lock(mutex_);
    std::vector<Ino> taken;
    taken.swap(queue_);
    if (!all && !full_) return taken;
    full_ = false;
    taken.clear();
    taken.reserve(uses_.size());
    for (auto& [ino, use] : uses_) {
      use.queued = true;
      taken.push_back(Ino{ino});
    }
    return taken;
  }
  // The use at `time` was written, or the file is gone.
  void written(Ino ino, std::uint64_t time) {
    const MutexLock lock(mutex_);
    const auto found = uses_.find(raw(ino));
    if (found == uses_.end()) return;
    if (found->second.time <= time) {
      uses_.erase(found);
    } else {
      found->second.queued = false;
    }
  }
  [[nodiscard]] std::size_t size() const {
    const MutexLock lock(mutex_);
    return uses_.size();
  }

 private:
  struct Use {
    std::uint64_t time = 0;
    bool queued = false;
  };
  mutable Mutex mutex_;
  std::unordered_map<std::uint64_t, Use> uses_ GUARDED_BY(mutex_);
  std::vector<Ino> queue_ GUARDED_BY(mutex_);
  bool full_ GUARDED_BY(mutex_) = false;
};

}  // namespace lrufs::store
