// The kernel's table of mounts, /proc/self/mountinfo (proc_pid_mountinfo(5)), as values.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "store/error.h"

namespace lrufs::cmd {

struct MountEntry {
  int id = 0;
  int parent_id = 0;
  dev_t device = 0;
  std::string mount_point;  // absolute, escapes resolved, as are the others
  std::string options;      // of this mount, e.g. "rw,nosuid"
  std::string fs_type;      // "ext4", "fuse.lrufs"
  std::string source;       // of an lrufs mount the store's path, unless -o fsname= says otherwise
  std::string super_options;

  [[nodiscard]] bool is_lrufs() const { return fs_type == "fuse.lrufs"; }
};

using MountTable = std::vector<MountEntry>;

// Lines that cannot be understood are left out.
MountTable parse_mount_table(std::string_view text);
store::Result<MountTable> read_mount_table(const std::string& path = "/proc/self/mountinfo");

// The mount that one sees at exactly `mount_point` (the topmost if several are stacked), or null. Paths
// without symlinks.
const MountEntry* mount_at(const MountTable& table, std::string_view mount_point);
// The mount that `path` lies in, or null.
const MountEntry* mount_containing(const MountTable& table, std::string_view path);
// The lrufs mounts whose source is `store`.
std::vector<const MountEntry*> lrufs_mounts_of(const MountTable& table, std::string_view store);

}  // namespace lrufs::cmd
