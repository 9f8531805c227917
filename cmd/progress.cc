#include "cmd/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "cmd/units.h"

namespace lrufs::cmd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr unsigned kBar = 24;

void print_to_stderr(const std::string& text) {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

std::string left(std::uint64_t done, std::uint64_t total, steady_clock::duration passed) {
  if (done == 0 || total <= done) return {};
  const double seconds = std::chrono::duration<double>(passed).count();
  const double more = seconds * static_cast<double>(total - done) / static_cast<double>(done);
  if (more > 1e8) return {};
  return ", " + format_duration(std::chrono::seconds(static_cast<std::int64_t>(more) + 1)) + " left";
}

}  // namespace

ProgressOptions ProgressOptions::of_stderr(bool data_on_terminal) {
  ProgressOptions options;
  options.terminal = ::isatty(STDERR_FILENO) == 1 && !data_on_terminal;
  winsize size{};
  if (options.terminal && ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col != 0)
    options.columns = size.ws_col;
  if (!options.terminal) options.first = options.every = milliseconds(10'000);
  return options;
}

Progress::Progress(std::string what, Unit unit, std::uint64_t total, ProgressOptions options)
    : what_(std::move(what)), unit_(unit), total_(total), options_(std::move(options)) {
  if (!options_.print) options_.print = print_to_stderr;
  started_ = options_.clock();
  next_ = started_ + options_.first;
}

Progress::~Progress() { clear(); }

void Progress::clear() {
  if (std::exchange(drawn_, false)) options_.print("\r\x1b[K");
}

void Progress::set(std::uint64_t done) {
  done_ = done;
  const auto now = options_.clock();
  if (now < next_) return;
  next_ = now + options_.every;
  draw(now);
}

std::string Progress::amount() const {
  const auto shown = [&](std::uint64_t units) {
    return unit_ == Unit::kBytes ? format_size(units) : format_count(units);
  };
  return total_ == 0 ? shown(done_) : shown(std::min(done_, total_)) + " of " + shown(total_);
}

void Progress::draw(steady_clock::time_point now) {
  const auto passed = now - started_;
  const double seconds = std::max(std::chrono::duration<double>(passed).count(), 1e-3);
  const auto speed = static_cast<std::uint64_t>(static_cast<double>(done_) / seconds);
  const std::string rate = (unit_ == Unit::kBytes ? format_size(speed) : format_count(speed)) + "/s";
  const std::uint64_t percent =
      total_ == 0 ? 0
                  : static_cast<std::uint64_t>(
                        100.0 * std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_)));
  const std::string figures = amount() + ", " + rate + left(done_, total_, passed);
  if (!options_.terminal) {
    options_.print("lrufs: " + what_ + ": " + (total_ == 0 ? "" : std::to_string(percent) + " %, ") +
                   figures + "\n");
    return;
  }
  std::string bar;
  if (total_ != 0) {
    const auto full = static_cast<unsigned>(percent * kBar / 100);
    bar =
        "[" + std::string(full, '#') + std::string(kBar - full, '.') + "] " + std::to_string(percent) + " % ";
  }
  std::string line = what_ + " " + bar + figures;
  if (line.size() >= options_.columns)
    line.resize(std::max(options_.columns, 2U) - 1);  // a wrapped line stays
  options_.print("\r" + line + "\x1b[K");
  drawn_ = true;
}

}  // namespace lrufs::cmd
