// Statistics as JSON: of a store, which the command line shows for a closed one too, and of a running mount,
// which is what the virtual xattr user.lrufs.stats of its root holds.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "store/statistics.h"

namespace lrufs::fs::fuse {

struct Context;

inline constexpr std::string_view kStatsXattr = "user.lrufs.stats";

// Every field of Statistics under its own name.
nlohmann::json to_json(const store::Statistics& statistics);

// One line:
//   version, libfuse, pid, store, mount_point, mount_options [words]
//   protocol "7.45", capabilities [names], recency_ms
//   requests {by kind: count}, failures, nodes {held, memory_bytes}
//   notifications {names, directories, coalesced, queued}
//   statistics {of the store}, failure (why the store became read-only, or "")
std::string mount_statistics_json(Context& context);

}  // namespace lrufs::fs::fuse
