// How long the slowest of many creates into a full cache take: p50, p99, p99.9, the longest, and what
// happened beside the ten longest of those that kept their core. By the store's own interface, or in a
// folder: a mount, or another file system.
//   tail_bench store FILE [CREATES [BYTES [BOUND_MIB [MAX_FILES]]]]     makes FILE, and removes it
//   tail_bench folder DIR [CREATES [BYTES]]                             an lrufs mount that is full, or any
// CREATES (100,000) files of BYTES (1,000) each, after as many that fill the store. On a busy machine the
// longest ones are those that lost their core, or that wait for a thread that did.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "store/bytes.h"
#include "store/store.h"

namespace {

using lrufs::store::Options;
using lrufs::store::Statistics;
using lrufs::store::Store;
using Clock = std::chrono::steady_clock;

[[noreturn]] void die(const std::string& text) {
  std::fprintf(stderr, "tail_bench: %s\n", text.c_str());
  std::exit(1);  // NOLINT(concurrency-mt-unsafe)
}

// How often the scheduler took this thread its core away.
long preemptions() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

struct Slow {
  double microseconds = 0;
  std::size_t at = 0;
  Statistics before, after;
};

void report(const char* which, std::vector<double>& times) {
  if (times.empty()) return;
  std::sort(times.begin(), times.end());
  const auto at = [&](double part) {
    return times[std::min(times.size() - 1,
                          static_cast<std::size_t>(part * static_cast<double>(times.size())))];
  };
  double sum = 0;
  for (const double time : times) sum += time;
  std::printf(
      "%zu creates%s: mean %.1f  p50 %.1f  p99 %.1f  p99.9 %.1f  p99.99 %.1f  max %.1f us; max/p50 %.0f\n",
      times.size(), which, sum / static_cast<double>(times.size()), at(0.5), at(0.99), at(0.999), at(0.9999),
      times.back(), times.back() / at(0.5));
}

void measure(std::size_t count, const std::function<void(std::size_t)>& create,
             const std::function<Statistics()>& statistics) {
  for (std::size_t i = 0; i < count; ++i) create(i);
  std::vector<double> times;
  times.reserve(count);
  std::vector<double> undisturbed;
  std::vector<Slow> slowest;
  long lost = preemptions();
  Statistics before = statistics ? statistics() : Statistics{};
  for (std::size_t i = 0; i < count; ++i) {
    const auto start = Clock::now();
    create(count + i);
    const double took = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
    times.push_back(took);
    const long lost_now = preemptions();
    if (lost_now == lost) undisturbed.push_back(took);
    const bool disturbed = std::exchange(lost, lost_now) != lost_now;
    if (!statistics || disturbed || (slowest.size() == 10 && took < slowest.back().microseconds)) continue;
    const Statistics now = statistics();
    slowest.push_back({took, i, before, now});
    std::sort(slowest.begin(), slowest.end(),
              [](const Slow& a, const Slow& b) { return a.microseconds > b.microseconds; });
    if (slowest.size() > 10) slowest.pop_back();
    before = now;
  }
  report("", times);
  report(" that kept their core", undisturbed);
  for (const Slow& slow : slowest) {
    std::printf(
        "  %9.1f us at %zu: since the one noted before it %llu checkpoints, %llu waits for room, %llu "
        "evicted, grown by %llu KiB\n",
        slow.microseconds, slow.at,
        static_cast<unsigned long long>(slow.after.checkpoints - slow.before.checkpoints),
        static_cast<unsigned long long>(slow.after.room_waits - slow.before.room_waits),
        static_cast<unsigned long long>(slow.after.evicted_objects - slow.before.evicted_objects),
        static_cast<unsigned long long>((slow.after.file_bytes - slow.before.file_bytes) / 1024));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int at, std::size_t otherwise) {
    return argc > at ? static_cast<std::size_t>(std::atoll(argv[at])) : otherwise;
  };
  if (argc < 3) die("usage: tail_bench store FILE | folder DIR [CREATES [BYTES [BOUND_MIB [MAX_FILES]]]]");
  const std::string target = argv[2];
  const std::size_t creates = number(3, 100'000);
  const std::string value(number(4, 1000), 'v');
  if (std::string(argv[1]) == "store") {
    Options options;
    options.bound = number(5, 64) << 20U;
    options.max_files = number(6, 0);
    auto opened = Store::open(target, options);
    if (!opened) die(describe(opened.error()));
    Store& store = **opened;
    measure(
        creates,
        [&](std::size_t i) {
          const auto done = store.put("f" + std::to_string(i), lrufs::store::as_bytes(value));
          if (!done) die(describe(done.error()));
        },
        [&] { return store.statistics(); });
    const Statistics s = store.statistics();
    std::printf("  %llu evicted, %llu waits for room, %llu checkpoints, %llu aborts of %llu commits\n",
                static_cast<unsigned long long>(s.evicted_objects),
                static_cast<unsigned long long>(s.room_waits), static_cast<unsigned long long>(s.checkpoints),
                static_cast<unsigned long long>(s.aborts), static_cast<unsigned long long>(s.commits));
    if (const auto closed = store.close(); !closed) die(describe(closed.error()));
    ::unlink(target.c_str());
    return 0;
  }
  measure(
      creates,
      [&](std::size_t i) {
        if (i % 1000 == 0) ::mkdir((target + "/d" + std::to_string(i / 1000)).c_str(), 0755);
        const std::string name = target + "/d" + std::to_string(i / 1000) + "/f" + std::to_string(i);
        const int fd = ::open(name.c_str(), O_CREAT | O_WRONLY | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0 || ::write(fd, value.data(), value.size()) != static_cast<ssize_t>(value.size()))
          die("cannot write " + name);
        ::close(fd);
      },
      nullptr);
  return 0;
}
