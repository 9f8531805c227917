// The program `lrufs`: finds the verb and runs it.
#include <algorithm>
#include <array>
#include <cerrno>
#include <clocale>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "cmd/mount_helper.h"
#include "cmd/output.h"
#include "cmd/verbs.h"
#include "cmd/worker_command.h"
#include "fs/fuse/guard.h"
#include "fs/fuse/keeper.h"
#include "fs/fuse/supervisor.h"
#include "lrufs/version.h"

namespace lrufs::cmd {
namespace {

constexpr const char* kFooter = R"(Examples:
  lrufs mount --size 10G cache.lrufs /mnt/cache   make a cache of at most 10 GiB and mount it
  cp -r build/ /mnt/cache/                        use it: old files go when it is full
  lrufs stat /mnt/cache                           how full it is, what was evicted
  lrufs top /mnt/cache                            the same, as it goes
  lrufs put cache.lrufs logs/today build.log      store a file, mounted or not
  lrufs get cache.lrufs logs/today | less         and read it
  lrufs ls -l cache.lrufs logs                    what is there
  lrufs umount /mnt/cache                         write everything to the disk and unmount
  lrufs mount cache.lrufs /mnt/cache              everything is still there
  lrufs check cache.lrufs                         check every page of it

Exit codes: 0 done, 1 failed (check: damage was found), 2 wrong use (check: could not be checked).
`lrufs VERB --help` explains each verb, and so does `man lrufs-VERB`.)";

// CLI11 takes "[a,b]" and "{}" apart where an argument may be repeated. Both can be names of files and keys,
// and then mean the same with a "./" before them.
void keep_brackets(std::vector<std::string>& arguments) {
  for (std::string& argument : arguments) {
    if ((argument.starts_with('[') && argument.ends_with(']')) || argument == "{}") argument.insert(0, "./");
  }
}

int run(std::vector<std::string> arguments) {
  CLI::App program(
      "lrufs: a directory that never fills up. One store file, bounded in size; the least recently used\n"
      "files make room; what was in it is still there after a restart or a crash.",
      "lrufs");
  const std::string version = "lrufs " + std::string(kVersion);
  program.set_version_flag("--version", version, "Print the version");
  program.set_help_flag("-h,--help", "Print this help");
  program.require_subcommand(1);
  program.get_formatter()->column_width(34);
  program.footer(kFooter);
  const std::array verbs = {
      add_mount(program),   add_umount(program),     add_upgrade(program),    add_top(program),
      add_get(program),     add_put(program),        add_ls(program),         add_rm(program),
      add_touch(program),   add_pin(program),        add_unpin(program),      add_evict(program),
      add_stat(program),    add_check(program),      add_checkpoint(program), add_resize(program),
      add_compact(program), add_copy(program),       add_dump(program),       add_load(program),
      add_bench(program),   add_completion(program), add_manual(program)};
  for (const Verb& verb : verbs) verb.app->set_version_flag("--version", version, "Print the version");

  buffer_output();
  keep_brackets(arguments);
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // as CLI11 wants them
    reversed.pop_back();                                                      // the program's name
    program.parse(std::move(reversed));
  } catch (const CLI::ParseError& error) {
    // Prints the help, the version, or what is wrong.
    if (program.exit(error) != 0) return kUsage;
    const store::Status written = finish_output();
    return written ? kOk : report(written.error());
  }
  const auto* verb = std::ranges::find_if(verbs, [](const Verb& v) { return v.app->parsed(); });
  const int code = verb->run();
  if (const store::Status written = finish_output(); !written) {
    if (written.error().os_errno != EPIPE) return report(written.error());
    return std::max<int>(code, kFailed);
  }
  return code;
}

}  // namespace

}  // namespace lrufs::cmd

int main(int argc, char** argv) {
  // Names are bytes; libarchive asks the locale which of them are UTF-8.
  (void)std::setlocale(LC_CTYPE, "C.UTF-8");
  try {
    std::vector<std::string> arguments(argv, argv + argc);
    if (arguments.size() > 1 && arguments[1] == lrufs::fs::fuse::kGuardVerb)
      return lrufs::fs::fuse::run_guard({arguments.begin() + 2, arguments.end()});
    if (arguments.size() > 1 && arguments[1] == lrufs::fs::fuse::kKeeperVerb)
      return lrufs::fs::fuse::run_keeper({arguments.begin() + 2, arguments.end()});
    if (arguments.size() > 1 && arguments[1] == lrufs::fs::fuse::kNoticesVerb)
      return lrufs::fs::fuse::run_notices();
    if (arguments.size() > 1 && arguments[1] == lrufs::fs::fuse::kDetachVerb)
      return lrufs::fs::fuse::run_detach({arguments.begin() + 2, arguments.end()});
    if (const auto mount = lrufs::cmd::as_mount_command(arguments)) {
      arguments.resize(1);
      arguments.insert(arguments.end(), mount->begin(), mount->end());
    }
    lrufs::cmd::note_command_line(arguments);
    return lrufs::cmd::run(arguments);
  } catch (const std::exception& error) {  // out of memory, or a bug
    std::fprintf(stderr, "lrufs: unexpected: %s\n", error.what());
    return lrufs::cmd::kFailed;
  }
}
