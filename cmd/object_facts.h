// Everything that is known of one object, for `lrufs stat TARGET KEY`.
#pragma once

#include <string>

#include "cmd/target.h"

namespace lrufs::cmd {

// Prints it, or what is wrong; returns the exit code.
int show_object(const Target& target, const std::string& key, bool json);

}  // namespace lrufs::cmd
