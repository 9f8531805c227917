#include "cmd/stop_signals.h"

#include <atomic>

namespace lrufs::cmd {
namespace {

std::atomic<bool> stop_came{false};

void note_signal(int /*signal*/) { stop_came.store(true); }

}  // namespace

StopSignals::StopSignals() {
  stop_came.store(false);
  struct sigaction action {};
  action.sa_handler = note_signal;
  sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &action, &before_[i]);
}

StopSignals::~StopSignals() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
}

bool StopSignals::came() { return stop_came.load(); }

}  // namespace lrufs::cmd
