#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "store/file_ops.h"

namespace lrufs::store {

namespace {

tl::unexpected<Error> os_error(const char* call, const std::string& what = {}) {
  const int err = errno;
  const Code code = err == ENOSPC || err == EDQUOT  ? Code::kNoSpace
                    : err == EROFS                  ? Code::kReadOnly
                    : err == ENOENT                 ? Code::kNotFound
                    : err == EACCES || err == EPERM ? Code::kNotPermitted
                                                    : Code::kIo;
  return fail(code, std::string(call) + (what.empty() ? "" : " " + what) + ": " + std::strerror(err), err);
}

struct flock range_lock(short type, std::uint64_t start, std::uint64_t length) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(start);
  lock.l_len = static_cast<off_t>(length);
  return lock;
}
struct flock whole_file(short type) {
  return range_lock(type, 0, FileOps::kLockedBytes);
}
struct flock one_byte(short type, std::uint64_t byte) {
  return range_lock(type, FileOps::kLockedBytes + byte, 1);
}

class PosixFileOps final : public FileOps {
 public:
  Result<int> open(const std::string& path, bool create, bool read_only) override {
    int flags = O_CLOEXEC | O_NOFOLLOW | (read_only ? O_RDONLY : O_RDWR);
    if (create) flags |= O_CREAT;
    const int fd = ::open(path.c_str(), flags, 0600);
    if (fd < 0) return os_error("open", path);
    return fd;
  }

  void close(int fd) override { ::close(fd); }

  Result<FileIdentity> identify(int fd) override {
    struct stat st {};
    if (::fstat(fd, &st) != 0) return os_error("fstat");
    FileIdentity identity;
    identity.device = st.st_dev;
    identity.inode = st.st_ino;
    identity.size = static_cast<std::uint64_t>(st.st_size);
    identity.disk_bytes = static_cast<std::uint64_t>(st.st_blocks) * 512;
    identity.is_regular = S_ISREG(st.st_mode);
    return identity;
  }

  Status lock(int fd, bool exclusive) override {
    struct flock lock = whole_file(exclusive ? F_WRLCK : F_RDLCK);
    if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return {};
    if (errno == EAGAIN || errno == EACCES)
      return fail(Code::kBusy, "the store is in use by another process (mounted already?)", errno);
    return os_error("fcntl(F_OFD_SETLK)");
  }

  void unlock(int fd) override {
    struct flock lock = whole_file(F_UNLCK);
    (void)::fcntl(fd, F_OFD_SETLK, &lock);
  }

  Result<bool> try_lock_byte(int fd, std::uint64_t byte) override {
    struct flock lock = one_byte(F_WRLCK, byte);
    if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return true;
    if (errno == EAGAIN || errno == EACCES) return false;
    return os_error("fcntl(F_OFD_SETLK)");
  }

  void unlock_byte(int fd, std::uint64_t byte) override {
    struct flock lock = one_byte(F_UNLCK, byte);
    (void)::fcntl(fd, F_OFD_SETLK, &lock);
  }

  Result<bool> byte_is_locked(int fd, std::uint64_t byte) override {
    struct flock lock = one_byte(F_WRLCK, byte);
    if (::fcntl(fd, F_OFD_GETLK, &lock) != 0) return os_error("fcntl(F_OFD_GETLK)");
    return lock.l_type != F_UNLCK;
  }

  Result<std::byte*> map(int fd, std::uint64_t bytes, bool writable) override {
    const int flags = writable ? MAP_SHARED : MAP_PRIVATE | MAP_NORESERVE;
    void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (base == MAP_FAILED) return os_error("mmap");
    return static_cast<std::byte*>(base);
  }

  Result<std::byte*> map_shared(int fd, std::uint64_t offset, std::uint64_t bytes, bool writable) override {
    void* base = ::mmap(nullptr, bytes, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd,
                        static_cast<off_t>(offset));
    if (base == MAP_FAILED) return os_error("mmap");
    return static_cast<std::byte*>(base);
  }

  void unmap(std::byte* base, std::uint64_t bytes) override { ::munmap(base, bytes); }

  Status grow(int fd, std::uint64_t old_size, std::uint64_t new_size) override {
    for (;;) {
      if (::fallocate(fd, 0, static_cast<off_t>(old_size), static_cast<off_t>(new_size - old_size)) == 0)
        return {};
      if (errno == EINTR) continue;
      auto error = os_error("fallocate");
      // A partial allocation may stay behind the end of the file; its blocks are given back.
      if (::ftruncate(fd, static_cast<off_t>(old_size)) != 0) return error;
      return error;
    }
  }

  Status truncate(int fd, std::uint64_t size) override {
    if (::ftruncate(fd, static_cast<off_t>(size)) != 0) return os_error("ftruncate");
    return {};
  }

  Status punch(int fd, std::uint64_t offset, std::uint64_t length) override {
    if (::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                    static_cast<off_t>(length)) != 0)
      return os_error("fallocate(FALLOC_FL_PUNCH_HOLE)");
    return {};
  }

  Status fill(int fd, std::uint64_t offset, std::uint64_t length) override {
    while (::fallocate(fd, 0, static_cast<off_t>(offset), static_cast<off_t>(length)) != 0) {
      if (errno != EINTR) return os_error("fallocate");
    }
    return {};
  }

  Result<Range> next_hole(int fd, std::uint64_t offset) override {
    const off_t end = ::lseek(fd, 0, SEEK_END);
    if (end < 0) return os_error("lseek");
    const Range none{static_cast<std::uint64_t>(end), static_cast<std::uint64_t>(end)};
    if (offset >= none.end) return none;
    const off_t hole = ::lseek(fd, static_cast<off_t>(offset), SEEK_HOLE);
    if (hole < 0) return none;  // the file system does not know of holes
    const off_t data = ::lseek(fd, hole, SEEK_DATA);
    return Range{static_cast<std::uint64_t>(hole), data < 0 ? none.end : static_cast<std::uint64_t>(data)};
  }

  Status write(int fd, std::uint64_t offset, Bytes data) override {
    while (!data.empty()) {
      const ssize_t n = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
      if (n < 0) {
        if (errno == EINTR) continue;
        return os_error("pwrite");
      }
      data = data.subspan(static_cast<std::size_t>(n));
      offset += static_cast<std::uint64_t>(n);
    }
    return {};
  }

  Status read(int fd, std::uint64_t offset, MutableBytes out) override {
    while (!out.empty()) {
      const ssize_t n = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
      if (n < 0) {
        if (errno == EINTR) continue;
        return os_error("pread");
      }
      if (n == 0) return fail(Code::kIo, "pread: the file ends early");
      out = out.subspan(static_cast<std::size_t>(n));
      offset += static_cast<std::uint64_t>(n);
    }
    return {};
  }

  Status sync_all(int fd, std::byte* /*base*/, std::uint64_t /*bytes*/) override {
    // fdatasync(2) of the file covers its mapping, too: both share the page cache (mmap(2), msync(2)).
    if (::fdatasync(fd) != 0) return os_error("fdatasync");
    return {};
  }

  Status sync_range(int /*fd*/, std::byte* base, std::uint64_t offset, std::uint64_t length) override {
    if (::msync(base + offset, length, MS_SYNC) != 0) return os_error("msync");
    return {};
  }

  void start_write_back(int fd, std::uint64_t offset, std::uint64_t length) override {
    (void)::sync_file_range(fd, static_cast<off_t>(offset), static_cast<off_t>(length),
                            SYNC_FILE_RANGE_WRITE);
  }

  Status sync_parent(const std::string& path) override {
    const auto slash = path.find_last_of('/');
    const std::string parent = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    const int fd = ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return os_error("open", parent);
    const int result = ::fsync(fd);
    const int err = errno;
    ::close(fd);
    errno = err;
    if (result != 0) return os_error("fsync", parent);
    return {};
  }

  std::string boot_id() override {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string text;
    std::getline(file, text);
    std::erase(text, '-');
    text.resize(32, '0');
    return text;
  }
};

}  // namespace

std::shared_ptr<FileOps> posix_file_ops() { return std::make_shared<PosixFileOps>(); }

}  // namespace lrufs::store
