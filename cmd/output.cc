#include "cmd/output.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <iostream>

#include "cmd/key.h"
#include "cmd/os.h"

namespace lrufs::cmd {
namespace {

using nlohmann::json;
using store::Code;
using store::fail;
using store::Status;

const char* type_name(std::uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return "file";
    case S_IFDIR:
      return "folder";
    case S_IFLNK:
      return "symlink";
    case S_IFCHR:
      return "character device";
    case S_IFBLK:
      return "block device";
    case S_IFIFO:
      return "fifo";
    case S_IFSOCK:
      return "socket";
    default:
      return "unknown";
  }
}

std::string formatted(const char* format, const std::tm& time) {
  std::array<char, 64> text{};
  const std::size_t length = std::strftime(text.data(), text.size(), format, &time);
  return {text.data(), length};
}

std::string nanoseconds(std::uint32_t value) {
  const std::string digits = std::to_string(value);
  return "." + std::string(9 - std::min<std::size_t>(9, digits.size()), '0') + digits;
}

}  // namespace

void buffer_output() {
  if (::isatty(STDOUT_FILENO) == 0) std::setvbuf(stdout, nullptr, _IOFBF, 64 * 1024);
}

Status print_line(const std::string& line) {
  errno = 0;
  if (std::fwrite(line.data(), 1, line.size(), stdout) == line.size() && std::fputc('\n', stdout) != EOF)
    return {};
  return fail(Code::kIo, "cannot write the output: " + errno_text(errno), errno);
}

Status finish_output() {
  errno = 0;
  std::cout.flush();
  if (std::cout && std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return {};
  return fail(Code::kIo, "cannot write the output" + (errno == 0 ? "" : ": " + errno_text(errno)), errno);
}

std::string mode_text(std::uint32_t mode) {
  std::string text = "?rwxrwxrwx";
  switch (mode & S_IFMT) {
    case S_IFREG:
      text[0] = '-';
      break;
    case S_IFDIR:
      text[0] = 'd';
      break;
    case S_IFLNK:
      text[0] = 'l';
      break;
    case S_IFCHR:
      text[0] = 'c';
      break;
    case S_IFBLK:
      text[0] = 'b';
      break;
    case S_IFIFO:
      text[0] = 'p';
      break;
    case S_IFSOCK:
      text[0] = 's';
      break;
    default:
      break;
  }
  for (unsigned bit = 0; bit < 9; ++bit) {
    if ((mode & (0400U >> bit)) == 0) text[1 + bit] = '-';
  }
  const auto special = [&](std::uint32_t bit, std::size_t at, char with, char without) {
    if ((mode & bit) != 0) text[at] = text[at] == 'x' ? with : without;
  };
  special(S_ISUID, 3, 's', 'S');
  special(S_ISGID, 6, 's', 'S');
  special(S_ISVTX, 9, 't', 'T');
  return text;
}

std::string local_time(const store::Timestamp& time, bool exact) {
  const std::time_t seconds = time.sec;
  std::tm parts{};
  if (::localtime_r(&seconds, &parts) == nullptr) return std::to_string(time.sec);
  const std::string text = formatted("%Y-%m-%d %H:%M:%S", parts);
  return exact ? text + nanoseconds(time.nsec) + formatted(" %z", parts) : text;
}

std::string utc_time(const store::Timestamp& time) {
  const std::time_t seconds = time.sec;
  std::tm parts{};
  if (::gmtime_r(&seconds, &parts) == nullptr) return std::to_string(time.sec);
  return formatted("%Y-%m-%dT%H:%M:%S", parts) + nanoseconds(time.nsec) + "Z";
}

json to_json(const std::string& key, const Attributes& attributes) {
  std::array<char, 8> mode{};
  std::snprintf(mode.data(), mode.size(), "%04o", attributes.mode & 07777U);
  json out = {{"key", key},
              {"type", type_name(attributes.mode)},
              {"mode", mode.data()},
              {"size", attributes.size},
              {"stored_bytes", attributes.stored},
              {"inode", attributes.ino},
              {"links", attributes.nlink},
              {"uid", attributes.uid},
              {"gid", attributes.gid},
              {"atime", utc_time(attributes.atime)},
              {"mtime", utc_time(attributes.mtime)},
              {"ctime", utc_time(attributes.ctime)}};
  if (!is_utf8(key)) {
    std::string hex;
    for (const char c : key) {
      std::array<char, 4> digits{};
      std::snprintf(digits.data(), digits.size(), "%02x",
                    static_cast<unsigned>(static_cast<unsigned char>(c)));
      hex += digits.data();
    }
    out["key_hex"] = hex;
  }
  if (attributes.made) out["btime"] = utc_time(*attributes.made);
  if (attributes.entries) out["entries"] = *attributes.entries;
  if (attributes.sequence) {
    out["sequence"] = *attributes.sequence;
    out["used"] = attributes.used;
  }
  return out;
}

std::string to_text(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

}  // namespace lrufs::cmd
