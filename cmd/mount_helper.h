// The program as mount(8) calls it, from the command line or /etc/fstab, through /sbin/mount.fuse ("lrufs
// STORE DIR -o …") or as /sbin/mount.lrufs or mount.fuse.lrufs ("… STORE DIR [-sfnv] [-t TYPE] -o …").
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace lrufs::cmd {

// The arguments of `lrufs mount` that the call stands for, or nothing if it is no such call. `arguments` with
// the program.
std::optional<std::vector<std::string>> as_mount_command(const std::vector<std::string>& arguments);

// One value of -o, split at its commas (but "\,"), empty pieces left out.
std::vector<std::string> split_options(const std::string& text);

}  // namespace lrufs::cmd
