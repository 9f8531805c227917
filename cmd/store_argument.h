// The STORE of verbs that work on a whole store: its file; or a mount point, or any path in a mount, which
// stands for the store behind it.
#pragma once

#include <string>

#include "store/error.h"

namespace lrufs::cmd {

struct StoreArgument {
  std::string store;        // absolute; it may not exist
  std::string mount_point;  // if it was named by its mount
};

// kNotFound, kIsDirectory, kStale: with what to do about it.
store::Result<StoreArgument> find_store(const std::string& text);

}  // namespace lrufs::cmd
