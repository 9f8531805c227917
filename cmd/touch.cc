// lrufs touch, pin, unpin: what eviction goes by.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cmd/target.h"
#include "cmd/verbs.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::Status;

struct Arguments {
  std::string target;
  std::vector<std::string> keys;
};

using Action = std::function<Status(Tree&, const std::string& key)>;

int for_each_key(const Arguments& arguments, const Action& action) {
  const auto target = find_target(arguments.target, !arguments.keys.empty());
  if (!target) return report(target.error());
  if (arguments.keys.empty() && !target->is_object())
    return report({Code::kInvalid, "name at least one KEY"}, kUsage);
  const auto keys = target->keys(arguments.keys);
  if (!keys) return report(keys.error());
  const auto tree = open_tree(*target, Access::kWrite);
  if (!tree) return report(tree.error());
  int code = kOk;
  for (const Key& key : *keys) {
    Status done;
    const auto found = (*tree)->attributes(key.path);
    if (!found) {
      done = store::fail(found.error());
    } else if (key.folder && !found->is_folder()) {
      done = store::fail(Code::kNotDirectory, "is a file, not a folder: leave the slash out");
    } else {
      done = action(**tree, key.path);
    }
    if (!done) code = report(about_key(key.path, done.error()));
  }
  const Status closed = (*tree)->close();
  return closed ? code : report(closed.error());
}

CLI::App* add(CLI::App& program, const char* name, const char* description, const char* key_help,
              Arguments& arguments) {
  CLI::App* app = program.add_subcommand(name, description);
  app->group(kObjectsGroup);
  app->add_option("TARGET", arguments.target, kTargetHelp)->required()->type_name("");
  app->add_option("KEY", arguments.keys, key_help)->type_name("");
  return app;
}

}  // namespace

Verb add_touch(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = add(program, "touch", "Record a use now, so that a file is the last to be evicted",
                      "What was used; left out if TARGET is a path in a mount", *arguments);
  app->footer(
      "Times and content stay as they are; nothing is made (unlike touch(1)). A symbolic link is\n"
      "touched itself.\n\n"
      "Exit codes: 0 done, 1 failed (something was not there, for instance), 2 wrong use.\n\n"
      "Examples:\n"
      "  lrufs touch cache.lrufs thumbs/cat.png\n"
      "  lrufs touch /mnt/cache thumbs/cat.png thumbs/dog.png");
  return {app, [arguments] {
            return for_each_key(*arguments,
                                [](Tree& tree, const std::string& key) { return tree.touch(key); });
          }};
}

Verb add_pin(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = add(program, "pin", "Keep files from being evicted, ever", "What to keep", *arguments);
  app->footer(
      "Sets the xattr user.lrufs.pin.\n\n"
      "Exit codes: 0 done, 1 failed (something was not there, for instance), 2 wrong use.\n\n"
      "Examples:\n  lrufs pin cache.lrufs models/base.bin\n  lrufs pin /mnt/cache/models/base.bin");
  return {app, [arguments] {
            return for_each_key(*arguments, [](Tree& tree, const std::string& key) {
              return tree.set_xattr(key, kPinXattr, "1");
            });
          }};
}

Verb add_unpin(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = add(program, "unpin", "Let files be evicted again", "What was pinned", *arguments);
  app->footer(
      "Removes the xattr user.lrufs.pin. What is not pinned stays so, and is no error.\n\n"
      "Exit codes: 0 done, 1 failed (something was not there, for instance), 2 wrong use.\n\n"
      "Examples:\n  lrufs unpin cache.lrufs models/base.bin");
  return {app, [arguments] {
            return for_each_key(*arguments, [](Tree& tree, const std::string& key) -> Status {
              Status removed = tree.remove_xattr(key, kPinXattr);
              if (!removed && removed.error().code == Code::kNoAttribute) return {};
              return removed;
            });
          }};
}

}  // namespace lrufs::cmd
