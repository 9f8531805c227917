#include "fs/fuse/takeover_memory.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace lrufs::fs::fuse {

using store::Code;
using store::fail;
using store::Result;
using store::Status;

Result<std::unique_ptr<MappedTakeover>> MappedTakeover::create() {
  const int fd = ::memfd_create("lrufs-takeover", MFD_CLOEXEC);
  if (fd < 0) return fail(Code::kIo, "memfd_create", errno);
  std::unique_ptr<MappedTakeover> made(new MappedTakeover(fd));
  if (::ftruncate(fd, sizeof(TakeoverMemory)) != 0) return fail(Code::kIo, "ftruncate of a memfd", errno);
  LRUFS_TRY(made->map());
  made->get().version = kTakeoverVersion;
  return made;
}

Result<std::unique_ptr<MappedTakeover>> MappedTakeover::open(int fd) {
  std::unique_ptr<MappedTakeover> opened(new MappedTakeover(fd));
  struct stat attributes {};
  if (::fstat(fd, &attributes) != 0 || attributes.st_size != sizeof(TakeoverMemory))
    return fail(Code::kInvalid, "this version of lrufs cannot take over from the one that runs");
  LRUFS_TRY(opened->map());
  if (opened->get().version != kTakeoverVersion)
    return fail(Code::kInvalid, "this version of lrufs cannot take over from the one that runs");
  return opened;
}

Status MappedTakeover::map() {
  void* const at =
      ::mmap(nullptr, sizeof(TakeoverMemory), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_, 0);
  if (at == MAP_FAILED) return fail(Code::kIo, "mmap of a memfd", errno);
  memory_ = static_cast<TakeoverMemory*>(at);
  return {};
}

MappedTakeover::~MappedTakeover() {
  if (memory_ != nullptr) ::munmap(memory_, sizeof(TakeoverMemory));
  ::close(fd_);
}

}  // namespace lrufs::fs::fuse
