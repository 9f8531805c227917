#include "cmd/top_page.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "cmd/live_mount.h"
#include "cmd/units.h"

namespace lrufs::cmd {
namespace {

using nlohmann::json;

const json& member(const json& object, const char* key) {
  static const json none = json::object();
  const auto found = object.find(key);
  return found == object.end() ? none : *found;
}

// Of two looks. Counters only grow; after a new mount they begin again.
class Change {
 public:
  Change(const json& before, const json& now, double seconds)
      : before_(before), now_(now), seconds_(seconds) {}
  [[nodiscard]] std::uint64_t count(const char* key) const {
    const std::uint64_t now = number_in(now_, key);
    const std::uint64_t before = number_in(before_, key);
    return now >= before ? now - before : now;
  }
  [[nodiscard]] double rate(const char* key) const { return static_cast<double>(count(key)) / seconds_; }
  [[nodiscard]] Change in(const char* key) const {
    return {member(before_, key), member(now_, key), seconds_};
  }

 private:
  const json& before_;
  const json& now_;
  const double seconds_;
};

std::vector<std::uint64_t> numbers(const json& list) {
  std::vector<std::uint64_t> out;
  if (!list.is_array()) return out;
  for (const json& each : list) out.push_back(each.is_number_unsigned() ? each.get<std::uint64_t>() : 0);
  return out;
}

json request_figures(const TopSample& before, const TopSample& now, double seconds, TopOrder order) {
  const json& latency = member(now.statistics, "latency");
  const json& kinds_before = member(member(before.statistics, "latency"), "kinds");
  const std::vector<std::uint64_t> bounds = numbers(member(latency, "bounds_microseconds"));
  std::vector<json> rows;
  for (const auto& item : member(latency, "kinds").items()) {
    const Change change(member(kinds_before, item.key().c_str()), item.value(), seconds);
    const std::uint64_t count = change.count("count");
    if (count == 0) continue;
    std::vector<std::uint64_t> buckets = numbers(member(item.value(), "buckets"));
    const std::vector<std::uint64_t> old =
        numbers(member(member(kinds_before, item.key().c_str()), "buckets"));
    for (std::size_t i = 0; i < std::min(buckets.size(), old.size()); ++i)
      buckets[i] -= std::min(buckets[i], old[i]);
    rows.push_back(
        {{"kind", item.key()},
         {"per_second", static_cast<double>(count) / seconds},
         {"average_us", static_cast<double>(change.count("microseconds")) / static_cast<double>(count)},
         {"p50_us", quantile(buckets, bounds, 0.5)},
         {"p99_us", quantile(buckets, bounds, 0.99)}});
  }
  const char* const by = order == TopOrder::kRate ? "per_second" : "p99_us";
  if (order != TopOrder::kName)
    std::stable_sort(rows.begin(), rows.end(), [&](const json& a, const json& b) { return a[by] > b[by]; });
  return rows;
}

json files_of(std::string_view lines) {
  json out = json::array();
  while (!lines.empty()) {
    const std::string line(lines.substr(0, lines.find('\n')));
    lines.remove_prefix(std::min(lines.size(), line.size() + 1));
    const std::size_t blank = line.find(' ');
    if (blank == std::string::npos) continue;
    out.push_back({{"bytes", std::strtoull(line.c_str(), nullptr, 10)}, {"path", line.substr(blank + 1)}});
  }
  return out;
}

std::string rate(double value) {
  char text[32];  // NOLINT(cppcoreguidelines-avoid-c-arrays)
  std::snprintf(text, sizeof text, value < 100 ? "%.1f/s" : "%.0f/s", value);
  return text;
}

std::string bytes(double value) { return format_size(static_cast<std::uint64_t>(value)); }

std::string time_us(double us) {
  return format_duration(std::chrono::microseconds(static_cast<std::int64_t>(us)));
}

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.insert(0, width - text.size(), ' ');
  return text;
}

// In characters of UTF-8, and without what would move the cursor.
std::string cut(const std::string& text, std::size_t width) {
  std::string out;
  std::size_t columns = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xC0U) != 0x80U && ++columns > width) break;
    out += byte < 0x20 || byte == 0x7F ? '?' : c;
  }
  return out;
}

std::size_t columns_of(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

std::string fill_bar(const json& f, std::size_t width) {
  const double capacity = std::max(1.0, f["capacity_bytes"].get<double>());
  const double part = std::min(1.0, f["used_bytes"].get<double>() / capacity);
  const std::string text = " " + std::to_string(static_cast<int>(part * 100)) + " % of " + bytes(capacity) +
                           ", " + bytes(f["dirty_bytes"].get<double>()) + " not yet on the disk";
  const std::size_t room = width > text.size() + 8 ? width - text.size() - 8 : 0;
  const auto full = static_cast<std::size_t>(std::lround(part * static_cast<double>(room)));
  return "Full  [" + std::string(full, '#') + std::string(room - full, '.') + "]" + text;
}

std::string by_reason(const json& evictions) {
  std::string text;
  for (const auto& item : evictions.items()) {
    if (item.value().get<double>() == 0.0) continue;
    text += (text.empty() ? " (" : ", ") + item.key() + " " + rate(item.value().get<double>());
  }
  return text.empty() ? text : text + ")";
}

std::string file_cell(const json& list, std::size_t at, std::size_t width) {
  if (at >= list.size()) return "";
  return cut(padded(bytes(list[at]["bytes"].get<double>()), 9) + "  " + list[at]["path"].get<std::string>(),
             width);
}

}  // namespace

double quantile(const std::vector<std::uint64_t>& buckets, const std::vector<std::uint64_t>& bounds,
                double part) {
  std::uint64_t all = 0;
  for (const std::uint64_t count : buckets) all += count;
  if (all == 0 || bounds.empty()) return 0;
  const double wanted = part * static_cast<double>(all);
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < std::min(buckets.size(), bounds.size()); ++i) {
    below += buckets[i];
    if (static_cast<double>(below) >= wanted) return static_cast<double>(bounds[i]);
  }
  return static_cast<double>(bounds.back());
}

json top_figures(const TopSample& before, const TopSample& now, TopOrder order) {
  const double seconds = std::max(1e-3, std::chrono::duration<double>(now.at - before.at).count());
  const Change all(before.statistics, now.statistics, seconds);
  const Change store = all.in("statistics");
  json out = {{"seconds", seconds},
              {"mount_point", text_in(now.statistics, "mount_point")},
              {"failure", text_in(now.statistics, "failure")},
              {"started", now.statistics.value("started", 0.0)},
              {"hits_per_second", all.rate("hits")},
              {"misses_per_second", all.rate("misses")},
              {"hit_ratio", nullptr},
              {"read_bytes_per_second", store.rate("bytes_read")},
              {"written_bytes_per_second", store.rate("bytes_written")},
              {"evicted_bytes_per_second", store.rate("evicted_bytes")},
              {"checkpoints", store.count("checkpoints")},
              {"checkpoint_us", 0.0},
              {"requests", request_figures(before, now, seconds, order)},
              {"next", files_of(now.next)},
              {"recent", files_of(now.recent)}};
  if (const auto lookups = all.count("hits") + all.count("misses"); lookups != 0)
    out["hit_ratio"] = static_cast<double>(all.count("hits")) / static_cast<double>(lookups);
  if (const auto checkpoints = store.count("checkpoints"); checkpoints != 0)
    out["checkpoint_us"] =
        static_cast<double>(store.count("checkpoint_microseconds")) / static_cast<double>(checkpoints);
  double requests = 0;
  for (const json& row : out["requests"]) requests += row["per_second"].get<double>();
  out["requests_per_second"] = requests;
  const json& statistics = member(now.statistics, "statistics");
  out["evictions_per_second"] = json::object();
  const Change evictions = store.in("evictions");
  for (const auto& item : member(statistics, "evictions").items())
    out["evictions_per_second"][item.key()] = evictions.in(item.key().c_str()).rate("objects");
  for (const char* const key :
       {"capacity_bytes", "used_bytes", "dirty_bytes", "pending_bytes", "files", "directories", "orphans"})
    out[key] = number_in(statistics, key);
  return out;
}

std::vector<std::string> top_lines(const json& f, const TopLayout& layout) {
  std::vector<std::string> lines;
  const std::size_t width = std::max<std::size_t>(layout.width, 20);
  const std::size_t height = layout.height == 0 ? 200 : layout.height;
  const auto number = [&](const char* key) { return f[key].get<double>(); };
  double evictions = 0;
  for (const auto& item : f["evictions_per_second"].items()) evictions += item.value().get<double>();

  lines.push_back("lrufs top  " + f["mount_point"].get<std::string>());
  if (const auto failure = f["failure"].get<std::string>(); !failure.empty())
    lines.push_back("FAILED  " + failure);
  lines.push_back(fill_bar(f, width));
  lines.push_back("Files       " + format_count(f["files"].get<std::uint64_t>()) + " in " +
                  format_count(f["directories"].get<std::uint64_t>()) + " folders, " +
                  format_count(f["orphans"].get<std::uint64_t>()) + " evicted or deleted but open");
  lines.push_back(
      "Lookups     hits " + rate(number("hits_per_second")) + "  misses " +
      rate(number("misses_per_second")) + "  ratio " +
      (f["hit_ratio"].is_null() ? "-" : std::to_string(std::lround(number("hit_ratio") * 100)) + " %"));
  lines.push_back("Content     read " + bytes(number("read_bytes_per_second")) + "/s  written " +
                  bytes(number("written_bytes_per_second")) + "/s");
  lines.push_back("Evicted     " + rate(evictions) + "  " + bytes(number("evicted_bytes_per_second")) + "/s" +
                  by_reason(f["evictions_per_second"]));
  lines.push_back("Checkpoints " + format_count(f["checkpoints"].get<std::uint64_t>()) +
                  (number("checkpoint_us") > 0 ? ", " + time_us(number("checkpoint_us")) + " each" : ""));
  lines.emplace_back();
  lines.push_back("Requests " + rate(number("requests_per_second")) +
                  "        average        50 %        99 %");
  // A third of what is left for the kinds, the rest for the files.
  std::size_t kinds = height > lines.size() + 6 ? (height - lines.size()) / 3 : 2;
  if (layout.height == 0) kinds = f["requests"].size();
  for (const json& row : f["requests"]) {
    if (kinds-- == 0) break;
    std::string kind = row["kind"].get<std::string>();
    kind.resize(16, ' ');
    const auto cell = [&](const char* key) {
      const std::string text = time_us(row[key].get<double>());
      return std::string(12 - std::min<std::size_t>(12, columns_of(text)), ' ') + text;
    };
    lines.push_back("  " + kind + padded(rate(row["per_second"].get<double>()), 10) + cell("average_us") +
                    cell("p50_us") + cell("p99_us"));
  }
  lines.emplace_back();
  const std::size_t half = width / 2;
  std::string head = "Next to go";
  head.resize(half, ' ');
  lines.push_back(head + "Used last");
  const std::size_t files = std::max(f["next"].size(), f["recent"].size());
  for (std::size_t i = 0; i < files && (layout.height == 0 || lines.size() + 1 < height); ++i) {
    if (layout.height == 0 && i == 10) break;
    std::string left = file_cell(f["next"], i, half - 1);
    left.append(half - std::min(half, columns_of(left)), ' ');
    lines.push_back(left + file_cell(f["recent"], i, width - half));
  }
  if (layout.height != 0 && lines.size() + 1 > height) lines.resize(height - 1);
  if (!layout.footer.empty()) {
    if (layout.height != 0) lines.resize(height - 1);
    lines.push_back(layout.footer);
  }
  for (std::string& line : lines) line = cut(line, width);
  return lines;
}

}  // namespace lrufs::cmd
