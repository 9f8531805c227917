// Relocation: how a store's file is made shorter. What lies at a page N or behind it moves to free pages
// below, in the LRU order's, the trees' and the content's own terms nothing changes; then the file is cut.
//
//   content  of each extent and paged xattr the part from N on is copied to new pages, and the record changed
//   trees    pages from N on are copied, with those above them, as any change does
//   map, log condensed anew: directory, map pages and log go to new places
//   images   are given up; new ones are set aside below N
//
// Each step is a transaction of bounded size like any other (a publish, pages taken below N only: the
// SpaceMap's ceiling), so SIGKILL in between leaves the last one. Then a checkpoint, after which neither the
// current nor the durable state has a page from N on, and readers are waited for; only then the file is cut,
// so a power cut at any time leaves a durable state whose pages are all there. The new bound is published
// last: until then the store has its old one.
//
// The functions below work on one tree; resize.cc does the whole.
#pragma once

#include <cstdint>
#include <vector>

#include "store/btree.h"

namespace lrufs::store {

// Copies the pages of a tree that lie at `ceiling` or behind it, with those above them, for the keys from
// `from` on, until about `most` pages were copied: by make_page(), never in place. True: that was the last;
// false: go on from the new `from`. Reads the branches only.
Result<bool> move_tree_pages(PageWriter& writer, TreeRoot& root, PageNo ceiling, std::size_t most,
                             std::vector<std::byte>& from);

}  // namespace lrufs::store
