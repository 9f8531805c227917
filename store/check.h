// The full check: reads every page that a state reaches, content included, and compares everything with
// everything: checksums, births and order of the trees, entries against inodes, counts against what is
// counted, extents against each other, the LRU order against the objects, and the free-space map against what
// is really in use. Changes nothing but, if asked to, the mark of a damaged store.
//
// A finding names what is hurt: the page, the inode, and the path where it is still known. Content has no
// checksum: only that it can be read is checked.
//
// Time grows with the number of objects (a few µs each); memory with the size of the file (a bit a page).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "store/error.h"
#include "store/file_ops.h"
#include "store/types.h"

namespace lrufs::store {

struct CheckFinding {
  std::string message;    // what is wrong
  std::string path;       // of the object concerned, "/a/b", if it is known
  Ino ino = kNoIno;       // the object concerned, or kNoIno
  PageNo page = kNoPage;  // the page concerned, or kNoPage
};

struct CheckReport {
  std::vector<CheckFinding> findings;
  std::uint64_t suppressed = 0;  // findings beyond CheckOptions::max_findings
  std::uint64_t unreadable =
      0;                    // of all of them: content that the disk does not give back, no fault of the store
  std::string opened_from;  // as Statistics::opened_from
  bool marked = false;      // the store says of itself that it is damaged
  std::uint64_t files = 0;
  std::uint64_t directories = 0;
  std::uint64_t orphans = 0;
  std::uint64_t orphan_directories = 0;
  std::uint64_t tree_pages = 0;
  std::uint64_t content_pages = 0;
  std::uint64_t space_pages = 0;  // of the free-space map and log
  std::uint64_t used_pages = 0;   // what the free-space map says
  [[nodiscard]] bool clean() const { return findings.empty(); }
};

struct CheckOptions {
  bool from_checkpoint = false;  // the state of the last checkpoint
  std::size_t max_findings = 1000;
  bool shared = false;  // as Options::shared: the store may be in use; it is not marked then
  // Told now and then how many of the pages in use were looked at, by the checking thread.
  std::function<void(std::uint64_t pages, std::uint64_t of)> on_progress;
  bool mark = false;  // if damage of the store itself is found, marks it as damaged, if it can be written
  std::shared_ptr<FileOps> file_ops;
  std::uint64_t name_hash_mask = ~0ULL;  // for tests only: as in Options
};

class StoreImpl;
// Checks a store that this process has open, and to which nobody writes.
CheckReport check_store(StoreImpl& store, std::size_t max_findings = CheckOptions().max_findings,
                        const std::function<void(std::uint64_t, std::uint64_t)>& on_progress = nullptr);
// Checks a store that nobody has open for writing. An error (kBusy, kNotAStore, kCorrupt: not even the metas
// can be read, …) means that no check was made.
Result<CheckReport> check_file(const std::string& path, const CheckOptions& options = {});

}  // namespace lrufs::store
