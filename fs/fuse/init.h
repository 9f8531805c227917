// What is asked of the kernel at INIT, and why (docs/architecture.md, "requests").
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fs/fuse/connection.h"
#include "fs/fuse/fuse_api.h"
#include "fs/fuse/mount_options.h"

namespace lrufs::fs::fuse {

inline constexpr std::uint32_t kMaxWrite = 1U << 20U;  // bytes of one WRITE; also bounds READ
inline constexpr std::uint32_t kMaxReadAhead =
    2U << 20U;  // two requests, so that one is on its way while one is read

// Sets what we want, out of what `conn` offers. Called by libfuse's init callback.
Connection negotiate(const MountOptions& options, fuse_conn_info& conn);

// Names of FUSE_CAP_* bits, lower case, e.g. "readdirplus"; bits without a name as "bit30".
std::vector<std::string> capability_names(std::uint64_t capabilities);

}  // namespace lrufs::fs::fuse
