// MountOptions: how a store is mounted, and its translation from the words of mount(8) and to those of
// libfuse. A plain value; nothing here touches the system.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fs/fuse/placement.h"
#include "store/error.h"

namespace lrufs::fs::fuse {

struct MountOptions {
  std::string store;  // path of the store, absolute; what the table of mounts shows as the source
  std::string
      mount_point;  // absolute and without symlinks, since the daemon leaves its folder; or "/dev/fd/N"
  // How long the kernel may use a name without asking: the resolution of the LRU order for files that stay
  // hot. 0: each path lookup is a request.
  std::chrono::milliseconds recency{10'000};
  bool read_only = false;
  bool allow_other = false;  // users other than the one who mounts
  bool allow_root = false;   // root, besides the one who mounts
  bool auto_unmount = false;
  bool noxattr = false;  // no xattrs and ACLs (and no statistics by xattr); saves a request for each new file
  std::string guard_program;  // see guard.h; empty: no guard
  bool control = true;        // the folder .lrufs (control_requests.h)
  std::string metrics;        // where to serve metrics, "HOST:PORT" (metrics_server.h); empty: nowhere
  bool confine = true;        // give up rights once it is mounted (confine.h)
  bool foreground = false;    // for the command line; nothing here asks for it
  bool debug = false;         // libfuse prints each request
  unsigned threads = 0;       // that serve requests; 0: chosen by worker_pool.h
  bool io_uring = false;      // requests by io_uring, a queue a core, instead of reading /dev/fuse
  Placement::Wish placement = Placement::Wish::kAuto;
  std::uint32_t max_read = 0;  // bytes of one READ; 0: what the kernel allows, 1 MiB
  std::string fs_name;         // instead of `store`
  std::string subtype = "lrufs";
  std::vector<std::string>
      kernel_words;  // "nodev", "noatime", "context=…": passed on in order, the last one wins
};

inline constexpr unsigned kMaxThreads = 256;

// The words of a comma-separated list, as -o has it. "\," is a comma and "\\" a backslash within a word;
// empty words are left out.
std::vector<std::string> split_mount_options(std::string_view list);

enum class WordUse : std::uint8_t {
  kTaken,    // it has an effect now
  kIgnored,  // meant for mount(8), fstab or systemd, or without a meaning here
  kUnknown,  // not of this layer: an option of lrufs itself, or a mistake
};
// Takes one word of -o. kInvalid if the word is known but its value is not, or if it asks for what cannot be.
store::Result<WordUse> apply_mount_word(MountOptions& options, std::string_view word);

// Takes a whole list; kInvalid names the first word that is unknown.
store::Status apply_mount_options(MountOptions& options, std::string_view list);

// The words for libfuse's -o, in order; commas and backslashes in names are escaped. Always
// default_permissions: the kernel checks mode bits and ACLs.
std::vector<std::string> fuse_words(const MountOptions& options);

}  // namespace lrufs::fs::fuse
