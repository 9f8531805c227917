// Content: read, write, fallocate, seek, copy_range, sync.
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <random>

#include "tests/support/volume_fixture.h"

namespace lrufs::fs {
namespace {

using test::bytes_of;
using test::outcome;

constexpr int kKeep = FALLOC_FL_KEEP_SIZE;
constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
constexpr int kZero = FALLOC_FL_ZERO_RANGE;

std::string pattern(std::size_t length, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::string text(length, '\0');
  for (char& c : text) c = static_cast<char>('a' + random() % 26);
  return text;
}

class VolumeData : public test::VolumeTest {
 protected:
  std::string seek(Ino ino, std::uint64_t offset, int whence) {
    const auto found = volume().seek(ino, offset, whence);
    return found ? std::to_string(*found) : outcome(found);
  }
  std::string copy(Ino from, std::uint64_t from_offset, Ino to, std::uint64_t to_offset,
                   std::uint64_t length) {
    const auto copied = volume().copy_range(from, from_offset, to, to_offset, length);
    return copied ? std::to_string(*copied) : outcome(copied);
  }
};

TEST_F(VolumeData, ReadsWhatWasWritten) {
  const Inode f = file(kRoot, "f");
  for (const std::size_t size :
       {1UL, 100UL, 1000UL, 1024UL, 4096UL, 4097UL, 65'535UL, 65'536UL, 70'000UL, 1'048'576UL}) {
    const std::string text = pattern(size, static_cast<std::uint32_t>(size));
    EXPECT_EQ(outcome(volume().setattr(f.ino, {.size = 0}, caller_)), "ok");
    put(f.ino, text);
    EXPECT_EQ(attributes(f.ino).size, size);
    EXPECT_TRUE(content(f.ino) == text) << size;
    EXPECT_TRUE(content(f.ino, size / 3, size / 2) == text.substr(size / 3, size / 2)) << size;
  }
}

TEST_F(VolumeData, ReadsAreShortOnlyAtTheEnd) {
  const Inode f = file(kRoot, "f");
  EXPECT_EQ(content(f.ino), "");
  put(f.ino, "0123456789");
  EXPECT_EQ(content(f.ino, 4, 3), "456");
  EXPECT_EQ(content(f.ino, 8, 100), "89");
  EXPECT_EQ(content(f.ino, 10, 100), "");
  EXPECT_EQ(content(f.ino, ~0ULL, 100), "");
  EXPECT_EQ(content(f.ino, 0, 0), "");
}

TEST_F(VolumeData, WritesBeyondTheEndLeaveZeros) {
  const Inode f = file(kRoot, "f");
  put(f.ino, "a");
  put(f.ino, "b", 100'000);
  EXPECT_EQ(attributes(f.ino).size, 100'001U);
  EXPECT_TRUE(content(f.ino) == "a" + std::string(99'999, '\0') + "b");
}

TEST_F(VolumeData, LargeWritesAtAnyOffsetAndOverOldContent) {
  const Inode f = file(kRoot, "f");
  std::string model = pattern(300'000, 1);
  put(f.ino, model);
  std::uint32_t seed = 2;
  for (const std::size_t offset : {0UL, 1UL, 4095UL, 4096UL, 100'001UL, 290'000UL, 400'003UL}) {
    const std::string text = pattern(70'001, seed++);
    if (model.size() < offset + text.size()) model.resize(offset + text.size());
    model.replace(offset, text.size(), text);
    put(f.ino, text, offset);
    ASSERT_TRUE(content(f.ino) == model) << offset;
  }
}

TEST_F(VolumeData, WriteSetsTimes) {
  const Inode f = file(kRoot, "f");
  age({f.ino, kRoot});
  put(f.ino, "x");
  EXPECT_EQ(times_set(f.ino), "cm");
  EXPECT_EQ(times_set(kRoot), "");
  age({f.ino});
  EXPECT_EQ(value(volume().write(f.ino, 0, {}, false)), 0U);
  EXPECT_EQ(times_set(f.ino), "");
  EXPECT_EQ(content(f.ino), "x");
  EXPECT_EQ(times_set(f.ino), "");  // reading does not set atime
}

TEST_F(VolumeData, WriteClearsSetIdsWhenAsked) {
  const Inode f = file(kRoot, "f", 06755);
  EXPECT_EQ(outcome(volume().set_xattr(f.ino, "security.capability", bytes_of("caps"), 0)), "ok");
  put(f.ino, "x");
  EXPECT_EQ(attributes(f.ino).mode & 07777U, 06755U);
  EXPECT_EQ(outcome(volume().write(f.ino, 0, bytes_of("y"), true)), "ok");
  EXPECT_EQ(attributes(f.ino).mode & 07777U, 0755U);
  EXPECT_EQ(outcome(volume().get_xattr(f.ino, "security.capability")), "no_attribute");
  EXPECT_EQ(outcome(volume().setattr(f.ino, {.mode = 06745}, caller_)), "ok");
  EXPECT_EQ(outcome(volume().write(f.ino, 0, bytes_of("y"), true)), "ok");
  EXPECT_EQ(attributes(f.ino).mode & 07777U, 02745U);
}

TEST_F(VolumeData, OnlyFilesHaveContent) {
  const Inode link = value(volume().symlink(kRoot, "l", "t", caller_));
  EXPECT_EQ(outcome(volume().read(kRoot, 0, 1)), "is_a_directory");
  EXPECT_EQ(outcome(volume().read(link.ino, 0, 1)), "invalid");
  EXPECT_EQ(outcome(volume().read(Ino{999'999}, 0, 1)), "stale");
  EXPECT_EQ(outcome(volume().write(kRoot, 0, bytes_of("x"), false)), "is_a_directory");
  EXPECT_EQ(outcome(volume().write(link.ino, 0, bytes_of("x"), false)), "invalid");
  EXPECT_EQ(outcome(volume().write(Ino{999'999}, 0, bytes_of("x"), false)), "stale");
  EXPECT_EQ(outcome(volume().write(Ino{999'999}, 0, bytes_of(pattern(100'000, 1)), false)), "stale");
  EXPECT_EQ(outcome(volume().fallocate(kRoot, 0, 0, 1)), "is_a_directory");
  EXPECT_EQ(outcome(volume().seek(kRoot, 0, SEEK_DATA)), "is_a_directory");
  EXPECT_EQ(value(volume().readlink(link.ino)), "t");
}

TEST_F(VolumeData, FilesHaveALimit) {
  const Inode f = file(kRoot, "f");
  const std::uint64_t limit = store::kMaxFileSize;
  EXPECT_EQ(outcome(volume().write(f.ino, limit, bytes_of("x"), false)), "file_too_large");
  EXPECT_EQ(outcome(volume().write(f.ino, ~0ULL - 1, bytes_of("xyz"), false)), "file_too_large");
  EXPECT_EQ(attributes(f.ino).size, 0U);
  put(f.ino, "x", limit - 1);
  EXPECT_EQ(attributes(f.ino).size, limit);
}

TEST_F(VolumeData, PreallocationExtends) {
  const Inode f = file(kRoot, "f");
  put(f.ino, "text");
  age({f.ino});
  EXPECT_EQ(outcome(volume().fallocate(f.ino, 0, 2, 8)), "ok");
  EXPECT_EQ(content(f.ino), std::string("text\0\0\0\0\0\0", 10));
  EXPECT_EQ(times_set(f.ino), "cm");
  EXPECT_EQ(outcome(volume().fallocate(f.ino, 0, 0, 5)), "ok");
  EXPECT_EQ(attributes(f.ino).size, 10U);
  EXPECT_EQ(outcome(volume().fallocate(f.ino, kKeep, 0, 5000)), "ok");
  EXPECT_EQ(attributes(f.ino).size, 10U);
  EXPECT_EQ(outcome(volume().fallocate(f.ino, 0, 0, volume().store().max_file_size() + 1)), "no_space");
  const std::uint64_t limit = store::kMaxFileSize;
  EXPECT_EQ(outcome(volume().fallocate(f.ino, 0, limit, 1)), "file_too_large");
  EXPECT_EQ(outcome(volume().fallocate(f.ino, kKeep, limit, 1)), "file_too_large");
  EXPECT_EQ(outcome(volume().fallocate(f.ino, 0, ~0ULL, 2)), "file_too_large");
  EXPECT_EQ(outcome(volume().fallocate(f.ino, 0, 0, 0)), "invalid");
  EXPECT_EQ(outcome(volume().fallocate(Ino{999'999}, 0, 0, 1)), "stale");
}

TEST_F(VolumeData, PunchingMakesZerosAndKeepsTheSize) {
  const Inode f = file(kRoot, "f");
  std::string model = pattern(40'000, 3);
  put(f.ino, model);
  const std::uint64_t pages = attributes(f.ino).pages;
  age({f.ino});
  EXPECT_EQ(outcome(volume().fallocate(f.ino, kPunch, 5000, 20'000)), "ok");
  model.replace(5000, 20'000, std::string(20'000, '\0'));
  EXPECT_TRUE(content(f.ino) == model);
  EXPECT_LT(attributes(f.ino).pages, pages);
  EXPECT_EQ(times_set(f.ino), "cm");
  EXPECT_EQ(outcome(volume().fallocate(f.ino, kPunch, 39'000, 1ULL << 50U)), "ok");
  model.replace(39'000, 1000, std::string(1000, '\0'));
  EXPECT_TRUE(content(f.ino) == model);
  EXPECT_EQ(outcome(volume().fallocate(f.ino, kPunch, 1ULL << 40U, 10)), "ok");
  EXPECT_EQ(attributes(f.ino).size, 40'000U);
}

TEST_F(VolumeData, PunchingASmallFile) {
  const Inode f = file(kRoot, "f");
  put(f.ino, "0123456789");
  EXPECT_EQ(outcome(volume().fallocate(f.ino, kPunch, 2, 3)), "ok");
  EXPECT_EQ(content(f.ino), std::string("01\0\0\0"
                                        "56789",
                                        10));
}

TEST_F(VolumeData, ZeroRangeExtendsUnlessToldNotTo) {
  const Inode f = file(kRoot, "f");
  put(f.ino, "0123456789");
  EXPECT_EQ(outcome(volume().fallocate(f.ino, kZero | kKeep, 8, 10)), "ok");
  EXPECT_EQ(content(f.ino), std::string("01234567\0\0", 10));
  EXPECT_EQ(outcome(volume().fallocate(f.ino, kZero, 6, 6)), "ok");
  EXPECT_EQ(content(f.ino), std::string("012345\0\0\0\0\0\0", 12));
  EXPECT_EQ(outcome(volume().fallocate(f.ino, kZero, store::kMaxFileSize, 1)), "file_too_large");
}

TEST_F(VolumeData, OtherFallocateModesAreNotOffered) {
  const Inode f = file(kRoot, "f");
  EXPECT_EQ(outcome(volume().fallocate(f.ino, FALLOC_FL_COLLAPSE_RANGE, 0, 4096)), "unsupported");
  EXPECT_EQ(outcome(volume().fallocate(f.ino, FALLOC_FL_INSERT_RANGE, 0, 4096)), "unsupported");
  EXPECT_EQ(outcome(volume().fallocate(f.ino, FALLOC_FL_UNSHARE_RANGE, 0, 4096)), "unsupported");
  EXPECT_EQ(outcome(volume().fallocate(f.ino, FALLOC_FL_PUNCH_HOLE, 0, 4096)), "unsupported");
}

TEST_F(VolumeData, SeekFindsDataAndHoles) {
  const Inode f = file(kRoot, "f");
  put(f.ino, pattern(8192, 1));
  put(f.ino, pattern(4096, 2), 65'536);
  EXPECT_EQ(outcome(volume().setattr(f.ino, {.size = 100'000}, caller_)), "ok");
  EXPECT_EQ(seek(f.ino, 0, SEEK_DATA), "0");
  EXPECT_EQ(seek(f.ino, 0, SEEK_HOLE), "8192");
  EXPECT_EQ(seek(f.ino, 8192, SEEK_DATA), "65536");
  EXPECT_EQ(seek(f.ino, 66'000, SEEK_DATA), "66000");
  EXPECT_EQ(seek(f.ino, 66'000, SEEK_HOLE), "69632");
  EXPECT_EQ(seek(f.ino, 70'000, SEEK_DATA), "not_found");
  EXPECT_EQ(seek(f.ino, 70'000, SEEK_HOLE), "70000");
  EXPECT_EQ(seek(f.ino, 100'000, SEEK_HOLE), "not_found");
  EXPECT_EQ(seek(f.ino, 100'000, SEEK_DATA), "not_found");
  EXPECT_EQ(seek(f.ino, 0, SEEK_SET), "invalid");
  EXPECT_EQ(seek(Ino{999'999}, 0, SEEK_DATA), "stale");
  const Inode empty = file(kRoot, "empty");
  EXPECT_EQ(seek(empty.ino, 0, SEEK_DATA), "not_found");
  EXPECT_EQ(seek(empty.ino, 0, SEEK_HOLE), "not_found");
}

TEST_F(VolumeData, CopyRangeCopies) {
  const Inode from = file(kRoot, "from");
  const Inode to = file(kRoot, "to", 06755);
  const std::string text = pattern(3'000'000, 9);
  for (std::size_t at = 0; at < text.size(); at += 1U << 20U) put(from.ino, text.substr(at, 1U << 20U), at);
  age({from.ino, to.ino});
  EXPECT_EQ(copy(from.ino, 0, to.ino, 0, text.size()), "3000000");
  EXPECT_TRUE(content(to.ino) == text);
  EXPECT_EQ(times_set(to.ino), "cm");
  EXPECT_EQ(times_set(from.ino), "");
  // Unaligned, into the middle, over the end of the source.
  EXPECT_EQ(copy(from.ino, 1'234'567, to.ino, 7, 1'500'001), "1500001");
  std::string model = text;
  model.replace(7, 1'500'001, text.substr(1'234'567, 1'500'001));
  EXPECT_TRUE(content(to.ino) == model);
  EXPECT_EQ(copy(from.ino, 2'999'990, to.ino, 2'999'999, 100), "10");
  model.resize(3'000'009);
  model.replace(2'999'999, 10, text.substr(2'999'990));
  EXPECT_TRUE(content(to.ino) == model);
  EXPECT_EQ(copy(from.ino, 3'000'000, to.ino, 0, 100), "0");
  EXPECT_EQ(copy(from.ino, 0, to.ino, 0, 0), "0");
  EXPECT_EQ(attributes(to.ino).mode & 07777U, 06755U);
  EXPECT_EQ(value(volume().copy_range(from.ino, 0, to.ino, 0, 1, true)), 1U);
  EXPECT_EQ(attributes(to.ino).mode & 07777U, 0755U);
}

TEST_F(VolumeData, CopyRangeKeepsHoles) {
  const Inode from = file(kRoot, "from");
  const Inode to = file(kRoot, "to");
  put(from.ino, pattern(4096, 1), 1U << 20U);
  EXPECT_EQ(outcome(volume().setattr(from.ino, {.size = 20U << 20U}, caller_)), "ok");
  put(to.ino, pattern(100'000, 2));  // what the first hole replaces
  EXPECT_EQ(copy(from.ino, 0, to.ino, 0, 20U << 20U), std::to_string(20U << 20U));
  EXPECT_TRUE(content(to.ino) == content(from.ino));
  EXPECT_EQ(attributes(to.ino).pages, attributes(from.ino).pages);
  EXPECT_EQ(seek(to.ino, 0, SEEK_DATA), "1048576");
}

TEST_F(VolumeData, CopyRangeWithinAFile) {
  const Inode f = file(kRoot, "f");
  const std::string text = pattern(200'000, 4);
  put(f.ino, text);
  EXPECT_EQ(copy(f.ino, 0, f.ino, 100'000, 100'000), "100000");
  EXPECT_TRUE(content(f.ino) == text.substr(0, 100'000) + text.substr(0, 100'000));
  EXPECT_EQ(copy(f.ino, 0, f.ino, 50, 100), "invalid");
  EXPECT_EQ(copy(f.ino, 50, f.ino, 0, 100), "invalid");
}

TEST_F(VolumeData, CopyRangeRefuses) {
  const Inode f = file(kRoot, "f");
  const Inode g = file(kRoot, "g");
  put(f.ino, "text");
  EXPECT_EQ(copy(kRoot, 0, f.ino, 0, 10), "is_a_directory");
  EXPECT_EQ(copy(f.ino, 0, kRoot, 0, 10), "is_a_directory");
  EXPECT_EQ(copy(Ino{999'999}, 0, f.ino, 0, 10), "stale");
  EXPECT_EQ(copy(f.ino, 0, Ino{999'999}, 0, 10), "stale");
  EXPECT_EQ(copy(f.ino, 0, g.ino, store::kMaxFileSize, 10), "file_too_large");
  EXPECT_EQ(copy(f.ino, ~0ULL, g.ino, 0, 10), "0");
}

TEST_F(VolumeData, SyncMakesACheckpoint) {
  const Inode f = file(kRoot, "f");
  put(f.ino, "x");
  EXPECT_EQ(outcome(volume().sync(f.ino)), "ok");
  const auto statistics = volume().store().statistics();
  EXPECT_EQ(statistics.txn, statistics.durable_txn);
}

TEST_F(VolumeData, WritingMoreThanTheBoundEvicts) {
  // Eight times what the store holds, through files that nobody holds.
  const std::string text = pattern(1U << 20U, 5);
  for (int i = 0; i < 500; ++i) {
    const Inode f = file(kRoot, "f" + std::to_string(i));
    ASSERT_EQ(outcome(volume().write(f.ino, 0, bytes_of(text), false)), "ok") << i;
    ASSERT_TRUE(content(f.ino) == text) << i;
    volume().forget(f.ino, 1);
  }
  EXPECT_GT(volume().store().statistics().evicted_objects, 400U);
  EXPECT_EQ(find(kRoot, "f0"), "not_found");
  EXPECT_EQ(find(kRoot, "f499"), "ok");
}

TEST_F(VolumeData, AFileNearlyAsLargeAsTheStoreEvictsTheRestAndStays) {
  for (int i = 0; i < 20; ++i) {
    const Inode other = file(kRoot, "other" + std::to_string(i));
    put(other.ino, pattern(1U << 20U, 6));
    volume().forget(other.ino, 1);
  }
  const Inode f = file(kRoot, "f");
  const std::string text = pattern(1U << 20U, 7);
  const std::uint64_t end = volume().store().max_file_size() / text.size() * 15 / 16 * text.size();
  for (std::uint64_t at = 0; at < end; at += text.size()) {
    ASSERT_EQ(outcome(volume().write(f.ino, at, bytes_of(text), false)), "ok")
        << "at " << at << " of " << end;
  }
  EXPECT_EQ(attributes(f.ino).nlink, 1U);
  EXPECT_EQ(attributes(f.ino).size, end);
  EXPECT_EQ(find(kRoot, "other0"), "not_found");
  EXPECT_TRUE(content(f.ino, 0, text.size()) == text);
}

}  // namespace
}  // namespace lrufs::fs
