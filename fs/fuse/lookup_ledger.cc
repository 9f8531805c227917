#include "fs/fuse/lookup_ledger.h"

#include <functional>

namespace lrufs::fs::fuse {
namespace {

constexpr unsigned kUnitShift = 16;  // 65 µs

std::uint64_t units(LookupLedger::Time now) {
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now.time_since_epoch()).count();
  return static_cast<std::uint64_t>(ns) >> kUnitShift;
}

}  // namespace

std::uint64_t LookupLedger::word(Found found, std::uint64_t parent, std::string_view name,
                                 std::uint32_t thread, Time now) {
  const std::uint64_t who = (parent * 0x9E3779B97F4A7C15ULL) ^ (static_cast<std::uint64_t>(thread) << 32U);
  const std::uint64_t hash = (std::hash<std::string_view>{}(name) ^ who) * 0xD6E8FEB86659FD93ULL;
  constexpr std::uint64_t kTimeMask = (1ULL << kTimeBits) - 1;
  return (hash >> (kTimeBits + kFoundBits) << (kTimeBits + kFoundBits)) |
         static_cast<std::uint64_t>(found) << kTimeBits | (units(now) & kTimeMask);
}

bool LookupLedger::is_recent(std::uint64_t word, Time now) {
  constexpr std::uint64_t kTimeMask = (1ULL << kTimeBits) - 1;
  constexpr std::uint64_t kWindow =
      static_cast<std::uint64_t>(std::chrono::nanoseconds(kOneCall).count()) >> kUnitShift;
  return ((units(now) - word) & kTimeMask) <= kWindow;
}

void LookupLedger::settle(std::uint64_t word) {
  if (word == 0) return;
  const bool hit = (word >> kTimeBits & 3U) == static_cast<std::uint64_t>(Found::kFile);
  (hit ? hits_ : misses_).fetch_add(1, std::memory_order_relaxed);
}

void LookupLedger::looked_up(Found found, std::uint64_t parent, std::string_view name, std::uint32_t thread,
                             Time now) {
  settle(slot_of(thread).exchange(word(found, parent, name, thread, now), std::memory_order_relaxed));
}

void LookupLedger::changed(std::uint64_t parent, std::string_view name, std::uint32_t thread, Time now) {
  std::atomic<std::uint64_t>& slot = slot_of(thread);
  std::uint64_t seen = slot.load(std::memory_order_relaxed);
  const std::uint64_t mine = word(Found::kFile, parent, name, thread, now);
  constexpr unsigned kRest = kTimeBits + kFoundBits;
  if (seen == 0 || seen >> kRest != mine >> kRest || !is_recent(seen, now)) return;
  slot.compare_exchange_strong(seen, 0, std::memory_order_relaxed);  // or it was settled meanwhile
}

LookupLedger::Counts LookupLedger::counts(Time now) {
  for (auto& slot : slots_) {
    std::uint64_t seen = slot.load(std::memory_order_relaxed);
    if (seen == 0 || is_recent(seen, now)) continue;
    if (slot.compare_exchange_strong(seen, 0, std::memory_order_relaxed)) settle(seen);
  }
  return {hits_.load(std::memory_order_relaxed), misses_.load(std::memory_order_relaxed)};
}

}  // namespace lrufs::fs::fuse
