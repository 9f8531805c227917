// NewFile: a file that appears under its name with its whole content, or not at all, and replaces what was
// there. Until then it has no name (O_TMPFILE: nothing is left whatever happens), or, where the file system
// has no such thing, a temporary one in the same folder, which the destructor removes.
#pragma once

#include <functional>
#include <string>

#include "cmd/stream.h"
#include "store/error.h"

namespace lrufs::cmd {

class NewFile {
 public:
  // In the folder `dir` (a descriptor that stays the caller's, and open), with mode 0666 less the umask.
  static store::Result<NewFile> create(int dir);
  NewFile(NewFile&& other) noexcept;
  NewFile& operator=(NewFile&&) = delete;
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile();

  [[nodiscard]] int fd() const { return file_.get(); }
  // Gives it the name in `dir`, which must be on the same file system. kNotFound if `dir` was removed
  // meanwhile (the file is still there, for another try), kIsDirectory if a folder has that name.
  store::Status publish(int dir, const std::string& name);

 private:
  NewFile(Descriptor file, int dir, std::string temporary)
      : file_(std::move(file)), dir_(dir), temporary_(std::move(temporary)) {}
  Descriptor file_;
  int dir_;
  std::string temporary_;  // its name in dir_; empty: it has none
};

}  // namespace lrufs::cmd
