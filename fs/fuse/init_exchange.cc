#include "fs/fuse/init_exchange.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <vector>

#include "fs/fuse/fd.h"
#include "fs/fuse/kill_privileges.h"

namespace lrufs::fs::fuse {
namespace {

using store::Code;
using store::fail;
using store::Status;

constexpr std::size_t kInitBytes =
    64UL * 1024;  // more than any INIT, and than what the kernel demands before it
constexpr std::size_t kAnswerBytes = 4096;

store::Result<std::size_t> no_init(const std::string& what, int error) {
  return fail(Code::kIo, "the kernel's INIT: " + what + ": " + std::generic_category().message(error), error);
}

// Reads one request. kBusy: told to stop.
store::Result<std::size_t> read_request(int fd, const std::array<int, 2>& stop_fds,
                                        std::vector<std::byte>& buffer) {
  for (;;) {
    std::array<pollfd, 3> fds{{{.fd = fd, .events = POLLIN},
                               {.fd = stop_fds[0], .events = POLLIN},
                               {.fd = stop_fds[1], .events = POLLIN}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return no_init("poll", errno);
    if (fds[1].revents != 0 || fds[2].revents != 0) return fail(Code::kBusy);
    if (fds[0].revents == 0) continue;
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno == ENODEV) return no_init("the file system was unmounted at once", ENODEV);
    if (errno != EINTR && errno != EAGAIN && errno != ENOENT) return no_init("read", errno);
  }
}

void process(fuse_session* session, std::vector<std::byte>& request, std::size_t size) {
  fuse_buf buffer{};
  buffer.size = size;
  buffer.mem = request.data();
  fuse_session_process_buf(session, &buffer);
}

// What the kernel offers, of which libfuse may not know all.
std::uint32_t offered_flags(const std::vector<std::byte>& request, std::size_t size) {
  constexpr std::size_t kAt = sizeof(fuse_in_header) + offsetof(fuse_init_in, flags);
  std::uint32_t flags = 0;
  if (size >= kAt + sizeof flags) std::memcpy(&flags, request.data() + kAt, sizeof flags);
  return flags;
}

// Adds to an answer of libfuse what it left out. Other answers, and shorter ones of old protocols, pass as
// they are.
void add_flags(std::vector<std::byte>& answer, Connection& connection, std::uint32_t offered) {
  if (answer.size() < sizeof(fuse_out_header) + offsetof(fuse_init_out, flags) + sizeof(std::uint32_t))
    return;
  fuse_out_header header{};
  std::memcpy(&header, answer.data(), sizeof header);
  if (header.error != 0) return;
  std::byte* const at = answer.data() + sizeof header + offsetof(fuse_init_out, flags);
  std::uint32_t flags = 0;
  std::memcpy(&flags, at, sizeof flags);
  if ((connection.enabled & FUSE_CAP_PARALLEL_DIROPS) != 0) flags |= FUSE_PARALLEL_DIROPS;
  if ((offered & FUSE_HANDLE_KILLPRIV_V2) != 0) {
    flags |= FUSE_HANDLE_KILLPRIV_V2;
    connection.offered |= kHandleKillprivV2;
    connection.enabled |= kHandleKillprivV2;
  }
  std::memcpy(at, &flags, sizeof flags);
}

// Linux 6.9 and later send requests again on demand, and say so (FUSE_HAS_RESEND, in the second word of
// flags).
bool sends_again(const std::vector<std::byte>& request, std::size_t size) {
  constexpr std::uint32_t kHasSecondWord = 1U << 30U;  // FUSE_INIT_EXT
  constexpr std::uint32_t kHasResend = 1U << 7U;
  constexpr std::size_t kAt = sizeof(fuse_in_header) + offsetof(fuse_init_in, flags) + sizeof(std::uint32_t);
  if ((offered_flags(request, size) & kHasSecondWord) == 0 || size < kAt + sizeof(std::uint32_t))
    return false;
#if defined(LRUFS_FAULTS) || defined(LRUFS_CRASH_POINTS)
  if (std::getenv("LRUFS_NO_RESEND") != nullptr) return false;  // NOLINT(concurrency-mt-unsafe): never set
#endif
  std::uint32_t flags = 0;
  std::memcpy(&flags, request.data() + kAt, sizeof flags);
  return (flags & kHasResend) != 0;
}

void keep(TakeoverMemory& memory, const std::vector<std::byte>& request, std::size_t size,
          const std::vector<std::byte>& answer) {
  const bool fits = size <= memory.init.size() && answer.size() <= memory.answer.size();
  const bool can = fits && sends_again(request, size);
  memory.resend = can ? TakeoverMemory::Resend::kYes : TakeoverMemory::Resend::kNo;
  if (!can) return;
  std::memcpy(memory.init.data(), request.data(), size);
  std::memcpy(memory.answer.data(), answer.data(), answer.size());
  memory.answer_bytes = static_cast<std::uint32_t>(answer.size());
  memory.init_bytes = static_cast<std::uint32_t>(size);
}

// What libfuse answers, amended. The kernel does not get it.
store::Result<std::vector<std::byte>> answer_of(fuse_session* session, std::vector<std::byte>& request,
                                                std::size_t size, Connection& connection) {
  const std::uint32_t offered = offered_flags(request, size);
  const int session_fd = fuse_session_fd(session);
  const Fd device(::fcntl(session_fd, F_DUPFD_CLOEXEC, 3));
  std::array<int, 2> pair{-1, -1};
  // Datagrams: an answer stays in one piece.
  if (device.get() < 0 || ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return fail(Code::kIo, "no file descriptors left for the kernel's INIT", errno);
  }
  const Fd theirs(pair[0]);
  const Fd ours(pair[1]);
  if (::dup3(theirs.get(), session_fd, O_CLOEXEC) < 0) return fail(Code::kIo, "dup3 failed at INIT", errno);
  process(session, request, size);
  // Nobody but this thread uses the session yet, so that its descriptor can go back unnoticed.
  if (::dup3(device.get(), session_fd, O_CLOEXEC) < 0)
    return fail(Code::kIo, "dup3 failed after INIT", errno);

  std::vector<std::byte> answer(kAnswerBytes);
  const ssize_t n = ::recv(ours.get(), answer.data(), answer.size(), MSG_DONTWAIT);
  if (n < 0) return fail(Code::kIo, "libfuse did not answer the kernel's INIT", errno);
  answer.resize(static_cast<std::size_t>(n));
  if (fuse_version() < kFirstLibfuseThatSendsAllFlags) add_flags(answer, connection, offered);
  return answer;
}

Status process_and_amend(fuse_session* session, std::vector<std::byte>& request, std::size_t size,
                         Connection& connection, TakeoverMemory* memory) {
  LRUFS_TRY_ASSIGN(const auto answer, answer_of(session, request, size, connection));
  if (memory != nullptr) keep(*memory, request, size, answer);
  if (::write(fuse_session_fd(session), answer.data(), answer.size()) < 0) {
    return fail(Code::kIo, "the kernel refused the answer to its INIT", errno);
  }
  return {};
}

}  // namespace

Status repeat_init(fuse_session* session, Connection& connection, const TakeoverMemory& memory) {
  const std::size_t size = memory.init_bytes;
  if (size == 0 || size > memory.init.size() || memory.answer_bytes > memory.answer.size())
    return fail(Code::kIo, "nothing is known of the kernel's INIT");
  std::vector<std::byte> request(kInitBytes);
  std::copy_n(memory.init.begin(), size, request.begin());
  LRUFS_TRY_ASSIGN(const auto answer, answer_of(session, request, size, connection));
  if (!std::equal(answer.begin(), answer.end(), memory.answer.begin(),
                  memory.answer.begin() + memory.answer_bytes))
    return fail(Code::kInvalid,
                "this version agrees on other things with the kernel than the one that mounted: unmount, and "
                "mount again");
  return {};
}

Status exchange_init(fuse_session* session, Connection& connection, const std::array<int, 2>& stop_fds,
                     TakeoverMemory* memory) {
  std::vector<std::byte> request(kInitBytes);
  // More than one round only if the kernel speaks a later protocol and repeats INIT in the one that libfuse
  // knows.
  while (!connection.established) {
    const auto size = read_request(fuse_session_fd(session), stop_fds, request);
    if (!size) return fail(size.error());
    if (fuse_version() < kFirstLibfuseThatSendsAllFlags || memory != nullptr) {
      LRUFS_TRY(process_and_amend(session, request, *size, connection, memory));
    } else {
      process(session, request, *size);
    }
    if (fuse_session_exited(session) != 0) {
      return fail(Code::kIo, "this kernel's FUSE protocol and libfuse do not fit together (see the log)");
    }
  }
  return {};
}

}  // namespace lrufs::fs::fuse
