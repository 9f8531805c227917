// The verbs of the program: each file adds one to the command line and says how to run it.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "store/error.h"

namespace lrufs::cmd {

enum ExitCode : int { kOk = 0, kFailed = 1, kUsage = 2 };

// A verb's help is the source of its manual page, too (manual.cc). Its footer is made of paragraphs, with an
// empty line between them: one that begins "Exit codes: ", one that begins "Examples:" (indented lines are
// shown as they are), and others, which are notes. Lines of a description that begin "word:" or "word=X:"
// stay lines. type_name() of an option tells completion.cc what may follow (app_tree.h).
struct Verb {
  CLI::App* app = nullptr;
  std::function<int()> run;  // after parsing; returns the exit code
};

Verb add_mount(CLI::App& program);
Verb add_umount(CLI::App& program);
Verb add_upgrade(CLI::App& program);
Verb add_stat(CLI::App& program);
Verb add_check(CLI::App& program);
Verb add_copy(CLI::App& program);
Verb add_dump(CLI::App& program);
Verb add_load(CLI::App& program);
Verb add_evict(CLI::App& program);
Verb add_checkpoint(CLI::App& program);
Verb add_top(CLI::App& program);
Verb add_resize(CLI::App& program);
Verb add_compact(CLI::App& program);
Verb add_get(CLI::App& program);
Verb add_put(CLI::App& program);
Verb add_rm(CLI::App& program);
Verb add_ls(CLI::App& program);
Verb add_touch(CLI::App& program);
Verb add_pin(CLI::App& program);
Verb add_unpin(CLI::App& program);
Verb add_bench(CLI::App& program);
Verb add_completion(CLI::App& program);
Verb add_manual(CLI::App& program);

// Groups of verbs in `lrufs --help`.
inline constexpr const char* kMountsGroup = "Mounts";
inline constexpr const char* kObjectsGroup = "Files in a store, mounted or not";
inline constexpr const char* kStoresGroup = "Stores";
inline constexpr const char* kShellGroup = "For the shell";
// What TARGET and KEY are, wherever they occur.
inline constexpr const char* kTargetHelp = "A store file, a mount point, or a path in a mount";
inline constexpr const char* kKeyHelp =
    "Which object: a path in the store, such as a/b. Seen from\nTARGET, if that is a folder in a mount";
// Attributes of objects that mean something to eviction.
inline constexpr const char* kTtlXattr = "user.lrufs.ttl";  // seconds
inline constexpr const char* kPinXattr = "user.lrufs.pin";

// Prints "lrufs: message" to stderr and returns the code.
int report(const store::Error& error, int exit_code = kFailed);

// The error of a function that was given the store's path but does not repeat it in its message.
store::Error about_store(const std::string& path, store::Error error);

}  // namespace lrufs::cmd
