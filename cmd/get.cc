// lrufs get: the content of a file, to stdout or to another file.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <string>

#include "cmd/interrupt.h"
#include "cmd/new_file.h"
#include "cmd/os.h"
#include "cmd/progress.h"
#include "cmd/target.h"
#include "cmd/verbs.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Result;
using store::Status;

struct Arguments {
  std::string target;
  std::string key;
  std::string output;
};

// A regular file, or what to do instead.
Result<Attributes> look_at(Tree& tree, const Key& key) {
  auto found = tree.attributes(key.path);
  if (!found) return fail(about_key(key.path, found.error()));
  const auto refuse = [&](Code code, const std::string& why) {
    return fail(code, shown_key(key.path) + why);
  };
  if (found->is_folder()) return refuse(Code::kIsDirectory, " is a folder: lrufs ls shows what is in it");
  if (found->is_symlink()) {
    const auto leads = tree.link_target(key.path);
    return refuse(Code::kInvalid, " is a symbolic link" +
                                      (leads ? " to " + shown_key(*leads) : std::string()) +
                                      ", and links are not followed: name what it leads to");
  }
  if (!found->is_file()) return refuse(Code::kInvalid, " is no regular file: it has no content");
  if (key.folder) return refuse(Code::kNotDirectory, " is a file, not a folder: leave the slash out");
  return found;
}

Status copy(Tree& tree, const Key& key, int fd, const std::string& name, bool sparse, Progress& progress) {
  DescriptorSink sink(fd, name, sparse);
  std::optional<store::Error> of_output;
  const Status read = tree.read(key.path, [&](const Piece& piece) -> Status {
    Status put = sink.put(piece);
    if (!put) of_output = put.error();
    progress.add(piece.length());
    return put;
  });
  if (of_output) return fail(*of_output);
  if (!read) return fail(about_key(key.path, read.error()));
  return sink.finish();
}

Status to_file(Tree& tree, const Key& key, const std::string& output, Progress& progress) {
  const std::string path = absolute_path(output);  // a symbolic link stays, its file is replaced
  const auto cannot = [&](const store::Error& error) {
    return fail(error.code, "cannot write " + shown(output) + ": " + errno_text(error.os_errno),
                error.os_errno);
  };
  const Descriptor folder(::open(parent_of(path).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return cannot(error_of(errno));
  auto file = NewFile::create(folder.get());
  if (!file) return cannot(file.error());
  LRUFS_TRY(copy(tree, key, file->fd(), shown(output), true, progress));
  const Status published = file->publish(folder.get(), path.substr(path.rfind('/') + 1));
  if (published) return {};
  if (published.error().code == Code::kIsDirectory)
    return fail(Code::kIsDirectory, shown(output) + " is a folder: name a file in it");
  return cannot(published.error());
}

Status get(const Arguments& arguments) {
  LRUFS_TRY_ASSIGN(const Target target, find_target(arguments.target, !arguments.key.empty()));
  LRUFS_TRY_ASSIGN(const Key key, target.key(arguments.key));
  LRUFS_TRY_ASSIGN(const auto tree, open_tree(target, Access::kRead));
  LRUFS_TRY_ASSIGN(const Attributes found, look_at(*tree, key));
  const bool to_stdout = arguments.output.empty() || arguments.output == "-";
  Progress progress("get", Progress::Unit::kBytes, found.size,
                    ProgressOptions::of_stderr(to_stdout && ::isatty(STDOUT_FILENO) == 1));
  if (to_stdout) {
    LRUFS_TRY(copy(*tree, key, STDOUT_FILENO, "the output", false, progress));
  } else {
    const InterruptScope scope;
    LRUFS_TRY(to_file(*tree, key, arguments.output, progress));
  }
  return tree->close();
}

}  // namespace

Verb add_get(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = program.add_subcommand("get", "Print the content of a file in a store, or copy it out");
  app->group(kObjectsGroup);
  app->add_option("TARGET", arguments->target, kTargetHelp)->required()->type_name("");
  app->add_option("KEY", arguments->key, kKeyHelp)->type_name("");
  app->add_option("-o,--output", arguments->output,
                  "Write to this file instead of stdout. It appears whole,\nor not at all")
      ->type_name("FILE");
  app->footer(
      "Of a mounted store the mount is asked, and the read is a use of the file; of one that is\n"
      "not mounted nothing is changed, the order of use included (lrufs touch records a use).\n\n"
      "Exit codes: 0 done, 1 failed (there is no such file, for instance), 2 wrong use.\n\n"
      "Examples:\n"
      "  lrufs get cache.lrufs thumbs/cat.png > cat.png\n"
      "  lrufs get -o cat.png /mnt/cache/thumbs/cat.png\n"
      "  lrufs get /mnt/cache build/log | tail");
  return {app, [arguments]() -> int {
            const Status done = get(*arguments);
            if (done) return kOk;
            if (done.error().os_errno == EPIPE) return kFailed;  // quietly: head(1) has seen enough
            return report(done.error());
          }};
}

}  // namespace lrufs::cmd
