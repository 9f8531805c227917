// Mounting through libfuse: its arguments, and the step itself with libfuse's reason if it fails.
//
// Thread-safety: from one thread.
#pragma once

#include <string>

#include "fs/fuse/fuse_api.h"
#include "fs/fuse/mount_options.h"
#include "store/error.h"

namespace lrufs::fs::fuse {

// libfuse's arguments; freed as it wants it.
class FuseArguments {
 public:
  explicit FuseArguments(const MountOptions& options);
  FuseArguments(const FuseArguments&) = delete;
  FuseArguments& operator=(const FuseArguments&) = delete;
  ~FuseArguments() { fuse_opt_free_args(&arguments_); }
  [[nodiscard]] fuse_args* get() { return &arguments_; }

 private:
  void add(const std::string& text) { fuse_opt_add_arg(&arguments_, text.c_str()); }
  fuse_args arguments_ = FUSE_ARGS_INIT(0, nullptr);
};

// /dev/fd/N: who has opened /dev/fuse for us has mounted as well, and unmounts.
inline bool is_handed_over(const std::string& mount_point) { return mount_point.starts_with("/dev/fd/"); }

// kNotDirectory, kIo.
store::Status mount_on(fuse_session* session, const std::string& where);

}  // namespace lrufs::fs::fuse
