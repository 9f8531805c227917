// Fault switches: each leaves out one step that a promise rests on, so that a test can show that it would
// notice (tests/fault). Built in by LRUFS_FAULTS only (the debug and sanitizer presets); otherwise on() is
// the constant false and nothing of it is left in the program. Switches are for the whole process; tests turn
// them on before a store opens.
#pragma once

#include <atomic>
#include <cstdint>

namespace lrufs::store {

enum class Fault : std::uint32_t {
  kSkipFirstSync = 1U << 0U,         // a checkpoint does not sync the pages before it writes its meta
  kSkipMetaSync = 1U << 1U,          // … nor the meta
  kMetaBeforePages = 1U << 2U,       // … or writes the meta first, then syncs all at once
  kReuseDurablePages = 1U << 3U,     // pages of the last checkpoint are reused as soon as they are freed
  kReuseCheckpointPages = 1U << 4U,  // pages of the running checkpoint are
  kRewriteDurable = 1U << 5U,        // content of the last checkpoint is overwritten in place
  kSkipSeal = 1U << 6U,              // tree pages are published without their checksum
  kSkipLiveMeta = 1U << 7U,          // a commit does not write the live meta
  kIgnoreReaders = 1U << 8U,         // pages are reused although a reader still sees them
  kSkipImages = 1U << 9U,            // images of pages that are edited in place stay where they are
  kSkipPageSum = 1U << 10U,          // pages of the newest state may be in another version
  kIgnoreSharedReaders = 1U << 11U,  // the writer does not look for readers of other processes
};

#ifdef LRUFS_FAULTS

inline constexpr bool kFaultsBuiltIn = true;
namespace detail {
inline std::atomic<std::uint32_t> faults{0};
}
inline bool on(Fault fault) {
  return (detail::faults.load(std::memory_order_relaxed) & static_cast<std::uint32_t>(fault)) != 0;
}

// Turns a fault on for as long as it lives.
class FaultSwitch {
 public:
  explicit FaultSwitch(Fault fault) : bit_(static_cast<std::uint32_t>(fault)) {
    detail::faults.fetch_or(bit_);
  }
  ~FaultSwitch() { detail::faults.fetch_and(~bit_); }
  FaultSwitch(const FaultSwitch&) = delete;
  FaultSwitch& operator=(const FaultSwitch&) = delete;

 private:
  std::uint32_t bit_;
};

#else

inline constexpr bool kFaultsBuiltIn = false;
constexpr bool on(Fault /*fault*/) { return false; }
class FaultSwitch {
 public:
  explicit FaultSwitch(Fault /*fault*/) {}
};

#endif

}  // namespace lrufs::store
