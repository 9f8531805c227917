#include "fs/fuse/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <optional>
#include <utility>

#include "fs/fuse/event.h"
#include "fs/fuse/fd.h"
#include "fs/fuse/fuse_api.h"
#include "fs/fuse/fuse_mount.h"
#include "fs/fuse/guard.h"
#include "fs/fuse/kernel_notices.h"
#include "fs/fuse/libfuse_log.h"
#include "fs/fuse/mount_point.h"
#include "fs/fuse/spawn.h"
#include "fs/fuse/takeover_memory.h"
#include "fs/fuse/upgrade_socket.h"
#include "fs/fuse/worker_link.h"

namespace lrufs::fs::fuse {
namespace {

using store::Code;
using store::Error;
using store::fail;
using store::Result;
using store::Status;
using Clock = std::chrono::steady_clock;

// A worker that ends by itself sooner than this has failed, as one that never served.
constexpr std::chrono::milliseconds kMoment{1000};
constexpr unsigned kMaxFailures = 12;
// Killed from outside before it could serve: not its fault, but without memory it may go on like that.
constexpr unsigned kMaxKilled = 200;
// Before the next worker, after so many failures in a row: at once, and then longer and longer.
constexpr std::chrono::milliseconds kLongestPause{2000};
constexpr std::chrono::milliseconds kLongestPauseIfKilled{32};
// For the end of the connection after an unmount: at once, unless another mount namespace has a copy.
constexpr std::chrono::milliseconds kUnmountGrace{1000};
// A killed worker that does not go: a thread of it waits in the kernel for what only its successor could do.
constexpr std::chrono::milliseconds kLook{2000};
constexpr unsigned kMaxStuckLooks = 5;

sigset_t supervised_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) ::sigaddset(&set, number);
  return set;
}

// Blocked for as long as it lives.
class Blocked {
 public:
  Blocked() {
    const sigset_t set = supervised_signals();
    ::sigprocmask(SIG_BLOCK, &set, &before_);
  }
  ~Blocked() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
  Blocked(const Blocked&) = delete;
  Blocked& operator=(const Blocked&) = delete;

 private:
  sigset_t before_{};
};

struct Pair {
  Fd ours, theirs;
};
Result<Pair> socket_pair() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return fail(Code::kIo, "no sockets for the processes of a mount", errno);
  return Pair{Fd(move_up(ends[0])), Fd(move_up(ends[1]))};
}

class Supervisor {
 public:
  explicit Supervisor(SupervisorOptions options) : options_(std::move(options)) {}
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;
  ~Supervisor();

  Status run();

 private:
  struct Child {
    pid_t pid = -1;
    Fd link;
    Clock::time_point started;
    bool ready = false;
    std::optional<Error> error;
  };

  [[nodiscard]] TakeoverMemory& memory() const { return memory_->get(); }
  [[nodiscard]] const std::string& where() const { return options_.mount.mount_point; }
  Status start_worker();
  Status mount();
  Status start_notices();
  void listen();
  void hear(const Packet& packet);
  [[nodiscard]] bool can_answer_upgrade() const;
  void wait();
  [[nodiscard]] std::optional<std::chrono::milliseconds> next_look() const;
  void take_signals();
  void reap();
  void worker_ended(int status);
  void restart(const std::string& reason);
  void begin_stop(int signal);
  void detached(int status);
  void look_for_stuck();
  void begin_upgrade();
  void hear_candidate();
  void upgrade_failed(const std::string& why);
  void promote();
  Result<Child> spawn_worker(const std::string& program, std::string_view verb);
  [[nodiscard]] bool is_connected() const;
  void end(Status status);
  void end_connection();

  SupervisorOptions options_;
  Fd signals_;
  std::unique_ptr<MappedTakeover> memory_;
  Pair notices_;
  pid_t notices_pid_ = -1;
  fuse_session* session_ = nullptr;
  Fd connection_;
  std::optional<dev_t> device_;
  std::optional<Guard> guard_;
  Child worker_;
  UpgradeSocket upgrades_;
  Child candidate_;  // stands by, with the program of an upgrade
  std::string candidate_program_;
  bool handing_over_ = false;     // the worker was told to let the candidate go on
  std::string fallback_program_;  // while the candidate has not served yet
  pid_t detacher_ = -1;
  bool was_ready_ = false;
  bool stopping_ = false;
  unsigned failures_ = 0;  // in a row
  unsigned killed_ = 0;    // the same
  unsigned stuck_looks_ = 0;
  std::optional<Clock::time_point> start_at_;  // the next worker
  std::optional<Clock::time_point> stop_at_;   // the worker is told to stop, unless it has ended by then
  std::optional<Status> end_;
};

Supervisor::~Supervisor() {
  end_connection();
  if (session_ != nullptr) fuse_session_destroy(session_);
}

Status Supervisor::run() {
  take_over_libfuse_log();
  const sigset_t set = supervised_signals();
  signals_ = Fd(move_up(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)));
  if (signals_.get() < 0) return fail(Code::kIo, "no file descriptors left", errno);
  LRUFS_TRY_ASSIGN(memory_, MappedTakeover::create());
  LRUFS_TRY_ASSIGN(notices_, socket_pair());
  LRUFS_TRY(start_worker());
  while (!end_) wait();
  return *end_;
}

Result<Supervisor::Child> Supervisor::spawn_worker(const std::string& program, std::string_view verb) {
  LRUFS_TRY_ASSIGN(Pair link, socket_pair());
  std::vector<std::string> words = {"lrufs", std::string(verb)};
  words.insert(words.end(), options_.worker_words.begin(), options_.worker_words.end());
  const Fd memory_fd(move_up(::fcntl(memory_->fd(), F_DUPFD_CLOEXEC, 10)));
  std::vector<std::pair<int, int>> descriptors = {
      {link.theirs.get(), kLinkFd}, {memory_fd.get(), kMemoryFd}, {notices_.theirs.get(), kNoticesFd}};
  if (connection_.get() >= 0) descriptors.emplace_back(connection_.get(), kConnectionFd);
  LRUFS_TRY_ASSIGN(const pid_t pid, spawn_process(program, words, descriptors));
  return Child{
      .pid = pid, .link = std::move(link.ours), .started = Clock::now(), .ready = false, .error = {}};
}

Status Supervisor::start_worker() {
  memory().supervised.generation.fetch_add(1);
  LRUFS_TRY_ASSIGN(worker_, spawn_worker(options_.program, kWorkerVerb));
  return {};
}

// libfuse knows how: by mount(2), or by fusermount3 for users. Nothing is ever read through this session.
Status Supervisor::mount() {
  FuseArguments arguments(options_.mount);
  const fuse_lowlevel_ops nothing{};
  {
    const CollectedComplaints complaints;
    session_ = fuse_session_new(arguments.get(), &nothing, sizeof nothing, nullptr);
    if (session_ == nullptr)
      return fail(Code::kInvalid, "libfuse refuses the mount options: " + complaints.text("no reason given"));
  }
  LRUFS_TRY(mount_on(session_, where()));
  connection_ = Fd(::fcntl(fuse_session_fd(session_), F_DUPFD_CLOEXEC, 10));
  if (connection_.get() < 0) return fail(Code::kIo, "no file descriptors left", errno);
  device_ = device_at(where());
  if (device_) guard_.emplace(options_.mount.guard_program, *device_, where());
  return start_notices();
}

Status Supervisor::start_notices() {
  LRUFS_TRY_ASSIGN(notices_pid_, spawn_process(options_.program, {"lrufs", std::string(kNoticesVerb)},
                                               {{connection_.get(), kNoticesConnectionFd},
                                                {notices_.ours.get(), kNoticesSocketFd}}));
  return {};
}

// --- what happens ------------------------------------------------------------------------------------------

std::optional<std::chrono::milliseconds> Supervisor::next_look() const {
  std::optional<Clock::time_point> first = start_at_;
  if (stop_at_ && (!first || *stop_at_ < *first)) first = stop_at_;
  if (!first) return std::nullopt;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*first - Clock::now());
  return std::max(left, std::chrono::milliseconds(0));
}

// Who asks while a worker is just starting waits for it.
bool Supervisor::can_answer_upgrade() const { return stopping_ || (worker_.ready && candidate_.pid <= 0); }

void Supervisor::wait() {
  std::array<pollfd, 4> fds{
      {{.fd = signals_.get(), .events = POLLIN, .revents = 0},
       {.fd = worker_.link.get(), .events = POLLIN, .revents = 0},
       {.fd = candidate_.link.get(), .events = POLLIN, .revents = 0},
       {.fd = can_answer_upgrade() ? upgrades_.fd() : -1, .events = POLLIN, .revents = 0}}};
  const auto left = next_look();
  const int timeout = static_cast<int>(left ? left->count() : kLook.count());
  const int n = ::poll(fds.data(), fds.size(), timeout);
  if (n == 0 && !left) look_for_stuck();
  if (n > 0 && fds[1].revents != 0) listen();
  if (n > 0 && fds[2].revents != 0) hear_candidate();
  if (n > 0 && fds[0].revents != 0) take_signals();
  if (end_) return;
  if (n > 0 && fds[3].revents != 0 && can_answer_upgrade()) begin_upgrade();
  const auto now = Clock::now();
  if (start_at_ && now >= *start_at_) {
    start_at_.reset();
    if (const Status started = start_worker(); !started) end(fail(started.error()));
  }
  if (stop_at_ && now >= *stop_at_) {
    stop_at_.reset();
    send_message(worker_.link.get(), Message::kStop);
  }
}

void Supervisor::listen() {
  bool heard = false;
  while (const auto packet = receive_message(worker_.link.get(), false)) {
    hear(*packet);
    heard = true;
  }
  if (heard || end_) return;
  // The other end is closed, or nothing was there. It ends, or has: the signal tells.
  worker_.link = Fd();
}

void Supervisor::hear(const Packet& packet) {
  switch (packet.what) {
    case Message::kMount:
      if (const Status mounted = mount(); mounted) {
        send_message(worker_.link.get(), Message::kMounted, connection_.get());
      } else {
        send_failure(worker_.link.get(), mounted.error());
      }
      return;
    case Message::kReady:
      worker_.ready = true;
      if (!fallback_program_.empty()) {
        fallback_program_.clear();
        memory().supervised.upgrades.fetch_add(1);
        tell(Level::info, "upgraded", where() + ": upgraded to " + options_.program,
             {{"mount_point", where()}, {"program", options_.program}});
        upgrades_.answer("");
      }
      if (was_ready_) return;
      was_ready_ = true;
      if (memory().resend == TakeoverMemory::Resend::kYes) (void)upgrades_.listen();
      if (memory().resend == TakeoverMemory::Resend::kNo)
        tell(
            Level::warn, "no_takeover",
            where() +
                ": this kernel does not send requests again (Linux 6.9 and later do), so the mount ends when "
                "its worker dies, as without a supervisor",
            {{"mount_point", where()}});
      if (options_.on_ready) options_.on_ready();
      return;
    case Message::kFailed:
      worker_.error = packet.error;
      return;
    case Message::kStopping:
      if (options_.on_stopping) options_.on_stopping();
      return;
    default:
      return;
  }
}

void Supervisor::take_signals() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo != SIGCHLD) begin_stop(static_cast<int>(info.ssi_signo));
  }
  reap();
}

void Supervisor::reap() {
  int status = 0;
  if (detacher_ > 0 && ::waitpid(detacher_, &status, WNOHANG) == detacher_) {
    detacher_ = -1;
    detached(status);
  }
  if (notices_pid_ > 0 && ::waitpid(notices_pid_, &status, WNOHANG) == notices_pid_) {
    notices_pid_ = -1;
    if (is_connected()) (void)start_notices();
  }
  if (candidate_.pid > 0 && ::waitpid(candidate_.pid, &status, WNOHANG) == candidate_.pid) {
    hear_candidate();  // its last words
    candidate_.pid = -1;
    const std::string how = how_it_ended(status);
    upgrade_failed(candidate_.error ? store::describe(*candidate_.error)
                                    : "the new version ended with " + how);
  }
  if (worker_.pid > 0 && ::waitpid(worker_.pid, &status, WNOHANG) == worker_.pid) worker_ended(status);
}

// --- restarts ----------------------------------------------------------------------------------------------

bool Supervisor::is_connected() const {
  if (connection_.get() < 0) return false;
  pollfd fd{.fd = connection_.get(), .events = POLLIN, .revents = 0};
  return ::poll(&fd, 1, 0) >= 0 && (fd.revents & POLLERR) == 0;
}

void Supervisor::worker_ended(int status) {
  listen();  // its last words
  worker_.pid = -1;
  const std::string how = how_it_ended(status);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return end({});
  if (handing_over_ && candidate_.pid > 0 && is_connected()) return promote();
  handing_over_ = false;
  if (!was_ready_ || !is_connected()) {
    if (worker_.error) return end(fail(*worker_.error));
    return end(
        fail(Code::kIo, "the daemon was ended by " + how + (was_ready_ ? "" : " before the mount answered")));
  }
  const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  const bool failed = !killed && (!worker_.ready || Clock::now() - worker_.started < kMoment);
  failures_ = failed ? failures_ + 1 : worker_.ready ? 0 : failures_;
  killed_ = worker_.ready || !killed ? 0 : killed_ + 1;
  memory().supervised.killed = killed ? 1U : 0U;
  const std::string reason = worker_.error ? store::describe(*worker_.error) : how;
  if (memory().resend != TakeoverMemory::Resend::kYes) {
    return end(fail(Code::kIo, "the worker was ended by " + how +
                                   ", and this kernel does not let another one take over"));
  }
  if (failures_ >= kMaxFailures || killed_ >= kMaxKilled) {
    return end(fail(Code::kIo, "gave up: " + std::to_string(std::max(failures_, killed_)) +
                                   " workers in a row could not serve; the last one: " + reason));
  }
  restart(reason);
}

void Supervisor::restart(const std::string& reason) {
  if (!fallback_program_.empty()) {
    options_.program = std::exchange(fallback_program_, {});
    upgrades_.answer("the new version could not take over (" + reason + "): the old one goes on");
  }
  upgrade_failed("the worker ended meanwhile: try again");
  auto& told = memory().supervised;
  told.restarts.fetch_add(1);
  told.last_at = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                                std::chrono::system_clock::now().time_since_epoch())
                                                .count());
  told.last_reason.fill('\0');
  std::copy_n(reason.begin(), std::min(reason.size(), told.last_reason.size() - 1), told.last_reason.begin());
  const unsigned in_a_row = std::max(failures_, killed_);
  const auto longest = failures_ >= killed_ ? kLongestPause : kLongestPauseIfKilled;
  const auto pause = in_a_row <= 1
                         ? std::chrono::milliseconds(0)
                         : std::min(longest, std::chrono::milliseconds(1U << std::min(in_a_row, 11U)));
  start_at_ = Clock::now() + pause;
  const std::string text = where() + ": the worker was ended by " + reason + "; another one takes over";
  if (pause.count() == 0) {
    // First the worker, then the words.
    start_at_.reset();
    if (const Status started = start_worker(); !started) end(fail(started.error()));
  }
  tell(Level::warn, "worker_restarted", text,
       {{"mount_point", where()}, {"reason", reason}, {"restarts", told.restarts.load()}});
  if (options_.on_restart) options_.on_restart(text);
}

// --- upgrades ----------------------------------------------------------------------------------------------

void Supervisor::begin_upgrade() {
  const auto program = upgrades_.accept();
  if (!program) return;
  if (stopping_) {
    upgrades_.answer("the mount is ending");
    return;
  }
  candidate_program_ = *program;
  auto candidate = spawn_worker(*program, kStandbyVerb);
  if (!candidate) {
    upgrades_.answer(store::describe(candidate.error()));
    return;
  }
  candidate_ = *std::move(candidate);
}

void Supervisor::hear_candidate() {
  while (const auto packet = receive_message(candidate_.link.get(), false)) {
    if (packet->what == Message::kFailed) candidate_.error = packet->error;
    if (packet->what == Message::kStandsBy && worker_.ready) {
      handing_over_ = true;
      send_message(worker_.link.get(), Message::kHandOver);
    }
    if (packet->what == Message::kStandsBy) return;
  }
  candidate_.link = Fd();
}

// Nothing happens if there is none.
void Supervisor::upgrade_failed(const std::string& why) {
  if (candidate_.pid > 0) {
    ::kill(candidate_.pid, SIGKILL);
    ::waitpid(candidate_.pid, nullptr, 0);
    candidate_.pid = -1;
  } else if (candidate_program_.empty()) {
    return;
  }
  if (!handing_over_)
    tell(Level::warn, "upgrade_failed", where() + ": no upgrade to " + candidate_program_ + ": " + why);
  candidate_ = Child();
  candidate_program_.clear();
  upgrades_.answer(why);
}

// The worker has let go: the candidate's turn.
void Supervisor::promote() {
  handing_over_ = false;
  worker_ = std::exchange(candidate_, Child());
  worker_.started = Clock::now();
  fallback_program_ = std::exchange(options_.program, std::exchange(candidate_program_, {}));
  memory().supervised.generation.fetch_add(1);
  memory().supervised.killed = 1;  // nobody is to be suspected
  send_message(worker_.link.get(), Message::kTakeOver);
}

// A killed process whose first thread is gone, and which does not go.
void Supervisor::look_for_stuck() {
  if (worker_.pid <= 0) return;
  std::string line;
  std::ifstream file("/proc/" + std::to_string(worker_.pid) + "/stat");
  std::getline(file, line);
  const std::size_t name_end = line.rfind(')');
  const bool gone = name_end != std::string::npos && name_end + 2 < line.size() && line[name_end + 2] == 'Z';
  stuck_looks_ = gone ? stuck_looks_ + 1 : 0;
  if (stuck_looks_ < kMaxStuckLooks) return;
  stuck_looks_ = 0;
  tell(Level::err, "worker_stuck",
       where() + ": the worker was killed, but a thread of it waits in the kernel; the mount is ended",
       {{"mount_point", where()}});
  if (device_) abort_connection(*device_, where());
}

// --- the end -----------------------------------------------------------------------------------------------

void Supervisor::begin_stop(int signal) {
  if (stopping_) return;
  stopping_ = true;
  tell(Level::info, "signal", "signal " + std::to_string(signal) + ": unmounting " + where(),
       {{"signal", signal}, {"mount_point", where()}});
  const auto pid = device_ && device_at(where()) == device_
                       ? spawn_process(options_.program, {"lrufs", std::string(kDetachVerb), where()}, {})
                       : Result<pid_t>(fail(Code::kNotFound));
  if (pid) {
    detacher_ = *pid;
  } else {
    stop_at_ = Clock::now();
  }
}

void Supervisor::detached(int status) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    stop_at_ = Clock::now() + kUnmountGrace;
    return;
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 1) {
    tell(Level::info, "busy_unmount",
         where() + " is in use: programs that have files open on it get ENOTCONN from now on",
         {{"mount_point", where()}});
  } else {
    tell(Level::err, "unmount_failed", "unmounting " + where() + " failed (" + how_it_ended(status) + ")");
  }
  stop_at_ = Clock::now();
}

void Supervisor::end(Status status) {
  end_ = std::move(status);
  end_connection();
}

void Supervisor::end_connection() {
  upgrade_failed("the mount is ending");
  if (worker_.pid > 0) ::kill(worker_.pid, SIGKILL);
  if (device_ && device_at(where()) == device_) {
    // Given up, or aborted: the name goes as well, so that the next mount finds a folder.
    if (is_connected()) abort_connection(*device_, where());
    if (const Status done = detach(where(), /*lazy=*/true); !done)
      tell(Level::err, "unmount_failed", store::describe(done.error()));
  } else if (device_ && is_connected()) {
    abort_connection(*device_, where());
  }
  device_.reset();
  if (notices_pid_ > 0) {
    ::kill(notices_pid_, SIGKILL);
    ::waitpid(notices_pid_, nullptr, 0);
    notices_pid_ = -1;
  }
  guard_.reset();
}

}  // namespace

Status supervise(SupervisorOptions options) {
  const Blocked blocked;
  ::signal(SIGPIPE, SIG_IGN);
  return Supervisor(std::move(options)).run();
}

int run_detach(const std::vector<std::string>& arguments) {
  constexpr int kDone = 0;
  constexpr int kWasBusy = 1;
  constexpr int kFailed = 2;
  if (arguments.size() != 1) return kFailed;
  const std::string& where = arguments[0];
  if (detach(where, /*lazy=*/false)) return kDone;
  write_back(where);
  return detach(where, /*lazy=*/true) ? kWasBusy : kFailed;
}

}  // namespace lrufs::fs::fuse
