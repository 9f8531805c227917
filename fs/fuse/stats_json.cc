#include "fs/fuse/stats_json.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "fs/fuse/context.h"
#include "fs/fuse/fuse_api.h"
#include "fs/fuse/init.h"
#include "fs/fuse/notifier.h"
#include "fs/fuse/worker_link.h"
#include "fs/fuse/worker_pool.h"
#include "lrufs/version.h"

namespace lrufs::fs::fuse {
namespace {

using nlohmann::json;

json requests_json(const Counters& counters) {
  json out = json::object();
  for (std::size_t i = 0; i < kOpCount; ++i) {
    const auto op = static_cast<Op>(i);
    out[std::string(op_name(op))] = counters.of(op);
  }
  return out;
}

json evictions_json(const store::Statistics& statistics) {
  json out = json::object();
  for (std::size_t i = 0; i < store::kEvictionReasons; ++i) {
    const store::Evictions& some = statistics.evictions.at(i);
    out[std::string(eviction_reason_name(static_cast<store::EvictionReason>(i)))] = {
        {"objects", some.objects}, {"bytes", some.bytes}};
  }
  return out;
}

json latency_json(const Counters& counters) {
  json kinds = json::object();
  for (std::size_t i = 0; i < kOpCount; ++i) {
    const Latency::Values values = counters.latency(static_cast<Op>(i)).values();
    if (values.count == 0) continue;
    kinds[std::string(op_name(static_cast<Op>(i)))] = {
        {"count", values.count}, {"microseconds", values.nanoseconds / 1000}, {"buckets", values.buckets}};
  }
  return {{"bounds_microseconds", Latency::kBoundsMicroseconds}, {"kinds", kinds}};
}

json errors_json(const Counters& counters) {
  json out = json::object();
  for (int error = 1; error < static_cast<int>(Counters::kErrors); ++error) {
    const char* const name = ::strerrorname_np(error);
    if (const std::uint64_t count = counters.errors(error); count != 0 && name != nullptr) out[name] = count;
  }
  return out;
}

json notifications_json(const Notifier::Counts& counts) {
  return {{"names", counts.names},
          {"directories", counts.directories},
          {"coalesced", counts.coalesced},
          {"queued", counts.queued}};
}

json threads_json(const Context& context) {
  const auto counts = context.threads();
  if (!counts) return json::object();
  return {{"workers", counts->workers},        {"alone", counts->alone}, {"close", counts->close},
          {"closed", counts->closed},          {"stuck", counts->stuck}, {"alone_requests", counts->requests},
          {"handed_over", counts->handed_over}};
}

json supervised_json(const Context& context) {
  if (context.link == nullptr) return nullptr;
  const TakeoverMemory& memory = context.link->memory();
  const auto& told = memory.supervised;
  return {{"worker_pid", ::getpid()},
          {"takeover", memory.resend == TakeoverMemory::Resend::kYes},
          {"restarts", told.restarts.load()},
          {"upgrades", told.upgrades.load()},
          {"last_restart", static_cast<double>(told.last_at.load()) / 1000},
          {"last_reason", std::string(told.last_reason.data())}};
}

}  // namespace

json to_json(const store::Statistics& s) {
  return {
      {"bound_bytes", s.bound_bytes},
      {"capacity_bytes", s.capacity_bytes},
      {"file_bytes", s.file_bytes},
      {"used_bytes", s.used_bytes},
      {"free_bytes", s.free_bytes},
      {"pending_bytes", s.pending_bytes},
      {"snapshot_bytes", s.snapshot_bytes},
      {"snapshot_microseconds", s.snapshot_microseconds},
      {"dirty_bytes", s.dirty_bytes},
      {"reserve_bytes", s.reserve_bytes},
      {"files", s.files},
      {"directories", s.directories},
      {"orphans", s.orphans},
      {"content_bytes", s.content_bytes},
      {"pinned_objects", s.pinned_objects},
      {"pinned_directories", s.pinned_directories},
      {"pinned_bytes", s.pinned_bytes},
      {"parked_objects", s.parked_objects},
      {"txn", s.txn},
      {"durable_txn", s.durable_txn},
      {"pending_touches", s.pending_touches},
      {"readers", s.readers},
      {"shared_readers", s.shared_readers},
      {"oldest_reader_lag", s.oldest_reader_lag},
      {"max_files", s.max_files},
      {"evict_above_bytes", s.evict_above_bytes},
      {"evict_until_bytes", s.evict_until_bytes},
      {"trimmed_bytes", s.trimmed_bytes},
      {"read_only", s.read_only},
      {"damaged", s.damaged},
      {"uuid", s.uuid},
      {"opened_from", s.opened_from},
      {"open_microseconds", s.open_microseconds},
      {"commits", s.commits},
      {"aborts", s.aborts},
      {"checkpoints", s.checkpoints},
      {"checkpoint_failures", s.checkpoint_failures},
      {"checkpoint_microseconds", s.checkpoint_microseconds},
      {"sync_calls", s.sync_calls},
      {"evicted_objects", s.evicted_objects},
      {"evicted_bytes", s.evicted_bytes},
      {"expired_objects", s.expired_objects},
      {"expired_bytes", s.expired_bytes},
      {"evictions", evictions_json(s)},
      {"touches", s.touches},
      {"touch_flushes", s.touch_flushes},
      {"room_waits", s.room_waits},
      {"bytes_written", s.bytes_written},
      {"bytes_read", s.bytes_read},
      {"corrupt_pages", s.corrupt_pages},
      {"unreadable_pages", s.unreadable_pages},
  };
}

nlohmann::json mount_statistics(Context& context) {
  Volume& volume = context.volume;
  const Connection& connection = context.connection;
  const LookupLedger::Counts lookups = context.counters.lookups().counts(std::chrono::steady_clock::now());
  return {
      {"version", kVersion},
      {"libfuse", fuse_pkgversion()},
      {"pid", context.link != nullptr ? ::getppid() : ::getpid()},
      {"supervised", supervised_json(context)},
      {"store", context.options.store},
      {"mount_point", context.options.mount_point},
      {"mount_options", fuse_words(context.options)},
      {"protocol",
       std::to_string(connection.protocol_major) + "." + std::to_string(connection.protocol_minor)},
      {"capabilities", capability_names(connection.enabled)},
      {"recency_ms", context.options.recency.count()},
      {"requests", requests_json(context.counters)},
      {"threads", threads_json(context)},
      {"failures", context.counters.failures()},
      {"errors", errors_json(context.counters)},
      {"latency", latency_json(context.counters)},
      {"hits", lookups.hits},
      {"misses", lookups.misses},
      {"started", std::chrono::duration<double>(context.started.time_since_epoch()).count()},
      {"nodes", {{"held", volume.nodes().size()}, {"memory_bytes", volume.nodes().memory_bytes()}}},
      {"notifications", notifications_json(context.notifier.counts())},
      {"statistics", to_json(volume.store().statistics())},
      {"failure", volume.store().failure()},
  };
}

std::string mount_statistics_json(Context& context, int indent) {
  // A path need not be UTF-8.
  return mount_statistics(context).dump(indent, ' ', false, json::error_handler_t::replace);
}

}  // namespace lrufs::fs::fuse
