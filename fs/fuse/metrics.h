// Metrics: what a mount tells a monitoring system, each defined once, in one table: name, unit, type, help,
// and where its values come from. docs/metrics.md explains them; tests/mount/metrics.py compares the three.
//
// Thread-safety: all functions, from any thread.
#pragma once

#include <prometheus/metric_family.h>

#include <string>
#include <string_view>
#include <vector>

namespace lrufs::fs::fuse {

struct Context;

struct MetricName {
  std::string_view
      name;  // by Prometheus' conventions: a counter ends in _total, a unit is the part before that
  std::string_view unit;  // "bytes", "seconds", or "" for a count or a state
  prometheus::MetricType type;
  std::string_view help;
};
std::vector<MetricName> metric_names();

// Their values now, in the order of the table. Latencies of requests are there for the kinds that have come.
std::vector<prometheus::MetricFamily> collect_metrics(Context& context);

// The same in Prometheus' text format, version 0.0.4.
std::string metrics_text(Context& context);
inline constexpr const char* kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

}  // namespace lrufs::fs::fuse
