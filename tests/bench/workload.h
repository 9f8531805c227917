// What all candidates of a benchmark share: keys, their order, values, and the race itself.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace lrufs::bench {

// The finalizer of splitmix64 (https://prng.di.unimi.it/splitmix64.c).
inline std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31U);
}

// A name of 20 bytes, "ab/cdef0123-00000042": 256 folders named after the first byte of a hash, as git and
// ccache lay their objects out, then more of the hash, so that the order of making is not the order of names.
inline std::string_view key_of(std::uint64_t number, char (&buffer)[21]) {
  constexpr char kHex[] = "0123456789abcdef";
  std::uint64_t hash = mix(number);
  char* to = buffer;
  for (int i = 0; i < 10; ++i, hash >>= 4U) {
    *to++ = kHex[hash & 15U];
    if (i == 1) *to++ = '/';
  }
  *to = '-';
  for (char* digit = buffer + 19; digit > to; --digit, number /= 10)
    *digit = static_cast<char>('0' + number % 10);
  buffer[20] = '\0';
  return {buffer, 20};
}

enum class Spread : std::uint8_t { kUniform, kZipf };

// `count` numbers below `objects`. Zipf: by J. Gray et al., "Quickly generating billion-record synthetic
// databases" (SIGMOD 1994), as YCSB does it, theta 0.99, with the ranks scattered over the objects.
inline std::vector<std::uint32_t> numbers(Spread spread, std::uint64_t objects, std::size_t count,
                                          std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::uint32_t> out(count);
  if (spread == Spread::kUniform) {
    for (auto& number : out) number = static_cast<std::uint32_t>(random() % objects);
    return out;
  }
  constexpr double kTheta = 0.99;
  const auto n = static_cast<double>(objects);
  double zeta = 0;
  for (std::uint64_t i = 1; i <= objects; ++i) zeta += 1 / std::pow(static_cast<double>(i), kTheta);
  const double zeta2 = 1 + std::pow(0.5, kTheta);
  const double alpha = 1 / (1 - kTheta);
  const double eta = (1 - std::pow(2 / n, 1 - kTheta)) / (1 - zeta2 / zeta);
  std::uniform_real_distribution<double> unit(0, 1);
  for (auto& number : out) {
    const double u = unit(random);
    const double rank = u * zeta < 1 ? 0 : u * zeta < zeta2 ? 1 : n * std::pow(eta * u - eta + 1, alpha);
    number = static_cast<std::uint32_t>(mix(static_cast<std::uint64_t>(rank)) % objects);
  }
  return out;
}

// Noise, so that nothing on the way can make less of it: a window into it that depends on `number`.
inline std::string_view value_of(std::uint64_t number, std::size_t size) {
  static const std::string noise = [] {
    std::string bytes(3U << 20U, '\0');
    std::mt19937_64 random(1);
    for (char& byte : bytes) byte = static_cast<char>(random());
    return bytes;
  }();
  return std::string_view(noise).substr(mix(number) % (noise.size() - size), size);
}

// Seconds that `work(thread)` takes on `threads` threads at once.
inline double timed(unsigned threads, const std::function<void(unsigned)>& work) {
  const auto start = std::chrono::steady_clock::now();
  if (threads == 1) {
    work(0);
  } else {
    std::vector<std::thread> pool;
    for (unsigned thread = 0; thread < threads; ++thread) pool.emplace_back(work, thread);
    for (std::thread& thread : pool) thread.join();
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace lrufs::bench
