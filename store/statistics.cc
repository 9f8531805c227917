#include "store/statistics.h"

namespace lrufs::store {

std::string_view eviction_reason_name(EvictionReason reason) {
  switch (reason) {
    case EvictionReason::kCapacity:
      return "capacity";
    case EvictionReason::kMaxFiles:
      return "max_files";
    case EvictionReason::kExpiry:
      return "expiry";
    case EvictionReason::kRequest:
      return "request";
  }
  return "unknown";
}

}  // namespace lrufs::store
