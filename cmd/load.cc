// lrufs load: a tar archive into a store, or through its mount.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cmd/interrupt.h"
#include "cmd/live_mount.h"
#include "cmd/os.h"
#include "cmd/progress.h"
#include "cmd/store_argument.h"
#include "cmd/tar_extract.h"
#include "cmd/tar_load.h"
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

struct Arguments {
  std::string store;
  std::string input;
  std::string size;
  bool json = false;
};

struct Loaded {
  LoadReport report;
  std::uint64_t evicted = 0;
  std::vector<std::string> notes;
};

LoadOptions options_for(Loaded& loaded, Progress& progress) {
  LoadOptions how;
  how.stop = interrupted;
  how.on_progress = [&](std::uint64_t bytes) { progress.set(bytes); };
  how.on_note = [&](const std::string& text) {
    progress.clear();
    std::fprintf(stderr, "lrufs: %s\n", text.c_str());
    loaded.notes.push_back(text);
  };
  return how;
}

std::uint64_t evicted_by(const std::string& mount_point) {
  const auto all = mount_statistics(mount_point);
  if (!all) return 0;
  return number_in(all->value("statistics", json::object()), "evicted_objects");
}

Result<Loaded> load_through(const std::string& mount_point, const std::string& folder, int fd,
                            Progress& progress) {
  const std::uint64_t before = evicted_by(mount_point);
  Loaded loaded;
  const LoadOptions how = options_for(loaded, progress);
  LRUFS_TRY_ASSIGN(loaded.report, extract_tar(fd, folder, how));
  loaded.evicted = evicted_by(mount_point) - before;
  return loaded;
}

Result<Loaded> load_into(const std::string& path, const store::Options& options, int fd, Progress& progress) {
  auto opened = store::Store::open(path, options);
  if (!opened && opened.error().code == Code::kBusy) {
    if (const auto where = mount_of_store(path)) return load_through(*where, *where, fd, progress);
  }
  if (!opened) return fail(opened.error());
  store::Store& store = **opened;
  if (store.read_only())
    return fail(Code::kReadOnly, shown(path) + " is damaged: repair it first, with lrufs check --repair");
  Loaded loaded;
  const LoadOptions how = options_for(loaded, progress);
  auto report = load_tar(fd, store, how);
  loaded.evicted = store.statistics().evicted_objects;
  const auto closed = store.close();
  LRUFS_TRY(report);
  LRUFS_TRY(closed);
  loaded.report = *report;
  return loaded;
}

Result<Loaded> load(const StoreArgument& to, const Arguments& arguments, int fd, Progress& progress) {
  if (!to.mount_point.empty()) {
    if (!arguments.size.empty())
      return fail(Code::kInvalid, "--size is for a new store: a mount gets another size by lrufs resize");
    return load_through(to.mount_point, absolute_path(arguments.store), fd, progress);
  }
  store::Options options;
  options.background = false;
  options.sync = store::Options::Sync::kUnmount;
  options.bound_given = !arguments.size.empty();
  if (options.bound_given) {
    LRUFS_TRY_ASSIGN(options.bound, parse_size("--size", arguments.size));
  }
  struct stat there {};
  const bool is_new = ::stat(to.store.c_str(), &there) != 0 && errno == ENOENT;
  if (!is_new) return load_into(to.store, options, fd, progress);
  if (!options.bound_given)
    return fail(Code::kInvalid, "there is no store " + shown(to.store) + ": give its --size to make one");
  LRUFS_TRY_ASSIGN(store::UnfinishedFile file, store::UnfinishedFile::beside(to.store, "load"));
  LRUFS_TRY_ASSIGN(Loaded loaded, load_into(file.path(), options, fd, progress));
  LRUFS_TRY(file.finish(false));
  return loaded;
}

void print(const std::string& path, const Loaded& loaded) {
  const LoadReport& report = loaded.report;
  std::printf("%s: %s, %s and %s loaded, %s of content\n", shown(path).c_str(),
              counted(report.files, "file", "files").c_str(), counted(report.links, "link", "links").c_str(),
              counted(report.directories, "directory", "directories").c_str(),
              format_size(report.content_bytes).c_str());
  if (loaded.evicted != 0)
    std::printf("%s evicted to make room\n", counted(loaded.evicted, "object was", "objects were").c_str());
  if (report.refused != 0)
    std::printf("%s left out\n", counted(report.refused, "entry was", "entries were").c_str());
}

int run(const Arguments& arguments) {
  if (!arguments.size.empty()) {
    const auto size = parse_size("--size", arguments.size);
    if (!size) return report(size.error(), kUsage);
  }
  int fd = STDIN_FILENO;
  if (!arguments.input.empty() && arguments.input != "-") {
    fd = ::open(arguments.input.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
      return report({Code::kNotFound, "cannot open " + shown(arguments.input) + ": " + errno_text(errno)});
  } else if (::isatty(STDIN_FILENO) == 1) {
    return report({Code::kInvalid, "no archive: name a FILE, or pipe one in"}, kUsage);
  }
  const auto to = find_store(arguments.store);
  if (!to) return report(to.error());
  const InterruptScope scope;
  Progress progress("load", Progress::Unit::kBytes, 0);
  const auto loaded = load(*to, arguments, fd, progress);
  progress.clear();
  if (!loaded)
    return report(about_store(to->store, loaded.error()),
                  loaded.error().code == Code::kInvalid ? kUsage : kFailed);
  if (arguments.json) {
    const json answer = {{"store", to->store},
                         {"files", loaded->report.files},
                         {"directories", loaded->report.directories},
                         {"links", loaded->report.links},
                         {"content_bytes", loaded->report.content_bytes},
                         {"evicted", loaded->evicted},
                         {"left_out", loaded->report.refused},
                         {"notes", loaded->notes}};
    std::printf("%s\n", answer.dump(2, ' ', false, json::error_handler_t::replace).c_str());
  } else {
    print(to->store, *loaded);
  }
  return loaded->report.refused == 0 ? kOk : kFailed;
}

}  // namespace

Verb add_load(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = program.add_subcommand("load", "Load a tar archive into a store, mounted or not");
  app->group(kStoresGroup);
  app->add_option("TARGET", arguments->store,
                  "A store file, made if it does not exist (with --size); or a\n"
                  "folder in a mount")
      ->required()
      ->type_name("");
  app->add_option("FILE", arguments->input, "The archive (default: standard input), compressed or not")
      ->type_name("");
  app->add_option("--size", arguments->size, "Bound of the store, e.g. 10G")->type_name("SIZE");
  app->add_flag("--json", arguments->json, "Print the result as JSON");
  app->footer(
      "The order of the entries becomes the order of use. What is there under the same name is\n"
      "replaced, folders are joined; when the store is full, the least recently used files go. A leading\n"
      "\"/\" is cut off names, and names with \"..\" are left out. If it is interrupted, a new store is not\n"
      "made; in one that was there each entry is whole or absent. Through a mount, owners are those of the\n"
      "archive for root only, and times of change and birth are those of the loading.\n\n"
      "Exit codes: 0 done, 1 failed, or an entry was left out; 2 wrong use.\n\n"
      "Examples:\n  lrufs load --size 20G cache.lrufs backup.tar.zst\n"
      "  tar -c -C build . | lrufs load cache.lrufs\n"
      "  lrufs load /mnt/cache/restored backup.tar.zst");
  return {app, [arguments] { return run(*arguments); }};
}

}  // namespace lrufs::cmd
