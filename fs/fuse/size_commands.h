// SizeCommands: what writing to `resize` and `compact` of the control folder does, and what reading them
// says: how far the work is, or how it ended.
//
// Thread-safety: any thread. One work at a time: kBusy.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "store/error.h"
#include "store/store.h"
#include "store/thread_annotations.h"

namespace lrufs::fs::fuse {

class SizeCommands {
 public:
  explicit SizeCommands(store::Store& store) : store_(store) {}

  // `stop` is asked now and then: true ends the work (kIo, EINTR), and the store has its old size.
  using Stop = std::function<bool()>;
  // "12M" (K, M, G, T: powers of 1024), a number of bytes, with a newline or without; kInvalid.
  store::Status resize(std::string_view text, const Stop& stop);
  store::Status compact(const Stop& stop);
  // JSON, a line: {"state": "idle"}; "running", with "what", "done_bytes" and "all_bytes"; "done"; "failed",
  // with "message".
  [[nodiscard]] std::string text() const;

 private:
  using Work = std::function<store::Status(const store::Store::OnProgress&)>;
  store::Status run(std::string_view what, const Stop& stop, const Work& work);

  store::Store& store_;
  mutable store::Mutex mutex_;
  bool running_ GUARDED_BY(mutex_) = false;
  std::string what_ GUARDED_BY(mutex_);
  std::string failure_ GUARDED_BY(mutex_);
  std::uint64_t done_ GUARDED_BY(mutex_) = 0;
  std::uint64_t all_ GUARDED_BY(mutex_) = 0;
};

// A number of bytes, with K, M, G or T behind it or without. kInvalid, naming `what` it is for.
store::Result<std::uint64_t> parse_bytes(std::string_view what, std::string_view text);

}  // namespace lrufs::fs::fuse
