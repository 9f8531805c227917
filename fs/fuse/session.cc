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
#include "fs/fuse/init.h"
#include "fs/fuse/init_exchange.h"
#include "fs/fuse/io_uring.h"
#include "fs/fuse/libfuse_log.h"
#include "fs/fuse/mount_point.h"
#include "fs/fuse/notifier.h"
#include "fs/fuse/ops_table.h"
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

// /dev/fd/N: who has opened /dev/fuse for us has mounted as well, and unmounts.
bool is_handed_over(const std::string& mount_point) { return mount_point.starts_with("/dev/fd/"); }

// libfuse's arguments; freed as it wants it.
class Arguments {
 public:
  explicit Arguments(const MountOptions& options) {
    add("lrufs");
    for (const std::string& word : fuse_words(options)) {
      add("-o");
      add(word);
    }
  }
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;
  ~Arguments() { fuse_opt_free_args(&arguments_); }
  [[nodiscard]] fuse_args* get() { return &arguments_; }

 private:
  void add(const std::string& text) { fuse_opt_add_arg(&arguments_, text.c_str()); }
  fuse_args arguments_ = FUSE_ARGS_INIT(0, nullptr);
};

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
  }
  return "ended";
}

Result<std::unique_ptr<Session>> Session::mount(Context& context) {
  if (context.options.io_uring) LRUFS_TRY(io_uring_is_there());
  take_over_libfuse_log();
  const CollectedComplaints complaints;
  std::unique_ptr<Session> session(new Session(context));
  LRUFS_TRY(session->open_descriptors());

  const fuse_lowlevel_ops operations = operation_table();
  Arguments arguments(context.options);
  session->session_ = fuse_session_new(arguments.get(), &operations, sizeof operations, &context);
  if (session->session_ == nullptr) {
    return fail(Code::kInvalid, "libfuse refuses the mount options: " + complaints.text("no reason given"));
  }
  const std::string& where = context.options.mount_point;
  struct stat folder {};
  if (::stat(where.c_str(), &folder) == 0 && !S_ISDIR(folder.st_mode) && !is_handed_over(where)) {
    return fail(Code::kNotDirectory, "cannot mount on " + where + ": it is not a folder");
  }
  errno = 0;
  if (fuse_session_mount(session->session_, where.c_str()) != 0) {
    const int error = errno;
    return fail(Code::kIo, "cannot mount on " + where + ": " + complaints.text(std::strerror(error)), error);
  }
  if (!is_handed_over(where)) session->device_ = device_at(where);
  if (session->device_) session->guard_.emplace(context.options.guard_program, *session->device_, where);
  return session;
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
    if (is_mounted()) {
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

Result<Ended> Session::serve(const std::function<void()>& on_ready) {
  if (const Status status = exchange_init(session_, context_.connection, {stop_fd_, signal_fd_}); !status) {
    if (status.error().code != Code::kBusy) return fail(status.error());
    take_signal();
    stopping_ = true;
    return ended(/*disconnected=*/false);
  }
  if (device_) set_read_ahead(*device_, context_.connection.max_readahead);

  WorkerPool pool(session_, context_.connection.max_write, context_.options.placement);
  context_.set_pool(&pool);
  const unsigned wished = context_.options.threads;
  if (const Status started = pool.start(wished != 0 ? wished : WorkerPool::default_threads()); !started) {
    context_.set_pool(nullptr);
    return fail(started.error());
  }
  context_.notifier.start(session_, context_.volume.nodes());
  std::thread watch_thread([this, &pool] { watch(pool); });
  if (on_ready) on_ready();

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
  if (!end) return fail(end.error());
  return ended(*end == WorkerPool::End::kDisconnected);
}

Ended Session::ended(bool disconnected) {
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
    std::array<pollfd, 3> fds{{{.fd = end_fd_, .events = POLLIN},
                               {.fd = stop_fd_, .events = POLLIN},
                               {.fd = signal_fd_, .events = POLLIN}}};
    if (::poll(fds.data(), fds.size(), -1) < 0) continue;
    if (fds[0].revents != 0) return;
    take_signal();
    stopping_ = true;
    wind_down(pool);
    return;
  }
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
