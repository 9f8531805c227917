// TARGET of the command line: a store file, the mount point of one, or a path inside of a mount; and the way
// from it to the objects.
//
// A regular file that lies inside a mount of lrufs is an object of that mount; only together with a KEY it is
// taken for a store (which may lie in another store's mount).
#pragma once

#include <memory>
#include <string>

#include "cmd/key.h"
#include "cmd/tree.h"
#include "fs/volume.h"
#include "store/error.h"

namespace lrufs::cmd {

struct Target {
  std::string store;        // a store file, absolute; or
  std::string mount_point;  // a mount that TARGET is, or lies in; and
  Key base;                 // the key of TARGET in it ("": TARGET is the mount point)

  [[nodiscard]] bool is_object() const { return !base.path.empty(); }
  // The key that `text` names, seen from TARGET; "" is TARGET's own.
  [[nodiscard]] store::Result<Key> key(const std::string& text) const;
  [[nodiscard]] store::Result<std::vector<Key>> keys(const std::vector<std::string>& texts) const;
};

// `with_key`: a KEY comes with it. Nothing is opened.
store::Result<Target> find_target(const std::string& text, bool with_key);

enum class Access : std::uint8_t { kRead, kWrite };
// The objects of the target's store: opened, if nobody has it open, else by its mount.
store::Result<std::unique_ptr<Tree>> open_tree(const Target& target, Access access);

// The one place that says how a store is opened to be read: one state of it, also beside who writes it.
store::Result<std::unique_ptr<fs::Volume>> open_for_reading(const std::string& store);

// The path of the store behind the target. A mount is asked for it.
store::Result<std::string> store_of(const Target& target);

}  // namespace lrufs::cmd
