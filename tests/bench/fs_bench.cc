// The same work on several folders side by side: usually the disk's own file system, tmpfs and a mount of
// lrufs.
//
//     fs_bench [--files N] [--rounds N] [--big MIB] [--fsyncs N] [--cold NAME=COMMAND] NAME=FOLDER...
//
// Plain system calls from one thread. Each operation runs on one folder after the other before the next
// operation starts, the order of the folders turns from round to round, and the median of the rounds counts:
// the machine's noise hits all of them. Prints a Markdown table with the last folder's times relative to each
// of the others; raw figures go to stderr. "Cold" is measured after sync, the folder's --cold command (for
// lrufs: unmount and mount) and drop_caches (root only).
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

namespace {

struct Settings {
  long files = 20'000;
  long rounds = 3;
  long big_mib = 1024;
  long fsyncs = 500;
};

struct Folder {
  std::string name;
  std::string path;
  std::string cold_command;
};

constexpr size_t kSmall = 4096;
constexpr size_t kChunk = 1 << 20;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "fs_bench: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

void check(bool good, const std::string& what) {
  if (!good) die(what);
}

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

// One folder's part of the work. Every member function is one operation; all return the number of things
// done.
class Work {
 public:
  Work(const Folder& folder, const Settings& settings) : folder_(folder), settings_(settings) {
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
    check(unlink((folder_.path + "/big").c_str()) == 0, "unlink big");
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
    const int fd = open((folder_.path + "/big").c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
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
    const int fd = open((folder_.path + "/big").c_str(), O_RDONLY | O_CLOEXEC);
    check(fd >= 0, "open big");
    for (long n = 0; n < settings_.big_mib; ++n) {
      check(read(fd, buffer.data(), kChunk) == static_cast<ssize_t>(kChunk), "read big");
    }
    close(fd);
    return settings_.big_mib;
  }
  // Caches that only a remount or the kernel can empty. False where that is not allowed.
  bool make_cold() {
    close_folder();
    sync();
    if (!folder_.cold_command.empty()) {
      check(std::system(folder_.cold_command.c_str()) == 0, folder_.cold_command);
    }
    const int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    const bool dropped = fd >= 0 && write(fd, "3", 1) == 1;
    if (fd >= 0) close(fd);
    open_folder();
    return dropped;
  }

 private:
  std::string path() const { return folder_.path + "/files"; }

  const Folder& folder_;
  const Settings& settings_;
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
  return {
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
               "usage: fs_bench [--files N] [--rounds N] [--big MIB] [--fsyncs N] [--cold NAME=COMMAND] "
               "NAME=FOLDER...\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  std::vector<Folder> folders;
  std::map<std::string, std::string> cold_commands;
  for (int n = 1; n < argc; ++n) {
    const std::string argument = argv[n];
    const std::map<std::string_view, long*> numbers = {{"--files", &settings.files},
                                                       {"--rounds", &settings.rounds},
                                                       {"--big", &settings.big_mib},
                                                       {"--fsyncs", &settings.fsyncs}};
    if (const auto found = numbers.find(argument); found != numbers.end()) {
      if (n + 1 == argc) return usage();
      *found->second = std::strtol(argv[++n], nullptr, 10);
      if (*found->second <= 0) return usage();
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
  for (long round = 0; round < settings.rounds; ++round) {
    std::vector<Work> works;
    works.reserve(folders.size());
    for (const Folder& folder : folders) works.emplace_back(folder, settings).begin();
    for (size_t o = 0; o < all.size(); ++o) {
      for (size_t turn = 0; turn < folders.size(); ++turn) {
        const size_t f = (turn + static_cast<size_t>(round)) % folders.size();
        Work& work = works[f];
        if (all[o].cold && !work.make_cold()) continue;
        if (all[o].before) all[o].before(work);
        sync();  // nobody pays for what another one left to be written
        const auto start = std::chrono::steady_clock::now();
        const long count = all[o].run(work);
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        figures[o][f].push_back(seconds.count() / static_cast<double>(count));
        std::fprintf(stderr, "round %ld: %s: %s: %s\n", round + 1, all[o].name.c_str(),
                     folders[f].name.c_str(), shown(all[o], figures[o][f].back()).c_str());
      }
    }
    for (Work& work : works) work.end();
  }
  print_table(all, folders, figures);
  return 0;
}
