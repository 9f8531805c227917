// The store against its peers, by the same work with the same durability on the same disk:
//
//     store_bench [--row NAME]... [--small] FOLDER
//
// In each row the candidates take turns, round by round, and the median of the rounds' ratios counts: the
// machine's noise hits all of them. Prints one JSON object a line; scripts/bench_store.sh makes a table of
// them.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include "peers/peer.h"
#include "workload.h"

namespace lrufs::bench {

namespace {

namespace filesystem = std::filesystem;

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::uint64_t kGiB = 1024 * kMiB;

bool small = false;
std::uint64_t scaled(std::uint64_t count) { return small ? std::max<std::uint64_t>(count / 20, 8) : count; }
std::string top;  // everything happens below it

// --- results
// --------------------------------------------------------------------------------------------------------
struct Goal {
  const char* row;
  std::optional<double> value;  // none: for information
  bool at_least = true;         // or at most
  const char* unit = "x";
};

void report(const Goal& goal, const std::string& what, const std::string& peer, double value, double ours,
            double theirs, const char* unit) {
  std::printf(
      R"({"row": "%s", "case": "%s", "peer": "%s", "goal": %s, "at_least": %s, "unit": "%s", "value": %.4g, )"
      R"("ours": %.4g, "theirs": %.4g, "of": "%s"})"
      "\n",
      goal.row, what.c_str(), peer.c_str(), goal.value ? std::to_string(*goal.value).c_str() : "null",
      goal.at_least ? "true" : "false", goal.unit, value, ours, theirs, unit);
  std::fflush(stdout);
}

// --- candidates
// -----------------------------------------------------------------------------------------------------
struct Candidate {
  std::string name;
  std::unique_ptr<Peer> peer;
  std::vector<double> seconds;
};

std::string fresh_folder(const std::string& name) {
  const std::string folder = top + "/" + name;
  filesystem::remove_all(folder);
  filesystem::create_directories(folder);
  return folder;
}

Candidate candidate(const std::string& name, const Open& open, Setup setup) {
  setup.folder = fresh_folder(name);
  return {name, open(setup), {}};
}

void put(Peer& peer, std::uint64_t number, std::size_t size, std::uint64_t version = 0) {
  char buffer[21];
  peer.put(key_of(number, buffer), value_of(number + version, size));
}

using Work = std::function<void(Peer&, int round, unsigned thread)>;
void race(std::vector<Candidate>& all, int rounds, unsigned threads, const Work& work) {
  for (Candidate& each : all) each.seconds.clear();
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      Candidate& each = all[(i + static_cast<std::size_t>(round)) % all.size()];
      each.seconds.push_back(timed(threads, [&](unsigned thread) { work(*each.peer, round, thread); }));
    }
  }
}

// After a race: the first one's rate as a multiple of each of the others'.
void report_rates(const std::vector<Candidate>& all, const std::vector<Goal>& goals, const std::string& what,
                  double operations) {
  const Candidate& ours = all.front();
  for (std::size_t i = 1; i < all.size(); ++i) {
    std::vector<double> ratios;
    for (std::size_t round = 0; round < ours.seconds.size(); ++round)
      ratios.push_back(all[i].seconds[round] / ours.seconds[round]);
    report(goals[i - 1], what, all[i].name, median(ratios), operations / median(ours.seconds),
           operations / median(all[i].seconds), "op/s");
  }
}

std::string text_of(std::size_t size) {
  return size >= kMiB   ? std::to_string(size / kMiB) + " MiB"
         : size >= kKiB ? std::to_string(size / kKiB) + " KiB"
                        : std::to_string(size) + " B";
}
std::string text_of(Spread spread, unsigned threads) {
  return std::string(spread == Spread::kUniform ? ", uniform, " : ", Zipf, ") + std::to_string(threads) +
         (threads == 1 ? " thread" : " threads");
}

// --- rows
// -----------------------------------------------------------------------------------------------------------

// Get from memory and put without sync: filling, getting, overwriting.
void hot(std::size_t size, std::uint64_t objects) {
  const std::vector<Goal> get_goals = {{"get, hot", 1.0}, {"get, hot", {}}};
  const std::vector<Goal> put_goals = {{"put, not synced", 1.5}, {"put, not synced", {}}};
  const Setup setup{"", 16 * kGiB, false, 4};
  std::vector<Candidate> all;
  all.push_back(candidate("lrufs", open_lrufs, setup));
  all.push_back(candidate("LMDB", open_lmdb, setup));
  all.push_back(candidate("RocksDB", open_rocksdb, setup));
  constexpr int kSteps = 10;
  race(all, kSteps, 1, [&](Peer& peer, int round, unsigned) {
    for (std::uint64_t i = 0; i < objects / kSteps; ++i)
      put(peer, static_cast<unsigned>(round) * (objects / kSteps) + i, size);
  });
  objects = objects / kSteps * kSteps;
  report_rates(all, put_goals, text_of(size) + ", new keys, 1 thread", static_cast<double>(objects) / kSteps);
  for (Candidate& each : all) each.peer->sync();

  constexpr int kRounds = 7;
  for (const bool getting : {true, false}) {
    const std::size_t operations = (getting ? 200'000 : 60'000) / (size > kKiB ? 3 : 1) / (small ? 10 : 1);
    for (const Spread spread : {Spread::kUniform, Spread::kZipf}) {
      for (const unsigned threads : {1U, 4U}) {
        const auto order = numbers(spread, objects, operations, 7 + threads);
        const auto work = [&](Peer& peer, int round, unsigned thread) {
          char buffer[21];
          std::string value;
          for (std::size_t i = thread; i < operations; i += threads) {
            const std::uint64_t number = (order[i] + static_cast<unsigned>(round) * 7919U) % objects;
            if (!getting)
              put(peer, number, size, static_cast<unsigned>(round));
            else if (!peer.get(thread, key_of(number, buffer), value) || value.size() != size)
              die("a value is missing");
          }
        };
        race(all, 1, threads, work);  // warm-up
        race(all, kRounds, threads, work);
        report_rates(all, getting ? get_goals : put_goals, text_of(size) + text_of(spread, threads),
                     static_cast<double>(operations));
      }
    }
  }
}

void row_hot() {
  hot(100, scaled(1'000'000));
  hot(4 * kKiB, scaled(200'000));
}

void row_sync() {
  constexpr unsigned kThreads = 8;
  const std::vector<Goal> goals = {{"put + sync, 8 threads", 3.0}, {"put + sync, 8 threads", {}}};
  for (const std::size_t size : {std::size_t{100}, std::size_t{4 * kKiB}}) {
    const Setup setup{"", 4 * kGiB, true, kThreads};
    std::vector<Candidate> all;
    all.push_back(candidate("lrufs", open_lrufs, setup));
    all.push_back(candidate("LMDB", open_lmdb, setup));
    all.push_back(candidate("RocksDB", open_rocksdb, setup));
    const std::uint64_t each = scaled(80);
    race(all, 7, kThreads, [&](Peer& peer, int round, unsigned thread) {
      for (std::uint64_t i = 0; i < each; ++i)
        put(peer, (static_cast<unsigned>(round) * kThreads + thread) * each + i, size);
    });
    report_rates(all, goals, text_of(size), static_cast<double>(each * kThreads));
  }
}

// Each put of a new key evicts; against a store that holds as much and has room, and against the persistent
// cache.
void row_full() {
  const std::vector<Goal> goals = {{"put, evicting at each", 0.8}, {"put, evicting at each", 5.0}};
  const std::uint64_t bound = small ? 16 * kMiB : 64 * kMiB;
  for (const std::size_t size : {std::size_t{100}, std::size_t{4 * kKiB}}) {
    std::vector<Candidate> all;
    all.push_back(candidate("lrufs", open_lrufs, {"", bound, false, 1}));
    all.push_back(candidate("with room", open_lrufs, {"", 8 * kGiB, false, 1}));
    all.push_back(candidate("persistent-cache", open_persistent_cache,
                            {"", static_cast<std::uint64_t>(bound), false, 1}));
    const std::uint64_t filled = bound / (size + 20) * 5 / 4;
    for (Candidate& each : all) {
      for (std::uint64_t i = 0; i < filled; ++i) put(*each.peer, i, size);
    }
    char buffer[21];
    std::string value;
    if (all[0].peer->get(0, key_of(0, buffer), value) || !all[1].peer->get(0, key_of(0, buffer), value))
      die("the full store is not full, or the one with room is");
    const std::uint64_t step = scaled(20'000);
    race(all, 7, 1, [&](Peer& peer, int round, unsigned) {
      for (std::uint64_t i = 0; i < step; ++i)
        put(peer, filled + static_cast<unsigned>(round) * step + i, size);
    });
    report_rates(all, goals, text_of(size), static_cast<double>(step));
  }
}

void row_big() {
  const std::vector<Goal> goals = {{"1 MiB values", 0.8}, {"1 MiB values", {}}};
  constexpr int kRounds = 9;
  const std::uint64_t step = scaled(96);
  const Setup setup{"", 16 * kGiB, false, 1};
  std::vector<Candidate> all;
  all.push_back(candidate("lrufs", open_lrufs, setup));
  all.push_back(candidate("file", open_plain_file, setup));
  all.push_back(candidate("LMDB", open_lmdb, setup));
  for (const char* what : {"write, new", "read", "write, again"}) {
    race(all, kRounds, 1, [&](Peer& peer, int round, unsigned) {
      char buffer[21];
      std::string value;
      for (std::uint64_t i = 0; i < step; ++i) {
        const std::uint64_t number = static_cast<unsigned>(round) * step + i;
        if (std::strcmp(what, "read") != 0)
          put(peer, number, kMiB);
        else if (!peer.get(0, key_of(number, buffer), value) || value.size() != kMiB)
          die("a value is missing");
      }
    });
    report_rates(all, goals, what, static_cast<double>(step));
    for (Candidate& each : all) each.peer->sync();
  }
}

// In a child process: what `work` answers; nothing of it stays in this one.
double in_child(const std::function<double()>& work) {
  int ends[2];
  if (::pipe(ends) != 0) die("pipe failed");
  const pid_t child = ::fork();
  if (child < 0) die("fork failed");
  if (child == 0) {
    const double answer = work();
    const bool told = ::write(ends[1], &answer, sizeof answer) == static_cast<ssize_t>(sizeof answer);
    std::_Exit(told ? 0 : 1);
  }
  ::close(ends[1]);
  double answer = 0;
  const bool told = ::read(ends[0], &answer, sizeof answer) == static_cast<ssize_t>(sizeof answer);
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!told) die("a child process failed");
  return answer;
}

// Bytes of pages that this process made dirty and that went, or must go, to the disk: unlike the disk's own
// counter it is not disturbed by others, but does not have the file system's journal.
double bytes_written() {
  std::ifstream file("/proc/self/io");
  std::string name;
  double value = 0;
  while (file >> name >> value) {
    if (name == "write_bytes:") return value;
  }
  die("/proc/self/io has no write_bytes");
}

// 4,000 random overwrites a second, as it were, with a checkpoint each 5 s; without the waiting.
void row_amplification() {
  const std::uint64_t objects = scaled(50'000);
  const std::uint64_t puts = scaled(20'000);
  constexpr int kCheckpoints = 6;
  const auto measure = [&](const std::string& name, const Open& open) {
    return in_child([&] {
      Candidate one = candidate(name, open, {"", 4 * kGiB, false, 1});
      for (std::uint64_t i = 0; i < objects; ++i) put(*one.peer, i, 4 * kKiB);
      one.peer->sync();
      const double before = bytes_written();
      for (int checkpoint = 0; checkpoint < kCheckpoints; ++checkpoint) {
        const auto order = numbers(Spread::kUniform, objects, puts, static_cast<unsigned>(checkpoint));
        for (const std::uint32_t number : order)
          put(*one.peer, number, 4 * kKiB, static_cast<unsigned>(checkpoint));
        one.peer->sync();
      }
      return (bytes_written() - before) / (static_cast<double>(puts) * kCheckpoints * 4 * kKiB);
    });
  };
  const double ours = measure("lrufs", open_lrufs);
  const Goal goal{"bytes written", 1.0, false};
  for (const auto& [name, open] :
       {std::pair<const char*, Open>{"LMDB", open_lmdb}, {"RocksDB", open_rocksdb}}) {
    const double theirs = measure(name, open);
    report(goal, "a byte put, 4 KiB", name, ours / theirs, ours, theirs, "B/B");
  }
}

double disk_mb(const std::string& folder) {
  double blocks = 0;
  for (const auto& entry : filesystem::recursive_directory_iterator(folder)) {
    struct stat st {};
    if (::stat(entry.path().c_str(), &st) == 0) blocks += static_cast<double>(st.st_blocks);
  }
  return blocks * 512 / 1e6;
}

void row_space() {
  const std::uint64_t objects = scaled(1'000'000);
  const auto measure = [&](const std::string& name, const Open& open) {
    Candidate one = candidate(name, open, {"", 4 * kGiB, false, 1});
    for (std::uint64_t i = 0; i < objects; ++i) put(*one.peer, i, 100);
    one.peer->sync();
    one.peer.reset();
    return disk_mb(top + "/" + name);
  };
  const double ours = measure("lrufs", open_lrufs);
  report({"space", static_cast<double>(objects) * 300 / 1e6, false, "MB"},
         std::to_string(objects) + " x 100 B", "", ours, ours, 0, "MB");
  for (const auto& [name, open] :
       {std::pair<const char*, Open>{"LMDB", open_lmdb}, {"RocksDB", open_rocksdb}}) {
    const double theirs = measure(name, open);
    report({"space", {}, false, "MB"}, std::to_string(objects) + " x 100 B", name, theirs, ours, theirs,
           "MB");
  }
}

double seconds_to_open(const Setup& setup) {
  return timed(1, [&](unsigned) { (void)open_lrufs(setup).release(); });
}

void row_large() {
  const std::uint64_t objects = scaled(10'000'000);
  const Setup large{fresh_folder("large"), 24 * kGiB, false, 1};
  const Setup little{fresh_folder("little"), 24 * kGiB, false, 1};
  const auto fill = [](const Setup& setup, std::uint64_t count) {
    const auto peer = open_lrufs(setup);
    for (std::uint64_t i = 0; i < count; ++i) put(*peer, i, 100);
  };
  fill(large, objects);
  fill(little, 10'000);
  const std::string what = std::to_string(objects) + " objects";
  const auto clean = in_child([&] { return seconds_to_open(large); });
  report({"open", 0.1, false, "s"}, what + ", clean", "", clean, clean, 0, "s");

  // Killed after 5 s of random puts without a checkpoint, the interval's worst case.
  const pid_t child = ::fork();
  if (child == 0) {
    const auto peer = open_lrufs(large);
    const auto order = numbers(Spread::kUniform, objects, 1'000'000, 3);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    for (std::size_t i = 0; std::chrono::steady_clock::now() < end; ++i)
      put(*peer, order[i % order.size()], 100, 1);
    (void)std::raise(SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
  const double killed = in_child([&] { return seconds_to_open(large); });
  report({"open", 1.0, false, "s"}, what + ", after SIGKILL", "", killed, killed, 0, "s");

  std::vector<Candidate> all;
  all.push_back({"large", open_lrufs(large), {}});
  all.push_back({"10,000 objects", open_lrufs(little), {}});
  constexpr std::size_t kOperations = 50'000;
  for (const bool getting : {true, false}) {
    const auto work = [&](Peer& peer, int round, unsigned thread) {
      const std::uint64_t count = &peer == all[0].peer.get() ? objects : 10'000;
      const auto order = numbers(Spread::kUniform, count, kOperations, static_cast<unsigned>(round));
      char buffer[21];
      std::string value;
      for (const std::uint32_t number : order) {
        if (!getting)
          put(peer, number, 100, static_cast<unsigned>(round));
        else if (!peer.get(thread, key_of(number, buffer), value))
          die("a value is missing");
      }
    };
    race(all, 2, 1, work);
    race(all, 7, 1, work);
    std::vector<double> ratios;
    for (std::size_t round = 0; round < all[0].seconds.size(); ++round)
      ratios.push_back(all[0].seconds[round] / all[1].seconds[round]);
    report({"cost at size", 2.0, false}, std::string(getting ? "get" : "put") + ", " + what, "10,000 objects",
           median(ratios), median(all[0].seconds) / kOperations * 1e6,
           median(all[1].seconds) / kOperations * 1e6, "us");
  }
}

struct Row {
  const char* name;
  void (*run)();
};
constexpr Row kRows[] = {{"hot", row_hot},
                         {"sync", row_sync},
                         {"full", row_full},
                         {"big", row_big},
                         {"amplification", row_amplification},
                         {"space", row_space},
                         {"large", row_large}};

int run(const std::vector<std::string>& arguments) {
  std::vector<std::string> wanted;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--small") {
      small = true;
    } else if (arguments[i] == "--row" && i + 1 < arguments.size()) {
      wanted.push_back(arguments[++i]);
      if (std::none_of(std::begin(kRows), std::end(kRows),
                       [&](const Row& row) { return wanted.back() == row.name; }))
        die("no row '" + wanted.back() + "'; there are hot, sync, full, big, amplification, space and large");
    } else {
      top = arguments[i];
    }
  }
  if (top.empty()) die("usage: store_bench [--row NAME]... [--small] FOLDER");
  for (const Row& row : kRows) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), row.name) == wanted.end()) continue;
    std::fprintf(stderr, "store_bench: %s\n", row.name);
    row.run();
    for (const auto& entry : filesystem::directory_iterator(top)) filesystem::remove_all(entry.path());
  }
  return 0;
}

}  // namespace

}  // namespace lrufs::bench

int main(int argc, char** argv) { return lrufs::bench::run({argv + 1, argv + argc}); }
