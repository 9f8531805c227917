// TransferLine: how far a copy is, as one line on stderr that is written over again and cleared at the end;
// on a terminal only, elsewhere nothing is written.
//
// Not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace lrufs::cmd {

class TransferLine {
 public:
  explicit TransferLine(std::string what);  // "copying"
  ~TransferLine();
  TransferLine(const TransferLine&) = delete;
  TransferLine& operator=(const TransferLine&) = delete;
  void show(std::uint64_t bytes, std::uint64_t all = 0);  // 0: nobody knows
  void clear();                                           // before something else is written there

 private:
  const std::string what_;
  const bool is_terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point next_;
};

}  // namespace lrufs::cmd
