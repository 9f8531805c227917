// Counters of one store since it was opened, and its state now. A plain value.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lrufs::store {

// Why objects were evicted. A new reason is one line here and one in eviction_reason_name().
enum class EvictionReason : std::uint8_t {
  kCapacity,  // room was needed, or will be
  kMaxFiles,  // Options::max_files
  kRequest,   // somebody asked for it: Store::evict(), evict_key(), evict_prefix()
  kExpiry,    // its time was over
};
inline constexpr std::size_t kEvictionReasons = static_cast<std::size_t>(EvictionReason::kExpiry) + 1;
std::string_view eviction_reason_name(EvictionReason reason);  // "capacity", "max_files", …

struct Evictions {
  std::uint64_t objects = 0;
  std::uint64_t bytes = 0;
};

struct Statistics {
  // State.
  std::uint64_t bound_bytes = 0;  // what the file may occupy on disk
  std::uint64_t capacity_bytes =
      0;                         // of these, what pages may use (the rest is the file system's own overhead)
  std::uint64_t file_bytes = 0;  // grown so far
  std::uint64_t used_bytes = 0;  // pages in use by the current state
  std::uint64_t free_bytes = 0;  // usable at once (not yet grown included)
  std::uint64_t pending_bytes = 0;   // freed; usable after the next checkpoint or when a reader ends
  std::uint64_t snapshot_bytes = 0;  // of these, what a reader may still see
  std::uint64_t dirty_bytes = 0;     // of the used ones, what the last checkpoint does not have
  std::uint64_t reserve_bytes = 0;   // kept free for deletion
  std::uint64_t files = 0;           // objects but directories, orphans included
  std::uint64_t directories = 0;
  std::uint64_t orphans = 0;
  std::uint64_t content_bytes = 0;  // sum of the sizes of all files
  std::uint64_t pinned_objects =
      0;  // that carry a pin of their own, orphans included; not what lies below them
  std::uint64_t pinned_directories = 0;     // of these
  std::uint64_t pinned_bytes = 0;           // sum of the sizes of the files among them
  std::uint64_t parked_objects = 0;         // that eviction met and passed over since a pin covers them
  std::uint64_t txn = 0;                    // last published
  std::uint64_t durable_txn = 0;            // last checkpointed
  std::uint64_t pending_touches = 0;        // not yet written
  std::uint64_t readers = 0;                // snapshots now
  std::uint64_t shared_readers = 0;         // of these, those of other processes
  std::uint64_t oldest_reader_lag = 0;      // in transactions
  std::uint64_t snapshot_microseconds = 0;  // how long a reader has kept the page that waits longest
  std::uint64_t max_files = 0;
  std::uint64_t evict_above_bytes = 0;  // in use: above it eviction begins in the background,
  std::uint64_t evict_until_bytes = 0;  // and it goes on down to here
  std::uint64_t trimmed_bytes = 0;      // of the file, given back to the disk (holes)
  bool read_only = false;
  bool damaged = false;     // damage was seen, now or by an earlier mount or check
  std::string uuid;         // of the store, 32 hex digits
  std::string opened_from;  // "new", "live" (after SIGKILL), "clean", "checkpoint" (after a power cut)
  std::uint64_t open_microseconds = 0;  // what opening took, from open(2) of the file on
  // Counters.
  std::uint64_t commits = 0;
  std::uint64_t aborts = 0;
  std::uint64_t checkpoints = 0;
  std::uint64_t checkpoint_failures = 0;
  std::uint64_t checkpoint_microseconds = 0;  // sum
  std::uint64_t sync_calls = 0;  // callers of checkpoint(); more than checkpoints: they were grouped
  std::uint64_t evicted_objects = 0;
  std::uint64_t evicted_bytes = 0;
  std::uint64_t expired_objects = 0;  // not among the evicted ones
  std::uint64_t expired_bytes = 0;
  std::array<Evictions, kEvictionReasons> evictions{};  // the same by reason
  std::uint64_t touches = 0;
  std::uint64_t touch_flushes = 0;
  std::uint64_t room_waits = 0;  // writers that had to wait for eviction or a checkpoint
  std::uint64_t bytes_written = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t corrupt_pages = 0;
  std::uint64_t unreadable_pages = 0;
};

}  // namespace lrufs::store
