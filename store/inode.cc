#include "store/inode.h"

#include <ctime>

#include "store/varint.h"

namespace lrufs::store {

namespace {

constexpr std::uint64_t kNanos = 1'000'000'000;

// Times lie near each other, so all but the first are stored as differences.
std::byte* put_time(std::byte* to, Timestamp time, std::int64_t base) {
  to = put_zigzag(
      to, static_cast<std::int64_t>(static_cast<std::uint64_t>(time.sec) - static_cast<std::uint64_t>(base)));
  return put_varint(to, time.nsec);
}

Timestamp next_time(VarintReader& reader, std::int64_t base) {
  Timestamp time;
  time.sec = static_cast<std::int64_t>(static_cast<std::uint64_t>(reader.next_zigzag()) +
                                       static_cast<std::uint64_t>(base));
  time.nsec = static_cast<std::uint32_t>(reader.next() % kNanos);
  return time;
}

}  // namespace

Timestamp now() {
  timespec time{};
  ::clock_gettime(CLOCK_REALTIME, &time);
  return {time.tv_sec, static_cast<std::uint32_t>(time.tv_nsec)};
}

std::size_t encode_inode(const Inode& inode, MutableBytes out) {
  std::byte* at = out.data();
  at = put_varint(at, inode.mode);
  at = put_varint(at, inode.flags);
  at = put_varint(at, inode.uid);
  at = put_varint(at, inode.gid);
  at = put_varint(at, inode.nlink);
  at = put_varint(at, inode.rdev);
  at = put_varint(at, inode.size);
  at = put_varint(at, inode.pages);
  at = put_varint(at, inode.entries);
  at = put_varint(at, raw(inode.touched));
  at = put_varint(at, raw(inode.parent));
  at = put_varint(at, raw(inode.cookie));
  at = put_time(at, inode.mtime, 0);
  // Most objects keep equal times: one byte tells which ones differ from mtime.
  const unsigned differ = (inode.ctime != inode.mtime ? 1U : 0U) | (inode.atime != inode.mtime ? 2U : 0U) |
                          (inode.btime != inode.mtime ? 4U : 0U);
  *at++ = static_cast<std::byte>(differ);
  if ((differ & 1U) != 0U) at = put_time(at, inode.ctime, inode.mtime.sec);
  if ((differ & 2U) != 0U) at = put_time(at, inode.atime, inode.mtime.sec);
  if ((differ & 4U) != 0U) at = put_time(at, inode.btime, inode.mtime.sec);
  if ((inode.flags & Inode::kTtl) != 0U) {
    at = put_varint(at, inode.ttl);
    if (!inode.is_directory()) {
      at = put_varint(at, inode.expires);
      at = put_varint(at, inode.due == 0 ? 0 : inode.expires - inode.due + 1);
    }
  }
  return static_cast<std::size_t>(at - out.data());
}

Result<Inode> decode_inode(Ino ino, Bytes bytes) {
  Result<Inode> inode;
  if (Status decoded = decode_inode(ino, bytes, *inode); !decoded)
    inode = tl::unexpected(std::move(decoded).error());
  return inode;
}

Status decode_inode(Ino ino, Bytes bytes, Inode& inode) {
  VarintReader reader(bytes);
  inode.ino = ino;
  inode.mode = static_cast<std::uint32_t>(reader.next());
  inode.flags = static_cast<std::uint32_t>(reader.next());
  inode.uid = static_cast<std::uint32_t>(reader.next());
  inode.gid = static_cast<std::uint32_t>(reader.next());
  inode.nlink = static_cast<std::uint32_t>(reader.next());
  inode.rdev = reader.next();
  inode.size = reader.next();
  inode.pages = reader.next();
  inode.entries = reader.next();
  inode.touched = TouchSeq{reader.next()};
  inode.parent = Ino{reader.next()};
  inode.cookie = Cookie{reader.next()};
  inode.mtime = next_time(reader, 0);
  const unsigned differ = reader.next_byte();
  inode.ctime = (differ & 1U) != 0U ? next_time(reader, inode.mtime.sec) : inode.mtime;
  inode.atime = (differ & 2U) != 0U ? next_time(reader, inode.mtime.sec) : inode.mtime;
  inode.btime = (differ & 4U) != 0U ? next_time(reader, inode.mtime.sec) : inode.mtime;
  inode.ttl = inode.expires = inode.due = 0;
  if ((inode.flags & Inode::kTtl) != 0U) {
    inode.ttl = reader.next();
    if (!inode.is_directory()) {
      inode.expires = reader.next();
      const std::uint64_t ahead = reader.next();
      inode.due = ahead == 0 ? 0 : inode.expires - (ahead - 1);
    }
  }
  if (!reader.ok() || inode.size > kMaxFileSize)
    return fail(Code::kCorrupt, "the record of inode " + std::to_string(raw(ino)) + " is damaged");
  return {};
}

}  // namespace lrufs::store
