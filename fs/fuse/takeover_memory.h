// TakeoverMemory: what outlives a worker (docs/takeover.md): the kernel's INIT and our answer, the receipts
// of its requests, and which requests may have been its end. One memfd, made by the supervisor, mapped by it
// and by each worker in turn.
//
// Thread-safety: atomics, each with one writer at a time: `supervised` the supervisor, the rest the worker.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "fs/receipts.h"
#include "store/error.h"

namespace lrufs::fs::fuse {

inline constexpr std::uint32_t kTakeoverVersion = 2;  // of this layout: both sides of a takeover must agree

struct TakeoverMemory {
  static constexpr std::size_t kSlots = 512;  // more than there are threads
  static constexpr std::size_t kSuspects = 64;

  std::atomic<std::uint32_t> version;

  // For the next supervisor (kept_mount.h). The version and the device stay where they are in any version.
  struct {
    std::atomic<std::uint64_t> device;
    std::atomic<std::uint64_t> identity;
    std::atomic<std::int32_t> guard;   // its process id
    std::atomic<std::uint32_t> leave;  // 1: the supervisor went on purpose, for another one to go on
  } mount;

  // Of the supervisor.
  struct {
    std::atomic<std::uint32_t> generation;  // of the worker: 1, 2, …
    std::atomic<std::uint32_t> restarts;    // that were not asked for
    std::atomic<std::uint32_t> upgrades;
    std::atomic<std::uint32_t>
        killed;  // was the last worker ended by SIGKILL (from outside), and not by itself?
    std::atomic<std::uint32_t> takes_size;  // 1 until a worker of this supervisor has served: --size counts
    std::atomic<std::uint64_t> last_at;     // the last restart, in milliseconds since 1970; 0: none
    std::array<char, 128> last_reason;      // "signal 11 (Segmentation fault)"
  } supervised;

  // Does the kernel send requests again (Linux 6.9)?
  enum class Resend : std::uint32_t { kUnknown, kYes, kNo };
  std::atomic<Resend> resend;
  std::atomic<std::uint32_t> init_bytes;  // 0: there was none yet
  std::atomic<std::uint32_t> answer_bytes;
  std::array<std::byte, 512> init;
  std::array<std::byte, 256> answer;

  struct Suspect {
    std::uint64_t request = 0;  // 0: none
    std::uint32_t weight = 0;   // see recovery.cc
  };
  std::array<Suspect, kSuspects> suspects;

  std::array<Receipt, kSlots> receipts;
};

// A mapping of it.
class MappedTakeover {
 public:
  static store::Result<std::unique_ptr<MappedTakeover>> create();
  static store::Result<std::unique_ptr<MappedTakeover>> open(int fd);  // takes the descriptor
  MappedTakeover(const MappedTakeover&) = delete;
  MappedTakeover& operator=(const MappedTakeover&) = delete;
  ~MappedTakeover();
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] TakeoverMemory& get() const { return *memory_; }

 private:
  explicit MappedTakeover(int fd) : fd_(fd) {}
  store::Status map();
  int fd_;
  TakeoverMemory* memory_ = nullptr;
};

}  // namespace lrufs::fs::fuse
