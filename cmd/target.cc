#include "cmd/target.h"

#include <sys/stat.h>

#include <cerrno>
#include <filesystem>

#include "cmd/live_mount.h"
#include "cmd/mount_table.h"
#include "cmd/os.h"
#include "cmd/verbs.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Result;

// `path` absolute, its folder without symbolic links as far as it exists, its last part as it is: that may be
// a symbolic link in a mount, which is an object itself.
std::string without_links_above(const std::string& path) {
  namespace stdfs = std::filesystem;
  std::error_code error;
  std::string absolute = stdfs::absolute(path, error).string();
  if (error) return path;
  while (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  const stdfs::path whole(absolute);
  const std::string last = whole.filename().string();
  if (last == "." || last == ".." || last.empty()) return absolute_path(absolute);
  stdfs::path above = whole.parent_path();
  stdfs::path rest = last;
  while (above.has_relative_path()) {
    const stdfs::path resolved = stdfs::canonical(above, error);
    if (!error) return (resolved / rest).lexically_normal().string();
    rest = above.filename() / rest;
    above = above.parent_path();
  }
  return (above / rest).lexically_normal().string();
}

const MountEntry* lrufs_mount_containing(const MountTable& table, const std::string& path) {
  const MountEntry* mount = mount_containing(table, path);
  return mount != nullptr && mount->is_lrufs() ? mount : nullptr;
}

Result<Target> inside(const MountEntry& mount, const std::string& path, bool folder) {
  Target target;
  target.mount_point = mount.mount_point;
  LRUFS_TRY_ASSIGN(target.base, parse_key(std::string_view(path).substr(mount.mount_point.size())));
  target.base.folder = target.base.path.empty() || folder;
  return target;
}

Result<std::unique_ptr<Tree>> open_store(const std::string& store, Access access) {
  if (access == Access::kRead) {
    LRUFS_TRY_ASSIGN(auto volume, open_for_reading(store));
    return tree_of_volume(std::move(volume));
  }
  store::Options options;
  options.create = false;
  options.bound_given = false;
  LRUFS_TRY_ASSIGN(auto volume, fs::Volume::open(store, options, {}));
  volume->reclaim_leftovers();
  return tree_of_volume(std::move(volume));
}

}  // namespace

Result<Key> Target::key(const std::string& text) const {
  if (text.empty()) return base;
  LRUFS_TRY_ASSIGN(Key key, parse_key(text));
  key.path = join_keys(base.path, key.path);
  return key;
}

Result<std::vector<Key>> Target::keys(const std::vector<std::string>& texts) const {
  if (texts.empty()) return std::vector{base};
  std::vector<Key> keys;
  for (const std::string& text : texts) {
    LRUFS_TRY_ASSIGN(Key key, this->key(text));
    keys.push_back(std::move(key));
  }
  return keys;
}

Result<Target> find_target(const std::string& text, bool with_key) {
  LRUFS_TRY_ASSIGN(const MountTable table, read_mount_table());
  const bool folder = text.ends_with('/');
  const std::string path = without_links_above(text);
  struct stat attributes {};
  const bool is_file = ::stat(text.c_str(), &attributes) == 0 && S_ISREG(attributes.st_mode);
  const int error = errno;
  if (!(with_key && is_file)) {
    if (const MountEntry* mount = lrufs_mount_containing(table, path)) return inside(*mount, path, folder);
    const std::string resolved = absolute_path(text);  // a symbolic link to a mount point, or into a mount
    if (const MountEntry* mount = lrufs_mount_containing(table, resolved))
      return inside(*mount, resolved, folder);
  }
  if (is_file) return Target{.store = absolute_path(text), .mount_point = {}, .base = {{}, true}};
  if (S_ISDIR(attributes.st_mode)) {
    return fail(Code::kInvalid,
                shown(text) +
                    " is a folder that is not in a mount of lrufs. Name a store file, a mount "
                    "point, or a path in a mount");
  }
  if (attributes.st_mode != 0) {
    return fail(Code::kNotAStore, shown(text) + " is not a regular file, so it is no store");
  }
  return fail(Code::kNotFound,
              "cannot look at " + shown(text) + ": " + errno_text(error) +
                  ". Name a store file (lrufs mount makes one), a mount point, or a path in a mount",
              error);
}

Result<std::unique_ptr<fs::Volume>> open_for_reading(const std::string& store) {
  store::Options options;
  options.read_only = true;
  options.shared = true;
  options.create = false;
  options.bound_given = false;
  options.background = false;
  return fs::Volume::open(store, options, {.read_only = true});
}

Result<std::unique_ptr<Tree>> open_tree(const Target& target, Access access) {
  if (!target.mount_point.empty()) return tree_of_mount(target.mount_point);
  auto tree = open_store(target.store, access);
  if (tree) return tree;
  if (tree.error().code != Code::kBusy) return fail(about_store(target.store, tree.error()));
  if (const auto mount_point = mount_of_store(target.store)) return tree_of_mount(*mount_point);
  return fail(
      Code::kBusy,
      "the store " + shown(target.store) +
          " is in use by a process whose mount cannot be seen from here: use the mount there, or wait");
}

Result<std::string> store_of(const Target& target) {
  if (!target.store.empty()) return target.store;
  LRUFS_TRY_ASSIGN(const nlohmann::json statistics, mount_statistics(target.mount_point));
  return text_in(statistics, "store");
}

}  // namespace lrufs::cmd
