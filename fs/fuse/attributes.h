// From an inode of the store to what stat(2) and the kernel's caches get, and how long these caches may
// believe it.
#pragma once

#include <chrono>

#include "fs/fuse/fuse_api.h"
#include "store/inode.h"

namespace lrufs::fs::fuse {

// Only this daemon changes the tree, and it tells of evictions (notifier.h): attributes and absent names hold
// until then.
inline constexpr double kAttributeSeconds = 86'400;
inline constexpr double kNegativeSeconds = 86'400;

// What st_blksize advises: stdio and others write in pieces of this size, and each piece is a request;
// getdents(2) reads as much at once.
inline constexpr blksize_t kPreferredIo = 128 * 1024;

// `seconds`, or what is left to an inode that expires earlier. The kernel counts in ticks of up to 10 ms and
// rounds up twice: that is taken off.
double believable_for(const store::Inode& inode, double seconds);

struct stat to_stat(const store::Inode& inode);
store::Timestamp to_timestamp(const timespec& time);

// `recency`: how long the kernel may use the name without a LOOKUP.
fuse_entry_param to_entry(const store::Inode& inode, std::chrono::milliseconds recency);
// "There is no such name", to be remembered.
fuse_entry_param negative_entry();

}  // namespace lrufs::fs::fuse
