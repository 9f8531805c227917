#include "fs/fuse/libfuse_log.h"

#include <fuse_log.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <string_view>

#include "fs/fuse/event.h"
#include "store/thread_annotations.h"

namespace lrufs::fs::fuse {
namespace {

struct Complaints {
  store::Mutex mutex;
  bool collecting GUARDED_BY(mutex) = false;
  std::string text GUARDED_BY(mutex);
};
Complaints& complaints() {
  static Complaints instance;
  return instance;
}

bool collect(fuse_log_level level, std::string_view line) {
  Complaints& c = complaints();
  const store::MutexLock lock(c.mutex);
  if (!c.collecting) return false;
  if (level <= FUSE_LOG_WARNING) {
    if (!c.text.empty()) c.text += "; ";
    c.text += line;
  }
  return true;
}

spdlog::level::level_enum to_level(fuse_log_level level) {
  switch (level) {
    case FUSE_LOG_EMERG:
    case FUSE_LOG_ALERT:
    case FUSE_LOG_CRIT:
    case FUSE_LOG_ERR:
      return spdlog::level::err;
    case FUSE_LOG_WARNING:
      return spdlog::level::warn;
    case FUSE_LOG_NOTICE:
    case FUSE_LOG_INFO:
      return spdlog::level::info;
    case FUSE_LOG_DEBUG:
      return spdlog::level::debug;
  }
  return spdlog::level::info;
}

void log(fuse_log_level level, const char* format, va_list arguments) {
  std::array<char, 1024> buffer{};
  std::vsnprintf(buffer.data(), buffer.size(), format, arguments);
  std::string_view line(buffer.data());
  while (line.ends_with('\n')) line.remove_suffix(1);
  if (constexpr std::string_view kPrefix = "fuse: "; line.starts_with(kPrefix))
    line.remove_prefix(kPrefix.size());
  if (!line.empty() && !collect(level, line))
    tell(to_level(level), "libfuse", "libfuse: " + std::string(line));
}

}  // namespace

void take_over_libfuse_log() { fuse_set_log_func(log); }

CollectedComplaints::CollectedComplaints() {
  Complaints& c = complaints();
  const store::MutexLock lock(c.mutex);
  c.collecting = true;
  c.text.clear();
}

CollectedComplaints::~CollectedComplaints() {
  Complaints& c = complaints();
  const store::MutexLock lock(c.mutex);
  c.collecting = false;
}

// NOLINTNEXTLINE(readability-convert-member-functions-to-static): the text is there while the collector lives
std::string CollectedComplaints::text(const std::string& otherwise) const {
  Complaints& c = complaints();
  const store::MutexLock lock(c.mutex);
  return c.text.empty() ? otherwise : c.text;
}

}  // namespace lrufs::fs::fuse
