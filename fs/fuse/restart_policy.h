// RestartPolicy: whether another worker follows one that has ended, and how soon.
//
// At once, the first time. Between failures in a row it waits, longer each time; twelve are given up. One
// that was killed from outside has not failed: without memory that may go on for a while, so it takes 200 of
// them that could not begin to serve.
//
// Thread-safety: as a plain value.
#pragma once

#include <chrono>
#include <optional>

namespace lrufs::fs::fuse {

class RestartPolicy {
 public:
  struct Worker {
    bool served = false;  // it was ready for requests
    bool killed = false;  // by SIGKILL: from outside
    std::chrono::milliseconds lived{};
  };

  // How long to wait before the next one; nullopt: give up.
  std::optional<std::chrono::milliseconds> after(const Worker& ended);
  [[nodiscard]] unsigned in_a_row() const;

 private:
  unsigned failures_ = 0;  // in a row
  unsigned killed_ = 0;    // the same
};

}  // namespace lrufs::fs::fuse
