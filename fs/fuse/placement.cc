#include "fs/fuse/placement.h"

#include <algorithm>
#include <numeric>

namespace lrufs::fs::fuse {

namespace {
constexpr std::size_t kSettle = 16;
// A trial has to win by this much: 9/10 of the time before.
constexpr int kWins = 9;
constexpr int kOutOf = 10;
// The longest gaps of a window say something about the client, or about others.
constexpr std::size_t kCounted = Placement::kWindow - Placement::kWindow / 8;

Placement::Mode first_mode(Placement::Wish wish) {
  return wish == Placement::Wish::kSpread ? Placement::Mode::kSpread : Placement::Mode::kAlone;
}
}  // namespace

Placement::Placement(Wish wish, bool may_close)
    : wish_(wish),
      may_close_(may_close && wish != Wish::kSpread && wish != Wish::kAlone),
      mode_(first_mode(wish)) {}

void Placement::begin_window() {
  count_ = 0;
  turns_ = 0;
}

Placement::Duration Placement::pace() {
  std::nth_element(gaps_.begin(), gaps_.begin() + kCounted, gaps_.end());
  return std::accumulate(gaps_.begin(), gaps_.begin() + kCounted, Duration{}) / kCounted;
}

// After a failure of the present mode.
void Placement::change(Mode mode, Time now, std::chrono::milliseconds last_backoff) {
  Retry& retry = retry_of(mode_);
  if (now - since_ >= kProved || wish_ != Wish::kAuto) retry.backoff = kFirstBackoff;
  retry.next = now + retry.backoff;
  retry.backoff = std::min(2 * retry.backoff, last_backoff);
  mode_ = mode;
  trial_ = false;
  since_ = now;
  skip_ = kSettle;
  begin_window();
}

void Placement::stuck(Time now) {
  if (mode_ == Mode::kSpread) return;
  change(Mode::kSpread, now, mode_ == Mode::kClose ? kLastBackoffStuck : kLastBackoff);
}

void Placement::cannot_close() {
  may_close_ = false;
  if (mode_ == Mode::kClose) mode_ = Mode::kAlone;
  trial_ = false;
}

Placement::Mode Placement::candidate(bool several) const {
  switch (mode_) {
    case Mode::kSpread:
      return Mode::kAlone;
    case Mode::kAlone:
      if (several) return wish_ == Wish::kAuto ? Mode::kSpread : Mode::kAlone;
      return may_close_ ? Mode::kClose : Mode::kAlone;
    case Mode::kClose:
      break;
  }
  return Mode::kClose;
}

Placement::Mode Placement::request(std::uint32_t pid, Time now) {
  if (wish_ == Wish::kSpread) return mode_;
  const Duration gap = now - last_;
  last_ = now;
  const bool turn = pid != pid_ && pid != 0;
  if (pid != 0) pid_ = pid;
  if (skip_ > 0) {
    --skip_;
    return mode_;
  }
  if (gap > kPause) {
    begin_window();
    return mode_;
  }
  gaps_.at(count_++) = gap;
  if (turn && ++turns_ > kTurns && mode_ == Mode::kClose) {
    change(Mode::kAlone, now, kLastBackoff);
    return mode_;
  }
  if (count_ < kWindow) return mode_;

  const bool several = turns_ > kTurns;
  const Duration this_pace = pace();
  begin_window();
  if (trial_) {
    trial_ = false;
    if (this_pace * kOutOf > pace_before_ * kWins) {
      change(before_trial_, now, kLastBackoff);
    } else {
      retry_of(mode_) = {.backoff = kFirstBackoff, .next = now + kFirstBackoff};
    }
    return mode_;
  }
  const Mode other = candidate(several);
  if (other == mode_ || now < retry_of(other).next) return mode_;
  before_trial_ = mode_;
  pace_before_ = this_pace;
  mode_ = other;
  trial_ = wish_ == Wish::kAuto;
  since_ = now;
  skip_ = kSettle;
  return mode_;
}

}  // namespace lrufs::fs::fuse
