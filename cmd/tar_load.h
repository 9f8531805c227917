// load_tar(): the entries of a tar stream (pax, GNU, ustar, old; compressed or not: whatever libarchive
// reads) as objects of a store, in the order of the stream, which becomes their order of use. What was there
// under the same name is replaced; folders are joined. When the store is full, the least recently used
// objects go.
//
// Each entry is there as a whole or not at all. Names are taken as tar(1) takes them: a leading "/" is cut
// off; a name with "..", or with a part of more than 255 bytes, is refused. What is refused, or does not fit,
// is told and counted, and the rest goes on.
//
// Not thread-safe; the store has no other user.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "store/store.h"

namespace lrufs::cmd {

struct LoadOptions {
  std::function<bool()> stop;                       // asked now and then
  std::function<void(std::uint64_t)> on_progress;   // bytes of content so far
  std::function<void(const std::string&)> on_note;  // what was refused or changed
};

struct LoadReport {
  std::uint64_t files = 0;  // objects but directories
  std::uint64_t directories = 0;
  std::uint64_t links = 0;  // further names
  std::uint64_t content_bytes = 0;
  std::uint64_t refused = 0;
};

// An error: the stream is no tar, or is cut off, or the store failed; what was loaded so far stays.
store::Result<LoadReport> load_tar(int fd, store::Store& store, const LoadOptions& options);

}  // namespace lrufs::cmd
