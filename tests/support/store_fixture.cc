#include "tests/support/store_fixture.h"

#include "store/check.h"

namespace lrufs::test {

using store::Bytes;
using store::Ino;
using store::Inode;
using store::Status;
using store::Transaction;

StoreTest::StoreTest() {
  options_.bound = 32ULL << 20U;
  options_.background = false;
}

void StoreTest::open() {
  if (!options_.on_event)
    options_.on_event = [this](store::Options::Severity, const std::string& text) {
      events_.push_back(text);
    };
  auto opened = store::Store::open(path(), options_);
  ASSERT_TRUE(opened) << say(opened);
  store_ = *std::move(opened);
}

void StoreTest::close() {
  if (store_ == nullptr) return;
  const Status closed = store_->close();
  EXPECT_EQ(say(closed), "ok");
  store_.reset();
}

void StoreTest::TearDown() {
  close();
  if (check_at_end_) {
    EXPECT_EQ(check(), "");
  }
}

std::string StoreTest::check(const std::string& path, bool from_checkpoint) const {
  store::CheckOptions options;
  options.name_hash_mask = options_.name_hash_mask;
  options.from_checkpoint = from_checkpoint;
  const auto report = store::check_file(path, options);
  if (!report) return "no check: " + say(report);
  std::string text;
  for (const store::CheckFinding& finding : report->findings) {
    text += finding.path + " (inode " + std::to_string(raw(finding.ino)) + ", page " +
            std::to_string(raw(finding.page)) + "): " + finding.message + "\n";
    if (text.size() > 4000) return text + "…";
  }
  return text;
}

Inode StoreTest::make(Ino dir, std::string_view name, std::uint32_t mode) {
  Inode made;
  ok(store().update([&](Transaction& txn) -> Status {
    Inode prototype;
    prototype.mode = mode;
    prototype.mtime = prototype.ctime = prototype.atime = prototype.btime = store::now();
    LRUFS_TRY_ASSIGN(Inode parent, txn.view().inode(dir));
    LRUFS_TRY_ASSIGN(made, txn.create(prototype));
    LRUFS_TRY(txn.link(parent, name, made));
    LRUFS_TRY(txn.put_inode(parent));
    return txn.put_inode(made);
  }));
  return made;
}

void StoreTest::change(Ino ino, const std::function<Status(Transaction&, Inode&)>& body) {
  ok(store().update([&](Transaction& txn) -> Status {
    LRUFS_TRY_ASSIGN(Inode inode, txn.view().inode(ino));
    LRUFS_TRY(body(txn, inode));
    return txn.put_inode(inode);
  }));
}

std::string StoreTest::content(const store::ReadView& view, Ino ino) {
  const auto inode = view.inode(ino);
  EXPECT_EQ(say(inode), "ok");
  if (!inode) return {};
  std::string text(inode->size, '?');
  const auto read = view.read(*inode, 0, {reinterpret_cast<std::byte*>(text.data()), text.size()});
  EXPECT_EQ(say(read), "ok");
  if (read) {
    EXPECT_EQ(*read, inode->size);
  }
  return text;
}

std::string StoreTest::content(Ino ino) { return content(store().snapshot().view(), ino); }

}  // namespace lrufs::test
