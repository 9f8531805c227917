// Content: read, write, allocate, seek, copy, sync.
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "fs/volume_impl.h"

namespace lrufs::fs {

namespace {

// copy_range: bytes moved by one transaction, and by one call (a worker of the mount is busy for its length).
constexpr std::uint64_t kCopyPiece = 1U << 20U;
constexpr std::uint64_t kCopyCall = 32U << 20U;

// offset + length, or kFileTooLarge above `limit`.
Result<std::uint64_t> end_of(std::uint64_t offset, std::uint64_t length, std::uint64_t limit) {
  if (offset > limit || length > limit - offset) return fail(Code::kFileTooLarge);
  return offset + length;
}

// What every change of content does to the inode besides.
Status finish_change(Transaction& txn, Inode& inode, bool kill_suid_gid) {
  if (kill_suid_gid) LRUFS_TRY(drop_privileges(txn, inode));
  inode.mtime = inode.ctime = store::now();
  return txn.put_inode(inode);
}

// [offset, end) reads as zeros; pages that lie whole in it are freed.
Status zero_range(Transaction& txn, Inode& inode, std::uint64_t offset, std::uint64_t end) {
  end = std::min(end, inode.size);
  if (offset >= end) return {};
  return txn.punch(inode, offset, end - offset);
}

// A run of data or of nothing in a file.
struct Piece {
  bool hole = false;
  std::uint64_t length = 0;  // 0: nothing there
};

// What is at [offset, end) of the source: a hole as long as it goes, or data, read into `buffer`, which
// bounds it.
Result<Piece> next_piece(const ReadView& view, const Inode& from, std::uint64_t offset, std::uint64_t end,
                         MutableBytes buffer) {
  end = std::min(end, from.size);
  if (offset >= end) return Piece{};
  std::uint64_t data_at = end;
  if (auto found = view.next_data(from, offset)) {
    data_at = std::min(*found, end);
  } else if (found.error().code != Code::kNotFound) {
    return fail(std::move(found).error());
  }
  if (data_at > offset) return Piece{.hole = true, .length = data_at - offset};
  LRUFS_TRY_ASSIGN(const std::uint64_t hole_at, view.next_hole(from, offset));
  const std::uint64_t wanted = std::min({hole_at - offset, end - offset, std::uint64_t{buffer.size()}});
  LRUFS_TRY_ASSIGN(const std::uint64_t length, view.read(from, offset, buffer.first(wanted)));
  return Piece{.hole = false, .length = length};
}

}  // namespace

Result<ReadReply> Volume::read(Ino ino, std::uint64_t offset, std::uint64_t length) {
  ReadReply reply{.snapshot = impl_->store->snapshot(Snapshot::Kind::kTransient), .segments = {}, .bytes = 0};
  LRUFS_TRY_ASSIGN(const Inode inode, load(reply.snapshot.view(), ino));
  LRUFS_TRY(check_regular(inode));
  LRUFS_TRY_ASSIGN(reply.bytes, reply.snapshot.view().map_content(inode, offset, length, reply.segments));
  impl_->touch(inode);
  return reply;
}

Status Volume::Impl::write_data(Ino ino, std::uint64_t offset, Bytes data, bool kill_suid_gid) {
  touch(ino);
  // Making room for this file must not take this file.
  const store::Store::Protection protection(*store, ino);
  store::StagedData staged;
  if (data.size() >= store::Store::kStageThreshold) {
    if (read_only()) return fail(Code::kReadOnly);
    auto filled = store->stage(offset, data);
    for (int attempt = 0; !filled && filled.error().code == Code::kNoSpace && room_may_come(attempt);
         ++attempt)
      filled = store->stage(offset, data);
    if (!filled) return fail(std::move(filled).error());
    staged = *std::move(filled);
  }
  return change(Purpose::kWrite, [&](Transaction& txn, Effects&) -> Status {
    LRUFS_TRY_ASSIGN(Inode inode, load(txn.view(), ino));
    LRUFS_TRY(check_regular(inode));
    LRUFS_TRY(
        txn.write(inode, offset, data, staged.empty() ? nullptr : &staged, Transaction::WriteMode::kInPlace));
    return finish_change(txn, inode, kill_suid_gid);
  });
}

Status Volume::Impl::write_hole(Ino ino, std::uint64_t offset, std::uint64_t length, bool kill_suid_gid) {
  touch(ino);
  const store::Store::Protection protection(*store, ino);
  return change(Purpose::kWrite, [&](Transaction& txn, Effects&) -> Status {
    LRUFS_TRY_ASSIGN(Inode inode, load(txn.view(), ino));
    LRUFS_TRY(check_regular(inode));
    LRUFS_TRY(zero_range(txn, inode, offset, offset + length));
    if (offset + length > inode.size) LRUFS_TRY(txn.truncate(inode, offset + length));
    return finish_change(txn, inode, kill_suid_gid);
  });
}

Result<std::uint64_t> Volume::write(Ino ino, std::uint64_t offset, Bytes data, bool kill_suid_gid) {
  if (data.empty()) return 0;
  if (ServedRequest::executed() != nullptr) return data.size();
  LRUFS_TRY(end_of(offset, data.size(), impl_->max_file_size()));
  LRUFS_TRY(impl_->write_data(ino, offset, data, kill_suid_gid));
  return data.size();
}

Status Volume::fallocate(Ino ino, int mode, std::uint64_t offset, std::uint64_t length, bool kill_suid_gid) {
  const bool keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  const int operation = mode & ~FALLOC_FL_KEEP_SIZE;
  const bool zero = operation == FALLOC_FL_PUNCH_HOLE || operation == FALLOC_FL_ZERO_RANGE;
  if (operation != 0 && !zero) return fail(Code::kUnsupported);
  if (operation == FALLOC_FL_PUNCH_HOLE && !keep_size) return fail(Code::kUnsupported);
  if (length == 0) return fail(Code::kInvalid);
  // What is beyond the size cannot be anything but zeros: only an end that is to be reached has a limit.
  const std::uint64_t limit = zero && keep_size ? ~std::uint64_t{0} : impl_->max_file_size();
  LRUFS_TRY_ASSIGN(const std::uint64_t end, end_of(offset, length, limit));
  // Eviction makes the room for what is promised here, but never more than there is.
  if (operation == 0 && length > impl_->store->max_file_size()) return fail(Code::kNoSpace);

  impl_->touch(ino);
  const store::Store::Protection protection(*impl_->store, ino);
  return impl_->change(zero ? Purpose::kDelete : Purpose::kWrite,
                       [&](Transaction& txn, Impl::Effects&) -> Status {
                         LRUFS_TRY_ASSIGN(Inode inode, load(txn.view(), ino));
                         LRUFS_TRY(check_regular(inode));
                         if (zero) LRUFS_TRY(zero_range(txn, inode, offset, end));
                         if (!keep_size && end > inode.size) LRUFS_TRY(txn.truncate(inode, end));
                         return finish_change(txn, inode, kill_suid_gid);
                       });
}

Result<std::uint64_t> Volume::seek(Ino ino, std::uint64_t offset, int whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return fail(Code::kInvalid);
  const Snapshot snapshot = impl_->store->snapshot(Snapshot::Kind::kTransient);
  LRUFS_TRY_ASSIGN(const Inode inode, load(snapshot.view(), ino));
  LRUFS_TRY(check_regular(inode));
  if (offset >= inode.size) return fail(Code::kNotFound);
  return whence == SEEK_DATA ? snapshot.view().next_data(inode, offset)
                             : snapshot.view().next_hole(inode, offset);
}

Result<std::uint64_t> Volume::copy_range(Ino from, std::uint64_t from_offset, Ino to, std::uint64_t to_offset,
                                         std::uint64_t length, bool kill_suid_gid) {
  if (const Executed* executed = ServedRequest::executed()) return executed->result;
  length = std::min(length, kCopyCall);
  if (from == to && std::max(from_offset, to_offset) - std::min(from_offset, to_offset) < length) {
    return fail(Code::kInvalid);
  }
  LRUFS_TRY_ASSIGN(const Inode target, getattr(to));
  LRUFS_TRY(check_regular(target));
  impl_->touch(from);

  std::vector<std::byte> buffer;
  std::uint64_t copied = 0;
  // After something was copied, an error shows itself in the next call, as copy_file_range(2) has it.
  const auto stop = [&](store::Error error) -> Result<std::uint64_t> {
    if (copied != 0) return copied;
    return fail(std::move(error));
  };
  while (copied < length) {
    Piece piece;
    {
      // Gone before room is made for the write: pages that this snapshot can see would not be reused. Hence
      // the copy in the buffer.
      const Snapshot snapshot = impl_->store->snapshot(Snapshot::Kind::kFull);
      auto source = load(snapshot.view(), from);
      if (!source) return stop(std::move(source).error());
      if (auto status = check_regular(*source); !status) return stop(std::move(status).error());
      const std::uint64_t at = from_offset + copied;
      const std::uint64_t left = length - copied;
      if (at >= source->size) break;
      // Pieces end at page boundaries of the target, so that whole pages are written.
      if (buffer.empty()) buffer.resize(std::min({left, kCopyPiece, source->size - at}));
      const std::uint64_t room =
          buffer.size() - std::min(buffer.size() - 1, (to_offset + copied) % store::kPageSize);
      auto next = next_piece(snapshot.view(), *source, at, at + left, MutableBytes(buffer).first(room));
      if (!next) return stop(std::move(next).error());
      piece = *next;
    }
    if (piece.length == 0) break;
    const std::uint64_t at = to_offset + copied;
    auto end = end_of(at, piece.length, impl_->max_file_size());
    if (!end) return stop(std::move(end).error());
    if (ServedRequest* const request = ServedRequest::current()) request->set_result(copied + piece.length);
    Status status = piece.hole ? impl_->write_hole(to, at, piece.length, kill_suid_gid)
                               : impl_->write_data(to, at, Bytes(buffer).first(piece.length), kill_suid_gid);
    if (!status) return stop(std::move(status).error());
    copied += piece.length;
  }
  return copied;
}

Status Volume::sync(Ino /*ino*/) {
  // Nothing of this daemon's is unwritten, and fsync(2) succeeds on read-only file systems.
  if (impl_->options.read_only) return {};
  return impl_->store->checkpoint();
}

}  // namespace lrufs::fs
