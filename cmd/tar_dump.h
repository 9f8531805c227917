// dump_tar(): the objects of one state as a stream that tar(1) reads: pax interchange format (POSIX.1-2001),
// times in nanoseconds, xattrs as SCHILY.xattr records (GNU tar and bsdtar restore them), hard links,
// symbolic links, devices, fifos, holes as GNU.sparse 1.0.
//
// The order of entries is the order of use, the least recently used first; folders come before what lies in
// them. So who unpacks the stream in its order makes the same order of use, and needs no other record of it.
// The same state gives the same bytes. Sockets, which tar cannot hold, are left out and counted.
//
// Not thread-safe. Memory grows with the number of objects (some hundred bytes each).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "store/read_view.h"

namespace lrufs::cmd {

struct DumpOptions {
  std::function<bool()> stop;                        // asked now and then
  std::function<bool(const store::Inode&)> is_gone;  // although it is there still: expired
  std::function<void(std::uint64_t)> on_progress;    // bytes of content so far
  std::function<void(const std::string&)> on_note;   // something that is left out
};

struct DumpReport {
  std::uint64_t files = 0;  // objects but directories
  std::uint64_t directories = 0;
  std::uint64_t content_bytes = 0;
  std::uint64_t left_out = 0;
};

// kCorrupt, kIo: what was written so far is no complete stream.
store::Result<DumpReport> dump_tar(const store::ReadView& view, int fd, const DumpOptions& options);

}  // namespace lrufs::cmd
