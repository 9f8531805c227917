#include "cmd/tar_extract.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "cmd/os.h"
#include "cmd/tar_input.h"
#include "fs/keep_xattrs.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Result;
using store::Status;

struct FreeWriter {
  void operator()(archive* a) const { archive_write_free(a); }
};

class Extractor {
 public:
  Extractor(int fd, const LoadOptions& options)
      : options_(options), in_(fd, options), disk_(archive_write_disk_new()) {
    int flags = ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_ACL | ARCHIVE_EXTRACT_XATTR |
                ARCHIVE_EXTRACT_SECURE_SYMLINKS | ARCHIVE_EXTRACT_SECURE_NODOTDOT |
                ARCHIVE_EXTRACT_SAFE_WRITES;
    if (::geteuid() == 0) flags |= ARCHIVE_EXTRACT_OWNER;
    archive_write_disk_set_options(disk_.get(), flags);
  }

  Result<LoadReport> run() {
    LRUFS_TRY(in_.open());
    for (;;) {
      LRUFS_TRY_ASSIGN(archive_entry* const entry, in_.next());
      if (entry == nullptr) break;
      const char* const path = archive_entry_pathname(entry);
      const std::string name = path != nullptr ? path : "";
      if (const Status done = member(entry, name); !done) {
        if (done.error().os_errno == EINTR || done.error().os_errno == ENOTCONN) return fail(done.error());
        ++report_.refused;
        note(shown(name) + " is left out: " + store::describe(done.error()));
      }
      if (options_.stop && options_.stop()) return fail(Code::kIo, "interrupted", EINTR);
    }
    // The times of folders.
    if (archive_write_close(disk_.get()) < ARCHIVE_WARN) return failed();
    return report_;
  }

 private:
  void note(const std::string& text) const {
    if (options_.on_note) options_.on_note(text);
  }
  tl::unexpected<store::Error> failed() const {
    const char* const text = archive_error_string(disk_.get());
    const int error = archive_errno(disk_.get());
    return fail(error == ENOSPC ? Code::kNoSpace : Code::kIo, text != nullptr ? text : errno_text(error),
                error);
  }

  Result<std::string> clean(const std::string& name) {
    if (name.starts_with('/') && !std::exchange(told_absolute_, true))
      note("a leading \"/\" is cut off names");
    LRUFS_TRY_ASSIGN(const std::vector<std::string> parts, parts_of_member(name));
    std::string text;
    for (const std::string& part : parts) text += (text.empty() ? "" : "/") + part;
    return text.empty() ? "." : text;
  }

  Status member(archive_entry* entry, const std::string& name) {
    LRUFS_TRY_ASSIGN(const std::string path, clean(name));
    archive_entry_copy_pathname(entry, path.c_str());
    const char* const target = archive_entry_hardlink(entry);
    if (target != nullptr) {
      LRUFS_TRY_ASSIGN(const std::string from, clean(target));
      archive_entry_copy_hardlink(entry, from.c_str());
    }
    take_xattrs(entry);
    const auto type = archive_entry_filetype(entry);
    const bool is_file = target == nullptr && type == AE_IFREG;
    if (archive_write_header(disk_.get(), entry) < ARCHIVE_WARN) return failed();
    if (is_file) LRUFS_TRY(content());
    const int finished = archive_write_finish_entry(disk_.get());
    if (finished < ARCHIVE_WARN) return failed();
    if (finished == ARCHIVE_WARN) note(shown(name) + ": " + store::describe(failed().value()));
    if (target != nullptr)
      ++report_.links;
    else if (type == AE_IFDIR)
      ++report_.directories;
    else
      ++report_.files;
    return {};
  }

  // Under their own names; those of ours but what can be set are nothing to keep.
  static void take_xattrs(archive_entry* entry) {
    struct Value {
      std::string name;
      std::string bytes;
    };
    std::vector<Value> kept;
    archive_entry_xattr_reset(entry);
    const char* name = nullptr;
    const void* value = nullptr;
    std::size_t size = 0;
    while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
      const std::string own = decoded_xattr_name(name);
      if (!std::string_view(own).starts_with(fs::kReservedXattrs) || own == fs::kPinXattr ||
          own == fs::kTtlXattr)
        kept.push_back({own, std::string(static_cast<const char*>(value), size)});
    }
    archive_entry_xattr_clear(entry);
    for (const Value& each : kept)
      archive_entry_xattr_add_entry(entry, each.name.c_str(), each.bytes.data(), each.bytes.size());
  }

  Status content() {
    for (;;) {
      const void* bytes = nullptr;
      std::size_t length = 0;
      la_int64_t at = 0;
      LRUFS_TRY_ASSIGN(const bool more, in_.block(bytes, length, at));
      if (!more) return {};
      if (archive_write_data_block(disk_.get(), bytes, length, at) < ARCHIVE_WARN) return failed();
      report_.content_bytes += length;
      if (options_.on_progress) options_.on_progress(report_.content_bytes);
    }
  }

  const LoadOptions& options_;
  TarInput in_;
  std::unique_ptr<archive, FreeWriter> disk_;
  bool told_absolute_ = false;
  LoadReport report_;
};

}  // namespace

Result<LoadReport> extract_tar(int fd, const std::string& folder, const LoadOptions& options) {
  if (::chdir(folder.c_str()) != 0)
    return fail(Code::kNotFound, "cannot go to " + shown(folder) + ": " + errno_text(errno), errno);
  return Extractor(fd, options).run();
}

}  // namespace lrufs::cmd
