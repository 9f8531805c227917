#include "store/damage_mark.h"

#include <array>

#include "store/meta.h"
#include "store/page.h"

namespace lrufs::store {

namespace {

// One meta after the other, each synced: a power cut tears one at most.
Status mark_metas(FileOps& ops, int fd, bool damaged) {
  std::array<std::byte, kPageSize> bytes;
  for (std::uint64_t page = 0; page < 4; ++page) {
    LRUFS_TRY(ops.read(fd, page * kPageSize, bytes));
    auto meta = decode_meta(bytes.data()).meta;
    if (!meta || meta->damaged == damaged) continue;
    meta->damaged = damaged;
    const auto images = decode_images(bytes.data());
    encode_meta(*meta, bytes.data(), images ? *images : std::vector<ImageRef>());
    LRUFS_TRY(ops.write(fd, page * kPageSize, bytes));
    LRUFS_TRY(ops.sync_all(fd, nullptr, 0));
  }
  return {};
}

}  // namespace

Status mark_damaged(const std::string& path, bool damaged, std::shared_ptr<FileOps> file_ops) {
  const std::shared_ptr<FileOps> ops = file_ops ? std::move(file_ops) : posix_file_ops();
  LRUFS_TRY_ASSIGN(const int fd, ops->open(path, false, false));
  Status done = ops->lock(fd, true);
  if (done) done = mark_metas(*ops, fd, damaged);
  ops->close(fd);
  return done;
}

}  // namespace lrufs::store
