// Meta: the root of a state. Four pages at fixed places, all of one layout (docs/format.md): 0 and 1 hold
// durable metas, 2 and 3 live ones; each pair is written alternately, the older one next. All of a meta lies
// in the first 512 bytes of its page, so that a disk that tears pages at sectors leaves it whole or not.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "store/btree.h"
#include "store/error.h"
#include "store/file_ops.h"
#include "store/images.h"
#include "store/types.h"

namespace lrufs::store {

inline constexpr std::uint32_t kFormatVersion = 3;  // 1: no pages edited in place; 2: no pins, no expiry
inline constexpr std::size_t kMetaBytes = 512;
inline constexpr std::uint64_t kDurableMetaPage = 0;  // and 1
inline constexpr std::uint64_t kLiveMetaPage = 2;     // and 3

// Where a record of the space log ends.
struct LogPosition {
  PageNo segment = kNoPage;  // first page of the segment
  std::uint64_t offset = 0;  // bytes from the segment's beginning
  friend bool operator==(const LogPosition&, const LogPosition&) = default;
};

struct SpaceRoots {
  PageNo directory = kNoPage;  // first page of the condensed map's directory; kNoPage: all free
  PageNo log = kNoPage;        // first page of the log's first segment
  LogPosition log_end;
  friend bool operator==(const SpaceRoots&, const SpaceRoots&) = default;
};

// Counters that are part of a state.
struct Counters {
  std::uint64_t next_seq = 2;  // next inode number and touch sequence: one counter, so that they compare
  std::uint64_t files = 0;     // objects but directories, orphans included
  std::uint64_t directories = 0;
  std::uint64_t orphans = 0;
  std::uint64_t orphan_directories = 0;  // of these
  std::uint64_t content_bytes = 0;       // sum of the sizes of all objects but directories
  std::uint64_t scan_mark = 2;  // inodes below it that are not in the recency tree are not in the LRU order
  std::uint64_t pinned_objects = 0;      // that carry a pin of their own, orphans included
  std::uint64_t pinned_directories = 0;  // of these
  std::uint64_t pinned_bytes = 0;        // sum of the sizes of those that are no directories
  std::uint64_t parked = 0;              // objects in the parked part of the recency tree
  std::uint64_t unpark_from =
      0;  // from this place on they are to be looked at again: a pin went; 0: none are
  friend bool operator==(const Counters&, const Counters&) = default;
};

struct Meta {
  // Who.
  std::array<std::uint8_t, 16> uuid{};
  std::uint64_t name_seed = 0;
  std::uint64_t bound_bytes = 0;
  std::uint64_t grown_pages = 0;  // the file was at least this long
  // Which state.
  TxnId txn{0};
  std::uint64_t session = 0;  // random, new at each open
  Roots roots;
  SpaceRoots space;
  Counters counters;
  // Live metas: what must still be true for the page cache to be believed.
  std::array<std::uint8_t, 16> boot_id{};
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  TxnId durable_txn{0};  // the durable meta that was current
  std::uint64_t durable_session = 0;
  // Of all tree pages born after that one the checksums, added up: a page that is edited in place keeps its
  // birth, so only this tells that the page cache has lost an edit. Format 1 has none.
  std::uint64_t new_pages_sum = 0;
  std::uint32_t format = kFormatVersion;
  // Durable metas.
  bool clean = false;  // written by close(): nothing was published after it
  // All metas: damage of the store's structures was seen. The store is opened read-only from then on, unless
  // Options::force says otherwise, until it is repaired.
  bool damaged = false;
};

// kMetaBytes; the checksum last. A live meta also names the images of its publish, behind its kMetaBytes.
void encode_meta(const Meta& meta, std::byte* page, std::span<const ImageRef> images = {});
// The images that a live meta names; kCorrupt.
Result<std::vector<ImageRef>> decode_images(const std::byte* page);
enum class MetaFault : std::uint8_t {
  kNone,
  kEmpty,  // zeros
  kForeign,
  kNewer,         // of a later format: whole, but for the version
  kPerhapsNewer,  // fails its checksum and names a later format, which may use another one: that, or damaged
  kDamaged
};
struct DecodedMeta {
  std::optional<Meta> meta;
  MetaFault fault = MetaFault::kNone;
};
DecodedMeta decode_meta(const std::byte* page);

// The metas of a file, and which state to open.
struct MetaChoice {
  Meta durable;
  int durable_slot = 0;  // 0 or 1
  std::optional<Meta>
      live;  // believed, as far as the metas alone can tell; its pages are still to be verified
  std::optional<std::uint64_t> live_page;  // where it lies; also if it takes the place of the durable one
  TxnId highest{0};                        // of all metas that could be read
  // What is wrong with the metas, if that casts doubt on the choice: the newest checkpoint is lost, so the
  // state is an older one, of whose pages some may have been used again. Empty: nothing.
  std::string damage;
  // The newest checkpoint may have been lost, and no meta tells: the state counts if all its pages are whole.
  bool doubtful = false;
};
// `header`: the first four pages. kNotAStore, kNewerFormat, kCorrupt; kNotFound: all zeros, a store that was
// never finished. `identity` and `boot_id` are the file's and the kernel's of now.
Result<MetaChoice> choose_meta(const std::byte* header, const FileIdentity& identity,
                               const std::array<std::uint8_t, 16>& boot_id, bool from_checkpoint);

std::array<std::uint8_t, 16> parse_hex128(const std::string& hex);
std::string format_hex128(const std::array<std::uint8_t, 16>& bytes);

}  // namespace lrufs::store
