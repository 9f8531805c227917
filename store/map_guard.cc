#include "store/map_guard.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <mutex>

#include "store/lazy_memory.h"

namespace lrufs::store {

// Ranges are never freed, only used again: the handler walks their list without a lock.
struct MapGuard::Range {
  std::atomic<bool> taken{false};
  std::atomic<std::uintptr_t> begin{0};  // of the map; 0: guards nothing
  std::atomic<std::uintptr_t> end{0};
  int fd = -1;
  int protection = PROT_NONE;
  LazyMemory memory;
  std::atomic<std::uint64_t>* bits = nullptr;  // a bit a page, in memory
  std::atomic<std::uint64_t> losses{0};
  std::atomic<std::uint64_t> pages{0};          // bits that are set
  std::atomic<std::uint64_t> lost_from{~0ULL};  // all pages from here on are lost
  Range* next = nullptr;

  [[nodiscard]] bool holds(std::uintptr_t address) const {
    return address >= begin.load(std::memory_order_acquire) && address < end.load(std::memory_order_acquire);
  }

  void note(std::uint64_t page) {
    const std::uint64_t bit = 1ULL << (page % 64);
    if ((bits[page / 64].fetch_or(bit) & bit) == 0) pages.fetch_add(1);
    losses.fetch_add(1);
  }

  // Signal-safe. False if the page could not be replaced.
  [[nodiscard]] bool replace(std::uintptr_t address) {
    const std::uintptr_t start = begin.load();
    std::uint64_t first = (address - start) / kPageSize;
    std::uint64_t count = 1;
    struct stat st {};
    const std::uint64_t file_pages =
        ::fstat(fd, &st) == 0 ? pages_for(static_cast<std::uint64_t>(st.st_size)) : ~0ULL;
    const bool cut_off = first >= file_pages;
    if (cut_off || pages.load() >= kMaxSinglePages) {
      first = cut_off ? file_pages : 0;
      count = (end.load() - start) / kPageSize - first;
      for (std::uint64_t seen = lost_from.load();
           first < seen && !lost_from.compare_exchange_weak(seen, first);) {
      }
      losses.fetch_add(1);
    } else {
      note(first);
    }
    void* page = reinterpret_cast<void*>(start + first * kPageSize);  // NOLINT(performance-no-int-to-ptr)
    return ::mmap(page, count * kPageSize, protection,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == page;
  }
};

namespace {

std::atomic<MapGuard::Range*> ranges{nullptr};
struct sigaction previous_action {};

void pass_on(int signal, siginfo_t* info, void* context) {
  if ((previous_action.sa_flags & SA_SIGINFO) != 0) {
    previous_action.sa_sigaction(signal, info, context);
  } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(signal);
  } else {
    // Back to the default: the access is repeated, and ends the process, as it would have without us.
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    ::sigaction(signal, &action, nullptr);
    if (info->si_code <= 0) ::raise(signal);  // sent by a process: nothing is repeated
  }
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  bool replaced = false;
  if (info->si_code > 0) {  // of the kernel
    for (MapGuard::Range* range = ranges.load(std::memory_order_acquire); range != nullptr && !replaced;
         range = range->next)
      replaced = range->holds(address) && range->replace(address);
  }
  if (!replaced) pass_on(signal, info, context);
  errno = saved;
}

void install_handler() {
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, &previous_action);
}

MapGuard::Range* free_range() {
  for (MapGuard::Range* range = ranges.load(); range != nullptr; range = range->next) {
    if (!range->taken.exchange(true)) return range;
  }
  auto* range = new MapGuard::Range;  // NOLINT(cppcoreguidelines-owning-memory): lives as long as the process
  range->taken.store(true);
  range->next = ranges.load();
  while (!ranges.compare_exchange_weak(range->next, range)) {
  }
  return range;
}

}  // namespace

namespace {

std::size_t bit_bytes(std::uint64_t bytes) { return (pages_for(bytes) + 63) / 64 * 8; }

}  // namespace

MapGuard::MapGuard(std::byte* base, std::uint64_t bytes, int fd, bool writable, std::uint64_t reach)
    : range_(free_range()), losses_(&range_->losses) {
  static std::once_flag installed;
  std::call_once(installed, install_handler);
  range_->fd = fd;
  range_->protection = PROT_READ | (writable ? PROT_WRITE : 0);
  range_->memory = LazyMemory::with_reach(bit_bytes(bytes), bit_bytes(std::max(bytes, reach)));
  range_->bits = static_cast<std::atomic<std::uint64_t>*>(range_->memory.data());
  range_->losses.store(0);
  range_->pages.store(0);
  range_->lost_from.store(~0ULL);
  const auto begin = reinterpret_cast<std::uintptr_t>(base);
  range_->begin.store(begin);
  range_->end.store(begin + pages_for(bytes) * kPageSize, std::memory_order_release);
}

bool MapGuard::widen(std::uint64_t bytes) {
  if (!range_->memory.widen(bit_bytes(bytes))) return false;
  range_->end.store(range_->begin.load() + pages_for(bytes) * kPageSize, std::memory_order_release);
  return true;
}

MapGuard::~MapGuard() {
  range_->end.store(0);
  range_->begin.store(0);
  range_->memory = LazyMemory();
  range_->taken.store(false);
}

std::uint64_t MapGuard::lost_pages() const { return range_->pages.load(); }

bool MapGuard::lost(PageNo first, std::uint64_t count) const {
  if (losses() == 0) return false;
  if (raw(first) + count > range_->lost_from.load()) return true;
  for (std::uint64_t page = raw(first); page < raw(first) + count; ++page) {
    if (((range_->bits[page / 64].load() >> (page % 64)) & 1U) != 0) return true;
  }
  return false;
}

void MapGuard::note(PageNo page) { range_->note(raw(page)); }

}  // namespace lrufs::store
