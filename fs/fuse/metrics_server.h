// MetricsServer: the metrics over HTTP, for Prometheus and for whoever watches over processes (Kubernetes):
//
//   /metrics   metrics_text()
//   /healthz   200 while the process lives and the store has not failed; else 503, and why
//   /readyz    200 if the mount answers, which is tried through the mount itself; else 503
//
// Two threads of its own. It binds to what was given and nothing else, answers GET and HEAD, and knows no
// users: who may connect is who the address lets in.
//
// Thread-safety: from one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "store/error.h"

struct MHD_Daemon;

namespace lrufs::fs::fuse {

struct Context;

struct MetricsAddress {
  std::string host;  // a name or an address, without brackets
  std::string port;
};
// "127.0.0.1:9100", "localhost:9100", "[::1]:9100". kInvalid: no such form, or port 0.
store::Result<MetricsAddress> parse_metrics_address(std::string_view text);

// A socket that listens there.
class ListeningSocket {
 public:
  // kInvalid for a host that does not exist here; kBusy if the port is in use; kIo.
  static store::Result<ListeningSocket> open(std::string_view address);
  ListeningSocket(ListeningSocket&& other) noexcept : fd_(other.release()) {}
  ListeningSocket& operator=(ListeningSocket&&) = delete;
  ~ListeningSocket();
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }

 private:
  explicit ListeningSocket(int fd) : fd_(fd) {}
  int fd_;
};

// Asks the mount for something that only the daemon can answer.
class MountProbe {
 public:
  explicit MountProbe(std::string mount_point);
  // Does it answer within `timeout`? The thread that asks may hang for longer; then the next calls wait for
  // it, and it is left behind at the end.
  [[nodiscard]] bool answers(std::chrono::milliseconds timeout);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

class MetricsServer {
 public:
  // Once the mount answers; kIo: it could not be started.
  static store::Result<std::unique_ptr<MetricsServer>> start(Context& context, ListeningSocket socket);
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;
  ~MetricsServer();  // waits for requests that are being answered

  struct Answer {
    unsigned status = 200;
    const char* content_type = "text/plain; charset=utf-8";
    std::string body;
  };
  [[nodiscard]] Answer answer(std::string_view path);

 private:
  explicit MetricsServer(Context& context);
  Context& context_;
  MountProbe probe_;
  MHD_Daemon* daemon_ = nullptr;
};

}  // namespace lrufs::fs::fuse
