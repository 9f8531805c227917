// SIGINT, SIGTERM and SIGHUP for verbs that have something to clear away: the signal is noted, the work ends
// with an error, clears up, and then ends the process by that same signal. A second one ends it at once.
//
// Thread-safety: one thread, the main one; nothing else may handle these signals.
#pragma once

#include <poll.h>

#include "store/error.h"

namespace lrufs::cmd {

class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope();  // as it was before; if a signal came, it ends the process now
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
};

// An error if a signal came.
store::Status not_interrupted();
inline bool interrupted() { return !not_interrupted(); }
// Waits until `fd` can be read, or written (`events` of poll(2)): an error if a signal comes meanwhile.
// Outside of a scope it is as poll(2).
store::Status wait_for_descriptor(int fd, short events);

}  // namespace lrufs::cmd
