#include "cmd/worker_command.h"

#include "fs/fuse/worker_link.h"

namespace lrufs::cmd {
namespace {

std::optional<WorkerCommand> command;
std::vector<std::string> mount_arguments;  // behind `lrufs mount`

}  // namespace

const std::optional<WorkerCommand>& worker_command() { return command; }

void note_command_line(std::vector<std::string>& arguments) {
  constexpr std::size_t kOwn = 5;  // lrufs worker STORE MOUNTPOINT LOG
  const std::string verb = arguments.size() < kOwn ? "" : arguments[1];
  const bool stands_by = verb == fs::fuse::kStandbyVerb;
  const bool waits = stands_by || verb == fs::fuse::kSpareVerb;
  if (waits || verb == fs::fuse::kWorkerVerb) {
    command = WorkerCommand{.store = arguments[2],
                            .mount_point = arguments[3],
                            .log = arguments[4],
                            .waits = waits,
                            .stands_by = stands_by};
    arguments.erase(arguments.begin() + 1, arguments.begin() + kOwn);
    arguments.insert(arguments.begin() + 1, "mount");
  }
  if (arguments.size() > 2) mount_arguments.assign(arguments.begin() + 2, arguments.end());
}

std::vector<std::string> worker_words(const fs::fuse::MountOptions& mount, const std::string& log) {
  std::vector<std::string> words = {mount.store, mount.mount_point, log};
  words.insert(words.end(), mount_arguments.begin(), mount_arguments.end());
  return words;
}

}  // namespace lrufs::cmd
