// SIGINT, SIGTERM and SIGHUP for verbs that copy much: while a StopSignals lives they only set a mark, and
// system calls that wait return (EINTR), so that the verb can leave things in order.
//
// Thread-safety: one at a time, in the main thread; came() from anywhere.
#pragma once

#include <array>
#include <csignal>

#include "store/error.h"

namespace lrufs::cmd {

class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  static bool came();

 private:
  static constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};
  std::array<struct sigaction, kSignals.size()> before_{};
};

}  // namespace lrufs::cmd
