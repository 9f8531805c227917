#include "cmd/logging.h"

#include <fcntl.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <syslog.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <memory>
#include <utility>

#include "cmd/os.h"
#include "fs/fuse/event.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;

// spdlog would make missing folders, and a name with a typo in it would go unnoticed.
store::Status check_writable(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
  if (fd < 0)
    return fail(Code::kIo, "--log " + shown(path) + " cannot be written: " + errno_text(errno), errno);
  ::close(fd);
  return {};
}

}  // namespace

store::Status set_up_logging(const LogOptions& options) {
  const auto level = fs::fuse::level_of(options.level);
  if (!level) {
    return fail(Code::kInvalid, "--log-level '" + options.level +
                                    "' does not exist: give trace, debug, info, warning, error or off");
  }
  if (options.format != "text" && options.format != "json")
    return fail(Code::kInvalid, "--log-format '" + options.format + "' does not exist: give text or json");
  try {
    std::shared_ptr<spdlog::logger> logger;
    if (options.target == "stderr") {
      logger = std::make_shared<spdlog::logger>("lrufs", std::make_shared<spdlog::sinks::stderr_sink_mt>());
      logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ lrufs[%P]: %v");
    } else if (options.target == "syslog") {
      // syslog brings the time and the program; the level is in the line too, for those who read it with
      // less.
      auto sink = std::make_shared<spdlog::sinks::syslog_sink_mt>("lrufs", LOG_PID, LOG_DAEMON, true);
      logger = std::make_shared<spdlog::logger>("lrufs", std::move(sink));
      logger->set_pattern("%l: %v");
    } else {
      LRUFS_TRY(check_writable(options.target));
      auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.target, false);
      logger = std::make_shared<spdlog::logger>("lrufs", std::move(sink));
      logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l lrufs[%P]: %v");
      logger->flush_on(spdlog::level::info);
    }
    if (options.format == "json") logger->set_formatter(std::make_unique<fs::fuse::JsonFormatter>());
    logger->set_level(*level);
    if (logger->flush_level() > spdlog::level::warn) logger->flush_on(spdlog::level::warn);
    spdlog::set_default_logger(std::move(logger));
    spdlog::set_level(*level);
  } catch (const std::exception& error) {  // spdlog's constructors throw
    return fail(Code::kIo, "--log " + options.target + " cannot be written: " + error.what());
  }
  return {};
}

}  // namespace lrufs::cmd
