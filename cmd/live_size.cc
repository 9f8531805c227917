#include "cmd/live_size.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>

#include "cmd/interrupt.h"
#include "cmd/live_mount.h"
#include "cmd/new_file.h"
#include "cmd/os.h"
#include "cmd/progress.h"

namespace lrufs::cmd {
namespace {

using nlohmann::json;
using store::Code;
using store::fail;
using store::Result;
using store::Status;

// What the control file says: each look at it is a new one.
json state_in(const std::string& path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  json state = json::parse(text, nullptr, false);
  return state.is_object() ? state : json::object();
}

// Draws how far it is, as long as it lives. The signals are the other thread's, whose write(2) they end.
class ProgressWatch {
 public:
  ProgressWatch(const std::string& what, std::string path) : progress_(what, Progress::Unit::kBytes, 0) {
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this, path = std::move(path)] { watch(path); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  ~ProgressWatch() {
    ended_ = true;
    thread_.join();
    progress_.clear();
  }
  ProgressWatch(const ProgressWatch&) = delete;
  ProgressWatch& operator=(const ProgressWatch&) = delete;

 private:
  void watch(const std::string& path) {
    constexpr std::chrono::milliseconds kPause{20};
    while (!ended_) {
      const json state = state_in(path);
      if (text_in(state, "state") == "running") {
        progress_.set_total(number_in(state, "all_bytes"));
        progress_.set(number_in(state, "done_bytes"));
      }
      std::this_thread::sleep_for(kPause);
    }
  }
  Progress progress_;
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

struct Seen {
  std::string store;
  SizeFigures figures;
  std::uint64_t evicted = 0;
};

Result<Seen> look_at(const std::string& mount_point) {
  LRUFS_TRY_ASSIGN(const json all, mount_statistics(mount_point));
  const json statistics = all.value("statistics", json::object());
  Seen seen;
  seen.store = text_in(all, "store");
  seen.figures = {number_in(statistics, "bound_bytes"), number_in(statistics, "file_bytes"), 0,
                  number_in(statistics, "files")};
  seen.figures.disk = seen.figures.file;
  struct stat attributes {};
  if (::stat(seen.store.c_str(), &attributes) == 0)
    seen.figures.disk = static_cast<std::uint64_t>(attributes.st_blocks) * 512;
  const json evictions = statistics.value("evictions", json::object());
  seen.evicted = number_in(evictions.value("capacity", json::object()), "objects");
  return seen;
}

store::Error why(int error, const std::string& path, const std::string& mount_point) {
  switch (error) {
    case EINTR:
      return interrupted()
                 ? store::Error(Code::kIo, "interrupted; " + shown(mount_point) + " has its old size", error)
                 : store::Error(Code::kIo,
                                "the daemon of " + shown(mount_point) +
                                    " ended it, since it was stopped or replaced: try again",
                                error);
    case EROFS:
      return {Code::kReadOnly, "the mount " + shown(mount_point) + " is read-only", error};
    default:
      break;
  }
  const json state = state_in(path);
  if (text_in(state, "state") == "failed") {
    return {error == ENOSPC  ? Code::kNoSpace
            : error == EBUSY ? Code::kBusy
                             : Code::kIo,
            shown(mount_point) + ": " + text_in(state, "message"), error};
  }
  if (error == EBUSY)
    return {Code::kBusy, shown(mount_point) + " is being resized or compacted already", error};
  return {Code::kIo, shown(mount_point) + ": " + errno_text(error), error};
}

}  // namespace

Result<SizeChange> change_mounted_size(const std::string& mount_point, const std::string& file,
                                       const std::string& command) {
  LRUFS_TRY_ASSIGN(const std::string folder, control_folder_of(mount_point));
  LRUFS_TRY_ASSIGN(const Seen before, look_at(mount_point));
  const std::string path = folder + "/" + file;
  const Descriptor out(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!out) {
    const int error = errno;
    if (error == EACCES || error == EPERM)
      return fail(Code::kNotPermitted,
                  "only who has mounted it (and root) may do that: " + shown(mount_point), error);
    if (error == ENOENT)
      return fail(Code::kUnsupported,
                  "the daemon of " + shown(mount_point) +
                      " is of a version that cannot do that: unmount, and name the store");
    return fail(Code::kIo, "cannot open " + shown(path) + ": " + errno_text(error), error);
  }
  int error = 0;
  {
    const ProgressWatch watch(file, path);
    LRUFS_TRY(not_interrupted());
    if (::write(out.get(), command.data(), command.size()) != static_cast<ssize_t>(command.size()))
      error = errno;
  }
  if (error != 0) return fail(why(error, path, mount_point));
  LRUFS_TRY_ASSIGN(const Seen after, look_at(mount_point));
  return SizeChange{after.store, before.figures, after.figures, after.evicted - before.evicted};
}

}  // namespace lrufs::cmd
