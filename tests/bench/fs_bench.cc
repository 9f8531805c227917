// The same work on several folders side by side: usually the disk's own file system, tmpfs and a mount of
// lrufs.
//
//     fs_bench [--clients N] [--files N] [--rounds N] [--big MIB] [--fsyncs N] [--busy N] [--quiet SECONDS]
//              [--only TEXT] [--cold NAME=COMMAND] NAME=FOLDER...
//
// Plain system calls from --clients processes (default 1), each in a folder of its own; they share the work,
// and the time is that of one operation, the work's duration divided by all that was done. Each operation
// runs on one folder after the other before the next operation starts, the order of the folders turns from
// round to round, and the median of the rounds counts: the machine's noise hits all of them. Prints a
// Markdown table with the last folder's times relative to each of the others; raw figures go to stderr.
// "Cold" is measured after sync, the folder's --cold command (for lrufs: unmount and mount) and drop_caches
// (root only). --only: the operations whose name holds TEXT (and create, and unlink). --big 0: no big files.
//
// --busy: as many processes that do nothing but use a core. --quiet: before each measurement, wait this long
// at most until nothing else runs on the machine; how often that was so is printed.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "clients.h"

namespace {

using bench::check;

struct Settings {
  long clients = 1;
  long files = 20'000;
  long rounds = 3;
  long big_mib = 1024;
  long fsyncs = 500;
  long busy = 0;
  long quiet = 0;
  std::string only;
};

struct Folder {
  std::string name;
  std::string path;
  std::string cold_command;
};

constexpr size_t kSmall = 4096;
constexpr size_t kChunk = 1 << 20;

// Random bytes, so that nothing on the way can make less of them.
const std::string& noise() {
  static const std::string bytes = [] {
    std::mt19937_64 random(1);
    std::string made(kChunk, '\0');
    for (size_t at = 0; at < made.size(); at += sizeof(uint64_t)) {
      const uint64_t value = random();
      std::memcpy(made.data() + at, &value, sizeof value);
    }
    return made;
  }();
  return bytes;
}

std::string name_of(long number) { return "file" + std::to_string(number); }

void write_small(int folder, const char* name) {
  const int fd = openat(folder, name, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
  check(fd >= 0, std::string("create ") + name);
  check(write(fd, noise().data(), kSmall) == static_cast<ssize_t>(kSmall), "write");
  check(close(fd) == 0, "close");
}

// One client's part of the work in one folder. Every member function is one operation; all return the number
// of things done.
class Work {
 public:
  // `settings` are those of this client: its share.
  Work(const Folder& folder, const Settings& settings, long client)
      : folder_(folder), settings_(settings), client_(client) {
    names_.reserve(static_cast<size_t>(settings.files));
    for (long n = 0; n < settings.files; ++n) names_.push_back(name_of(n));
    shuffled_ = names_;
    std::shuffle(shuffled_.begin(), shuffled_.end(), std::mt19937(7));
  }

  // A round starts with an empty folder.
  void begin() {
    check(mkdir(path().c_str(), 0755) == 0, "mkdir " + path());
    open_folder();
  }
  void end() {
    close_folder();
    unlink(big().c_str());
    check(rmdir(path().c_str()) == 0, "rmdir " + path());
  }
  void close_folder() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  void open_folder() {
    fd_ = open(path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(fd_ >= 0, "open " + path());
  }

  long create() {
    for (const std::string& name : names_) write_small(fd_, name.c_str());
    return settings_.files;
  }
  long stat_all() {
    struct stat seen;
    for (const std::string& name : shuffled_)
      check(fstatat(fd_, name.c_str(), &seen, 0) == 0, "stat " + name);
    return settings_.files;
  }
  long read_all() {
    char buffer[2 * kSmall];
    for (const std::string& name : shuffled_) {
      const int fd = openat(fd_, name.c_str(), O_RDONLY | O_CLOEXEC);
      check(fd >= 0, "open " + name);
      check(read(fd, buffer, sizeof buffer) == static_cast<ssize_t>(kSmall), "read " + name);
      check(close(fd) == 0, "close " + name);
    }
    return settings_.files;
  }
  long list() {
    const int fd = openat(fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* dir = fd < 0 ? nullptr : fdopendir(fd);
    check(dir != nullptr, "opendir");
    long count = 0;
    struct stat seen;
    while (const dirent* entry = readdir(dir)) {
      if (entry->d_name[0] == '.') continue;
      check(fstatat(fd, entry->d_name, &seen, AT_SYMLINK_NOFOLLOW) == 0, "stat");
      ++count;
    }
    closedir(dir);
    errno = 0;
    check(count == settings_.files, "list: " + std::to_string(count) + " names");
    return count;
  }
  long replace() {
    const size_t count = std::max<size_t>(1, shuffled_.size() / 4);
    for (size_t n = 0; n < count; ++n) {
      write_small(fd_, "temporary");
      check(renameat(fd_, "temporary", fd_, shuffled_[n].c_str()) == 0, "rename");
    }
    return static_cast<long>(count);
  }
  long sync_new() {
    for (long n = 0; n < settings_.fsyncs; ++n) {
      const std::string name = "sync" + std::to_string(n);
      const int fd = openat(fd_, name.c_str(), O_CREAT | O_WRONLY | O_EXCL | O_CLOEXEC, 0644);
      check(fd >= 0, "create " + name);
      check(write(fd, noise().data(), kSmall) == static_cast<ssize_t>(kSmall), "write");
      check(fsync(fd) == 0, "fsync");
      close(fd);
    }
    return settings_.fsyncs;
  }
  void remove_synced() {
    for (long n = 0; n < settings_.fsyncs; ++n) unlinkat(fd_, ("sync" + std::to_string(n)).c_str(), 0);
  }
  long unlink_all() {
    for (const std::string& name : shuffled_) check(unlinkat(fd_, name.c_str(), 0) == 0, "unlink " + name);
    return settings_.files;
  }
  long write_big(bool sync) {
    const int fd = open(big().c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
    check(fd >= 0, "create big");
    for (long n = 0; n < settings_.big_mib; ++n) {
      check(write(fd, noise().data(), kChunk) == static_cast<ssize_t>(kChunk), "write big");
    }
    if (sync) check(fsync(fd) == 0, "fsync big");
    check(close(fd) == 0, "close big");
    return settings_.big_mib;
  }
  long read_big() {
    static std::string buffer(kChunk, '\0');
    const int fd = open(big().c_str(), O_RDONLY | O_CLOEXEC);
    check(fd >= 0, "open big");
    for (long n = 0; n < settings_.big_mib; ++n) {
      check(read(fd, buffer.data(), kChunk) == static_cast<ssize_t>(kChunk), "read big");
    }
    close(fd);
    return settings_.big_mib;
  }
  // Caches that only a remount or the kernel can empty. False where that is not allowed.
  static bool make_cold(std::vector<Work>& works) {
    for (Work& work : works) work.close_folder();
    const Folder& folder = works.front().folder_;
    sync();
    if (!folder.cold_command.empty()) {
      check(std::system(folder.cold_command.c_str()) == 0, folder.cold_command);
    }
    const int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    const bool dropped = fd >= 0 && write(fd, "3", 1) == 1;
    if (fd >= 0) close(fd);
    for (Work& work : works) work.open_folder();
    return dropped;
  }

 private:
  std::string path() const { return folder_.path + "/files" + std::to_string(client_); }
  std::string big() const { return folder_.path + "/big" + std::to_string(client_); }

  const Folder& folder_;
  const Settings& settings_;
  const long client_;
  std::vector<std::string> names_, shuffled_;
  int fd_ = -1;
};

struct Operation {
  std::string name;
  enum Unit { kMicroseconds, kMebibytes } unit;
  bool cold;
  std::function<long(Work&)> run;
  std::function<void(Work&)> before;  // not measured
};

std::vector<Operation> operations(const Settings& settings) {
  const std::string big = settings.big_mib % 1024 == 0 ? std::to_string(settings.big_mib / 1024) + " GiB"
                                                       : std::to_string(settings.big_mib) + " MiB";
  using Op = Operation;
  const auto warm = [](Work& w) {
    w.stat_all();
    w.read_all();
    w.list();
  };
  const std::vector<Op> all = {
      {"create, write 4 KiB, close", Op::kMicroseconds, false, [](Work& w) { return w.create(); }, {}},
      {"stat, hot", Op::kMicroseconds, false, [](Work& w) { return w.stat_all(); }, warm},
      {"open, read 4 KiB, close, hot", Op::kMicroseconds, false, [](Work& w) { return w.read_all(); }, {}},
      {"list with attributes, hot (per name)",
       Op::kMicroseconds,
       false,
       [](Work& w) { return w.list(); },
       {}},
      {"stat, cold", Op::kMicroseconds, true, [](Work& w) { return w.stat_all(); }, {}},
      {"open, read 4 KiB, close, cold", Op::kMicroseconds, true, [](Work& w) { return w.read_all(); }, {}},
      {"list with attributes, cold (per name)",
       Op::kMicroseconds,
       true,
       [](Work& w) { return w.list(); },
       {}},
      {"write temporary, rename over", Op::kMicroseconds, false, [](Work& w) { return w.replace(); }, {}},
      {"create, write 4 KiB, fsync", Op::kMicroseconds, false, [](Work& w) { return w.sync_new(); }, {}},
      {"unlink", Op::kMicroseconds, false, [](Work& w) { return w.unlink_all(); },
       [](Work& w) { w.remove_synced(); }},
      {"write " + big + " in sequence",
       Op::kMebibytes,
       false,
       [](Work& w) { return w.write_big(false); },
       {}},
      {"write " + big + " in sequence, fsync",
       Op::kMebibytes,
       false,
       [](Work& w) { return w.write_big(true); },
       {}},
      {"read " + big + " in sequence, hot", Op::kMebibytes, false, [](Work& w) { return w.read_big(); },
       [](Work& w) { w.read_big(); }},
      {"read " + big + " in sequence, cold", Op::kMebibytes, true, [](Work& w) { return w.read_big(); }, {}},
  };
  std::vector<Op> chosen;
  for (const Op& op : all) {
    // The others need the files, and a round ends without them.
    const bool always = op.name.starts_with("create, write 4 KiB, close") || op.name == "unlink";
    if (op.unit == Op::kMebibytes && settings.big_mib == 0) continue;
    if (always || op.name.find(settings.only) != std::string::npos) chosen.push_back(op);
  }
  return chosen;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// Seconds of each round, by operation and folder. Empty where it could not be measured.
using Figures = std::vector<std::vector<std::vector<double>>>;

std::string text(const char* format, double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, format, value);
  return buffer;
}

std::string shown(const Operation& operation, double seconds_each) {
  if (operation.unit == Operation::kMebibytes) return text("%.0f MiB/s", 1 / seconds_each);
  const double us = seconds_each * 1e6;
  return text(us < 10 ? "%.2f µs" : us < 100 ? "%.1f µs" : "%.0f µs", us);
}

void print_table(const std::vector<Operation>& all, const std::vector<Folder>& folders,
                 const Figures& figures) {
  std::string head = "| |", line = "|---|";
  for (const Folder& folder : folders) {
    head += " " + folder.name + " |";
    line += "---:|";
  }
  for (size_t f = 0; f + 1 < folders.size(); ++f) {
    head += " time relative to " + folders[f].name + " |";
    line += "---:|";
  }
  std::printf("%s\n%s\n", head.c_str(), line.c_str());
  for (size_t o = 0; o < all.size(); ++o) {
    std::string row = "| " + all[o].name + " |";
    std::vector<std::optional<double>> medians;
    for (const std::vector<double>& rounds : figures[o]) {
      medians.push_back(rounds.empty() ? std::nullopt : std::optional(median(rounds)));
      row += " " + (medians.back() ? shown(all[o], *medians.back()) : "-") + " |";
    }
    for (size_t f = 0; f + 1 < folders.size(); ++f) {
      const bool both = medians[f] && medians.back();
      const double ratio = both ? *medians.back() / *medians[f] : 0;
      row += " " + (both ? text(ratio < 10 ? "%.2f" : "%.0f", ratio) : "-") + " |";
    }
    std::printf("%s\n", row.c_str());
  }
}

int usage() {
  std::fprintf(stderr,
               "usage: fs_bench [--clients N] [--files N] [--rounds N] [--big MIB] [--fsyncs N] [--busy N] "
               "[--quiet SECONDS] [--only TEXT] [--cold NAME=COMMAND] NAME=FOLDER...\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  std::vector<Folder> folders;
  std::map<std::string, std::string> cold_commands;
  for (int n = 1; n < argc; ++n) {
    const std::string argument = argv[n];
    const std::map<std::string_view, long*> numbers = {
        {"--clients", &settings.clients}, {"--busy", &settings.busy},     {"--quiet", &settings.quiet},
        {"--files", &settings.files},     {"--rounds", &settings.rounds}, {"--big", &settings.big_mib},
        {"--fsyncs", &settings.fsyncs}};
    if (const auto found = numbers.find(argument); found != numbers.end()) {
      if (n + 1 == argc) return usage();
      *found->second = std::strtol(argv[++n], nullptr, 10);
      const bool may_be_none = argument == "--big" || argument == "--busy" || argument == "--quiet";
      if (*found->second < (may_be_none ? 0 : 1)) return usage();
      continue;
    }
    if (argument == "--only") {
      if (n + 1 == argc) return usage();
      settings.only = argv[++n];
      continue;
    }
    const bool cold = argument == "--cold";
    if (cold && n + 1 == argc) return usage();
    const std::string pair = cold ? argv[++n] : argument;
    const size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0 || (!cold && pair[0] == '-')) return usage();
    if (cold) {
      cold_commands[pair.substr(0, equals)] = pair.substr(equals + 1);
    } else {
      folders.push_back({pair.substr(0, equals), pair.substr(equals + 1), {}});
    }
  }
  if (folders.empty()) return usage();
  for (Folder& folder : folders) folder.cold_command = cold_commands[folder.name];

  const std::vector<Operation> all = operations(settings);
  Figures figures(all.size(), std::vector<std::vector<double>>(folders.size()));
  Settings share = settings;
  for (long* const part : {&share.files, &share.fsyncs}) *part = std::max(1L, *part / settings.clients);
  if (settings.big_mib != 0) share.big_mib = std::max(1L, settings.big_mib / settings.clients);
  long measured = 0, quiet = 0;
  const bench::BusyCores busy(settings.busy);
  for (long round = 0; round < settings.rounds; ++round) {
    std::vector<std::vector<Work>> works(folders.size());
    for (size_t f = 0; f < folders.size(); ++f) {
      for (long client = 0; client < settings.clients; ++client)
        works[f].emplace_back(folders[f], share, client).begin();
    }
    for (size_t o = 0; o < all.size(); ++o) {
      for (size_t turn = 0; turn < folders.size(); ++turn) {
        const size_t f = (turn + static_cast<size_t>(round)) % folders.size();
        if (all[o].cold && !Work::make_cold(works[f])) continue;
        for (Work& work : works[f]) {
          if (all[o].before) all[o].before(work);
        }
        sync();  // nobody pays for what another one left to be written
        const bool was_quiet = settings.quiet != 0 && bench::wait_until_quiet(settings.quiet, settings.busy);
        ++measured;
        quiet += was_quiet ? 1 : 0;
        const bench::Done done =
            bench::run_clients(works[f].size(), [&](size_t n) { return all[o].run(works[f][n]); });
        figures[o][f].push_back(done.seconds / static_cast<double>(done.count));
        std::fprintf(stderr, "round %ld: %s: %s: %s%s\n", round + 1, all[o].name.c_str(),
                     folders[f].name.c_str(), shown(all[o], figures[o][f].back()).c_str(),
                     was_quiet ? " (quiet)" : "");
      }
    }
    for (std::vector<Work>& clients : works) {
      for (Work& work : clients) work.end();
    }
  }
  print_table(all, folders, figures);
  if (settings.quiet != 0) std::printf("\nOn a quiet machine: %ld of %ld measurements.\n", quiet, measured);
  return 0;
}
