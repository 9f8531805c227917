// lrufs dump: what is in a store, in use or not, as a tar stream.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cmd/interrupt.h"
#include "cmd/os.h"
#include "cmd/progress.h"
#include "cmd/store_argument.h"
#include "cmd/tar_dump.h"
#include "cmd/units.h"
#include "cmd/verbs.h"
#include "store/store.h"
#include "store/unfinished_file.h"

namespace lrufs::cmd {
namespace {

using nlohmann::json;
using store::Code;
using store::fail;
using store::Result;
using store::Status;

struct Arguments {
  std::string store;
  std::string output;
  bool from_checkpoint = false;
  bool json = false;
};

Result<DumpReport> dump(const std::string& path, bool from_checkpoint, int fd, Progress& progress) {
  store::Options options;
  options.read_only = true;
  options.shared = true;
  options.create = false;
  options.bound_given = false;
  options.from_checkpoint = from_checkpoint;
  LRUFS_TRY_ASSIGN(const auto store, store::Store::open(path, options));
  DumpOptions how;
  how.stop = interrupted;
  how.is_gone = [&](const store::Inode& inode) { return store->is_expired(inode); };
  progress.set_total(store->statistics().content_bytes);
  how.on_progress = [&](std::uint64_t bytes) { progress.set(bytes); };
  how.on_note = [&](const std::string& text) {
    progress.clear();
    std::fprintf(stderr, "lrufs: %s\n", text.c_str());
  };
  const store::Snapshot state = store->snapshot();
  return dump_tar(state.view(), fd, how);
}

Status sync_and_close(int fd, const std::string& path) {
  // The mode that the shell would give.
  const mode_t mask = ::umask(0);
  ::umask(mask);
  const bool done = ::fchmod(fd, 0666 & ~mask) == 0 && ::fsync(fd) == 0;
  const int error = errno;
  ::close(fd);
  if (done) return {};
  return fail(Code::kIo, "cannot write " + shown(path) + ": " + errno_text(error), error);
}

Result<DumpReport> dump_to_file(const std::string& path, const Arguments& arguments, Progress& progress) {
  const std::string output = absolute_path(arguments.output);
  struct stat there {};
  if (::stat(output.c_str(), &there) == 0 && !S_ISREG(there.st_mode)) {  // a pipe, a device
    const int fd = ::open(output.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return fail(Code::kIo, "cannot open " + shown(output) + ": " + errno_text(errno), errno);
    auto report = dump(path, arguments.from_checkpoint, fd, progress);
    ::close(fd);
    return report;
  }
  LRUFS_TRY_ASSIGN(store::UnfinishedFile file, store::UnfinishedFile::beside(output, "dump"));
  const int fd = ::open(file.path().c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return fail(Code::kIo, "cannot open " + shown(output) + ": " + errno_text(errno), errno);
  auto report = dump(path, arguments.from_checkpoint, fd, progress);
  const Status closed = sync_and_close(fd, output);
  LRUFS_TRY(report);
  LRUFS_TRY(closed);
  LRUFS_TRY(file.finish(true));
  return report;
}

int run(const Arguments& arguments) {
  const bool to_stdout = arguments.output.empty() || arguments.output == "-";
  if (to_stdout && ::isatty(STDOUT_FILENO) == 1)
    return report({Code::kInvalid, "a tar stream is not for a terminal: use -o FILE, or a pipe"}, kUsage);
  if (to_stdout && arguments.json)
    return report({Code::kInvalid, "--json prints to where the archive goes: use it with -o FILE"}, kUsage);
  const auto from = find_store(arguments.store);
  if (!from) return report(from.error());
  const InterruptScope scope;
  Progress progress("dump", Progress::Unit::kBytes, 0);
  const auto dumped = to_stdout ? dump(from->store, arguments.from_checkpoint, STDOUT_FILENO, progress)
                                : dump_to_file(from->store, arguments, progress);
  progress.clear();
  if (!dumped) return report(about_store(from->store, dumped.error()));
  if (arguments.json) {
    const json answer = {{"store", from->store},
                         {"archive", absolute_path(arguments.output)},
                         {"files", dumped->files},
                         {"directories", dumped->directories},
                         {"content_bytes", dumped->content_bytes},
                         {"left_out", dumped->left_out}};
    std::printf("%s\n", answer.dump(2, ' ', false, json::error_handler_t::replace).c_str());
  }
  return kOk;
}

}  // namespace

Verb add_dump(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app =
      program.add_subcommand("dump", "Write what is in a store, also while it is in use, as a tar archive");
  app->group(kStoresGroup);
  app->add_option("STORE", arguments->store, "The store file, or a folder that it is mounted at")
      ->required()
      ->type_name("");
  app->add_option("-o,--output", arguments->output,
                  "Write to FILE rather than to standard output; it gets\nits name when it is complete")
      ->type_name("FILE");
  app->add_flag("--from-checkpoint", arguments->from_checkpoint,
                "Dump the last checkpoint, as after a power cut (not while\nSTORE is in use)");
  app->add_flag("--json", arguments->json, "With -o: print what was written, as JSON");
  app->footer(
      "The archive is the state of one moment, in pax format: xattrs, hard links, holes, exact times.\n"
      "Its entries are in the order of use, the least recently used first, which lrufs load keeps (of a\n"
      "store that is mounted, the last uses may be missing). Pins and times to live are in it as xattrs;\n"
      "loaded, these begin anew. Sockets are left out. To unpack it:\n"
      "  bsdtar -xpf cache.tar\n"
      "  tar --xattrs --xattrs-include='*' --delay-directory-restore -xpf cache.tar   (GNU tar)\n\n"
      "Exit codes: 0 done, 1 failed, 2 wrong use.\n\n"
      "Examples:\n  lrufs dump /mnt/cache | zstd > cache.tar.zst\n"
      "  lrufs dump cache.lrufs | lrufs load --size 20G larger.lrufs");
  return {app, [arguments] { return run(*arguments); }};
}

}  // namespace lrufs::cmd
