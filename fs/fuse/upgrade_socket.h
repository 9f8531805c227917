// UpgradeSocket: where a supervisor is asked to go on with another version of the program (`lrufs upgrade`).
// An abstract Unix socket named by the supervisor's process id; only root and the supervisor's own user are
// heard. The request is the path of a program, the answer empty, or what went wrong.
//
// Thread-safety: from one thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "store/error.h"

namespace lrufs::fs::fuse {

class UpgradeSocket {
 public:
  UpgradeSocket() = default;
  UpgradeSocket(const UpgradeSocket&) = delete;
  UpgradeSocket& operator=(const UpgradeSocket&) = delete;
  ~UpgradeSocket();

  store::Status listen();
  [[nodiscard]] int fd() const { return fd_; }
  // Once it can be read: the path that is asked for. One request at a time, until answer().
  std::optional<std::string> accept();
  void answer(const std::string& error);  // empty: done
  [[nodiscard]] bool busy() const { return client_ >= 0; }

 private:
  int fd_ = -1;
  int client_ = -1;
};

// The other side: asks the supervisor `pid`, and waits until it is done.
store::Status ask_for_upgrade(pid_t pid, const std::string& program);

}  // namespace lrufs::fs::fuse
