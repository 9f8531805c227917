// Tree: the objects of one store by key, for the verbs, which do not care whether it is mounted. There are
// two: one over fs::Volume, for a store that nobody has open, and one over ordinary system calls, for a
// mount.
//
// Keys are clean (key.h). Symbolic links are never followed, in no part of a key. Errors are those of the
// store (kNotFound, kNotDirectory, …), with a message only where the code does not say it all; about_key()
// adds the key.
//
// Thread-safety: one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cmd/stream.h"
#include "fs/volume.h"
#include "store/error.h"
#include "store/inode.h"

namespace lrufs::cmd {

struct Attributes {
  std::uint64_t ino = 0;
  std::uint32_t mode = 0;  // type and permissions as in stat(2)
  std::uint32_t nlink = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t rdev = 0;
  std::uint64_t size = 0;
  std::uint64_t stored = 0;  // bytes of the store that its content and large xattrs occupy
  store::Timestamp atime, mtime, ctime;
  // What a mount does not tell:
  std::optional<store::Timestamp> made;   // when
  std::optional<std::uint64_t> entries;   // of a folder
  std::optional<std::uint64_t> sequence;  // its place in the LRU order: a smaller one goes earlier
  bool used = false;  // since it was made (writing it is a use); else `sequence` is that of its making

  [[nodiscard]] bool is_folder() const { return (mode & 0170000U) == 0040000U; }
  [[nodiscard]] bool is_file() const { return (mode & 0170000U) == 0100000U; }
  [[nodiscard]] bool is_symlink() const { return (mode & 0170000U) == 0120000U; }
};

struct NewObject {
  std::vector<std::pair<std::string, std::string>> xattrs;  // set before it gets its name
};

class Tree {
 public:
  Tree() = default;
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;
  virtual ~Tree() = default;

  // No use of the object.
  virtual store::Result<Attributes> attributes(const std::string& key) = 0;
  // Names and attributes of what is in a folder, sorted bytewise by name.
  using Listing = std::vector<std::pair<std::string, Attributes>>;
  virtual store::Result<Listing> list(const std::string& key) = 0;
  virtual store::Result<std::string> link_target(const std::string& key) = 0;
  // The content of a regular file, piece by piece; a hole at its end is a piece, too.
  virtual store::Status read(const std::string& key, const Sink& sink) = 0;
  // Makes a file of what `source` gives until its end, with its parents, or replaces what is there (but a
  // folder): it appears at once and whole, or not at all.
  virtual store::Status write(const std::string& key, const Source& source, const NewObject& object) = 0;
  virtual store::Status remove(const std::string& key, bool folder) = 0;  // a folder must be empty
  virtual store::Status touch(const std::string& key) = 0;                // a use now; changes no times
  virtual store::Result<std::vector<std::string>> xattr_names(const std::string& key) = 0;
  virtual store::Result<std::string> xattr(const std::string& key, const std::string& name) = 0;
  virtual store::Status set_xattr(const std::string& key, const std::string& name,
                                  std::string_view value) = 0;
  virtual store::Status remove_xattr(const std::string& key, const std::string& name) = 0;
  // Of a store: everything is on the disk after that. To be called once, at the end.
  virtual store::Status close() = 0;
};

std::unique_ptr<Tree> tree_of_volume(std::unique_ptr<fs::Volume> volume);
store::Result<std::unique_ptr<Tree>> tree_of_mount(const std::string& mount_point);

// What errno means, as an error of the store; a message only where there is no code for it.
store::Error error_of(int error);

}  // namespace lrufs::cmd
