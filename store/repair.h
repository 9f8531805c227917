// Repair: a new store from what is whole in a damaged one (salvage.h, copier.h), put in its place. The old
// file is only read; it goes when the new one was checked in full and is on the disk. Both files exist
// meanwhile, so the disk needs room for what is kept.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "store/error.h"
#include "store/file_ops.h"

namespace lrufs::store {

struct RepairReport {
  bool was_sound = false;  // nothing was found: at most the mark of a damaged store was taken away
  std::string opened_from;
  std::uint64_t files = 0;  // kept, but directories
  std::uint64_t directories = 0;
  std::uint64_t found = 0;           // of these, now in /lost+found: their directory or name was lost
  std::vector<std::string> dropped;  // paths of what was hurt, or "inode N"; ends with what found no room
};

struct RepairOptions {
  bool from_checkpoint = false;
  std::shared_ptr<FileOps> file_ops;     // null: the real ones
  std::uint64_t name_hash_mask = ~0ULL;  // for tests only: as in Options
};

// The store's bound, content, names, hard links, attributes, xattrs and order of use are kept; inode numbers
// are new. kBusy: somebody has the store open. kNoSpace: the disk has no room for a second file. After an
// error all is as it was.
Result<RepairReport> repair_file(const std::string& path, const RepairOptions& options = {});

}  // namespace lrufs::store
