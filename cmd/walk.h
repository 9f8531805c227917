// All objects below a folder, sorted bytewise by key: "a", "a-b", "a/b" (so a folder's own entry and what is
// in it may stand apart).
#pragma once

#include <functional>
#include <string>

#include "cmd/tree.h"

namespace lrufs::cmd {

// Not the folder itself. What goes away meanwhile is left out. Memory: the entries of the folders on the way
// down.
using Visit = std::function<store::Status(const std::string& key, const Attributes& attributes)>;
store::Status walk(Tree& tree, const std::string& folder, const Visit& visit);

}  // namespace lrufs::cmd
