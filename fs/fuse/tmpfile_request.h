// O_TMPFILE with a libfuse that does not know the kernel's request for it (before 3.17): TMPFILE has the body
// of CREATE, with a name that no file can have. Handed to libfuse as a CREATE it arrives at our handler,
// which knows it by that name.
//
// Thread-safety: any thread, on a request that it owns.
#pragma once

#include <linux/fuse.h>

#include <cstddef>
#include <cstring>
#include <string_view>

#include "fs/fuse/fuse_api.h"

namespace lrufs::fs::fuse {

template <typename Table>
constexpr bool knows_tmpfile() {
  return requires(Table table) { table.tmpfile; };
}

// The name in a TMPFILE.
inline constexpr std::string_view kNoName = "/";

// To be called with each request as it was read, before libfuse gets it.
inline void disguise_tmpfile(void* request, std::size_t size) {
  if constexpr (!knows_tmpfile<fuse_lowlevel_ops>()) {
    constexpr std::uint32_t kTmpfile = 51;  // FUSE_TMPFILE; headers before Linux 6.2 have no name for it
    if (size < sizeof(fuse_in_header)) return;
    std::byte* const at = static_cast<std::byte*>(request) + offsetof(fuse_in_header, opcode);
    std::uint32_t opcode = 0;
    std::memcpy(&opcode, at, sizeof opcode);
    if (opcode != kTmpfile) return;
    opcode = FUSE_CREATE;
    std::memcpy(at, &opcode, sizeof opcode);
  }
}

}  // namespace lrufs::fs::fuse
