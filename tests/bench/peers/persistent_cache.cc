// persistent-cache-cpp: the nearest peer, a persistent LRU cache (over LevelDB), with its policy lru_only.
// Its bound is on keys and values, not on disk use. It has no sync; its puts survive SIGKILL.
#include <core/persistent_string_cache.h>

#include "peers/peer.h"

namespace lrufs::bench {

namespace {

class PersistentCache final : public Peer {
 public:
  explicit PersistentCache(const Setup& setup)
      : cache_(core::PersistentStringCache::open(setup.folder + "/cache",
                                                 static_cast<std::int64_t>(setup.bound),
                                                 core::CacheDiscardPolicy::lru_only)) {}

  void put(std::string_view key, std::string_view value) override {
    if (!cache_->put(std::string(key), value.data(), static_cast<std::int64_t>(value.size())))
      die("persistent-cache-cpp: put failed");
  }

  bool get(unsigned /*thread*/, std::string_view key, std::string& value) override {
    auto found = cache_->get(std::string(key));
    if (!found) return false;
    value = std::move(*found);
    return true;
  }

  void sync() override { die("persistent-cache-cpp has no sync"); }

 private:
  core::PersistentStringCache::UPtr cache_;
};

}  // namespace

std::unique_ptr<Peer> open_persistent_cache(const Setup& setup) {
  return std::make_unique<PersistentCache>(setup);
}

}  // namespace lrufs::bench
