// What `lrufs top` shows: figures of the time between two looks at a mount, and their page as lines of text.
// Pure functions over values.
#pragma once

#include <chrono>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace lrufs::cmd {

// One look: the statistics, and the lists, which are empty if they may not be read.
struct TopSample {
  nlohmann::json statistics;
  std::string next;    // of the control folder, a line a file
  std::string recent;  // the same
  std::chrono::steady_clock::time_point at;
};

enum class TopOrder : std::uint8_t { kRate, kLatency, kName };

// What happened from `before` to `now`, as an object: seconds, hits_per_second, misses_per_second, hit_ratio
// (null: no lookups), read_ and written_bytes_per_second, evictions_per_second {by reason},
// evicted_bytes_per_second, requests_per_second, requests [{kind, per_second, average_us, p50_us, p99_us}] of
// the kinds that came, checkpoints, checkpoint_us, capacity_bytes, used_bytes, dirty_bytes, pending_bytes,
// files, directories, orphans, started, mount_point, failure, next and recent [{bytes, path}].
nlohmann::json top_figures(const TopSample& before, const TopSample& now, TopOrder order);

// The upper bound of the bucket in which the `part` (0 … 1) of the requests has ended, in µs; 0: none; above
// the last bound: that bound.
double quantile(const std::vector<std::uint64_t>& buckets, const std::vector<std::uint64_t>& bounds,
                double part);

struct TopLayout {
  std::size_t width = 80;
  std::size_t height = 24;  // 0: as many lines as there are
  std::string footer;       // the last line
};
// No line is wider than the page, and there are no more than fit.
std::vector<std::string> top_lines(const nlohmann::json& figures, const TopLayout& layout);

}  // namespace lrufs::cmd
