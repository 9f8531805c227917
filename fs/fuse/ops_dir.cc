// Directories. A listing has no state but its offset, so OPENDIR is answered with ENOSYS once, and not sent
// again.
#include <linux/fuse.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "fs/fuse/attributes.h"
#include "fs/fuse/control_requests.h"
#include "fs/fuse/ops_table.h"
#include "fs/fuse/request.h"

namespace lrufs::fs::fuse {
namespace {

using store::Ino;
using store::raw;

void on_opendir(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* file) {
  handle(req, Op::kOpendir, [&](Request& request) {
    if (request.context().connection.zero_message_opendir) {
      request.fail(ENOSYS);
      return;
    }
    file->keep_cache = 1;
    file->cache_readdir = 1;
    request.opened(*file);
  });
}

void on_releasedir(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* /*file*/) {
  handle(req, Op::kReleasedir, [](Request& request) { request.done(); });
}

void on_fsyncdir(fuse_req_t req, fuse_ino_t ino, int /*datasync*/, fuse_file_info* /*file*/) {
  handle(req, Op::kFsyncdir, [&](Request& request) {
    if (is_control(ino)) {
      request.done();
    } else {
      request.done(request.volume().sync(Ino{ino}));
    }
  });
}

struct stat bare_attributes(const ListEntry& entry) {
  struct stat attr {};
  attr.st_ino = raw(entry.ino);
  attr.st_mode = entry.type;
  return attr;
}

// libfuse takes names with a zero at the end; ours have none.
class CString {
 public:
  explicit CString(std::string_view text) {
    const std::size_t length = std::min(text.size(), text_.size() - 1);
    std::memcpy(text_.data(), text.data(), length);
    text_[length] = '\0';
  }
  [[nodiscard]] const char* get() const { return text_.data(); }

 private:
  std::array<char, store::kMaxName + 1> text_;
};

// The buffer of an answer, at most as long as the kernel asked for.
class Listing {
 public:
  Listing(Request& request, std::size_t size) : raw_(request.raw()), buffer_(size) {}

  // False: no room, the entry is not in.
  bool add(const ListEntry& entry) {
    const struct stat attr = bare_attributes(entry);
    return advance(fuse_add_direntry(raw_, next(), room(), CString(entry.name).get(), &attr,
                                     static_cast<off_t>(entry.next_offset)));
  }
  bool add_plus(const ListEntry& entry, std::chrono::milliseconds recency) {
    fuse_entry_param param{};
    if (entry.inode != nullptr) {
      param = to_entry(*entry.inode, recency);
    } else {
      // "." and "..", and a damaged inode: only the name, no lookup, which ino 0 says.
      param.attr = bare_attributes(entry);
    }
    const std::size_t at = used_;
    if (!advance(fuse_add_direntry_plus(raw_, next(), room(), CString(entry.name).get(), &param,
                                        static_cast<off_t>(entry.next_offset)))) {
      return false;
    }
    if (entry.inode != nullptr) lookups_.push_back({.ino = entry.ino, .seen = entry.seen, .at = at});
    return true;
  }

  // Counts a lookup for each entry with attributes. Of those that went away since they were listed only the
  // name stays.
  void count_lookups(Volume& volume) {
    for (Lookup& lookup : lookups_) {
      lookup.counted = volume.count_lookup(lookup.ino, lookup.seen);
      if (lookup.counted) continue;
      const std::uint64_t none = 0;
      static_assert(sizeof none == sizeof fuse_entry_out::nodeid);
      std::memcpy(buffer_.data() + lookup.at + offsetof(fuse_direntplus, entry_out.nodeid), &none,
                  sizeof none);
    }
  }
  void take_lookups_back(Volume& volume) {
    for (const Lookup& lookup : lookups_) {
      if (lookup.counted) volume.forget(lookup.ino, 1);
    }
  }

  [[nodiscard]] std::span<const char> bytes() const { return {buffer_.data(), used_}; }

 private:
  struct Lookup {
    Ino ino;
    std::uint64_t seen;
    std::size_t at;  // of the entry in the buffer
    bool counted = false;
  };
  [[nodiscard]] char* next() { return buffer_.data() + used_; }
  [[nodiscard]] std::size_t room() const { return buffer_.size() - used_; }
  // libfuse's functions return the size that they need, and write only if there is room for it.
  bool advance(std::size_t needed) {
    if (needed > room()) return false;
    used_ += needed;
    return true;
  }

  fuse_req_t raw_;
  std::vector<char> buffer_;
  std::size_t used_ = 0;
  std::vector<Lookup> lookups_;
};

// An error in the middle of a listing is told only if nothing was listed before it; the next request finds it
// again.
bool failed(Request& request, const Status& status, const Listing& listing) {
  if (status || !listing.bytes().empty()) return false;
  request.fail(status.error());
  return true;
}

void on_readdir(fuse_req_t req, fuse_ino_t ino, std::size_t size, off_t offset, fuse_file_info* /*file*/) {
  handle(req, Op::kReaddir, [&](Request& request) {
    if (is_control(ino)) {
      control_readdir(request, ino, size, offset, /*plus=*/false);
      return;
    }
    Listing listing(request, size);
    const Status status =
        request.volume().list(Ino{ino}, static_cast<std::uint64_t>(offset), /*attributes=*/false,
                              [&](const ListEntry& entry) { return listing.add(entry); });
    if (!failed(request, status, listing)) request.bytes(listing.bytes());
  });
}

void on_readdirplus(fuse_req_t req, fuse_ino_t ino, std::size_t size, off_t offset,
                    fuse_file_info* /*file*/) {
  handle(req, Op::kReaddirplus, [&](Request& request) {
    if (is_control(ino)) {
      control_readdir(request, ino, size, offset, /*plus=*/true);
      return;
    }
    Volume& volume = request.volume();
    const auto recency = request.context().options.recency;
    Listing listing(request, size);
    const Status status =
        volume.list(Ino{ino}, static_cast<std::uint64_t>(offset), /*attributes=*/true,
                    [&](const ListEntry& entry) { return listing.add_plus(entry, recency); });
    if (failed(request, status, listing)) return;
    // After list() has returned: counting may have to wait for a running change, and a listing holds a
    // snapshot.
    listing.count_lookups(volume);
    if (!request.bytes(listing.bytes())) listing.take_lookups_back(volume);
  });
}

}  // namespace

void add_dir_operations(fuse_lowlevel_ops& table) {
  table.opendir = on_opendir;
  table.releasedir = on_releasedir;
  table.fsyncdir = on_fsyncdir;
  table.readdir = on_readdir;
  table.readdirplus = on_readdirplus;
}

}  // namespace lrufs::fs::fuse
