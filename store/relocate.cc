#include "store/relocate.h"

#include <algorithm>

#include "store/bytes.h"
#include "store/extents.h"
#include "store/store_impl.h"

namespace lrufs::store {

namespace {

class TreeMover {
 public:
  TreeMover(PageWriter& writer, PageNo ceiling, std::size_t most, std::vector<std::byte>& from)
      : writer_(writer), ceiling_(ceiling), most_(most), from_(from) {}

  // Where the page is afterwards. `all`: all keys of it are wanted, not only those from `from_` on.
  Result<TreeRoot> move(TreeRoot at, bool all, std::size_t depth) {
    if (depth == kMaxDepth) return fail(Code::kCorrupt, "a tree is deeper than any tree can be");
    LRUFS_TRY_ASSIGN(const Page* page, writer_.pages().fetch(at.page, at.birth));
    Page* copy = nullptr;
    if (at.page >= ceiling_) {
      LRUFS_TRY_ASSIGN(copy, copy_of(*page));
      page = copy;
    }
    if (!NodeView(*page).is_leaf()) {
      const std::uint16_t first = all ? 0 : NodeView(*page).child_index(from_);
      for (std::uint16_t i = first; i < NodeView(*page).count(); ++i) {
        const NodeView node(*page);
        if (i > first && moved_ >= most_) {
          stop_at(node.key(i));
          break;
        }
        const TreeRoot child{node.child(i), node.child_birth(i)};
        if (node.level() == 1 && child.page < ceiling_) continue;
        LRUFS_TRY_ASSIGN(const TreeRoot now, move(child, all || i > first, depth + 1));
        if (now != child) {
          if (copy == nullptr) {
            LRUFS_TRY_ASSIGN(copy, copy_of(*page));
            page = copy;
          }
          Node(*copy).set_child(i, now.page, now.birth);
        }
        if (stopped_) break;
      }
    }
    return TreeRoot{PageNo{page->header.page_no}, TxnId{page->header.birth}};
  }
  [[nodiscard]] bool stopped() const { return stopped_; }

 private:
  // The page itself, if it was born in this transaction.
  Result<Page*> copy_of(const Page& page) {
    const PageNo old{page.header.page_no};
    if (page.header.birth == raw(writer_.birth()) && old < ceiling_)
      return writer_.edit_page(old, writer_.birth());
    LRUFS_TRY_ASSIGN(Page * copy, writer_.make_page());
    const std::uint64_t number = copy->header.page_no;
    copy_tree_page(*copy, page);
    copy->header.page_no = number;
    copy->header.birth = raw(writer_.birth());
    writer_.free_page(old);
    ++moved_;
    return copy;
  }
  void stop_at(Bytes key) {
    from_.assign(key.begin(), key.end());
    stopped_ = true;
  }

  PageWriter& writer_;
  PageNo ceiling_;
  std::size_t most_;
  std::vector<std::byte>& from_;
  std::size_t moved_ = 0;
  bool stopped_ = false;
};

}  // namespace

Result<bool> move_tree_pages(PageWriter& writer, TreeRoot& root, PageNo ceiling, std::size_t most,
                             std::vector<std::byte>& from) {
  if (root.page == kNoPage) return true;
  TreeMover mover(writer, ceiling, most, from);
  LRUFS_TRY_ASSIGN(root, mover.move(root, from.empty(), 0));
  return !mover.stopped();
}

// --- one kind after the other
// ------------------------------------------------------------------------------------------

Status StoreImpl::update_by_copies(const Store::Body& body) {
  // What is moved does not come back below the ceiling. So beside others the reserve is theirs: a name that
  // waited for room could keep its folder locked, and the kernel from letting go of what was evicted.
  const auto purpose = options.background ? Store::Purpose::kWrite : Store::Purpose::kDelete;
  std::uint64_t asked = 32;
  for (;;) {
    writer_.give_way();
    TxnId published{0};
    std::uint64_t needed = 0;
    const Status done = update_once(body, purpose, false, published, needed);
    if (done || done.error().code != Code::kNoSpace) return done;
    LRUFS_TRY(retry_with_room(asked, needed, purpose));
  }
}

// Beside others little at a time: they wait for the lock.
std::uint64_t StoreImpl::move_budget() const {
  return std::clamp<std::uint64_t>(space_->free() / 4, 4, options.background ? 64 : 256);
}

Status StoreImpl::report_move(LongWork& work) {
  std::uint64_t left = 0;
  {
    const MutexLock lock(writer_);
    left = space_->used_above();
  }
  return work.report(work.all - std::min(work.all, left));
}

Status StoreImpl::move_trees(LongWork& work) {
  for (TreeRoot Roots::*tree : {&Roots::names, &Roots::recency, &Roots::expiry, &Roots::spare}) {
    std::vector<std::byte> from;
    for (bool done = false; !done;) {
      std::vector<std::byte> next;
      LRUFS_TRY(update_by_copies([&](Transaction& txn) -> Status {
        writer_.assert_held();
        next = from;
        LRUFS_TRY_ASSIGN(done, move_tree_pages(state_of(txn), state_of(txn).roots.*tree,
                                               PageNo{space_->ceiling()}, move_budget(), next));
        return {};
      }));
      from = std::move(next);
      LRUFS_TRY(report_move(work));
    }
  }
  return {};
}

// Of the extent's part from page `pages` on at most `most` pages; how many.
Result<std::uint64_t> StoreImpl::move_extent(Transaction::State& txn, Ino owner, const Extent& extent,
                                             std::uint64_t pages, std::uint64_t most) {
  const std::uint64_t low = raw(extent.page) < pages ? pages - raw(extent.page) : 0;
  const std::uint64_t count = std::min(extent.count - low, most);
  const PageRun old{extent.page + low, count};
  std::vector<PageRun> runs;
  for (std::uint64_t done = 0; done < count;) {
    const PageNo hint = runs.empty() ? kNoPage : runs.back().first + runs.back().count;
    LRUFS_TRY_ASSIGN(const PageRun run, txn.take_run(count - done, hint));
    std::memcpy(pager->bytes(run.first), pager->bytes(old.first + done), run.count * kPageSize);
    runs.push_back(run);
    done += run.count;
  }
  if (pager->lost(old.first, old.count)) return unreadable(old.first);
  const auto put = [&](std::uint64_t file_page, PageNo page, std::uint64_t length) -> Status {
    LRUFS_TRY(txn.put(Key::extent(owner, file_page), Value::extent({file_page, page, length})));
    return {};
  };
  if (low + count < extent.count)
    LRUFS_TRY(put(extent.file_page + low + count, old.first + count, extent.count - low - count));
  if (low > 0) LRUFS_TRY(put(extent.file_page, extent.page, low));
  std::uint64_t at = extent.file_page + low;
  for (const PageRun& run : runs) {
    LRUFS_TRY(put(at, run.first, run.count));
    at += run.count;
  }
  txn.free_run(old);
  return count;
}

// The whole value, if a page of it lies at `pages` or behind it.
Result<std::uint64_t> StoreImpl::move_xattr(Transaction::State& txn, Bytes key, Bytes value,
                                            std::uint64_t pages) {
  const auto parts = split_key(key);
  LRUFS_TRY_ASSIGN(const PagedValue old, decode_paged_xattr(value.subspan(1)));
  std::uint64_t count = 0;
  bool above = false;
  for (const PageRun& run : old.runs) {
    LRUFS_TRY(check_run(*pager, run));
    count += run.count;
    above = above || raw(run.first) + run.count > pages;
  }
  if (!above) return std::uint64_t{0};
  const Key where = Key::xattr(parts->owner, as_text(parts->suffix));
  PagedValue moved{old.length, {}};
  std::vector<PageNo> to;
  while (to.size() < count) {
    LRUFS_TRY_ASSIGN(const PageRun run, txn.take_run(count - to.size(), kNoPage));
    moved.runs.push_back(run);
    for (std::uint64_t i = 0; i < run.count; ++i) to.push_back(run.first + i);
  }
  std::size_t at = 0;
  for (const PageRun& run : old.runs) {
    for (std::uint64_t i = 0; i < run.count; ++i, ++at)
      std::memcpy(pager->bytes(to[at]), pager->bytes(run.first + i), kPageSize);
    if (pager->lost(run.first, run.count)) return unreadable(run.first);
  }
  const std::vector<std::byte> record = encode_paged_xattr(moved);
  LRUFS_TRY(txn.put(where, record));
  for (const PageRun& run : old.runs) txn.free_run(run);
  return count;
}

// The first record from `from` on that has content at the ceiling or behind it, found without the writer's
// lock; and brings that content into memory, so that nobody waits for the disk while it is moved. False:
// none.
Result<bool> StoreImpl::find_content(std::vector<std::byte>& from) {
  constexpr std::size_t kLooked = 4096;  // a snapshot is to be short
  for (;;) {
    std::uint64_t pages = 0;
    {
      const MutexLock lock(writer_);
      pages = space_->ceiling();
    }
    const Snapshot::State state(*this, Snapshot::Kind::kTransient);
    Cursor cursor(state.view.pages(), state.view.roots().names);
    LRUFS_TRY(cursor.seek(from));
    for (std::size_t looked = 0; looked < kLooked; ++looked) {
      if (!cursor.valid()) return false;
      const auto parts = split_key(cursor.key());
      if (!parts) return fail(Code::kCorrupt, "a key of the namespace tree is damaged");
      from.assign(cursor.key().begin(), cursor.key().end());
      if (parts->kind == Kind::kExtent && parts->suffix.size() == 8) {
        LRUFS_TRY_ASSIGN(const Extent extent, decode_extent(load_be64(parts->suffix.data()), cursor.value()));
        LRUFS_TRY(check_run(*pager, {extent.page, extent.count}));
        if (raw(extent.page) + extent.count > pages) {
          bring_in(std::max(extent.page, PageNo{pages}), raw(extent.page) + extent.count);
          return true;
        }
      } else if (parts->kind == Kind::kXattr && !cursor.value().empty() &&
                 cursor.value().front() == kXattrPaged) {
        return true;
      }
      LRUFS_TRY(cursor.next());
    }
    if (!cursor.valid()) return false;
    from.assign(cursor.key().begin(), cursor.key().end());
  }
}

void StoreImpl::bring_in(PageNo first, std::uint64_t end) const {
  constexpr std::uint64_t kMost = 256;
  for (std::uint64_t page = raw(first); page < std::min(end, raw(first) + kMost); ++page) {
    const volatile std::byte* const byte = pager->bytes(PageNo{page});
    (void)*byte;
  }
}

Status StoreImpl::move_content(LongWork& work) {
  constexpr std::size_t kLooked = 256;  // records, in one transaction
  std::vector<std::byte> from;
  for (bool done = false; !done;) {
    LRUFS_TRY_ASSIGN(const bool more, find_content(from));
    if (!more) return {};
    std::vector<std::byte> next;
    LRUFS_TRY(update_by_copies([&](Transaction& txn) -> Status {
      writer_.assert_held();
      Transaction::State& s = state_of(txn);
      const std::uint64_t pages = space_->ceiling();
      const std::uint64_t most = move_budget();
      std::uint64_t moved = 0;
      done = false;
      next = from;
      Cursor cursor(s.pages(), s.roots.names);
      LRUFS_TRY(cursor.seek(next));
      for (std::size_t looked = 0;; ++looked) {
        if (!cursor.valid()) {
          done = true;
          return {};
        }
        next.assign(cursor.key().begin(), cursor.key().end());
        if (moved >= most || looked == kLooked) return {};
        const auto parts = split_key(next);
        if (!parts) return fail(Code::kCorrupt, "a key of the namespace tree is damaged");
        std::uint64_t now = 0;
        if (parts->kind == Kind::kExtent && parts->suffix.size() == 8) {
          LRUFS_TRY_ASSIGN(const Extent extent,
                           decode_extent(load_be64(parts->suffix.data()), cursor.value()));
          LRUFS_TRY(check_run(*pager, {extent.page, extent.count}));
          if (raw(extent.page) + extent.count > pages) {
            LRUFS_TRY_ASSIGN(now, move_extent(s, parts->owner, extent, pages, most - moved));
          }
        } else if (parts->kind == Kind::kXattr && !cursor.value().empty() &&
                   cursor.value().front() == kXattrPaged) {
          LRUFS_TRY_ASSIGN(now, move_xattr(s, next, cursor.value(), pages));
        }
        moved += now;
        if (now == 0) {
          LRUFS_TRY(cursor.next());
          continue;
        }
        // The tree has changed; what is left of an extent comes next.
        cursor = Cursor(s.pages(), s.roots.names);
        LRUFS_TRY(cursor.seek(next));
      }
    }));
    from = std::move(next);
    LRUFS_TRY(report_move(work));
  }
  return {};
}

Status StoreImpl::move_space_log() {
  for (int attempt = 0;; ++attempt) {
    {
      const MutexLock lock(writer_);
      const std::uint64_t pages = space_->ceiling();
      if (guard->losses() != 0) return unreadable(kNoPage);
      const auto above = [&](PageNo page) { return raw(page) >= pages; };
      if (images_ && std::any_of(images_->pages().begin(), images_->pages().end(), above)) {
        // The live metas of both slots may name them.
        publish_again();
        publish_again();
        for (const PageNo page : images_->pages()) space_->give_back({page, 1});
        images_.reset();
      }
      if (space_log_->lies_below(pages)) return {};
      space_log_->leave_from(pages, *space_);
      condense();
      dirty_ = true;
      if (space_log_->lies_below(pages)) return {};
    }
    if (attempt == 7) return fail(Code::kNoSpace, "there is too little room to move the map of free space");
    LRUFS_TRY(checkpoint(readers.latest(), true, false));
    constexpr std::uint64_t kRoom = 4 * SpaceLog::kSegmentPages;  // beside writers, who take some of it
    if (attempt > 0 && !keeps_all_) LRUFS_TRY(make_room(kRoom, true));
  }
}

}  // namespace lrufs::store
