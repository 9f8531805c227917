#include "fs/fuse/control.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "fs/fuse/context.h"
#include "fs/fuse/event.h"
#include "fs/fuse/event_log.h"
#include "fs/fuse/metrics.h"
#include "fs/fuse/notifier.h"
#include "fs/fuse/stats_json.h"
#include "fs/fuse/worker_link.h"
#include "fs/fuse/worker_pool.h"

namespace lrufs::fs::fuse {
namespace {

using nlohmann::json;
using store::Code;
using store::fail;
using store::MutexLock;
using store::Result;
using store::Status;
using store::Store;

constexpr std::size_t kListed = 50;  // of `next` and `recent`

std::string_view sync_name(store::Options::Sync sync) {
  switch (sync) {
    case store::Options::Sync::kInterval:
      return "interval";
    case store::Options::Sync::kAlways:
      return "always";
    case store::Options::Sync::kUnmount:
      return "unmount";
  }
  return "unknown";
}

std::string_view placement_name(Placement::Wish wish) {
  switch (wish) {
    case Placement::Wish::kAuto:
      return "auto";
    case Placement::Wish::kSpread:
      return "spread";
    case Placement::Wish::kAlone:
      return "alone";
    case Placement::Wish::kClose:
      return "close";
  }
  return "unknown";
}

std::string config_text(const Context& context) {
  const MountOptions& mount = context.options;
  const store::Options& store = context.store_options;
  const json config = {
      {"store", mount.store},
      {"mount_point", mount.mount_point},
      {"size", context.volume.store().statistics().bound_bytes},
      {"sync", sync_name(store.sync)},
      {"sync_interval_ms", store.sync_interval.count()},
      {"recency_ms", mount.recency.count()},
      {"max_files", store.max_files},
      {"read_only", mount.read_only},
      {"from_checkpoint", store.from_checkpoint},
      {"force", store.force},
      {"noxattr", mount.noxattr},
      {"threads", mount.threads != 0 ? mount.threads : WorkerPool::default_threads()},
      {"placement", placement_name(mount.placement)},
      {"io_uring", mount.io_uring},
      {"metrics", mount.metrics},
      {"log_level", level_name(spdlog::get_level())},
      {"mount_options", fuse_words(mount)},
  };
  return config.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string standings_text(const Result<std::vector<Store::Standing>>& standings) {
  std::string text;
  if (!standings) return text;
  for (const Store::Standing& each : *standings)
    text += std::to_string(each.inode.size) + " " + escaped_path(each.path) + "\n";
  return text;
}

// While a request takes long, others are served.
class Waits {
 public:
  Waits() { (void)WorkerPool::waits(true); }
  ~Waits() { (void)WorkerPool::waits(false); }
  Waits(const Waits&) = delete;
  Waits& operator=(const Waits&) = delete;
};

}  // namespace

std::string escaped_path(std::string_view path) {
  std::string out;
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7F && c != '\\') {
      out += c;
      continue;
    }
    out += '\\';
    for (const unsigned shift : {6U, 3U, 0U}) out += static_cast<char>('0' + (byte >> shift & 7U));
  }
  return out;
}

Result<EvictCommand> parse_evict_command(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  EvictCommand command;
  if (text == "all") {
    command.what = EvictCommand::What::kPrefix;
    return command;
  }
  const std::size_t blank = text.find(' ');
  const std::string_view verb = text.substr(0, blank);
  std::string_view rest = blank == std::string_view::npos ? std::string_view() : text.substr(blank + 1);
  if (rest.empty() || (verb != "bytes" && verb != "key" && verb != "prefix"))
    return fail(Code::kInvalid, "evict takes \"bytes N\", \"key PATH\", \"prefix PATH\" or \"all\"");
  if (verb == "bytes") {
    LRUFS_TRY_ASSIGN(command.bytes, parse_bytes("\"bytes\"", rest));
    return command;
  }
  if (rest.starts_with('/')) rest.remove_prefix(1);  // as `next` shows them
  command.what = verb == "key" ? EvictCommand::What::kKey : EvictCommand::What::kPrefix;
  command.path = rest;
  return command;
}

// The kernel may still know the numbers that a worker before this one has given out.
Control::Control(Context& context) : context_(context), size_(context.volume.store()) {
  constexpr unsigned kPerWorker = 36;
  if (context.link != nullptr)
    next_ = std::uint64_t{context.link->memory().supervised.generation & 0xFFFFFU} << kPerWorker;
}

std::string Control::make(ControlFile file) {
  switch (file) {
    case ControlFile::kStats:
      return mount_statistics_json(context_, 2) + "\n";
    case ControlFile::kMetrics:
      return metrics_text(context_);
    case ControlFile::kConfig:
      return config_text(context_);
    case ControlFile::kLog:
      return context_.event_log ? context_.event_log->text() : "";
    case ControlFile::kNext:
      return standings_text(context_.volume.store().next_to_go(kListed));
    case ControlFile::kRecent:
      return standings_text(context_.volume.store().last_used(kListed));
    case ControlFile::kLogLevel:
      return std::string(level_name(spdlog::get_level())) + "\n";
    case ControlFile::kResize:
    case ControlFile::kCompact:
      return size_.text();
    case ControlFile::kCheckpoint:
    case ControlFile::kEvict:
      break;
  }
  return "";
}

Control::Found Control::look_up(ControlFile file) {
  Content content = std::make_shared<const std::string>(make(file));
  const MutexLock lock(mutex_);
  const std::uint64_t ino = control_inode(++next_, file);
  if ((kind_of(file).mode & 0444U) == 0) return {ino, std::move(content)};  // nothing to keep
  kept_.emplace(ino, content);
  bytes_ += content->size();
  while (kept_.size() > 1 && (kept_.size() > kMaxKept || bytes_ > kMaxKeptBytes)) {
    bytes_ -= kept_.begin()->second->size();
    kept_.erase(kept_.begin());
  }
  return {ino, std::move(content)};
}

Control::Content Control::content(std::uint64_t ino) const {
  const MutexLock lock(mutex_);
  const auto found = kept_.find(ino);
  return found == kept_.end() ? nullptr : found->second;
}

void Control::forget(std::uint64_t ino) {
  const MutexLock lock(mutex_);
  const auto found = kept_.find(ino);
  if (found == kept_.end()) return;
  bytes_ -= found->second->size();
  kept_.erase(found);
}

std::size_t Control::kept() const {
  const MutexLock lock(mutex_);
  return kept_.size();
}

Status Control::evict(std::string_view text) {
  LRUFS_TRY_ASSIGN(const EvictCommand command, parse_evict_command(text));
  Store& store = context_.volume.store();
  if (store.read_only()) return fail(Code::kReadOnly);
  const Waits waits;
  Result<store::Evictions> done;
  switch (command.what) {
    case EvictCommand::What::kBytes:
      done = store.evict(command.bytes).map([](std::uint64_t bytes) { return store::Evictions{0, bytes}; });
      break;
    case EvictCommand::What::kKey:
      done = store.evict_key(command.path);
      break;
    case EvictCommand::What::kPrefix:
      done = store.evict_prefix(command.path);
      break;
  }
  if (!done) return fail(done.error());
  // So that who looks next sees it gone. It only takes long where somebody holds a folder's lock.
  constexpr std::chrono::milliseconds kTell{1000};
  (void)context_.notifier.idle_within(kTell);
  if (done->bytes == 0 && done->objects == 0) return fail(Code::kNotFound, "there is nothing that may go");
  std::string what = std::to_string(done->bytes) + " bytes";
  if (done->objects != 0) what = std::to_string(done->objects) + " objects, " + what;
  tell(Level::info, "evicted_on_request", "evicted on request: " + what,
       {{"objects", done->objects}, {"bytes", done->bytes}});
  return {};
}

Status Control::write(ControlFile file, std::string_view text, const std::function<bool()>& interrupted) {
  static RateLimit refused;
  const auto run = [&]() -> Status {
    if (text.size() > kMaxCommand) return fail(Code::kInvalid, "a command is at most 8 KiB long");
    switch (file) {
      case ControlFile::kCheckpoint:
        LRUFS_TRY(context_.volume.store().checkpoint());
        tell(Level::info, "checkpoint_on_request", "checkpoint on request: everything is on the disk");
        return {};
      case ControlFile::kEvict:
        return evict(text);
      case ControlFile::kResize:
      case ControlFile::kCompact: {
        const Waits waits;
        const auto stop = [&] { return context_.stopping.load() || interrupted(); };
        return file == ControlFile::kResize ? size_.resize(text, stop) : size_.compact(stop);
      }
      case ControlFile::kLogLevel: {
        std::string_view name = text;
        while (name.ends_with('\n') || name.ends_with(' ')) name.remove_suffix(1);
        const auto level = level_of(name);
        if (!level) return fail(Code::kInvalid, "loglevel takes trace, debug, info, warning, error or off");
        spdlog::set_level(*level);
        tell(Level::info, "log_level", "the log level is " + std::string(name) + " now",
             {{"log_level", name}});
        return {};
      }
      default:
        return fail(Code::kNotPermitted);
    }
  };
  const Status done = run();
  if (!done)
    tell_limited(refused, Level::warn, "control_refused",
                 std::string(kControlName) + "/" + std::string(kind_of(file).name) + ": " +
                     store::describe(done.error()),
                 {{"file", kind_of(file).name}, {"error", store::code_name(done.error().code)}});
  return done;
}

}  // namespace lrufs::fs::fuse
