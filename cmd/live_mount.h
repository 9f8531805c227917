// Talking to a mount that runs, and to the process behind it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "store/error.h"

namespace lrufs::cmd {

// errno of "the daemon behind this mount is gone".
bool is_dead_mount(int error);

// The virtual xattr user.lrufs.stats of a mount's root. kStale if its daemon is gone, kUnsupported if there
// is no such thing, i.e. if this is no mount of lrufs.
store::Result<nlohmann::json> mount_statistics(const std::string& mount_point);

// The control folder of the mount that `path` lies in, "/mnt/.lrufs". kUnsupported if it has none, kInvalid
// if it is no mount of lrufs, kStale if its daemon is gone.
store::Result<std::string> control_folder_of(const std::string& path);

// A member of the statistics; 0 or "" if it is missing or of another type.
std::uint64_t number_in(const nlohmann::json& statistics, const char* key);
std::string text_in(const nlohmann::json& statistics, const char* key);

// Does somebody hold the store's lock, so that it cannot be opened (`for_reading`: be opened read-only)?
// False also if the file cannot be seen from here.
bool store_is_locked(const std::string& store, bool for_reading = false);
// Where the store is mounted, as far as the table of mounts tells.
std::optional<std::string> mount_of_store(const std::string& store);

// A process that is waited for. Survives the reuse of its number.
class ProcessHandle {
 public:
  // Empty if it does not exist, or is no lrufs (a number from another pid namespace).
  static std::optional<ProcessHandle> of_daemon(pid_t pid);
  ProcessHandle(ProcessHandle&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  ProcessHandle(const ProcessHandle&) = delete;
  ProcessHandle& operator=(const ProcessHandle&) = delete;
  ProcessHandle& operator=(ProcessHandle&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~ProcessHandle();
  [[nodiscard]] bool has_ended() const;

 private:
  explicit ProcessHandle(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace lrufs::cmd
