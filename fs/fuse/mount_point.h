// The mount as the rest of the system sees it: which device it is, how far the kernel reads ahead on it, and
// its end.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "store/error.h"

namespace lrufs::fs::fuse {

// The device number of what is mounted at `path`, without asking the daemon behind it.
std::optional<dev_t> device_at(const std::string& path);

// Lets the kernel read ahead up to `bytes` (a setting of the device, 128 KiB unless it is raised here). A
// hint: needs a writable /sys.
void set_read_ahead(dev_t device, std::uint64_t bytes);

// umount2(2); for users without the right to, fusermount3; the keeper does it for a confined daemon. `lazy`:
// takes the name away even while it is in use. kBusy: in use. The daemon must still serve requests.
store::Status detach(const std::string& path, bool lazy);

// Writes back what programs have changed through mappings of files on the mount. The daemon must still serve
// requests.
void write_back(const std::string& path);

}  // namespace lrufs::fs::fuse
