// lrufs evict and lrufs checkpoint: of a mount through its control folder, of a store that is not mounted
// directly.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "cmd/live_mount.h"
#include "cmd/mount_table.h"
#include "cmd/os.h"
#include "cmd/units.h"
#include "cmd/verbs.h"
#include "fs/fuse/control_inode.h"
#include "store/store.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Result;
using store::Status;
using store::Store;

struct Arguments {
  std::string target;
  std::string key;
  std::string prefix;
  std::string bytes;
};

// What to do, for both ways.
struct Work {
  std::string file;     // of the control folder
  std::string command;  // to be written to it
  std::string missing;  // what kNotFound means
  std::function<Status(Store&)> direct;
};

Status through_mount(const std::string& path, const Work& work) {
  LRUFS_TRY_ASSIGN(const std::string folder, control_folder_of(path));
  const std::string file = folder + "/" + work.file;
  const int fd = ::open(file.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) {
    const int error = errno;
    if (error == EACCES || error == EPERM)
      return fail(Code::kNotPermitted, "only who has mounted it (and root) may do that: " + shown(path),
                  error);
    return fail(Code::kIo, "cannot open " + shown(file) + ": " + errno_text(error), error);
  }
  const ssize_t written = ::write(fd, work.command.data(), work.command.size());
  const int error = errno;
  ::close(fd);
  if (written == static_cast<ssize_t>(work.command.size())) return {};
  switch (error) {
    case ENOENT:
      return fail(Code::kNotFound, work.missing);
    case ENOTEMPTY:
      return fail(Code::kNotEmpty, "it is a folder with entries: lrufs evict --prefix takes what is in it");
    case EBUSY:
      return fail(Code::kBusy, "it is being written, or a pin keeps it");
    case EROFS:
      return fail(Code::kReadOnly, "the mount " + shown(path) + " is read-only");
    default:
      return fail(Code::kIo, shown(path) + ": " + errno_text(error), error);
  }
}

Status directly(const std::string& path, const Work& work) {
  store::Options options;
  options.create = false;
  options.bound_given = false;
  auto opened = Store::open(path, options);
  if (!opened && opened.error().code == Code::kBusy) {
    if (const auto where = mount_of_store(path)) return through_mount(*where, work);
  }
  if (!opened) return fail(about_store(path, opened.error()));
  if ((*opened)->read_only()) return fail(Code::kReadOnly, shown(path) + " is damaged: see lrufs check");
  Status done = work.direct(**opened);
  if (!done && done.error().code == Code::kNotFound) done = fail(Code::kNotFound, work.missing);
  const Status closed = (*opened)->close();
  return done ? closed : done;
}

int run(const std::string& target, const Work& work) {
  const std::string path = absolute_path(target);
  struct stat attributes {};
  if (::stat(path.c_str(), &attributes) != 0) {
    const int error = errno;
    return report({Code::kNotFound, "cannot look at " + shown(path) + ": " + errno_text(error), error});
  }
  bool in_mount = S_ISDIR(attributes.st_mode);
  if (!in_mount) {
    const auto table = read_mount_table();
    const MountEntry* const mount = table ? mount_containing(*table, path) : nullptr;
    in_mount = mount != nullptr && mount->is_lrufs();
  }
  const Status done = in_mount ? through_mount(path, work) : directly(path, work);
  return done ? kOk : report(done.error());
}

Status something(const Result<store::Evictions>& done) {
  if (!done) return fail(done.error());
  return done->bytes == 0 && done->objects == 0 ? Status(fail(Code::kNotFound)) : Status();
}

int evict(const Arguments& arguments) {
  if (arguments.key.empty() && arguments.prefix.empty() && arguments.bytes.empty())
    return report({Code::kInvalid, "what is to go? Give a KEY, --prefix or --bytes"}, kUsage);
  Work work;
  work.file = "evict";
  const auto relative = [](const std::string& path) { return path.substr(path.starts_with('/') ? 1 : 0); };
  if (!arguments.bytes.empty()) {
    const auto bytes = parse_size("--bytes", arguments.bytes);
    if (!bytes) return report(bytes.error(), kUsage);
    if (*bytes == 0) return report({Code::kInvalid, "--bytes 0: that is nothing"}, kUsage);
    work.command = "bytes " + std::to_string(*bytes);
    work.missing = "there is nothing that may go";
    work.direct = [bytes = *bytes](Store& store) {
      return something(store.evict(bytes).map([](std::uint64_t freed) {
        return store::Evictions{0, freed};
      }));
    };
  } else if (!arguments.prefix.empty()) {
    const std::string prefix = relative(arguments.prefix);
    work.command = prefix.empty() ? "all\n" : "prefix " + prefix + "\n";
    work.missing = "nothing begins with " + shown(arguments.prefix);
    work.direct = [prefix](Store& store) { return something(store.evict_prefix(prefix)); };
  } else {
    const std::string key = relative(arguments.key);
    work.command = "key " + key + "\n";
    work.missing = "there is no " + shown(arguments.key);
    work.direct = [key](Store& store) { return something(store.evict_key(key)); };
  }
  return run(arguments.target, work);
}

}  // namespace

Verb add_evict(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = program.add_subcommand("evict", "Evict files now, by name or as many as give some room");
  app->group(kObjectsGroup);
  app->add_option("TARGET", arguments->target, "A folder of a mount, or a store that is not mounted")
      ->required()
      ->type_name("");
  CLI::Option* const key =
      app->add_option("KEY", arguments->key, "The path of a file, from the root of the mount")->type_name("");
  CLI::Option* const prefix = app->add_option("--prefix", arguments->prefix,
                                              "All paths that begin like this: \"a/\" is what is in\n"
                                              "a, \"a/b\" also takes a/bc, \"/\" everything")
                                  ->type_name("PATH");
  CLI::Option* const bytes =
      app->add_option("--bytes", arguments->bytes, "The least recently used files, until so much is free")
          ->type_name("SIZE");
  key->excludes(prefix)->excludes(bytes);
  prefix->excludes(bytes);
  app->footer(
      "What is being written stays; what is open goes, and its readers keep it until they close it.\n"
      "Exit codes: 0 done, 1 nothing of that kind is there (or it failed), 2 wrong use.\n\n"
      "Examples:\n  lrufs evict /mnt/cache a/b/old.o\n  lrufs evict /mnt/cache --prefix a/\n"
      "  lrufs evict cache.lrufs --bytes 500M");
  return {app, [arguments] { return evict(*arguments); }};
}

Verb add_checkpoint(CLI::App& program) {
  auto target = std::make_shared<std::string>();
  CLI::App* app =
      program.add_subcommand("checkpoint", "Write everything to the disk; returns when it is there");
  app->group(kStoresGroup);
  app->add_option("TARGET", *target, "A folder of a mount, or a store that is not mounted")
      ->required()
      ->type_name("");
  app->footer("Example:\n  lrufs checkpoint /mnt/cache");
  return {app, [target] {
            return run(*target,
                       {.file = "checkpoint", .command = "1\n", .missing = "", .direct = [](Store& store) {
                          return store.checkpoint();
                        }});
          }};
}

}  // namespace lrufs::cmd
