#include "store/space_log.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "store/bytes.h"

namespace lrufs::store {

namespace {

// docs/format.md has these layouts.
struct SegmentHeader {
  std::uint64_t magic;
  std::uint64_t first_page;
  std::uint64_t pages;
  std::uint64_t checksum;  // of the three above
};
struct RecordHeader {
  std::uint64_t checksum;  // of the rest of the record
  std::uint64_t txn;
  std::uint32_t entries;
  std::uint32_t kind;
};
struct DirectoryHeader {
  std::uint64_t checksum;  // of the rest of the page
  std::uint64_t page_no;
  std::uint64_t next;  // page of the next part; 0: none
  std::uint32_t first_chunk;
  std::uint32_t chunks;
};
struct DirectoryEntry {
  std::uint64_t page;
  std::uint64_t checksum;  // of the chunk's page
};
constexpr std::uint64_t kSegmentMagic = 0x676F6C2D73667572ULL;  // "rufs-log"
constexpr std::uint32_t kChanges = 1;
constexpr std::uint32_t kJump = 2;
constexpr std::size_t kJumpBytes = sizeof(RecordHeader) + 8;
constexpr std::size_t kChunksPerPage = (kPageSize - sizeof(DirectoryHeader)) / sizeof(DirectoryEntry);

// An entry: page 44 bits, count - 1 19 bits, freed 1 bit.
constexpr std::uint64_t kMaxRun = 1ULL << 19U;
std::uint64_t encode_change(const SpaceChange& change) {
  return raw(change.run.first) << 20U | (change.run.count - 1) << 1U | (change.freed ? 1U : 0U);
}
SpaceChange decode_change(std::uint64_t entry) {
  return {{PageNo{entry >> 20U}, ((entry >> 1U) & (kMaxRun - 1)) + 1}, (entry & 1U) != 0};
}

std::uint64_t segment_checksum(const SegmentHeader& header) {
  return hash64({reinterpret_cast<const std::byte*>(&header), 24});
}

void write_record(std::byte* at, TxnId txn, std::uint32_t kind, const std::uint64_t* entries,
                  std::size_t count) {
  RecordHeader header{0, raw(txn), static_cast<std::uint32_t>(count), kind};
  std::memcpy(at + sizeof header, entries, count * 8);
  std::memcpy(at + 8, reinterpret_cast<const std::byte*>(&header) + 8, sizeof header - 8);
  store_le(at, hash64({at + 8, sizeof header - 8 + count * 8}));
}

tl::unexpected<Error> damaged(const std::string& what, PageNo page) {
  return fail(Code::kCorrupt, "the free-space " + what + " is damaged, at page " + std::to_string(raw(page)));
}

bool within(const Pager& pager, PageNo page, std::uint64_t count) {
  return raw(page) >= kHeaderPages && count <= pager.limit() && raw(page) <= pager.limit() - count;
}

}  // namespace

void SpaceLog::start_segment(Pager& pager, PageRun run) {
  SegmentHeader header{kSegmentMagic, raw(run.first), run.count, 0};
  header.checksum = segment_checksum(header);
  std::memcpy(pager.bytes(run.first), &header, sizeof header);
}

Result<SpaceLog::Image> SpaceLog::read_image(const Pager& pager, const SpaceRoots& roots,
                                             const Bounds& bounds, const Apply& apply) {
  Image image;
  for (PageNo page = roots.directory; page != kNoPage;) {
    if (!within(pager, page, 1) ||
        image.directory.size() > pager.limit() / kChunksPerPage / SpaceMap::kChunkPages + 1)
      return damaged("directory", page);
    DirectoryHeader header;
    std::memcpy(&header, pager.bytes(page), sizeof header);
    if (header.page_no != raw(page) || header.chunks > kChunksPerPage ||
        header.first_chunk != image.chunks.size() ||
        header.checksum != hash64({pager.bytes(page) + 8, kPageSize - 8}))
      return damaged("directory", page);
    for (std::size_t i = 0; i < header.chunks; ++i) {
      DirectoryEntry entry;
      std::memcpy(&entry, pager.bytes(page) + sizeof header + i * sizeof entry, sizeof entry);
      if (entry.page != 0 && !within(pager, PageNo{entry.page}, 1)) return damaged("directory", page);
      image.chunks.push_back({PageNo{entry.page}, entry.checksum});
    }
    image.directory.push_back(page);
    page = PageNo{header.next};
  }
  if (roots.log == kNoPage) return image;
  LogPosition at{roots.log, 0};
  // Numbers only grow: another one is a leftover of what the page held before.
  std::uint64_t last_txn = 0;
  std::uint64_t segment_pages = 0;
  for (;;) {
    if (!within(pager, at.segment, 1)) return damaged("log", at.segment);
    SegmentHeader segment;
    std::memcpy(&segment, pager.bytes(at.segment), sizeof segment);
    if (segment.magic != kSegmentMagic || segment.first_page != raw(at.segment) ||
        segment.checksum != segment_checksum(segment) || !within(pager, at.segment, segment.pages) ||
        segment.pages == 0)
      return damaged("log", at.segment);
    segment_pages += segment.pages;
    if (segment_pages > pager.limit()) return damaged("log", at.segment);  // it jumps in a circle
    image.segments.push_back({at.segment, segment.pages});
    at.offset = sizeof segment;
    bool jumped = false;
    for (;;) {
      if (at == bounds.older_end) {
        // All up to here is of the older state, and all that follows is not.
        if (last_txn > raw(bounds.older)) return damaged("log", at.segment);
        last_txn = raw(bounds.older) + 1;
      }
      if (at == roots.log_end) break;
      const std::byte* record = pager.bytes(at.segment) + at.offset;
      const std::size_t left =
          segment.pages * kPageSize - std::min<std::size_t>(at.offset, segment.pages * kPageSize);
      RecordHeader header{};
      if (left >= sizeof header) std::memcpy(&header, record, sizeof header);
      if (left < sizeof header || header.entries > (left - sizeof header) / 8 ||
          header.checksum != hash64({record + 8, sizeof header - 8 + header.entries * std::size_t{8}}))
        return damaged("log", at.segment);
      if (header.txn < last_txn || header.txn > raw(bounds.last)) return damaged("log", at.segment);
      last_txn = header.txn;
      if (header.kind == kJump && header.entries == 1) {
        at.segment = PageNo{load_le<std::uint64_t>(record + sizeof header)};
        jumped = true;
        break;
      }
      if (header.kind != kChanges) return damaged("log", at.segment);
      for (std::uint32_t i = 0; i < header.entries; ++i) {
        // May lie behind the end of a file that was cut since.
        const SpaceChange change =
            decode_change(load_le<std::uint64_t>(record + sizeof header + i * std::size_t{8}));
        if (raw(change.run.first) < kHeaderPages) return damaged("log", at.segment);
        if (apply) {
          LRUFS_TRY(apply(change));
        }
      }
      const std::size_t bytes = sizeof header + header.entries * std::size_t{8};
      at.offset += bytes;
      image.bytes += bytes;
    }
    if (!jumped) return image;
  }
}

Status SpaceLog::load(const SpaceRoots& roots, SpaceMap& map, bool durable_state, bool adopt,
                      const Bounds& bounds) {
  // The condensed bits come first, then the log's changes: two passes over the image.
  LRUFS_TRY_ASSIGN(Image base,
                   read_image(*pager_, SpaceRoots{roots.directory, kNoPage, {}}, bounds, nullptr));
  // A store whose bound was lowered names pages that it cannot have any more: in the end none of them may be
  // in use.
  const std::uint64_t reach = map.chunk_count() * SpaceMap::kChunkPages;
  std::uint64_t beyond = 0;
  for (std::size_t i = 0; i < base.chunks.size(); ++i) {
    const Chunk& chunk = base.chunks[i];
    if (chunk.page == kNoPage) continue;
    const std::byte* bytes = pager_->bytes(chunk.page);
    if (hash64({bytes, kPageSize}) != chunk.checksum) return damaged("map", chunk.page);
    const auto* words = reinterpret_cast<const std::uint64_t*>(bytes);
    if (i >= map.chunk_count()) {
      for (std::size_t word = 0; word < kPageSize / 8; ++word)
        beyond += static_cast<std::uint64_t>(std::popcount(words[word]));
      continue;
    }
    durable_state ? map.load_durable(i, words) : map.load_used(i, words);
  }
  LRUFS_TRY_ASSIGN(Image image, read_image(*pager_, roots, bounds, [&](SpaceChange change) -> Status {
                     const std::uint64_t end = raw(change.run.first) + change.run.count;
                     if (end > reach) {
                       const std::uint64_t count = std::min(change.run.count, end - reach);
                       beyond = change.freed ? beyond - count : beyond + count;
                       change.run.count -= count;
                     }
                     if (change.freed)
                       map.log_free(change.run, durable_state);
                     else
                       map.log_alloc(change.run, durable_state);
                     return {};
                   }));
  if (beyond != 0) return damaged("log", roots.log);
  if (adopt) {
    roots_ = roots;
    chunks_ = std::move(image.chunks);
    directory_ = std::move(image.directory);
    segments_ = std::move(image.segments);
    bytes_ = image.bytes;
  }
  return {};
}

Result<std::vector<PageRun>> SpaceLog::pages_of(const Pager& pager, const SpaceRoots& roots) {
  LRUFS_TRY_ASSIGN(const Image image, read_image(pager, roots, Bounds(), nullptr));
  std::vector<PageRun> pages = image.segments;
  for (const PageNo page : image.directory) pages.push_back({page, 1});
  for (const Chunk& chunk : image.chunks) {
    if (chunk.page != kNoPage) pages.push_back({chunk.page, 1});
  }
  return pages;
}

Status SpaceLog::append(TxnId txn, std::vector<SpaceChange>& changes, const TakeRun& take) {
  const Mark before = mark();
  std::vector<std::uint64_t> entries;
  entries.reserve(changes.size() + 1);
  const auto encode = [&](std::size_t from) {
    for (std::size_t i = from; i < changes.size(); ++i) {
      SpaceChange change = changes[i];
      const std::uint64_t total = change.run.count;
      for (std::uint64_t done = 0; done < total; done += kMaxRun) {
        change.run.first = changes[i].run.first + done;
        change.run.count = std::min(kMaxRun, total - done);
        entries.push_back(encode_change(change));
      }
    }
  };
  encode(0);
  std::size_t written = 0;
  while (written < entries.size()) {
    const std::uint64_t segment_bytes = segments_.empty() ? 0 : segments_.back().count * kPageSize;
    // Room for the jump is always kept.
    const std::uint64_t reserved = roots_.log_end.offset + sizeof(RecordHeader) + kJumpBytes;
    const std::uint64_t room = segment_bytes > reserved ? (segment_bytes - reserved) / 8 : 0;
    if (room == 0) {
      const PageRun run = take(kSegmentPages);
      if (run.count == 0) {
        rewind(before);
        return fail(Code::kNoSpace);
      }
      const std::size_t known = changes.size();
      changes.push_back({run, false});
      encode(known);
      start_segment(*pager_, run);
      if (segments_.empty()) {
        roots_.log = run.first;
      } else {
        const std::uint64_t target = raw(run.first);
        write_record(pager_->bytes(roots_.log_end.segment) + roots_.log_end.offset, txn, kJump, &target, 1);
      }
      segments_.push_back(run);
      roots_.log_end = {run.first, sizeof(SegmentHeader)};
      continue;
    }
    const std::size_t count = std::min<std::size_t>(room, entries.size() - written);
    write_record(pager_->bytes(roots_.log_end.segment) + roots_.log_end.offset, txn, kChanges,
                 entries.data() + written, count);
    const std::size_t bytes = sizeof(RecordHeader) + count * 8;
    roots_.log_end.offset += bytes;
    bytes_ += bytes;
    written += count;
  }
  return {};
}

void SpaceLog::rewind(const Mark& mark) {
  segments_.resize(mark.segments);
  roots_.log_end = mark.end;
  if (segments_.empty()) roots_.log = kNoPage;
  bytes_ = mark.bytes;
}

bool SpaceLog::wants_condensing(const SpaceMap& map) const {
  const std::uint64_t map_bytes = map.grown() / 8;
  return bytes_ > std::max<std::uint64_t>(1U << 20U, map_bytes / 2);
}

bool SpaceLog::lies_below(std::uint64_t page) const {
  const auto below = [&](PageNo each) { return raw(each) < page; };
  return std::all_of(segments_.begin(), segments_.end(),
                     [&](const PageRun& run) { return raw(run.first) + run.count <= page; }) &&
         std::all_of(directory_.begin(), directory_.end(), below) &&
         std::all_of(chunks_.begin(), chunks_.end(), [&](const Chunk& chunk) { return below(chunk.page); });
}

void SpaceLog::leave_from(std::uint64_t page, SpaceMap& map) const {
  for (std::size_t i = 0; i < std::min<std::size_t>(chunks_.size(), map.chunk_count()); ++i) {
    if (raw(chunks_[i].page) >= page) map.set_dirty(i);
  }
}

Result<std::vector<PageRun>> SpaceLog::condense(SpaceMap& map) {
  // The old pages leave the used bits first, but stay busy: the last published state still needs them, should
  // the process die before the new one is published. Then pages for the changed chunks are taken, which
  // changes chunks in turn.
  std::vector<std::uint64_t> rewritten;
  std::vector<bool> chosen(map.chunk_count(), false);
  std::vector<PageNo> new_pages(map.chunk_count(), kNoPage);
  std::vector<PageRun> retired = segments_;
  for (const PageNo page : directory_) retired.push_back({page, 1});

  const std::uint64_t directory_pages = (map.chunk_count() + kChunksPerPage - 1) / kChunksPerPage;
  // Chunks behind the end of the file are empty, and need no page.
  const std::uint64_t chunks = std::min(map.chunk_count(), map.grown() / SpaceMap::kChunkPages + 1);
  if (map.free() < chunks + directory_pages + kSegmentPages + 8) return fail(Code::kNoSpace);
  const auto take_page = [&] {
    const PageNo page = map.take_page();
    map.publish({page, 1});
    pager_->clear_verified(page);
    return page;
  };
  for (std::size_t i = map.chunk_count(); i < chunks_.size(); ++i) {
    if (chunks_[i].page != kNoPage) retired.push_back({chunks_[i].page, 1});  // the bound was lowered
  }
  chunks_.resize(map.chunk_count());
  for (const PageRun& run : retired) map.retire_to_limbo(run);
  std::vector<PageNo> directory;
  for (std::uint64_t i = 0; i < directory_pages; ++i) directory.push_back(take_page());
  const PageRun segment = map.take_run(kSegmentPages);
  map.publish(segment);
  for (std::uint64_t i = 0; i < segment.count; ++i) pager_->clear_verified(segment.first + i);
  for (bool again = true; again;) {
    again = false;
    for (std::uint64_t i = 0; i < map.chunk_count(); ++i) {
      if (!map.chunk_dirty(i) || chosen[i]) continue;
      chosen[i] = true;
      again = true;
      if (chunks_[i].page != kNoPage) {
        map.retire_to_limbo({chunks_[i].page, 1});
        retired.push_back({chunks_[i].page, 1});
      }
      if (!map.chunk_empty(i)) new_pages[i] = take_page();
      rewritten.push_back(i);
    }
  }
  for (const std::uint64_t i : rewritten) {
    map.clear_dirty(i);
    chunks_[i] = {};
    if (new_pages[i] == kNoPage) continue;
    std::byte* to = pager_->bytes(new_pages[i]);
    std::memcpy(to, map.chunk_words(i), kPageSize);
    chunks_[i] = {new_pages[i], hash64({to, kPageSize})};
  }
  for (std::size_t part = 0; part < directory.size(); ++part) {
    std::byte* page = pager_->bytes(directory[part]);
    std::memset(page, 0, kPageSize);
    const std::size_t first = part * kChunksPerPage;
    const std::size_t count = std::min(kChunksPerPage, chunks_.size() - first);
    DirectoryHeader header{0, raw(directory[part]),
                           part + 1 < directory.size() ? raw(directory[part + 1]) : 0,
                           static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(count)};
    std::memcpy(page, &header, sizeof header);
    for (std::size_t i = 0; i < count; ++i) {
      const DirectoryEntry entry{raw(chunks_[first + i].page), chunks_[first + i].checksum};
      std::memcpy(page + sizeof header + i * sizeof entry, &entry, sizeof entry);
    }
    store_le(page, hash64({page + 8, kPageSize - 8}));
  }
  start_segment(*pager_, segment);
  directory_ = std::move(directory);
  segments_ = {segment};
  bytes_ = 0;
  roots_.directory = directory_.front();
  roots_.log = segment.first;
  roots_.log_end = {segment.first, sizeof(SegmentHeader)};
  return retired;
}

}  // namespace lrufs::store
