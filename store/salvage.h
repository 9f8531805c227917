// Salvage: what is whole in a store, found by a walk over all tree pages that can still be read rather than
// from the root downward: a directory whose inode is lost does not take its entries along, nor they their
// files.
//
// An object counts as whole if its inode was read and no damaged page can have held a record of it, so that
// neither content nor xattrs are missing. A directory is kept with the entries that are left. Content has no
// checksum.
//
// Memory grows with the number of objects (some hundred bytes each). Changes nothing. Not thread-safe.
#pragma once

#include <string>
#include <vector>

#include "store/inode.h"
#include "store/read_view.h"
#include "store/types.h"

namespace lrufs::store {

struct SalvagedName {
  Ino dir = kNoIno;
  std::string name;
};

struct SalvagedObject {
  Inode inode;
  std::vector<SalvagedName> names;  // at least one; for the root none
};

struct Salvage {
  // In the order of use, the least recently used first; directories anywhere. All names lie in directories
  // that are here as well, and each object can be reached from the root.
  std::vector<SalvagedObject> objects;
  std::vector<std::string> dropped;  // paths of what is hurt, "/a/b"; "inode N" where no name is known, or
                                     // the page that led to them
  std::uint64_t found = 0;  // objects that lost their names or directories and are in /lost+found now
};

// The number that /lost+found has in SalvagedObject; no other object has it.
inline constexpr Ino kLostAndFound{~0ULL};

Salvage salvage(const ReadView& view);

}  // namespace lrufs::store
