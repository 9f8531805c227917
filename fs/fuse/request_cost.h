// RequestCost: what a request asks of the thread that serves it, told from its bytes before it is served.
//
// Pure functions over a request as read from /dev/fuse; too few bytes are allowed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lrufs::fs::fuse {

enum class RequestCost : std::uint8_t {
  kShort,
  kMuch,  // moves or lists much: a millisecond of a core
  kWait,  // waits for the disk, or does what has no bound
};

RequestCost cost_of(const std::byte* request, std::size_t bytes);
// The thread that waits for the answer; 0: none, or none that this process can see.
std::uint32_t client_of(const std::byte* request, std::size_t bytes);

}  // namespace lrufs::fs::fuse
