#include "cmd/tar_dump.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cmd/os.h"
#include "fs/keep_xattrs.h"
#include "store/salvage.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Ino;
using store::Inode;
using store::Result;
using store::SalvagedName;
using store::SalvagedObject;
using store::Status;

constexpr std::size_t kPiece = std::size_t{1} << 20U;

struct Output {
  int fd;
  const DumpOptions* options;
  int error = 0;  // errno of the last write; EINTR: told to stop
};

la_ssize_t write_some(archive* /*to*/, void* data, const void* bytes, std::size_t length) {
  auto* out = static_cast<Output*>(data);
  for (;;) {
    if (out->options->stop && out->options->stop()) {
      out->error = EINTR;
      return -1;
    }
    const ssize_t written = ::write(out->fd, bytes, length);
    if (written >= 0) return written;
    if (errno == EINTR) continue;
    out->error = errno;
    return -1;
  }
}

struct Free {
  void operator()(archive* a) const { archive_write_free(a); }
  void operator()(archive_entry* e) const { archive_entry_free(e); }
};

class Dumper {
 public:
  Dumper(const store::ReadView& view, int fd, const DumpOptions& options)
      : view_(view), options_(options), out_{fd, &options}, archive_(archive_write_new()), buffer_(kPiece) {}

  Result<DumpReport> run() {
    archive* a = archive_.get();
    if (archive_write_set_format_pax(a) != ARCHIVE_OK ||
        archive_write_set_format_option(a, "pax", "xattrheader", "SCHILY") != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(a, 64 * 1024) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(a, 10 * 1024) != ARCHIVE_OK ||
        archive_write_open(a, &out_, nullptr, write_some, nullptr) != ARCHIVE_OK)
      return broken();
    store::Salvage all = store::salvage(view_);
    if (!all.dropped.empty() || all.found != 0)
      return fail(Code::kCorrupt, "the store is damaged" +
                                      (all.dropped.empty() ? "" : ", at " + shown(all.dropped.front())) +
                                      ": keep what is whole with lrufs check --repair");
    for (const SalvagedObject& object : all.objects) by_ino_[raw(object.inode.ino)] = &object;
    for (const SalvagedObject& object : all.objects) {
      if (options_.is_gone && options_.is_gone(object.inode)) continue;
      if (object.inode.is_directory()) {
        LRUFS_TRY(directory(object));
      } else {
        LRUFS_TRY(file(object));
      }
    }
    if (archive_write_close(a) != ARCHIVE_OK) return broken();
    return report_;
  }

 private:
  tl::unexpected<store::Error> broken() const {
    if (out_.error == EINTR) return fail(Code::kIo, "interrupted", EINTR);
    if (out_.error != 0)
      return fail(Code::kIo, "the archive cannot be written: " + errno_text(out_.error), out_.error);
    const char* text = archive_error_string(archive_.get());
    return fail(Code::kIo, std::string("the archive cannot be written: ") + (text != nullptr ? text : "?"));
  }

  [[nodiscard]] std::string path_of(const SalvagedName& name) const {
    const std::string& dir = paths_.at(raw(name.dir));
    return dir.empty() ? name.name : dir + "/" + name.name;
  }

  Status directory(const SalvagedObject& object) {
    std::vector<const SalvagedObject*> missing;  // it, and what it lies in, from below
    for (const SalvagedObject* at = &object; !paths_.contains(raw(at->inode.ino));) {
      missing.push_back(at);
      if (at->inode.ino == store::kRootIno) break;
      at = by_ino_.at(raw(at->names.front().dir));
    }
    for (auto at = missing.rbegin(); at != missing.rend(); ++at) {
      const Inode& inode = (*at)->inode;
      std::string path = inode.ino == store::kRootIno ? "" : path_of((*at)->names.front());
      LRUFS_TRY(header(inode, path.empty() ? "./" : path + "/", nullptr, {}));
      paths_[raw(inode.ino)] = std::move(path);
      ++report_.directories;
    }
    return {};
  }

  Status file(const SalvagedObject& object) {
    const Inode& inode = object.inode;
    for (const SalvagedName& name : object.names) LRUFS_TRY(directory(*by_ino_.at(raw(name.dir))));
    const std::string path = path_of(object.names.front());
    if ((inode.mode & 0170000U) == 0140000U) {
      ++report_.left_out;
      if (options_.on_note) options_.on_note(shown(path) + " is a socket, which tar cannot hold: left out");
      return {};
    }
    LRUFS_TRY_ASSIGN(const std::vector<Region> regions, data_of(inode));
    LRUFS_TRY(header(inode, path, nullptr, regions));
    if (inode.is_regular()) LRUFS_TRY(content(inode, path, regions));
    for (auto name = object.names.begin() + 1; name != object.names.end(); ++name)
      LRUFS_TRY(header(inode, path_of(*name), &path, {}));
    ++report_.files;
    return {};
  }

  struct Region {  // of data; the rest are holes
    std::uint64_t offset;
    std::uint64_t length;
  };
  Result<std::vector<Region>> data_of(const Inode& inode) const {
    std::vector<Region> regions;
    if (!inode.is_regular()) return regions;
    for (std::uint64_t at = 0; at < inode.size;) {
      const auto data = view_.next_data(inode, at);
      if (!data && data.error().code == Code::kNotFound) break;
      LRUFS_TRY(data);
      LRUFS_TRY_ASSIGN(const std::uint64_t hole, view_.next_hole(inode, *data));
      const std::uint64_t end = std::min(hole, inode.size);
      regions.push_back({*data, end - *data});
      at = end;
    }
    return regions;
  }

  // `same_as`: a further name of the object at that path.
  Status header(const Inode& inode, const std::string& path, const std::string* same_as,
                const std::vector<Region>& regions) {
    const std::unique_ptr<archive_entry, Free> entry(archive_entry_new());
    archive_entry* e = entry.get();
    archive_entry_set_pathname(e, path.c_str());
    archive_entry_set_mode(e, inode.mode);
    archive_entry_set_uid(e, inode.uid);
    archive_entry_set_gid(e, inode.gid);
    archive_entry_set_mtime(e, inode.mtime.sec, static_cast<long>(inode.mtime.nsec));
    archive_entry_set_atime(e, inode.atime.sec, static_cast<long>(inode.atime.nsec));
    archive_entry_set_ctime(e, inode.ctime.sec, static_cast<long>(inode.ctime.nsec));
    archive_entry_set_size(e, 0);
    if (same_as != nullptr) {
      archive_entry_set_hardlink(e, same_as->c_str());
    } else {
      LRUFS_TRY(describe(inode, e, regions));
    }
    const int written = archive_write_header(archive_.get(), e);
    // A warning is about a name that is not in UTF-8: it is written as it is.
    return written == ARCHIVE_OK || written == ARCHIVE_WARN ? Status{} : Status(broken());
  }

  Status describe(const Inode& inode, archive_entry* e, const std::vector<Region>& regions) const {
    archive_entry_set_rdev(e, inode.rdev);
    if (inode.is_symlink()) {
      std::string target(inode.size, '\0');
      LRUFS_TRY(view_.read(inode, 0, {reinterpret_cast<std::byte*>(target.data()), target.size()}));
      archive_entry_set_symlink(e, target.c_str());
    } else if (inode.is_regular()) {
      archive_entry_set_size(e, static_cast<la_int64_t>(inode.size));
      const bool is_sparse = inode.size != 0 && (regions.size() != 1 || regions.front().length != inode.size);
      for (const Region& region : regions) {
        if (is_sparse)
          archive_entry_sparse_add_entry(e, static_cast<la_int64_t>(region.offset),
                                         static_cast<la_int64_t>(region.length));
      }
      if (is_sparse && regions.empty()) archive_entry_sparse_add_entry(e, 0, 0);
    }
    LRUFS_TRY_ASSIGN(const auto names, view_.xattr_names(inode.ino));
    for (const std::string& name : names) {
      LRUFS_TRY_ASSIGN(const std::string value, view_.xattr(inode.ino, name));
      archive_entry_xattr_add_entry(e, name.c_str(), value.data(), value.size());
    }
    std::vector<std::string> kept;  // pins and times to live
    fs::add_keep_xattr_names(inode, kept);
    for (const std::string& name : kept) {
      LRUFS_TRY_ASSIGN(const std::string value, fs::keep_xattr(inode, name, 0));
      archive_entry_xattr_add_entry(e, name.c_str(), value.data(), value.size());
    }
    return {};
  }

  Status content(const Inode& inode, const std::string& path, const std::vector<Region>& regions) {
    std::uint64_t at = 0;
    for (const Region& region : regions) {
      LRUFS_TRY(zeros(region.offset - at));
      for (at = region.offset; at < region.offset + region.length;) {
        const std::uint64_t length = std::min<std::uint64_t>(kPiece, region.offset + region.length - at);
        const auto read = view_.read(inode, at, store::MutableBytes(buffer_).first(length));
        if (!read)
          return fail(read.error().code, shown(path) + ": " + store::describe(read.error()),
                      read.error().os_errno);
        LRUFS_TRY(data(buffer_.data(), length));
        at += length;
        report_.content_bytes += length;
        if (options_.on_progress) options_.on_progress(report_.content_bytes);
      }
    }
    return zeros(inode.size - at);
  }

  // Of a hole the format writes nothing, but wants to be given them.
  Status zeros(std::uint64_t length) {
    static const std::vector<std::byte> nothing(kPiece);
    while (length > 0) {
      const std::uint64_t part = std::min<std::uint64_t>(kPiece, length);
      LRUFS_TRY(data(nothing.data(), part));
      length -= part;
      if (options_.stop && options_.stop()) return fail(Code::kIo, "interrupted", EINTR);
    }
    return {};
  }

  Status data(const std::byte* bytes, std::uint64_t length) {
    while (length > 0) {
      const la_ssize_t written = archive_write_data(archive_.get(), bytes, length);
      if (written <= 0) return broken();
      bytes += written;
      length -= static_cast<std::uint64_t>(written);
    }
    return {};
  }

  const store::ReadView& view_;
  const DumpOptions& options_;
  Output out_;
  std::unique_ptr<archive, Free> archive_;
  std::vector<std::byte> buffer_;
  std::unordered_map<std::uint64_t, const SalvagedObject*> by_ino_;
  std::unordered_map<std::uint64_t, std::string> paths_;  // of the directories that were written
  DumpReport report_;
};

}  // namespace

Result<DumpReport> dump_tar(const store::ReadView& view, int fd, const DumpOptions& options) {
  return Dumper(view, fd, options).run();
}

}  // namespace lrufs::cmd
