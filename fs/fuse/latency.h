// Latency: a histogram of durations, in fixed buckets.
//
// Thread-safety: all functions, from any thread, without a lock. What values() returns may lack requests that
// end meanwhile; a bucket never counts down.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace lrufs::fs::fuse {

class Latency {
 public:
  // Upper bounds of the buckets, inclusive; one more bucket takes what is above.
  static constexpr std::array<std::uint64_t, 20> kBoundsMicroseconds = {
      5,      10,     20,     50,      100,     200,     500,       1'000,     2'000,     5'000,
      10'000, 20'000, 50'000, 100'000, 200'000, 500'000, 1'000'000, 2'000'000, 5'000'000, 10'000'000};
  static constexpr std::size_t kBuckets = kBoundsMicroseconds.size() + 1;

  struct Values {
    std::array<std::uint64_t, kBuckets> buckets{};  // each by itself, not cumulative
    std::uint64_t count = 0;                        // their sum
    std::uint64_t nanoseconds = 0;                  // sum of the durations
  };

  void add(std::chrono::nanoseconds duration) {
    const auto ns = static_cast<std::uint64_t>(duration.count() < 0 ? 0 : duration.count());
    buckets_.at(bucket_of(ns)).fetch_add(1, std::memory_order_relaxed);
    nanoseconds_.fetch_add(ns, std::memory_order_relaxed);
  }
  [[nodiscard]] Values values() const {
    Values out;
    for (std::size_t i = 0; i < kBuckets; ++i) {
      out.buckets.at(i) = buckets_.at(i).load(std::memory_order_relaxed);
      out.count += out.buckets.at(i);
    }
    out.nanoseconds = nanoseconds_.load(std::memory_order_relaxed);
    return out;
  }
  static constexpr std::size_t bucket_of(std::uint64_t nanoseconds) {
    std::size_t i = 0;  // most requests end in one of the first few
    while (i < kBoundsMicroseconds.size() && nanoseconds > kBoundsMicroseconds.at(i) * 1000) ++i;
    return i;
  }

 private:
  std::array<std::atomic<std::uint64_t>, kBuckets> buckets_{};
  std::atomic<std::uint64_t> nanoseconds_{0};
};

}  // namespace lrufs::fs::fuse
