// lrufs resize and lrufs compact: another bound, or the smallest file, of a store that is mounted or not.
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cmd/interrupt.h"
#include "cmd/live_mount.h"
#include "cmd/live_size.h"
#include "cmd/os.h"
#include "cmd/progress.h"
#include "cmd/target.h"
#include "cmd/units.h"
#include "cmd/verbs.h"
#include "store/store.h"

namespace lrufs::cmd {
namespace {

using nlohmann::json;
using store::Code;
using store::fail;
using store::Result;
using store::Status;
using store::Store;

struct Arguments {
  std::string target;
  std::string size;
  bool json = false;
};

// For a mount and for a store that nobody has open.
struct Work {
  std::string name;         // of the verb, and of the file of the control folder
  std::string command;      // to be written to that
  std::uint64_t bound = 0;  // 0: as it is
  std::function<Status(Store&, const Store::OnProgress&)> direct;
};

Status look_at_file(const std::string& path, SizeFigures& figures) {
  struct stat attributes {};
  if (::stat(path.c_str(), &attributes) != 0)
    return fail(Code::kIo, "cannot look at " + shown(path) + ": " + errno_text(errno), errno);
  figures.file = static_cast<std::uint64_t>(attributes.st_size);
  figures.disk = static_cast<std::uint64_t>(attributes.st_blocks) * 512;
  return {};
}

Result<SizeFigures> figures_of(const std::string& path, const Store& store) {
  const store::Statistics statistics = store.statistics();
  SizeFigures figures{.bound = statistics.bound_bytes, .files = statistics.files};
  LRUFS_TRY(look_at_file(path, figures));
  return figures;
}

// `bound` 0: with its own.
Result<std::unique_ptr<Store>> open_closed_store(const std::string& path, std::uint64_t bound) {
  store::Options options;
  options.bound_given = bound != 0;
  if (bound != 0) options.bound = bound;
  options.create = false;
  options.background = false;
  options.sync = store::Options::Sync::kUnmount;
  options.on_event = [](store::Options::Severity severity, const std::string& text) {
    if (severity != store::Options::Severity::kInfo) std::fprintf(stderr, "lrufs: %s\n", text.c_str());
  };
  auto opened = Store::open(path, std::move(options));
  if (!opened) return opened;
  if ((*opened)->read_only()) {
    return fail(Code::kCorrupt, "the store " + shown(path) +
                                    " is damaged, so it is left as it is. First: lrufs check --repair " +
                                    shown(path));
  }
  return opened;
}

Result<SizeChange> change_closed(const std::string& path, std::unique_ptr<Store> store, const Work& work) {
  SizeChange change;
  change.store = path;
  LRUFS_TRY_ASSIGN(change.before, figures_of(path, *store));
  if (work.bound > change.before.bound) {
    // An open store cannot grow without limit.
    LRUFS_TRY(store->close());
    LRUFS_TRY_ASSIGN(store, open_closed_store(path, work.bound));
    LRUFS_TRY(store->checkpoint());
  } else {
    Progress progress(work.name, Progress::Unit::kBytes, 0);
    LRUFS_TRY(work.direct(*store, [&](std::uint64_t done, std::uint64_t all) {
      progress.set_total(all);
      progress.set(done);
      return !interrupted();
    }));
  }
  change.evicted = store->statistics().evicted_objects;
  LRUFS_TRY_ASSIGN(change.after, figures_of(path, *store));
  LRUFS_TRY(store->close());
  LRUFS_TRY(look_at_file(path, change.after));
  return change;
}

Result<SizeChange> change_size(const std::string& text, const Work& work) {
  LRUFS_TRY_ASSIGN(const Target target, find_target(text, false));
  if (!target.mount_point.empty()) return change_mounted_size(target.mount_point, work.name, work.command);
  auto opened = open_closed_store(target.store, 0);
  if (opened) return change_closed(target.store, *std::move(opened), work);
  if (opened.error().code != Code::kBusy) return fail(opened.error());
  if (const auto mount_point = mount_of_store(target.store))
    return change_mounted_size(*mount_point, work.name, work.command);
  return fail(Code::kBusy, "the store " + shown(target.store) +
                               " is in use by another process, whose mount cannot be seen from here: name a "
                               "path in the mount there, or wait until that has closed it");
}

json to_json(const SizeFigures& figures) {
  return {{"bound_bytes", figures.bound},
          {"file_bytes", figures.file},
          {"disk_bytes", figures.disk},
          {"files", figures.files}};
}

void print(const SizeChange& change, bool as_json) {
  if (as_json) {
    const json out = {{"store", change.store},
                      {"before", to_json(change.before)},
                      {"after", to_json(change.after)},
                      {"evicted_objects", change.evicted}};
    std::printf("%s\n", out.dump(2, ' ', false, json::error_handler_t::replace).c_str());
    return;
  }
  const auto what = [](const SizeFigures& figures) {
    return format_size(figures.file) + " of at most " + format_size(figures.bound) + ", " +
           counted(figures.files, "file", "files");
  };
  std::printf("%s\n  before: %s\n  after:  %s\n", shown(change.store).c_str(), what(change.before).c_str(),
              what(change.after).c_str());
  if (change.evicted != 0)
    std::printf("  %s evicted, the least recently used ones\n",
                counted(change.evicted, "file was", "files were").c_str());
}

int run(const Arguments& arguments, const Work& work) {
  const InterruptScope scope;
  const auto changed = change_size(arguments.target, work);
  if (!changed) return report(about_store(arguments.target, changed.error()));
  print(*changed, arguments.json);
  return kOk;
}

int resize(const Arguments& arguments) {
  const auto size = parse_size("SIZE", arguments.size);
  if (!size) return report(size.error(), kUsage);
  if (*size < store::kMinBound) {
    return report(store::Error(Code::kBoundTooSmall, "SIZE '" + arguments.size +
                                                         "' is too small: a store needs at least " +
                                                         format_size(store::kMinBound)),
                  kUsage);
  }
  Work work;
  work.name = "resize";
  work.command = std::to_string(*size) + "\n";
  work.bound = *size;
  work.direct = [size = *size](Store& store, const Store::OnProgress& on_progress) {
    return store.resize(size, on_progress);
  };
  return run(arguments, work);
}

int compact(const Arguments& arguments) {
  Work work;
  work.name = work.command = "compact";
  work.direct = [](Store& store, const Store::OnProgress& on_progress) {
    return store.compact(Store::Company::kAlone, on_progress);
  };
  return run(arguments, work);
}

}  // namespace

Verb add_resize(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = program.add_subcommand("resize", "Give a store another size, mounted or not");
  app->group(kStoresGroup);
  app->add_option("TARGET", arguments->target, "A store file, or a path in a mount of it")
      ->required()
      ->type_name("");
  app->add_option("SIZE", arguments->size, "Its new bound on disk, such as 512MiB or 10G")
      ->required()
      ->type_name("");
  app->add_flag("--json", arguments->json, "Print the result as JSON (sizes in bytes)");
  app->footer(
      "A smaller size evicts the least recently used files until the rest fits, moves that to the front\n"
      "of the file and gives the disk space back. A larger size is taken from the disk as it is needed;\n"
      "a mounted store can grow to four times the size that it was mounted with, and to 64 GiB in any\n"
      "case. While it is mounted, programs go on meanwhile; only who has mounted it, and root, may resize\n"
      "it. The store keeps its size when it is mounted again, unless that mount has a --size.\n"
      "Interrupted, it leaves the store with its old size; what was evicted until then is gone. A store\n"
      "cannot be made smaller while another process reads it as it was (lrufs copy, dump).\n\n"
      "Exit codes: 0 done, 1 failed, 2 wrong use.\n\n"
      "Examples:\n  lrufs resize cache.lrufs 5G\n  lrufs resize --json /mnt/cache 20G");
  return {app, [arguments] { return resize(*arguments); }};
}

Verb add_compact(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = program.add_subcommand("compact", "Make the file of a store as small as its content");
  app->group(kStoresGroup);
  app->add_option("TARGET", arguments->target, "A store file, or a path in a mount of it")
      ->required()
      ->type_name("");
  app->add_flag("--json", arguments->json, "Print the result as JSON (sizes in bytes)");
  app->footer(
      "Nothing is evicted, and its size (the bound) stays: the file grows again as it did before. While\n"
      "the store is mounted, some room stays in the file for what is written next: a 32nd of what is in\n"
      "use, and 4 to 16 MiB; what programs write meanwhile comes on top. Not mounted, it becomes as small\n"
      "as it can be. Interrupted, it leaves everything in place.\n\n"
      "Exit codes: 0 done, 1 failed, 2 wrong use.\n\n"
      "Examples:\n  lrufs compact cache.lrufs\n  lrufs compact /mnt/cache");
  return {app, [arguments] { return compact(*arguments); }};
}

}  // namespace lrufs::cmd
