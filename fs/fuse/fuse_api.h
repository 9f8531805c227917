// libfuse's low-level interface, in the one version that all of this folder is written against. Sources here
// include this instead of <fuse_lowlevel.h>; headers that others include (run.h, mount_options.h,
// stats_json.h, session.h) do not, so that libfuse stays a detail of this folder.
//
// Compiles with libfuse 3.14 and 3.18. What only newer ones have is found with `requires`, not by version
// numbers: some of it came in the third place of a version, which FUSE_VERSION does not show.
#pragma once

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 312
#endif
#include <fuse_lowlevel.h>

namespace lrufs::fs::fuse {

// libfuse before 3.17 never sends some of the INIT flags that it was asked for (see init_exchange.h).
inline constexpr int kFirstLibfuseThatSendsAllFlags = 317;

}  // namespace lrufs::fs::fuse
