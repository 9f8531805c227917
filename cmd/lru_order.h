// The order in which the objects of a store would be evicted, as far as it can be told without changing
// anything: that of their places in the order of use. What is not evicted as it is (folders with something in
// them, the root, what is pinned) is left out; such a folder goes after what is in it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cmd/tree.h"
#include "store/error.h"

namespace lrufs::cmd {

struct LruPlace {
  std::string key;
  Attributes attributes;
  // When its last use was, or its making if it was not used since. No times of use are kept, but inode
  // numbers and uses are drawn from one counter: what has a smaller number was made before, what has a larger
  // one after.
  std::optional<store::Timestamp> used_after;
  std::optional<store::Timestamp> used_before;
};

// Memory grows with the number of objects. `tree` must be one of a store.
store::Result<std::vector<LruPlace>> lru_order(Tree& tree);

}  // namespace lrufs::cmd
