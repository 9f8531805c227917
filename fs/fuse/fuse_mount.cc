#include "fs/fuse/fuse_mount.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "fs/fuse/libfuse_log.h"

namespace lrufs::fs::fuse {

using store::Code;
using store::fail;

FuseArguments::FuseArguments(const MountOptions& options) {
  add("lrufs");
  for (const std::string& word : fuse_words(options)) {
    add("-o");
    add(word);
  }
}

store::Status mount_on(fuse_session* session, const std::string& where) {
  const CollectedComplaints complaints;
  struct stat folder {};
  if (::stat(where.c_str(), &folder) == 0 && !S_ISDIR(folder.st_mode) && !is_handed_over(where)) {
    return fail(Code::kNotDirectory, "cannot mount on " + where + ": it is not a folder");
  }
  errno = 0;
  if (fuse_session_mount(session, where.c_str()) == 0) return {};
  const int error = errno;
  return fail(Code::kIo, "cannot mount on " + where + ": " + complaints.text(std::strerror(error)), error);
}

}  // namespace lrufs::fs::fuse
