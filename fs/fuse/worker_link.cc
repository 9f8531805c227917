#include "fs/fuse/worker_link.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

namespace lrufs::fs::fuse {

using store::Code;
using store::Error;
using store::fail;
using store::Result;

namespace {

bool send_packet(int socket, std::string_view bytes, int fd) {
  iovec piece{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
  if (fd >= 0) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* const rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  for (;;) {
    if (::sendmsg(socket, &header, MSG_NOSIGNAL) >= 0) return true;
    if (errno != EINTR) return false;
  }
}

// Of all processes of a mount it should be the worker that goes when memory is short: it can be replaced. The
// supervisor has 11 MiB, most of it the program's own pages, and one that was just started may have less: a
// fifth of the limit more is enough for limits from 64 MiB.
void die_first() {
  constexpr int kMore = 200;   // thousandths of the limit
  constexpr int kMost = 1000;  // proc_pid_oom_score_adj(5)
  std::fstream file("/proc/self/oom_score_adj");
  int adjustment = 0;
  if (!(file >> adjustment)) return;
  file.seekp(0);
  file << std::min(adjustment + kMore, kMost) << std::flush;
}

}  // namespace

bool send_message(int socket, Message what, int fd) {
  const char byte = static_cast<char>(what);
  return send_packet(socket, {&byte, 1}, fd);
}

bool send_failure(int socket, const Error& error) {
  std::string text{static_cast<char>(Message::kFailed), static_cast<char>(error.code)};
  std::array<char, sizeof(int)> number{};
  std::memcpy(number.data(), &error.os_errno, sizeof(int));
  text.append(number.data(), number.size());
  text.append(error.message.substr(0, 3000));
  return send_packet(socket, text, -1);
}

std::optional<Packet> receive_message(int socket, bool wait) {
  std::array<char, 4096> bytes{};
  iovec piece{.iov_base = bytes.data(), .iov_len = bytes.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t n = 0;
  while ((n = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT))) < 0 &&
         errno == EINTR) {
  }
  if (n <= 0) return std::nullopt;
  Packet packet{.what = static_cast<Message>(bytes[0]), .error = {}, .fd = -1};
  if (const cmsghdr* const rights = CMSG_FIRSTHDR(&header);
      rights != nullptr && rights->cmsg_type == SCM_RIGHTS)
    std::memcpy(&packet.fd, CMSG_DATA(rights), sizeof packet.fd);
  constexpr std::size_t kText = 2 + sizeof(int);
  if (packet.what == Message::kFailed && static_cast<std::size_t>(n) >= kText) {
    int number = 0;
    std::memcpy(&number, bytes.data() + 2, sizeof number);
    packet.error = Error(static_cast<Code>(bytes[1]),
                         std::string(bytes.data() + kText, static_cast<std::size_t>(n) - kText), number);
  }
  return packet;
}

Result<std::unique_ptr<WorkerLink>> WorkerLink::open() {
  // Whoever kills the supervisor ends all of it.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  die_first();
  LRUFS_TRY_ASSIGN(auto memory, MappedTakeover::open(kMemoryFd));
  for (const int fd : {kLinkFd, kMemoryFd, kNoticesFd}) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return std::unique_ptr<WorkerLink>(new WorkerLink(std::move(memory)));
}

WorkerLink::WorkerLink(std::unique_ptr<MappedTakeover> memory)
    : memory_(std::move(memory)), receipts_(memory_->get().receipts) {
  takes_over_ = memory_->get().init_bytes != 0;
  if (takes_over_) ::fcntl(kConnectionFd, F_SETFD, FD_CLOEXEC);
}

WorkerLink::~WorkerLink() { ::close(kLinkFd); }

Result<int> WorkerLink::connection(bool read_only) {
  if (takes_over_) return kConnectionFd;
  send_message(kLinkFd, read_only ? Message::kMountReadOnly : Message::kMount);
  auto answer = receive_message(kLinkFd, true);
  if (!answer) return fail(Code::kIo, "the supervisor does not answer");
  if (answer->error) return fail(*std::move(answer->error));
  return answer->fd;
}

bool WorkerLink::await_turn() {
  const auto answer = receive_message(kLinkFd, true);
  return answer && answer->what == Message::kTakeOver;
}

bool WorkerLink::is_cut() const {
  pollfd fd{.fd = kLinkFd, .events = POLLIN, .revents = 0};
  return ::poll(&fd, 1, 0) > 0 && (fd.revents & POLLHUP) != 0;
}

std::optional<Message> WorkerLink::order() {
  const auto packet = receive_message(kLinkFd, false);
  if (!packet) return std::nullopt;
  return packet->what;
}

}  // namespace lrufs::fs::fuse
