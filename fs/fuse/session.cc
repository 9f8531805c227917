#include "fs/fuse/session.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <thread>

#include "fs/fuse/context.h"
#include "fs/fuse/event.h"
#include "fs/fuse/fuse_api.h"
#include "fs/fuse/fuse_mount.h"
#include "fs/fuse/init.h"
#include "fs/fuse/init_exchange.h"
#include "fs/fuse/io_uring.h"
#include "fs/fuse/kernel_notices.h"
#include "fs/fuse/libfuse_log.h"
#include "fs/fuse/mount_point.h"
#include "fs/fuse/notifier.h"
#include "fs/fuse/ops_table.h"
#include "fs/fuse/recovery.h"
#include "fs/fuse/worker_link.h"
#include "fs/fuse/worker_pool.h"

namespace lrufs::fs::fuse {
namespace {

using store::Code;
using store::fail;
using store::Result;
using store::Status;

// How long to wait for the kernel to end the connection after an unmount that succeeded. It does so at once,
// unless another mount namespace has a copy of the mount.
constexpr std::chrono::milliseconds kUnmountGrace{1000};

sigset_t ending_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGTERM);
  ::sigaddset(&set, SIGINT);
  ::sigaddset(&set, SIGHUP);
  return set;
}

void raise_event(int fd) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(fd, &one, sizeof one);
}

void close_fd(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

}  // namespace

BlockedSignals::BlockedSignals() {
  const sigset_t set = ending_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, &before_);
}
BlockedSignals::~BlockedSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

std::string describe(const Ended& ended) {
  switch (ended.why) {
    case Ended::Why::kUnmounted:
      return "unmounted";
    case Ended::Why::kSignal:
      return "signal " + std::to_string(ended.signal);
    case Ended::Why::kStopped:
      return "stopped";
    case Ended::Why::kAborted:
      return "the connection to the kernel was aborted";
    case Ended::Why::kHandedOver:
      return "handed over";
  }
  return "ended";
}

Result<std::unique_ptr<Session>> Session::mount(Context& context) {
  if (context.options.io_uring) LRUFS_TRY(io_uring_is_there());
  take_over_libfuse_log();
  std::unique_ptr<Session> session(new Session(context));
  LRUFS_TRY(session->open_descriptors());

  const fuse_lowlevel_ops operations = operation_table();
  FuseArguments arguments(context.options);
  {
    const CollectedComplaints complaints;
    session->session_ = fuse_session_new(arguments.get(), &operations, sizeof operations, &context);
    if (session->session_ == nullptr) {
      return fail(Code::kInvalid, "libfuse refuses the mount options: " + complaints.text("no reason given"));
    }
  }
  if (context.link != nullptr) {
    LRUFS_TRY(session->open_connection());
    session->device_ = device_at(context.options.mount_point);
    return session;
  }
  const std::string& where = context.options.mount_point;
  LRUFS_TRY(mount_on(session->session_, where));
  if (!is_handed_over(where)) session->device_ = device_at(where);
  if (session->device_) session->guard_.emplace(context.options.guard_program, *session->device_, where);
  return session;
}

// libfuse takes the descriptor over.
Status Session::open_connection() {
  LRUFS_TRY_ASSIGN(const int fd, context_.link->connection(context_.options.read_only));
  const std::string path = "/dev/fd/" + std::to_string(fd);
  if (fuse_session_mount(session_, path.c_str()) == 0) return {};
  return fail(Code::kIo, "libfuse refuses the connection of the supervisor");
}

Status Session::open_descriptors() {
  const sigset_t set = ending_signals();
  stop_fd_ = ::eventfd(0, EFD_CLOEXEC);
  end_fd_ = ::eventfd(0, EFD_CLOEXEC);
  signal_fd_ = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (stop_fd_ >= 0 && end_fd_ >= 0 && signal_fd_ >= 0) return {};
  return fail(Code::kIo, "no file descriptors left", errno);
}

Session::~Session() {
  guard_.reset();
  if (session_ != nullptr) {
    if (context_.link == nullptr && is_mounted()) {
      // Mounted, but never served, or not to the end.
      if (const Status status = detach(context_.options.mount_point, /*lazy=*/true); !status) {
        tell(Level::err, "unmount_failed", store::describe(status.error()));
      }
    }
    retire();
    fuse_session_destroy(session_);
  }
  close_fd(stop_fd_);
  close_fd(end_fd_);
  close_fd(signal_fd_);
}

// libfuse's own unmount goes by path, and would take what is mounted there by now. A descriptor that polls as
// an ended connection does makes it clean up after itself and do nothing else. Replacing the last descriptor
// of /dev/fuse also ends the connection, if it still lives.
void Session::retire() {
  const int fd = fuse_session_fd(session_);
  std::array<int, 2> ends{-1, -1};
  if (fd < 0 || ::pipe2(ends.data(), O_CLOEXEC) != 0) return;
  ::close(ends[0]);
  ::dup3(ends[1], fd, O_CLOEXEC);
  ::close(ends[1]);
  fuse_session_unmount(session_);
}

bool Session::is_mounted() const { return device_ && device_at(context_.options.mount_point) == device_; }

Status Session::agree() {
  if (context_.link != nullptr && context_.link->takes_over())
    return repeat_init(session_, context_.connection, context_.link->memory());
  if (context_.link != nullptr)
    return exchange_init(session_, context_.connection, {stop_fd_, context_.link->fd()},
                         &context_.link->memory());
  return exchange_init(session_, context_.connection, {stop_fd_, signal_fd_});
}

Result<Ended> Session::serve(const std::function<void()>& on_ready) {
  if (const Status status = agree(); !status) {
    if (status.error().code != Code::kBusy) return fail(status.error());
    if (context_.link == nullptr) take_signal();
    stopping_ = true;
    context_.stopping = true;
    return ended(/*disconnected=*/false);
  }
  if (device_) set_read_ahead(*device_, context_.connection.max_readahead);

  WorkerLink* const link = context_.link;
  std::optional<Recovery> recovery;
  if (link != nullptr && link->takes_over()) {
    recovery.emplace(session_, context_, link->memory(), link->receipts());
    if (const Status read = recovery->read(context_.connection.max_write); !read) {
      // Unmounted while nobody served: what is left is to close the store.
      if (read.error().code == Code::kStale) return ended(/*disconnected=*/true);
      return fail(read.error());
    }
  }
  WorkerPool pool(session_, context_.connection.max_write, context_.options.placement,
                  link != nullptr ? &link->receipts() : nullptr);
  context_.set_pool(&pool);
  const unsigned wished = context_.options.threads;
  if (const Status started = pool.start(wished != 0 ? wished : WorkerPool::default_threads()); !started) {
    context_.set_pool(nullptr);
    return fail(started.error());
  }
  if (link != nullptr) {
    context_.notifier.start(session_, context_.volume.nodes(), link->notices(),
                            link->memory().supervised.generation);
    context_.volume.ask_kernel_by([this](store::Ino ino) { return kernel_holds(session_, ino); });
  } else {
    context_.notifier.start(session_, context_.volume.nodes());
  }
  std::thread watch_thread([this, &pool] { watch(pool); });
  if (on_ready) on_ready();
  if (recovery) recovery->serve();

  const auto end = pool.wait();
  if (context_.options.io_uring) {
    // Their requests keep the connection: without its end they would serve on, and the store is to be closed.
    if (!end || *end != WorkerPool::End::kDisconnected) {
      if (device_) abort_connection(*device_, context_.options.mount_point);
    }
    end_io_uring(session_);
  }
  raise_event(end_fd_);
  watch_thread.join();
  context_.set_pool(nullptr);
  context_.notifier.stop();
  context_.volume.ask_kernel_by(nullptr);
  if (!end) return fail(end.error());
  return ended(*end == WorkerPool::End::kDisconnected);
}

Ended Session::ended(bool disconnected) {
  if (handing_over_ && !disconnected) return {.why = Ended::Why::kHandedOver};
  if (const int signal = signal_; signal != 0) return {.why = Ended::Why::kSignal, .signal = signal};
  if (stopping_) return {.why = Ended::Why::kStopped};
  if (disconnected && is_mounted()) return {.why = Ended::Why::kAborted};
  return {.why = Ended::Why::kUnmounted};
}

void Session::stop() { raise_event(stop_fd_); }

void Session::take_signal() {
  signalfd_siginfo info{};
  if (::read(signal_fd_, &info, sizeof info) != sizeof info) return;
  signal_ = static_cast<int>(info.ssi_signo);
  tell(Level::info, "signal",
       "signal " + std::to_string(info.ssi_signo) + ": unmounting " + context_.options.mount_point,
       {{"signal", info.ssi_signo}, {"mount_point", context_.options.mount_point}});
}

// Waits for a reason to end: a signal, stop(), or the end of the workers, which makes it superfluous.
void Session::watch(WorkerPool& pool) {
  for (;;) {
    std::array<pollfd, 3> fds{
        {{.fd = end_fd_, .events = POLLIN},
         {.fd = stop_fd_, .events = POLLIN},
         {.fd = context_.link != nullptr ? context_.link->fd() : signal_fd_, .events = POLLIN}}};
    if (::poll(fds.data(), fds.size(), -1) < 0) continue;
    if (fds[0].revents != 0) return;
    if (context_.link != nullptr) {
      obey(pool);
      return;
    }
    take_signal();
    stopping_ = true;
    context_.stopping = true;
    wind_down(pool);
    return;
  }
}

// An order, or stop(): who gave it has unmounted, or wants the requests to be left to another process.
void Session::obey(WorkerPool& pool) {
  const auto order = context_.link->order();
  // Without its supervisor a worker is killed in a moment. Until then it must not tidy up: requests that it
  // has read would stay without an answer, and the next worker knows what to do with them.
  if (!order && context_.link->is_cut()) ::raise(SIGKILL);
  if (order == Message::kHandOver) handing_over_ = true;
  stopping_ = true;
  context_.stopping = true;
  // The notifier may wait for what is not served any more; it leaves that to the process behind the socket.
  context_.notifier.stop();
  pool.request_stop();
}

// While the workers still serve, for the kernel has things to hand over.
void Session::wind_down(WorkerPool& pool) {
  // Before the workers: a notification waits for a directory's lock, whose holder may wait for an answer.
  context_.notifier.stop();
  const std::string& where = context_.options.mount_point;
  if (is_mounted()) {
    if (detach(where, /*lazy=*/false)) {
      if (pool.ended_within(kUnmountGrace)) return;
    } else {
      tell(Level::info, "busy_unmount",
           where + " is in use: programs that have files open on it get ENOTCONN from now on",
           {{"mount_point", where}});
      write_back(where);
      if (const Status status = detach(where, /*lazy=*/true); !status) {
        tell(Level::err, "unmount_failed", store::describe(status.error()));
      }
    }
  }
  pool.request_stop();
}

}  // namespace lrufs::fs::fuse
