#include "store/meta.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "store/bytes.h"

namespace lrufs::store {

namespace {

constexpr std::array<char, 8> kMagic = {'l', 'r', 'u', 'f', 's', '\r', '\n', '\x1a'};

constexpr std::uint64_t kClean = 1;
constexpr std::uint64_t kDamagedFlag = 2;

// The layout of the first 512 bytes; docs/format.md and tests/format pin it.
struct RawRoot {
  std::uint64_t page;
  std::uint64_t birth;
};
struct RawMeta {
  char magic[8];                     // 0
  std::uint32_t format_version;      // 8
  std::uint32_t page_size;           // 12
  std::uint8_t uuid[16];             // 16
  std::uint64_t name_seed;           // 32
  std::uint64_t bound_bytes;         // 40
  std::uint64_t txn;                 // 48
  std::uint64_t session;             // 56
  RawRoot roots[4];                  // 64: names, recency, expiry, spare
  std::uint64_t space_directory;     // 128
  std::uint64_t log;                 // 136
  std::uint64_t log_end_segment;     // 144
  std::uint64_t log_end_offset;      // 152
  std::uint64_t next_seq;            // 160
  std::uint64_t files;               // 168
  std::uint64_t directories;         // 176
  std::uint64_t orphans;             // 184
  std::uint64_t content_bytes;       // 192
  std::uint64_t scan_mark;           // 200
  std::uint8_t boot_id[16];          // 208
  std::uint64_t device;              // 224
  std::uint64_t inode;               // 232
  std::uint64_t durable_txn;         // 240
  std::uint64_t durable_session;     // 248
  std::uint64_t flags;               // 256: 1 = clean, 2 = damaged
  std::uint64_t grown_pages;         // 264
  std::uint64_t orphan_directories;  // 272
  std::uint64_t new_pages_sum;       // 280
  std::uint64_t images;              // 288: how many pairs of page numbers follow at 512
  std::uint64_t images_checksum;     // 296: XXH3-64 of these
  std::uint64_t pinned_objects;      // 304
  std::uint64_t pinned_directories;  // 312
  std::uint64_t pinned_bytes;        // 320
  std::uint64_t parked;              // 328
  std::uint64_t unpark_from;         // 336
  std::uint64_t reserved[20];        // 344: zeros
  std::uint64_t checksum;            // 504: XXH3-64 of bytes 0 … 503
};
static_assert(sizeof(RawMeta) == kMetaBytes);
struct RawImage {
  std::uint64_t image;
  std::uint64_t target;
};
static_assert(kMetaBytes + Images::kMax * sizeof(RawImage) <= kPageSize);

RawRoot to_raw(const TreeRoot& root) { return {raw(root.page), raw(root.birth)}; }
TreeRoot from_raw(const RawRoot& root) { return {PageNo{root.page}, TxnId{root.birth}}; }

}  // namespace

void encode_meta(const Meta& meta, std::byte* page, std::span<const ImageRef> images) {
  RawMeta image{};
  std::copy(kMagic.begin(), kMagic.end(), image.magic);
  image.format_version = kFormatVersion;
  image.page_size = kPageSize;
  std::copy(meta.uuid.begin(), meta.uuid.end(), image.uuid);
  image.name_seed = meta.name_seed;
  image.bound_bytes = meta.bound_bytes;
  image.txn = raw(meta.txn);
  image.session = meta.session;
  image.roots[0] = to_raw(meta.roots.names);
  image.roots[1] = to_raw(meta.roots.recency);
  image.roots[2] = to_raw(meta.roots.expiry);
  image.roots[3] = to_raw(meta.roots.spare);
  image.space_directory = raw(meta.space.directory);
  image.log = raw(meta.space.log);
  image.log_end_segment = raw(meta.space.log_end.segment);
  image.log_end_offset = meta.space.log_end.offset;
  image.next_seq = meta.counters.next_seq;
  image.files = meta.counters.files;
  image.directories = meta.counters.directories;
  image.orphans = meta.counters.orphans;
  image.orphan_directories = meta.counters.orphan_directories;
  image.content_bytes = meta.counters.content_bytes;
  image.scan_mark = meta.counters.scan_mark;
  image.pinned_objects = meta.counters.pinned_objects;
  image.pinned_directories = meta.counters.pinned_directories;
  image.pinned_bytes = meta.counters.pinned_bytes;
  image.parked = meta.counters.parked;
  image.unpark_from = meta.counters.unpark_from;
  std::copy(meta.boot_id.begin(), meta.boot_id.end(), image.boot_id);
  image.device = meta.device;
  image.inode = meta.inode;
  image.durable_txn = raw(meta.durable_txn);
  image.durable_session = meta.durable_session;
  image.flags = (meta.clean ? kClean : 0) | (meta.damaged ? kDamagedFlag : 0);
  image.grown_pages = meta.grown_pages;
  image.new_pages_sum = meta.new_pages_sum;
  image.images = images.size();
  if (!images.empty()) {
    std::byte* const list = page + kMetaBytes;
    for (std::size_t i = 0; i < images.size(); ++i) {
      const RawImage each{raw(images[i].image), raw(images[i].target)};
      std::memcpy(list + i * sizeof each, &each, sizeof each);
    }
    image.images_checksum = hash64({list, images.size() * sizeof(RawImage)});
  }
  image.checksum = hash64({reinterpret_cast<const std::byte*>(&image), kMetaBytes - 8});
  std::memcpy(page, &image, kMetaBytes - 8);
  // SIGKILL may fall between any two stores: the checksum makes the meta valid and must come last.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  std::memcpy(page + kMetaBytes - 8, &image.checksum, 8);
}

DecodedMeta decode_meta(const std::byte* page) {
  RawMeta image;
  std::memcpy(&image, page, sizeof image);
  if (std::all_of(page, page + kMetaBytes, [](std::byte b) { return b == std::byte{0}; }))
    return {std::nullopt, MetaFault::kEmpty};
  if (!std::equal(kMagic.begin(), kMagic.end(), image.magic)) return {std::nullopt, MetaFault::kForeign};
  const bool is_newer = image.format_version > kFormatVersion;
  if (image.checksum != hash64({page, kMetaBytes - 8}))
    return {std::nullopt, is_newer ? MetaFault::kPerhapsNewer : MetaFault::kDamaged};
  if (is_newer) return {std::nullopt, MetaFault::kNewer};
  if (image.page_size != kPageSize || image.format_version == 0) return {std::nullopt, MetaFault::kDamaged};
  Meta meta;
  std::copy(std::begin(image.uuid), std::end(image.uuid), meta.uuid.begin());
  meta.name_seed = image.name_seed;
  meta.bound_bytes = image.bound_bytes;
  meta.txn = TxnId{image.txn};
  meta.session = image.session;
  meta.roots.names = from_raw(image.roots[0]);
  meta.roots.recency = from_raw(image.roots[1]);
  meta.roots.expiry = from_raw(image.roots[2]);
  meta.roots.spare = from_raw(image.roots[3]);
  meta.space.directory = PageNo{image.space_directory};
  meta.space.log = PageNo{image.log};
  meta.space.log_end = {PageNo{image.log_end_segment}, image.log_end_offset};
  meta.counters.next_seq = image.next_seq;
  meta.counters.files = image.files;
  meta.counters.directories = image.directories;
  meta.counters.orphans = image.orphans;
  meta.counters.orphan_directories = image.orphan_directories;
  meta.counters.content_bytes = image.content_bytes;
  meta.counters.scan_mark = image.scan_mark;
  meta.counters.pinned_objects = image.pinned_objects;
  meta.counters.pinned_directories = image.pinned_directories;
  meta.counters.pinned_bytes = image.pinned_bytes;
  meta.counters.parked = image.parked;
  meta.counters.unpark_from = image.unpark_from;
  std::copy(std::begin(image.boot_id), std::end(image.boot_id), meta.boot_id.begin());
  meta.device = image.device;
  meta.inode = image.inode;
  meta.durable_txn = TxnId{image.durable_txn};
  meta.durable_session = image.durable_session;
  meta.clean = (image.flags & kClean) != 0;
  meta.damaged = (image.flags & kDamagedFlag) != 0;
  meta.grown_pages = image.grown_pages;
  meta.new_pages_sum = image.new_pages_sum;
  meta.format = image.format_version;
  return {meta, MetaFault::kNone};
}

Result<std::vector<ImageRef>> decode_images(const std::byte* page) {
  RawMeta meta;
  std::memcpy(&meta, page, sizeof meta);
  const std::byte* const list = page + kMetaBytes;
  if (meta.images == 0) return std::vector<ImageRef>();
  if (meta.images > Images::kMax || meta.images_checksum != hash64({list, meta.images * sizeof(RawImage)}))
    return fail(Code::kCorrupt, "the list of images of a live meta is damaged");
  std::vector<ImageRef> images;
  for (std::size_t i = 0; i < meta.images; ++i) {
    RawImage each{};
    std::memcpy(&each, list + i * sizeof each, sizeof each);
    images.push_back({PageNo{each.image}, PageNo{each.target}});
  }
  return images;
}

namespace {

using Metas = std::array<DecodedMeta, 4>;

// The newest durable meta, or nothing.
std::optional<int> newest_durable(const Metas& metas) {
  std::optional<int> newest;
  for (int slot = 0; slot < 2; ++slot) {
    const auto& meta = metas[static_cast<std::size_t>(slot)].meta;
    if (!meta) continue;
    const Meta* best = newest ? &*metas[static_cast<std::size_t>(*newest)].meta : nullptr;
    // close() may write the state that a checkpoint wrote just before, once more, as clean.
    if (best == nullptr || meta->txn > best->txn || (meta->txn == best->txn && meta->clean)) newest = slot;
  }
  return newest;
}

// Is it certain that the chosen durable meta is the newest that was written? Metas are written in turn, so
// the other one is its predecessor; and each live meta names the durable one that was current.
void doubt(MetaChoice& choice, const Metas& metas) {
  const Meta& durable = choice.durable;
  bool confirmed = choice.live.has_value();
  for (std::size_t slot = 2; slot < 4; ++slot) {
    const auto& live = metas[slot].meta;
    if (!live || live->uuid != durable.uuid) continue;
    if (live->durable_txn > durable.txn) {
      choice.damage = "the meta of the last checkpoint is lost";
      return;
    }
    confirmed = confirmed || live->txn <= durable.txn;
  }
  if (confirmed) return;
  const DecodedMeta& other = metas[static_cast<std::size_t>(1 - choice.durable_slot)];
  if (other.fault == MetaFault::kEmpty) {
    // Never written, or cleared since it could not be synced, or lost.
    choice.doubtful = durable.durable_txn != TxnId{0};
  } else if (!other.meta || (other.meta->txn != durable.durable_txn && other.meta->txn != durable.txn)) {
    choice.damage = "one durable meta is damaged, and the other one may be older than the last checkpoint";
  }
}

}  // namespace

Result<MetaChoice> choose_meta(const std::byte* header, const FileIdentity& identity,
                               const std::array<std::uint8_t, 16>& boot_id, bool from_checkpoint) {
  Metas metas;
  for (std::size_t i = 0; i < metas.size(); ++i) metas[i] = decode_meta(header + i * kPageSize);
  const auto any = [&](MetaFault fault) {
    return std::any_of(metas.begin(), metas.end(),
                       [&](const DecodedMeta& meta) { return meta.fault == fault; });
  };
  const auto newest = newest_durable(metas);
  if (any(MetaFault::kNewer) || (!newest && any(MetaFault::kPerhapsNewer)))
    return fail(Code::kNewerFormat,
                "the store was written in a newer format than this version of lrufs knows (" +
                    std::to_string(kFormatVersion) + "): use a newer lrufs");
  MetaChoice choice;
  if (newest) {
    choice.durable = *metas[static_cast<std::size_t>(*newest)].meta;
    choice.durable_slot = *newest;
  } else {
    const bool hurt = any(MetaFault::kDamaged) || metas[2].meta || metas[3].meta;
    if (!hurt && any(MetaFault::kForeign)) return fail(Code::kNotAStore, "the file is not an lrufs store");
    if (!hurt) return fail(Code::kNotFound);
    const std::uint64_t at =
        metas[2].meta && (!metas[3].meta || metas[2].meta->txn > metas[3].meta->txn) ? 2 : 3;
    const auto& live = metas[at].meta;
    if (!live || from_checkpoint) return fail(Code::kCorrupt, "both durable metas of the store are damaged");
    choice.durable = *live;
    choice.live_page = at;
    choice.durable_slot = 1;  // the next checkpoint writes slot 0
    choice.damage = "both durable metas are damaged; a live meta is used, whose pages may be missing";
  }
  choice.highest = choice.durable.txn;
  for (std::size_t slot = 2; slot < 4; ++slot) {
    const auto& live = metas[slot].meta;
    if (!live || live->uuid != choice.durable.uuid) continue;
    choice.highest = std::max(choice.highest, live->txn);
    // A live meta speaks of pages that may exist in the page cache only. It is believed if that cache must
    // still be there: same boot, same file, and it continues the newest durable state (or the one that was
    // lost since).
    const Meta& durable = choice.durable;
    const bool same_cache =
        live->boot_id == boot_id && live->device == identity.device && live->inode == identity.inode;
    const bool continues = (live->durable_txn == durable.txn && live->durable_session == durable.session) ||
                           live->session == durable.session || live->durable_txn > durable.txn;
    if (from_checkpoint || !same_cache || !continues || live->txn <= durable.txn) continue;
    if (choice.live && live->txn <= choice.live->txn) continue;
    choice.live = *live;
    choice.live_page = slot;
  }
  if (newest) doubt(choice, metas);
  return choice;
}

std::array<std::uint8_t, 16> parse_hex128(const std::string& hex) {
  std::array<std::uint8_t, 16> bytes{};
  const auto digit = [](char c) {
    return static_cast<unsigned>(c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 0);
  };
  for (std::size_t i = 0; i < bytes.size() && 2 * i + 1 < hex.size(); ++i)
    bytes[i] = static_cast<std::uint8_t>(digit(hex[2 * i]) * 16 + digit(hex[2 * i + 1]));
  return bytes;
}

std::string format_hex128(const std::array<std::uint8_t, 16>& bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const std::uint8_t byte : bytes) {
    hex += kDigits[byte >> 4U];
    hex += kDigits[byte & 15U];
  }
  return hex;
}

}  // namespace lrufs::store
