#include "cmd/tar_input.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "cmd/os.h"

namespace lrufs::cmd {

using store::Code;
using store::fail;
using store::Result;
using store::Status;

TarInput::TarInput(int fd, const LoadOptions& options)
    : fd_(fd), options_(options), archive_(archive_read_new()) {}

la_ssize_t TarInput::read_some(archive* from, void* data, const void** bytes) {
  auto* const in = static_cast<TarInput*>(data);
  for (;;) {
    if (in->options_.stop && in->options_.stop()) {
      archive_set_error(from, EINTR, "interrupted");
      return -1;
    }
    const ssize_t count = ::read(in->fd_, in->buffer_.data(), in->buffer_.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) archive_set_error(from, errno, "read: %s", errno_text(errno).c_str());
    *bytes = in->buffer_.data();
    return count;
  }
}

Status TarInput::open() {
  archive* const a = archive_.get();
  if (archive_read_support_filter_all(a) < ARCHIVE_WARN || archive_read_support_format_tar(a) != ARCHIVE_OK ||
      archive_read_open(a, this, nullptr, read_some, nullptr) != ARCHIVE_OK)
    return broken();
  return {};
}

Result<archive_entry*> TarInput::next() {
  for (;;) {
    archive_entry* entry = nullptr;
    const int read = archive_read_next_header(archive_.get(), &entry);
    if (read == ARCHIVE_EOF) return nullptr;
    if (read == ARCHIVE_RETRY) continue;
    if (read < ARCHIVE_WARN) return broken();
    return entry;
  }
}

Result<bool> TarInput::block(const void*& bytes, std::size_t& length, la_int64_t& at) {
  for (;;) {
    const int read = archive_read_data_block(archive_.get(), &bytes, &length, &at);
    if (read == ARCHIVE_EOF) return false;
    if (read == ARCHIVE_RETRY) continue;
    if (read < ARCHIVE_WARN) return broken();
    if (length != 0) return true;
  }
}

tl::unexpected<store::Error> TarInput::broken() const {
  const int error = archive_errno(archive_.get());
  if (error == EINTR) return fail(Code::kIo, "interrupted", EINTR);
  const char* text = archive_error_string(archive_.get());
  return fail(Code::kIo, std::string("the stream cannot be read as a tar archive: ") +
                             (text != nullptr ? text : "it ends too early"));
}

Result<std::vector<std::string>> parts_of_member(std::string_view name) {
  std::vector<std::string> parts;
  while (!name.empty()) {
    const std::size_t slash = std::min(name.find('/'), name.size());
    const std::string_view part = name.substr(0, slash);
    name.remove_prefix(std::min(slash + 1, name.size()));
    if (part.empty() || part == ".") continue;
    if (part == "..") return fail(Code::kInvalid, "it has \"..\" in it");
    if (part.size() > store::kMaxName)
      return fail(Code::kNameTooLong,
                  "it has a part of more than " + std::to_string(store::kMaxName) + " bytes");
    parts.emplace_back(part);
  }
  return parts;
}

std::string decoded_xattr_name(std::string_view name) {
  const auto digit = [](char c) {
    return std::string_view("0123456789ABCDEF").find(c & ~(c >= 'a' ? 32 : 0));
  };
  std::string text;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const bool is_code =
        name[i] == '%' && i + 2 < name.size() && digit(name[i + 1]) < 16 && digit(name[i + 2]) < 16;
    text += is_code ? static_cast<char>(digit(name[i + 1]) * 16 + digit(name[i + 2])) : name[i];
    if (is_code) i += 2;
  }
  return text;
}

}  // namespace lrufs::cmd
