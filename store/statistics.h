// Counters of one store since it was opened, and its state now. A plain value.
#pragma once

#include <cstdint>
#include <string>

namespace lrufs::store {

struct Statistics {
  // State.
  std::uint64_t bound_bytes = 0;  // what the file may occupy on disk
  std::uint64_t capacity_bytes =
      0;                         // of these, what pages may use (the rest is the file system's own overhead)
  std::uint64_t file_bytes = 0;  // grown so far
  std::uint64_t used_bytes = 0;  // pages in use by the current state
  std::uint64_t free_bytes = 0;  // usable at once (not yet grown included)
  std::uint64_t pending_bytes = 0;  // freed; usable after the next checkpoint or when a reader ends
  std::uint64_t pinned_bytes = 0;   // of these, what a reader may still see
  std::uint64_t reserve_bytes = 0;  // kept free for deletion
  std::uint64_t files = 0;          // objects but directories, orphans included
  std::uint64_t directories = 0;
  std::uint64_t orphans = 0;
  std::uint64_t content_bytes = 0;      // sum of the sizes of all files
  std::uint64_t txn = 0;                // last published
  std::uint64_t durable_txn = 0;        // last checkpointed
  std::uint64_t pending_touches = 0;    // not yet written
  std::uint64_t readers = 0;            // snapshots now
  std::uint64_t oldest_reader_lag = 0;  // in transactions
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
  std::uint64_t touches = 0;
  std::uint64_t touch_flushes = 0;
  std::uint64_t room_waits = 0;  // writers that had to wait for eviction or a checkpoint
  std::uint64_t bytes_written = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t corrupt_pages = 0;
  std::uint64_t unreadable_pages = 0;
};

}  // namespace lrufs::store
