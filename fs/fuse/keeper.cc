#include "fs/fuse/keeper.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "fs/fuse/mount_point.h"
#include "fs/fuse/privileges.h"

namespace lrufs::fs::fuse {
namespace {

using store::Code;
using store::fail;
using store::MutexLock;
using store::Result;
using store::Status;

// The keeper's descriptors.
constexpr int kUnmounting = 3;
constexpr int kQuestions = 4;

struct Request {
  bool lazy = false;  // of an unmount
  pid_t pid = 0;      // of a question
};
struct Reply {
  bool done = false;  // the answer to a question: yes
  bool known = false;
  Code code{};
  int os_errno = 0;
  std::array<char, 480> text{};
};

std::atomic<Keeper*> g_keeper{nullptr};

std::optional<Reply> exchange(int fd, const Request& request) {
  Reply reply;
  if (::send(fd, &request, sizeof request, MSG_NOSIGNAL) != sizeof request) return std::nullopt;
  ssize_t n = 0;
  while ((n = ::recv(fd, &reply, sizeof reply, 0)) < 0 && errno == EINTR) {
  }
  if (n != sizeof reply) return std::nullopt;
  return reply;
}

std::optional<ino_t> user_namespace(const std::string& process) {
  struct stat info {};
  if (::stat(("/proc/" + process + "/ns/user").c_str(), &info) != 0) return std::nullopt;
  return info.st_ino;
}

Reply unmount(const std::string& mount_point, bool lazy) {
  Reply reply;
  reply.known = true;
  const Status status = detach(mount_point, lazy);
  reply.done = status.has_value();
  if (!status) {
    reply.code = status.error().code;
    reply.os_errno = status.error().os_errno;
    const std::string& text = status.error().message;
    std::copy_n(text.data(), std::min(text.size(), reply.text.size() - 1), reply.text.data());
  }
  return reply;
}

Reply answer(pid_t pid) {
  const auto same = is_in_own_user_namespace(pid);
  Reply reply;
  reply.known = same.has_value();
  reply.done = same.value_or(false);
  return reply;
}

void send_reply(int fd, const Reply& reply) { (void)::send(fd, &reply, sizeof reply, MSG_NOSIGNAL); }

// In a process of its own, so that questions are answered meanwhile.
void unmount_aside(const std::string& mount_point, bool lazy) {
  const pid_t child = ::fork();
  if (child > 0) return;
  if (child < 0) {
    send_reply(kUnmounting, unmount(mount_point, lazy));
    return;
  }
  ::signal(SIGCHLD, SIG_DFL);  // fusermount3 is waited for
  send_reply(kUnmounting, unmount(mount_point, lazy));
  ::_exit(0);
}

// What the mount needs, and nothing else: the way to it may lead through folders of others.
void keep_what_is_needed() {
  constexpr std::uint64_t kUnmount = capability_bit(CAP_SYS_ADMIN);
  if ((capabilities() & kUnmount) == 0) return;  // then it needs fusermount3, whose rights are new ones
  (void)drop_capabilities_but(kUnmount | capability_bit(CAP_DAC_READ_SEARCH) |
                              capability_bit(CAP_SYS_PTRACE));
  (void)refuse_new_privileges();
}

}  // namespace

Status Keeper::start(const std::string& program, const std::string& mount_point) {
  if (of_process() != nullptr) return {};
  std::array<int, 2> unmounting{-1, -1};
  std::array<int, 2> questions{-1, -1};
  const auto close_all = [&] {
    for (const int fd : {unmounting[0], unmounting[1], questions[0], questions[1]}) {
      if (fd >= 0) ::close(fd);
    }
  };
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, unmounting.data()) != 0 ||
      ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, questions.data()) != 0) {
    const int error = errno;
    close_all();
    return fail(Code::kIo, "no sockets for the keeper: " + std::string(std::strerror(error)), error);
  }
  std::array<std::string, 3> words = {"lrufs", std::string(kKeeperVerb), mount_point};
  std::array<char*, words.size() + 1> argv{};
  for (std::size_t i = 0; i < words.size(); ++i) argv.at(i) = words.at(i).data();
  // Not the numbers that they are to get: dup2(2) would leave O_CLOEXEC on a descriptor that has it already.
  const int first = ::fcntl(unmounting[1], F_DUPFD_CLOEXEC, kQuestions + 1);
  const int second = ::fcntl(questions[1], F_DUPFD_CLOEXEC, kQuestions + 1);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, first, kUnmounting);
  ::posix_spawn_file_actions_adddup2(&actions, second, kQuestions);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  for (const int fd : {first, second}) {
    if (fd >= 0) ::close(fd);
  }
  if (error != 0) {
    close_all();
    return fail(Code::kIo, "cannot start the keeper: " + std::string(std::strerror(error)), error);
  }
  ::close(unmounting[1]);
  ::close(questions[1]);
  auto* const keeper =
      new Keeper(mount_point);  // NOLINT(cppcoreguidelines-owning-memory): as long as the process
  {
    const MutexLock lock(keeper->unmounting_.mutex);
    keeper->unmounting_.fd = unmounting[0];
  }
  {
    const MutexLock lock(keeper->questions_.mutex);
    keeper->questions_.fd = questions[0];
  }
  // It answers: else the daemon would give up what nobody has kept.
  if (!keeper->shares_user_namespace(::getpid()).value_or(false)) {
    ::close(unmounting[0]);
    ::close(questions[0]);
    delete keeper;  // NOLINT(cppcoreguidelines-owning-memory)
    return fail(Code::kIo, "the keeper does not answer");
  }
  g_keeper.store(keeper, std::memory_order_release);
  return {};
}

Keeper* Keeper::of_process() { return g_keeper.load(std::memory_order_acquire); }

Status Keeper::detach(bool lazy) {
  const MutexLock lock(unmounting_.mutex);
  const auto reply = exchange(unmounting_.fd, {.lazy = lazy});
  if (!reply) return fail(Code::kIo, "unmounting " + mount_point_ + ": the keeper has gone");
  if (reply->done) return {};
  return fail(reply->code, std::string(reply->text.data()), reply->os_errno);
}

std::optional<bool> Keeper::shares_user_namespace(pid_t pid) {
  const MutexLock lock(questions_.mutex);
  const auto reply = exchange(questions_.fd, {.pid = pid});
  if (!reply || !reply->known) return std::nullopt;
  return reply->done;
}

std::optional<bool> is_in_own_user_namespace(pid_t pid) {
  const auto theirs = user_namespace(std::to_string(pid));
  const auto ours = user_namespace("self");
  if (!theirs || !ours) return std::nullopt;
  return *theirs == *ours;
}

int run_keeper(const std::vector<std::string>& arguments) {
  constexpr int kWrongUse = 2;
  if (arguments.size() != 1) return kWrongUse;
  const std::string& mount_point = arguments[0];
  // Signals to the whole group (^C, a service that stops) are for the daemon, with which we end.
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::signal(SIGCHLD, SIG_IGN);
  ::setsid();
  ::prctl(PR_SET_NAME, "lrufs-keeper");
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < kUnmounting && null >= 0; ++fd) ::dup2(null, fd);
  ::close_range(kQuestions + 1, ~0U, 0);
  // fusermount3 is not to have them.
  for (const int fd : {kUnmounting, kQuestions}) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  if (::chdir("/") != 0) return kWrongUse;
  keep_what_is_needed();
  for (;;) {
    std::array<pollfd, 2> lines{
        {{.fd = kUnmounting, .events = POLLIN}, {.fd = kQuestions, .events = POLLIN}}};
    if (::poll(lines.data(), lines.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return kWrongUse;
    }
    for (const pollfd& line : lines) {
      if (line.revents == 0) continue;
      Request request;
      if (::recv(line.fd, &request, sizeof request, 0) != sizeof request) return 0;  // the daemon has ended
      if (line.fd == kUnmounting) {
        unmount_aside(mount_point, request.lazy);
      } else {
        send_reply(kQuestions, answer(request.pid));
      }
    }
  }
}

}  // namespace lrufs::fs::fuse
