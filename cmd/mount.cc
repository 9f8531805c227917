// lrufs mount: checks everything, starts the daemon, and returns when the mount answers.
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cmd/daemonize.h"
#include "cmd/descriptor_store.h"
#include "cmd/logging.h"
#include "cmd/mount_table.h"
#include "cmd/os.h"
#include "cmd/preflight.h"
#include "cmd/serve.h"
#include "cmd/units.h"
#include "cmd/verbs.h"
#include "cmd/worker_command.h"
#include "fs/fuse/metrics_server.h"
#include "fs/fuse/mount_options.h"
#include "fs/fuse/run.h"
#include "fs/fuse/worker_link.h"

namespace lrufs::cmd {
namespace {

using fs::fuse::MountOptions;
using fs::fuse::RunOptions;
using store::Code;
using store::fail;
using store::Result;
using store::Status;

// The command line, not yet understood. Options that were not given are empty.
struct Arguments {
  std::string store;
  std::string mount_point;
  std::string size;
  std::string sync;
  std::string recency;
  std::string max_files;
  std::string ttl;
  std::string ttl_from;
  std::string max_file_size;
  std::string high;
  std::string low;
  std::string log;
  std::string log_level;
  std::string log_format;
  std::string metrics;
  std::vector<std::string> options;  // of -o
  bool trim = false;
  bool from_checkpoint = false;
  bool force = false;
  bool foreground = false;
  bool no_control = false;
  int supervise = 0;  // 1: --supervise, -1: --no-supervise
};

// Words of -o that are options of ours, for fstab: what the command line says itself wins. False: not one of
// ours.
bool take_own_word(Arguments& arguments, MountPointRules& rules, const std::string& word) {
  const std::size_t equals = word.find('=');
  const std::string name = word.substr(0, equals);
  if (equals == std::string::npos) {
    if (name == "trim") return arguments.trim = true;
    if (name == "from_checkpoint") return arguments.from_checkpoint = true;
    if (name == "force") return arguments.force = true;
    if (name == "supervise" || name == "no_supervise") {
      if (arguments.supervise == 0) arguments.supervise = name == "supervise" ? 1 : -1;
      return true;
    }
    if (name == "nonempty") return rules.allow_nonempty = true;
    return false;
  }
  const std::pair<const char*, std::string*> own[] = {
      {"size", &arguments.size},
      {"sync", &arguments.sync},
      {"recency", &arguments.recency},
      {"max_files", &arguments.max_files},
      {"log", &arguments.log},
      {"log_level", &arguments.log_level},
      {"ttl", &arguments.ttl},
      {"ttl_from", &arguments.ttl_from},
      {"log_format", &arguments.log_format},
      {"max_file_size", &arguments.max_file_size},
      {"high", &arguments.high},
      {"low", &arguments.low},
  };
  for (const auto& [own_name, value] : own) {
    if (name != own_name) continue;
    if (value->empty()) *value = word.substr(equals + 1);
    return true;
  }
  return false;
}

Status take_options(Arguments& arguments, MountPlan& plan) {
  for (const std::string& list : arguments.options) {
    for (const std::string& word : fs::fuse::split_mount_options(list)) {
      if (take_own_word(arguments, plan.rules, word)) continue;
      LRUFS_TRY_ASSIGN(const auto use, fs::fuse::apply_mount_word(plan.run.mount, word));
      if (use == fs::fuse::WordUse::kUnknown) {
        return fail(
            Code::kInvalid,
            "-o " + word +
                " is not known. lrufs takes size=, sync=, recency=, max_files=, max_file_size=, high=, "
                "low=, trim, ttl=, ttl_from=, log=, log_level=, log_format=, metrics=, no_control, "
                "no_confine, supervise, no_supervise, "
                "from_checkpoint, force and nonempty; the rest are the options of mount(8) and "
                "fuse(8), such as allow_other or ro");
      }
    }
  }
  return {};
}

Status take_sync(const std::string& text, store::Options& options) {
  using Sync = store::Options::Sync;
  if (text.empty()) return {};
  if (text == "always") {
    options.sync = Sync::kAlways;
  } else if (text == "unmount") {
    options.sync = Sync::kUnmount;
  } else {
    const auto interval = parse_duration("--sync", text);
    if (!interval || interval->count() < 1) {
      return fail(
          Code::kInvalid,
          "--sync '" + text + "' is neither a time, such as 5s or 500ms, nor \"always\" nor \"unmount\"");
    }
    options.sync = Sync::kInterval;
    options.sync_interval = *interval;
  }
  return {};
}

Status take_expiry(const Arguments& arguments, store::Options& options) {
  if (!arguments.ttl.empty()) {
    LRUFS_TRY_ASSIGN(const auto ttl, parse_duration("--ttl", arguments.ttl));
    options.default_ttl = static_cast<std::uint64_t>(ttl.count());
    if (options.default_ttl > store::kMaxTtl)
      return fail(Code::kInvalid, "--ttl '" + arguments.ttl + "' is too long: at most 36500d");
  }
  if (arguments.ttl_from.empty() || arguments.ttl_from == "write") return {};
  options.ttl_from_use = arguments.ttl_from == "use";
  if (options.ttl_from_use) return {};
  return fail(Code::kInvalid, "--ttl-from '" + arguments.ttl_from + "' is neither \"write\" nor \"use\"");
}

Result<std::uint32_t> take_percent(const char* option, const std::string& text) {
  if (text.empty()) return 0U;
  const std::string digits = text.back() == '%' ? text.substr(0, text.size() - 1) : text;
  const auto percent = parse_count(option, digits);
  if (!percent || *percent < 1 || *percent > 99) {
    return fail(Code::kInvalid, std::string(option) + " '" + text +
                                    "' is not a percentage from 1 to 99, of what the store may hold");
  }
  return static_cast<std::uint32_t>(*percent);
}

Status take_watermarks(const Arguments& arguments, store::Options& options) {
  LRUFS_TRY_ASSIGN(options.high, take_percent("--high", arguments.high));
  LRUFS_TRY_ASSIGN(options.low, take_percent("--low", arguments.low));
  if (options.high != 0 && options.low >= options.high) {
    return fail(Code::kInvalid, "--low " + arguments.low + " is not below --high " + arguments.high +
                                    ": eviction begins above the high mark and ends at the low one");
  }
  return {};
}

Result<bool> take_supervision(const Arguments& arguments, const MountOptions& mount) {
  const bool handed_over = descriptor_of(mount.mount_point) >= 0;
  if (arguments.supervise == 0) return !mount.io_uring && !handed_over;
  if (arguments.supervise < 0) return false;
  if (mount.io_uring) {
    return fail(
        Code::kInvalid,
        "--supervise and -o io_uring exclude each other: the kernel does not send requests again that are "
        "in flight on io_uring, so nobody could take over");
  }
  if (handed_over) {
    return fail(Code::kInvalid, "--supervise needs a mount point of its own: whoever hands over " +
                                    mount.mount_point + " has mounted, and keeps the mount");
  }
  return true;
}

Result<MountPlan> make_plan(Arguments arguments) {
  MountPlan plan;
  LRUFS_TRY(take_options(arguments, plan));
  store::Options& store = plan.run.store;
  fs::fuse::MountOptions& mount = plan.run.mount;
  const auto& worker = worker_command();
  mount.store = worker ? worker->store : absolute_path(arguments.store);
  mount.mount_point = worker ? worker->mount_point : absolute_path(arguments.mount_point);
  mount.foreground = arguments.foreground;
  mount.guard_program = "/proc/self/exe";
  store.read_only = mount.read_only;
  store.create = !mount.read_only;
  store.from_checkpoint = arguments.from_checkpoint;
  store.force = arguments.force;
  store.bound_given = !arguments.size.empty();
  if (store.bound_given) {
    LRUFS_TRY_ASSIGN(store.bound, parse_size("--size", arguments.size));
    if (store.bound < store::kMinBound) {
      return fail(Code::kBoundTooSmall, "--size '" + arguments.size +
                                            "' is too small: a store needs at least " +
                                            format_size(store::kMinBound));
    }
  }
  LRUFS_TRY(take_sync(arguments.sync, store));
  if (!arguments.recency.empty()) {
    LRUFS_TRY_ASSIGN(mount.recency, parse_duration("--recency", arguments.recency));
  }
  if (!arguments.max_files.empty()) {
    LRUFS_TRY_ASSIGN(store.max_files, parse_count("--max-files", arguments.max_files));
  }
  LRUFS_TRY(take_expiry(arguments, store));
  if (arguments.no_control) mount.control = false;
  if (!arguments.metrics.empty()) mount.metrics = arguments.metrics;
  if (!mount.metrics.empty()) LRUFS_TRY(fs::fuse::parse_metrics_address(mount.metrics));
  if (!arguments.max_file_size.empty()) {
    LRUFS_TRY_ASSIGN(plan.run.max_file_size, parse_size("--max-file-size", arguments.max_file_size));
    if (plan.run.max_file_size == 0)
      return fail(Code::kInvalid, "--max-file-size 0: no file could have content; leave it out for no limit");
  }
  LRUFS_TRY(take_watermarks(arguments, store));
  store.trim = arguments.trim;
  if (!arguments.log_level.empty()) plan.log.level = arguments.log_level;
  if (!arguments.log_format.empty()) plan.log.format = arguments.log_format;
  plan.log.target = arguments.log.empty() ? (arguments.foreground ? "stderr" : "syslog") : arguments.log;
  if (plan.log.target == "stderr" && !arguments.foreground) {
    return fail(
        Code::kInvalid,
        "--log stderr needs --foreground: in the background there is no stderr. Give a file, or syslog");
  }
  if (plan.log.target != "stderr" && plan.log.target != "syslog")
    plan.log.target = worker ? worker->log : absolute_path(plan.log.target);
  LRUFS_TRY_ASSIGN(plan.supervise, take_supervision(arguments, mount));
  return plan;
}

// A mount that the service manager has kept for us. What is no use any more is ended.
fs::fuse::KeptMount take_kept_mount(const MountPlan& plan) {
  fs::fuse::KeptMount kept = kept_descriptors();
  if (!kept.is_there()) return {};
  const Status fits = plan.supervise
                          ? fs::fuse::can_go_on(kept, plan.run.mount)
                          : Status(fail(Code::kInvalid, "it is to be mounted without a supervisor"));
  if (fits) return kept;
  std::fprintf(stderr, "lrufs: %s is mounted anew: the mount before cannot go on, since %s\n",
               plan.run.mount.mount_point.c_str(), describe(fits.error()).c_str());
  // Where it is: perhaps somewhere else than before.
  std::vector<std::string> places;
  const auto table = read_mount_table();
  for (const MountEntry& entry : table ? *table : MountTable()) {
    if (entry.device == fs::fuse::device_of(kept)) places.push_back(entry.mount_point);
  }
  fs::fuse::end_kept_mount(kept, places);
  drop_descriptors();
  return {};
}

Status check_all(const MountPlan& plan) {
  if (plan.kept.is_there())
    return {};  // it was mounted already, and nobody may ask the mount before it is served
  const fs::fuse::MountOptions& mount = plan.run.mount;
  LRUFS_TRY(check_store_path(mount.store, mount.read_only));
  LRUFS_TRY(prepare_mount_point(mount.mount_point, mount.store, plan.rules));
  LRUFS_TRY(check_may_mount(mount.mount_point, mount.allow_other || mount.allow_root));
  return wait_for_store(mount.store, mount.read_only);
}

int mount(const Arguments& arguments) {
  auto plan = make_plan(arguments);
  if (!plan) return report(plan.error(), kUsage);
  if (worker_command()) {
    ::close_range(fs::fuse::kConnectionFd + 1, ~0U, 0);  // what the supervisor has open for itself
    if (const Status logging = set_up_logging(plan->log); !logging) return report(logging.error());
    return serve_as_worker(std::move(*plan));
  }
  if (!plan->run.mount.foreground) close_inherited_descriptors(descriptor_of(plan->run.mount.mount_point));
  if (plan->run.mount.foreground) plan->kept = take_kept_mount(*plan);
  if (const Status fine = check_all(*plan); !fine) return report(fine.error());
  if (const Status logging = set_up_logging(plan->log); !logging) {
    return report(logging.error(), logging.error().code == Code::kInvalid ? kUsage : kFailed);
  }
  ::prctl(PR_SET_NAME, "lrufs");  // also when mount(8) called us by another name
  return plan->run.mount.foreground ? serve_in_foreground(std::move(*plan))
                                    : serve_in_background(std::move(*plan));
}

}  // namespace

Verb add_mount(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = program.add_subcommand(
      "mount", "Mount a store (made if it does not exist); returns when the mount answers");
  app->group(kMountsGroup);
  app->add_option("STORE", arguments->store, "The store: one file, on a local disk")
      ->required()
      ->type_name("");
  app->add_option("MOUNTPOINT", arguments->mount_point, "An empty folder")->required()->type_name("");
  app->add_option("--size", arguments->size,
                  "Bound of the store on disk, such as 512MiB or 10G\n"
                  "(default: what the store has; 10G for a new one)")
      ->type_name("SIZE");
  app->add_option("--sync", arguments->sync,
                  "When changes reach the disk: at intervals (default: 5s),\n"
                  "before each call returns, or only at unmount; fsync\n"
                  "works in each case")
      ->type_name("TIME|always|unmount");
  app->add_option("--recency", arguments->recency,
                  "How exact the order of use is for files that the kernel\n"
                  "has cached (default: 10s; 0: exact, slower)")
      ->type_name("TIME");
  app->add_option("--max-files", arguments->max_files, "Keep at most so many files (default: no limit)")
      ->type_name("N");
  app->add_option("--ttl", arguments->ttl,
                  "Files made from now on go after so long, as if deleted\n"
                  "(default: 0, never; for single files and folders: the\n"
                  "xattr user.lrufs.ttl)")
      ->type_name("TIME");
  app->add_option("--ttl-from", arguments->ttl_from,
                  "Counted from the last write (the default), or from the\nlast use")
      ->type_name("write|use");
  app->add_option("--max-file-size", arguments->max_file_size,
                  "Refuse larger files with EFBIG (default: no limit but the\n"
                  "store's size)")
      ->type_name("SIZE");
  app->add_option("--high", arguments->high,
                  "Evict in the background when more than so much of the\n"
                  "store is in use (default: as late as possible)")
      ->type_name("PERCENT");
  app->add_option("--low", arguments->low, "... and go on until so much is left (default: a little below)")
      ->type_name("PERCENT");
  app->add_flag("--trim", arguments->trim, "Give the disk space of deleted files back while mounted");
  app->add_option("-o", arguments->options,
                  "Options of mount(8) and fuse(8), such as allow_other, ro,\n"
                  "nonempty or fsname=NAME; also size=, sync=, recency=,\n"
                  "max_files=, max_file_size=, high=, low=, trim, ttl=,\n"
                  "ttl_from=, log=, log_level=, log_format=, metrics=,\n"
                  "no_control, from_checkpoint, force, supervise,\n"
                  "no_supervise, and:\n"
                  "noxattr: no xattrs; saves a request for each new file\n"
                  "threads=N: threads that serve requests (default: 4)\n"
                  "placement=auto|spread|alone|close: which of them answers,\n"
                  "  and where (auto finds out)\n"
                  "io_uring: requests by io_uring (libfuse 3.18)\n"
                  "no_confine: keep all rights (for debugging; by default\n"
                  "  the daemon gives up what serving does not need)")
      ->type_name("OPT[,OPT...]")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app->add_flag("--from-checkpoint", arguments->from_checkpoint,
                "Open the last checkpoint, as after a power cut\n"
                "(for restored snapshots of a disk)");
  app->add_flag("--force", arguments->force,
                "Write a store although it is damaged (without it such a\n"
                "store is mounted read-only; see lrufs check --repair)");
  app->add_flag("-f,--foreground", arguments->foreground, "Stay in the foreground (^C unmounts)");
  app->add_option("--log", arguments->log,
                  "Where the log goes (default: stderr in the foreground,\nelse syslog)")
      ->type_name("FILE|syslog|stderr");
  app->add_option("--log-level", arguments->log_level,
                  "trace, debug, info (the default), warning, error or off")
      ->type_name("LEVEL");
  app->add_option("--log-format", arguments->log_format, "text (the default), or json: an object a line")
      ->type_name("text|json");
  app->add_option("--metrics", arguments->metrics,
                  "Serve metrics by HTTP there, such as 127.0.0.1:9100 or\n"
                  "[::1]:9100, for Prometheus; also /healthz and /readyz")
      ->type_name("HOST:PORT");
  app->add_flag("--no-control", arguments->no_control,
                "No folder .lrufs (not listed) with statistics and commands");
  app->add_flag_callback(
      "--supervise", [arguments] { arguments->supervise = 1; },
      "If the process that serves dies, another one takes over,\n"
      "and programs on the mount do not notice (the default where\n"
      "it can be: Linux 6.9, not with io_uring)");
  app->add_flag_callback(
      "--no-supervise", [arguments] { arguments->supervise = -1; },
      "One process; the mount ends when it dies");
  app->footer(
      "Examples:\n"
      "  lrufs mount --size 10G cache.lrufs /mnt/cache\n"
      "  lrufs mount --sync always -o allow_other /var/cache/build.lrufs /srv/build-cache\n"
      "  lrufs mount -f --log-level debug cache.lrufs /mnt/cache\n"
      "In /etc/fstab:\n"
      "  /var/cache/build.lrufs  /srv/build-cache  fuse.lrufs  size=10G,allow_other,nofail  0 0");
  return {app, [arguments] { return mount(*arguments); }};
}

}  // namespace lrufs::cmd
