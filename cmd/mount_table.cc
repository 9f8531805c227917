#include "cmd/mount_table.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>

#include "cmd/os.h"

namespace lrufs::cmd {
namespace {

std::string_view next_field(std::string_view& line) {
  const std::size_t end = std::min(line.find(' '), line.size());
  const std::string_view field = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return field;
}

// The kernel writes blanks, newlines, backslashes and '#' as a backslash and three octal digits.
std::string unescape(std::string_view field) {
  const auto octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string text;
  text.reserve(field.size());
  for (std::size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size() && octal(field[i + 1]) && octal(field[i + 2]) &&
        octal(field[i + 3])) {
      text += static_cast<char>((field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 + (field[i + 3] - '0'));
      i += 3;
    } else {
      text += field[i];
    }
  }
  return text;
}

std::optional<int> number(std::string_view field) {
  int value = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (error != std::errc{} || end != field.data() + field.size()) return std::nullopt;
  return value;
}

// ID PARENT MAJOR:MINOR ROOT MOUNT_POINT OPTIONS [OPTIONAL…] - TYPE SOURCE SUPER_OPTIONS
std::optional<MountEntry> parse_line(std::string_view line) {
  MountEntry entry;
  const auto id = number(next_field(line));
  const auto parent = number(next_field(line));
  if (!id || !parent) return std::nullopt;
  entry.id = *id;
  entry.parent_id = *parent;
  std::string_view device = next_field(line);
  const std::size_t colon = std::min(device.find(':'), device.size());
  const auto major = number(device.substr(0, colon));
  const auto minor = number(device.substr(std::min(colon + 1, device.size())));
  if (!major || !minor) return std::nullopt;
  entry.device = makedev(*major, *minor);
  next_field(line);
  entry.mount_point = unescape(next_field(line));
  entry.options = unescape(next_field(line));
  std::string_view optional_field = next_field(line);
  while (optional_field != "-") {
    if (line.empty()) return std::nullopt;
    optional_field = next_field(line);
  }
  entry.fs_type = unescape(next_field(line));
  entry.source = unescape(next_field(line));
  entry.super_options = unescape(next_field(line));
  if (entry.mount_point.empty() || entry.fs_type.empty()) return std::nullopt;
  return entry;
}

bool lies_in(std::string_view path, std::string_view directory) {
  if (directory == "/") return path.starts_with('/');
  return path.starts_with(directory) && (path.size() == directory.size() || path[directory.size()] == '/');
}

}  // namespace

MountTable parse_mount_table(std::string_view text) {
  MountTable table;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (auto entry = parse_line(text.substr(0, end))) table.push_back(std::move(*entry));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return table;
}

store::Result<MountTable> read_mount_table(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return store::fail(store::Code::kIo, "cannot read the table of mounts " + path + ": " + errno_text(errno),
                       errno);
  }
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return parse_mount_table(text);
}

const MountEntry* mount_at(const MountTable& table, std::string_view mount_point) {
  const MountEntry* top = nullptr;
  for (const MountEntry& entry : table) {
    if (entry.mount_point != mount_point) continue;
    // Of a stack, each is mounted on the one below it, in whatever order they are listed.
    if (top == nullptr || entry.parent_id == top->id || top->parent_id != entry.id) top = &entry;
  }
  return top;
}

const MountEntry* mount_containing(const MountTable& table, std::string_view path) {
  const MountEntry* nearest = nullptr;
  for (const MountEntry& entry : table) {
    if (!lies_in(path, entry.mount_point)) continue;
    if (nearest == nullptr || entry.mount_point.size() > nearest->mount_point.size()) nearest = &entry;
  }
  return nearest == nullptr ? nullptr : mount_at(table, nearest->mount_point);
}

std::vector<const MountEntry*> lrufs_mounts_of(const MountTable& table, std::string_view store) {
  std::vector<const MountEntry*> found;
  for (const MountEntry& entry : table) {
    if (entry.is_lrufs() && entry.source == store) found.push_back(&entry);
  }
  return found;
}

}  // namespace lrufs::cmd
