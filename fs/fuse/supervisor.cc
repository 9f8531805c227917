#include "fs/fuse/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fcntl.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <utility>

#include "fs/fuse/event.h"
#include "fs/fuse/libfuse_log.h"
#include "fs/fuse/spawn.h"
#include "fs/fuse/supervisor_impl.h"

namespace lrufs::fs::fuse {

using store::Code;
using store::fail;
using store::Result;
using store::Status;

namespace {

// Once a worker serves: not at once, since who waited for it has work to do.
constexpr std::chrono::milliseconds kBeforeSpare{200};
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

bool has_ended(pid_t pid, int& status) { return pid > 0 && ::waitpid(pid, &status, WNOHANG) == pid; }

}  // namespace

Supervisor::Supervisor(SupervisorOptions options)
    : options_(std::move(options)), mount_(options_.mount, options_.keep != nullptr) {}

Supervisor::~Supervisor() { end({}); }

Status Supervisor::run() {
  take_over_libfuse_log();
  const sigset_t set = supervised_signals();
  signals_ = Fd(move_up(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)));
  if (signals_.get() < 0) return fail(Code::kIo, "no file descriptors left", errno);
  LRUFS_TRY(mount_.prepare());
  LRUFS_TRY(begin());
  while (!end_) wait();
  return *end_;
}

Status Supervisor::begin() {
  if (options_.kept.is_there()) return go_on_with_kept();
  LRUFS_TRY_ASSIGN(memory_, MappedTakeover::create());
  memory().supervised.takes_size = 1;
  return start_worker();
}

Status Supervisor::go_on_with_kept() {
  LRUFS_TRY_ASSIGN(memory_, MappedTakeover::open(::fcntl(options_.kept.memory.get(), F_DUPFD_CLOEXEC, 10)));
  LRUFS_TRY(mount_.adopt(options_.kept.connection, memory(), options_.program));
  options_.kept = {};
  serves_ = true;
  memory().supervised.killed = 1;  // no request is to be suspected
  memory().supervised.takes_size = 1;
  if (memory().mount.leave.exchange(0) != 0) {
    memory().supervised.upgrades.fetch_add(1);
  } else {
    note_restart("the end of its supervisor");
  }
  tell(Level::info, "goes_on", where() + ": goes on with a mount whose supervisor has ended",
       {{"mount_point", where()}});
  return start_worker();
}

// --- what happens ------------------------------------------------------------------------------------------

std::optional<std::chrono::milliseconds> Supervisor::next_look() const {
  std::optional<Clock::time_point> first;
  for (const auto& at : {start_at_, spare_at_, stop_at_}) {
    if (at && (!first || *at < *first)) first = at;
  }
  if (!first) return std::nullopt;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*first - Clock::now());
  return std::max(left, std::chrono::milliseconds(0));
}

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
  look_at_clock();
}

void Supervisor::look_at_clock() {
  const auto now = Clock::now();
  const auto due = [now](std::optional<Clock::time_point>& at) {
    if (!at || now < *at) return false;
    at.reset();
    return true;
  };
  if (due(start_at_)) {
    if (const Status started = start_worker(); !started) end(fail(started.error()));
  }
  if (due(spare_at_)) spawn_spare();
  if (due(stop_at_)) {
    // One that was told to let go, and does not, goes all the same.
    if (leaving_)
      ::kill(worker_.pid, SIGKILL);
    else
      send_message(worker_.link.get(), Message::kStop);
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
  if (has_ended(detacher_, status)) {
    detacher_ = -1;
    detached(status);
  }
  mount_.reap(options_.program);
  if (has_ended(spare_.pid, status)) {
    spare_ = Child();
    if (worker_.ready) spare_at_ = Clock::now() + kLook;
  }
  if (has_ended(candidate_.pid, status)) candidate_ended(status);
  if (has_ended(worker_.pid, status)) worker_ended(status);
  if (::getpid() == 1) reap_others();
}

// The first process of a container gets the children of those that have died, such as a worker's keeper. One
// of ours that ended a moment ago has its signal still before us.
void Supervisor::reap_others() const {
  const std::array<pid_t, 4> ours{worker_.pid, spare_.pid, candidate_.pid, detacher_};
  for (;;) {
    siginfo_t ended{};
    if (::waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid <= 0) return;
    if (std::ranges::find(ours, ended.si_pid) != ours.end()) return;
    ::waitpid(ended.si_pid, nullptr, 0);
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
    case Message::kMountReadOnly:
      if (const Status mounted =
              mount_.mount(memory(), options_.program, packet.what == Message::kMountReadOnly);
          mounted) {
        send_message(worker_.link.get(), Message::kMounted, mount_.connection());
      } else {
        send_failure(worker_.link.get(), mounted.error());
      }
      return;
    case Message::kReady:
      worker_is_ready();
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

void Supervisor::worker_is_ready() {
  worker_.ready = true;
  serves_ = true;
  memory().supervised.takes_size = 0;
  const bool can_restart = memory().resend == TakeoverMemory::Resend::kYes;
  if (can_restart && spare_.pid <= 0) spare_at_ = Clock::now() + kBeforeSpare;
  if (!fallback_program_.empty()) {
    fallback_program_.clear();
    memory().supervised.upgrades.fetch_add(1);
    tell(Level::info, "upgraded", where() + ": upgraded to " + options_.program,
         {{"mount_point", where()}, {"program", options_.program}});
    upgrades_.answer("");
  }
  if (announced_) return;
  announced_ = true;
  if (can_restart) (void)upgrades_.listen();
  if (can_restart && options_.keep) options_.keep(mount_.connection(), memory_->fd());
  if (!can_restart)
    tell(
        Level::warn, "no_takeover",
        where() +
            ": this kernel does not send requests again (Linux 6.9 and later do), so the mount ends when its "
            "worker dies, as without a supervisor",
        {{"mount_point", where()}});
  if (options_.on_ready) options_.on_ready();
}

// --- workers -----------------------------------------------------------------------------------------------

Result<Supervisor::Child> Supervisor::spawn_worker(const std::string& program, std::string_view verb) {
  LRUFS_TRY_ASSIGN(SocketPair link, socket_pair());
  std::vector<std::string> words = {"lrufs", std::string(verb)};
  words.insert(words.end(), options_.worker_words.begin(), options_.worker_words.end());
  const Fd memory_fd(move_up(::fcntl(memory_->fd(), F_DUPFD_CLOEXEC, 10)));
  std::vector<std::pair<int, int>> descriptors = {
      {link.theirs.get(), kLinkFd}, {memory_fd.get(), kMemoryFd}, {mount_.notices_end(), kNoticesFd}};
  if (mount_.connection() >= 0) descriptors.emplace_back(mount_.connection(), kConnectionFd);
  LRUFS_TRY_ASSIGN(const pid_t pid, spawn_process(program, words, descriptors));
  return Child{
      .pid = pid, .link = std::move(link.ours), .started = Clock::now(), .ready = false, .error = {}};
}

Status Supervisor::start_worker() {
  if (spare_.pid > 0) {
    take_turn(std::exchange(spare_, Child()));
    return {};
  }
  memory().supervised.generation.fetch_add(1);
  LRUFS_TRY_ASSIGN(worker_, spawn_worker(options_.program, kWorkerVerb));
  return {};
}

// One that has waited. Should it be dead already, the next signal tells, and another one follows.
void Supervisor::take_turn(Child&& next) {
  memory().supervised.generation.fetch_add(1);
  worker_ = std::move(next);
  worker_.started = Clock::now();
  send_message(worker_.link.get(), Message::kTakeOver);
}

// That there is none costs time, later, and nothing else.
void Supervisor::spawn_spare() {
  if (!worker_.ready || stopping_ || spare_.pid > 0) return;
  if (auto spare = spawn_worker(options_.program, kSpareVerb)) spare_ = *std::move(spare);
}

void Supervisor::put_down(Child& child) {
  if (child.pid > 0) {
    ::kill(child.pid, SIGKILL);
    ::waitpid(child.pid, nullptr, 0);
  }
  child = Child();
}

void Supervisor::worker_ended(int status) {
  listen();  // its last words
  worker_.pid = -1;
  const std::string how = how_it_ended(status);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return end({});
  if (leaving_) return left();
  if (handing_over_ && candidate_.pid > 0 && mount_.is_connected()) return promote();
  handing_over_ = false;
  if (!serves_ || !mount_.is_connected()) {
    if (worker_.error) return end(fail(*worker_.error));
    return end(
        fail(Code::kIo, "the daemon was ended by " + how + (serves_ ? "" : " before the mount answered")));
  }
  const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  memory().supervised.killed = killed ? 1U : 0U;
  const std::string reason = worker_.error ? store::describe(*worker_.error) : how;
  if (memory().resend != TakeoverMemory::Resend::kYes) {
    return end(fail(Code::kIo, "the worker was ended by " + how +
                                   ", and this kernel does not let another one take over"));
  }
  const auto lived = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - worker_.started);
  const auto pause = policy_.after({.served = worker_.ready, .killed = killed, .lived = lived});
  if (!pause) {
    return end(fail(Code::kIo, "gave up: " + std::to_string(policy_.in_a_row()) +
                                   " workers in a row could not serve; the last one: " + reason));
  }
  start_at_ = Clock::now() + *pause;
  restart(reason);
}

void Supervisor::restart(const std::string& reason) {
  if (!fallback_program_.empty()) {
    options_.program = std::exchange(fallback_program_, {});
    put_down(spare_);
    upgrades_.answer("the new version could not take over (" + reason + "): the old one goes on");
  }
  upgrade_failed("the worker ended meanwhile: try again");
  note_restart(reason);
  const std::string text = where() + ": the worker was ended by " + reason + "; another one takes over";
  look_at_clock();  // first the worker, then the words
  tell(Level::warn, "worker_restarted", text,
       {{"mount_point", where()}, {"reason", reason}, {"restarts", memory().supervised.restarts.load()}});
  if (options_.on_restart) options_.on_restart(text);
}

void Supervisor::note_restart(const std::string& reason) {
  auto& told = memory().supervised;
  told.restarts.fetch_add(1);
  told.last_at = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                                std::chrono::system_clock::now().time_since_epoch())
                                                .count());
  told.last_reason.fill('\0');
  std::copy_n(reason.begin(), std::min(reason.size(), told.last_reason.size() - 1), told.last_reason.begin());
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
  mount_.abort();
}

Status supervise(SupervisorOptions options) {
  const Blocked blocked;
  ::signal(SIGPIPE, SIG_IGN);
  return Supervisor(std::move(options)).run();
}

}  // namespace lrufs::fs::fuse
