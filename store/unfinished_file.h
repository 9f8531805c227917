// UnfinishedFile: a file of its own beside the place where it belongs, which goes with this object unless it
// got its name: so that what is written to it appears as a whole or not at all.
#pragma once

#include <string>
#include <utility>

#include "store/error.h"
#include "store/file_ops.h"

namespace lrufs::store {

class UnfinishedFile {
 public:
  // `place`.`what`-XXXXXX, empty, with mode 0600.
  static Result<UnfinishedFile> beside(const std::string& place, const std::string& what);
  UnfinishedFile(UnfinishedFile&& other) noexcept
      : path_(std::exchange(other.path_, {})), place_(std::move(other.place_)) {}
  UnfinishedFile(const UnfinishedFile&) = delete;
  UnfinishedFile& operator=(UnfinishedFile&&) = delete;
  ~UnfinishedFile();

  [[nodiscard]] const std::string& path() const { return path_; }
  // Gives it its name, and waits (by `ops`, or else the real ones) until that is on the disk. kExists, unless
  // it may replace what is there.
  Status finish(bool replace, FileOps* ops = nullptr);

 private:
  UnfinishedFile(std::string path, std::string place) : path_(std::move(path)), place_(std::move(place)) {}
  std::string path_;
  std::string place_;
};

}  // namespace lrufs::store
