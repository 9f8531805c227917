// How a worker (fs/fuse/supervisor.h) is told what to mount: `lrufs worker STORE MOUNTPOINT LOG ...`,
// followed by the arguments of the `lrufs mount` that it works for. The first three are those paths made
// absolute: the supervisor has left its folder, and a worker must not resolve the path of a mount that nobody
// serves.
//
// Thread-safety: note_command_line() before there are threads.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fs/fuse/mount_options.h"

namespace lrufs::cmd {

struct WorkerCommand {
  std::string store;
  std::string mount_point;
  std::string log;
  bool waits = false;      // for its turn
  bool stands_by = false;  // and says first whether it could serve
};

// Of this process; nullopt: it is no worker.
const std::optional<WorkerCommand>& worker_command();

// Takes the program's arguments: keeps those of `mount`, for worker_words(), and turns those of a worker into
// those of `mount`.
void note_command_line(std::vector<std::string>& arguments);

// Behind the verb.
std::vector<std::string> worker_words(const fs::fuse::MountOptions& mount, const std::string& log);

}  // namespace lrufs::cmd
