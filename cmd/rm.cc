// lrufs rm: removes files, and with -r folders with all that is in them.
#include <memory>
#include <string>
#include <vector>

#include "cmd/target.h"
#include "cmd/verbs.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Status;

struct Arguments {
  std::string target;
  std::vector<std::string> keys;
  bool recursive = false;
};

bool is_gone(const store::Error& error) {
  return error.code == Code::kNotFound || error.code == Code::kStale;
}

// The folder `top` with all that is in it, deepest first. What comes or goes meanwhile on a mount does no
// harm: a folder that got something new is emptied again.
Status remove_folder(Tree& tree, const std::string& top) {
  std::vector<std::string> folders = {top};
  while (!folders.empty()) {
    const std::string folder = folders.back();
    auto entries = tree.list(folder);
    if (!entries && is_gone(entries.error())) {
      folders.pop_back();
      continue;
    }
    if (!entries) return fail(about_key(folder, entries.error()));
    const std::size_t before = folders.size();
    for (const auto& [name, attributes] : *entries) {
      const std::string key = join_keys(folder, name);
      if (attributes.is_folder()) {
        folders.push_back(key);
      } else if (const Status removed = tree.remove(key, false); !removed && !is_gone(removed.error())) {
        return fail(about_key(key, removed.error()));
      }
    }
    if (folders.size() != before) continue;
    const Status removed = tree.remove(folder, true);
    if (!removed && removed.error().code == Code::kNotEmpty) continue;
    if (!removed && !is_gone(removed.error())) return fail(about_key(folder, removed.error()));
    folders.pop_back();
  }
  return {};
}

Status remove(Tree& tree, const Key& key, bool recursive) {
  if (key.path.empty()) {
    return fail(Code::kNotPermitted,
                "/: the root of a store cannot be removed: name what is to go, or remove the store file");
  }
  const auto found = tree.attributes(key.path);
  if (!found) return fail(about_key(key.path, found.error()));
  if (found->is_folder() && !recursive) {
    return fail(Code::kIsDirectory,
                shown_key(key.path) + " is a folder: -r removes it with all that is in it");
  }
  if (found->is_folder()) return remove_folder(tree, key.path);
  if (key.folder) {
    return fail(Code::kNotDirectory, shown_key(key.path) + " is a file, not a folder: leave the slash out");
  }
  const Status removed = tree.remove(key.path, false);
  if (!removed) return fail(about_key(key.path, removed.error()));
  return {};
}

int rm(const Arguments& arguments) {
  const auto target = find_target(arguments.target, !arguments.keys.empty());
  if (!target) return report(target.error());
  if (arguments.keys.empty() && !target->is_object())
    return report({Code::kInvalid, "name what is to be removed: lrufs rm TARGET KEY..."}, kUsage);
  const auto keys = target->keys(arguments.keys);
  if (!keys) return report(keys.error());
  const auto tree = open_tree(*target, Access::kWrite);
  if (!tree) return report(tree.error());
  int code = kOk;
  for (const Key& key : *keys) {
    if (const Status removed = remove(**tree, key, arguments.recursive); !removed)
      code = report(removed.error());
  }
  const Status closed = (*tree)->close();
  return closed ? code : report(closed.error());
}

}  // namespace

Verb add_rm(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = program.add_subcommand("rm", "Remove files, links and folders from a store");
  app->group(kObjectsGroup);
  app->add_option("TARGET", arguments->target, kTargetHelp)->required()->type_name("");
  app->add_option("KEY", arguments->keys, "What to remove; left out if TARGET is a path in a mount")
      ->type_name("");
  app->add_flag("-r,--recursive", arguments->recursive, "Folders, too, with all that is in them");
  app->footer(
      "A symbolic link is removed itself. If one KEY cannot be removed, the others are all the same.\n\n"
      "Exit codes: 0 done, 1 failed (something was not there, for instance), 2 wrong use.\n\n"
      "Examples:\n"
      "  lrufs rm cache.lrufs thumbs/cat.png thumbs/dog.png\n"
      "  lrufs rm -r /mnt/cache/build");
  return {app, [arguments] { return rm(*arguments); }};
}

}  // namespace lrufs::cmd
