// extract_tar(): as load_tar() (tar_load.h), into a folder of a mount, by ordinary system calls and in the
// order of the stream, which becomes the order of use. Each entry appears as a whole or not at all (but for a
// SIGKILL, which may leave a file with a random suffix). Owners are kept if the caller is root.
#pragma once

#include <string>

#include "cmd/tar_load.h"

namespace lrufs::cmd {

// Changes the working directory of the process to `folder`.
store::Result<LoadReport> extract_tar(int fd, const std::string& folder, const LoadOptions& options);

}  // namespace lrufs::cmd
