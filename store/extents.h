// ExtentCursor: the extents of one file in order. Valid until the tree is changed.
#pragma once

#include <optional>

#include "store/btree.h"
#include "store/keys.h"

namespace lrufs::store {

// kCorrupt unless the pages can hold content: within the file, and behind its header.
Status check_run(const Pager& pager, PageRun run);

class ExtentCursor {
 public:
  ExtentCursor(const PageSource& pages, const TreeRoot& names, Ino ino)
      : pager_(&pages.pager()), cursor_(pages, names), ino_(ino) {}

  // The first extent that ends after `file_page`: it covers that page, or lies behind it; nullopt if there is
  // none.
  Result<std::optional<Extent>> seek(std::uint64_t file_page);
  Result<std::optional<Extent>> next();

 private:
  Result<std::optional<Extent>> current();
  const Pager* pager_;
  Cursor cursor_;
  Ino ino_;
};

}  // namespace lrufs::store
