// A tar stream (pax, GNU, ustar, old; compressed or not: whatever libarchive reads), member by member.
//
// Not thread-safe.
#pragma once

#include <archive.h>
#include <archive_entry.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cmd/tar_load.h"

namespace lrufs::cmd {

class TarInput {
 public:
  // `options.stop` is asked while it reads. Both outlive this.
  TarInput(int fd, const LoadOptions& options);
  TarInput(const TarInput&) = delete;
  TarInput& operator=(const TarInput&) = delete;

  store::Status open();
  // The next member; null: there is none. An error ends the stream.
  store::Result<archive_entry*> next();
  // The next bytes of the member's content, valid until the next call; false: there are no more.
  store::Result<bool> block(const void*& bytes, std::size_t& length, la_int64_t& at);

 private:
  [[nodiscard]] tl::unexpected<store::Error> broken() const;
  static la_ssize_t read_some(archive* from, void* data, const void** bytes);
  struct Free {
    void operator()(archive* a) const { archive_read_free(a); }
  };
  int fd_;
  const LoadOptions& options_;
  std::vector<char> buffer_ = std::vector<char>(std::size_t{1} << 18U);
  std::unique_ptr<archive, Free> archive_;
};

// The parts of a member's name; none: the folder that all lies in. kInvalid: a "..".
store::Result<std::vector<std::string>> parts_of_member(std::string_view name);
// libarchive and GNU tar write what is special in the name of an xattr as %XX, and libarchive leaves it so.
std::string decoded_xattr_name(std::string_view name);

}  // namespace lrufs::cmd
