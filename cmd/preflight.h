// Everything that can be known to stand in the way of a mount before the store is touched. Each error is
// Code::kInvalid (or what fits better) with a message that says what is wrong with what, and what to do.
#pragma once

#include <string>

#include "store/error.h"

namespace lrufs::cmd {

// `path` absolute; may not exist yet, unless read_only.
store::Status check_store_path(const std::string& path, bool read_only);

struct MountPointRules {
  bool allow_nonempty = false;  // -o nonempty
};
// A mount of lrufs whose daemon is gone is detached, with a line on stderr.
store::Status prepare_mount_point(const std::string& mount_point, const std::string& store,
                                  const MountPointRules& rules);

// /dev/fuse, and the right to mount: CAP_SYS_ADMIN, or fusermount3 for other users.
store::Status check_may_mount(const std::string& mount_point, bool allow_other);

// A daemon that was killed keeps its lock until the kernel has taken it apart: waits a moment for that, but
// not for a store that is mounted. kBusy says who has it, if that can be seen.
store::Status wait_for_store(const std::string& store, bool read_only);

}  // namespace lrufs::cmd
