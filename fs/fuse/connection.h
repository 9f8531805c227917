// What was agreed with the kernel at INIT. Written once, before the first other request; constant afterwards.
#pragma once

#include <cstdint>

namespace lrufs::fs::fuse {

struct Connection {
  bool established = false;  // INIT is over
  unsigned protocol_major = 0;
  unsigned protocol_minor = 0;
  std::uint64_t offered = 0;  // FUSE_CAP_* that kernel and libfuse offer
  std::uint64_t enabled = 0;  // of these, the ones that are on
  std::uint32_t max_write = 0;
  std::uint32_t max_readahead = 0;
  bool zero_message_open = false;     // ENOSYS to OPEN means "always fine, do not ask again"
  bool zero_message_opendir = false;  // the same for OPENDIR
};

}  // namespace lrufs::fs::fuse
