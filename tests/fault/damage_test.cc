// ctest: timeout=3600
//
// Random damage to every part of a store: nothing crashes or hangs, what is read from the tree is right or an
// error, and the check finds whatever a reader would. LRUFS_TEST_DAMAGES is their number
// (scripts/test.sh --long: 10,000).
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>

#include "store/check.h"
#include "store/keys.h"
#include "store/meta.h"
#include "store/space_log.h"
#include "tests/support/random.h"
#include "tests/support/store_fixture.h"
#include "tests/support/store_ops.h"
#include "tests/support/store_truth.h"

namespace lrufs::test {
namespace {

using store::Code;
using store::Ino;
using store::Inode;
using store::kPageSize;
using store::kRootIno;
using store::Options;
using store::PageNo;
using store::Status;
using store::Store;
using store::Transaction;

std::size_t number_of_damages() {
  const char* text = std::getenv("LRUFS_TEST_DAMAGES");
  return text == nullptr ? scaled(250) : std::strtoull(text, nullptr, 10);
}

class DamageTest : public StoreTest {
 protected:
  DamageTest() {
    check_at_end_ = false;
    options_.bound = 16ULL << 20U;
  }

  using Bytes = std::string;
  struct State {
    StateTruth truth;
    std::set<std::uint64_t> content;  // pages
    bool certain = false;             // the durable or the live state: its content pages are its own
  };

  [[nodiscard]] Bytes bytes_now() const {
    std::ifstream in(path(), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  // In place: device and inode stay, so that live metas are believed.
  void write_file(const Bytes& bytes) const {
    std::fstream out(path(), std::ios::binary | std::ios::in | std::ios::out | std::ios::trunc);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    ASSERT_TRUE(out.good());
  }
  static std::string root_name(const store::TreeRoot& root) {
    return std::to_string(raw(root.page)) + " born " + std::to_string(raw(root.birth));
  }

  void remember_state(bool certain) {
    const store::Snapshot snapshot = store().snapshot();
    auto truth = truth_of(snapshot.view());
    ASSERT_TRUE(truth) << say(truth);
    // Several states may have one root, which is edited in place.
    State& state = states_.emplace(root_name(snapshot.view().roots().names), State())->second;
    state.truth = *std::move(truth);
    state.certain = certain;
    state.content = content_pages(snapshot.view());
    each_tree_page(snapshot.view(), [&](PageNo page) { tree_pages_.push_back(raw(page)); });
  }
  static std::set<std::uint64_t> content_pages(const store::ReadView& view) {
    std::set<std::uint64_t> pages;
    const auto add = [&](PageNo first, std::uint64_t count) {
      for (std::uint64_t i = 0; i < count; ++i) pages.insert(raw(first) + i);
    };
    store::Cursor cursor(view.pager(), view.roots().names);
    for (ok(cursor.first()); cursor.valid(); ok(cursor.next())) {
      const auto parts = store::split_key(cursor.key());
      if (parts->kind == store::Kind::kExtent) {
        const auto extent = store::decode_extent(0, cursor.value());
        add(extent->page, extent->count);
      } else if (parts->kind == store::Kind::kXattr && cursor.value().front() == store::kXattrPaged) {
        const auto paged = store::decode_paged_xattr(cursor.value().subspan(1));
        for (const store::PageRun& run : paged->runs) add(run.first, run.count);
      }
    }
    return pages;
  }
  template <typename F>
  static void each_tree_page(const store::ReadView& view, F each) {
    for (const store::TreeRoot& root : {view.roots().names, view.roots().recency}) {
      store::tree_walk(
          view.pager(), root,
          [&](PageNo page, const store::Page&) {
            each(page);
            return true;
          },
          [](PageNo, const store::Error&) {});
    }
  }

  void fill(Random& random) {
    Ino deep = kRootIno;
    for (int i = 0; i < 12; ++i) deep = make(deep, "deep" + std::to_string(i), 0040755).ino;
    for (int d = 0; d < 40; ++d) {
      const Ino dir = make(d % 3 == 0 ? deep : kRootIno, "d" + std::to_string(d), 0040755).ino;
      for (std::uint64_t f = random.below(25); f > 0; --f) {
        const Inode file = make(dir, "file " + std::to_string(f) + std::string(10 * (f % 4), 'x'));
        names_.push_back(file.ino);
      }
    }
    for (const Ino ino : names_) {
      change(ino, [&](Transaction& txn, Inode& inode) -> Status {
        const std::uint64_t kind = random.below(10);
        const std::string text = random.text(kind < 6 ? random.below(900) : 2000 + random.below(18000));
        LRUFS_TRY(txn.write(inode, kind == 9 ? 50'000 : 0, store::as_bytes(text)));
        if (random.chance(20))
          LRUFS_TRY(txn.set_xattr(inode, "user.small", store::as_bytes(random.text(100))));
        if (random.chance(5))
          LRUFS_TRY(txn.set_xattr(inode, "user.large", store::as_bytes(random.text(6000))));
        if (random.chance(10)) {
          LRUFS_TRY_ASSIGN(Inode root, txn.view().inode(kRootIno));
          LRUFS_TRY(txn.link(root, "link to " + std::to_string(raw(ino)), inode));
          LRUFS_TRY(txn.put_inode(root));
        }
        return {};
      });
    }
    for (int i = 0; i < 300; ++i) store().touch(names_[random.below(names_.size())]);
  }

  // The log is condensed at a checkpoint once it has a MiB. While somebody reads, pages are copied, not
  // edited in place.
  void lengthen_log() {
    std::optional<store::Snapshot> reader;
    for (int i = 0; i < 20'000; ++i) {
      reader.reset();
      reader.emplace(store().snapshot(store::Snapshot::Kind::kTransient));
      change(names_[static_cast<std::size_t>(i) * 7 % names_.size()],
             [&](Transaction&, Inode& inode) -> Status {
               inode.mtime.sec = i;
               return {};
             });
      if (i % 700 == 699) ok(store().checkpoint());
    }
  }

  void change_some(Random& random) {
    for (int i = 0; i < 5; ++i) {
      change(names_[random.below(names_.size())], [&](Transaction& txn, Inode& inode) -> Status {
        LRUFS_TRY(txn.truncate(inode, random.below(2) * 3000));
        return txn.write(inode, random.below(9000), store::as_bytes(random.text(random.below(6000))));
      });
    }
  }

  // A store with a history, its bytes as SIGKILL leaves them, older bytes of the same file, and what each
  // state that may be opened holds.
  void build(Random& random) {
    fill(random);
    reopen();
    lengthen_log();
    for (int round = 0; round < 3; ++round) {
      if (round > 0) change_some(random);
      older_ = bytes_now();
      ok(store().checkpoint());
      ASSERT_NO_FATAL_FAILURE(remember_state(round == 2));
    }
    for (int i = 0; i < 4; ++i) {
      change_some(random);
      ASSERT_NO_FATAL_FAILURE(remember_state(i == 3));
    }
    change(names_[0], [](Transaction&, Inode& inode) -> Status {
      inode.mtime.sec = 1;
      return {};
    });
    ASSERT_NO_FATAL_FAILURE(remember_state(true));
    image_ = bytes_now();
    for (std::uint64_t slot = 0; slot < 4; ++slot) {
      const auto meta =
          store::decode_meta(reinterpret_cast<const std::byte*>(image_.data()) + slot * kPageSize).meta;
      ASSERT_TRUE(meta) << slot;
      store::Pager pager(reinterpret_cast<std::byte*>(image_.data()), image_.size() / kPageSize);
      pager.set_limit(image_.size() / kPageSize);
      const auto pages = store::SpaceLog::pages_of(pager, meta->space);
      ASSERT_TRUE(pages) << slot << " " << say(pages);
      for (const store::PageRun& run : *pages)
        space_pages_.push_back(raw(run.first) + random.below(run.count));
      has_map_ = has_map_ || meta->space.directory != store::kNoPage;
    }
    close();
    write_file(image_);
  }

  std::uint64_t any_page(Random& random) const {
    const std::uint64_t kind = random.below(10);
    if (kind < 2) return random.below(4);
    if (kind < 6) return tree_pages_[random.below(tree_pages_.size())];
    if (kind < 8) return space_pages_[random.below(space_pages_.size())];
    return random.below(image_.size() / kPageSize);
  }

  // Damages `image` in one way and tells how.
  std::string damage(Random& random, Bytes& image, std::set<std::uint64_t>& hurt) const {
    const std::uint64_t pages = image.size() / kPageSize;
    if (pages < 20) return "nothing";
    const std::uint64_t page = std::min(any_page(random), pages - 1);
    const std::string at = " page " + std::to_string(page);
    char* bytes = image.data() + page * kPageSize;
    hurt.insert(page);
    switch (random.below(8)) {
      case 0: {
        const std::uint64_t offset = random.below(page < 4 ? store::kMetaBytes : kPageSize);
        bytes[offset] = static_cast<char>(bytes[offset] ^ static_cast<char>(1U + random.below(255)));
        return "byte " + std::to_string(offset) + " of" + at;
      }
      case 1:
        std::memcpy(bytes + 512 * random.below(8), random.text(512).data(), 512);
        return "a sector of" + at;
      case 2:
        std::memcpy(bytes, random.text(kPageSize).data(), kPageSize);
        return "noise in" + at;
      case 3:
        std::memset(bytes, 0, kPageSize);
        return "zeros in" + at;
      case 4: {
        const std::uint64_t other = std::min(any_page(random), pages - 1);
        hurt.insert(other);
        std::swap_ranges(bytes, bytes + kPageSize, image.data() + other * kPageSize);
        return "swapped with " + std::to_string(other) + at;
      }
      case 5:
        if ((page + 1) * kPageSize <= older_.size())
          std::memcpy(bytes, older_.data() + page * kPageSize, kPageSize);
        return "the older version of" + at;
      case 6: {
        const std::uint64_t from = random.below(pages);
        const std::uint64_t to = std::min(pages, from + 1 + random.below(16));
        std::memset(image.data() + from * kPageSize, 0, (to - from) * kPageSize);
        for (std::uint64_t each = from; each < to; ++each) hurt.insert(each);
        return "zeros from page " + std::to_string(from) + " to " + std::to_string(to);
      }
      default: {
        const std::uint64_t size =
            random.chance(20) ? random.below(20 * kPageSize) : random.below(image.size());
        for (std::uint64_t each = size / kPageSize; each < pages; ++each) hurt.insert(each);
        image.resize(size);
        return "cut at " + std::to_string(size);
      }
    }
  }

  // Opens the damaged file and compares everything. Returns whether an answer was missing or wrong.
  void read_all(const std::set<std::uint64_t>& hurt, bool from_checkpoint, bool read_only) {
    Options options = options_;
    options.read_only = read_only;
    options.from_checkpoint = from_checkpoint;
    options.bound_given = false;
    options.create = false;
    store::CheckOptions check_options;
    check_options.from_checkpoint = from_checkpoint;
    const auto report = store::check_file(path(), check_options);
    const auto opened = Store::open(path(), options);
    if (!opened) {
      EXPECT_TRUE(opened.error().code == Code::kCorrupt || opened.error().code == Code::kNotAStore ||
                  opened.error().code == Code::kNewerFormat)
          << say(opened);
      // A store that lost its end is read only if that is asked for.
      const bool refused = opened.error().message.find("truncated") != std::string::npos && !read_only;
      EXPECT_TRUE(refused ? !report || !report->clean() : !report) << say(opened);
      ++unopened_;
      return;
    }
    ASSERT_TRUE(report) << say(report);
    {
      const store::Snapshot snapshot = (*opened)->snapshot();
      const auto [first, last] = states_.equal_range(root_name(snapshot.view().roots().names));
      ASSERT_NE(first, last) << "a state that never was";
      const auto fits = std::find_if(first, last, [&](const auto& known) {
        return TruthCheck(snapshot.view(), known.second.truth, false).lies().empty();
      });
      const auto state = fits != last ? fits : first;
      const bool suspicious = (*opened)->read_only() && !read_only;
      const std::set<std::uint64_t>& content = state->second.content;
      const bool content_too =
          state->second.certain &&
          std::none_of(hurt.begin(), hurt.end(), [&](std::uint64_t page) { return content.contains(page); });
      const TruthCheck check(snapshot.view(), state->second.truth, content_too);
      EXPECT_EQ(check.lies(), "");
      if (!state->second.certain) ++older_states_;
      if (content_too) ++with_content_;
      if (report->clean()) {
        EXPECT_EQ(check.errors(), 0U) << "the check found nothing";
        EXPECT_FALSE(suspicious);
      }
      ++(check.errors() > 0 ? with_errors_ : whole_);
    }
    EXPECT_EQ(say((*opened)->close()), "ok");
  }

  // Whatever happens, it happens without a crash, and the store can be looked at again.
  void write_some(Random& random) {
    Options options = options_;
    options.bound_given = false;
    options.create = false;
    options.force = true;
    {
      const auto opened = Store::open(path(), options);
      if (!opened) return;
      Store& damaged = **opened;
      for (int i = 0; i < 12; ++i) {
        const std::string key = "d" + std::to_string(random.below(40)) + "/new" + std::to_string(i);
        (void)damaged.put(key, store::as_bytes(random.text(random.skewed(100'000))));
        const Ino ino = names_[random.below(names_.size())];
        (void)damaged.update([&](Transaction& txn) -> Status {
          LRUFS_TRY_ASSIGN(Inode inode, txn.view().inode(ino));
          LRUFS_TRY(txn.write(inode, random.below(9000), store::as_bytes(random.text(random.below(6000)))));
          return txn.put_inode(inode);
        });
        damaged.touch(ino);
        if (i == 5) (void)damaged.checkpoint();
      }
      (void)damaged.evict(200'000);
      (void)damaged.close();
    }
    (void)store::check_file(path());
  }

  std::multimap<std::string, State> states_;
  std::vector<Ino> names_;
  std::vector<std::uint64_t> tree_pages_, space_pages_;
  bool has_map_ = false;
  Bytes image_, older_;
  std::size_t unopened_ = 0, with_errors_ = 0, whole_ = 0, older_states_ = 0, with_content_ = 0;
};

TEST_F(DamageTest, NothingCrashesAndNothingLies) {
  Random random;
  SCOPED_TRACE(random.hint());
  ASSERT_NO_FATAL_FAILURE(build(random));
  EXPECT_TRUE(has_map_) << "the log was never condensed";
  // The store itself is sound, in both states.
  ASSERT_NO_FATAL_FAILURE(read_all({}, true, true));
  ASSERT_NO_FATAL_FAILURE(read_all({}, false, true));
  EXPECT_EQ(whole_, 2U);

  const std::size_t damages = number_of_damages();
  for (std::size_t round = 0; round < damages && !HasFailure(); ++round) {
    Bytes image = image_;
    std::set<std::uint64_t> hurt;
    std::string how;
    for (std::uint64_t i = random.chance(70) ? 1 : 1 + random.below(6); i > 0; --i)
      how += damage(random, image, hurt) + "; ";
    SCOPED_TRACE("round " + std::to_string(round) + ": " + how);
    ASSERT_NO_FATAL_FAILURE(write_file(image));
    ASSERT_NO_FATAL_FAILURE(read_all(hurt, true, true));
    ASSERT_NO_FATAL_FAILURE(read_all(hurt, false, random.chance(50)));
    if (round % 2 == 0) write_some(random);
  }
  std::printf("unopened %zu, with errors %zu, whole %zu, older states %zu, content compared %zu\n", unopened_,
              with_errors_, whole_, older_states_, with_content_);
  EXPECT_GT(with_content_, damages / 10);
  EXPECT_GT(with_errors_, damages / 10);
  EXPECT_GT(whole_, damages / 10);
}

}  // namespace
}  // namespace lrufs::test
