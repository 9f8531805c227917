// Eviction of what somebody names, wherever it stands in the order; what a pin covers stays.
#include <dirent.h>

#include <string>
#include <utility>

#include "store/store_impl.h"

namespace lrufs::store {

Status StoreImpl::evict_these(const std::vector<Ino>& objects, Evictions& done) {
  constexpr std::size_t kPerTransaction = 32;
  const std::size_t budget = reserve_ / 4;  // as evict_some() has it
  for (std::size_t from = 0; from < objects.size();) {
    std::size_t at = from;
    const auto choose = [&](Transaction& txn, std::size_t chosen,
                            bool& paused) -> Result<std::optional<Inode>> {
      if (chosen == 0) at = from;
      while (at < objects.size()) {
        if (chosen > 0 && state_of(txn).taken.size() > budget) {
          paused = true;
          return std::nullopt;
        }
        auto inode = txn.view().inode(objects[at++]);
        if (!inode && inode.error().code == Code::kNotFound) continue;
        if (!inode) return fail(std::move(inode).error());
        const bool has_entries = inode->is_directory() && inode->entries > 0;
        if ((inode->flags & Inode::kOrphan) != 0U || has_entries || is_protected(inode->ino)) continue;
        LRUFS_TRY_ASSIGN(const bool covered, state_of(txn).is_covered(*inode));
        if (covered) continue;
        return *inode;
      }
      return std::nullopt;
    };
    LRUFS_TRY_ASSIGN(const auto some, evict_chosen(choose, ~0ULL, kPerTransaction, EvictionReason::kRequest));
    from = at;
    if (!some) continue;
    done.objects += some->objects;
    done.bytes += some->bytes;
  }
  return {};
}

// Depth first, and a directory after what is in it. Between the steps nothing is held, so that what comes and
// goes meanwhile may be met or not.
Status StoreImpl::evict_below(Ino dir, std::string_view name_prefix, Evictions& done) {
  constexpr std::size_t kStep = 256;
  struct Level {
    Ino dir;
    Cookie after;
  };
  std::vector<Level> way = {{dir, Cookie{0}}};
  std::vector<Ino> batch;
  while (!way.empty()) {
    Ino below = kNoIno;
    bool ended = true;
    {
      const Snapshot::State state(*this, Snapshot::Kind::kTransient);
      Level& level = way.back();
      LRUFS_TRY(state.view.list(level.dir, level.after, [&](const DirEntry& entry) {
        if (batch.size() >= kStep) {
          ended = false;
          return false;
        }
        level.after = entry.cookie;
        if (way.size() == 1 && !entry.name.starts_with(name_prefix)) return true;
        if (entry.type == DT_DIR) {
          below = entry.ino;
          return false;
        }
        batch.push_back(entry.ino);
        return true;
      }));
    }
    if (below != kNoIno) {
      way.push_back({below, Cookie{0}});
      continue;
    }
    if (ended) {
      if (way.size() > 1) batch.push_back(way.back().dir);
      way.pop_back();
    }
    if (batch.size() < kStep && !way.empty()) continue;
    LRUFS_TRY(evict_these(batch, done));
    batch.clear();
  }
  return evict_these(batch, done);
}

}  // namespace lrufs::store
