#include "cmd/walk.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "cmd/key.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Status;

// An entry, or (with a slash at the end of `order`) all that is in a folder.
struct Step {
  std::string order;
  const Attributes* attributes = nullptr;  // null: go down
};

struct Level {
  std::string folder;
  std::unique_ptr<Tree::Listing> listing;  // what the steps point to
  std::vector<Step> steps;
  std::size_t next = 0;
};

}  // namespace

Status walk(Tree& tree, const std::string& folder, const Visit& visit) {
  std::vector<Level> levels;
  const auto enter = [&](const std::string& key) -> Status {
    auto listing = tree.list(key);
    if (!listing) return fail(listing.error());
    Level level{.folder = key,
                .listing = std::make_unique<Tree::Listing>(*std::move(listing)),
                .steps = {},
                .next = 0};
    for (const auto& [name, attributes] : *level.listing) {
      level.steps.push_back({name, &attributes});
      if (attributes.is_folder()) level.steps.push_back({name + "/", nullptr});
    }
    std::ranges::sort(level.steps, {}, &Step::order);
    levels.push_back(std::move(level));
    return {};
  };

  if (const Status entered = enter(folder); !entered) return fail(about_key(folder, entered.error()));
  while (!levels.empty()) {
    Level& level = levels.back();
    if (level.next == level.steps.size()) {
      levels.pop_back();
      continue;
    }
    const Step& step = level.steps[level.next++];
    if (step.attributes != nullptr) {
      LRUFS_TRY(visit(join_keys(level.folder, step.order), *step.attributes));
      continue;
    }
    const std::string below = join_keys(level.folder, step.order.substr(0, step.order.size() - 1));
    const Status entered = enter(below);
    if (entered) continue;
    const Code code = entered.error().code;
    const bool gone = code == Code::kNotFound || code == Code::kStale || code == Code::kNotDirectory;
    if (!gone) return fail(about_key(below, entered.error()));
  }
  return {};
}

}  // namespace lrufs::cmd
