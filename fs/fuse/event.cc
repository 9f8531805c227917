#include "fs/fuse/event.h"

#include <spdlog/details/log_msg.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <array>
#include <ctime>
#include <utility>

namespace lrufs::fs::fuse {
namespace {

struct Attached {
  const char* event = nullptr;
  const nlohmann::json* fields = nullptr;
};
thread_local Attached attached;

struct NamedLevel {
  std::string_view name;
  Level level;
};
constexpr std::array<NamedLevel, 8> kLevels = {{{"trace", Level::trace},
                                                {"debug", Level::debug},
                                                {"info", Level::info},
                                                {"warning", Level::warn},
                                                {"error", Level::err},
                                                {"off", Level::off},
                                                {"warn", Level::warn},
                                                {"err", Level::err}}};

std::string time_text(spdlog::log_clock::time_point time) {
  const std::time_t seconds = spdlog::log_clock::to_time_t(time);
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count() % 1000;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  std::array<char, 40> date{};
  std::array<char, 48> text{};
  std::strftime(date.data(), date.size(), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text.data(), text.size(), "%s.%03dZ", date.data(), static_cast<int>(ms));
  return text.data();
}

}  // namespace

void tell(Level level, const char* event, const std::string& message, nlohmann::json fields) {
  if (!spdlog::should_log(level)) return;
  attached = {event, &fields};
  spdlog::log(level, "{}", message);
  attached = {};
}

std::optional<Level> level_of(std::string_view name) {
  for (const NamedLevel& known : kLevels) {
    if (known.name == name) return known.level;
  }
  return std::nullopt;
}

std::string_view level_name(Level level) {
  for (const NamedLevel& known : kLevels) {
    if (known.level == level) return known.name;
  }
  return "critical";
}

std::optional<std::uint64_t> RateLimit::pass(std::chrono::steady_clock::time_point now) {
  constexpr std::int64_t kPause = 1000;
  const std::int64_t ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
  std::int64_t due = next_.load(std::memory_order_relaxed);
  if (ms >= due && next_.compare_exchange_strong(due, ms + kPause, std::memory_order_relaxed))
    return left_out_.exchange(0, std::memory_order_relaxed);
  left_out_.fetch_add(1, std::memory_order_relaxed);
  return std::nullopt;
}

void tell_limited(RateLimit& limit, Level level, const char* event, const std::string& message,
                  nlohmann::json fields) {
  if (!spdlog::should_log(level)) return;
  const auto left_out = limit.pass();
  if (!left_out) return;
  if (*left_out == 0) {
    tell(level, event, message, std::move(fields));
    return;
  }
  fields["left_out"] = *left_out;
  tell(level, event, message + " (and " + std::to_string(*left_out) + " more before, which are left out)",
       std::move(fields));
}

void JsonFormatter::format(const spdlog::details::log_msg& msg, spdlog::memory_buf_t& out) {
  nlohmann::ordered_json line = {
      {"time", time_text(msg.time)},
      {"level", level_name(msg.level)},
      {"event", attached.event != nullptr ? attached.event : "message"},
      {"pid", ::getpid()},
      {"message", std::string(msg.payload.data(), msg.payload.size())},
  };
  if (attached.fields != nullptr && attached.fields->is_object()) {
    for (const auto& item : attached.fields->items()) line[item.key()] = item.value();
  }
  const std::string text = line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  out.append(text.data(), text.data() + text.size());
}

}  // namespace lrufs::fs::fuse
