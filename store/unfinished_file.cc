#include "store/unfinished_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace lrufs::store {

Result<UnfinishedFile> UnfinishedFile::beside(const std::string& place, const std::string& what) {
  std::string name = place + "." + what + "-XXXXXX";
  const int fd = ::mkstemp(name.data());
  if (fd < 0) {
    const int error = errno;
    return fail(Code::kIo, "cannot make a file beside " + place + ": " + std::strerror(error), error);
  }
  ::close(fd);
  return UnfinishedFile(std::move(name), place);
}

UnfinishedFile::~UnfinishedFile() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

Status UnfinishedFile::finish(bool replace, FileOps* ops) {
  int named = ::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, place_.c_str(), replace ? 0 : RENAME_NOREPLACE);
  if (named != 0 && errno == EINVAL && !replace) {  // a file system without it
    named = ::link(path_.c_str(), place_.c_str());
    if (named == 0) ::unlink(path_.c_str());
  }
  if (named != 0) {
    const int error = errno;
    return fail(error == EEXIST ? Code::kExists : Code::kIo,
                "cannot name the new file " + place_ + ": " + std::strerror(error), error);
  }
  path_.clear();
  return ops != nullptr ? ops->sync_parent(place_) : posix_file_ops()->sync_parent(place_);
}

}  // namespace lrufs::store
