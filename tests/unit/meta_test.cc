// Meta: the codec, and which of the four metas is opened.
#include "store/meta.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "store/bytes.h"
#include "tests/support/random.h"

namespace lrufs::test {
namespace {

using store::Code;
using store::FileIdentity;
using store::kMetaBytes;
using store::kPageSize;
using store::Meta;
using store::MetaFault;
using store::PageNo;
using store::TxnId;

std::array<std::uint8_t, 16> id16(std::uint8_t first) {
  std::array<std::uint8_t, 16> id{};
  for (std::size_t i = 0; i < id.size(); ++i) id[i] = static_cast<std::uint8_t>(first + i);
  return id;
}

// Every field different, so that none is mixed up with another.
Meta full_meta() {
  Meta meta;
  meta.uuid = id16(1);
  meta.name_seed = 0x1122334455667788;
  meta.bound_bytes = 1ULL << 33U;
  meta.grown_pages = 4321;
  meta.txn = TxnId{900};
  meta.session = 77777;
  meta.roots = {
      {PageNo{20}, TxnId{21}}, {PageNo{22}, TxnId{23}}, {PageNo{24}, TxnId{25}}, {PageNo{26}, TxnId{27}}};
  meta.space = {PageNo{30}, PageNo{31}, {PageNo{32}, 33}};
  meta.counters = {
      .next_seq = 40, .files = 41, .directories = 42, .orphans = 43, .content_bytes = 44, .scan_mark = 45};
  meta.boot_id = id16(100);
  meta.device = 50;
  meta.inode = 51;
  meta.durable_txn = TxnId{899};
  meta.durable_session = 52;
  meta.clean = true;
  return meta;
}

void expect_same(const Meta& a, const Meta& b) {
  EXPECT_EQ(a.uuid, b.uuid);
  EXPECT_EQ(a.name_seed, b.name_seed);
  EXPECT_EQ(a.bound_bytes, b.bound_bytes);
  EXPECT_EQ(a.grown_pages, b.grown_pages);
  EXPECT_EQ(a.txn, b.txn);
  EXPECT_EQ(a.session, b.session);
  EXPECT_EQ(a.roots.names, b.roots.names);
  EXPECT_EQ(a.roots.recency, b.roots.recency);
  EXPECT_EQ(a.roots.expiry, b.roots.expiry);
  EXPECT_EQ(a.roots.spare, b.roots.spare);
  EXPECT_EQ(a.space, b.space);
  EXPECT_EQ(a.counters, b.counters);
  EXPECT_EQ(a.boot_id, b.boot_id);
  EXPECT_EQ(a.device, b.device);
  EXPECT_EQ(a.inode, b.inode);
  EXPECT_EQ(a.durable_txn, b.durable_txn);
  EXPECT_EQ(a.durable_session, b.durable_session);
  EXPECT_EQ(a.clean, b.clean);
}

TEST(Meta, RoundTrip) {
  std::vector<std::byte> page(kPageSize, std::byte{0xCC});
  const Meta meta = full_meta();
  encode_meta(meta, page.data());
  const store::DecodedMeta decoded = store::decode_meta(page.data());
  EXPECT_EQ(decoded.fault, MetaFault::kNone);
  ASSERT_TRUE(decoded.meta);
  expect_same(*decoded.meta, meta);
  for (std::size_t at = kMetaBytes; at < kPageSize; ++at)
    ASSERT_EQ(page[at], std::byte{0xCC}) << "all of a meta lies in the first 512 bytes";
}

TEST(Meta, DefaultsRoundTrip) {
  std::vector<std::byte> page(kPageSize);
  encode_meta(Meta{}, page.data());
  const store::DecodedMeta decoded = store::decode_meta(page.data());
  ASSERT_TRUE(decoded.meta);
  expect_same(*decoded.meta, Meta{});
}

TEST(Meta, EveryFlippedBitIsNoticed) {
  std::vector<std::byte> page(kPageSize);
  encode_meta(full_meta(), page.data());
  for (std::size_t at = 0; at < kMetaBytes; ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      page[at] ^= static_cast<std::byte>(1U << bit);
      const store::DecodedMeta decoded = store::decode_meta(page.data());
      ASSERT_FALSE(decoded.meta) << "byte " << at;
      ASSERT_NE(decoded.fault, MetaFault::kNone);
      ASSERT_NE(decoded.fault, MetaFault::kEmpty);
      ASSERT_NE(decoded.fault, MetaFault::kNewer) << "damage is not a newer format, byte " << at;
      page[at] ^= static_cast<std::byte>(1U << bit);
    }
  }
}

TEST(Meta, TornAtASectorOrAnywhereIsNoticed) {
  std::vector<std::byte> old_page(kPageSize);
  std::vector<std::byte> new_page(kPageSize);
  Meta meta = full_meta();
  encode_meta(meta, old_page.data());
  meta.txn = TxnId{901};
  meta.roots.names = {PageNo{55}, TxnId{901}};
  meta.counters.files = 99;
  encode_meta(meta, new_page.data());
  for (std::size_t cut = 0; cut <= kMetaBytes; ++cut) {
    std::vector<std::byte> torn = old_page;
    std::memcpy(torn.data(), new_page.data(), cut);
    const bool is_old = std::memcmp(torn.data(), old_page.data(), kMetaBytes) == 0;
    const bool is_new = std::memcmp(torn.data(), new_page.data(), kMetaBytes) == 0;
    ASSERT_EQ(store::decode_meta(torn.data()).meta.has_value(), is_old || is_new) << cut;
  }
}

TEST(Meta, NoiseAndZeros) {
  std::vector<std::byte> page(kPageSize);
  EXPECT_EQ(store::decode_meta(page.data()).fault, MetaFault::kEmpty);
  Random random;
  SCOPED_TRACE(random.hint());
  for (int i = 0; i < 100; ++i) {
    const std::string noise = random.text(kMetaBytes);
    std::memcpy(page.data(), noise.data(), kMetaBytes);
    EXPECT_EQ(store::decode_meta(page.data()).fault, MetaFault::kForeign);
  }
}

TEST(Meta, Hex) {
  const auto id = store::parse_hex128("00ff10a5000000000000000000000001");
  EXPECT_EQ(id[0], 0);
  EXPECT_EQ(id[1], 0xFF);
  EXPECT_EQ(id[2], 0x10);
  EXPECT_EQ(id[3], 0xA5);
  EXPECT_EQ(id[15], 1);
  EXPECT_EQ(store::format_hex128(id), "00ff10a5000000000000000000000001");
  EXPECT_EQ(store::format_hex128(store::parse_hex128("12")).substr(0, 4), "1200");
  EXPECT_EQ(store::parse_hex128(""), (std::array<std::uint8_t, 16>{}));
}

// --- choosing
// ------------------------------------------------------------------------------------------------------

class ChooseMeta : public ::testing::Test {
 protected:
  // Two durable metas (10, then 20), and two live ones of the session that went on from 20.
  void SetUp() override {
    for (int i = 0; i < 4; ++i) metas_[static_cast<std::size_t>(i)] = full_meta();
    for (Meta& meta : metas_) {
      meta.boot_id = boot_;
      meta.device = 8;
      meta.inode = 9;
      meta.clean = false;
      meta.session = 500;
      meta.durable_txn = TxnId{20};
      meta.durable_session = 500;
    }
    metas_[0].txn = TxnId{20};
    metas_[1].txn = TxnId{10};
    metas_[2].txn = TxnId{30};
    metas_[3].txn = TxnId{31};
  }
  void write(std::size_t slot) { encode_meta(metas_[slot], header_.data() + slot * kPageSize); }
  store::Result<store::MetaChoice> choose(bool from_checkpoint = false) {
    if (encode_) {
      for (std::size_t slot = 0; slot < 4; ++slot) write(slot);
    }
    return choose_meta(header_.data(), identity_, boot_, from_checkpoint);
  }
  // The transaction of the state that would be opened, or the code of the error.
  std::string chosen(bool from_checkpoint = false) {
    const auto choice = choose(from_checkpoint);
    if (!choice) return std::string(code_name(choice.error().code));
    if (choice->live) return "live " + std::to_string(raw(choice->live->txn));
    return "durable " + std::to_string(raw(choice->durable.txn));
  }
  void flip(std::size_t slot, std::size_t offset) { header_[slot * kPageSize + offset] ^= std::byte{1}; }
  void zero(std::size_t slot) { std::memset(header_.data() + slot * kPageSize, 0, kPageSize); }

  std::array<std::uint8_t, 16> boot_ = id16(200);
  FileIdentity identity_{.device = 8, .inode = 9, .size = 1 << 20, .disk_bytes = 0, .is_regular = true};
  std::array<Meta, 4> metas_;
  std::vector<std::byte> header_ = std::vector<std::byte>(4 * kPageSize);
  bool encode_ = true;
};

TEST_F(ChooseMeta, TheNewestLiveMetaOfThisBootAndFile) {
  EXPECT_EQ(chosen(), "live 31");
  const auto choice = choose();
  EXPECT_EQ(choice->durable_slot, 0);
  EXPECT_EQ(raw(choice->durable.txn), 20U);
  EXPECT_EQ(raw(choice->highest), 31U);
}

TEST_F(ChooseMeta, FromCheckpointIgnoresLiveMetas) {
  EXPECT_EQ(chosen(true), "durable 20");
  EXPECT_EQ(raw(choose(true)->highest), 31U) << "their numbers are not used again";
}

TEST_F(ChooseMeta, OtherBootOrFile) {
  metas_[2].boot_id[15] ^= 1;
  metas_[3].boot_id[15] ^= 1;
  EXPECT_EQ(chosen(), "durable 20");
  SetUp();
  identity_.inode = 10;
  EXPECT_EQ(chosen(), "durable 20") << "a copy of a store in use";
  identity_.inode = 9;
  identity_.device = 7;
  EXPECT_EQ(chosen(), "durable 20");
}

TEST_F(ChooseMeta, LiveMetasThatDoNotContinueTheDurableOne) {
  // A volume that went back in time, or forward: the live metas build on a checkpoint that is not there.
  for (const std::size_t slot : {2U, 3U}) {
    metas_[slot].session = 501;
    metas_[slot].durable_txn = TxnId{25};
  }
  EXPECT_EQ(chosen(), "live 31") << "of a checkpoint that is lost";
  EXPECT_NE(choose()->damage, "");
  SetUp();
  for (const std::size_t slot : {2U, 3U}) {
    metas_[slot].session = 501;
    metas_[slot].durable_session = 499;
  }
  EXPECT_EQ(chosen(), "durable 20");
  // A new session that builds on the durable meta of the one before.
  SetUp();
  for (const std::size_t slot : {2U, 3U}) metas_[slot].session = 501;
  EXPECT_EQ(chosen(), "live 31");
  // The session's own checkpoint was written, but its live metas still name the one before it.
  SetUp();
  for (const std::size_t slot : {2U, 3U}) metas_[slot].durable_txn = TxnId{10};
  EXPECT_EQ(chosen(), "live 31");
}

TEST_F(ChooseMeta, LiveMetasOlderThanTheDurableOne) {
  metas_[2].txn = TxnId{19};
  metas_[3].txn = TxnId{20};
  EXPECT_EQ(chosen(), "durable 20");
}

TEST_F(ChooseMeta, ADamagedLiveMetaLeavesTheOther) {
  (void)choose();
  encode_ = false;
  flip(3, 60);
  EXPECT_EQ(chosen(), "live 30");
  flip(2, 100);
  EXPECT_EQ(chosen(), "durable 20");
}

TEST_F(ChooseMeta, ADamagedDurableMetaLeavesTheOther) {
  // The one that was being written: live metas build on the older one.
  for (const std::size_t slot : {2U, 3U}) metas_[slot].durable_txn = TxnId{10};
  (void)choose();
  encode_ = false;
  flip(0, 300);
  EXPECT_EQ(chosen(), "live 31");
  EXPECT_EQ(choose()->durable_slot, 1);
  EXPECT_EQ(chosen(true), "durable 10");
  EXPECT_EQ(choose()->damage, "") << "it was just being written";
  EXPECT_NE(choose(true)->damage, "");
  flip(1, 100);
  EXPECT_EQ(chosen(true), "corrupt");
  EXPECT_EQ(chosen(), "durable 31") << "a live meta, as the last resort";
  EXPECT_NE(choose()->damage, "");
}

// The newest checkpoint is lost: the live metas still tell of it.
TEST_F(ChooseMeta, ALostNewestDurableMetaIsNoticed) {
  metas_[1].durable_txn = TxnId{5};
  for (const bool is_cleared : {false, true}) {
    SCOPED_TRACE(is_cleared);
    encode_ = true;
    (void)choose();
    EXPECT_EQ(choose()->damage, "");
    encode_ = false;
    is_cleared ? zero(0) : flip(0, 300);
    EXPECT_NE(choose()->damage, "");
    EXPECT_EQ(chosen(), "live 31") << "it is newer than the checkpoint that is left";
    EXPECT_EQ(chosen(true), "durable 10");
    EXPECT_NE(choose(true)->damage, "");
    zero(2);
    zero(3);
    EXPECT_EQ(chosen(), "durable 10");
    EXPECT_EQ(choose()->damage.empty(), is_cleared);
    EXPECT_EQ(choose()->doubtful, is_cleared) << "a checkpoint that failed leaves the same";
  }
}

TEST_F(ChooseMeta, AnOldVersionOfTheNewestDurableMetaIsNoticed) {
  metas_[1].durable_txn = TxnId{5};
  zero(2);
  zero(3);
  encode_ = false;
  metas_[0].txn = TxnId{5};
  for (const std::size_t slot : {0U, 1U}) write(slot);
  EXPECT_EQ(chosen(), "durable 10");
  EXPECT_EQ(choose()->damage, "") << "its predecessor";
  metas_[0].txn = TxnId{4};
  write(0);
  EXPECT_NE(choose()->damage, "");
}

TEST_F(ChooseMeta, OneDurableMetaNeverWritten) {
  (void)choose();
  encode_ = false;
  zero(1);
  EXPECT_EQ(chosen(), "live 31");
  zero(2);
  zero(3);
  EXPECT_EQ(chosen(), "durable 20");
  zero(0);
  EXPECT_EQ(chosen(), "not_found") << "all zeros: never finished";
}

// A newer format may have another checksum: as long as no durable meta is whole, the file counts as newer.
TEST_F(ChooseMeta, ADamagedVersionIsNotANewerFormat) {
  (void)choose();
  encode_ = false;
  flip(1, 9);
  EXPECT_EQ(chosen(), "live 31");
  flip(0, 9);
  EXPECT_EQ(chosen(), "newer_format");
}

TEST_F(ChooseMeta, AnotherStoresLiveMeta) {
  metas_[3].uuid[0] ^= 1;
  EXPECT_EQ(chosen(), "live 30");
  EXPECT_EQ(raw(choose()->highest), 30U);
}

TEST_F(ChooseMeta, ForeignAndNewerFiles) {
  encode_ = false;
  const char text[] = "#!/bin/sh\necho this is something else\n";
  std::memcpy(header_.data(), text, sizeof text);
  EXPECT_EQ(chosen(), "not_a_store");
  for (const std::size_t slot : {0U, 3U}) {
    std::fill(header_.begin(), header_.end(), std::byte{0});
    for (std::size_t i = 0; i < 4; ++i) write(i);
    // A later version writes a higher number and a checksum over it.
    std::byte* page = header_.data() + slot * kPageSize;
    store::store_le(page + 8, store::kFormatVersion + 1);
    store::store_le(page + kMetaBytes - 8, store::hash64({page, kMetaBytes - 8}));
    EXPECT_EQ(chosen(), "newer_format");
    EXPECT_EQ(chosen(true), "newer_format");
  }
}

}  // namespace
}  // namespace lrufs::test
