#include "fs/fuse/upgrade_socket.h"

#include <fcntl.h>
#include <linux/limits.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <utility>

#include "fs/fuse/spawn.h"

namespace lrufs::fs::fuse {

using store::Code;
using store::fail;
using store::Status;

namespace {

struct Address {
  sockaddr_un address{};
  socklen_t length = 0;
};
Address address_of(pid_t pid) {
  Address out;
  out.address.sun_family = AF_UNIX;
  const std::string name = "lrufs/" + std::to_string(pid);
  std::copy(name.begin(), name.end(), out.address.sun_path + 1);  // the first byte 0: abstract
  out.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return out;
}

std::optional<ucred> peer_of(int fd) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return std::nullopt;
  return peer;
}

void close_fd(int& fd) {
  if (fd >= 0) ::close(std::exchange(fd, -1));
}

}  // namespace

UpgradeSocket::~UpgradeSocket() {
  close_fd(client_);
  close_fd(fd_);
}

Status UpgradeSocket::listen() {
  fd_ = move_up(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const Address at = address_of(::getpid());
  if (fd_ < 0 || ::bind(fd_, reinterpret_cast<const sockaddr*>(&at.address), at.length) != 0 ||
      ::listen(fd_, 4) != 0) {
    const int error = errno;
    close_fd(fd_);
    return fail(Code::kIo, "no socket for upgrades", error);
  }
  return {};
}

std::optional<std::string> UpgradeSocket::accept() {
  const int client = move_up(::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC));
  if (client < 0) return std::nullopt;
  const auto peer = peer_of(client);
  const bool trusted = peer && (peer->uid == 0 || peer->uid == ::geteuid()) && !busy();
  // Who is trusted sends at once, and is not waited for.
  const timeval patience{.tv_sec = 1, .tv_usec = 0};
  ::setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  std::array<char, PATH_MAX> path{};
  const ssize_t n = trusted ? ::recv(client, path.data(), path.size(), 0) : -1;
  if (n <= 0) {
    ::close(client);
    return std::nullopt;
  }
  client_ = client;
  return std::string(path.data(), static_cast<std::size_t>(n));
}

void UpgradeSocket::answer(const std::string& error) {
  if (!busy()) return;
  (void)::send(client_, error.empty() ? "+" : error.data(), error.empty() ? 1 : error.size(),
               MSG_NOSIGNAL | MSG_DONTWAIT);
  close_fd(client_);
}

Status ask_for_upgrade(pid_t pid, const std::string& program) {
  int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  const Address at = address_of(pid);
  if (fd < 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&at.address), at.length) != 0) {
    const int error = errno;
    close_fd(fd);
    return fail(Code::kIo, "the supervisor, process " + std::to_string(pid) + ", cannot be reached", error);
  }
  const auto peer = peer_of(fd);
  const bool right = peer && peer->pid == pid;
  std::array<char, 4096> answer{};
  ssize_t n = -1;
  if (right && ::send(fd, program.data(), program.size(), MSG_NOSIGNAL) >= 0) {
    while ((n = ::recv(fd, answer.data(), answer.size(), 0)) < 0 && errno == EINTR) {
    }
  }
  close_fd(fd);
  if (!right) return fail(Code::kNotPermitted, "another process answers in the place of the supervisor");
  if (n <= 0)
    return fail(Code::kNotPermitted,
                "the supervisor does not answer: the mount has ended meanwhile, or you are neither root nor "
                "the user who mounted");
  if (answer[0] == '+') return {};
  return fail(Code::kIo, std::string(answer.data(), static_cast<std::size_t>(n)));
}

}  // namespace lrufs::fs::fuse
