// serve_request(): one request, as it was read from the kernel, through libfuse to its adapter and its
// answer.
//
// Thread-safety: any thread, on a request that it owns; `slot` is the thread's own (receipts.h), or null.
#pragma once

#include <linux/fuse.h>

#include <cstddef>
#include <cstdint>

#include "fs/fuse/fuse_api.h"
#include "fs/receipts.h"

namespace lrufs::fs::fuse {

// The kernel marks what it sends again (FUSE_UNIQUE_RESEND; the header is younger than Debian 12's).
inline constexpr std::uint64_t kSentAgain = 1ULL << 63U;

struct RequestHeader {
  std::uint64_t unique = 0;  // with kSentAgain, if it is
  std::uint32_t opcode = 0;
  [[nodiscard]] std::uint64_t id() const { return unique & ~kSentAgain; }
  [[nodiscard]] bool sent_again() const { return (unique & kSentAgain) != 0; }
};
RequestHeader header_of(const void* request, std::size_t bytes);
// "mkdir"; "request 99" for one that has no name here.
const char* kind_name(std::uint32_t opcode);

void serve_request(fuse_session* session, void* request, std::size_t bytes, Receipt* slot,
                   const Executed* executed = nullptr);

}  // namespace lrufs::fs::fuse
