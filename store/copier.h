// Copies objects from one store into another one, through the ordinary interface of both: names, hard links,
// modes, owners, times, xattrs, content with its holes. Inode numbers are given anew, in the order of the
// list, so that the order of use stays what it is. Where the new store is smaller, the least recently used
// objects are evicted on the way. Used by repair.h and copy_store.h.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "store/file_ops.h"
#include "store/salvage.h"
#include "store/store.h"

namespace lrufs::store {

// Where the objects are: a state, and the file under it, from which content is read (rather than from the
// map, so that a page that the disk cannot give is an error).
struct CopySource {
  const ReadView& view;
  FileOps& ops;
  int fd;
  // Told of the bytes of content so far, now and then; an error ends the copy.
  std::function<Status(std::uint64_t bytes)> on_progress{};
};

struct CopyReport {
  std::uint64_t files = 0;  // objects but directories
  std::uint64_t directories = 0;
  std::vector<Ino> dropped;  // objects of the list that could not be read
};

// Into an empty store. kNoSpace and all errors of writing end it.
Result<CopyReport> copy_objects(const CopySource& from, const std::vector<SalvagedObject>& objects,
                                Store& to);

}  // namespace lrufs::store
