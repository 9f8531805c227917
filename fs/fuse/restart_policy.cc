#include "fs/fuse/restart_policy.h"

#include <algorithm>

namespace lrufs::fs::fuse {
namespace {

using std::chrono::milliseconds;

// A worker that ends by itself sooner than this has failed, as one that never served.
constexpr milliseconds kMoment{1000};
constexpr unsigned kMaxFailures = 12;
constexpr unsigned kMaxKilled = 200;
constexpr milliseconds kLongestPause{2000};
constexpr milliseconds kLongestPauseIfKilled{32};

}  // namespace

std::optional<milliseconds> RestartPolicy::after(const Worker& ended) {
  const bool failed = !ended.killed && (!ended.served || ended.lived < kMoment);
  failures_ = failed ? failures_ + 1 : ended.served ? 0 : failures_;
  killed_ = ended.served || !ended.killed ? 0 : killed_ + 1;
  if (failures_ >= kMaxFailures || killed_ >= kMaxKilled) return std::nullopt;
  if (in_a_row() <= 1) return milliseconds(0);
  constexpr unsigned kDoublings = 11;
  const milliseconds longest = failures_ >= killed_ ? kLongestPause : kLongestPauseIfKilled;
  return std::min(longest, milliseconds(1U << std::min(in_a_row(), kDoublings)));
}

unsigned RestartPolicy::in_a_row() const { return std::max(failures_, killed_); }

}  // namespace lrufs::fs::fuse
