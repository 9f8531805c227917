// The mark of a damaged store: a flag in its metas (docs/format.md), by which the next mount knows to be
// read-only. A store in use sets it itself, with its next publish or checkpoint; this is for one that is
// closed.
#pragma once

#include <memory>
#include <string>

#include "store/error.h"
#include "store/file_ops.h"

namespace lrufs::store {

// Sets the mark, or takes it away, in all metas that are whole, and waits for the disk. kBusy if the store is
// in use, kIo. `file_ops` may be null: the real ones.
Status mark_damaged(const std::string& path, bool damaged, std::shared_ptr<FileOps> file_ops = nullptr);

}  // namespace lrufs::store
