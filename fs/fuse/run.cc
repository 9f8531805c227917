#include "fs/fuse/run.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "fs/fuse/context.h"
#include "fs/fuse/control.h"
#include "fs/fuse/event.h"
#include "fs/fuse/event_log.h"
#include "fs/fuse/metrics_server.h"
#include "fs/fuse/notifier.h"
#include "fs/fuse/session.h"
#include "fs/fuse/worker_link.h"
#include "fs/fuse/worker_pool.h"
#include "fs/volume.h"

namespace lrufs::fs::fuse {
namespace {

using store::Code;
using store::fail;
using store::Result;
using store::Status;

void log_event(store::Options::Severity severity, const std::string& message) {
  switch (severity) {
    case store::Options::Severity::kInfo:
      tell(Level::info, "store", message);
      break;
    case store::Options::Severity::kWarning:
      tell(Level::warn, "store", message);
      break;
    case store::Options::Severity::kError:
      tell(Level::err, "store", message);
      break;
  }
}

store::Options with_defaults(const RunOptions& options) {
  store::Options out = options.store;
  out.read_only = out.read_only || options.mount.read_only;
  if (!out.on_event) out.on_event = log_event;
  out.on_wait = WorkerPool::waits;
  return out;
}

// Keeps the last lines of the log, as long as it lives.
class KeptLog {
 public:
  KeptLog() { sinks().push_back(log_); }
  ~KeptLog() { std::erase(sinks(), log_); }
  KeptLog(const KeptLog&) = delete;
  KeptLog& operator=(const KeptLog&) = delete;
  [[nodiscard]] const std::shared_ptr<EventLog>& get() const { return log_; }

 private:
  // While the process has one thread.
  static std::vector<spdlog::sink_ptr>& sinks() { return spdlog::default_logger()->sinks(); }
  std::shared_ptr<EventLog> log_ = std::make_shared<EventLog>();
};

void add_control(Context& context) {
  if (!context.options.control) return;
  if (context.volume.store().resolve(kControlName)) {
    tell(Level::warn, "control_hidden",
         "the store has something of its own named " + std::string(kControlName) +
             " in its root, so this mount has no control folder: rename it, and mount again");
    return;
  }
  context.control = std::make_unique<Control>(context);
}

// Somebody may look into a store that nobody has open, for a moment, between two workers.
Result<std::unique_ptr<Volume>> open_volume(const std::string& path, const store::Options& store_options,
                                            const Volume::Options& options,
                                            const Volume::RemovedFn& on_removed) {
  constexpr std::chrono::seconds kPatience{5};
  constexpr std::chrono::milliseconds kAgain{5};
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    auto opened = Volume::open(path, store_options, options, on_removed);
    if (opened || !options.takes_over || opened.error().code != Code::kBusy ||
        std::chrono::steady_clock::now() > deadline)
      return opened;
    std::this_thread::sleep_for(kAgain);
  }
}

// Mounts and serves. The volume is open before and after.
Result<Ended> serve(const MountOptions& options, const store::Options& store_options, Volume& volume,
                    Notifier& notifier, const std::shared_ptr<EventLog>& log,
                    std::optional<ListeningSocket> socket, WorkerLink* link,
                    const std::function<void()>& on_ready) {
  Context context(volume, notifier, options);
  context.link = link;
  context.store_options = store_options;
  context.event_log = log;
  add_control(context);
  LRUFS_TRY_ASSIGN(const std::unique_ptr<Session> session, Session::mount(context));
  std::unique_ptr<MetricsServer> server;
  std::optional<store::Error> not_served;
  auto ended = session->serve([&] {
    if (socket) {
      auto started = MetricsServer::start(context, *std::move(socket));
      if (!started) {
        not_served = std::move(started).error();
        session->stop();
        return;
      }
      server = *std::move(started);
    }
    if (on_ready) on_ready();
    if (!options.read_only) volume.reclaim_leftovers();
  });
  server.reset();
  if (not_served) return fail(*std::move(not_served));
  return ended;
}

}  // namespace

Status run(const RunOptions& options, const std::function<void()>& on_ready) {
  const BlockedSignals blocked;
  ::signal(SIGPIPE, SIG_IGN);  // whoever reads our stdout or log may go
  const KeptLog log;
  std::optional<ListeningSocket> socket;  // first of all, since it may fail
  if (!options.mount.metrics.empty()) {
    LRUFS_TRY_ASSIGN(auto opened, ListeningSocket::open(options.mount.metrics));
    socket.emplace(std::move(opened));
  }

  WorkerLink* const link = options.link;
  store::Options store_options = with_defaults(options);
  // The size is that which a supervisor's first worker was given, or of `lrufs resize` since: the store knows
  // it.
  if (link != nullptr && link->memory().supervised.takes_size == 0) store_options.bound_given = false;
  MountOptions mount_options = options.mount;
  mount_options.read_only = store_options.read_only;
  Notifier notifier;  // before the volume, which tells it of evictions to the last
  LRUFS_TRY_ASSIGN(
      const std::unique_ptr<Volume> volume,
      open_volume(mount_options.store, store_options,
                  {.read_only = store_options.read_only,
                   .max_file_size = options.max_file_size,
                   .receipts = link != nullptr ? &link->receipts() : nullptr,
                   .takes_over = link != nullptr && link->takes_over()},
                  [&notifier](const std::vector<store::Evicted>& evicted) { notifier.removed(evicted); }));
  if (const auto root = volume->store().resolve(""); !root)
    return fail(root.error().code,
                mount_options.store + " cannot be mounted, since its root cannot be read (" +
                    describe(root.error()) + "): lrufs check --repair keeps what is whole");
  mount_options.read_only = volume->store().read_only();  // as a damaged store is
  const auto ended =
      serve(mount_options, store_options, *volume, notifier, log.get(), std::move(socket), link, on_ready);
  if (ended && ended->why == Ended::Why::kHandedOver) {
    spdlog::default_logger()->flush();
    ::_exit(kHandedOver);
  }
  if (options.on_stopping) options.on_stopping();
  volume->forget_all();  // the kernel holds nothing any more
  const Status closed = volume->close();
  if (!ended) return fail(ended.error());
  if (!closed) return closed;
  if (ended->why == Ended::Why::kAborted) return fail(Code::kIo, describe(*ended));
  tell(Level::info, "closed", mount_options.mount_point + ": " + describe(*ended) + "; the store is closed",
       {{"mount_point", mount_options.mount_point}, {"why", describe(*ended)}});
  return {};
}

}  // namespace lrufs::fs::fuse
