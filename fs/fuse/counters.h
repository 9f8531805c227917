// Counters: how many requests of each kind the kernel has sent, how long each took, and how they failed. The
// table of requests that docs promise for common actions is tested with them.
//
// Thread-safety: all functions, from any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fs/fuse/latency.h"
#include "fs/fuse/lookup_ledger.h"

namespace lrufs::fs::fuse {

enum class Op : std::uint8_t {
  kLookup,
  kForget,
  kBatchForget,
  kGetattr,
  kSetattr,
  kReadlink,
  kMknod,
  kMkdir,
  kUnlink,
  kRmdir,
  kSymlink,
  kRename,
  kLink,
  kTmpfile,
  kOpen,
  kOpendir,
  kRelease,
  kReleasedir,
  kRead,
  kWrite,
  kFlush,
  kFsync,
  kFsyncdir,
  kReaddir,
  kReaddirplus,
  kStatfs,
  kSetxattr,
  kGetxattr,
  kListxattr,
  kRemovexattr,
  kFallocate,
  kLseek,
  kCopyFileRange,
};
inline constexpr std::size_t kOpCount = static_cast<std::size_t>(Op::kCopyFileRange) + 1;

// Lower case, e.g. "copy_file_range".
std::string_view op_name(Op op);

class Counters {
 public:
  void count(Op op) { requests_[static_cast<std::size_t>(op)].fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t of(Op op) const {
    return requests_[static_cast<std::size_t>(op)].load(std::memory_order_relaxed);
  }
  // Requests that were answered with an error of the disk or the store (EIO).
  void count_failure() { failures_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t failures() const { return failures_.load(std::memory_order_relaxed); }
  // Answers that were an error, by errno; those above the last one are counted with 0.
  void count_error(int error) {
    const auto at = static_cast<std::size_t>(error);
    errors_[at < kErrors ? at : 0].fetch_add(1, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t errors(int error) const {
    return errors_.at(static_cast<std::size_t>(error)).load(std::memory_order_relaxed);
  }
  static constexpr std::size_t kErrors = 134;  // errno(3) ends at EHWPOISON, 133

  // From the thread's having read the request until it is done with it, the answer included.
  Latency& latency(Op op) { return latency_[static_cast<std::size_t>(op)]; }
  [[nodiscard]] const Latency& latency(Op op) const { return latency_[static_cast<std::size_t>(op)]; }
  LookupLedger& lookups() { return lookups_; }

 private:
  std::array<std::atomic<std::uint64_t>, kOpCount> requests_{};
  std::atomic<std::uint64_t> failures_{0};
  std::array<std::atomic<std::uint64_t>, kErrors> errors_{};
  std::array<Latency, kOpCount> latency_;
  LookupLedger lookups_;
};

}  // namespace lrufs::fs::fuse
