#include "fs/fuse/kernel_notices.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "fs/fuse/supervisor.h"

namespace lrufs::fs::fuse {
namespace {

// A packet: this, and `count` messages as the kernel takes them; the answer: this, and as many numbers.
struct PacketHeader {
  std::uint64_t sequence = 0;
  std::uint64_t count = 0;
};
constexpr std::size_t kMaxPacket = 32UL * 1024;
constexpr std::size_t kMaxMessages = 256;

template <typename Value>
std::string_view as_bytes(const Value& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

int write_message(int fd, const char* message, std::size_t bytes) {
  return ::write(fd, message, bytes) < 0 ? errno : 0;
}

}  // namespace

KernelNotices::KernelNotices(fuse_session* session, int socket, std::uint32_t generation)
    : session_(session),
      socket_(socket),
      stop_fd_(::eventfd(0, EFD_CLOEXEC)),
      sequence_(std::uint64_t{generation} << 32U) {}

KernelNotices::~KernelNotices() {
  if (stop_fd_ >= 0) ::close(stop_fd_);
}

void KernelNotices::stop() {
  stopped_ = true;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(stop_fd_, &one, sizeof one);
}

void KernelNotices::add(std::int32_t code, std::string_view body) {
  fuse_out_header header{};
  header.len = static_cast<std::uint32_t>(sizeof header + body.size());
  header.error = code;
  std::string message(as_bytes(header));
  message.append(body);
  messages_.push_back(std::move(message));
}

void KernelNotices::name_gone(store::Ino parent, std::string_view name) {
  fuse_notify_inval_entry_out entry{};
  entry.parent = raw(parent);
  entry.namelen = static_cast<std::uint32_t>(name.size());
  std::string body(as_bytes(entry));
  body.append(name);
  body.push_back('\0');
  add(FUSE_NOTIFY_INVAL_ENTRY, body);
}

void KernelNotices::inode_changed(store::Ino ino, std::int64_t offset) {
  fuse_notify_inval_inode_out inode{};
  inode.ino = raw(ino);
  inode.off = offset;
  add(FUSE_NOTIFY_INVAL_INODE, as_bytes(inode));
}

std::vector<int> KernelNotices::send() {
  const std::vector<std::string> messages = std::exchange(messages_, {});
  std::vector<int> results;
  results.reserve(messages.size());
  if (socket_ < 0) {
    for (const std::string& message : messages)
      results.push_back(session_ == nullptr
                            ? ENOTCONN
                            : write_message(fuse_session_fd(session_), message.data(), message.size()));
    return results;
  }
  for (std::size_t from = 0; from < messages.size();) {
    std::string packet;
    std::uint32_t count = 0;
    while (from < messages.size() && count < kMaxMessages &&
           packet.size() + messages[from].size() <= kMaxPacket) {
      packet += messages[from++];
      ++count;
    }
    const std::vector<int> some = send_some(packet, count);
    results.insert(results.end(), some.begin(), some.end());
  }
  return results;
}

std::vector<int> KernelNotices::send_some(std::string_view messages, std::uint32_t count) {
  std::vector<int> results(count, ENOTCONN);
  const PacketHeader header{.sequence = ++sequence_, .count = count};
  std::string packet(as_bytes(header));
  packet.append(messages);
  if (stopped_ || ::send(socket_, packet.data(), packet.size(), MSG_NOSIGNAL) < 0) return results;
  for (;;) {
    std::array<pollfd, 2> fds{
        {{.fd = socket_, .events = POLLIN, .revents = 0}, {.fd = stop_fd_, .events = POLLIN, .revents = 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return results;
    if (stopped_) return results;
    if (fds[0].revents == 0) continue;
    std::array<char, sizeof(PacketHeader) + kMaxMessages * sizeof(int)> answer{};
    const ssize_t n = ::recv(socket_, answer.data(), answer.size(), MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return results;
    if (n < static_cast<ssize_t>(sizeof header)) continue;
    PacketHeader told;
    std::memcpy(&told, answer.data(), sizeof told);
    if (told.sequence != header.sequence) continue;  // to a worker before this one
    std::memcpy(results.data(), answer.data() + sizeof told, count * sizeof(int));
    return results;
  }
}

bool kernel_holds(fuse_session* session, store::Ino ino) {
  if (fuse_lowlevel_notify_inval_inode(session, raw(ino), -1, 0) == -ENOENT) return false;
  // An orphan of before, of which the kernel was perhaps never told that its name is gone: what only its
  // caches hold goes (FUSE_NOTIFY_PRUNE, Linux 6.18; others refuse this).
  constexpr std::int32_t kPrune = 9;
  struct {
    fuse_out_header header;
    std::uint32_t count;
    std::uint32_t padding;
    std::uint64_t spare;
    std::uint64_t node;
  } prune{.header = {.len = sizeof prune, .error = kPrune, .unique = 0},
          .count = 1,
          .padding = 0,
          .spare = 0,
          .node = raw(ino)};
  [[maybe_unused]] const ssize_t n = ::write(fuse_session_fd(session), &prune, sizeof prune);
  return true;
}

int run_notices() {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_NAME, "lrufs-notices");
  ::close_range(0, 2, 0);
  ::close_range(kNoticesSocketFd + 1, ~0U, 0);
  return write_notices(kNoticesSocketFd, kNoticesConnectionFd);
}

int write_notices(int socket, int connection) {
  std::array<char, sizeof(PacketHeader) + kMaxPacket + 4096> packet{};
  for (;;) {
    const ssize_t n = ::recv(socket, packet.data(), packet.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < static_cast<ssize_t>(sizeof(PacketHeader))) return 0;
    PacketHeader header;
    std::memcpy(&header, packet.data(), sizeof header);
    std::string answer(as_bytes(header));
    std::size_t at = sizeof header;
    for (std::uint64_t i = 0; i < header.count; ++i) {
      fuse_out_header message{};
      if (at + sizeof message > static_cast<std::size_t>(n)) return 1;
      std::memcpy(&message, packet.data() + at, sizeof message);
      if (message.len < sizeof message || at + message.len > static_cast<std::size_t>(n)) return 1;
      const int result = write_message(connection, packet.data() + at, message.len);
      answer.append(as_bytes(result));
      at += message.len;
    }
    // A worker that died does not read its answers: the one after it would find too many.
    (void)::send(socket, answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
}

}  // namespace lrufs::fs::fuse
