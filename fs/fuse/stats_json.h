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

// One line (with `indent`, several):
//   version, libfuse, pid, store, mount_point, mount_options [words]
//   protocol "7.45", capabilities [names], recency_ms
//   requests {by kind: count}, failures, errors {by name: count}, nodes {held, memory_bytes}
//   latency {bounds_microseconds, kinds {by kind: {count, microseconds, buckets}}} of the kinds that have
//   come hits, misses (lookup_ledger.h), started (seconds since 1970) notifications {names, directories,
//   coalesced, queued} statistics {of the store}, failure (why the store became read-only, or "")
nlohmann::json mount_statistics(Context& context);
std::string mount_statistics_json(Context& context, int indent = -1);

}  // namespace lrufs::fs::fuse
