// Session: one mount, from mount(2) to its end.
//
// Ends by itself when somebody unmounts; on stop() and on SIGTERM, SIGINT and SIGHUP it unmounts: cleanly if
// nothing is in use (the kernel hands over all it still has), otherwise what programs changed through
// mappings is written back, the name is taken away, requests that were read are answered, and later ones fail
// with ENOTCONN. For the signals, the caller blocks them in all threads before (BlockedSignals), since any
// thread may be chosen.
//
// Under a supervisor (Context::link) the connection, the mount, its end and the signals are the supervisor's,
// which sends orders instead; and the session may take over from one of another process (docs/takeover.md).
//
// Thread-safety: stop() from any thread; the others from one.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "fs/fuse/guard.h"
#include "store/error.h"

struct fuse_session;

namespace lrufs::fs::fuse {

struct Context;
class WorkerPool;

// Blocks the signals that end a session, for this thread and those it starts; the destructor restores the
// mask.
class BlockedSignals {
 public:
  BlockedSignals();
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;
  ~BlockedSignals();

 private:
  sigset_t before_{};
};

struct Ended {
  enum class Why : std::uint8_t {
    kUnmounted,  // by umount(8), fusermount3 or `lrufs umount`
    kSignal,
    kStopped,     // stop()
    kAborted,     // the kernel ended the connection while it was mounted (/sys/fs/fuse/connections)
    kHandedOver,  // all requests that were read are answered, and another process goes on
  };
  Why why = Why::kUnmounted;
  int signal = 0;
};
std::string describe(const Ended& ended);

class Session {
 public:
  // Mounts. `context` must outlive the session. kInvalid: options that libfuse refuses. kIo: the mount
  // failed; the message has libfuse's reason.
  static store::Result<std::unique_ptr<Session>> mount(Context& context);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();  // unmounts what is still mounted

  // Serves until the end. `on_ready` is called once, from this thread, when the mount answers. kIo: the
  // exchange with the kernel failed.
  store::Result<Ended> serve(const std::function<void()>& on_ready);
  void stop();

 private:
  explicit Session(Context& context) : context_(context) {}
  store::Status open_descriptors();
  void watch(WorkerPool& pool);
  store::Status open_connection();
  store::Status agree();
  void take_signal();
  void obey(WorkerPool& pool);
  void wind_down(WorkerPool& pool);
  [[nodiscard]] bool is_mounted() const;
  Ended ended(bool disconnected);
  void retire();

  Context& context_;
  fuse_session* session_ = nullptr;
  std::optional<Guard> guard_;
  std::optional<dev_t> device_;  // of the mount; unknown for /dev/fd/N
  int stop_fd_ = -1;             // eventfd: stop() was called
  int end_fd_ = -1;              // eventfd: the workers have left
  int signal_fd_ = -1;           // signalfd
  std::atomic<int> signal_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> handing_over_{false};
};

}  // namespace lrufs::fs::fuse
