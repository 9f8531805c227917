#include "fs/fuse/metrics_server.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <microhttpd.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>
#include <thread>

#include "fs/fuse/context.h"
#include "fs/fuse/metrics.h"
#include "store/thread_annotations.h"

namespace lrufs::fs::fuse {
namespace {

using store::Code;
using store::fail;
using store::MutexLock;
using store::Result;

constexpr std::chrono::milliseconds kProbeTimeout{1000};

std::string error_text(int error) { return std::generic_category().message(error); }

// GETATTR and STATFS, which the kernel answers from no cache.
bool mount_answers(const std::string& mount_point) {
  struct statx root {};
  struct statfs file_system {};
  return ::statx(AT_FDCWD, mount_point.c_str(), AT_STATX_FORCE_SYNC, STATX_INO, &root) == 0 &&
         ::statfs(mount_point.c_str(), &file_system) == 0 && file_system.f_type == FUSE_SUPER_MAGIC &&
         root.stx_ino == store::raw(store::kRootIno);
}

MHD_Result respond(MHD_Connection* connection, const MetricsServer::Answer& answer) {
  // MHD copies it.
  MHD_Response* const response = MHD_create_response_from_buffer(
      answer.body.size(), const_cast<char*>(answer.body.data()), MHD_RESPMEM_MUST_COPY);
  if (response == nullptr) return MHD_NO;
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer.content_type);
  if (answer.status == MHD_HTTP_METHOD_NOT_ALLOWED)
    MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
  const MHD_Result queued = MHD_queue_response(connection, answer.status, response);
  MHD_destroy_response(response);
  return queued;
}

MHD_Result on_request(void* self, MHD_Connection* connection, const char* url, const char* method,
                      const char* /*version*/, const char* /*upload*/, std::size_t* upload_size,
                      void** /*state*/) noexcept {
  try {
    if (*upload_size != 0) {
      *upload_size = 0;  // whatever it is, nobody wants it
      return MHD_YES;
    }
    if (std::strcmp(method, "GET") != 0 && std::strcmp(method, "HEAD") != 0)
      return respond(connection, {.status = MHD_HTTP_METHOD_NOT_ALLOWED, .body = "GET or HEAD\n"});
    return respond(connection, static_cast<MetricsServer*>(self)->answer(url));
  } catch (...) {
    return MHD_NO;  // closes the connection
  }
}

}  // namespace

Result<MetricsAddress> parse_metrics_address(std::string_view text) {
  const auto wrong = [&](const char* what) {
    return fail(Code::kInvalid, "--metrics '" + std::string(text) + "': " + what +
                                    "; give HOST:PORT, such as 127.0.0.1:9100 or [::1]:9100");
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return wrong("the port is missing");
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return wrong("an IPv6 address needs brackets");
  }
  if (host.empty()) return wrong("the host is missing (0.0.0.0 is all of IPv4, [::] all of IPv6)");
  std::uint16_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size() || number == 0)
    return wrong("the port is a number from 1 to 65535");
  return MetricsAddress{std::string(host), std::string(port)};
}

Result<ListeningSocket> ListeningSocket::open(std::string_view address) {
  LRUFS_TRY_ASSIGN(const MetricsAddress where, parse_metrics_address(address));
  const std::string shown(address);
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(where.host.c_str(), where.port.c_str(), &hints, &found); error != 0)
    return fail(Code::kInvalid, "--metrics " + shown + ": no such host here (" + ::gai_strerror(error) + ")");
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> freed(found, &::freeaddrinfo);
  ListeningSocket listening(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (listening.fd_ >= 0) {
    ::setsockopt(listening.fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (found->ai_family == AF_INET6) ::setsockopt(listening.fd_, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (::bind(listening.fd_, found->ai_addr, found->ai_addrlen) == 0 && ::listen(listening.fd_, 16) == 0)
      return listening;
  }
  const int error = errno;
  if (error == EADDRINUSE)
    return fail(Code::kBusy,
                "--metrics " + shown + ": the port is in use by another program; give another one", error);
  if (error == EADDRNOTAVAIL)
    return fail(Code::kInvalid, "--metrics " + shown + ": this machine does not have that address", error);
  return fail(Code::kIo, "--metrics " + shown + " cannot be listened on: " + error_text(error), error);
}

ListeningSocket::~ListeningSocket() {
  if (fd_ >= 0) ::close(fd_);
}

struct MountProbe::State {
  const std::string mount_point;
  store::Mutex mutex;
  store::CondVar changed;
  bool asking GUARDED_BY(mutex) = false;
  bool answered GUARDED_BY(mutex) = false;  // the last one

  explicit State(std::string where) : mount_point(std::move(where)) {}
};

MountProbe::MountProbe(std::string mount_point) : state_(std::make_shared<State>(std::move(mount_point))) {}

bool MountProbe::answers(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  const std::shared_ptr<State> state = state_;
  const MutexLock lock(state->mutex);
  if (!state->asking) {
    state->asking = true;
    state->answered = false;
    try {
      std::thread([state] {
        const bool answered = mount_answers(state->mount_point);
        const MutexLock inner(state->mutex);
        state->answered = answered;
        state->asking = false;
        state->changed.notify_all();
      }).detach();
    } catch (const std::system_error&) {
      state->asking = false;
      return false;
    }
  }
  while (state->asking) {
    if (!state->changed.wait_until(state->mutex, deadline)) return !state->asking && state->answered;
  }
  return state->answered;
}

MetricsServer::MetricsServer(Context& context) : context_(context), probe_(context.options.mount_point) {}

MetricsServer::Answer MetricsServer::answer(std::string_view path) {
  if (path == "/metrics") return {.content_type = kMetricsContentType, .body = metrics_text(context_)};
  if (path == "/healthz") {
    const std::string failure = context_.volume.store().failure();
    if (failure.empty()) return {.body = "ok\n"};
    return {.status = MHD_HTTP_SERVICE_UNAVAILABLE, .body = failure + "\n"};
  }
  if (path == "/readyz") {
    if (!context_.threads())
      return {.status = MHD_HTTP_SERVICE_UNAVAILABLE, .body = "it is not mounted yet, or not any more\n"};
    if (probe_.answers(kProbeTimeout)) return {.body = "ok\n"};
    return {.status = MHD_HTTP_SERVICE_UNAVAILABLE, .body = "the mount does not answer\n"};
  }
  return {.status = MHD_HTTP_NOT_FOUND, .body = "there are /metrics, /healthz and /readyz\n"};
}

Result<std::unique_ptr<MetricsServer>> MetricsServer::start(Context& context, ListeningSocket socket) {
  constexpr unsigned kThreads = 2;
  constexpr unsigned kConnections = 32;
  constexpr unsigned kIdleSeconds = 15;
  std::unique_ptr<MetricsServer> server(new MetricsServer(context));
  const int fd = socket.release();  // MHD closes it, or we
  server->daemon_ = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, nullptr, nullptr, &on_request,
                                     server.get(), MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE,
                                     kThreads, MHD_OPTION_CONNECTION_LIMIT, kConnections,
                                     MHD_OPTION_CONNECTION_TIMEOUT, kIdleSeconds, MHD_OPTION_END);
  if (server->daemon_ != nullptr) return server;
  ::close(fd);
  return fail(Code::kIo, "the server of metrics could not be started (no memory, or no threads)");
}

MetricsServer::~MetricsServer() {
  if (daemon_ != nullptr) MHD_stop_daemon(daemon_);
}

}  // namespace lrufs::fs::fuse
