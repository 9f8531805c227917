#include "fs/fuse/run.h"

#include <signal.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <utility>

#include "fs/fuse/context.h"
#include "fs/fuse/notifier.h"
#include "fs/fuse/session.h"
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
      spdlog::info("{}", message);
      break;
    case store::Options::Severity::kWarning:
      spdlog::warn("{}", message);
      break;
    case store::Options::Severity::kError:
      spdlog::error("{}", message);
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

// Mounts and serves. The volume is open before and after.
Result<Ended> serve(const MountOptions& options, Volume& volume, Notifier& notifier,
                    const std::function<void()>& on_ready) {
  Context context(volume, notifier, options);
  LRUFS_TRY_ASSIGN(const std::unique_ptr<Session> session, Session::mount(context));
  return session->serve([&] {
    if (on_ready) on_ready();
    if (!options.read_only) volume.reclaim_leftovers();
  });
}

}  // namespace

Status run(const RunOptions& options, const std::function<void()>& on_ready) {
  const BlockedSignals blocked;
  ::signal(SIGPIPE, SIG_IGN);  // whoever reads our stdout or log may go

  const store::Options store_options = with_defaults(options);
  MountOptions mount_options = options.mount;
  mount_options.read_only = store_options.read_only;
  Notifier notifier;  // before the volume, which tells it of evictions to the last
  LRUFS_TRY_ASSIGN(
      const std::unique_ptr<Volume> volume,
      Volume::open(mount_options.store, store_options,
                   {.read_only = store_options.read_only, .max_file_size = options.max_file_size},
                   [&notifier](const std::vector<store::Evicted>& evicted) { notifier.removed(evicted); }));
  if (const auto root = volume->store().resolve(""); !root)
    return fail(root.error().code,
                mount_options.store + " cannot be mounted, since its root cannot be read (" +
                    describe(root.error()) + "): lrufs check --repair keeps what is whole");
  mount_options.read_only = volume->store().read_only();  // as a damaged store is
  const auto ended = serve(mount_options, *volume, notifier, on_ready);
  volume->forget_all();  // the kernel holds nothing any more
  const Status closed = volume->close();
  if (!ended) return fail(ended.error());
  if (!closed) return closed;
  if (ended->why == Ended::Why::kAborted) return fail(Code::kIo, describe(*ended));
  spdlog::info("{}: {}; the store is closed", mount_options.mount_point, describe(*ended));
  return {};
}

}  // namespace lrufs::fs::fuse
