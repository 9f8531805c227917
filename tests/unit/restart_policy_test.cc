// ctest: fuse
#include "fs/fuse/restart_policy.h"

#include <gtest/gtest.h>

namespace lrufs::fs::fuse {
namespace {

using std::chrono::milliseconds;
using Worker = RestartPolicy::Worker;

constexpr Worker kServedLong{.served = true, .killed = false, .lived = milliseconds(60'000)};
constexpr Worker kNeverServed{.served = false, .killed = false, .lived = milliseconds(20)};
constexpr Worker kServedForAMoment{.served = true, .killed = false, .lived = milliseconds(20)};
constexpr Worker kKilledWhileServing{.served = true, .killed = true, .lived = milliseconds(1)};
constexpr Worker kKilledBefore{.served = false, .killed = true, .lived = milliseconds(1)};

TEST(RestartPolicyTest, AWorkerThatServedIsFollowedAtOnceEachTime) {
  RestartPolicy policy;
  for (int i = 0; i < 5000; ++i) {
    ASSERT_EQ(policy.after(kServedLong), milliseconds(0));
    ASSERT_EQ(policy.after(kKilledWhileServing), milliseconds(0));
  }
}

TEST(RestartPolicyTest, FailuresInARowAreGivenUpAfterLongerAndLongerPauses) {
  for (const Worker& failure : {kNeverServed, kServedForAMoment}) {
    RestartPolicy policy;
    milliseconds before{-1};
    for (int i = 1; i < 12; ++i) {
      const auto pause = policy.after(failure);
      ASSERT_TRUE(pause) << i;
      EXPECT_GT(*pause, before) << i;
      EXPECT_LE(*pause, milliseconds(2000));
      before = *pause;
    }
    EXPECT_FALSE(policy.after(failure));
    EXPECT_EQ(policy.in_a_row(), 12U);
  }
}

TEST(RestartPolicyTest, OneThatServesBeginsTheCountAnew) {
  RestartPolicy policy;
  for (int i = 0; i < 11; ++i) ASSERT_TRUE(policy.after(kNeverServed));
  EXPECT_EQ(policy.after(kServedLong), milliseconds(0));
  EXPECT_EQ(policy.in_a_row(), 0U);
  for (int i = 0; i < 11; ++i) ASSERT_TRUE(policy.after(kNeverServed));
}

TEST(RestartPolicyTest, ThoseKilledFromOutsideHaveMoreAttemptsAndShortPauses) {
  RestartPolicy policy;
  for (int i = 1; i < 200; ++i) {
    const auto pause = policy.after(kKilledBefore);
    ASSERT_TRUE(pause) << i;
    EXPECT_LE(*pause, milliseconds(32));
  }
  EXPECT_FALSE(policy.after(kKilledBefore));
}

TEST(RestartPolicyTest, AKillBetweenFailuresForgivesNone) {
  RestartPolicy policy;
  for (int i = 0; i < 11; ++i) {
    ASSERT_TRUE(policy.after(kNeverServed));
    ASSERT_TRUE(policy.after(kKilledBefore));
  }
  EXPECT_FALSE(policy.after(kNeverServed));
}

}  // namespace
}  // namespace lrufs::fs::fuse
