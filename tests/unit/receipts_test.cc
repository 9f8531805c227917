// Receipts: what the next process learns of a request, from where the one before it ended.
#include "fs/receipts.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "fs/volume.h"
#include "store/check.h"
#include "tests/support/temp_dir.h"

namespace lrufs::fs {
namespace {

constexpr std::uint32_t kKind = 9;
constexpr std::uint64_t kRequest = 1234;

class Receipts : public ::testing::Test {
 protected:
  void SetUp() override { open(false); }
  void TearDown() override {
    volume_.reset();
    const auto report = store::check_file(dir_.file("store"));
    ASSERT_TRUE(report);
    EXPECT_TRUE(report->clean());
  }

  void open(bool takes_over) {
    volume_.reset();
    table_ = std::make_unique<ReceiptTable>(slots_);
    store::Options options;
    options.bound = 64U << 20U;
    auto opened =
        Volume::open(dir_.file("store"), options, {.receipts = table_.get(), .takes_over = takes_over});
    ASSERT_TRUE(opened);
    volume_ = *std::move(opened);
  }

  // A request whose thread dies before it has answered: its slot stays as it is.
  template <typename Body>
  void die_in(const Body& body) {
    Receipt* const slot = table_->claim();
    Receipt left;
    {
      const ServedRequest served(slot, kRequest, kKind);
      body();
      copy(*slot, left);
    }
    copy(left, *slot);
  }
  static void copy(const Receipt& from, Receipt& to) {
    to.serving = from.serving.load();
    to.kind = from.kind.load();
    to.state = from.state.load();
    to.request = from.request.load();
    to.txn = from.txn.load();
    to.counted = from.counted.load();
    to.result = from.result.load();
  }

  test::TempDir dir_;
  std::vector<Receipt> slots_ = std::vector<Receipt>(4);
  std::unique_ptr<ReceiptTable> table_;
  std::unique_ptr<Volume> volume_;
};

TEST_F(Receipts, OfAnAnsweredRequestNothingIsLeft) {
  Receipt* const slot = table_->claim();
  {
    const ServedRequest served(slot, kRequest, kKind);
    EXPECT_EQ(slot->serving, kRequest);
    ASSERT_TRUE(volume_->make(store::kRootIno, "a", 0040755, 0, {}));
  }
  EXPECT_EQ(slot->serving, 0U);
  open(true);
  EXPECT_TRUE(table_->kept().empty());
}

TEST_F(Receipts, WhatWasExecutedIsAnsweredOnly) {
  Ino made{};
  die_in([&] { made = volume_->make(store::kRootIno, "a", 0040755, 0, {})->ino; });
  open(true);
  const auto kept = table_->kept();
  ASSERT_EQ(kept.size(), 1U);
  EXPECT_EQ(kept[0].request, kRequest);
  EXPECT_EQ(kept[0].executed.counted, made);
  EXPECT_EQ(volume_->nodes().lookups(made), 1U);
  {
    const ServedRequest served(table_->claim(), kRequest, kKind, &kept[0].executed);
    const auto again = volume_->make(store::kRootIno, "a", 0040755, 0, {});
    ASSERT_TRUE(again);
    EXPECT_EQ(again->ino, made);
  }
  EXPECT_EQ(volume_->nodes().lookups(made), 1U);
  // Another request is another one.
  const auto other = volume_->make(store::kRootIno, "a", 0040755, 0, {});
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, store::Code::kExists);
}

TEST_F(Receipts, WhatFailedWasNotExecuted) {
  ASSERT_TRUE(volume_->make(store::kRootIno, "a", 0100644, 0, {}));
  die_in([&] { EXPECT_FALSE(volume_->make(store::kRootIno, "a", 0100644, 0, {})); });
  die_in([&] { EXPECT_FALSE(volume_->unlink(store::kRootIno, "b")); });
  open(true);
  EXPECT_TRUE(table_->kept().empty());
}

TEST_F(Receipts, WhatWasNotPublishedWasNotExecuted) {
  die_in([&] { ASSERT_TRUE(volume_->make(store::kRootIno, "a", 0100644, 0, {})); });
  // As if the process had died just before the publish: the number of a transaction that is none yet.
  slots_[0].txn = ~0ULL;
  open(true);
  EXPECT_TRUE(table_->kept().empty());
  EXPECT_EQ(slots_[0].state, Receipt::kNone);
}

TEST_F(Receipts, OutliveTheProcessThatHasNotAnsweredEither) {
  die_in([&] {
    ASSERT_TRUE(volume_->unlink(store::kRootIno, "b") || volume_->make(store::kRootIno, "a", 0100644, 0, {}));
  });
  open(true);
  // It dies before it answers, after others have been served.
  for (std::size_t i = 0; i + 1 < slots_.size(); ++i) {
    Receipt* const slot = table_->claim();
    ASSERT_NE(slot, nullptr);
    EXPECT_NE(slot, slots_.data());
    const ServedRequest served(slot, 5000 + i, kKind);
    ASSERT_TRUE(volume_->make(store::kRootIno, std::to_string(i), 0100644, 0, {}));
  }
  EXPECT_EQ(table_->claim(), nullptr);
  open(true);
  ASSERT_EQ(table_->kept().size(), 1U);
  EXPECT_EQ(table_->kept()[0].request, kRequest);
  table_->drop_kept();
  EXPECT_NE(table_->claim(), nullptr);
}

TEST_F(Receipts, OrphansStayUntilTheKernelWasAsked) {
  const auto made = volume_->make(store::kRootIno, "a", 0100644, 0, {});
  ASSERT_TRUE(made);
  open(true);
  bool held = true;
  volume_->ask_kernel_by([&](Ino) { return held; });
  // The kernel may hold it, though nobody has counted that.
  ASSERT_TRUE(volume_->unlink(store::kRootIno, "a"));
  volume_->wait_for_reclaim();
  EXPECT_TRUE(volume_->getattr(made->ino));
  volume_->reclaim_leftovers();
  volume_->wait_for_reclaim();
  EXPECT_TRUE(volume_->getattr(made->ino));
  // It lets go of it.
  held = false;
  volume_->forget(made->ino, 17);
  volume_->wait_for_reclaim();
  EXPECT_FALSE(volume_->getattr(made->ino));
}

TEST_F(Receipts, WhatTheKernelDoesNotHoldGoesAtOnce) {
  const auto made = volume_->make(store::kRootIno, "a", 0100644, 0, {});
  ASSERT_TRUE(made);
  open(true);
  volume_->ask_kernel_by([](Ino) { return false; });
  ASSERT_TRUE(volume_->unlink(store::kRootIno, "a"));
  volume_->wait_for_reclaim();
  EXPECT_FALSE(volume_->getattr(made->ino));
}

TEST_F(Receipts, ACopyIsAnsweredWithWhatItHasCopied) {
  const auto from = volume_->make(store::kRootIno, "from", 0100644, 0, {});
  const auto to = volume_->make(store::kRootIno, "to", 0100644, 0, {});
  ASSERT_TRUE(from && to);
  const std::vector<std::byte> data(3U << 20U, std::byte{7});
  ASSERT_TRUE(volume_->write(from->ino, 0, data, false));
  die_in([&] { EXPECT_EQ(volume_->copy_range(from->ino, 0, to->ino, 0, data.size()), data.size()); });
  open(true);
  const auto kept = table_->kept();
  ASSERT_EQ(kept.size(), 1U);
  const ServedRequest served(table_->claim(), kRequest, kKind, &kept[0].executed);
  EXPECT_EQ(volume_->copy_range(from->ino, 0, to->ino, 0, data.size()), data.size());
}

}  // namespace
}  // namespace lrufs::fs
