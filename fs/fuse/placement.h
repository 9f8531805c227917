// Placement: decides, from the requests that come, by how many threads and where they are to be answered.
// Pure logic; worker_pool.h does what it says.
//
// Spread: several threads read, on all cores, as the scheduler likes it. Alone: one thread reads; nothing is
// slower than one that takes turns with others, for each of them is cold and sleeps where it ran last. Close:
// the same one thread, on its client's core, giving way to everything: nobody wakes a core that sleeps.
//
// No rule about kernels and cores says which is the fastest at a time, so trials of some requests do: another
// way is kept if requests follow each other clearly faster than they did just before. Who loses is tried
// again later and later. The lone thread not getting on (a disk, a lock, a core that somebody else has) ends
// its time at once, as several clients end close.
//
// Thread-safety: none; the caller has a lock.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace lrufs::fs::fuse {

class Placement {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;
  enum class Mode : std::uint8_t { kSpread, kAlone, kClose };
  enum class Wish : std::uint8_t {
    kAuto,
    kSpread,  // never anything else
    kAlone,   // alone, faster or not, but for a while after it was stuck; for tests and measurements
    kClose,   // close for a single client, otherwise alone; as above
  };

  Placement(Wish wish, bool may_close);

  // A request of thread `pid` (as in its header; 0: the kernel's own) was read. Returns the wished mode.
  Mode request(std::uint32_t pid, Time now);
  // The lone thread did not get on. Spread now, and for a while.
  void stuck(Time now);
  // The system does not let a thread be close.
  void cannot_close();

  [[nodiscard]] Wish wish() const { return wish_; }
  [[nodiscard]] Mode mode() const { return mode_; }

  static constexpr std::size_t kWindow = 64;             // requests that a decision is made of
  static constexpr std::size_t kTurns = kWindow / 4;     // so many changes of client are several clients
  static constexpr std::chrono::milliseconds kPause{5};  // after it, requests are another piece of work
  static constexpr std::chrono::milliseconds kFirstBackoff{50};
  static constexpr std::chrono::milliseconds kLastBackoff{
      2000};  // after trials that were not faster, or stuck alone
  static constexpr std::chrono::milliseconds kLastBackoffStuck{10'000};  // after getting stuck close
  static constexpr std::chrono::milliseconds kProved{500};  // after so long, a failure is a first one

 private:
  // When something may be tried again.
  struct Retry {
    std::chrono::milliseconds backoff{kFirstBackoff};
    Time next{};
  };
  void change(Mode mode, Time now, std::chrono::milliseconds last_backoff);
  Retry& retry_of(Mode mode) { return mode == Mode::kClose ? close_retry_ : retry_; }
  void begin_window();
  [[nodiscard]] Mode candidate(bool several) const;
  Duration pace();

  const Wish wish_;
  bool may_close_;
  Mode mode_;
  bool trial_ = false;
  Mode before_trial_ = Mode::kSpread;
  Duration pace_before_{};
  std::array<Duration, kWindow> gaps_{};  // between requests
  std::size_t count_ = 0;                 // gaps of this window
  std::size_t turns_ = 0;                 // changes of client in it
  std::size_t skip_ = 0;                  // requests that do not count: the threads change places
  std::uint32_t pid_ = 0;
  Time last_{};
  Time since_{};  // of this mode
  Retry close_retry_;
  Retry retry_;  // of alone instead of spread, or the other way round
};

}  // namespace lrufs::fs::fuse
