// The copy-on-write B+tree: ordered bytewise by key, any bytes as keys and values up to kMaxCell together.
// Functions over a root rather than a class: a root is two numbers in a meta page, and many versions of it
// exist at once.
//
// Invariants: all leaves at the same depth; keys in a node strictly ascending; the key of a branch cell is a
// lower bound of its child's keys and above the keys of the child before it (the first cell's key is empty =
// minus infinity); no node is empty, save the root leaf; a branch cell names its child's birth, so that a
// page that is not the one that was written is noticed (lost and misplaced writes). A change copies a page
// only where it may not be edited in place (images.h), and the pages above it only as far as a number
// changed.
//
// Source: Comer, "The Ubiquitous B-Tree", ACM Computing Surveys 11(2), 1979; copy-on-write as in LMDB and
// bbolt; shortest separators: Bayer and Unterauer, "Prefix B-Trees", ACM TODS 2(1), 1977.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>

#include "store/error.h"
#include "store/name_hash.h"
#include "store/node.h"
#include "store/pager.h"
#include "store/types.h"

namespace lrufs::store {

// A tree's root as a meta page has it.
struct TreeRoot {
  PageNo page = kNoPage;  // kNoPage: empty tree
  TxnId birth{0};
  friend bool operator==(const TreeRoot&, const TreeRoot&) = default;
};

// What a published state consists of, apart from counters.
struct Roots {
  TreeRoot names;    // (inode, kind, suffix) → record; keys.h
  TreeRoot recency;  // (touch sequence, with kParkedPlaces if parked; inode) → nothing
  TreeRoot expiry;   // (time, inode) → nothing
  TreeRoot spare;
};

inline constexpr std::size_t kMaxDepth =
    20;  // a tree of 2^64 keys stays below with the smallest fan-out of 4… 10

// A position in a tree. Valid until the tree is changed. Not thread-safe; many cursors may read one tree.
class Cursor {
 public:
  Cursor(const PageSource& pages, const TreeRoot& root) : pages_(pages), root_(root) {}

  Status seek(Bytes key);  // to the first key >= `key`
  Status first();
  Status last();
  Status next();
  Status prev();
  [[nodiscard]] bool valid() const { return valid_; }  // false: past the end (or nothing found)
  [[nodiscard]] Bytes key() const;
  [[nodiscard]] Bytes value() const;
  [[nodiscard]] LeafHints::Hint place() const;

 private:
  struct Step {
    const Page* page = nullptr;
    std::uint16_t index = 0;
  };
  Status descend(PageNo page, TxnId birth, int edge);  // edge: -1 leftmost, +1 rightmost
  PageSource pages_;
  TreeRoot root_;
  std::array<Step, kMaxDepth> path_{};
  std::size_t depth_ = 0;
  bool valid_ = false;
};

// The value of `key`, or nullopt. Points into the map.
Result<std::optional<Bytes>> tree_get(const PageSource& pages, const TreeRoot& root, Bytes key);

// Where a key is. Valid until the tree is changed.
struct TreePlace {
  const Page* leaf = nullptr;
  std::uint16_t index = 0;
  [[nodiscard]] Bytes key() const { return NodeView(*leaf).key(index); }
  [[nodiscard]] Bytes value() const { return NodeView(*leaf).value(index); }
  [[nodiscard]] LeafHints::Hint hint() const {
    return {PageNo{leaf->header.page_no}, index, NodeView(*leaf).cell(index)};
  }
};
// The same by the hint under `hash` alone; nullopt: perhaps it is somewhere else.
std::optional<TreePlace> tree_find_hinted(const PageSource& pages, Bytes key, std::uint64_t hash);
// nullopt: the tree has no such key. Follows the hint under `hash`, and leaves one if it had to search.
enum class LeaveHint : bool { kNo, kYes };
Result<std::optional<TreePlace>> tree_find(const PageSource& pages, const TreeRoot& root, Bytes key,
                                           std::uint64_t hash, LeaveHint leave = LeaveHint::kYes);

// Inserts or replaces. kNoSpace leaves the tree half changed: abort the transaction. `key` and `value` must
// not point into the tree's own pages. `guess`: a leaf that may be the one. Returns where the record is, or
// nothing if its leaf was split.
Result<LeafHints::Hint> tree_put(PageWriter& writer, TreeRoot& root, Bytes key, Bytes value,
                                 PageNo guess = kNoPage);
// Removes; false if the key was not there (nothing is copied then).
Result<bool> tree_erase(PageWriter& writer, TreeRoot& root, Bytes key, PageNo guess = kNoPage);

// Depth-first over all pages, parents first; `visit` returns false to skip what is below. For check and
// statistics. Damaged pages are reported through `damaged` and skipped.
using PageVisit = std::function<bool(PageNo, const Page&)>;
using PageDamage = std::function<void(PageNo, const Error&)>;
void tree_walk(const PageSource& pages, const TreeRoot& root, const PageVisit& visit,
               const PageDamage& damaged);

}  // namespace lrufs::store
