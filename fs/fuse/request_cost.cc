#include "fs/fuse/request_cost.h"

#include <linux/fuse.h>

#include <cstring>

#include "fs/fuse/control_inode.h"

namespace lrufs::fs::fuse {
namespace {

// What a request may bring along, or ask for, to be answered by the lone thread.
constexpr std::uint32_t kShortBytes = 64U << 10U;

template <typename T>
T at(const std::byte* from) {
  T value{};
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace

RequestCost cost_of(const std::byte* request, std::size_t bytes) {
  if (bytes < sizeof(fuse_in_header)) return RequestCost::kShort;
  if (bytes > kShortBytes) return RequestCost::kMuch;
  switch (at<fuse_in_header>(request).opcode) {
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
    case FUSE_SYNCFS:
    case FUSE_FALLOCATE:
    case FUSE_COPY_FILE_RANGE:
      return RequestCost::kWait;
    case FUSE_WRITE:  // commands take their time
      return is_control(at<fuse_in_header>(request).nodeid) ? RequestCost::kWait : RequestCost::kShort;
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
      return RequestCost::kMuch;
    case FUSE_READ:
      return bytes >= sizeof(fuse_in_header) + sizeof(fuse_read_in) &&
                     at<fuse_read_in>(request + sizeof(fuse_in_header)).size > kShortBytes
                 ? RequestCost::kMuch
                 : RequestCost::kShort;
    default:
      return RequestCost::kShort;
  }
}

std::uint32_t client_of(const std::byte* request, std::size_t bytes) {
  return bytes < sizeof(fuse_in_header) ? 0 : at<fuse_in_header>(request).pid;
}

}  // namespace lrufs::fs::fuse
