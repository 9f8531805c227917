// Content of files against a std::string: inline, paged, holes; staged, atomic, in place; reads, segments,
// data and holes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "store/keys.h"
#include "tests/support/random.h"
#include "tests/support/store_fixture.h"

namespace lrufs::test {
namespace {

using store::as_bytes;
using store::Code;
using store::Ino;
using store::Inode;
using store::kMaxInline;
using store::kPageSize;
using store::ReadView;
using store::Segment;
using store::Snapshot;
using store::Status;
using store::Transaction;
using WriteMode = store::Transaction::WriteMode;

class Content : public StoreTest {
 protected:
  static std::string read(const ReadView& view, const Inode& inode, std::uint64_t offset,
                          std::size_t length) {
    std::string text(length, '\xEE');
    const auto bytes = view.read(inode, offset, {reinterpret_cast<std::byte*>(text.data()), text.size()});
    EXPECT_TRUE(bytes) << say(bytes);
    if (!bytes) return {};
    for (std::size_t i = *bytes; i < length; ++i) EXPECT_EQ(text[i], '\xEE') << "written behind the end";
    text.resize(*bytes);
    return text;
  }
  // Everything that a view tells about a file's content.
  static void expect_content(const ReadView& view, Ino ino, const std::string& model, Random& random) {
    const Inode inode = value(view.inode(ino));
    ASSERT_EQ(inode.size, model.size());
    ASSERT_TRUE(read(view, inode, 0, model.size()) == model);
    for (int i = 0; i < 4; ++i) {
      const std::uint64_t offset = random.skewed(model.size() + 5000);
      const std::size_t length = random.skewed(model.size() + 5000);
      const std::string expected = offset < model.size() ? model.substr(offset, length) : "";
      ASSERT_TRUE(read(view, inode, offset, length) == expected) << offset << " + " << length;
      // The same by segments, which do not touch holes.
      std::vector<Segment> segments;
      ASSERT_EQ(value(view.map_content(inode, offset, length, segments)), expected.size());
      std::string joined;
      for (const Segment& segment : segments) {
        ASSERT_GT(segment.length, 0U);
        if (segment.data == nullptr)
          joined.append(segment.length, '\0');
        else
          joined.append(reinterpret_cast<const char*>(segment.data), segment.length);
      }
      ASSERT_TRUE(joined == expected);
    }
    // Data and holes: what is told to be a hole holds zeros, and the two alternate up to the end.
    std::uint64_t at = 0;
    for (int steps = 0; at < model.size(); ++steps) {
      ASSERT_LT(steps, 100000);
      const auto data = view.next_data(inode, at);
      if (!data) {
        ASSERT_EQ(data.error().code, Code::kNotFound);
        ASSERT_EQ(model.find_first_not_of('\0', at), std::string::npos)
            << "data behind " << at << " is not told";
        ASSERT_EQ(value(view.next_hole(inode, at)), at);
        break;
      }
      ASSERT_GE(*data, at);
      ASSERT_LT(*data, model.size());
      for (std::uint64_t i = at; i < *data; ++i) ASSERT_EQ(model[i], '\0') << "a hole holds data";
      const std::uint64_t hole = value(view.next_hole(inode, *data));
      ASSERT_GT(hole, *data);
      ASSERT_LE(hole, model.size());
      const std::uint64_t inside = random.between(*data, hole - 1);
      ASSERT_EQ(value(view.next_data(inode, inside)), inside);
      ASSERT_EQ(value(view.next_hole(inode, inside)), hole);
      at = hole;
    }
    for (const std::uint64_t behind : {model.size(), model.size() + 1}) {
      ASSERT_EQ(code_of(view.next_data(inode, behind)), "not_found");
      ASSERT_EQ(code_of(view.next_hole(inode, behind)), "not_found");
    }
  }
  static void model_write(std::string& model, std::uint64_t offset, const std::string& data) {
    if (data.empty()) return;
    if (model.size() < offset + data.size()) model.resize(offset + data.size(), '\0');
    model.replace(offset, data.size(), data);
  }
  static void model_punch(std::string& model, std::uint64_t offset, std::uint64_t length) {
    for (std::uint64_t i = offset; i < model.size() && i - offset < length; ++i) model[i] = '\0';
  }

  // Offsets where something may go wrong: around the inline limit, pages, and the file's end.
  static std::uint64_t offset_in(Random& random, std::uint64_t size, std::uint64_t limit) {
    const auto near = [&](std::uint64_t middle) {
      const std::uint64_t shift = random.below(4);
      return random.chance(50) ? middle + shift : middle - std::min(middle, shift);
    };
    switch (random.below(5)) {
      case 0:
        return near(kMaxInline);
      case 1:
        return near(random.below(limit / kPageSize + 1) * kPageSize);
      case 2:
        return near(size);
      default:
        return random.skewed(limit);
    }
  }

  void run(std::uint64_t limit, std::size_t steps, Random& random, bool with_snapshots);
};

void Content::run(std::uint64_t limit, std::size_t steps, Random& random, bool with_snapshots) {
  constexpr int kFiles = 3;
  std::vector<Ino> inodes;
  std::vector<std::string> models(kFiles);
  for (int i = 0; i < kFiles; ++i)
    inodes.push_back(make(store::kRootIno, "f" + std::to_string(limit) + "_" + std::to_string(i)).ino);
  struct Held {
    Snapshot snapshot;
    std::vector<std::string> models;
  };
  std::deque<Held> held;
  for (std::size_t step = 0; step < steps; ++step) {
    const std::size_t which = random.below(kFiles);
    const Ino ino = inodes[which];
    std::string model = models[which];
    const bool abort = random.chance(8);
    const std::uint64_t offset = offset_in(random, model.size(), limit);
    const std::uint64_t length = random.chance(10) ? 0 : random.skewed(limit - std::min(limit, offset));
    // Two content operations in a transaction, sometimes.
    store::StagedData staged;
    std::string data;
    const std::uint64_t kind = random.below(12);
    const bool stage = kind < 3;
    if (kind < 7) {
      data = random.chance(10) ? std::string(length, '\0') : random.text(length);
      if (stage) staged = value(store().stage(offset, as_bytes(data)));
    }
    const bool again = random.chance(20);
    const std::string more = random.text(random.skewed(6000));
    const std::uint64_t more_offset = offset_in(random, model.size(), limit - 6000);
    std::string after = model;
    const WriteMode mode = !abort && random.chance(50) ? WriteMode::kInPlace : WriteMode::kAtomic;
    const auto body = [&](Transaction& txn) -> Status {
      LRUFS_TRY_ASSIGN(Inode inode, txn.view().inode(ino));
      after = model;
      if (kind < 7) {
        LRUFS_TRY(txn.write(inode, offset, as_bytes(data), stage ? &staged : nullptr, mode));
        model_write(after, offset, data);
      } else if (kind < 9) {
        LRUFS_TRY(txn.truncate(inode, offset));
        after.resize(offset, '\0');
      } else {
        const std::uint64_t count = random.chance(10) ? ~0ULL : length;
        LRUFS_TRY(txn.punch(inode, offset, count));
        model_punch(after, offset, count);
      }
      if (again) {
        LRUFS_TRY(txn.write(inode, more_offset, as_bytes(more), nullptr, mode));
        model_write(after, more_offset, more);
      }
      LRUFS_TRY(txn.put_inode(inode));
      if (random.chance(20)) {
        EXPECT_NO_FATAL_FAILURE(expect_content(txn.view(), ino, after, random));
      }
      return abort ? Status(store::fail(Code::kInvalid)) : Status{};
    };
    const Status done = store().update(body);
    ASSERT_EQ(code_of(done), abort ? "invalid" : "ok") << say(done);
    if (!abort) models[which] = after;
    if (random.chance(8)) ok(store().checkpoint());
    {
      const Snapshot now = store().snapshot(Snapshot::Kind::kTransient);
      ASSERT_NO_FATAL_FAILURE(expect_content(now.view(), ino, models[which], random))
          << "step " << step << ", kind " << kind << ", offset " << offset << ", length " << length;
    }
    if (!with_snapshots) continue;
    if (random.chance(5)) held.push_back({store().snapshot(Snapshot::Kind::kFull), models});
    if (held.size() > 3 || (!held.empty() && random.chance(3))) held.pop_front();
    if (step % 10 == 0) {
      for (const Held& one : held) {
        for (int i = 0; i < kFiles; ++i)
          ASSERT_NO_FATAL_FAILURE(expect_content(one.snapshot.view(), inodes[static_cast<std::size_t>(i)],
                                                 one.models[static_cast<std::size_t>(i)], random))
              << "a snapshot changed, step " << step;
      }
    }
  }
  held.clear();
  close();
  ASSERT_EQ(check(), "");
  open();
  for (int i = 0; i < kFiles; ++i)
    ASSERT_EQ(content(inodes[static_cast<std::size_t>(i)]), models[static_cast<std::size_t>(i)]);
}

TEST_F(Content, SmallFilesEqualAString) {
  for (std::size_t round = 0; round < 4; ++round) {
    Random random;
    SCOPED_TRACE(random.hint());
    ASSERT_NO_FATAL_FAILURE(run(8000 + round, scaled(400), random, round % 2 == 0));
  }
}

TEST_F(Content, MiddleFilesEqualAString) {
  Random random;
  SCOPED_TRACE(random.hint());
  ASSERT_NO_FATAL_FAILURE(run(60000, scaled(1200), random, true));
}

TEST_F(Content, LargeFilesEqualAString) {
  Random random;
  SCOPED_TRACE(random.hint());
  ASSERT_NO_FATAL_FAILURE(run(1'500'000, scaled(150), random, false));
}

TEST_F(Content, InlineUpToItsLimit) {
  const Inode file = make(store::kRootIno, "f");
  change(file.ino, [&](Transaction& txn, Inode& inode) {
    return txn.write(inode, 0, as_bytes(std::string(kMaxInline, 'a')));
  });
  Inode inode = resolve("f");
  EXPECT_EQ(inode.pages, 0U);
  EXPECT_EQ(inode.flags & Inode::kPaged, 0U);
  change(file.ino, [&](Transaction& txn, Inode& i) { return txn.write(i, kMaxInline, as_bytes("b")); });
  inode = resolve("f");
  EXPECT_EQ(inode.pages, 1U);
  EXPECT_EQ(get("f"), std::string(kMaxInline, 'a') + "b");
  change(file.ino, [&](Transaction& txn, Inode& i) { return txn.truncate(i, 0); });
  inode = resolve("f");
  EXPECT_EQ(inode.pages, 0U);
  EXPECT_EQ(inode.size, 0U);
  change(file.ino, [&](Transaction& txn, Inode& i) { return txn.write(i, 0, as_bytes("short")); });
  EXPECT_EQ(resolve("f").pages, 0U) << "inline again";
}

TEST_F(Content, HolesTakeNoPages) {
  const Inode file = make(store::kRootIno, "f");
  const std::uint64_t size = store().max_file_size();
  change(file.ino, [&](Transaction& txn, Inode& inode) -> Status {
    LRUFS_TRY(txn.truncate(inode, size));
    return txn.write(inode, size / 2, as_bytes("middle"));
  });
  const Inode inode = resolve("f");
  EXPECT_EQ(inode.size, size);
  EXPECT_LE(inode.pages, 2U);
  const Snapshot now = store().snapshot();
  EXPECT_EQ(value(now.view().next_data(inode, 0)), size / 2 / kPageSize * kPageSize);
  EXPECT_EQ(value(now.view().next_hole(inode, 0)), 0U);
  EXPECT_EQ(read(now.view(), inode, size / 2 - 2, 10), std::string("\0\0middle\0\0", 10));
}

TEST_F(Content, TheLargestFileFits) {
  const Inode file = make(store::kRootIno, "f");
  const std::string piece(256 * 1024, 'x');
  for (std::uint64_t at = 0; at < store().max_file_size(); at += piece.size()) {
    const store::Store::Protection protection(store(), file.ino);
    const std::size_t length = std::min<std::uint64_t>(piece.size(), store().max_file_size() - at);
    ok(store().write("f", at, as_bytes(piece.substr(0, length))));
  }
  EXPECT_EQ(resolve("f").size, store().max_file_size());
}

TEST_F(Content, PunchingFreesWholePages) {
  const Inode file = make(store::kRootIno, "f");
  change(file.ino, [&](Transaction& txn, Inode& inode) {
    return txn.write(inode, 0, as_bytes(std::string(10 * kPageSize, 'x')));
  });
  EXPECT_EQ(resolve("f").pages, 10U);
  change(file.ino, [&](Transaction& txn, Inode& inode) { return txn.punch(inode, 100, 4 * kPageSize); });
  EXPECT_EQ(resolve("f").pages, 7U);  // 1, 2 and 3 went
  EXPECT_EQ(resolve("f").size, 10 * kPageSize);
  const Snapshot now = store().snapshot();
  EXPECT_EQ(value(now.view().next_hole(resolve("f"), 0)), kPageSize);
  EXPECT_EQ(value(now.view().next_data(resolve("f"), kPageSize)), 4 * kPageSize);
  change(file.ino,
         [&](Transaction& txn, Inode& inode) { return txn.punch(inode, 9 * kPageSize, 5 * kPageSize); });
  EXPECT_EQ(resolve("f").pages, 6U);
}

TEST_F(Content, WhatWasCutOffDoesNotComeBack) {
  const Inode file = make(store::kRootIno, "f");
  for (const std::uint64_t first : {std::uint64_t{900}, std::uint64_t{5000}, 3 * kPageSize}) {
    for (const std::uint64_t cut :
         {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{800}, std::uint64_t{4096}, std::uint64_t{4097}}) {
      if (cut > first) continue;
      change(file.ino, [&](Transaction& txn, Inode& inode) -> Status {
        LRUFS_TRY(txn.truncate(inode, 0));
        return txn.write(inode, 0, as_bytes(std::string(first, 's')));
      });
      change(file.ino, [&](Transaction& txn, Inode& inode) { return txn.truncate(inode, cut); });
      change(file.ino, [&](Transaction& txn, Inode& inode) { return txn.truncate(inode, 20000); });
      ASSERT_EQ(get("f"), std::string(cut, 's') + std::string(20000 - cut, '\0')) << first << " " << cut;
      change(file.ino, [&](Transaction& txn, Inode& inode) { return txn.truncate(inode, cut); });
      change(file.ino,
             [&](Transaction& txn, Inode& inode) { return txn.write(inode, 15000, as_bytes("e")); });
      ASSERT_EQ(get("f"), std::string(cut, 's') + std::string(15000 - cut, '\0') + "e")
          << first << " " << cut;
    }
  }
}

// The transaction is run again for want of room, and meanwhile the file became shorter: the page that the
// first run completed with the file's old tail must not bring it back.
TEST_F(Content, ASecondRunOfAStagedWriteTakesTheFileAsItIsThen) {
  const Inode file = make(store::kRootIno, "f");
  const std::string data(65000, 'd');  // ends within a page
  change(file.ino, [&](Transaction& txn, Inode& inode) {
    return txn.write(inode, 0, as_bytes(std::string(65536, 'o')));
  });
  store::StagedData staged = value(store().stage(0, as_bytes(data)));
  {
    Transaction txn = *store().begin();
    Inode inode = value(txn.view().inode(file.ino));
    ok(txn.write(inode, 0, as_bytes(data), &staged));
    txn.abort();
  }
  change(file.ino, [&](Transaction& txn, Inode& inode) { return txn.truncate(inode, 100); });
  change(file.ino,
         [&](Transaction& txn, Inode& inode) { return txn.write(inode, 0, as_bytes(data), &staged); });
  EXPECT_EQ(get("f"), data);
  change(file.ino, [&](Transaction& txn, Inode& inode) { return txn.truncate(inode, 65536); });
  EXPECT_EQ(get("f"), data + std::string(536, '\0'));
}

TEST_F(Content, StagedAtAnyOffset) {
  Random random;
  SCOPED_TRACE(random.hint());
  const Inode file = make(store::kRootIno, "f");
  std::string model;
  for (std::size_t i = 0; i < scaled(150); ++i) {
    const std::uint64_t offset = offset_in(random, model.size(), 100000);
    const std::string data = random.text(random.skewed(90000));
    store::StagedData staged = value(store().stage(offset, as_bytes(data)));
    change(file.ino,
           [&](Transaction& txn, Inode& inode) { return txn.write(inode, offset, as_bytes(data), &staged); });
    model_write(model, offset, data);
    ASSERT_TRUE(get("f") == model) << "offset " << offset << ", length " << data.size();
    if (random.chance(10)) {
      const std::uint64_t size = random.below(100000);
      change(file.ino, [&](Transaction& txn, Inode& inode) { return txn.truncate(inode, size); });
      model.resize(size, '\0');
    }
  }
}

TEST_F(Content, SequentialAppendsStayInOneExtent) {
  const Inode file = make(store::kRootIno, "f");
  std::string model;
  for (int i = 0; i < 64; ++i) {
    const std::string data(16384, static_cast<char>(i));
    change(file.ino,
           [&](Transaction& txn, Inode& inode) { return txn.write(inode, inode.size, as_bytes(data)); });
    model += data;
  }
  EXPECT_EQ(get("f"), model);
  const Snapshot now = store().snapshot();
  std::vector<Segment> segments;
  value(now.view().map_content(resolve("f"), 0, model.size(), segments));
  EXPECT_LE(segments.size(), 4U);
}

TEST_F(Content, TooLarge) {
  const Inode file = make(store::kRootIno, "f");
  {
    Transaction txn = *store().begin();
    Inode inode = value(txn.view().inode(file.ino));
    EXPECT_EQ(code_of(txn.write(inode, store::kMaxFileSize, as_bytes("x"))), "file_too_large");
    EXPECT_EQ(code_of(txn.write(inode, ~0ULL, as_bytes("xy"))), "file_too_large");
    EXPECT_EQ(code_of(txn.truncate(inode, store::kMaxFileSize + 1)), "file_too_large");
    txn.abort();
  }
  EXPECT_EQ(code_of(store().stage(store::kMaxFileSize, as_bytes("x"))), "file_too_large");
  EXPECT_EQ(code_of(store().stage(~0ULL, as_bytes("xy"))), "file_too_large");
  change(file.ino, [&](Transaction& txn, Inode& inode) { return txn.truncate(inode, store::kMaxFileSize); });
  EXPECT_EQ(resolve("f").size, store::kMaxFileSize);
  // The last byte there is.
  change(file.ino, [&](Transaction& txn, Inode& inode) {
    return txn.write(inode, store::kMaxFileSize - 1, as_bytes("z"));
  });
  const Snapshot now = store().snapshot();
  EXPECT_EQ(read(now.view(), resolve("f"), store::kMaxFileSize - 1, 10), "z");
  EXPECT_EQ(value(now.view().next_data(resolve("f"), 0)), store::kMaxFileSize - kPageSize);
}

TEST_F(Content, ThroughTheFacade) {
  Random random;
  SCOPED_TRACE(random.hint());
  std::string model;
  for (std::size_t i = 0; i < scaled(120); ++i) {
    const std::uint64_t offset = offset_in(random, model.size(), 200000);
    const std::string data = random.text(random.skewed(150000));
    ok(store().write("d/f", offset, as_bytes(data)));
    model_write(model, offset, data);
    ASSERT_TRUE(get("d/f") == model);
    const std::size_t length = random.skewed(200000);
    std::string piece(length, '?');
    const std::uint64_t from = random.skewed(200000);
    piece.resize(value(store().read("d/f", from, {reinterpret_cast<std::byte*>(piece.data()), length})));
    ASSERT_TRUE(piece == (from < model.size() ? model.substr(from, length) : "")) << from << " + " << length;
  }
}

}  // namespace
}  // namespace lrufs::test
