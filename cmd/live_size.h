// Another size, or the smallest file, for a store that is mounted: by the control folder of its mount.
#pragma once

#include <cstdint>
#include <string>

#include "store/error.h"

namespace lrufs::cmd {

struct SizeFigures {
  std::uint64_t bound = 0;
  std::uint64_t file = 0;  // bytes long
  std::uint64_t disk = 0;  // blocks, as far as the file can be seen from here
  std::uint64_t files = 0;
};
struct SizeChange {
  std::string store;
  SizeFigures before;
  SizeFigures after;
  std::uint64_t evicted = 0;
};

// Writes `command` to a file of the control folder, "resize" or "compact", and shows progress until the
// daemon has done it. A signal (InterruptScope) ends the daemon's work, too: the store then has its old size.
store::Result<SizeChange> change_mounted_size(const std::string& mount_point, const std::string& file,
                                              const std::string& command);

}  // namespace lrufs::cmd
