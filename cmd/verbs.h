// The verbs of the program: each file adds one to the command line and says how to run it.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "store/error.h"

namespace lrufs::cmd {

enum ExitCode : int { kOk = 0, kFailed = 1, kUsage = 2 };

struct Verb {
  CLI::App* app = nullptr;
  std::function<int()> run;  // after parsing; returns the exit code
};

Verb add_mount(CLI::App& program);
Verb add_umount(CLI::App& program);
Verb add_stat(CLI::App& program);
Verb add_check(CLI::App& program);
Verb add_copy(CLI::App& program);
Verb add_dump(CLI::App& program);
Verb add_load(CLI::App& program);

// Prints "lrufs: message" to stderr and returns the code.
int report(const store::Error& error, int exit_code = kFailed);

// The error of a function that was given the store's path but does not repeat it in its message.
store::Error about_store(const std::string& path, store::Error error);

}  // namespace lrufs::cmd
