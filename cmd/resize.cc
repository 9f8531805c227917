// lrufs resize and lrufs compact: the file of a store that is not mounted is made shorter.
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cmd/live_mount.h"
#include "cmd/os.h"
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
  std::string store;
  std::string size;
  bool json = false;
};

struct Figures {
  std::uint64_t bound = 0;
  std::uint64_t file = 0;  // bytes long
  std::uint64_t disk = 0;  // blocks
  std::uint64_t files = 0;
};

struct Change {
  Figures before;
  Figures after;
  std::uint64_t evicted = 0;
};

Result<Figures> figures_of(const std::string& path, const Store& store) {
  struct stat attributes {};
  if (::stat(path.c_str(), &attributes) != 0)
    return fail(Code::kIo, "cannot look at " + shown(path) + ": " + errno_text(errno), errno);
  const store::Statistics statistics = store.statistics();
  return Figures{statistics.bound_bytes, static_cast<std::uint64_t>(attributes.st_size),
                 static_cast<std::uint64_t>(attributes.st_blocks) * 512, statistics.files};
}

// `remount`: what to do with a mount instead.
Result<std::unique_ptr<Store>> open_closed_store(const std::string& path, store::Options options,
                                                 const std::string& remount) {
  struct stat attributes {};
  if (::stat(path.c_str(), &attributes) != 0)
    return fail(Code::kNotFound, "cannot look at " + shown(path) + ": " + errno_text(errno));
  if (S_ISDIR(attributes.st_mode)) {
    return fail(Code::kIsDirectory, shown(path) + " is a folder: name the store file (lrufs stat " +
                                        shown(path) + " tells its name, if this is a mount)");
  }
  options.create = false;
  options.background = false;
  options.sync = store::Options::Sync::kUnmount;
  options.on_event = [](store::Options::Severity severity, const std::string& text) {
    if (severity != store::Options::Severity::kInfo) std::fprintf(stderr, "lrufs: %s\n", text.c_str());
  };
  auto opened = Store::open(path, std::move(options));
  if (!opened && opened.error().code == Code::kBusy) {
    const auto where = mount_of_store(path);
    return fail(Code::kBusy, "the store " + shown(path) + " is in use" +
                                 (where ? ": it is mounted at " + shown(*where) +
                                              ". Unmount it first: lrufs umount " + shown(*where) + remount
                                        : " by another process: wait until that has closed it"));
  }
  if (opened && (*opened)->read_only()) {
    return fail(Code::kCorrupt, "the store " + shown(path) +
                                    " is damaged, so it is left as it is. First: lrufs check --repair " +
                                    shown(path));
  }
  return opened;
}

// Opens with `options`, does `work`, closes.
Result<Change> change_store(const std::string& path, const store::Options& options,
                            const std::string& remount, const std::function<Status(Store&)>& work) {
  Change change;
  {
    store::Options as_it_is = options;
    as_it_is.bound_given = false;
    LRUFS_TRY_ASSIGN(const std::unique_ptr<Store> store, open_closed_store(path, as_it_is, remount));
    LRUFS_TRY_ASSIGN(change.before, figures_of(path, *store));
    LRUFS_TRY(store->close());
  }
  LRUFS_TRY_ASSIGN(const std::unique_ptr<Store> store, open_closed_store(path, options, remount));
  LRUFS_TRY(work(*store));
  change.evicted = store->statistics().evicted_objects;
  change.after.bound = store->statistics().bound_bytes;
  change.after.files = store->statistics().files;
  LRUFS_TRY(store->close());
  struct stat attributes {};
  if (::stat(path.c_str(), &attributes) != 0)
    return fail(Code::kIo, "cannot look at " + shown(path) + ": " + errno_text(errno), errno);
  change.after.file = static_cast<std::uint64_t>(attributes.st_size);
  change.after.disk = static_cast<std::uint64_t>(attributes.st_blocks) * 512;
  return change;
}

json to_json(const Figures& figures) {
  return {{"bound_bytes", figures.bound},
          {"file_bytes", figures.file},
          {"disk_bytes", figures.disk},
          {"files", figures.files}};
}

void print(const std::string& path, const Change& change, bool as_json) {
  if (as_json) {
    const json out = {{"store", path},
                      {"before", to_json(change.before)},
                      {"after", to_json(change.after)},
                      {"evicted_objects", change.evicted}};
    std::printf("%s\n", out.dump(2, ' ', false, json::error_handler_t::replace).c_str());
    return;
  }
  const auto what = [](const Figures& figures) {
    return format_size(figures.file) + " of at most " + format_size(figures.bound) + ", " +
           counted(figures.files, "file", "files");
  };
  std::printf("%s\n  before: %s\n  after:  %s\n", shown(path).c_str(), what(change.before).c_str(),
              what(change.after).c_str());
  if (change.evicted != 0)
    std::printf("  %s evicted, the least recently used ones\n",
                counted(change.evicted, "file was", "files were").c_str());
}

int resize(const Arguments& arguments) {
  const std::string path = absolute_path(arguments.store);
  const auto size = parse_size("SIZE", arguments.size);
  if (!size) return report(size.error(), kUsage);
  if (*size < store::kMinBound) {
    return report(store::Error(Code::kBoundTooSmall, "SIZE '" + arguments.size +
                                                         "' is too small: a store needs at least " +
                                                         format_size(store::kMinBound)),
                  kUsage);
  }
  store::Options options;
  options.bound = *size;
  // Opening it with another bound is all.
  const auto changed =
      change_store(path, options, ", and mount it with --size " + arguments.size + " (that does the same)",
                   [](Store& store) { return store.checkpoint(); });
  if (!changed) return report(about_store(path, changed.error()));
  print(path, *changed, arguments.json);
  return kOk;
}

int compact(const Arguments& arguments) {
  const std::string path = absolute_path(arguments.store);
  store::Options options;
  options.bound_given = false;
  const auto changed = change_store(path, options, " (a mount gives space back with --trim)",
                                    [](Store& store) { return store.compact(); });
  if (!changed) return report(about_store(path, changed.error()));
  print(path, *changed, arguments.json);
  return kOk;
}

}  // namespace

Verb add_resize(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = program.add_subcommand("resize", "Give a store that is not mounted another size");
  app->group(kStoresGroup);
  app->add_option("STORE", arguments->store, "The store file")->required()->type_name("");
  app->add_option("SIZE", arguments->size, "Its new bound on disk, such as 512MiB or 10G")
      ->required()
      ->type_name("");
  app->add_flag("--json", arguments->json, "Print the result as JSON (sizes in bytes)");
  app->footer(
      "A smaller size evicts the least recently used files until the rest fits, moves that to the front\n"
      "of the file and gives the disk space back. lrufs mount --size SIZE does the same. A larger size is\n"
      "taken from the disk as it is needed.\n\n"
      "Examples:\n  lrufs resize cache.lrufs 5G\n  lrufs resize --json cache.lrufs 20G");
  return {app, [arguments] { return resize(*arguments); }};
}

Verb add_compact(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = program.add_subcommand(
      "compact", "Make the file of a store that is not mounted as small as its content");
  app->group(kStoresGroup);
  app->add_option("STORE", arguments->store, "The store file")->required()->type_name("");
  app->add_flag("--json", arguments->json, "Print the result as JSON (sizes in bytes)");
  app->footer(
      "Nothing is evicted, and its size (the bound) stays: mounted again, it grows as it did before.\n\n"
      "Example:\n  lrufs compact cache.lrufs");
  return {app, [arguments] { return compact(*arguments); }};
}

}  // namespace lrufs::cmd
