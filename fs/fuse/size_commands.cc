#include "fs/fuse/size_commands.h"

#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "fs/fuse/event.h"

namespace lrufs::fs::fuse {

using nlohmann::json;
using store::Code;
using store::fail;
using store::MutexLock;
using store::Result;
using store::Status;

Result<std::uint64_t> parse_bytes(std::string_view what, std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string_view suffix(end, static_cast<std::size_t>(text.data() + text.size() - end));
  constexpr std::string_view kSuffixes = "KMGT";
  unsigned shift = 0;
  if (suffix.size() == 1 && kSuffixes.find(suffix[0]) != std::string_view::npos) {
    shift = 10 * static_cast<unsigned>(kSuffixes.find(suffix[0]) + 1);
    suffix = {};
  }
  if (error != std::errc() || !suffix.empty() || value == 0 ||
      value > std::numeric_limits<std::uint64_t>::max() >> shift)
    return fail(Code::kInvalid, std::string(what) + " wants a number, such as 4096 or 12M");
  return value << shift;
}

Status SizeCommands::run(std::string_view what, const Stop& stop, const Work& work) {
  if (store_.read_only()) return fail(Code::kReadOnly);
  {
    const MutexLock lock(mutex_);
    if (running_) return fail(Code::kBusy, "the store is being resized or compacted already");
    running_ = true;
    what_ = what;
    failure_.clear();
    done_ = all_ = 0;
  }
  const std::uint64_t before = store_.statistics().file_bytes;
  const Status done = work([&](std::uint64_t done_bytes, std::uint64_t all_bytes) {
    {
      const MutexLock lock(mutex_);
      done_ = done_bytes;
      all_ = all_bytes;
    }
    return !stop();
  });
  if (done) {
    const store::Statistics now = store_.statistics();
    tell(Level::info, "resized",
         std::string(what) + " on request: the file has " + std::to_string(now.file_bytes) + " of at most " +
             std::to_string(now.bound_bytes) + " bytes; it had " + std::to_string(before),
         {{"file_bytes", now.file_bytes}, {"bound_bytes", now.bound_bytes}});
  }
  const MutexLock lock(mutex_);
  running_ = false;
  if (!done) failure_ = store::describe(done.error());
  return done;
}

Status SizeCommands::resize(std::string_view text, const Stop& stop) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  LRUFS_TRY_ASSIGN(const std::uint64_t bound, parse_bytes("resize", text));
  return run("resize", stop, [&](const auto& on_progress) { return store_.resize(bound, on_progress); });
}

Status SizeCommands::compact(const Stop& stop) {
  return run("compact", stop, [&](const auto& on_progress) {
    return store_.compact(store::Store::Company::kOthers, on_progress);
  });
}

std::string SizeCommands::text() const {
  json state = {{"state", "idle"}};
  {
    const MutexLock lock(mutex_);
    if (!what_.empty()) {
      state = {{"state", running_ ? "running" : failure_.empty() ? "done" : "failed"}, {"what", what_}};
      if (running_) {
        state["done_bytes"] = done_;
        state["all_bytes"] = all_;
      }
      if (!failure_.empty()) state["message"] = failure_;
    }
  }
  return state.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace lrufs::fs::fuse
