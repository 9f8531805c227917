// EventLog: the last lines of the log, for the file `log` of the control folder. A sink beside the others.
//
// Bounded in lines and bytes; the oldest go. Thread-safety: all functions, from any thread.
#pragma once

#include <spdlog/sinks/base_sink.h>

#include <cstddef>
#include <deque>
#include <mutex>
#include <string>

namespace lrufs::fs::fuse {

class EventLog : public spdlog::sinks::base_sink<std::mutex> {
 public:
  static constexpr std::size_t kMaxLines = 1000;
  static constexpr std::size_t kMaxBytes = 256U << 10U;

  EventLog();
  std::string text();  // oldest first, each ends in a newline

 protected:
  void sink_it_(const spdlog::details::log_msg& msg) override;
  void flush_() override {}

 private:
  std::deque<std::string> lines_;  // under base_sink's mutex
  std::size_t bytes_ = 0;
};

}  // namespace lrufs::fs::fuse
