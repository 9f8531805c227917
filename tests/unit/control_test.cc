// ctest: fuse
// What the control folder, the metrics and the log are made of, without a mount.
#include <gmock/gmock.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "fs/fuse/control.h"
#include "fs/fuse/event.h"
#include "fs/fuse/event_log.h"
#include "fs/fuse/latency.h"
#include "fs/fuse/lookup_ledger.h"
#include "fs/fuse/metrics.h"
#include "fs/fuse/metrics_server.h"

namespace lrufs::fs::fuse {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)
using Found = LookupLedger::Found;
using testing::HasSubstr;

// A time far from 0, as the clock has it.
constexpr LookupLedger::Time kStart{std::chrono::hours(1000)};

TEST(Ledger, CountsFilesAndAbsentNames) {
  LookupLedger ledger;
  ledger.looked_up(Found::kFile, 1, "a", 7, kStart);
  ledger.looked_up(Found::kNothing, 1, "b", 7, kStart);
  ledger.looked_up(Found::kFile, 1, "c", 8, kStart);
  const auto counts = ledger.counts(kStart + 10ms);
  EXPECT_EQ(counts.hits, 2U);
  EXPECT_EQ(counts.misses, 1U);
  EXPECT_EQ(ledger.counts(kStart + 1h).hits, 2U) << "each once";
}

TEST(Ledger, ALookupOfWhatIsMadeAtOnceIsNoMiss) {
  LookupLedger ledger;
  ledger.looked_up(Found::kNothing, 1, "a", 7, kStart);
  ledger.changed(1, "a", 7, kStart + 300us);
  EXPECT_EQ(ledger.counts(kStart + 1s).misses, 0U);
}

TEST(Ledger, AMissThatIsFilledLaterStaysOne) {
  LookupLedger ledger;
  ledger.looked_up(Found::kNothing, 1, "a", 7, kStart);
  ledger.changed(1, "a", 7, kStart + 5ms);
  EXPECT_EQ(ledger.counts(kStart + 1s).misses, 1U);
}

TEST(Ledger, OnlyTheSameNameAndThreadTakeALookupBack) {
  LookupLedger ledger;
  ledger.looked_up(Found::kNothing, 1, "a", 7, kStart);
  ledger.changed(1, "b", 7, kStart);
  ledger.changed(2, "a", 7, kStart);
  ledger.changed(1, "a", 9, kStart);
  EXPECT_EQ(ledger.counts(kStart + 1s).misses, 1U);
}

// A miss that is filled through a temporary name: one question, three lookups.
TEST(Ledger, AFillThroughATemporaryNameIsOneMiss) {
  LookupLedger ledger;
  ledger.looked_up(Found::kNothing, 1, "key", 7, kStart);
  ledger.looked_up(Found::kNothing, 1, "tmp", 7, kStart + 100us);
  ledger.changed(1, "tmp", 7, kStart + 150us);
  ledger.looked_up(Found::kNothing, 1, "key", 7, kStart + 300us);
  ledger.changed(1, "tmp", 7, kStart + 350us);
  ledger.changed(1, "key", 7, kStart + 350us);
  const auto counts = ledger.counts(kStart + 1s);
  EXPECT_EQ(counts.misses, 1U);
  EXPECT_EQ(counts.hits, 0U);
}

TEST(Ledger, CountsNeverGoDown) {
  LookupLedger ledger;
  ledger.looked_up(Found::kNothing, 1, "a", 7, kStart);
  EXPECT_EQ(ledger.counts(kStart).misses, 0U) << "not settled yet";
  ledger.changed(1, "a", 7, kStart + 100us);
  EXPECT_EQ(ledger.counts(kStart + 1s).misses, 0U);
}

TEST(LatencyHistogram, BoundsAreInclusive) {
  EXPECT_EQ(Latency::bucket_of(0), 0U);
  EXPECT_EQ(Latency::bucket_of(5'000), 0U);
  EXPECT_EQ(Latency::bucket_of(5'001), 1U);
  EXPECT_EQ(Latency::bucket_of(10'000'000'000), Latency::kBuckets - 2);
  EXPECT_EQ(Latency::bucket_of(10'000'000'001), Latency::kBuckets - 1);
  Latency latency;
  latency.add(7us);
  latency.add(1h);
  latency.add(-1us);
  const auto values = latency.values();
  EXPECT_EQ(values.count, 3U);
  EXPECT_EQ(values.buckets[0], 1U);
  EXPECT_EQ(values.buckets[1], 1U);
  EXPECT_EQ(values.buckets[Latency::kBuckets - 1], 1U);
  EXPECT_EQ(values.nanoseconds, 3'600'000'007'000U);
}

TEST(MetricTable, NamesFollowTheConventions) {
  std::set<std::string_view> seen;
  for (const MetricName& metric : metric_names()) {
    SCOPED_TRACE(metric.name);
    EXPECT_TRUE(seen.insert(metric.name).second);
    EXPECT_TRUE(metric.name.starts_with("lrufs_"));
    EXPECT_EQ(metric.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_"), std::string_view::npos);
    EXPECT_GT(metric.help.size(), 10U);
    std::string_view rest = metric.name;
    const bool counter = metric.type == prometheus::MetricType::Counter;
    EXPECT_EQ(rest.ends_with("_total"), counter);
    if (counter) rest.remove_suffix(6);
    for (const std::string_view unit : {"bytes", "seconds"})
      EXPECT_EQ(rest.ends_with(std::string("_") + std::string(unit)), metric.unit == unit);
  }
}

TEST(EvictCommandText, IsUnderstood) {
  const auto path = [](std::string_view text, EvictCommand::What what) {
    const auto command = parse_evict_command(text);
    EXPECT_TRUE(command && command->what == what) << text;
    return command ? std::string(command->path) : "?";
  };
  EXPECT_EQ(path("key a/b\n", EvictCommand::What::kKey), "a/b");
  EXPECT_EQ(path("key /a", EvictCommand::What::kKey), "a");
  EXPECT_EQ(path("key  a \n\n", EvictCommand::What::kKey), " a \n");
  EXPECT_EQ(path("prefix bytes 1", EvictCommand::What::kPrefix), "bytes 1");
  EXPECT_EQ(path("prefix /", EvictCommand::What::kPrefix), "");
  EXPECT_EQ(path("all\n", EvictCommand::What::kPrefix), "");
  EXPECT_EQ(parse_evict_command("bytes 12M\n")->bytes, 12U << 20U);
  EXPECT_EQ(parse_evict_command("bytes 1")->bytes, 1U);
  EXPECT_EQ(parse_evict_command("bytes 15T")->bytes, 15ULL << 40U);
  for (const char* wrong : {"", "\n", "all ", "al", "bytes", "bytes ", "bytes -1", "bytes 1k", "bytes 1MB",
                            "bytes 0", "bytes 99999999T", "key", "key ", "prefix", "Key a", "key\na", "12M"})
    EXPECT_FALSE(parse_evict_command(wrong)) << wrong;
}

TEST(Paths, AreEscapedForALine) {
  EXPECT_EQ(escaped_path("/a b/\xC3\xA9"), "/a b/\xC3\xA9");
  EXPECT_EQ(escaped_path("a\nb\\c\x7F\t"), "a\\012b\\134c\\177\\011");
}

TEST(ControlInodes, SayWhichFileTheyAreOf) {
  EXPECT_FALSE(is_control(1));
  EXPECT_FALSE(is_control((1ULL << 62U) - 1));
  EXPECT_TRUE(is_control(kControlFolder));
  EXPECT_EQ(control_file(kControlFolder), std::nullopt);
  EXPECT_EQ(control_file(1), std::nullopt);
  std::set<std::uint64_t> seen;
  for (const ControlFileKind& kind : kControlFiles) {
    EXPECT_EQ(&kind_of(kind.file), &kind) << "the table is in the order of the enum";
    for (const std::uint64_t serial : {0ULL, 1ULL, 1'000'000'000'000ULL}) {
      EXPECT_TRUE(seen.insert(control_inode(serial, kind.file)).second);
      EXPECT_EQ(control_file(control_inode(serial, kind.file)), kind.file);
    }
  }
}

TEST(MetricsAddresses, AreUnderstood) {
  const auto v6 = parse_metrics_address("[::1]:9100");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->host, "::1");
  EXPECT_EQ(v6->port, "9100");
  EXPECT_TRUE(parse_metrics_address("localhost:1"));
  EXPECT_TRUE(parse_metrics_address("0.0.0.0:65535"));
  for (const char* wrong : {"", "9100", ":9100", "localhost", "localhost:", "localhost:0", "localhost:65536",
                            "localhost:http", "::1:9100", "[]:1", "127.0.0.1:9100x", "127.0.0.1:-1"})
    EXPECT_FALSE(parse_metrics_address(wrong)) << wrong;
}

TEST(Probe, SaysNoWhereThereIsNoMount) {
  MountProbe probe("/");
  EXPECT_FALSE(probe.answers(10s));
  EXPECT_FALSE(MountProbe("/does/not/exist").answers(10s));
}

TEST(Limit, CountsWhatIsLeftOut) {
  RateLimit limit;
  const std::chrono::steady_clock::time_point start{std::chrono::hours(1000)};
  EXPECT_EQ(limit.pass(start), 0U);
  EXPECT_EQ(limit.pass(start + 1ms), std::nullopt);
  EXPECT_EQ(limit.pass(start + 999ms), std::nullopt);
  EXPECT_EQ(limit.pass(start + 1000ms), 2U);
  EXPECT_EQ(limit.pass(start + 5s), 0U);
}

TEST(Levels, HaveNames) {
  for (const char* name : {"trace", "debug", "info", "warning", "error", "off"})
    EXPECT_EQ(level_name(*level_of(name)), name);
  EXPECT_EQ(level_of("warn"), Level::warn);
  EXPECT_EQ(level_of("loud"), std::nullopt);
}

// The default logger writes to this instead, while it lives.
class CaughtLog {
 public:
  explicit CaughtLog(const spdlog::sink_ptr& sink) : before_(spdlog::default_logger()) {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink));
  }
  CaughtLog(const CaughtLog&) = delete;
  CaughtLog& operator=(const CaughtLog&) = delete;
  ~CaughtLog() { spdlog::set_default_logger(before_); }

 private:
  std::shared_ptr<spdlog::logger> before_;
};

TEST(Events, AreJsonWithTheirFields) {
  std::ostringstream text;
  const auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(text);
  sink->set_formatter(std::make_unique<JsonFormatter>());
  const CaughtLog log(sink);
  tell(Level::warn, "tested", "a \"quoted\"\nline \xFF", {{"number", 5}, {"text", "x\ny"}});
  spdlog::info("plain");
  tell(Level::debug, "hidden", "below the level");
  std::istringstream lines(text.str());
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  auto event = nlohmann::json::parse(line);
  EXPECT_EQ(event["event"], "tested");
  EXPECT_EQ(event["level"], "warning");
  EXPECT_EQ(event["number"], 5);
  EXPECT_EQ(event["text"], "x\ny");
  EXPECT_THAT(event["message"].get<std::string>(), HasSubstr("a \"quoted\"\nline"));
  EXPECT_EQ(event["time"].get<std::string>().size(), std::string("2026-11-22T20:55:49.732Z").size());
  ASSERT_TRUE(std::getline(lines, line));
  event = nlohmann::json::parse(line);
  EXPECT_EQ(event["event"], "message") << "fields of one event do not stay for the next";
  EXPECT_FALSE(event.contains("number"));
  EXPECT_FALSE(std::getline(lines, line));
}

TEST(Events, TheKeptLogIsBounded) {
  const auto kept = std::make_shared<EventLog>();
  const CaughtLog log(kept);
  for (int i = 0; i < 1500; ++i) tell(Level::info, "tested", "line " + std::to_string(i));
  std::string text = kept->text();
  EXPECT_EQ(static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')), EventLog::kMaxLines);
  EXPECT_THAT(text, HasSubstr("line 1499\n"));
  EXPECT_THAT(text, testing::Not(HasSubstr("line 499\n")));
  for (int i = 0; i < 300; ++i) tell(Level::info, "tested", std::string(5000, 'x'));
  text = kept->text();
  EXPECT_LE(text.size(), EventLog::kMaxBytes);
  EXPECT_GT(text.size(), EventLog::kMaxBytes / 2);
}

}  // namespace
}  // namespace lrufs::fs::fuse
