// A store that was damaged: it is remembered and opened read-only; a repair drops what is hurt, keeps the
// rest, and leaves all as it was when it cannot be done.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "store/check.h"
#include "store/damage_mark.h"
#include "store/keys.h"
#include "store/meta.h"
#include "store/repair.h"
#include "tests/support/forwarding_file_ops.h"
#include "tests/support/random.h"
#include "tests/support/store_fixture.h"
#include "tests/support/store_ops.h"

namespace lrufs::test {
namespace {

using store::Ino;
using store::Inode;
using store::kPageSize;
using store::kRootIno;
using store::PageNo;
using store::RepairReport;
using store::Status;
using store::Transaction;
using ::testing::HasSubstr;

class RepairTest : public StoreTest {
 protected:
  // 300 files of all kinds in 20 folders, in an order of use that is not that of their making.
  void fill() {
    for (int i = 0; i < 300; ++i) {
      const std::string dir = "d" + std::to_string(i % 20);
      put(dir + "/f" + std::to_string(i), patterned(static_cast<std::uint64_t>(i), i % 3 == 0 ? 9000 : 300));
    }
    const Inode sparse = make(resolve("d1").ino, "sparse");
    change(sparse.ino, [](Transaction& txn, Inode& inode) -> Status {
      LRUFS_TRY(txn.write(inode, 700'000, store::as_bytes(patterned(1, 5000))));
      return txn.truncate(inode, 2'000'000);
    });
    make(resolve("d2").ino, "link", 0120777);
    make(resolve("d2").ino, "empty", 0040751);
    change(resolve("d3/f3").ino, [&](Transaction& txn, Inode& inode) -> Status {
      LRUFS_TRY_ASSIGN(Inode dir, txn.view().inode(kRootIno));
      LRUFS_TRY(txn.link(dir, "second name", inode));
      LRUFS_TRY(txn.put_inode(dir));
      LRUFS_TRY(txn.set_xattr(inode, "user.small", store::as_bytes("value")));
      return txn.set_xattr(inode, "user.large", store::as_bytes(patterned(9, 7000)));
    });
    for (int i = 0; i < 300; i += 7) (void)get("d" + std::to_string(i % 20) + "/f" + std::to_string(i));
    for (const char* pinned : {"d6", "d5/f5", "d9/f9"})
      change(resolve(pinned).ino,
             [&](Transaction& txn, Inode& inode) { return txn.set_pinned(inode, true); });
    for (const char* expires : {"d7", "d8/f8", "d9/f9", "d10/f30"})
      change(resolve(expires).ino,
             [&](Transaction& txn, Inode& inode) { return txn.set_ttl(inode, 9'000'000); });
    put("d7/expires as well", "small");
    change(resolve("d4").ino, [&](Transaction&, Inode& inode) -> Status {
      inode.mode = 0040700;
      inode.uid = 77;
      inode.mtime.sec = 12345;
      return {};
    });
  }
  void flip(std::uint64_t offset) const {
    std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const char byte = static_cast<char>(file.get() ^ 0x40);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(byte);
    ASSERT_TRUE(file.good());
  }
  void flip_page(std::uint64_t page) const { flip(page * kPageSize + kPageSize - 9); }
  std::vector<std::uint64_t> pages_of_names(bool leaves_only) {
    std::vector<std::uint64_t> pages;
    const store::Snapshot snapshot = store().snapshot();
    store::tree_walk(
        snapshot.view().pager(), snapshot.view().roots().names,
        [&](PageNo page, const store::Page& content) {
          if (!leaves_only || content.header.level == 0) pages.push_back(raw(page));
          return true;
        },
        [](PageNo, const store::Error&) { FAIL(); });
    return pages;
  }
  RepairReport repair() {
    auto report = store::repair_file(path());
    EXPECT_EQ(say(report), "ok");
    return report ? *std::move(report) : RepairReport{};
  }
  // path → what it is, but for numbers and places, which a repair gives anew.
  std::map<std::string, std::string> all() {
    std::map<std::string, std::string> found;
    const store::Snapshot snapshot = store().snapshot();
    const store::ReadView& view = snapshot.view();
    const std::function<void(Ino, const std::string&)> below = [&](Ino dir, const std::string& at) {
      ok(view.list(dir, store::Cookie{0}, [&](const store::DirEntry& entry) {
        const Inode inode = value(view.inode(entry.ino));
        const std::string path = at + "/" + std::string(entry.name);
        std::string text = std::to_string(inode.mode) + " " + std::to_string(inode.uid) + " " +
                           std::to_string(inode.is_directory() ? 0 : inode.nlink) + " " +
                           std::to_string(inode.mtime.sec) + " " + std::to_string(inode.size) + " " +
                           std::to_string(inode.pages) + " " + std::to_string(inode.flags & Inode::kPinned) +
                           " " + std::to_string(inode.ttl) + " " + std::to_string(inode.expires);
        if (!inode.is_directory()) text += content(view, entry.ino);
        for (const std::string& name : value(view.xattr_names(entry.ino)))
          text += name + "=" + value(view.xattr(entry.ino, name));
        found[path] = text;
        if (inode.is_directory()) below(entry.ino, path);
        return true;
      }));
    };
    below(kRootIno, "");
    return found;
  }
  // The paths in the order in which they would be evicted.
  std::vector<std::string> order() {
    std::vector<std::string> paths;
    for (const Ino ino : value(store().eviction_order(10'000)))
      paths.push_back(value(store().snapshot().view().path_of(ino)));
    return paths;
  }
  std::size_t files_in_folder() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(dir_.path()), {}));
  }
};

TEST_F(RepairTest, KeepsEverythingAndItsOrder) {
  fill();
  reopen();
  const auto before = all();
  const auto order_before = order();
  close();
  // The free-space log alone: nothing that has a name is hurt.
  std::ifstream in(path(), std::ios::binary);
  std::string header(2 * kPageSize, '\0');
  in.read(header.data(), static_cast<std::streamsize>(header.size()));
  std::set<std::uint64_t> logs;
  for (std::size_t slot = 0; slot < 2; ++slot) {
    const auto meta =
        store::decode_meta(reinterpret_cast<const std::byte*>(header.data()) + slot * kPageSize).meta;
    ASSERT_TRUE(meta);
    logs.insert(raw(meta->space.log));
  }
  for (const std::uint64_t log : logs) flip(log * kPageSize + 40);
  EXPECT_THAT(check(), HasSubstr("free-space log is damaged"));
  const RepairReport report = repair();
  EXPECT_FALSE(report.was_sound);
  EXPECT_THAT(report.dropped, ::testing::IsEmpty());
  EXPECT_EQ(report.found, 0U);
  EXPECT_EQ(check(), "");
  open();
  EXPECT_FALSE(store().read_only());
  EXPECT_TRUE(all() == before);
  EXPECT_EQ(order(), order_before);
  EXPECT_EQ(files_in_folder(), 1U);
}

TEST_F(RepairTest, DropsWhatIsHurtAndKeepsTheRest) {
  options_.bound = 16U << 20U;
  fill();
  reopen();
  const auto before = all();
  const auto pages = pages_of_names(false);
  close();
  std::ifstream in(path(), std::ios::binary);
  const std::string image{std::istreambuf_iterator<char>(in), {}};
  ASSERT_GE(pages.size(), 20U);
  std::size_t fewest_kept = before.size();
  for (const std::uint64_t page : pages) {
    SCOPED_TRACE("page " + std::to_string(page));
    std::ofstream(path(), std::ios::binary) << image;
    flip_page(page);
    EXPECT_THAT(check(), HasSubstr("page " + std::to_string(page) + " fails its checksum"));
    const RepairReport report = repair();
    EXPECT_EQ(check(), "");
    open();
    EXPECT_FALSE(store().read_only());
    const auto after = all();
    close();
    std::set<std::string> dropped(report.dropped.begin(), report.dropped.end());
    std::size_t lost = 0;
    for (const auto& [path, what] : before) {
      const auto kept = after.find(path);
      const bool is_file = what.starts_with("33188 ");  // 0100644
      if (kept == after.end()) {
        ++lost;
      } else if (is_file && what.find(" 2 ") == std::string::npos) {
        EXPECT_TRUE(kept->second == what) << path;
      }
      EXPECT_FALSE(kept != after.end() && dropped.contains(path)) << path << " was dropped and is there";
    }
    if (page != pages.front()) fewest_kept = std::min(fewest_kept, after.size());
    EXPECT_EQ(lost > 0, !report.dropped.empty() || report.found > 0);
  }
  EXPECT_GT(fewest_kept, before.size() * 3 / 4);
}

TEST_F(RepairTest, NamelessObjectsGoToLostAndFound) {
  fill();
  // The entries of this folder fill leaves of their own.
  for (int i = 0; i < 400; ++i) put("many/file number " + std::to_string(i), patterned(5, 20));
  reopen();
  const Ino dir = resolve("many").ino;
  std::set<std::uint64_t> entry_pages;
  {
    const store::Snapshot snapshot = store().snapshot();
    store::tree_walk(
        snapshot.view().pager(), snapshot.view().roots().names,
        [&](PageNo page, const store::Page& content) {
          const store::NodeView node(content);
          const auto is_entry = [&](std::uint16_t i) {
            return store::is_record_of(node.key(i), dir, store::Kind::kEntry);
          };
          if (node.is_leaf() && is_entry(0) && is_entry(static_cast<std::uint16_t>(node.count() - 1)))
            entry_pages.insert(raw(page));
          return true;
        },
        [](PageNo, const store::Error&) { FAIL(); });
  }
  ASSERT_GE(entry_pages.size(), 3U);
  close();
  flip_page(*entry_pages.begin());
  const RepairReport report = repair();
  EXPECT_GT(report.found, 10U);
  EXPECT_THAT(report.dropped, ::testing::IsEmpty());
  open();
  const auto names = value(store().names("lost+found", "", 1000));
  EXPECT_EQ(names.size(), report.found);
  EXPECT_EQ(value(store().names("many", "", 1000)).size() + names.size(), 400U);
  EXPECT_EQ(get("lost+found/" + names.front()), patterned(5, 20));
}

TEST_F(RepairTest, DamageThatARunningStoreMeetsIsRemembered) {
  fill();
  reopen();
  const auto pages = pages_of_names(true);
  close();
  for (const std::uint64_t page : pages) flip_page(page);
  open();
  EXPECT_FALSE(store().read_only()) << "nobody has looked at the pages yet";
  EXPECT_FALSE(store().statistics().damaged);
  EXPECT_EQ(code_of(store().get("d3/f3")), "corrupt");
  EXPECT_TRUE(store().statistics().damaged);
  EXPECT_THAT(events_, ::testing::Contains(HasSubstr("lrufs check --repair")));
  close();
  open();
  EXPECT_TRUE(store().read_only());
  EXPECT_EQ(code_of(store().put("new", store::as_bytes("x"))), "read_only");
  close();
  options_.force = true;
  open();
  EXPECT_FALSE(store().read_only());
  EXPECT_TRUE(store().statistics().damaged);
  check_at_end_ = false;
}

TEST_F(RepairTest, TheMarkOfASoundStoreIsTakenBack) {
  fill();
  const auto before = all();
  close();
  ok(store::mark_damaged(path(), true));
  EXPECT_EQ(check(), "");
  open();
  EXPECT_TRUE(store().read_only());
  close();
  const RepairReport report = repair();
  EXPECT_TRUE(report.was_sound);
  open();
  EXPECT_FALSE(store().read_only());
  EXPECT_TRUE(all() == before);
}

TEST_F(RepairTest, ACheckMarksWhatItFinds) {
  fill();
  reopen();
  const auto pages = pages_of_names(true);
  close();
  flip_page(pages[pages.size() / 2]);
  auto report = store::check_file(path());
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->clean());
  EXPECT_FALSE(report->marked);
  report = store::check_file(path(), {.mark = true});
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->marked);
  open();
  EXPECT_TRUE(store().read_only());
  check_at_end_ = false;
}

TEST_F(RepairTest, AStoreInUseIsLeftAlone) {
  fill();
  const auto repaired = store::repair_file(path());
  EXPECT_EQ(code_of(repaired), "busy");
  close();
  store::Options options = options_;
  options.read_only = true;
  const auto reader = store::Store::open(path(), options);
  ASSERT_TRUE(reader);
  EXPECT_EQ(code_of(store::repair_file(path())), "busy");
  EXPECT_EQ(files_in_folder(), 1U);
}

// The new file can grow to so many bytes.
class SmallDisk final : public ForwardingFileOps {
 public:
  Status grow(int fd, std::uint64_t old_size, std::uint64_t new_size) override {
    if (new_size > room_) return store::fail(store::Code::kNoSpace, "fallocate: injected", ENOSPC);
    return under_->grow(fd, old_size, new_size);
  }
  std::uint64_t room_ = ~0ULL;
};

// The disk may become full while the repair runs, whatever it was at the beginning. At each size: growth of
// the new file is refused at another place. A store makes room by evicting; a repair must not.
TEST_F(RepairTest, WithoutRoomForASecondFileAllStaysAsItWas) {
  options_.bound = 16U << 20U;
  fill();
  for (int i = 0; i < 20; ++i) put("large/f" + std::to_string(i), patterned(1, 200'000));
  reopen();
  const auto pages = pages_of_names(true);
  close();
  flip_page(pages[pages.size() / 2]);
  std::ifstream in(path(), std::ios::binary);
  const std::string before{std::istreambuf_iterator<char>(in), {}};
  const auto disk = std::make_shared<SmallDisk>();
  std::size_t refused = 0;
  for (disk->room_ = 0; disk->room_ <= (16U << 20U); disk->room_ += 1U << 20U) {
    SCOPED_TRACE(disk->room_);
    const auto report = store::repair_file(path(), {.file_ops = disk});
    EXPECT_EQ(files_in_folder(), 1U);
    if (report) break;
    ++refused;
    EXPECT_EQ(code_of(report), "no_space") << say(report);
    std::ifstream now(path(), std::ios::binary);
    const std::string after{std::istreambuf_iterator<char>(now), {}};
    ASSERT_TRUE(after == before) << "the store was changed";
  }
  EXPECT_GE(refused, 4U);
  EXPECT_EQ(check(), "");
  open();
  EXPECT_FALSE(store().read_only());
  for (int i = 0; i < 20; ++i) EXPECT_EQ(get("large/f" + std::to_string(i)), patterned(1, 200'000));
  EXPECT_EQ(store().statistics().evicted_objects, 0U);
}

}  // namespace
}  // namespace lrufs::test
