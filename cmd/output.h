// What a verb prints on stdout.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "cmd/tree.h"
#include "store/error.h"

namespace lrufs::cmd {

// One line to stdout, at once known if it cannot be written.
store::Status print_line(const std::string& line);
// Stdout in pieces of 64 KiB, unless it is a terminal: what a verb prints is then written, and found not to
// be, at its end, where errno can still be told.
void buffer_output();
// Everything printed has been written; else the error (with os_errno), which is to be told, but for EPIPE: a
// reader that has seen enough, as head(1), is no failure to complain about.
store::Status finish_output();

// "drwxr-xr-x"
std::string mode_text(std::uint32_t mode);
std::string local_time(const store::Timestamp& time, bool exact);  // "2026-11-22 20:31:07[.123456789 +0000]"
std::string utc_time(const store::Timestamp& time);                // "2026-11-22T20:31:07.123456789Z"

// The attributes of an object. A key that is no UTF-8 comes with "key_hex", its bytes.
nlohmann::json to_json(const std::string& key, const Attributes& attributes);
std::string to_text(const nlohmann::json& value, int indent = -1);

}  // namespace lrufs::cmd
