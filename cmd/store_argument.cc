#include "cmd/store_argument.h"

#include <sys/stat.h>

#include <cerrno>

#include "cmd/live_mount.h"
#include "cmd/mount_table.h"
#include "cmd/os.h"

namespace lrufs::cmd {

using store::Code;
using store::fail;
using store::Result;

namespace {

Result<StoreArgument> store_behind(const MountEntry& mount) {
  const auto statistics = mount_statistics(mount.mount_point);
  if (statistics) {
    if (const std::string store = text_in(*statistics, "store"); !store.empty())
      return StoreArgument{store, mount.mount_point};
  } else if (statistics.error().code == Code::kStale) {
    return fail(statistics.error());
  }
  if (mount.source.starts_with('/')) return StoreArgument{mount.source, mount.mount_point};
  return fail(Code::kNotFound, "the mount " + shown(mount.mount_point) +
                                   " does not say which store it shows: name the store file");
}

}  // namespace

Result<StoreArgument> find_store(const std::string& text) {
  const std::string path = absolute_path(text);
  struct stat attributes {};
  const int failed = ::stat(path.c_str(), &attributes) == 0 ? 0 : errno;
  if (failed == ENOENT) return StoreArgument{path, ""};
  const auto table = read_mount_table();
  const MountEntry* mount = table ? mount_containing(*table, path) : nullptr;
  if (mount != nullptr && mount->is_lrufs()) return store_behind(*mount);
  if (failed != 0) return fail(Code::kNotFound, "cannot look at " + shown(path) + ": " + errno_text(failed));
  if (S_ISDIR(attributes.st_mode))
    return fail(Code::kIsDirectory,
                shown(path) + " is a folder, and no mount of lrufs: name a store file or a mount point");
  return StoreArgument{path, ""};
}

}  // namespace lrufs::cmd
