#include "fs/fuse/mount_options.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace lrufs::fs::fuse {
namespace {

using store::Code;
using store::fail;
using store::Result;
using store::Status;

// Flags of mount(2) that libfuse passes on.
constexpr std::array<std::string_view, 11> kKernelFlags = {
    "dev", "nodev", "suid", "nosuid", "exec", "noexec", "sync", "async", "dirsync", "atime", "noatime"};
// SELinux labels, which libfuse passes on with their values.
constexpr std::array<std::string_view, 4> kKernelValues = {
    "context=", "fscontext=", "defcontext=", "rootcontext="};

// Of mount(8), fstab(5), systemd.mount(5) and libfuse 2: they say who mounts, when, and how, or, as the kinds
// of atime, what FUSE leaves to the daemon in any case.
constexpr std::array<std::string_view, 33> kIgnoredWords = {
    "defaults",   "auto",        "noauto",
    "fail",       "nofail",      "_netdev",
    "user",       "nouser",      "users",
    "nousers",    "owner",       "noowner",
    "group",      "nogroup",     "relatime",
    "norelatime", "strictatime", "nostrictatime",
    "lazytime",   "nolazytime",  "diratime",
    "nodiratime", "iversion",    "noiversion",
    "mand",       "nomand",      "loud",
    "silent",     "quiet",       "nonempty",
    "intr",       "nointr",      "default_permissions"};
constexpr std::array<std::string_view, 8> kIgnoredPrefixes = {
    "x-", "X-", "comment=", "user=", "uhelper=", "helper=", "uid_hint=", "pipefs="};

template <typename List>
bool is_one_of(const List& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}
template <typename List>
bool starts_with_one_of(const List& list, std::string_view word) {
  return std::any_of(list.begin(), list.end(),
                     [&](std::string_view prefix) { return word.starts_with(prefix); });
}

Result<std::uint32_t> parse_number(std::string_view name, std::string_view text, std::uint32_t low,
                                   std::uint32_t high) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
    return fail(Code::kInvalid, "mount option " + std::string(name) + ": expected a number from " +
                                    std::to_string(low) + " to " + std::to_string(high) + ", got \"" +
                                    std::string(text) + "\"");
  }
  return value;
}

// The value of "name=value", which must not be empty.
Result<std::string> parse_text(std::string_view name, std::string_view text) {
  if (text.empty())
    return fail(Code::kInvalid, "mount option " + std::string(name) + ": the value is missing");
  return std::string(text);
}

Result<WordUse> apply_value(MountOptions& options, std::string_view name, std::string_view value) {
  if (name == "fsname") {
    LRUFS_TRY_ASSIGN(options.fs_name, parse_text(name, value));
    return WordUse::kTaken;
  }
  if (name == "subtype") {
    LRUFS_TRY_ASSIGN(options.subtype, parse_text(name, value));
    return WordUse::kTaken;
  }
  if (name == "max_read") {
    // The kernel rounds down to pages and wants at least one.
    LRUFS_TRY_ASSIGN(options.max_read, parse_number(name, value, 4096, 1U << 30U));
    return WordUse::kTaken;
  }
  if (name == "metrics") {
    LRUFS_TRY_ASSIGN(options.metrics, parse_text(name, value));
    return WordUse::kTaken;
  }
  if (name == "threads") {
    LRUFS_TRY_ASSIGN(options.threads, parse_number(name, value, 1, kMaxThreads));
    return WordUse::kTaken;
  }
  if (name == "placement") {
    if (value == "auto") {
      options.placement = Placement::Wish::kAuto;
    } else if (value == "spread") {
      options.placement = Placement::Wish::kSpread;
    } else if (value == "alone") {
      options.placement = Placement::Wish::kAlone;
    } else if (value == "close") {
      options.placement = Placement::Wish::kClose;
    } else {
      return fail(Code::kInvalid, "mount option placement: expected auto, spread, alone or close, got \"" +
                                      std::string(value) + "\"");
    }
    return WordUse::kTaken;
  }
  return WordUse::kUnknown;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == ',' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

std::vector<std::string> split_mount_options(std::string_view list) {
  std::vector<std::string> words;
  std::string word;
  for (std::size_t i = 0; i <= list.size(); ++i) {
    if (i == list.size() || list[i] == ',') {
      if (!word.empty()) words.push_back(std::move(word));
      word.clear();
    } else {
      if (list[i] == '\\' && i + 1 < list.size() && (list[i + 1] == ',' || list[i + 1] == '\\')) ++i;
      word += list[i];
    }
  }
  return words;
}

Result<WordUse> apply_mount_word(MountOptions& options, std::string_view word) {
  if (word == "ro" || word == "rw") {
    options.read_only = word == "ro";
  } else if (word == "allow_other") {
    options.allow_other = true;
  } else if (word == "allow_root") {
    options.allow_root = true;
  } else if (word == "auto_unmount") {
    options.auto_unmount = true;
  } else if (word == "noxattr") {
    options.noxattr = true;
  } else if (word == "no_control") {
    options.control = false;
  } else if (word == "no_confine") {
    options.confine = false;
  } else if (word == "debug") {
    options.debug = true;
  } else if (word == "io_uring") {
    options.io_uring = true;
  } else if (is_one_of(kKernelFlags, word) || starts_with_one_of(kKernelValues, word)) {
    options.kernel_words.emplace_back(word);
  } else if (word == "remount") {
    return fail(Code::kInvalid,
                "mount option remount: a mount of lrufs cannot be changed; unmount it and mount it again");
  } else if (is_one_of(kIgnoredWords, word) || starts_with_one_of(kIgnoredPrefixes, word)) {
    return WordUse::kIgnored;
  } else if (const std::size_t equals = word.find('='); equals != std::string_view::npos) {
    return apply_value(options, word.substr(0, equals), word.substr(equals + 1));
  } else {
    return WordUse::kUnknown;
  }
  return WordUse::kTaken;
}

Status apply_mount_options(MountOptions& options, std::string_view list) {
  for (const std::string& word : split_mount_options(list)) {
    const auto use = apply_mount_word(options, word);
    if (!use) return fail(use.error());
    if (*use == WordUse::kUnknown) return fail(Code::kInvalid, "unknown mount option \"" + word + "\"");
  }
  return {};
}

std::vector<std::string> fuse_words(const MountOptions& options) {
  std::vector<std::string> words = {
      "default_permissions", "fsname=" + escaped(options.fs_name.empty() ? options.store : options.fs_name),
      "subtype=" + escaped(options.subtype)};
  words.emplace_back(options.read_only ? "ro" : "rw");
  // allow_root is allow_other for the kernel, and libfuse turns the others away; both at once mean
  // allow_other.
  if (options.allow_other) {
    words.emplace_back("allow_other");
  } else if (options.allow_root) {
    words.emplace_back("allow_root");
  }
  if (options.auto_unmount) words.emplace_back("auto_unmount");
  if (options.debug) words.emplace_back("debug");
  if (options.io_uring) words.emplace_back("io_uring");
  if (options.max_read != 0) words.push_back("max_read=" + std::to_string(options.max_read));
  for (const std::string& word : options.kernel_words) words.push_back(escaped(word));
  return words;
}

}  // namespace lrufs::fs::fuse
