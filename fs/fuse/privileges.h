// What the kernel lets a thread or the process do, and how less becomes of it. Nothing here can be undone.
//
// The functions on capabilities and files work on the calling thread, and on what it starts later; they only
// make system calls, so that they may be called from a signal handler. confine.h applies them to all threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lrufs::fs::fuse {

// A set of capabilities, by their bits.
constexpr std::uint64_t capability_bit(unsigned capability) { return std::uint64_t{1} << capability; }

// What the thread has now (effective); 0 if the kernel does not tell.
std::uint64_t capabilities();
// Keeps what it has of `keep`, and loses the rest. False: nothing was changed.
bool drop_capabilities_but(std::uint64_t keep);

// Programs that it executes get no more rights than it has: set-id bits and file capabilities do nothing.
bool refuse_new_privileges();

// Threads that gave way to others (SCHED_IDLE) may come back without CAP_SYS_NICE from now on. False: they
// may not, for the limit is lower and cannot be raised.
bool allow_return_to_normal_priority();

// Memory that could be written cannot become executable any more. False: the kernel cannot (before 6.3).
bool refuse_new_code();

// What may still be opened by a path (Landlock). What is open stays usable.
class FileRules {
 public:
  // All paths are refused but for `readable` (and what lies below them), `writable` (to be read and written).
  // Those that do not exist are left out. On kernels without Landlock, version() is 0.
  FileRules(const std::vector<std::string>& readable, const std::vector<std::string>& writable);
  FileRules(const FileRules&) = delete;
  FileRules& operator=(const FileRules&) = delete;
  ~FileRules();
  [[nodiscard]] int version() const { return version_; }
  // Needs refuse_new_privileges(). True, too, if version() is 0.
  [[nodiscard]] bool apply() const;

 private:
  int version_ = 0;
  int fd_ = -1;
};

// Takes system calls away that serving requests has no use for, from all threads of the process; they fail
// with EPERM. `reason` is set if that cannot be done.
bool refuse_system_calls(bool io_uring, std::string& reason);

}  // namespace lrufs::fs::fuse
