// copy_store(): a fresh, compact store with what another one holds at one moment, while that is in use or not
// (Options::shared): names, hard links, modes, owners, times, xattrs, content with its holes, and the order
// of use. Inode numbers are given anew, in that order; objects without a name (orphans) are left out. All or
// nothing: the new file appears under its name when it is complete and on the disk. A store that is damaged
// is not copied (repair.h keeps what is whole).
//
// Memory grows with the number of objects (some hundred bytes each). Not thread-safe; the source may be
// written by others.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "store/error.h"
#include "store/file_ops.h"

namespace lrufs::store {

struct CopyStoreOptions {
  bool from_checkpoint = false;
  std::optional<std::uint64_t> bound;  // of the new store; else that of the old one
  // Called with the bytes of content so far and of all; false ends the copy.
  std::function<bool(std::uint64_t done, std::uint64_t all)> on_progress;
  std::shared_ptr<FileOps> file_ops;
  std::uint64_t name_hash_mask = ~0ULL;  // for tests only: as in Options
};

struct CopyStoreReport {
  std::uint64_t files = 0;  // objects but directories, in the new store
  std::uint64_t directories = 0;
  std::uint64_t evicted = 0;  // the least recently used, for which the new store has no room
  std::uint64_t content_bytes = 0;
  std::uint64_t bound_bytes = 0;
  std::uint64_t file_bytes = 0;
};

// kExists if there is something at `to`.
Result<CopyStoreReport> copy_store(const std::string& from, const std::string& to,
                                   const CopyStoreOptions& options = {});

}  // namespace lrufs::store
