// Progress of long work, on stderr: a bar that is drawn over itself on a terminal, plain lines elsewhere (one
// each ten seconds, so short work prints none).
//
// The bar appears after half a second and is taken away at the end. Thread-safety: one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace lrufs::cmd {

struct ProgressOptions {
  bool terminal = false;  // draws a bar
  unsigned columns = 80;
  std::chrono::milliseconds first{500};  // nothing before
  std::chrono::milliseconds every{100};
  std::function<std::chrono::steady_clock::time_point()> clock = std::chrono::steady_clock::now;
  std::function<void(const std::string&)> print;  // default: to stderr

  // As stderr is. `data_on_terminal`: the work itself prints to the terminal, so that no bar may be drawn.
  static ProgressOptions of_stderr(bool data_on_terminal = false);
};

class Progress {
 public:
  enum class Unit : std::uint8_t { kBytes, kObjects };
  // `what` is done to `total` units; 0: nobody knows how many.
  Progress(std::string what, Unit unit, std::uint64_t total,
           ProgressOptions options = ProgressOptions::of_stderr());
  ~Progress();  // takes the bar away
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void add(std::uint64_t units) { set(done_ + units); }
  void set(std::uint64_t done);
  void set_total(std::uint64_t total) { total_ = total; }
  void clear();  // before something else is printed there

 private:
  [[nodiscard]] std::string amount() const;
  void draw(std::chrono::steady_clock::time_point now);
  std::string what_;
  Unit unit_;
  std::uint64_t total_;
  ProgressOptions options_;
  std::uint64_t done_ = 0;
  std::chrono::steady_clock::time_point started_;
  std::chrono::steady_clock::time_point next_;
  bool drawn_ = false;
};

}  // namespace lrufs::cmd
