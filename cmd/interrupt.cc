#include "cmd/interrupt.h"

#include <array>
#include <cerrno>
#include <csignal>

#include "cmd/os.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Status;

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};
volatile std::sig_atomic_t came = 0;  // the number of the signal
std::array<struct sigaction, kSignals.size()> before;

void note(int number) { came = number; }

}  // namespace

InterruptScope::InterruptScope() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals.at(i), nullptr, &before.at(i));
    if (before.at(i).sa_handler == SIG_IGN) continue;  // nohup
    struct sigaction action {};
    action.sa_handler = note;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    ::sigaction(kSignals.at(i), &action, nullptr);
  }
}

InterruptScope::~InterruptScope() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals.at(i), &before.at(i), nullptr);
  if (came != 0) ::raise(came);
}

Status not_interrupted() {
  if (came == 0) return {};
  return fail(Code::kIo, "interrupted", EINTR);
}

Status wait_for_descriptor(int fd, short events) {
  sigset_t blocked;
  sigset_t mask;
  ::sigemptyset(&blocked);
  for (const int number : kSignals) ::sigaddset(&blocked, number);
  // Blocked but in ppoll(2), so that none comes between the question and the wait.
  ::pthread_sigmask(SIG_BLOCK, &blocked, &mask);
  Status done = not_interrupted();
  while (done) {
    pollfd wanted{.fd = fd, .events = events, .revents = 0};
    if (::ppoll(&wanted, 1, nullptr, &mask) >= 0) break;
    if (errno != EINTR) done = fail(Code::kIo, "poll(2): " + errno_text(errno), errno);
    if (came != 0) done = not_interrupted();
  }
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  return done;
}

}  // namespace lrufs::cmd
