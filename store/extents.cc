#include "store/extents.h"

#include "store/bytes.h"

namespace lrufs::store {

Status check_run(const Pager& pager, PageRun run) {
  const std::uint64_t limit = pager.limit();
  if (raw(run.first) >= kHeaderPages && run.count <= limit && raw(run.first) <= limit - run.count) return {};
  return fail(Code::kCorrupt, "content lies outside of the store, at page " + std::to_string(raw(run.first)));
}

Result<std::optional<Extent>> ExtentCursor::current() {
  if (!cursor_.valid() || !is_record_of(cursor_.key(), ino_, Kind::kExtent)) return std::nullopt;
  if (cursor_.key().size() != kKeyPrefix + 8)
    return fail(Code::kCorrupt, "an extent's key is damaged, inode " + std::to_string(raw(ino_)));
  LRUFS_TRY_ASSIGN(const Extent extent,
                   decode_extent(load_be64(cursor_.key().data() + kKeyPrefix), cursor_.value()));
  LRUFS_TRY(check_run(*pager_, {extent.page, extent.count}));
  return extent;
}

Result<std::optional<Extent>> ExtentCursor::seek(std::uint64_t file_page) {
  LRUFS_TRY(cursor_.seek(Key::extent(ino_, file_page)));
  LRUFS_TRY_ASSIGN(const auto at, current());
  if (at && at->file_page == file_page) return at;
  // The one before may reach into the page.
  LRUFS_TRY(cursor_.prev());
  LRUFS_TRY_ASSIGN(const auto before, current());
  if (before && before->end() > file_page) return before;
  if (!at) return std::nullopt;
  if (cursor_.valid()) {
    LRUFS_TRY(cursor_.next());
  } else {
    LRUFS_TRY(cursor_.first());
  }
  return at;
}

Result<std::optional<Extent>> ExtentCursor::next() {
  LRUFS_TRY(cursor_.next());
  return current();
}

}  // namespace lrufs::store
