// Directory listings.
#include <sys/stat.h>

#include <optional>
#include <utility>

#include "fs/volume_impl.h"

namespace lrufs::fs {

namespace {
constexpr std::uint64_t kAfterDot = 1;
constexpr std::uint64_t kAfterDotDot = 2;
constexpr std::uint64_t kLastOffset = ~std::uint64_t{0} >> 1U;  // cookies have 63 bits, as off_t
}  // namespace

Status Volume::list(Ino dir, std::uint64_t offset, bool attributes, const ListFn& each) {
  const std::uint64_t seen = impl_->fence.settled();
  const Snapshot snapshot = impl_->store->snapshot(Snapshot::Kind::kTransient);
  const ReadView& view = snapshot.view();
  LRUFS_TRY_ASSIGN(const Inode self, load(view, dir));
  if (!self.is_directory()) return fail(Code::kNotDirectory);
  impl_->touch(dir);

  if (offset < kAfterDot &&
      !each(ListEntry{.name = ".", .ino = dir, .type = S_IFDIR, .next_offset = kAfterDot, .seen = seen})) {
    return {};
  }
  if (offset < kAfterDotDot) {
    // The root, and a removed directory that is still open, have no parent.
    const Ino parent = self.parent == store::kNoIno ? dir : self.parent;
    if (!each(ListEntry{
            .name = "..", .ino = parent, .type = S_IFDIR, .next_offset = kAfterDotDot, .seen = seen})) {
      return {};
    }
  }

  if (offset > kLastOffset) return {};
  const bool some_expire = view.roots().expiry.page != store::kNoPage;
  const store::Cookie after = offset < raw(store::kFirstCookie) ? store::Cookie{0} : store::Cookie{offset};
  return view.list(dir, after, [&](const store::DirEntry& entry) {
    ListEntry out{.name = entry.name,
                  .ino = entry.ino,
                  .type = static_cast<std::uint32_t>(entry.type) << 12U,
                  .next_offset = raw(entry.cookie),
                  .seen = seen};
    std::optional<Inode> inode;
    if (attributes || some_expire) {
      // One damaged record does not hide the rest of the directory.
      if (auto found = view.inode(entry.ino)) inode = *found;
      if (inode && inode->expires_ever()) {
        if (impl_->is_expired(*inode)) return true;
        inode->expires = impl_->store->expires_at(*inode);
      }
      if (inode && attributes) out.inode = &*inode;
    }
    return each(out);
  });
}

}  // namespace lrufs::fs
