#include "cmd/daemonize.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>

#include "cmd/os.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;

// What goes through the pipe: 'R', or 'E' + code + message.
constexpr char kReady = 'R';
constexpr char kError = 'E';

void point_to_null(int fd) {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return;
  if (null == fd) {
    ::fcntl(null, F_SETFD, 0);
    return;
  }
  ::dup2(null, fd);
  ::close(null);
}

void write_all(int fd, const std::string& text) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno != EINTR) return;  // nobody listens any more
    if (n > 0) done += static_cast<std::size_t>(n);
  }
}

std::string read_all(int fd) {
  std::string text;
  std::array<char, 1024> buffer{};
  for (;;) {
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(n));
    if (text.front() == kReady) return text;
  }
}

std::string how_it_ended(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return "the daemon ended before the mount answered";
  }
  if (WIFSIGNALED(status)) {
    const char* name = ::sigdescr_np(WTERMSIG(status));
    return "the daemon was ended by signal " + std::to_string(WTERMSIG(status)) + " (" +
           (name == nullptr ? "unknown" : name) + ") before the mount answered";
  }
  return "the daemon ended with status " + std::to_string(WEXITSTATUS(status)) + " before the mount answered";
}

}  // namespace

DaemonLink::~DaemonLink() {
  if (fd_ >= 0) ::close(fd_);
}

void DaemonLink::ready() {
  if (fd_ < 0) return;
  ::prctl(PR_SET_PDEATHSIG, 0);
  // Not before: who mounts below an automount point (autofs) must be of the process group of the automounter,
  // or waits for his own mount.
  ::setsid();
  point_to_null(STDERR_FILENO);
  write_all(fd_, std::string(1, kReady));
  ::close(fd_);
  fd_ = -1;
}

void DaemonLink::failed(const store::Error& error) {
  if (fd_ < 0) return;
  write_all(fd_, std::string{kError, static_cast<char>(error.code)} + store::describe(error));
  ::close(fd_);
  fd_ = -1;
}

store::Status DaemonLink::wait() {
  const std::string text = read_all(fd_);
  if (text.empty()) return fail(Code::kIo, how_it_ended(pid_));
  if (text.front() == kReady) return {};
  how_it_ended(pid_);  // it has let go of everything when the person reads the message
  if (text.size() < 2) return fail(Code::kIo, "the daemon could not say why it failed");
  return fail(static_cast<Code>(text[1]), text.substr(2));
}

store::Result<DaemonLink> fork_daemon() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return fail(Code::kIo, std::string("cannot make a pipe: ") + errno_text(errno), errno);
  }
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) {
    const int error = errno;
    ::close(ends[0]);
    ::close(ends[1]);
    return fail(Code::kIo, std::string("cannot start the daemon (fork): ") + errno_text(error), error);
  }
  if (pid > 0) {
    ::close(ends[1]);
    return DaemonLink(pid, ends[0]);
  }
  ::close(ends[0]);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(1);  // it died before the line above
  ::signal(SIGPIPE, SIG_IGN);
  point_to_null(STDIN_FILENO);
  point_to_null(STDOUT_FILENO);
  if (::chdir("/") != 0) ::_exit(1);
  return DaemonLink(0, ends[1]);
}

void leave_stderr() { point_to_null(STDERR_FILENO); }

void close_inherited_descriptors(int keep) {
  constexpr unsigned kFirst = STDERR_FILENO + 1;
  if (keep < static_cast<int>(kFirst)) {
    ::close_range(kFirst, ~0U, 0);
    return;
  }
  const auto kept = static_cast<unsigned>(keep);
  if (kept > kFirst) ::close_range(kFirst, kept - 1, 0);
  ::close_range(kept + 1, ~0U, 0);
}

}  // namespace lrufs::cmd
