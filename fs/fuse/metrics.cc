#include "fs/fuse/metrics.h"

#include <prometheus/text_serializer.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "fs/fuse/context.h"
#include "fs/fuse/fuse_api.h"
#include "fs/fuse/notifier.h"
#include "fs/fuse/worker_link.h"
#include "fs/fuse/worker_pool.h"
#include "lrufs/version.h"

namespace lrufs::fs::fuse {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using store::EvictionReason;
using store::Evictions;

constexpr double kMicro = 1e-6;

// All that the table reads from, taken once.
struct Facts {
  explicit Facts(Context& c)
      : context(c),
        store(c.volume.store().statistics()),
        lookups(c.counters.lookups().counts(std::chrono::steady_clock::now())),
        notifications(c.notifier.counts()),
        threads(c.threads().value_or(WorkerPool::Counts{})),
        failed(!c.volume.store().failure().empty()) {}
  Context& context;
  const store::Statistics store;
  const LookupLedger::Counts lookups;
  const Notifier::Counts notifications;
  const WorkerPool::Counts threads;
  const bool failed;
};

using Labels = std::vector<ClientMetric::Label>;

// Takes the values of one metric.
class Values {
 public:
  Values(MetricType type, std::vector<ClientMetric>& out) : type_(type), out_(out) {}
  void add(double value, Labels labels = {}) {
    ClientMetric& metric = out_.emplace_back();
    metric.label = std::move(labels);
    (type_ == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  }
  void add(std::uint64_t value, Labels labels = {}) { add(static_cast<double>(value), std::move(labels)); }
  void sum(std::uint64_t count, double sum) {
    ClientMetric& metric = out_.emplace_back();
    metric.summary.sample_count = count;
    metric.summary.sample_sum = sum;
  }
  void histogram(const Latency::Values& values, Labels labels) {
    ClientMetric& metric = out_.emplace_back();
    metric.label = std::move(labels);
    metric.histogram.sample_count = values.count;
    metric.histogram.sample_sum = static_cast<double>(values.nanoseconds) * 1e-9;
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < Latency::kBuckets; ++i) {
      below += values.buckets.at(i);
      const bool last = i == Latency::kBoundsMicroseconds.size();
      metric.histogram.bucket.push_back(
          {.cumulative_count = below,
           .upper_bound = last ? std::numeric_limits<double>::infinity()
                               : static_cast<double>(Latency::kBoundsMicroseconds.at(i)) / 1e6});
    }
  }

 private:
  const MetricType type_;
  std::vector<ClientMetric>& out_;
};

void by_reason(const Facts& f, Values& out, std::uint64_t Evictions::*part) {
  for (std::size_t i = 0; i < store::kEvictionReasons; ++i) {
    const auto reason = static_cast<EvictionReason>(i);
    out.add(f.store.evictions.at(i).*part, {{"reason", std::string(eviction_reason_name(reason))}});
  }
}

template <typename Each>
void for_each_kind(const Each& each) {
  for (std::size_t i = 0; i < kOpCount; ++i) {
    const auto op = static_cast<Op>(i);
    each(op, Labels{{"kind", std::string(op_name(op))}});
  }
}

void errors_by_kind(const Facts& f, Values& out) {
  for (int error = 1; error < static_cast<int>(Counters::kErrors); ++error) {
    const std::uint64_t count = f.context.counters.errors(error);
    const char* const name = ::strerrorname_np(error);
    // These three are there from the beginning, so that their first one is seen as an increase.
    const bool always = error == EIO || error == ENOSPC || error == EROFS;
    if ((count != 0 || always) && name != nullptr) out.add(count, {{"error", name}});
  }
}

void last_takeover(const Facts& f, Values& out) {
  if (f.context.link == nullptr) return out.add(0.0, {{"reason", ""}});
  const auto& told = f.context.link->memory().supervised;
  out.add(static_cast<double>(told.last_at.load()) / 1000, {{"reason", told.last_reason.data()}});
}

void build_info(const Facts& f, Values& out) {
  const Connection& connection = f.context.connection;
  out.add(1.0, {{"version", std::string(kVersion)},
                {"libfuse", fuse_pkgversion()},
                {"protocol", std::to_string(connection.protocol_major) + "." +
                                 std::to_string(connection.protocol_minor)}});
}

struct Metric {
  MetricName name;
  void (*collect)(const Facts&, Values&);
};

constexpr auto kCounter = MetricType::Counter;
constexpr auto kGauge = MetricType::Gauge;

// clang-format off
const Metric kMetrics[] = {  // NOLINT(cppcoreguidelines-avoid-c-arrays): deduces its length
    {{"lrufs_hits_total", "", kCounter, "Lookups of files that were there; see docs/metrics.md"},
     [](const Facts& f, Values& out) { out.add(f.lookups.hits); }},
    {{"lrufs_misses_total", "", kCounter, "Lookups of names that were not there, but for those that were about to be made"},
     [](const Facts& f, Values& out) { out.add(f.lookups.misses); }},
    {{"lrufs_evictions_total", "", kCounter, "Files and empty folders that were evicted, by reason"},
     [](const Facts& f, Values& out) { by_reason(f, out, &Evictions::objects); }},
    {{"lrufs_evicted_bytes_total", "bytes", kCounter, "Room of what was evicted, by reason"},
     [](const Facts& f, Values& out) { by_reason(f, out, &Evictions::bytes); }},
    {{"lrufs_read_bytes_total", "bytes", kCounter, "Content that was read from the store; what the kernel has cached is not"},
     [](const Facts& f, Values& out) { out.add(f.store.bytes_read); }},
    {{"lrufs_written_bytes_total", "bytes", kCounter, "Content that was written to the store"},
     [](const Facts& f, Values& out) { out.add(f.store.bytes_written); }},
    {{"lrufs_requests_total", "", kCounter, "Requests of the kernel, by kind"},
     [](const Facts& f, Values& out) {
       for_each_kind([&](Op op, Labels labels) { out.add(f.context.counters.of(op), std::move(labels)); });
     }},
    {{"lrufs_request_duration_seconds", "seconds", MetricType::Histogram,
      "Time from reading a request to being done with it, by kind; kinds that have not come are left out"},
     [](const Facts& f, Values& out) {
       for_each_kind([&](Op op, Labels labels) {
         const Latency::Values values = f.context.counters.latency(op).values();
         if (values.count != 0) out.histogram(values, std::move(labels));
       });
     }},
    {{"lrufs_errors_total", "", kCounter, "Requests that were answered with an error, by its name; ENOSYS and ENODATA are not counted"},
     errors_by_kind},
    {{"lrufs_checkpoint_duration_seconds", "seconds", MetricType::Summary, "Checkpoints, and the time that they took"},
     [](const Facts& f, Values& out) {
       out.sum(f.store.checkpoints, static_cast<double>(f.store.checkpoint_microseconds) * kMicro);
     }},
    {{"lrufs_checkpoint_failures_total", "", kCounter, "Checkpoints that failed; after the first one the store is read-only"},
     [](const Facts& f, Values& out) { out.add(f.store.checkpoint_failures); }},
    {{"lrufs_commits_total", "", kCounter, "Transactions that were published"},
     [](const Facts& f, Values& out) { out.add(f.store.commits); }},
    {{"lrufs_room_waits_total", "", kCounter, "Writers that had to wait for eviction or a checkpoint"},
     [](const Facts& f, Values& out) { out.add(f.store.room_waits); }},
    {{"lrufs_touches_total", "", kCounter, "Uses that were noted for the order of eviction"},
     [](const Facts& f, Values& out) { out.add(f.store.touches); }},
    {{"lrufs_pending_touches", "", kGauge, "Files whose last use is in memory only"},
     [](const Facts& f, Values& out) { out.add(f.store.pending_touches); }},
    {{"lrufs_bound_bytes", "bytes", kGauge, "What the store may occupy on disk"},
     [](const Facts& f, Values& out) { out.add(f.store.bound_bytes); }},
    {{"lrufs_capacity_bytes", "bytes", kGauge, "Of the bound, what pages may use"},
     [](const Facts& f, Values& out) { out.add(f.store.capacity_bytes); }},
    {{"lrufs_file_bytes", "bytes", kGauge, "What the store's file has grown to"},
     [](const Facts& f, Values& out) { out.add(f.store.file_bytes); }},
    {{"lrufs_used_bytes", "bytes", kGauge, "Pages in use"},
     [](const Facts& f, Values& out) { out.add(f.store.used_bytes); }},
    {{"lrufs_free_bytes", "bytes", kGauge, "Pages that can be used at once"},
     [](const Facts& f, Values& out) { out.add(f.store.free_bytes); }},
    {{"lrufs_pending_bytes", "bytes", kGauge, "Freed pages that wait for a checkpoint or a reader"},
     [](const Facts& f, Values& out) { out.add(f.store.pending_bytes); }},
    {{"lrufs_snapshot_bytes", "bytes", kGauge, "Of these, what a reader may still see"},
     [](const Facts& f, Values& out) { out.add(f.store.snapshot_bytes); }},
    {{"lrufs_snapshot_seconds", "seconds", kGauge, "How long the page that waits longest for a reader has waited"},
     [](const Facts& f, Values& out) { out.add(static_cast<double>(f.store.snapshot_microseconds) * kMicro); }},
    {{"lrufs_pinned_objects", "", kGauge, "Files and folders with a pin of their own, not what lies below them"},
     [](const Facts& f, Values& out) { out.add(f.store.pinned_objects); }},
    {{"lrufs_pinned_bytes", "bytes", kGauge, "Sum of the sizes of the files among them"},
     [](const Facts& f, Values& out) { out.add(f.store.pinned_bytes); }},
    {{"lrufs_dirty_bytes", "bytes", kGauge, "Pages that are published and not yet durable: what a power cut would lose"},
     [](const Facts& f, Values& out) { out.add(f.store.dirty_bytes); }},
    {{"lrufs_reserve_bytes", "bytes", kGauge, "Pages that are kept free for deletion"},
     [](const Facts& f, Values& out) { out.add(f.store.reserve_bytes); }},
    {{"lrufs_content_bytes", "bytes", kGauge, "Sum of the sizes of all files"},
     [](const Facts& f, Values& out) { out.add(f.store.content_bytes); }},
    {{"lrufs_files", "", kGauge, "Objects but folders, orphans among them"},
     [](const Facts& f, Values& out) { out.add(f.store.files); }},
    {{"lrufs_directories", "", kGauge, "Folders, the root among them"},
     [](const Facts& f, Values& out) { out.add(f.store.directories); }},
    {{"lrufs_orphans", "", kGauge, "Files without a name that are still in use"},
     [](const Facts& f, Values& out) { out.add(f.store.orphans); }},
    {{"lrufs_max_files", "", kGauge, "The limit of files; 0: none"},
     [](const Facts& f, Values& out) { out.add(f.store.max_files); }},
    {{"lrufs_readers", "", kGauge, "Snapshots of readers now"},
     [](const Facts& f, Values& out) { out.add(f.store.readers); }},
    {{"lrufs_oldest_reader_transactions", "", kGauge, "How many transactions the oldest snapshot is behind"},
     [](const Facts& f, Values& out) { out.add(f.store.oldest_reader_lag); }},
    {{"lrufs_unsynced_transactions", "", kGauge, "Transactions that the last checkpoint does not have"},
     [](const Facts& f, Values& out) { out.add(f.store.txn - std::min(f.store.txn, f.store.durable_txn)); }},
    {{"lrufs_notifications_total", "", kCounter, "What the kernel was told of evictions, by what: names, or directories as a whole"},
     [](const Facts& f, Values& out) {
       out.add(f.notifications.names, {{"what", "name"}});
       out.add(f.notifications.directories, {{"what", "directory"}});
     }},
    {{"lrufs_queued_notifications", "", kGauge, "Names and directories that the kernel is still to be told of"},
     [](const Facts& f, Values& out) { out.add(f.notifications.queued); }},
    {{"lrufs_held_inodes", "", kGauge, "Inodes that the kernel holds"},
     [](const Facts& f, Values& out) { out.add(std::uint64_t{f.context.volume.nodes().size()}); }},
    {{"lrufs_held_inodes_memory_bytes", "bytes", kGauge, "Memory that counting them takes"},
     [](const Facts& f, Values& out) { out.add(std::uint64_t{f.context.volume.nodes().memory_bytes()}); }},
    {{"lrufs_threads", "", kGauge, "Threads that serve requests beside the lone one"},
     [](const Facts& f, Values& out) { out.add(std::uint64_t{f.threads.workers}); }},
    {{"lrufs_alone", "", kGauge, "1 while one thread answers all short requests"},
     [](const Facts& f, Values& out) { out.add(f.threads.alone ? 1.0 : 0.0); }},
    {{"lrufs_corrupt_pages", "", kGauge, "Pages whose checksum was wrong since the store was opened"},
     [](const Facts& f, Values& out) { out.add(f.store.corrupt_pages); }},
    {{"lrufs_unreadable_pages", "", kGauge, "Pages that the disk did not give back since the store was opened"},
     [](const Facts& f, Values& out) { out.add(f.store.unreadable_pages); }},
    {{"lrufs_read_only", "", kGauge, "1 if the store takes no changes: mounted so, damaged, or failed"},
     [](const Facts& f, Values& out) { out.add(f.store.read_only ? 1.0 : 0.0); }},
    {{"lrufs_failed", "", kGauge, "1 once a write to the disk has failed"},
     [](const Facts& f, Values& out) { out.add(f.failed ? 1.0 : 0.0); }},
    {{"lrufs_takeovers_total", "", kCounter, "Times that another worker took over from one that died"},
     [](const Facts& f, Values& out) {
       const WorkerLink* const link = f.context.link;
       out.add(std::uint64_t{link == nullptr ? 0 : link->memory().supervised.restarts.load()});
     }},
    {{"lrufs_last_takeover_seconds", "seconds", kGauge,
      "When the last worker that died was replaced, in seconds since 1970, and how it ended; 0: none was"},
     last_takeover},
    {{"lrufs_start_time_seconds", "seconds", kGauge, "When the mount was made, in seconds since 1970"},
     [](const Facts& f, Values& out) {
       out.add(std::chrono::duration<double>(f.context.started.time_since_epoch()).count());
     }},
    {{"lrufs_build_info", "", kGauge, "Always 1; what runs is in the labels"}, build_info},
};
// clang-format on

}  // namespace

std::vector<MetricName> metric_names() {
  std::vector<MetricName> names;
  for (const Metric& metric : kMetrics) names.push_back(metric.name);
  return names;
}

std::vector<MetricFamily> collect_metrics(Context& context) {
  const Facts facts(context);
  std::vector<MetricFamily> families;
  for (const Metric& metric : kMetrics) {
    MetricFamily& family = families.emplace_back();
    family.name = metric.name.name;
    family.help = metric.name.help;
    family.type = metric.name.type;
    Values values(family.type, family.metric);
    metric.collect(facts, values);
  }
  return families;
}

std::string metrics_text(Context& context) {
  return prometheus::TextSerializer().Serialize(collect_metrics(context));
}

}  // namespace lrufs::fs::fuse
