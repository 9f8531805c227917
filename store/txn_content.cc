// File content in a transaction: inline records, extents, copy-on-write and overwriting in place.
#include <algorithm>

#include "store/extents.h"
#include "store/store_impl.h"

namespace lrufs::store {

void Transaction::State::set_size(Inode& inode, std::uint64_t size) {
  counters.content_bytes += size;
  counters.content_bytes -= inode.size;
  if ((inode.flags & Inode::kPinned) != 0U) counters.pinned_bytes += size - inode.size;
  inode.size = size;
}

Status Transaction::State::copy_page(const Inode& inode, std::uint64_t file_page, std::byte* to) const {
  ExtentCursor extents(pages(), roots.names, inode.ino);
  LRUFS_TRY_ASSIGN(const auto extent, extents.seek(file_page));
  if (!extent || extent->file_page > file_page) {
    std::memset(to, 0, kPageSize);
    return {};
  }
  const PageNo page = extent->page + (file_page - extent->file_page);
  std::memcpy(to, store->pager->bytes(page), kPageSize);
  if (store->pager->lost(page)) return unreadable(page);
  return {};
}

Status Transaction::State::free_extents(Inode& inode, std::uint64_t first, std::uint64_t end) {
  while (first < end) {
    ExtentCursor extents(pages(), roots.names, inode.ino);
    LRUFS_TRY_ASSIGN(const auto found, extents.seek(first));
    if (!found || found->file_page >= end) return {};
    const Extent extent = *found;
    const std::uint64_t cut_from = std::max(first, extent.file_page);
    const std::uint64_t cut_to = std::min(end, extent.end());
    if (extent.file_page < cut_from) {
      const Extent left{extent.file_page, extent.page, cut_from - extent.file_page};
      LRUFS_TRY(put(Key::extent(inode.ino, left.file_page), Value::extent(left)));
    } else {
      LRUFS_TRY(erase(Key::extent(inode.ino, extent.file_page)));
    }
    if (cut_to < extent.end()) {
      const Extent right{cut_to, extent.page + (cut_to - extent.file_page), extent.end() - cut_to};
      LRUFS_TRY(put(Key::extent(inode.ino, right.file_page), Value::extent(right)));
    }
    free_run({extent.page + (cut_from - extent.file_page), cut_to - cut_from});
    inode.pages -= std::min(inode.pages, cut_to - cut_from);
    first = cut_to;
  }
  return {};
}

Status Transaction::State::insert_extent(Inode& inode, std::uint64_t file_page, PageRun run) {
  inode.pages += run.count;
  Extent extent{file_page, run.first, run.count};
  if (file_page > 0) {
    ExtentCursor extents(pages(), roots.names, inode.ino);
    LRUFS_TRY_ASSIGN(const auto before, extents.seek(file_page - 1));
    if (before && before->end() == file_page && raw(before->page) + before->count == raw(run.first))
      extent = {before->file_page, before->page, before->count + run.count};
  }
  LRUFS_TRY(put(Key::extent(inode.ino, extent.file_page), Value::extent(extent)));
  return {};
}

Status Transaction::State::leave_inline(Inode& inode) {
  LRUFS_TRY_ASSIGN(const auto content, tree_get(pages(), roots.names, Key::content(inode.ino)));
  inode.flags |= Inode::kPaged;
  if (!content) return {};
  LRUFS_TRY_ASSIGN(const PageRun run, take_run(1, kNoPage));
  std::byte* page = store->pager->bytes(run.first);
  std::memcpy(page, content->data(), content->size());
  std::memset(page + content->size(), 0, kPageSize - content->size());
  LRUFS_TRY(erase(Key::content(inode.ino)));
  return insert_extent(inode, 0, run);
}

// Pages that a writer filled outside of the lock take the place of [first, first + count).
Status Transaction::State::place_staged(Inode& inode, std::uint64_t first, std::uint64_t count,
                                        std::uint64_t data_end, StagedData& staged) {
  // The last page is padded with zeros; content that the file has behind the data stays.
  const std::uint64_t pages_end = (first + count) * kPageSize;
  std::array<std::byte, kPageSize> old_tail;
  const bool keep_tail = data_end < pages_end && (data_end < inode.size || staged.tail_filled_);
  if (keep_tail) {
    LRUFS_TRY(copy_page(inode, first + count - 1, old_tail.data()));
    staged.tail_filled_ = true;
  }
  LRUFS_TRY(free_extents(inode, first, first + count));
  std::uint64_t at = staged.first_file_page();
  for (const PageRun& run : staged.runs()) {
    const std::uint64_t from = std::max(at, first);
    const std::uint64_t to = std::min(at + run.count, first + count);
    if (from < to) {
      const PageRun part{run.first + (from - at), to - from};
      if (keep_tail && to == first + count) {
        const std::size_t kept = data_end % kPageSize;
        std::byte* page = store->pager->bytes(part.first + (part.count - 1));
        std::memcpy(page + kept, old_tail.data() + kept, kPageSize - kept);
      }
      LRUFS_TRY(insert_extent(inode, from, part));
    }
    at += run.count;
  }
  return {};
}

// New pages for file pages [first, first + count), holding data, and around it what was there before.
Status Transaction::State::fill_new_pages(Inode& inode, std::uint64_t first, std::uint64_t count,
                                          std::uint64_t offset, Bytes data) {
  const std::uint64_t data_end = offset + data.size();
  while (count > 0) {
    PageNo hint = kNoPage;
    if (first > 0) {
      ExtentCursor extents(pages(), roots.names, inode.ino);
      LRUFS_TRY_ASSIGN(const auto before, extents.seek(first - 1));
      if (before && before->end() == first) hint = before->page + before->count;
    }
    LRUFS_TRY_ASSIGN(const PageRun run, take_run(count, hint));
    const std::uint64_t start = first * kPageSize;
    const std::uint64_t end = start + run.count * kPageSize;
    std::byte* to = store->pager->bytes(run.first);
    if (offset > start) LRUFS_TRY(copy_page(inode, first, to));
    if (data_end < end && !(run.count == 1 && offset > start))
      LRUFS_TRY(copy_page(inode, first + run.count - 1, to + (run.count - 1) * kPageSize));
    const std::uint64_t from = std::max(start, offset);
    const std::uint64_t until = std::min(end, data_end);
    std::memcpy(to + (from - start), data.data() + (from - offset), until - from);
    LRUFS_TRY(free_extents(inode, first, first + run.count));
    LRUFS_TRY(insert_extent(inode, first, run));
    first += run.count;
    count -= run.count;
  }
  return {};
}

Status Transaction::State::overwrite_pages(Inode& inode, std::uint64_t offset, Bytes data, StagedData* staged,
                                           WriteMode mode) {
  store->writer_.assert_held();
  const std::uint64_t end = offset + data.size();
  if (mode == WriteMode::kInPlace && !overwrites) overwrites = store->readers.begin_overwriting();
  const bool in_place = mode == WriteMode::kInPlace && overwrites;
  const auto writable = [&](PageNo page) {
    store->writer_.assert_held();
    return is_mine(page) || (in_place && store->space_->rewritable(page) && !store->pager->lost(page));
  };
  const std::uint64_t staged_first = staged != nullptr ? staged->first_file_page() : 0;
  const std::uint64_t staged_end = staged != nullptr ? staged_first + staged->page_count() : 0;
  for (std::uint64_t at = offset; at < end;) {
    const std::uint64_t file_page = at / kPageSize;
    if (file_page >= staged_first && file_page < staged_end) {
      LRUFS_TRY(place_staged(inode, file_page, staged_end - file_page, end, *staged));
      at = std::min(end, staged_end * kPageSize);
      continue;
    }
    ExtentCursor extents(pages(), roots.names, inode.ino);
    LRUFS_TRY_ASSIGN(const auto extent, extents.seek(file_page));
    std::uint64_t stop = staged != nullptr && file_page < staged_first
                             ? std::min(pages_for(end), staged_first)
                             : pages_for(end);
    if (extent && extent->file_page <= file_page) {
      const PageNo first = extent->page + (file_page - extent->file_page);
      stop = std::min(stop, extent->end());
      std::uint64_t count = 0;
      const bool direct = writable(first);
      while (file_page + count < stop && writable(first + count) == direct) ++count;
      if (direct) {
        const std::uint64_t until = std::min(end, (file_page + count) * kPageSize);
        std::memcpy(store->pager->bytes(first) + at % kPageSize, data.data() + (at - offset), until - at);
        changed = true;
        at = until;
        continue;
      }
      stop = file_page + count;
    } else if (extent) {
      stop = std::min(stop, extent->file_page);
    }
    const std::uint64_t until = std::min(end, stop * kPageSize);
    LRUFS_TRY(fill_new_pages(inode, file_page, stop - file_page, at, data.subspan(at - offset, until - at)));
    at = until;
  }
  return {};
}

Status Transaction::write(Inode& inode, std::uint64_t offset, Bytes data, StagedData* staged,
                          WriteMode mode) {
  State& s = *state_;
  if (data.empty()) return {};
  if (offset > kMaxFileSize || data.size() > kMaxFileSize - offset) return fail(Code::kFileTooLarge);
  const std::uint64_t end = offset + data.size();
  s.changed = true;
  if ((inode.flags & Inode::kTtl) != 0U) LRUFS_TRY(s.renew(inode));
  if ((inode.flags & Inode::kPaged) == 0U && end <= kMaxInline) {
    std::array<std::byte, kMaxInline> content;
    if (offset > 0 || end < inode.size) {
      LRUFS_TRY_ASSIGN(const auto old, tree_get(s.pages(), s.roots.names, Key::content(inode.ino)));
      const std::size_t old_length = old ? std::min(old->size(), kMaxInline) : 0;
      content.fill(std::byte{0});
      if (old_length > 0) std::memcpy(content.data(), old->data(), old_length);
      std::memcpy(content.data() + offset, data.data(), data.size());
      data = {content.data(), std::max<std::size_t>(old_length, end)};
    }
    LRUFS_TRY(s.put(Key::content(inode.ino), data));
  } else {
    if ((inode.flags & Inode::kPaged) == 0U) LRUFS_TRY(s.leave_inline(inode));
    if (offset > inode.size) LRUFS_TRY(s.zero_tail(inode));
    if (staged != nullptr && staged->empty()) staged = nullptr;
    LRUFS_TRY(s.overwrite_pages(inode, offset, data, staged, mode));
    if (staged != nullptr) s.staged_used.push_back(staged);
  }
  if (end > inode.size) s.set_size(inode, end);
  s.store->bytes_written_.fetch_add(end - offset, std::memory_order_relaxed);
  return {};
}

// Zeros within one page, by copy-on-write: an abort undoes it.
Status Transaction::State::zero_range(Inode& inode, std::uint64_t offset, std::uint64_t length) {
  if (length == 0) return {};
  ExtentCursor extents(pages(), roots.names, inode.ino);
  LRUFS_TRY_ASSIGN(const auto extent, extents.seek(offset / kPageSize));
  if (!extent || extent->file_page > offset / kPageSize) return {};
  constexpr std::array<std::byte, kPageSize> kZeros{};
  return overwrite_pages(inode, offset, {kZeros.data(), length}, nullptr, WriteMode::kAtomic);
}

// What was behind the end becomes part of the file, and reads as zeros. The last page may hold other bytes
// there: of a write in place that was aborted, or that SIGKILL cut off.
Status Transaction::State::zero_tail(Inode& inode) {
  const std::uint64_t used = inode.size % kPageSize;
  if ((inode.flags & Inode::kPaged) == 0U || used == 0) return {};
  std::array<std::byte, kPageSize> page;
  LRUFS_TRY(copy_page(inode, inode.size / kPageSize, page.data()));
  if (std::all_of(page.begin() + static_cast<long>(used), page.end(),
                  [](std::byte b) { return b == std::byte{0}; }))
    return {};
  return zero_range(inode, inode.size, kPageSize - used);
}

Status Transaction::truncate(Inode& inode, std::uint64_t size) {
  State& s = *state_;
  if (size > kMaxFileSize) return fail(Code::kFileTooLarge);
  s.changed = true;
  if ((inode.flags & Inode::kTtl) != 0U) LRUFS_TRY(s.renew(inode));
  if (size > inode.size) LRUFS_TRY(s.zero_tail(inode));
  if (size < inode.size) {
    if ((inode.flags & Inode::kPaged) != 0U) {
      const std::uint64_t kept = pages_for(size);
      LRUFS_TRY(s.free_extents(inode, kept, ~0ULL));
      if (size % kPageSize != 0) LRUFS_TRY(s.zero_range(inode, size, kept * kPageSize - size));
      if (size == 0) inode.flags &= ~static_cast<std::uint32_t>(Inode::kPaged);
    } else {
      LRUFS_TRY_ASSIGN(const auto old, tree_get(s.pages(), s.roots.names, Key::content(inode.ino)));
      if (old && old->size() > size) {
        if (size == 0) {
          LRUFS_TRY(s.erase(Key::content(inode.ino)));
        } else {
          std::array<std::byte, kMaxInline> content;
          std::memcpy(content.data(), old->data(), size);
          LRUFS_TRY(s.put(Key::content(inode.ino), {content.data(), size}));
        }
      }
    }
  }
  s.set_size(inode, size);
  return {};
}

Status Transaction::punch(Inode& inode, std::uint64_t offset, std::uint64_t length) {
  State& s = *state_;
  if (offset >= inode.size || length == 0) return {};
  const std::uint64_t end = offset + std::min(length, inode.size - offset);
  s.changed = true;
  if ((inode.flags & Inode::kTtl) != 0U) LRUFS_TRY(s.renew(inode));
  if ((inode.flags & Inode::kPaged) == 0U) {
    LRUFS_TRY_ASSIGN(const auto old, tree_get(s.pages(), s.roots.names, Key::content(inode.ino)));
    if (!old || old->size() <= offset) return {};
    std::array<std::byte, kMaxInline> content;
    const std::size_t old_length = std::min(old->size(), kMaxInline);
    std::memcpy(content.data(), old->data(), old_length);
    std::memset(content.data() + offset, 0, std::min<std::uint64_t>(end, old_length) - offset);
    LRUFS_TRY(s.put(Key::content(inode.ino), {content.data(), old_length}));
    return {};
  }
  const std::uint64_t first_whole = pages_for(offset);
  // The page with the file's end holds nothing behind it, so it goes as a whole, too.
  const std::uint64_t end_whole = end == inode.size ? pages_for(end) : end / kPageSize;
  if (first_whole > end_whole ||
      (first_whole == end_whole && offset / kPageSize == (end - 1) / kPageSize && offset % kPageSize != 0))
    return s.zero_range(inode, offset, std::min(end, first_whole * kPageSize) - offset);
  if (offset % kPageSize != 0) LRUFS_TRY(s.zero_range(inode, offset, first_whole * kPageSize - offset));
  LRUFS_TRY(s.free_extents(inode, first_whole, end_whole));
  if (end > end_whole * kPageSize)
    LRUFS_TRY(s.zero_range(inode, end_whole * kPageSize, end - end_whole * kPageSize));
  return {};
}

}  // namespace lrufs::store
