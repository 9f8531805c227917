// The free-space information on disk: a condensed map (used bits of all pages) and, after it, a log of
// allocations and frees. A state names both by its meta (SpaceRoots), so that any meta is opened by reading
// the map and replaying its part of the log, never by scanning the trees. The idea is ZFS's space map (J.
// Bonwick, "Space Maps", 2007).
//
//   directory: chain of pages, each with (page, checksum) of the chunks' bitmap pages; page 0 = all pages of
//   the chunk free log: chain of segments (runs of pages); a segment holds records, each with its own
//   checksum; the last record of a full segment is a jump to the next one. Bytes of the log are written once:
//   an older meta's prefix stays valid.
//
// Not thread-safe: under the writer's lock. The pages of map and log are themselves part of the used bits.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "store/error.h"
#include "store/meta.h"
#include "store/pager.h"
#include "store/space_map.h"
#include "store/staged_data.h"

namespace lrufs::store {

struct SpaceChange {
  PageRun run;
  bool freed = false;
};

class SpaceLog {
 public:
  static constexpr std::uint64_t kSegmentPages = 32;

  explicit SpaceLog(Pager& pager) : pager_(&pager) {}

  // Reads a state's free space into the map's used bits (or its durable bits). With `adopt` this log
  // continues there. The records must fit `bounds`: one of another time is what a lost write leaves.
  // kCorrupt.
  struct Bounds {
    TxnId last{~0ULL};      // the state's transaction: no record is newer
    LogPosition older_end;  // if the log has this place, the records before it belong to an older state
    TxnId older{0};         // the older state's transaction
  };
  Status load(const SpaceRoots& roots, SpaceMap& map, bool durable_state, bool adopt, const Bounds& bounds);
  Status load(const SpaceRoots& roots, SpaceMap& map, bool durable_state, bool adopt) {
    return load(roots, map, durable_state, adopt, Bounds());
  }
  // All pages that hold the map and the log of a state; for the check.
  static Result<std::vector<PageRun>> pages_of(const Pager& pager, const SpaceRoots& roots);

  // Appends one transaction's changes. `take` brings pages for a new segment (kNoPage count 0: none), which
  // become part of the changes. kNoSpace leaves the log as it was.
  using TakeRun = std::function<PageRun(std::uint64_t)>;
  Status append(TxnId txn, std::vector<SpaceChange>& changes, const TakeRun& take);
  // Where the log ended before append(), to go back if the publish does not happen.
  struct Mark {
    LogPosition end;
    std::size_t segments = 0;
    std::uint64_t bytes = 0;
  };
  [[nodiscard]] Mark mark() const { return {roots_.log_end, segments_.size(), bytes_}; }
  void rewind(const Mark& mark);

  // Is the log long enough, compared to the map, to be worth condensing?
  [[nodiscard]] bool wants_condensing(const SpaceMap& map) const;
  // Writes changed chunks of the map anew and starts an empty log. No transaction may be running. The caller
  // publishes the new roots() and then gives back the returned pages of the old map and log, which are busy
  // until then. kNoSpace: nothing changed.
  Result<std::vector<PageRun>> condense(SpaceMap& map);

  // Are all its pages below this one? (The file is made shorter.)
  [[nodiscard]] bool lies_below(std::uint64_t page) const;
  // The next condense() writes anew what lies at this page or behind it.
  void leave_from(std::uint64_t page, SpaceMap& map) const;

  [[nodiscard]] const SpaceRoots& roots() const { return roots_; }
  [[nodiscard]] std::uint64_t log_bytes() const { return bytes_; }

 private:
  struct Chunk {
    PageNo page = kNoPage;
    std::uint64_t checksum = 0;
  };
  struct Image {  // what a state's roots lead to
    std::vector<Chunk> chunks;
    std::vector<PageNo> directory;
    std::vector<PageRun> segments;
    std::uint64_t bytes = 0;
  };
  using Apply = std::function<Status(const SpaceChange&)>;
  static Result<Image> read_image(const Pager& pager, const SpaceRoots& roots, const Bounds& bounds,
                                  const Apply& apply);
  static void start_segment(Pager& pager, PageRun run);

  Pager* pager_;
  SpaceRoots roots_;
  std::vector<Chunk> chunks_;
  std::vector<PageNo> directory_;
  std::vector<PageRun> segments_;
  std::uint64_t bytes_ = 0;
};

}  // namespace lrufs::store
