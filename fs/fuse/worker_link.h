// WorkerLink: a worker's end of the connection to its supervisor (supervisor.h), and what the two say to each
// other. Messages are packets of a socket pair, the first byte says what they are.
//
// Thread-safety: from any thread, but connection() from one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "fs/fuse/takeover_memory.h"
#include "store/error.h"

namespace lrufs::fs::fuse {

// The first argument of a process that is to be a worker, and the descriptors that it is started with.
inline constexpr std::string_view kWorkerVerb = "worker";
inline constexpr std::string_view kSpareVerb = "spare";  // the same, but it waits for its turn
inline constexpr std::string_view kStandbyVerb =
    "standby";  // the same, and first says whether it could serve
inline constexpr int kLinkFd = 3;
inline constexpr int kMemoryFd = 4;
inline constexpr int kNoticesFd = 5;     // kernel_notices.h
inline constexpr int kConnectionFd = 6;  // /dev/fuse, if it is mounted already

enum class Message : char {
  // To the supervisor.
  kMount = 'm',  // mount now; the answer is kMounted or kFailed
  kMountReadOnly = 'o',
  kReady = 'r',     // requests are served
  kFailed = 'f',    // and the error's code and text: the worker ends because of it
  kStopping = 's',  // the mount has ended, the store is being closed
  kStandsBy = 'b',  // it could take over (upgrade)
  // To the worker.
  kMounted = 'M',   // brings the connection
  kStop = 'S',      // answer what was read, close the store, end
  kHandOver = 'H',  // answer what was read, and end at once: another worker takes over
  kTakeOver = 'T',  // it is its turn
};

// A worker's exit code after kHandOver.
inline constexpr int kHandedOver = 77;

struct Packet {
  Message what{};
  std::optional<store::Error> error;  // of kFailed
  int fd = -1;                        // of kMounted
};
bool send_message(int socket, Message what, int fd = -1);
bool send_failure(int socket, const store::Error& error);
// Without waiting; nullopt: there is none. A packet that ends the connection is none, either.
std::optional<Packet> receive_message(int socket, bool wait);

class WorkerLink {
 public:
  // With the descriptors above, of which it takes possession.
  static store::Result<std::unique_ptr<WorkerLink>> open();
  WorkerLink(const WorkerLink&) = delete;
  WorkerLink& operator=(const WorkerLink&) = delete;
  ~WorkerLink();

  [[nodiscard]] TakeoverMemory& memory() const { return memory_->get(); }
  [[nodiscard]] ReceiptTable& receipts() { return receipts_; }
  // Is there a mount already that an earlier worker has served?
  [[nodiscard]] bool takes_over() const { return takes_over_; }
  // The descriptor of /dev/fuse; at first the supervisor mounts for it.
  store::Result<int> connection(bool read_only);
  [[nodiscard]] int notices() const { return kNoticesFd; }

  // To be polled; then order() says what is wanted.
  [[nodiscard]] int fd() const { return kLinkFd; }
  std::optional<Message> order();
  // The supervisor has gone.
  [[nodiscard]] bool is_cut() const;

  // Of one that stands by: it could take over.
  void stands_by() { send_message(kLinkFd, Message::kStandsBy); }
  // Of one that waits. False: it is not wanted.
  bool await_turn();
  void ready() { send_message(kLinkFd, Message::kReady); }
  void stopping() { send_message(kLinkFd, Message::kStopping); }
  void failed(const store::Error& error) { send_failure(kLinkFd, error); }

 private:
  explicit WorkerLink(std::unique_ptr<MappedTakeover> memory);
  std::unique_ptr<MappedTakeover> memory_;
  ReceiptTable receipts_;
  bool takes_over_ = false;
};

}  // namespace lrufs::fs::fuse
