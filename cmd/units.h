// Sizes and times as people write and read them: "10G", "512MiB", "1.5G", "4096"; "5s", "2m", "500ms", "1h".
//
// Sizes: K, M, G, T and P are powers of 1024 as in `ls -h` (KiB, MiB, … mean the same); KB, MB, … are powers
// of 1000; no suffix is bytes. Times: ms, s, m (or min), h, d; no suffix is seconds. Suffixes ignore case.
// Errors are Code::kInvalid with a message that names `option` and says what it takes.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "store/error.h"

namespace lrufs::cmd {

store::Result<std::uint64_t> parse_size(std::string_view option, std::string_view text);
store::Result<std::chrono::milliseconds> parse_duration(std::string_view option, std::string_view text);
store::Result<std::uint64_t> parse_count(std::string_view option, std::string_view text);

std::string format_size(std::uint64_t bytes);  // "0 B", "512 MiB", "1.5 GiB"
std::string format_duration(
    std::chrono::microseconds duration);        // "250 µs", "1.5 ms", "2.0 s", "3 min 5 s", "2 h 10 min"
std::string format_count(std::uint64_t count);  // "1,234,567"
std::string counted(std::uint64_t count, const char* one, const char* many);  // "1 file", "1,234 files"

}  // namespace lrufs::cmd
