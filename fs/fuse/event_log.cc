#include "fs/fuse/event_log.h"

namespace lrufs::fs::fuse {

EventLog::EventLog() { set_pattern_("%Y-%m-%dT%H:%M:%S.%e%z %l: %v"); }

void EventLog::sink_it_(const spdlog::details::log_msg& msg) {
  spdlog::memory_buf_t line;
  formatter_->format(msg, line);
  lines_.emplace_back(line.data(), std::min(line.size(), kMaxBytes / 4));
  bytes_ += lines_.back().size();
  while (lines_.size() > kMaxLines || bytes_ > kMaxBytes) {
    bytes_ -= lines_.front().size();
    lines_.pop_front();
  }
}

std::string EventLog::text() {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::string out;
  out.reserve(bytes_);
  for (const std::string& line : lines_) out += line;
  return out;
}

}  // namespace lrufs::fs::fuse
