// Where libfuse's own messages go: to the log, and, while somebody collects, into an error's message instead.
#pragma once

#include <string>

namespace lrufs::fs::fuse {

// Takes libfuse's messages over for the process. Idempotent.
void take_over_libfuse_log();

// Collects what libfuse complains about while it lives, in place of the log. One at a time.
class CollectedComplaints {
 public:
  CollectedComplaints();
  CollectedComplaints(const CollectedComplaints&) = delete;
  CollectedComplaints& operator=(const CollectedComplaints&) = delete;
  ~CollectedComplaints();
  // The lines so far, separated by "; ", without libfuse's prefix; `otherwise` if there are none.
  [[nodiscard]] std::string text(const std::string& otherwise) const;
};

}  // namespace lrufs::fs::fuse
