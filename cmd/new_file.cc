#include "cmd/new_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <random>

#include "cmd/os.h"
#include "cmd/tree.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Result;
using store::Status;

std::string temporary_name() {
  std::random_device random;
  return ".lrufs-put." + std::to_string(::getpid()) + "." + std::to_string(random());
}

}  // namespace

Result<NewFile> NewFile::create(int dir) {
  constexpr mode_t kMode = 0666;
  Descriptor unnamed(::openat(dir, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, kMode));
  if (unnamed) return NewFile(std::move(unnamed), dir, {});
  // EISDIR, EINVAL: a kernel, or a file system, that does not know O_TMPFILE.
  if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOSYS)
    return fail(error_of(errno));
  const std::string name = temporary_name();
  Descriptor named(::openat(dir, name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, kMode));
  if (!named) return fail(error_of(errno));
  return NewFile(std::move(named), dir, name);
}

NewFile::NewFile(NewFile&& other) noexcept
    : file_(std::move(other.file_)), dir_(other.dir_), temporary_(std::move(other.temporary_)) {
  other.temporary_.clear();
}

NewFile::~NewFile() {
  if (!temporary_.empty()) ::unlinkat(dir_, temporary_.c_str(), 0);
}

Status NewFile::publish(int dir, const std::string& name) {
  if (temporary_.empty()) {
    const std::string self = "/proc/self/fd/" + std::to_string(file_.get());
    if (::linkat(AT_FDCWD, self.c_str(), dir, name.c_str(), AT_SYMLINK_FOLLOW) == 0) return {};
    if (errno != EEXIST) return fail(error_of(errno));
    struct stat there {};  // rename(2) would find out too, but only after the temporary name was made
    if (::fstatat(dir, name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(there.st_mode))
      return fail(Code::kIsDirectory);
    const std::string temporary = temporary_name();
    if (::linkat(AT_FDCWD, self.c_str(), dir, temporary.c_str(), AT_SYMLINK_FOLLOW) != 0)
      return fail(error_of(errno));
    if (::renameat(dir, temporary.c_str(), dir, name.c_str()) == 0) return {};
    const int error = errno;
    ::unlinkat(dir, temporary.c_str(), 0);
    return fail(error_of(error));
  }
  if (::renameat(dir_, temporary_.c_str(), dir, name.c_str()) != 0) return fail(error_of(errno));
  temporary_.clear();
  return {};
}

}  // namespace lrufs::cmd
