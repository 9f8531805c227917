// lrufs bench: a short measurement of this machine, on stores of its own that are removed again.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cmd/interrupt.h"
#include "cmd/live_mount.h"
#include "cmd/mount_table.h"
#include "cmd/os.h"
#include "cmd/output.h"
#include "cmd/preflight.h"
#include "cmd/progress.h"
#include "cmd/stream.h"
#include "cmd/units.h"
#include "cmd/verbs.h"
#include "fs/fuse/mount_point.h"
#include "store/store.h"

namespace lrufs::cmd {
namespace {

using nlohmann::json;
using store::Bytes;
using store::Code;
using store::fail;
using store::Result;
using store::Status;
using Clock = std::chrono::steady_clock;

struct Arguments {
  std::string target = ".";
  std::string size = "64M";
  bool store_only = false;
  bool json = false;
};

// One kind of work: so many operations took so long.
struct Measured {
  std::string on;    // "store", "mount"
  std::string what;  // "put 4 KiB"
  std::uint64_t operations = 0;
  std::uint64_t bytes = 0;  // of each
  double seconds = 0;
  std::uint64_t evicted = 0;
};

// A folder of its own, removed with what is in it, whatever happens (SIGKILL apart).
class Workshop {
 public:
  static Result<std::unique_ptr<Workshop>> create(const std::string& beside) {
    std::string path = beside + "/.lrufs-bench.XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) {
      return fail(Code::kIo,
                  "cannot make a folder in " + shown(beside) + ": " + errno_text(errno) +
                      ". Name one where you may: lrufs bench FOLDER",
                  errno);
    }
    return std::unique_ptr<Workshop>(new Workshop(path));
  }
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;
  ~Workshop() {
    std::error_code ignored;
    if (is_mounted()) {
      (void)fs::fuse::detach(mount_point(), true);
      // The daemon closes the store before the file is taken away, so that it does not complain.
      wait_until(std::chrono::seconds(30), [&] { return !store_is_locked(store()); });
    }
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string store() const { return path_ + "/store.lrufs"; }
  [[nodiscard]] std::string mount_point() const { return path_ + "/mnt"; }
  [[nodiscard]] std::string log() const { return path_ + "/log"; }

 private:
  explicit Workshop(std::string path) : path_(std::move(path)) {}
  [[nodiscard]] bool is_mounted() const {
    const auto table = read_mount_table();
    return table && mount_at(*table, mount_point()) != nullptr;
  }
  std::string path_;
};

class Bench {
 public:
  Bench(const Workshop& workshop, std::uint64_t bound)
      : workshop_(workshop), bound_(bound), progress_("bench", Progress::Unit::kObjects, 0) {
    std::mt19937_64 random(1);
    for (std::byte& byte : data_) byte = static_cast<std::byte>(random());
  }

  Status on_store() {
    store::Options options;
    options.bound = bound_;
    LRUFS_TRY_ASSIGN(const auto store, store::Store::open(workshop_.store(), options));
    const std::uint64_t small = small_files();
    LRUFS_TRY(measure("store", "put 4 KiB", small, kSmall,
                      [&](std::uint64_t i) { return store->put(small_key(i), some(kSmall)); }));
    std::mt19937_64 random(2);
    std::string value;
    LRUFS_TRY(measure("store", "get 4 KiB", small, kSmall,
                      [&](std::uint64_t) { return store->get(small_key(random() % small), value); }));
    LRUFS_TRY(measure("store", "checkpoint", 1, 0, [&](std::uint64_t) { return store->checkpoint(); }));
    // Twice what fits: each one makes others go.
    const std::uint64_t before = store->statistics().evicted_objects;
    LRUFS_TRY(measure("store", "put 1 MiB, full", 2 * bound_ / kLarge, kLarge, [&](std::uint64_t i) {
      return store->put("large/" + std::to_string(i), some(kLarge));
    }));
    LRUFS_TRY(measure("store", "put 4 KiB, full", small, kSmall,
                      [&](std::uint64_t i) { return store->put("again/" + small_key(i), some(kSmall)); }));
    results_.back().evicted = store->statistics().evicted_objects - before;
    return store->close();
  }

  Status on_mount() {
    if (::mkdir(workshop_.mount_point().c_str(), 0700) != 0)
      return fail(Code::kIo, "cannot make a mount point: " + errno_text(errno), errno);
    LRUFS_TRY(run_self({"mount", "--size", std::to_string(bound_), "--log", workshop_.log(),
                        workshop_.store(), workshop_.mount_point()}));
    const std::uint64_t count = small_files() / 4;
    const std::string folder = workshop_.mount_point() + "/bench";
    if (::mkdir(folder.c_str(), 0700) != 0) return fail(Code::kIo, "mkdir: " + errno_text(errno), errno);
    const auto path = [&](std::uint64_t i) { return folder + "/" + std::to_string(i); };
    LRUFS_TRY(measure("mount", "create, write 4 KiB, close", count, kSmall, [&](std::uint64_t i) -> Status {
      const Descriptor file(::open(path(i).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
      if (!file || ::write(file.get(), data_.data(), kSmall) != static_cast<ssize_t>(kSmall))
        return failed("write");
      return {};
    }));
    LRUFS_TRY(measure("mount", "open, read 4 KiB, close", count, kSmall, [&](std::uint64_t i) -> Status {
      std::array<char, kSmall> buffer{};
      const Descriptor file(::open(path(i).c_str(), O_RDONLY | O_CLOEXEC));
      if (!file || ::read(file.get(), buffer.data(), buffer.size()) < 0) return failed("read");
      return {};
    }));
    // The first one asks the daemon, since writing has changed what the kernel knew.
    for (const char* what : {"stat, first", "stat, hot"}) {
      LRUFS_TRY(measure("mount", what, count, 0, [&](std::uint64_t i) -> Status {
        struct stat seen {};
        return ::stat(path(i).c_str(), &seen) == 0 ? Status{} : failed("stat");
      }));
    }
    return run_self({"umount", workshop_.mount_point()});
  }

  [[nodiscard]] const std::vector<Measured>& results() const { return results_; }

 private:
  static constexpr std::size_t kSmall = 4096;
  static constexpr std::size_t kLarge = 1U << 20U;

  // A quarter of the store, as they lie in it.
  [[nodiscard]] std::uint64_t small_files() const { return bound_ / 4 / (2 * kSmall); }
  static std::string small_key(std::uint64_t i) { return std::to_string(i % 16) + "/" + std::to_string(i); }
  // Different pieces of random bytes, so that nothing below can pack them.
  Bytes some(std::size_t size) {
    offset_ = (offset_ + 64) % kLarge;
    return Bytes(data_).subspan(offset_, size);
  }
  static Status failed(const char* what) {
    return fail(Code::kIo,
                std::string("a file on the mount of the measurement: ") + what + ": " + errno_text(errno),
                errno);
  }

  Status measure(const char* on, const char* what, std::uint64_t operations, std::uint64_t bytes,
                 const std::function<Status(std::uint64_t)>& operation) {
    const auto started = Clock::now();
    for (std::uint64_t i = 0; i < operations; ++i) {
      LRUFS_TRY(operation(i));
      if (i % 64 != 0) continue;
      LRUFS_TRY(not_interrupted());
      progress_.add(64);
    }
    results_.push_back({.on = on,
                        .what = what,
                        .operations = operations,
                        .bytes = bytes,
                        .seconds = std::chrono::duration<double>(Clock::now() - started).count(),
                        .evicted = 0});
    return {};
  }

  static Status run_self(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "lrufs");
    std::vector<char*> raw;
    for (std::string& argument : arguments) raw.push_back(argument.data());
    raw.push_back(nullptr);
    const pid_t child = ::fork();
    if (child < 0) return fail(Code::kIo, "fork(2): " + errno_text(errno), errno);
    if (child == 0) {
      ::execv("/proc/self/exe", raw.data());
      ::_exit(127);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    LRUFS_TRY(not_interrupted());
    return fail(Code::kIo, "lrufs " + arguments.at(1) + " failed (exit status " +
                               std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : -1) +
                               "); --store-only leaves the mount out");
  }

  const Workshop& workshop_;
  std::uint64_t bound_;
  Progress progress_;
  std::vector<std::byte> data_ = std::vector<std::byte>(2 * kLarge);
  std::size_t offset_ = 0;
  std::vector<Measured> results_;
};

void print(const std::vector<Measured>& results) {
  std::printf("%-7s %-28s %10s %12s %14s\n", "on", "what", "times", "each", "a second");
  for (const Measured& one : results) {
    const double each = one.seconds / static_cast<double>(one.operations);
    const double rate = 1 / each;
    const std::string a_second =
        one.bytes >= (1U << 20U)
            ? format_size(static_cast<std::uint64_t>(rate * static_cast<double>(one.bytes)))
            : format_count(static_cast<std::uint64_t>(rate));
    // By columns, not bytes: "µ" has two.
    std::string time =
        format_duration(std::chrono::microseconds(static_cast<std::int64_t>(each * 1e6 + 0.5)));
    if (each < 100e-6) {
      std::array<char, 32> text{};
      std::snprintf(text.data(), text.size(), "%.2f us", each * 1e6);
      time = text.data();
    } else if (each < 1e-3) {
      time = std::to_string(static_cast<std::int64_t>(each * 1e6 + 0.5)) + " us";
    }
    std::printf("%-7s %-28s %10s %12s %14s\n", one.on.c_str(), one.what.c_str(),
                format_count(one.operations).c_str(), time.c_str(), a_second.c_str());
    if (one.evicted != 0)
      std::printf("%-7s %-28s %10s\n", one.on.c_str(), "  evicted, while full",
                  format_count(one.evicted).c_str());
  }
  std::printf("One thread; what is written is synced by checkpoints only; what is read is in memory.\n");
}

json to_json(const std::vector<Measured>& results, const std::string& folder, std::uint64_t bound,
             const std::string& left_out) {
  json out = {{"folder", folder}, {"bound_bytes", bound}, {"results", json::array()}};
  for (const Measured& one : results) {
    json entry = {{"on", one.on},
                  {"what", one.what},
                  {"operations", one.operations},
                  {"bytes_each", one.bytes},
                  {"seconds", one.seconds}};
    if (one.evicted != 0) entry["evicted"] = one.evicted;
    out["results"].push_back(std::move(entry));
  }
  if (!left_out.empty()) out["mount_left_out"] = left_out;
  return out;
}

// Beside a file, or in a folder.
Result<std::string> folder_of(const std::string& target) {
  const std::string path = absolute_path(target);
  struct stat attributes {};
  if (::stat(path.c_str(), &attributes) != 0)
    return fail(Code::kNotFound, "cannot look at " + shown(path) + ": " + errno_text(errno), errno);
  return S_ISDIR(attributes.st_mode) ? path : parent_of(path);
}

// With less, the store would make do with what there is, and something else would be measured.
Status check_room(const std::string& folder, std::uint64_t bound) {
  struct statvfs disk {};
  if (::statvfs(folder.c_str(), &disk) != 0)
    return fail(Code::kIo, "cannot look at the disk of " + shown(folder) + ": " + errno_text(errno), errno);
  const std::uint64_t room = std::uint64_t{disk.f_bavail} * disk.f_frsize;
  if (room >= bound + bound / 8) return {};
  return fail(Code::kNoSpace, "the disk of " + shown(folder) + " has " + format_size(room) +
                                  " of free space, which is not enough for a store of " + format_size(bound) +
                                  ": --size makes it smaller");
}

Status bench(const Arguments& arguments, std::uint64_t bound) {
  LRUFS_TRY_ASSIGN(const std::string folder, folder_of(arguments.target));
  LRUFS_TRY(check_room(folder, bound));
  const InterruptScope scope;
  std::vector<Measured> results;
  {
    LRUFS_TRY_ASSIGN(const auto workshop, Workshop::create(folder));
    Bench bench(*workshop, bound);
    LRUFS_TRY(bench.on_store());
    results = bench.results();
  }
  std::string left_out = arguments.store_only ? "--store-only" : "";
  if (left_out.empty()) {
    if (const Status may = check_may_mount(folder, false); !may) left_out = store::describe(may.error());
  }
  if (left_out.empty()) {
    LRUFS_TRY_ASSIGN(const auto workshop, Workshop::create(folder));
    Bench bench(*workshop, bound);
    LRUFS_TRY(bench.on_mount());
    results.insert(results.end(), bench.results().begin(), bench.results().end());
  }
  if (arguments.json) {
    std::printf("%s\n", to_text(to_json(results, folder, bound, left_out), 2).c_str());
    return {};
  }
  print(results);
  if (!left_out.empty()) std::printf("No mount was measured: %s\n", left_out.c_str());
  return {};
}

}  // namespace

Verb add_bench(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app =
      program.add_subcommand("bench", "Measure this machine for some seconds, on a store of its own");
  app->group(kStoresGroup);
  app->add_option("TARGET", arguments->target,
                  "A folder, or a file in it: where the disk is that is to be\nmeasured (default: here)")
      ->type_name("");
  app->add_option("--size", arguments->size, "Bound of the store that is made for it")
      ->type_name("SIZE")
      ->capture_default_str();
  app->add_flag("--store-only", arguments->store_only, "Leave the mount out");
  app->add_flag("--json", arguments->json, "Print the results as JSON (seconds, bytes)");
  app->footer(
      "Makes a temporary folder there, with a store and, where mounting is possible, a mount, and\n"
      "removes it at the end, also after ^C. TARGET itself is not touched. \"full\" is work in a full\n"
      "store, where each file makes others go.\n\n"
      "Exit codes: 0 done, 1 failed, 2 wrong use.\n\n"
      "Examples:\n  lrufs bench /var/cache\n  lrufs bench --size 1G --json cache.lrufs");
  return {app, [arguments]() -> int {
            const auto bound = parse_size("--size", arguments->size);
            if (!bound) return report(bound.error(), kUsage);
            if (*bound < (16U << 20U))
              return report({Code::kInvalid, "--size '" + arguments->size + "' is too small: at least 16M"},
                            kUsage);
            const Status done = bench(*arguments, *bound);
            return done ? kOk : report(done.error());
          }};
}

}  // namespace lrufs::cmd
