// ctest: fuse
// What is asked of kernels of different ages.
#include "fs/fuse/init.h"

#include <gmock/gmock.h>

#include "fs/fuse/attributes.h"
#include "fs/fuse/stats_json.h"

namespace lrufs::fs::fuse {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr unsigned kEverything = 0x7fffffff;  // all but over_io_uring, which is left to libfuse

fuse_conn_info kernel_that_offers(unsigned capabilities) {
  fuse_conn_info info{};
  info.proto_major = 7;
  info.proto_minor = 38;
  info.capable = capabilities;
  info.max_write = 16U << 20U;
  info.max_readahead = 128U << 10U;
  return info;
}

TEST(Negotiate, TakesNoMoreThanIsOffered) {
  for (unsigned bit = 0; bit < 31; ++bit) {
    fuse_conn_info info = kernel_that_offers(1U << bit);
    info.want = kEverything;  // libfuse's defaults do not stay
    const Connection connection = negotiate({}, info);
    EXPECT_EQ(info.want & ~info.capable, 0U) << bit;
    EXPECT_EQ(connection.enabled, info.want) << bit;
    EXPECT_TRUE(connection.established);
  }
}

TEST(Negotiate, LeavesOutWhatWouldBreakPromises) {
  fuse_conn_info info = kernel_that_offers(kEverything);
  const auto names = capability_names(negotiate({}, info).enabled);
  // An OPEN that is never sent cannot truncate; cached pages stay.
  for (const char* name : {"atomic_o_trunc", "handle_killpriv", "auto_inval_data", "writeback_cache",
                           "posix_locks", "flock_locks", "readdirplus_auto", "splice_read"}) {
    EXPECT_THAT(names, Not(Contains(name)));
  }
  for (const char* name : {"readdirplus", "posix_acl", "dont_mask", "parallel_dirops", "explicit_inval_data",
                           "handle_killpriv_v2"}) {
    EXPECT_THAT(names, Contains(name));
  }
  EXPECT_EQ(info.max_write, kMaxWrite);
}

TEST(Negotiate, WithoutXattrsThereAreNoAcls) {
  MountOptions options;
  options.noxattr = true;
  fuse_conn_info info = kernel_that_offers(kEverything);
  EXPECT_THAT(capability_names(negotiate(options, info).enabled), Not(Contains("posix_acl")));
}

TEST(Negotiate, MaxReadIsWhatTheMountOptionSays) {
  MountOptions options;
  options.max_read = 65'536;
  fuse_conn_info info = kernel_that_offers(kEverything);
  negotiate(options, info);
  EXPECT_EQ(info.max_read, 65'536U);
}

TEST(Negotiate, OldKernelsOpenByRequest) {
  fuse_conn_info info = kernel_that_offers(FUSE_CAP_NO_OPEN_SUPPORT);
  const Connection connection = negotiate({}, info);
  EXPECT_TRUE(connection.zero_message_open);
  EXPECT_FALSE(connection.zero_message_opendir);
}

TEST(CapabilityNames, UnknownBitsHaveNumbers) {
  EXPECT_THAT(capability_names(0), IsEmpty());
  EXPECT_THAT(capability_names((1ULL << 13U) | (1ULL << 40U)), ElementsAre("readdirplus", "bit40"));
}

store::Inode file_of(std::uint64_t size, std::uint64_t pages) {
  store::Inode inode;
  inode.ino = store::Ino{7};
  inode.mode = 0100644;
  inode.nlink = 1;
  inode.size = size;
  inode.pages = pages;
  return inode;
}

TEST(Attributes, ContentThatLiesInlineDoesNotLookLikeAHole) {
  EXPECT_EQ(to_stat(file_of(0, 0)).st_blocks, 0);
  EXPECT_EQ(to_stat(file_of(1, 0)).st_blocks, 1);
  EXPECT_EQ(to_stat(file_of(600, 0)).st_blocks, 2);
  EXPECT_EQ(to_stat(file_of(5000, 2)).st_blocks, 16);
  // Inline content with a hole behind it, or a hole alone: the inode does not tell which.
  EXPECT_EQ(to_stat(file_of(1ULL << 30U, 0)).st_blocks, 8);
  store::Inode paged = file_of(1ULL << 30U, 0);
  paged.flags |= store::Inode::kPaged;
  EXPECT_EQ(to_stat(paged).st_blocks, 0) << "all hole";
}

TEST(Attributes, NamesAreTrustedForTheRecencyAndAttributesForLong) {
  const fuse_entry_param entry = to_entry(file_of(1, 0), std::chrono::milliseconds(2500));
  EXPECT_EQ(entry.ino, 7U);
  EXPECT_EQ(entry.generation, 0U);
  EXPECT_DOUBLE_EQ(entry.entry_timeout, 2.5);
  EXPECT_GE(entry.attr_timeout, 3600);
  EXPECT_DOUBLE_EQ(to_entry(file_of(1, 0), std::chrono::milliseconds(0)).entry_timeout, 0);
  EXPECT_EQ(negative_entry().ino, 0U);
  EXPECT_GE(negative_entry().entry_timeout, 3600);
}

TEST(StatsJson, HasTheFieldsUnderTheirNames) {
  store::Statistics statistics;
  statistics.bound_bytes = 1 << 20;
  statistics.opened_from = "clean";
  statistics.evicted_objects = 3;
  const auto json = to_json(statistics);
  EXPECT_EQ(json.at("bound_bytes"), 1 << 20);
  EXPECT_EQ(json.at("opened_from"), "clean");
  EXPECT_EQ(json.at("evicted_objects"), 3);
}

}  // namespace
}  // namespace lrufs::fs::fuse
