// lrufs ls: what is in a store; by name, or in the order in which it would be evicted.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cmd/lru_order.h"
#include "cmd/os.h"
#include "cmd/output.h"
#include "cmd/target.h"
#include "cmd/units.h"
#include "cmd/verbs.h"
#include "cmd/walk.h"

namespace lrufs::cmd {
namespace {

using nlohmann::json;
using store::Code;
using store::fail;
using store::Result;
using store::Status;

struct Arguments {
  std::string target;
  std::string prefix;
  bool long_form = false;
  bool recursive = false;
  bool lru = false;
  bool json = false;
};

class Printer {
 public:
  // Keys are printed as they are to be given with the same TARGET: without what that says already.
  Printer(const Arguments& arguments, Tree& tree, const std::string& base)
      : arguments_(arguments),
        tree_(tree),
        strip_(base.empty() ? 0 : base.size() + 1),
        quote_(::isatty(STDOUT_FILENO) == 1) {}

  Status operator()(const std::string& key, const Attributes& attributes, const LruPlace* place = nullptr) {
    const std::string name = key.size() > strip_ ? key.substr(strip_) : key;
    if (arguments_.json) {
      json out = to_json(name, attributes);
      if (attributes.is_symlink()) add_link(out, key);
      if (place != nullptr) add_place(out, *place);
      return print_line(to_text(out));
    }
    std::string line = place != nullptr ? order_columns(*place) : "";
    if (arguments_.long_form) line += long_columns(attributes);
    line += quote_ ? shell_quoted(name) : name;
    if (arguments_.long_form && attributes.is_symlink()) {
      if (const auto target = tree_.link_target(key))
        line += " -> " + (quote_ ? shell_quoted(*target) : *target);
    }
    return print_line(line);
  }

 private:
  void add_link(json& out, const std::string& key) {
    if (const auto target = tree_.link_target(key)) out["target"] = *target;
  }
  static void add_place(json& out, const LruPlace& place) {
    if (place.used_after) out["used_after"] = utc_time(*place.used_after);
    if (place.used_before) out["used_before"] = utc_time(*place.used_before);
  }
  static std::string long_columns(const Attributes& attributes) {
    std::string size = std::to_string(attributes.size);
    size.insert(0, size.size() < 12 ? 12 - size.size() : 0, ' ');
    return mode_text(attributes.mode) + " " + size + "  " + local_time(attributes.mtime, false) + "  ";
  }
  // "at least 3 h 5 min ago": that much is proven.
  static std::string order_columns(const LruPlace& place) {
    std::string sequence = std::to_string(place.attributes.sequence.value_or(0));
    sequence.insert(0, sequence.size() < 10 ? 10 - sequence.size() : 0, ' ');
    std::string age = "-";
    if (place.used_before) {
      const std::int64_t seconds = std::max<std::int64_t>(store::now().sec - place.used_before->sec, 0);
      age = ">" + format_duration(std::chrono::seconds(seconds));
    }
    age.resize(std::max<std::size_t>(age.size(), 12), ' ');
    return sequence + "  " + age + "  ";
  }

  const Arguments& arguments_;
  Tree& tree_;
  std::size_t strip_;
  bool quote_;
};

// What `prefix` selects: all below a folder, a file, or the entries of a folder whose names begin with it.
struct Selection {
  std::string folder;
  std::string name_begins;             // with this; empty: all
  std::optional<Attributes> one_file;  // `folder` is then its key
};

Result<Selection> select(Tree& tree, const Key& key) {
  const auto found = tree.attributes(key.path);
  if (found && found->is_folder()) return Selection{.folder = key.path, .name_begins = {}, .one_file = {}};
  if (found && key.folder) {
    return fail(Code::kNotDirectory, shown_key(key.path) + " is a file, not a folder: leave the slash out");
  }
  if (found) return Selection{.folder = key.path, .name_begins = {}, .one_file = *found};
  if (found.error().code != Code::kNotFound || key.folder) return fail(about_key(key.path, found.error()));
  return Selection{.folder = parent_key(key.path), .name_begins = name_in_key(key.path), .one_file = {}};
}

// Visits what is selected; without -R only the entries of the folder itself.
Status visit_selected(Tree& tree, const Selection& selection, bool recursive, const Visit& visit) {
  const std::string begins = join_keys(selection.folder, selection.name_begins);
  bool any = selection.name_begins.empty();
  const auto filtered = [&](const std::string& key, const Attributes& attributes) -> Status {
    if (!selection.name_begins.empty() && !key.starts_with(begins)) return {};
    any = true;
    return visit(key, attributes);
  };
  if (recursive) {
    LRUFS_TRY(walk(tree, selection.folder, filtered));
  } else {
    auto listing = tree.list(selection.folder);
    if (!listing) return fail(about_key(selection.folder, listing.error()));
    for (const auto& [name, attributes] : *listing)
      LRUFS_TRY(filtered(join_keys(selection.folder, name), attributes));
  }
  if (!any)
    return fail(Code::kNotFound, shown_key(begins) + ": there is no such object, and no key that begins so");
  return {};
}

Status list_by_name(const Arguments& arguments, const Target& target, const Key& key) {
  LRUFS_TRY_ASSIGN(const auto tree, open_tree(target, Access::kRead));
  Printer print(arguments, *tree, target.base.path);
  LRUFS_TRY_ASSIGN(const Selection selection, select(*tree, key));
  if (selection.one_file) {
    LRUFS_TRY(print(selection.folder, *selection.one_file));
  } else {
    LRUFS_TRY(visit_selected(*tree, selection, arguments.recursive, print));
  }
  return tree->close();
}

Status list_by_use(const Arguments& arguments, const Target& target, const Key& key) {
  LRUFS_TRY_ASSIGN(const std::string store, store_of(target));
  auto volume = open_for_reading(store);
  if (!volume) return fail(about_store(store, volume.error()));
  const auto tree = tree_of_volume(*std::move(volume));
  LRUFS_TRY_ASSIGN(const std::vector<LruPlace> order, lru_order(*tree));
  LRUFS_TRY_ASSIGN(const Selection selection, select(*tree, key));
  Printer print(arguments, *tree, target.base.path);
  const std::string begins =
      join_keys(selection.folder, selection.name_begins) + (selection.name_begins.empty() ? "/" : "");
  for (const LruPlace& place : order) {
    const bool wanted =
        selection.one_file ? place.key == selection.folder : begins == "/" || place.key.starts_with(begins);
    if (wanted) LRUFS_TRY(print(place.key, place.attributes, &place));
  }
  return tree->close();
}

Status ls(const Arguments& arguments) {
  LRUFS_TRY_ASSIGN(const Target target, find_target(arguments.target, !arguments.prefix.empty()));
  LRUFS_TRY_ASSIGN(const Key key, target.key(arguments.prefix));
  return arguments.lru ? list_by_use(arguments, target, key) : list_by_name(arguments, target, key);
}

}  // namespace

Verb add_ls(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = program.add_subcommand("ls", "List what is in a store, by name or in the order of use");
  app->group(kObjectsGroup);
  app->add_option("TARGET", arguments->target, kTargetHelp)->required()->type_name("");
  app->add_option("PREFIX", arguments->prefix,
                  "A folder (all in it), a file (that), or the beginning of\nkeys (default: all)")
      ->type_name("");
  app->add_flag("-l,--long", arguments->long_form, "With type and permissions, size and time of change");
  app->add_flag("-R,--recursive", arguments->recursive, "With what is in folders");
  app->add_flag("--lru", arguments->lru,
                "What would be evicted, the next to go first, in all\n"
                "folders: with its place in the order of use (a sequence\n"
                "number), and how long ago the last use is at least")
      ->excludes(app->get_option("--recursive"));
  app->add_flag("--json", arguments->json, "Print each object as JSON, one a line (sizes in bytes)");
  app->footer(
      "Keys are printed one a line, as they are to be given with the same TARGET, sorted bytewise;\n"
      "on a terminal those with odd characters are quoted for the shell.\n\n"
      "The store keeps no times of use, but their order, in which the making of files counts too:\n"
      "the ages of --lru follow from when others were made (JSON: used_after, used_before).\n"
      "Folders that are not empty, and what is pinned, are not evicted, and so not in --lru.\n"
      "Uses that a daemon has not written yet are not seen by --lru; unmounting writes them.\n\n"
      "Exit codes: 0 done, 1 failed (there is no such key, for instance), 2 wrong use.\n\n"
      "Examples:\n"
      "  lrufs ls -l cache.lrufs thumbs\n"
      "  lrufs ls -R /mnt/cache | wc -l\n"
      "  lrufs ls --lru cache.lrufs | head\n"
      "  lrufs ls -R --json cache.lrufs | jq -r 'select(.size > 1e6).key'");
  return {app, [arguments]() -> int {
            const Status done = ls(*arguments);
            if (done) return kOk;
            return done.error().os_errno == EPIPE ? int{kFailed} : report(done.error());
          }};
}

}  // namespace lrufs::cmd
