#include "fs/fuse/control_requests.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "fs/errno_map.h"
#include "fs/fuse/attributes.h"
#include "fs/fuse/context.h"
#include "fs/fuse/control.h"

namespace lrufs::fs::fuse {
namespace {

struct stat attributes_of(const Context& context, std::uint64_t ino, std::size_t size) {
  struct stat out {};
  const auto file = control_file(ino);
  // The same number for each lookup of a file, whatever the kernel calls it.
  out.st_ino = file ? control_inode(0, *file) : kControlFolder;
  out.st_mode = file ? S_IFREG | kind_of(*file).mode : S_IFDIR | 0555;
  // No names: the kernel lets go of the inode, and tells, as soon as the last user does.
  out.st_nlink = file ? 0 : 2;
  out.st_uid = ::geteuid();
  out.st_gid = ::getegid();
  out.st_size = static_cast<off_t>(size);
  out.st_blksize = kPreferredIo;
  out.st_blocks = static_cast<blkcnt_t>((size + 511) / 512);
  const auto since = context.started.time_since_epoch();
  out.st_mtim.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(since).count();
  if (file) ::clock_gettime(CLOCK_REALTIME_COARSE, &out.st_mtim);
  out.st_atim = out.st_ctim = out.st_mtim;
  return out;
}

// The size of a file that was looked up; nullopt: it was replaced.
std::optional<std::size_t> size_of(Request& request, std::uint64_t ino) {
  const auto file = control_file(ino);
  if (!file) return 0;
  const Control::Content content = request.context().control->content(ino);
  if (content) return content->size();
  // Of what is only written nothing is kept.
  if ((kind_of(*file).mode & 0444U) == 0) return 0;
  return std::nullopt;
}

bool is_off(Request& request) {
  if (request.context().control != nullptr) return false;
  request.fail(ESTALE);
  return true;
}

}  // namespace

void control_lookup(Request& request, fuse_ino_t parent, std::string_view name) {
  if (is_off(request)) return;
  fuse_entry_param entry{};
  if (parent == FUSE_ROOT_ID || (parent == kControlFolder && name == ".")) {
    entry.ino = kControlFolder;
    entry.attr = attributes_of(request.context(), kControlFolder, 0);
    entry.attr_timeout = entry.entry_timeout = kAttributeSeconds;
    request.answer(entry);
    return;
  }
  const auto* const found = std::find_if(kControlFiles.begin(), kControlFiles.end(),
                                         [&](const ControlFileKind& kind) { return kind.name == name; });
  if (parent != kControlFolder || found == kControlFiles.end()) {
    // "." of a file is what a handle (name_to_handle_at(2)) asks for.
    request.fail(parent == kControlFolder ? ENOENT : ESTALE);
    return;
  }
  const Control::Found now = request.context().control->look_up(found->file);
  entry.ino = now.ino;
  entry.attr = attributes_of(request.context(), now.ino, now.content->size());
  entry.attr_timeout = kAttributeSeconds;
  entry.entry_timeout = 0;
  if (!request.answer(entry)) control_forget(request.context(), now.ino);
}

void control_getattr(Request& request, fuse_ino_t ino) {
  if (is_off(request)) return;
  if (const auto size = size_of(request, ino)) {
    request.answer(attributes_of(request.context(), ino, *size), kAttributeSeconds);
  } else {
    request.fail(ESTALE);
  }
}

void control_setattr(Request& request, fuse_ino_t ino, const struct stat& attr, int valid) {
  if (is_off(request)) return;
  const auto file = control_file(ino);
  constexpr int kOwnership = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID;
  // Truncation, as opening with O_TRUNC does; times come along or not.
  if (!file || (valid & FUSE_SET_ATTR_SIZE) == 0 || (valid & kOwnership) != 0) {
    request.fail(EPERM);
  } else if (!takes_writes(*file)) {
    request.fail(EACCES);
  } else if (attr.st_size != 0) {
    request.fail(EINVAL);
  } else {
    request.answer(attributes_of(request.context(), ino, 0), kAttributeSeconds);
  }
}

void control_read(Request& request, fuse_ino_t ino, std::size_t size, off_t offset) {
  if (is_off(request)) return;
  const auto known = size_of(request, ino);
  const Control::Content content = request.context().control->content(ino);
  if (!known) {
    request.fail(ESTALE);
  } else if (!content || offset < 0 || static_cast<std::size_t>(offset) >= content->size()) {
    request.bytes({});
  } else {
    const std::string_view rest = std::string_view(*content).substr(static_cast<std::size_t>(offset), size);
    request.bytes(rest);
  }
}

void control_write(Request& request, fuse_ino_t ino, std::string_view data) {
  if (is_off(request)) return;
  const auto file = control_file(ino);
  if (!file || !takes_writes(*file)) {
    request.fail(EACCES);
    return;
  }
  const Status done =
      request.context().control->write(*file, data, [&] { return fuse_req_interrupted(request.raw()) != 0; });
  if (done) {
    request.written(data.size());
  } else {
    // The log was told.
    request.fail(done.error().os_errno == EINTR ? EINTR : to_errno(done.error()));
  }
}

void control_seek(Request& request, fuse_ino_t ino, off_t offset, int whence) {
  if (is_off(request)) return;
  const auto size = size_of(request, ino);
  if (!size || offset < 0 || static_cast<std::size_t>(offset) >= *size) {
    request.fail(size ? ENXIO : ESTALE);
  } else {
    request.offset(whence == SEEK_DATA ? static_cast<std::uint64_t>(offset) : *size);
  }
}

void control_readdir(Request& request, fuse_ino_t ino, std::size_t size, off_t offset, bool plus) {
  if (is_off(request)) return;
  if (ino != kControlFolder) {
    request.fail(ENOTDIR);
    return;
  }
  std::vector<char> buffer(size);
  std::size_t used = 0;
  // Without attributes: a lookup makes the content.
  const auto add = [&](off_t next, const char* name, std::uint64_t number, mode_t type) {
    fuse_entry_param param{};
    param.attr.st_ino = number;
    param.attr.st_mode = type;
    char* const at = buffer.data() + used;
    const std::size_t needed =
        plus ? fuse_add_direntry_plus(request.raw(), at, size - used, name, &param, next)
             : fuse_add_direntry(request.raw(), at, size - used, name, &param.attr, next);
    if (needed > size - used) return false;
    used += needed;
    return true;
  };
  constexpr off_t kDots = 2;
  for (off_t at = std::max<off_t>(offset, 0); at < static_cast<off_t>(kControlFiles.size()) + kDots; ++at) {
    bool fits = false;
    if (at < kDots) {
      fits = add(at + 1, at == 0 ? "." : "..", at == 0 ? kControlFolder : FUSE_ROOT_ID, S_IFDIR);
    } else {
      const ControlFileKind& kind = kControlFiles.at(static_cast<std::size_t>(at - kDots));
      fits = add(at + 1, std::string(kind.name).c_str(), control_inode(0, kind.file), S_IFREG);
    }
    if (!fits) break;
  }
  request.bytes({buffer.data(), used});
}

void control_forget(Context& context, fuse_ino_t ino) {
  if (context.control != nullptr) context.control->forget(ino);
}

bool control_refuses(Request& request, fuse_ino_t parent, const char* name) {
  if (is_control(parent)) {
    request.fail(EPERM);
    return true;
  }
  if (!names_control(request, parent, name)) return false;
  request.fail(EBUSY);
  return true;
}

bool control_refuses_rename(Request& request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
                            const char* new_name) {
  return control_refuses(request, parent, name) || control_refuses(request, new_parent, new_name);
}

}  // namespace lrufs::fs::fuse
