// lrufs copy: a consistent copy of a store, in use or not, as a fresh store.
#include "store/copy_store.h"

#include <sys/stat.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cmd/interrupt.h"
#include "cmd/os.h"
#include "cmd/progress.h"
#include "cmd/store_argument.h"
#include "cmd/units.h"
#include "cmd/verbs.h"

namespace lrufs::cmd {
namespace {

using nlohmann::json;

struct Arguments {
  std::string from;
  std::string to;
  std::string size;
  bool from_checkpoint = false;
  bool json = false;
};

int run(const Arguments& arguments) {
  store::CopyStoreOptions options;
  options.from_checkpoint = arguments.from_checkpoint;
  if (!arguments.size.empty()) {
    const auto size = parse_size("--size", arguments.size);
    if (!size) return report(size.error(), kUsage);
    options.bound = *size;
  }
  const auto from = find_store(arguments.from);
  if (!from) return report(from.error());
  const std::string to = absolute_path(arguments.to);
  // cp(1) would copy into a folder; which of the two is meant by a folder in a mount nobody can know.
  struct stat there {};
  if (::stat(to.c_str(), &there) == 0 && S_ISDIR(there.st_mode)) {
    return report({store::Code::kIsDirectory,
                   shown(to) +
                       " is a folder: name the new store file. To copy what is in the store into a folder "
                       "of a mount: lrufs dump " +
                       shown(arguments.from) + " | lrufs load " + shown(arguments.to)});
  }
  const InterruptScope scope;
  Progress progress("copy", Progress::Unit::kBytes, 0);
  options.on_progress = [&](std::uint64_t done, std::uint64_t all) {
    progress.set_total(all);
    progress.set(done);
    return !interrupted();
  };
  const auto copied = store::copy_store(from->store, to, options);
  progress.clear();
  if (!copied) return report(about_store(from->store, copied.error()));
  if (arguments.json) {
    const json answer = {{"store", from->store},
                         {"copy", to},
                         {"files", copied->files},
                         {"directories", copied->directories},
                         {"evicted", copied->evicted},
                         {"content_bytes", copied->content_bytes},
                         {"bound_bytes", copied->bound_bytes},
                         {"file_bytes", copied->file_bytes}};
    std::printf("%s\n", answer.dump(2, ' ', false, json::error_handler_t::replace).c_str());
    return kOk;
  }
  std::printf("%s: %s and %s, %s of content, in a store of at most %s\n", shown(to).c_str(),
              counted(copied->files, "file", "files").c_str(),
              counted(copied->directories, "directory", "directories").c_str(),
              format_size(copied->content_bytes).c_str(), format_size(copied->bound_bytes).c_str());
  if (copied->evicted != 0)
    std::printf("%s did not fit and %s left out: the least recently used\n",
                counted(copied->evicted, "object", "objects").c_str(), copied->evicted == 1 ? "is" : "are");
  return kOk;
}

}  // namespace

Verb add_copy(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = program.add_subcommand("copy", "Copy a store, also while it is in use, to a fresh one");
  app->group(kStoresGroup);
  app->add_option("STORE", arguments->from, "The store file, or a folder that it is mounted at")
      ->required()
      ->type_name("");
  app->add_option("NEW", arguments->to,
                  "The new store file; it must not exist. (Into a folder of a mount:\nlrufs dump STORE | "
                  "lrufs load FOLDER)")
      ->required()
      ->type_name("");
  app->add_option("--size", arguments->size,
                  "Bound of the new store, e.g. 10G (default: that of STORE).\n"
                  "What does not fit is left out, least recently used first")
      ->type_name("SIZE");
  app->add_flag("--from-checkpoint", arguments->from_checkpoint,
                "Copy the last checkpoint, as after a power cut (not while\nSTORE is in use)");
  app->add_flag("--json", arguments->json, "Print the result as JSON");
  app->footer(
      "The copy is the state of one moment. It gets its name when it is complete and on the\n"
      "disk; an interrupted copy leaves nothing behind. Pages of that moment are kept meanwhile, so a\n"
      "store that is full and busy has less room until the copy is done.\n\n"
      "Exit codes: 0 done, 1 failed, 2 wrong use.\n\n"
      "Examples:\n  lrufs copy cache.lrufs backup.lrufs\n  lrufs copy --size 1G /mnt/cache small.lrufs");
  return {app, [arguments] { return run(*arguments); }};
}

}  // namespace lrufs::cmd
