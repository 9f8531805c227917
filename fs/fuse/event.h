// Events: what the log is told, once each, as a line for people or as an object for programs. spdlog carries
// them; what it has no place for (the event's name, its fields) is attached while its sinks are called.
//
// No content of users, and no names of their files, but at debug level.
//
// Thread-safety: all functions, from any thread.
#pragma once

#include <spdlog/common.h>
#include <spdlog/formatter.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace lrufs::fs::fuse {

using Level = spdlog::level::level_enum;

// `event`: snake_case, constant. `message`: the whole of it, for people. `fields`: an object, for programs.
void tell(Level level, const char* event, const std::string& message, nlohmann::json fields = nullptr);

// "trace", "debug", "info", "warning", "error", "off"; also "warn" and "err".
std::optional<Level> level_of(std::string_view name);
std::string_view level_name(Level level);

// At most one event a second, for what clients can cause.
class RateLimit {
 public:
  // How many were left out since the last one that was not; nullopt: leave this one out.
  std::optional<std::uint64_t> pass(
      std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now());

 private:
  std::atomic<std::int64_t> next_{0};  // ms
  std::atomic<std::uint64_t> left_out_{0};
};
// tell(), but not more often than `limit` allows; says how many were left out.
void tell_limited(RateLimit& limit, Level level, const char* event, const std::string& message,
                  nlohmann::json fields = nullptr);

// One JSON object a line: time (RFC 3339), level, event, pid, message, and the event's fields.
class JsonFormatter : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& msg, spdlog::memory_buf_t& out) override;
  [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

}  // namespace lrufs::fs::fuse
