// lrufs upgrade: another version of the program takes over a mount that is in use.
#include <unistd.h>

#include <array>
#include <memory>
#include <string>

#include "cmd/live_mount.h"
#include "cmd/os.h"
#include "cmd/verbs.h"
#include "fs/fuse/upgrade_socket.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Status;

struct Arguments {
  std::string mount_point;
  std::string program;
};

// This program's own file: what is installed now.
std::string own_program() {
  std::array<char, 4096> path{};
  const ssize_t n = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  return n <= 0 ? std::string() : std::string(path.data(), static_cast<std::size_t>(n));
}

Status upgrade(const Arguments& arguments) {
  const std::string mount_point = absolute_path(arguments.mount_point);
  const std::string program = arguments.program.empty() ? own_program() : absolute_path(arguments.program);
  if (::access(program.c_str(), X_OK) != 0)
    return fail(Code::kNotFound, shown(program) + " is no program that can be run");
  LRUFS_TRY_ASSIGN(const auto statistics, mount_statistics(mount_point));
  const auto supervised = statistics.find("supervised");
  if (supervised == statistics.end() || !supervised->is_object())
    return fail(Code::kUnsupported,
                shown(mount_point) +
                    " has no supervisor, so that nobody can take over: unmount it, and mount "
                    "it with the new version");
  if (!supervised->value("takeover", false))
    return fail(Code::kUnsupported, "this kernel does not let another process take over (Linux 6.9 does)");
  return fs::fuse::ask_for_upgrade(static_cast<pid_t>(number_in(statistics, "pid")), program);
}

}  // namespace

Verb add_upgrade(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = program.add_subcommand(
      "upgrade",
      "Let another version of lrufs take over a mount while it is in use (not one made with --no-supervise)");
  app->group(kMountsGroup);
  app->add_option("MOUNTPOINT", arguments->mount_point, "Where it is mounted")->required()->type_name("");
  app->add_option("PROGRAM", arguments->program,
                  "The new version's file (default: the program that is run here)")
      ->type_name("");
  app->footer(
      "The new version looks at the store first; only if it knows the format does the old one let go. If it\n"
      "cannot take over, the old one goes on. What supervises the mount stays as it is until the next "
      "mount.\n\n"
      "Example:\n  lrufs upgrade /mnt/cache /opt/lrufs-2/bin/lrufs");
  return {app, [arguments]() -> int {
            const Status done = upgrade(*arguments);
            return done ? kOk : report(done.error());
          }};
}

}  // namespace lrufs::cmd
