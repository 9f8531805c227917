// KeptMount: a mount whose supervisor has gone, and whose descriptors somebody has kept meanwhile, such as a
// service manager (cmd/service.h). The kernel keeps the connection as long as /dev/fuse is open, and callers
// wait; the next supervisor goes on with it.
//
// Thread-safety: from one thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "fs/fuse/fd.h"
#include "fs/fuse/mount_options.h"
#include "fs/fuse/takeover_memory.h"
#include "store/error.h"

namespace lrufs::fs::fuse {

struct KeptMount {
  Fd connection;  // /dev/fuse
  Fd memory;      // takeover_memory.h
  [[nodiscard]] bool is_there() const { return connection.get() >= 0 && memory.get() >= 0; }
};

// Does the kernel still have the other end?
bool is_connected(int connection);

// What makes two mounts the same for the kernel: the store, the place, and the options that libfuse gets.
std::uint64_t identity_of(const MountOptions& options);

// Can this version go on with it, as the mount of `options`? kInvalid says why not.
store::Status can_go_on(const KeptMount& kept, const MountOptions& options);

// Of the mount, as any version has noted it; nullopt: the connection has ended, or it is not known.
std::optional<dev_t> device_of(const KeptMount& kept);

// Ends it: its connection, and its names, `places`. Programs on it get ENOTCONN.
void end_kept_mount(const KeptMount& kept, const std::vector<std::string>& places);

}  // namespace lrufs::fs::fuse
