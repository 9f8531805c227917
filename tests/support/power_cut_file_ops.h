// PowerCutFileOps: the real file operations, and beside them a copy of the bytes that a power cut is sure to
// leave: those that a sync that returned has seen. From it and from what the file holds now it builds the
// files that a power cut at this moment could leave: any of the pages that changed since may have reached the
// disk or not, whole or in some of their sectors, in any order, and the file may have its old or its new
// length.
//
// A sync that is running guarantees nothing yet; when it returns, what the file held when it was called is
// durable. The hook is called around both kinds of sync, in the thread that syncs: tests make images and
// change the store there.
//
// Thread-safety: any thread, as FileOps; images are made under a lock, so beside a sync. One file at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/support/forwarding_file_ops.h"

namespace lrufs::test {

class PowerCutFileOps final : public ForwardingFileOps {
 public:
  enum class Moment : std::uint8_t {
    kBeforeSyncAll,    // nothing happened yet
    kDuringSyncAll,    // it will cover what the file held up to now, but it has not returned
    kAfterSyncAll,     // that is durable
    kBeforeSyncRange,  // the same three, of a meta
    kDuringSyncRange,
    kAfterSyncRange,
  };
  static const char* name(Moment moment);

  explicit PowerCutFileOps(std::shared_ptr<store::FileOps> under = store::posix_file_ops());

  // Set while nothing runs. Called without any lock of this class.
  void set_hook(std::function<void(Moment)> hook) { hook_ = std::move(hook); }

  // Writes one of the files that a power cut now could leave; the same seed at the same moment gives the same
  // file. Returns what was chosen, for a message. The store may be open, closed, or at work in other threads.
  std::string make_image(std::uint64_t seed, const std::string& path);
  // The sure bytes alone, and everything: what an orderly kernel would have written.
  void make_durable_image(const std::string& path);
  void make_current_image(const std::string& path);

  [[nodiscard]] std::uint64_t syncs() const { return syncs_; }

  // FileOps
  store::Result<int> open(const std::string& path, bool create, bool read_only) override;
  store::Status sync_all(int fd, std::byte* base, std::uint64_t bytes) override;
  store::Status sync_range(int fd, std::byte* base, std::uint64_t offset, std::uint64_t length) override;

 private:
  using Content = std::vector<std::byte>;
  // Through the descriptor, not the map: other threads may be storing to it.
  Content read_now() const;
  void tell(Moment moment) const {
    if (hook_) hook_(moment);
  }

  std::function<void(Moment)> hook_;
  mutable std::mutex mutex_;
  std::string path_;
  Content durable_;
  bool known_ = false;  // durable_ is about the file at path_
  std::uint64_t syncs_ = 0;
};

}  // namespace lrufs::test
