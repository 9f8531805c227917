// Tree over a mount: ordinary system calls, relative to descriptors of folders, so that no symbolic link
// leads out.
#include <dirent.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "cmd/key.h"
#include "cmd/new_file.h"
#include "cmd/os.h"
#include "cmd/tree.h"

namespace lrufs::cmd {

using store::Code;
using store::fail;
using store::Result;
using store::Status;

store::Error error_of(int error) {
  switch (error) {
    case ENOENT:
      return {Code::kNotFound, {}, error};
    case ENOTDIR:
    case ELOOP:
      return {Code::kNotDirectory, {}, error};
    case EISDIR:
      return {Code::kIsDirectory, {}, error};
    case ENOTEMPTY:
      return {Code::kNotEmpty, {}, error};
    case EEXIST:
      return {Code::kExists, {}, error};
    case ENOSPC:
      return {Code::kNoSpace, {}, error};
    case EFBIG:
      return {Code::kFileTooLarge, {}, error};
    case EROFS:
      return {Code::kReadOnly, {}, error};
    case ENODATA:
      return {Code::kNoAttribute, {}, error};
    case ESTALE:
      return {Code::kStale, {}, error};
    case EACCES:
    case EPERM:
      return {Code::kNotPermitted, errno_text(error), error};
    case EOPNOTSUPP:
      return {Code::kUnsupported, errno_text(error), error};
    case ENOTCONN:
    case ECONNABORTED:
      return {Code::kIo, "the daemon behind the mount is gone; detach it with lrufs umount", error};
    default:
      return {Code::kIo, errno_text(error), error};
  }
}

namespace {

tl::unexpected<store::Error> last_error() { return fail(error_of(errno)); }

store::Timestamp timestamp(const struct timespec& time) {
  return {time.tv_sec, static_cast<std::uint32_t>(time.tv_nsec)};
}

Attributes attributes_of(const struct stat& seen) {
  Attributes out;
  out.ino = seen.st_ino;
  out.mode = seen.st_mode;
  out.nlink = static_cast<std::uint32_t>(seen.st_nlink);
  out.uid = seen.st_uid;
  out.gid = seen.st_gid;
  out.rdev = seen.st_rdev;
  out.size = static_cast<std::uint64_t>(seen.st_size);
  out.stored = static_cast<std::uint64_t>(seen.st_blocks) * 512;
  out.atime = timestamp(seen.st_atim);
  out.mtime = timestamp(seen.st_mtim);
  out.ctime = timestamp(seen.st_ctim);
  return out;
}

class MountTree final : public Tree {
 public:
  explicit MountTree(Descriptor root) : root_(std::move(root)) {}

  Result<Attributes> attributes(const std::string& key) override {
    LRUFS_TRY_ASSIGN(const Place place, find(key));
    struct stat seen {};
    if (::fstatat(place.dir.get(), place.name.c_str(), &seen, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0)
      return last_error();
    return attributes_of(seen);
  }

  Result<Listing> list(const std::string& key) override {
    LRUFS_TRY_ASSIGN(const Place place, find(key));
    const int fd =
        ::openat(place.dir.get(), place.name_or_dot(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return last_error();
    struct Close {
      void operator()(DIR* dir) const { ::closedir(dir); }
    };
    const std::unique_ptr<DIR, Close> dir(::fdopendir(fd));
    Listing listing;
    for (;;) {
      errno = 0;
      const dirent* entry = ::readdir(dir.get());  // NOLINT(concurrency-mt-unsafe): one thread
      if (entry == nullptr && errno != 0) return last_error();
      if (entry == nullptr) break;
      const std::string name = static_cast<const char*>(entry->d_name);
      if (name == "." || name == "..") continue;
      struct stat seen {};
      if (::fstatat(fd, name.c_str(), &seen, AT_SYMLINK_NOFOLLOW) == 0) {
        listing.emplace_back(name, attributes_of(seen));
      } else if (errno != ENOENT) {  // evicted or removed meanwhile
        return last_error();
      }
    }
    std::ranges::sort(listing, {}, [](const auto& entry) -> const std::string& { return entry.first; });
    return listing;
  }

  Result<std::string> link_target(const std::string& key) override {
    LRUFS_TRY_ASSIGN(const Place place, find(key));
    std::string target(PATH_MAX, '\0');
    const ssize_t length = ::readlinkat(place.dir.get(), place.name.c_str(), target.data(), target.size());
    if (length < 0) return last_error();
    target.resize(static_cast<std::size_t>(length));
    return target;
  }

  Status read(const std::string& key, const Sink& sink) override {
    LRUFS_TRY_ASSIGN(const Place place, find(key));
    const Descriptor file(
        ::openat(place.dir.get(), place.name_or_dot(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (!file) return last_error();
    ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
    DescriptorSource source(file.get(), shown_key(key));
    for (;;) {
      LRUFS_TRY_ASSIGN(const Piece piece, source.next());
      if (piece.is_end()) return {};
      LRUFS_TRY(sink(piece));
    }
  }

  Status write(const std::string& key, const Source& source, const NewObject& object) override {
    // The parents are made at the end: folders made now would be empty, and could be evicted while this is
    // written. In the nearest folder there is, for what a new file gets from it (group, ACLs).
    LRUFS_TRY_ASSIGN(const Descriptor nearest, walk(parts_of_key(parent_key(key)), Missing::kStop));
    LRUFS_TRY_ASSIGN(NewFile file, NewFile::create(nearest.get()));
    for (const auto& [name, value] : object.xattrs) {
      if (::fsetxattr(file.fd(), name.c_str(), value.data(), value.size(), 0) != 0) return last_error();
    }
    DescriptorSink sink(file.fd(), shown_key(key), true);
    for (;;) {
      LRUFS_TRY_ASSIGN(const Piece piece, source());
      if (piece.is_end()) break;
      if (Status put = sink.put(piece); !put) return fail(error_of(put.error().os_errno));
    }
    LRUFS_TRY(sink.finish());
    constexpr int kTries = 8;  // a folder just made may be evicted before the file is in it
    for (int left = kTries;; --left) {
      LRUFS_TRY_ASSIGN(const Descriptor parent, walk(parts_of_key(parent_key(key)), Missing::kMake));
      Status published = file.publish(parent.get(), name_in_key(key));
      if (published || published.error().code != Code::kNotFound || left == 1) return published;
    }
  }

  Status remove(const std::string& key, bool folder) override {
    LRUFS_TRY_ASSIGN(const Place place, find(key));
    if (::unlinkat(place.dir.get(), place.name.c_str(), folder ? AT_REMOVEDIR : 0) != 0) return last_error();
    return {};
  }

  // A lookup that the kernel does not answer from its cache of names, and nothing else: the new name of a
  // rename is always asked for, and a rename of a name to itself does nothing (rename(2)).
  Status touch(const std::string& key) override {
    LRUFS_TRY_ASSIGN(const Place place, find(key));
    if (place.name.empty()) return {};  // the root, which never goes
    if (::renameat(place.dir.get(), place.name.c_str(), place.dir.get(), place.name.c_str()) != 0)
      return last_error();
    return {};
  }

  Result<std::vector<std::string>> xattr_names(const std::string& key) override {
    LRUFS_TRY_ASSIGN(const Place place, find(key));
    std::string text(XATTR_LIST_MAX, '\0');
    const ssize_t length = ::llistxattr(place.path().c_str(), text.data(), text.size());
    if (length < 0 && errno == EOPNOTSUPP) return std::vector<std::string>();  // -o noxattr
    if (length < 0) return last_error();
    std::vector<std::string> names;
    for (std::size_t at = 0; at < static_cast<std::size_t>(length);) {
      names.emplace_back(text.c_str() + at);
      at += names.back().size() + 1;
    }
    std::ranges::sort(names);
    return names;
  }

  Result<std::string> xattr(const std::string& key, const std::string& name) override {
    LRUFS_TRY_ASSIGN(const Place place, find(key));
    std::string value(XATTR_SIZE_MAX, '\0');
    const ssize_t length = ::lgetxattr(place.path().c_str(), name.c_str(), value.data(), value.size());
    if (length < 0) return last_error();
    value.resize(static_cast<std::size_t>(length));
    return value;
  }

  Status set_xattr(const std::string& key, const std::string& name, std::string_view value) override {
    LRUFS_TRY_ASSIGN(const Place place, find(key));
    if (::lsetxattr(place.path().c_str(), name.c_str(), value.data(), value.size(), 0) != 0)
      return last_error();
    return {};
  }

  Status remove_xattr(const std::string& key, const std::string& name) override {
    LRUFS_TRY_ASSIGN(const Place place, find(key));
    if (::lremovexattr(place.path().c_str(), name.c_str()) != 0) return last_error();
    return {};
  }

  Status close() override { return {}; }

 private:
  // An object: its folder, and its name there; of the root itself, and "".
  struct Place {
    Descriptor dir;
    std::string name;
    [[nodiscard]] const char* name_or_dot() const { return name.empty() ? "." : name.c_str(); }
    // For calls that take no descriptor. With a "." so that a magic link of /proc is followed for the root,
    // too.
    [[nodiscard]] std::string path() const {
      return "/proc/self/fd/" + std::to_string(dir.get()) + "/" + (name.empty() ? "." : name);
    }
  };
  enum class Missing : std::uint8_t { kFail, kStop /* at the last one there is */, kMake };

  Result<Descriptor> walk(const std::vector<std::string>& parts, Missing missing) {
    constexpr int kFlags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    Descriptor at(::openat(root_.get(), ".", kFlags));
    if (!at) return last_error();
    for (const std::string& part : parts) {
      Descriptor next(::openat(at.get(), part.c_str(), kFlags));
      if (!next && errno == ENOENT && missing == Missing::kStop) break;
      if (!next && errno == ENOENT && missing == Missing::kMake) {
        if (::mkdirat(at.get(), part.c_str(), 0777) != 0 && errno != EEXIST) return last_error();
        next = Descriptor(::openat(at.get(), part.c_str(), kFlags));
      }
      if (!next) return last_error();
      at = std::move(next);
    }
    return at;
  }

  Result<Place> find(const std::string& key) {
    LRUFS_TRY_ASSIGN(Descriptor dir, walk(parts_of_key(parent_key(key)), Missing::kFail));
    return Place{std::move(dir), name_in_key(key)};
  }

  Descriptor root_;
};

}  // namespace

Result<std::unique_ptr<Tree>> tree_of_mount(const std::string& mount_point) {
  Descriptor root(::open(mount_point.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  struct statfs seen {};
  // Neither O_PATH nor stat(2) need ask anybody: whether somebody answers is seen here.
  if (!root || ::fstatfs(root.get(), &seen) != 0) {
    const store::Error error = error_of(errno);
    if (error.os_errno == ENOTCONN || error.os_errno == ECONNABORTED) {
      return fail(Code::kStale,
                  "the daemon behind the mount " + shown(mount_point) +
                      " is gone; detach it with: lrufs umount " + shown(mount_point),
                  error.os_errno);
    }
    return fail(error.code,
                "cannot look into the mount " + shown(mount_point) + ": " + errno_text(error.os_errno),
                error.os_errno);
  }
  return std::unique_ptr<Tree>(std::make_unique<MountTree>(std::move(root)));
}

}  // namespace lrufs::cmd
