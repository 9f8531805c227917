// LookupLedger: hits and misses, as whoever runs a cache wants them counted. A LOOKUP of a file that is there
// is a hit, one of a name that is not there is a miss.
//
// The kernel looks a name up as well before it makes, replaces or removes it, and does not say so: LOOKUP and
// MKNOD of one open(2) arrive one after the other. So a lookup counts only once it is settled: by its
// thread's next lookup, or by time. A change of the same name by the same thread within kOneCall of it was
// part of the same system call, and takes it back. (Who asks in vain, makes the value, and stores it, takes
// longer than that, or a cache would be of no use to him; so his miss stays.)
//
// Thread-safety: all functions, from any thread, without a lock. Counts never go down.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string_view>

namespace lrufs::fs::fuse {

class LookupLedger {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::milliseconds kOneCall{1};

  enum class Found : std::uint8_t { kFile = 1, kNothing = 2 };
  // `thread`: of the caller, as the kernel numbers them.
  void looked_up(Found found, std::uint64_t parent, std::string_view name, std::uint32_t thread, Time now);
  void changed(std::uint64_t parent, std::string_view name, std::uint32_t thread, Time now);

  struct Counts {
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
  };
  Counts counts(Time now);  // settles what is old enough

 private:
  // A slot has the last lookup of the threads that share it: hash, Found, and time; 0: none.
  static constexpr std::size_t kSlots = 256;
  static constexpr unsigned kTimeBits = 24;
  static constexpr unsigned kFoundBits = 2;
  static std::uint64_t word(Found found, std::uint64_t parent, std::string_view name, std::uint32_t thread,
                            Time now);
  static bool is_recent(std::uint64_t word, Time now);
  void settle(std::uint64_t word);
  std::atomic<std::uint64_t>& slot_of(std::uint32_t thread) { return slots_.at(thread * 0x9E3779B1U >> 24U); }

  std::array<std::atomic<std::uint64_t>, kSlots> slots_{};
  std::atomic<std::uint64_t> hits_{0};
  std::atomic<std::uint64_t> misses_{0};
};

}  // namespace lrufs::fs::fuse
