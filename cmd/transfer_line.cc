#include "cmd/transfer_line.h"

#include <unistd.h>

#include <cstdio>
#include <utility>

#include "cmd/units.h"

namespace lrufs::cmd {

namespace {
constexpr std::chrono::milliseconds kPause{200};
}

TransferLine::TransferLine(std::string what)
    : what_(std::move(what)),
      is_terminal_(::isatty(STDERR_FILENO) == 1),
      next_(std::chrono::steady_clock::now() + kPause) {}

TransferLine::~TransferLine() { clear(); }

void TransferLine::show(std::uint64_t bytes, std::uint64_t all) {
  if (!is_terminal_ || std::chrono::steady_clock::now() < next_) return;
  next_ = std::chrono::steady_clock::now() + kPause;
  std::string text = what_ + ": " + format_size(bytes);
  if (all != 0) text += " of " + format_size(all);
  std::fprintf(stderr, "\r%s\033[K", text.c_str());
  std::fflush(stderr);
  shown_ = true;
}

void TransferLine::clear() {
  if (!std::exchange(shown_, false)) return;
  std::fprintf(stderr, "\r\033[K");
  std::fflush(stderr);
}

}  // namespace lrufs::cmd
