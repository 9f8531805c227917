#include "cmd/mount_helper.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>

namespace lrufs::cmd {

std::vector<std::string> split_options(const std::string& text) {
  std::vector<std::string> pieces;
  std::string piece;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) {
      piece += text[i];
      piece += text[++i];
    } else if (text[i] != ',') {
      piece += text[i];
    } else if (!piece.empty()) {
      pieces.push_back(std::move(piece));
      piece.clear();
    }
  }
  if (!piece.empty()) pieces.push_back(std::move(piece));
  return pieces;
}

std::optional<std::vector<std::string>> as_mount_command(const std::vector<std::string>& arguments) {
  if (arguments.size() < 3) return std::nullopt;
  const std::string name = std::filesystem::path(arguments[0]).filename().string();
  const bool is_helper = name.starts_with("mount.");

  std::vector<std::string> command = {"mount"};
  std::vector<std::string> positional;
  bool has_options = false;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "-o" && i + 1 < arguments.size()) {
      has_options = true;
      command.insert(command.end(), {"-o", arguments[++i]});
    } else if (is_helper && (argument == "-t" || argument == "-N") && i + 1 < arguments.size()) {
      ++i;
    } else if (is_helper && argument.size() > 1 && argument[0] == '-' &&
               argument.find_first_not_of("sfnv", 1) == std::string::npos) {
      continue;  // sloppy, no mtab, verbose: nothing to do here (mount(8) handles fake itself)
    } else if (argument.starts_with("-")) {
      return std::nullopt;
    } else {
      positional.push_back(argument);
    }
  }
  constexpr std::array<std::string_view, 23> kVerbs = {
      "mount",   "umount", "upgrade", "top",   "get",   "put",        "ls",         "rm",
      "touch",   "pin",    "unpin",   "evict", "stat",  "check",      "checkpoint", "resize",
      "compact", "copy",   "dump",    "load",  "bench", "completion", "manual"};
  if (positional.size() != 2) return std::nullopt;
  if (!is_helper && (!has_options || std::ranges::find(kVerbs, positional[0]) != kVerbs.end()))
    return std::nullopt;
  command.insert(command.end(), positional.begin(), positional.end());
  return command;
}

}  // namespace lrufs::cmd
