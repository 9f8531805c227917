// Randomness of tests: a fresh seed for each run, shown when a test fails, and set by LRUFS_TEST_SEED to
// repeat it. LRUFS_TEST_SCALE scales how much a random test does.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>

namespace lrufs::test {

inline double test_scale() {
  const char* text = std::getenv("LRUFS_TEST_SCALE");
  const double scale = text == nullptr ? 1.0 : std::strtod(text, nullptr);
  return scale > 0 ? scale : 1.0;
}
// `count` iterations, scaled; at least one.
inline std::size_t scaled(std::size_t count) {
  const double wanted = std::round(static_cast<double>(count) * test_scale());
  return wanted < 1 ? 1 : static_cast<std::size_t>(wanted);
}

class Random {
 public:
  Random() : Random(fresh_seed()) {}
  explicit Random(std::uint64_t seed) : seed_(seed), engine_(seed) {}

  // For SCOPED_TRACE: how to run it again.
  [[nodiscard]] std::string hint() const { return "repeat with LRUFS_TEST_SEED=" + std::to_string(seed_); }

  std::uint64_t bits() { return engine_(); }
  // 0 … limit - 1
  std::uint64_t below(std::uint64_t limit) {
    return std::uniform_int_distribution<std::uint64_t>(0, limit - 1)(engine_);
  }
  // low … high
  std::uint64_t between(std::uint64_t low, std::uint64_t high) { return low + below(high - low + 1); }
  bool chance(unsigned percent) { return below(100) < percent; }
  double unit() { return std::uniform_real_distribution<double>(0, 1)(engine_); }
  // Small numbers often, numbers up to `high` sometimes.
  std::uint64_t skewed(std::uint64_t high) {
    const std::uint64_t cap = high >> below(64 - static_cast<std::uint64_t>(__builtin_clzll(high | 1U)));
    return below(cap + 1);
  }
  std::string text(std::size_t length) {
    std::string out(length, '\0');
    for (std::size_t i = 0; i < length; i += 8) {
      std::uint64_t word = bits();
      for (std::size_t j = i; j < length && j < i + 8; ++j, word >>= 8U) out[j] = static_cast<char>(word);
    }
    return out;
  }
  std::mt19937_64& engine() { return engine_; }

 private:
  static std::uint64_t fresh_seed() {
    if (const char* text = std::getenv("LRUFS_TEST_SEED"); text != nullptr)
      return std::strtoull(text, nullptr, 10);
    return std::random_device{}();
  }
  std::uint64_t seed_;
  std::mt19937_64 engine_;
};

}  // namespace lrufs::test
