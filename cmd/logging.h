// Where the log goes: spdlog's default logger, which all layers above the store write to. No thread of its
// own, so that it can be set up before a fork; every line has a time and a level, warnings are flushed at
// once.
#pragma once

#include <string>

#include "store/error.h"

namespace lrufs::cmd {

struct LogOptions {
  std::string target;           // "stderr", "syslog", or a file (absolute; appended to)
  std::string level = "info";   // trace, debug, info, warning, error, off
  std::string format = "text";  // or "json": an object a line (fs/fuse/event.h)
};

// kInvalid for a level or a format that does not exist, kIo for a file that cannot be written. The message
// names the option.
store::Status set_up_logging(const LogOptions& options);

}  // namespace lrufs::cmd
