// lrufs put: stores a file, or what comes on stdin, under a key.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cmd/interrupt.h"
#include "cmd/os.h"
#include "cmd/progress.h"
#include "cmd/target.h"
#include "cmd/units.h"
#include "cmd/verbs.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Result;
using store::Status;

struct Arguments {
  std::string target;
  std::string first;   // KEY, or FILE if TARGET is a path in a mount
  std::string second;  // FILE
  std::string ttl;
  bool pin = false;
};

struct Plan {
  Target target;
  Key key;
  std::string file;  // "" or "-": stdin
  NewObject object;
};

Result<NewObject> plan_object(const Arguments& arguments) {
  NewObject object;
  if (!arguments.ttl.empty()) {
    LRUFS_TRY_ASSIGN(const auto time, parse_duration("--ttl", arguments.ttl));
    const auto seconds = (time.count() + 999) / 1000;
    if (seconds == 0) return fail(Code::kInvalid, "--ttl '" + arguments.ttl + "' is no time: at least 1s");
    object.xattrs.emplace_back(kTtlXattr, std::to_string(seconds));
  }
  if (arguments.pin) object.xattrs.emplace_back(kPinXattr, "1");
  return object;
}

// Which argument is what: TARGET KEY [FILE], or PATH_IN_A_MOUNT [FILE].
Result<Plan> make_plan(const Arguments& arguments) {
  Plan plan;
  LRUFS_TRY_ASSIGN(plan.object, plan_object(arguments));
  // With two more arguments TARGET may be a store that lies in a mount; with one it is told apart by what it
  // is.
  LRUFS_TRY_ASSIGN(plan.target, find_target(arguments.target, !arguments.second.empty()));
  if (plan.target.is_object() && arguments.second.empty()) {
    plan.key = plan.target.base;
    plan.file = arguments.first;
  } else {
    LRUFS_TRY_ASSIGN(plan.key, plan.target.key(arguments.first));
    plan.file = arguments.second;
  }
  if (plan.file == "-") plan.file.clear();
  if (!plan.key.folder && !plan.key.path.empty()) return plan;
  if (plan.file.empty()) {
    return fail(Code::kInvalid, "give a KEY that names a file: " +
                                    (arguments.first.empty() ? "none was given" : shown(arguments.first)) +
                                    (arguments.first.empty() ? "" : " names a folder"));
  }
  plan.key = {.path = join_keys(plan.key.path, name_in_key(absolute_path(plan.file))), .folder = false};
  return plan;
}

Result<Descriptor> open_input(const std::string& file) {
  if (file.empty()) return Descriptor(::dup(STDIN_FILENO));
  Descriptor input(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat attributes {};
  if (!input || ::fstat(input.get(), &attributes) != 0)
    return fail(Code::kIo, "cannot read " + shown(file) + ": " + errno_text(errno), errno);
  if (S_ISDIR(attributes.st_mode)) {
    return fail(Code::kIsDirectory,
                shown(file) + " is a folder: put takes one file (mount the store, and use cp -r)");
  }
  return input;
}

Status put(const Plan& plan) {
  LRUFS_TRY_ASSIGN(const Descriptor input, open_input(plan.file));
  const InterruptScope scope;
  LRUFS_TRY_ASSIGN(const auto tree, open_tree(plan.target, Access::kWrite));
  const std::string& key = plan.key.path;
  // Not after everything was read.
  if (const auto there = tree->attributes(key); there && there->is_folder()) {
    return fail(Code::kIsDirectory,
                shown_key(key) + " is a folder: to put a file into it, end the key with a slash");
  }
  struct stat attributes {};
  const bool regular = ::fstat(input.get(), &attributes) == 0 && S_ISREG(attributes.st_mode);
  Progress progress("put", Progress::Unit::kBytes,
                    regular ? static_cast<std::uint64_t>(attributes.st_size) : 0);
  DescriptorSource source(input.get(), plan.file.empty() ? "stdin" : shown(plan.file));
  std::optional<store::Error> of_input;
  const Status written = tree->write(
      key,
      [&]() -> Result<Piece> {
        auto piece = source.next();
        if (!piece) of_input = piece.error();
        if (piece) progress.add(piece->length());
        return piece;
      },
      plan.object);
  Status closed = tree->close();
  if (of_input) return fail(*of_input);
  if (!written && written.error().code == Code::kUnsupported && !plan.object.xattrs.empty()) {
    return fail(Code::kUnsupported, shown_key(key) + ": --ttl and --pin are not supported here (" +
                                        store::describe(written.error()) + ")");
  }
  if (!written) return fail(about_key(key, written.error()));
  return closed;
}

}  // namespace

Verb add_put(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = program.add_subcommand("put", "Store a file, or what comes on stdin, under a key");
  app->group(kObjectsGroup);
  app->add_option("TARGET", arguments->target, kTargetHelp)->required()->type_name("");
  app->add_option("KEY", arguments->first,
                  "The key; left out if TARGET is a path in a mount. One that\n"
                  "ends with a slash: FILE's own name in that folder")
      ->type_name("");
  app->add_option("FILE", arguments->second, "The file to store (default, and for \"-\": stdin)")
      ->type_name("");
  app->add_option("--ttl", arguments->ttl, "Let it expire after this time")->type_name("TIME");
  app->add_flag("--pin", arguments->pin, "Never evict it (lrufs unpin takes that back)");
  app->footer(
      "Missing folders are made. The file appears at once and whole, and replaces what was there;\n"
      "after an error, or ^C, all is as it was. It may have any size that fits the store. In a\n"
      "store that is not mounted it is on the disk when put returns.\n\n"
      "Exit codes: 0 done, 1 failed (and nothing is changed), 2 wrong use.\n\n"
      "Examples:\n"
      "  lrufs put cache.lrufs thumbs/cat.png cat.png\n"
      "  make 2>&1 | lrufs put /mnt/cache build/log\n"
      "  lrufs put --ttl 1h /mnt/cache/session.json session.json");
  return {app, [arguments]() -> int {
            const auto plan = make_plan(*arguments);
            if (!plan) return report(plan.error(), plan.error().code == Code::kInvalid ? kUsage : kFailed);
            const Status done = put(*plan);
            return done ? kOk : report(done.error());
          }};
}

}  // namespace lrufs::cmd
