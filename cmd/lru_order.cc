#include "cmd/lru_order.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "cmd/key.h"
#include "cmd/verbs.h"
#include "cmd/walk.h"

namespace lrufs::cmd {

using store::Result;
using store::Status;
using store::Timestamp;

Result<std::vector<LruPlace>> lru_order(Tree& tree) {
  std::vector<LruPlace> order;
  std::vector<std::pair<std::uint64_t, Timestamp>> makings;  // inode number, when
  std::unordered_set<std::string> pinned_folders;
  LRUFS_TRY(walk(tree, "", [&](const std::string& key, const Attributes& attributes) -> Status {
    if (attributes.made) makings.emplace_back(attributes.ino, *attributes.made);
    // A folder comes before what is in it.
    if (pinned_folders.contains(parent_key(key)) || tree.xattr(key, kPinXattr).has_value()) {
      if (attributes.is_folder()) pinned_folders.insert(key);
      return {};
    }
    if (attributes.is_folder() && attributes.entries.value_or(1) != 0) return {};
    order.push_back({.key = key, .attributes = attributes, .used_after = {}, .used_before = {}});
    return {};
  }));
  std::ranges::sort(order, {}, [](const LruPlace& place) {
    return std::pair(place.attributes.sequence.value_or(0), place.attributes.ino);
  });
  // Several names of one object go together: one line for it, by its first name.
  const auto same_object = [](const LruPlace& one, const LruPlace& other) {
    return one.attributes.ino == other.attributes.ino;
  };
  order.erase(std::unique(order.begin(), order.end(), same_object), order.end());

  std::ranges::sort(makings);
  for (LruPlace& place : order) {
    if (!place.attributes.used) {
      place.used_after = place.used_before = place.attributes.made;
      continue;
    }
    const auto later = std::ranges::upper_bound(makings, place.attributes.sequence.value_or(0), {},
                                                [](const auto& making) { return making.first; });
    if (later != makings.end()) place.used_before = later->second;
    if (later != makings.begin()) place.used_after = std::prev(later)->second;
  }
  return order;
}

}  // namespace lrufs::cmd
