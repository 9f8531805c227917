// The inode numbers of the control folder: a range that the store never uses, since it counts from 2 on and
// would need centuries to come here. A number says which file it is of.
//
// Each lookup of a file gives a fresh number, under which the content of that moment is kept (control.h): a
// file is opened without a request, so there is no other way to ask the kernel not to believe its caches.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace lrufs::fs::fuse {

inline constexpr std::string_view kControlName = ".lrufs";

enum class ControlFile : std::uint8_t {
  kStats,
  kMetrics,
  kConfig,
  kLog,
  kNext,
  kRecent,
  kCheckpoint,
  kEvict,
  kLogLevel,
  kResize,
  kCompact,
};

struct ControlFileKind {
  ControlFile file;
  std::string_view name;
  std::uint32_t mode;  // permission bits, for the mount's owner
};
// Those that may tell names of files are the owner's alone.
inline constexpr std::array<ControlFileKind, 11> kControlFiles = {
    {{ControlFile::kStats, "stats", 0444},
     {ControlFile::kMetrics, "metrics", 0444},
     {ControlFile::kConfig, "config", 0444},
     {ControlFile::kLog, "log", 0400},
     {ControlFile::kNext, "next", 0400},
     {ControlFile::kRecent, "recent", 0400},
     {ControlFile::kCheckpoint, "checkpoint", 0200},
     {ControlFile::kEvict, "evict", 0200},
     {ControlFile::kLogLevel, "loglevel", 0644},
     {ControlFile::kResize, "resize", 0600},
     {ControlFile::kCompact, "compact", 0600}}};
constexpr const ControlFileKind& kind_of(ControlFile file) {
  return kControlFiles.at(static_cast<std::size_t>(file));
}
constexpr bool takes_writes(ControlFile file) { return (kind_of(file).mode & 0200U) != 0; }

inline constexpr std::uint64_t kControlFolder = 1ULL << 62U;
// 4 bits say which file.
constexpr std::uint64_t control_inode(std::uint64_t serial, ControlFile file) {
  return kControlFolder + (serial << 4U) + 1 + static_cast<std::uint64_t>(file);
}
constexpr bool is_control(std::uint64_t ino) { return ino >= kControlFolder; }
// nullopt: the folder, or no number of ours.
constexpr std::optional<ControlFile> control_file(std::uint64_t ino) {
  const std::uint64_t which = ino & 15U;
  if (!is_control(ino) || which == 0 || which > kControlFiles.size()) return std::nullopt;
  return static_cast<ControlFile>(which - 1);
}

}  // namespace lrufs::fs::fuse
