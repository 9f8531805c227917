// Ours, through the facade. It keeps the LRU order and the bound all the while.
#include "peers/peer.h"
#include "store/bytes.h"
#include "store/store.h"

namespace lrufs::bench {

namespace {

template <typename R>
R checked(R result) {
  if (!result) die("lrufs: " + store::describe(result.error()));
  return result;
}

class Lrufs final : public Peer {
 public:
  explicit Lrufs(const Setup& setup) : put_is_synced_(setup.put_is_synced) {
    store::Options options;
    options.bound = setup.bound;
    options.sync = store::Options::Sync::kUnmount;  // the benchmark says when
    store_ = std::move(*checked(store::Store::open(setup.folder + "/store.lrufs", options)));
  }

  void put(std::string_view key, std::string_view value) override {
    checked(store_->put(key, store::as_bytes(value)));
    if (put_is_synced_) sync();
  }

  bool get(unsigned /*thread*/, std::string_view key, std::string& value) override {
    const store::Status found = store_->get(key, value);
    if (!found && found.error().code == store::Code::kNotFound) return false;
    checked(found);
    return true;
  }

  void sync() override { checked(store_->checkpoint()); }

 private:
  const bool put_is_synced_;
  std::unique_ptr<store::Store> store_;
};

}  // namespace

std::unique_ptr<Peer> open_lrufs(const Setup& setup) { return std::make_unique<Lrufs>(setup); }

}  // namespace lrufs::bench
