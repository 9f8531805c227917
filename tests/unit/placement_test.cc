// ctest: fuse
// Who answers requests, decided from when they come. The clock is ours.
#include "fs/fuse/placement.h"

#include <gmock/gmock.h>

#include <array>
#include <chrono>

namespace lrufs::fs::fuse {
namespace {

using namespace std::chrono_literals;
using Mode = Placement::Mode;
using Wish = Placement::Wish;

constexpr std::uint32_t kClient = 7;

// Sends requests whose distance depends on the mode, as on some machine.
struct Machine {
  std::chrono::microseconds spread;
  std::chrono::microseconds alone;
  std::chrono::microseconds close;
  Placement placement{Wish::kAuto, true};
  Placement::Time now{1s};

  void one(std::uint32_t client = kClient) {
    switch (placement.mode()) {
      case Mode::kSpread:
        now += spread;
        break;
      case Mode::kAlone:
        now += alone;
        break;
      case Mode::kClose:
        now += close;
        break;
    }
    placement.request(client, now);
  }
  // Requests in each mode, of those sent in this time.
  std::array<int, 3> run(std::chrono::milliseconds time, int clients = 1) {
    std::array<int, 3> seen{};
    const auto end = now + time;
    for (int n = 0; now < end; ++n) {
      one(kClient + static_cast<std::uint32_t>(n % clients));
      ++seen.at(static_cast<std::size_t>(placement.mode()));
    }
    return seen;
  }
};

TEST(Placement, BeginsAlone) {
  EXPECT_EQ(Placement(Wish::kAuto, true).mode(), Mode::kAlone);
  EXPECT_EQ(Placement(Wish::kSpread, true).mode(), Mode::kSpread);
}

TEST(Placement, TheFasterWayStays) {
  Machine close_wins{.spread = 30us, .alone = 25us, .close = 10us};
  close_wins.run(100ms);
  EXPECT_EQ(close_wins.placement.mode(), Mode::kClose);

  Machine alone_wins{.spread = 30us, .alone = 10us, .close = 40us};
  const auto seen = alone_wins.run(3000ms);
  EXPECT_EQ(alone_wins.placement.mode(), Mode::kAlone);
  // Trials are short, and ever rarer.
  EXPECT_LT(seen.at(static_cast<std::size_t>(Mode::kClose)),
            seen.at(static_cast<std::size_t>(Mode::kAlone)) / 100);
}

TEST(Placement, ALittleFasterIsNotEnough) {
  Machine machine{.spread = 30us, .alone = 100us, .close = 95us};
  machine.run(2000ms);
  EXPECT_EQ(machine.placement.mode(), Mode::kAlone);
}

TEST(Placement, SeveralClientsSpreadIfThatIsFaster) {
  Machine machine{.spread = 10us, .alone = 20us, .close = 5us};
  machine.run(100ms);
  EXPECT_EQ(machine.placement.mode(), Mode::kClose);
  // At once: within a window.
  for (unsigned n = 0; n < Placement::kWindow; ++n) machine.one(kClient + n % 3);
  EXPECT_NE(machine.placement.mode(), Mode::kClose);
  const auto seen = machine.run(3000ms, 3);
  EXPECT_EQ(seen.at(static_cast<std::size_t>(Mode::kClose)), 0);
  EXPECT_GT(seen.at(static_cast<std::size_t>(Mode::kSpread)),
            100 * seen.at(static_cast<std::size_t>(Mode::kAlone)) / 3);
  // And back, once there is a single one, whom threads that take turns do not serve well.
  machine.spread = 30us;
  machine.run(5000ms);
  EXPECT_EQ(machine.placement.mode(), Mode::kClose);

  Machine alone_wins{.spread = 20us, .alone = 10us, .close = 5us};
  const auto alone = alone_wins.run(3000ms, 3);
  EXPECT_GT(alone.at(static_cast<std::size_t>(Mode::kAlone)),
            50 * alone.at(static_cast<std::size_t>(Mode::kSpread)));
}

TEST(Placement, ProcessesOneAfterTheOtherAreOneClient) {
  Machine machine{.spread = 30us, .alone = 25us, .close = 10us};
  for (std::uint32_t n = 0; n < 20'000; ++n) machine.one(kClient + n / 8);
  EXPECT_EQ(machine.placement.mode(), Mode::kClose);
}

TEST(Placement, StuckEndsItAtOnceAndForLongerEachTime) {
  Machine machine{.spread = 30us, .alone = 25us, .close = 10us};
  for (int n = 0; n < 12; ++n) {
    const auto from = machine.now;
    while (machine.placement.mode() != Mode::kClose) machine.one();
    if (n == 11) {
      EXPECT_GE(machine.now - from, Placement::kLastBackoffStuck);
      EXPECT_LT(machine.now - from, Placement::kLastBackoffStuck + 1s);
    }
    machine.placement.stuck(machine.now);
    ASSERT_EQ(machine.placement.mode(), Mode::kSpread);
  }
}

TEST(Placement, StuckAloneIsTriedAgainSooner) {
  Machine machine{.spread = 30us, .alone = 25us, .close = 30us, .placement = Placement(Wish::kAuto, false)};
  for (int n = 0; n < 12; ++n) {
    const auto from = machine.now;
    while (machine.placement.mode() != Mode::kAlone) machine.one();
    if (n == 11) {
      EXPECT_GE(machine.now - from, Placement::kLastBackoff);
      EXPECT_LT(machine.now - from, Placement::kLastBackoff + 1s);
    }
    machine.placement.stuck(machine.now);
  }
}

TEST(Placement, APauseIsNoPace) {
  // The client computes for 20 ms after each 60 requests: no window is ever whole, nothing is concluded.
  Machine machine{.spread = 30us, .alone = 25us, .close = 10us};
  for (int n = 0; n < 10'000; ++n) {
    if (n % 60 == 0) machine.now += 20ms;
    machine.one();
  }
  EXPECT_EQ(machine.placement.mode(), Mode::kAlone);
}

TEST(Placement, WithoutPermissionNeverClose) {
  Machine machine{.spread = 30us, .alone = 25us, .close = 10us, .placement = Placement(Wish::kAuto, false)};
  EXPECT_EQ(machine.run(1000ms).at(static_cast<std::size_t>(Mode::kClose)), 0);

  Machine refused{.spread = 30us, .alone = 25us, .close = 10us};
  refused.run(100ms);
  refused.placement.cannot_close();
  EXPECT_EQ(refused.placement.mode(), Mode::kAlone);
  EXPECT_EQ(refused.run(1000ms).at(static_cast<std::size_t>(Mode::kClose)), 0);
}

TEST(Placement, WishesAreGranted) {
  Machine spread{.spread = 30us, .alone = 5us, .close = 5us, .placement = Placement(Wish::kSpread, true)};
  spread.run(500ms);
  EXPECT_EQ(spread.placement.mode(), Mode::kSpread);
  Machine close{.spread = 5us, .alone = 5us, .close = 50us, .placement = Placement(Wish::kClose, true)};
  close.run(500ms);
  EXPECT_EQ(close.placement.mode(), Mode::kClose);
  Machine alone{.spread = 5us, .alone = 50us, .close = 5us, .placement = Placement(Wish::kAlone, true)};
  EXPECT_EQ(alone.run(500ms, 3).at(static_cast<std::size_t>(Mode::kSpread)), 0);
}

}  // namespace
}  // namespace lrufs::fs::fuse
