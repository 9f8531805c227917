// lrufs stat: how a store or a mount is doing, for people or as JSON.
#include <sys/stat.h>
#include <algorithm>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cmd/live_mount.h"
#include "cmd/mount_table.h"
#include "cmd/object_facts.h"
#include "cmd/os.h"
#include "cmd/target.h"
#include "cmd/units.h"
#include "cmd/verbs.h"
#include "fs/fuse/stats_json.h"
#include "store/store.h"

namespace lrufs::cmd {
namespace {

using nlohmann::json;
using store::Code;
using store::fail;
using store::Result;

struct Arguments {
  std::string path;
  std::string key;
  bool json = false;
};

Result<json> of_closed_store(const std::string& path) {
  store::Options options;
  options.read_only = true;
  options.create = false;
  options.bound_given = false;
  options.background = false;
  LRUFS_TRY_ASSIGN(const std::unique_ptr<store::Store> store, store::Store::open(path, options));
  json answer = {{"store", path}, {"statistics", fs::fuse::to_json(store->statistics())}};
  LRUFS_TRY(store->close());
  return answer;
}

Result<json> of_store(const std::string& path) {
  auto answer = of_closed_store(path);
  if (answer || answer.error().code != Code::kBusy) return answer;
  if (const auto where = mount_of_store(path)) return mount_statistics(*where);
  return fail(
      Code::kBusy,
      "the store " + shown(path) +
          " is in use by a process whose mount cannot be seen from here: ask for the mount point there");
}

Result<json> of_folder(const std::string& path) {
  LRUFS_TRY_ASSIGN(const MountTable table, read_mount_table());
  const MountEntry* mount = mount_containing(table, path);
  if (mount == nullptr || !mount->is_lrufs()) {
    return fail(Code::kInvalid,
                shown(path) + " is not a mount of lrufs. Name a mount point, or a store file");
  }
  if (auto answer = mount_statistics(mount->mount_point); answer || answer.error().code != Code::kUnsupported)
    return answer;
  return fail(Code::kUnsupported, "the mount " + shown(mount->mount_point) +
                                      " was made with -o noxattr, so it cannot be asked for its statistics");
}

Result<json> ask(const std::string& path) {
  struct stat attributes {};
  if (::stat(path.c_str(), &attributes) != 0) {
    const int error = errno;
    if (is_dead_mount(error)) return mount_statistics(path);  // says what to do
    return fail(Code::kNotFound, "cannot look at " + shown(path) + ": " + errno_text(error), error);
  }
  return S_ISDIR(attributes.st_mode) ? of_folder(path) : of_store(path);
}

void row(const char* label, const std::string& text) { std::printf("%-16s %s\n", label, text.c_str()); }

std::string percent(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? "" : " (" + std::to_string(part * 100 / whole) + " %)";
}

std::string opened_from(const std::string& how) {
  if (how == "new") return "new: made by this mount";
  if (how == "clean") return "a clean close";
  if (how == "live") return "the last operation: the daemon before was killed";
  if (how == "checkpoint") return "the last checkpoint: the power was cut, or --from-checkpoint";
  return how;
}

void print_state(const json& answer, const json& statistics) {
  const auto number = [&](const char* key) { return number_in(statistics, key); };
  const std::uint64_t capacity = number("capacity_bytes");
  const std::uint64_t pending = number("pending_bytes");
  row("Bound", format_size(number("bound_bytes")) + " on disk; " + format_size(number("file_bytes")) +
                   " taken so far");
  row("Used", format_size(number("used_bytes")) + percent(number("used_bytes"), capacity));
  row("Free", format_size(number("free_bytes")) + percent(number("free_bytes"), capacity) +
                  (pending == 0 ? "" : ", and " + format_size(pending) + " after the next checkpoint"));
  if (number("snapshot_bytes") != 0) row("Kept for readers", format_size(number("snapshot_bytes")));
  if (!text_in(answer, "mount_point").empty()) {
    row("Evicts", "above " + format_size(number("evict_above_bytes")) +
                      percent(number("evict_above_bytes"), capacity) + " in use, down to " +
                      format_size(number("evict_until_bytes")) +
                      percent(number("evict_until_bytes"), capacity));
  }
  if (number("trimmed_bytes") != 0)
    row("Given back", format_size(number("trimmed_bytes")) + " of the file have no blocks on the disk");
  const std::uint64_t limit = number("max_files");
  row("Files", format_count(number("files")) + (limit == 0 ? "" : " of at most " + format_count(limit)) +
                   " with " + format_size(number("content_bytes")) + ", in " +
                   counted(number("directories"), "directory", "directories"));
  if (const std::uint64_t pinned = number("pinned_objects"); pinned != 0) {
    const std::uint64_t directories = number("pinned_directories");
    row("Pinned", counted(pinned - directories, "file", "files") + " with " +
                      format_size(number("pinned_bytes")) + ", and all below " +
                      counted(directories, "directory", "directories"));
  }
  if (number("orphans") != 0) row("Deleted, open", counted(number("orphans"), "file", "files"));
  row("On stable disk",
      number("txn") == number("durable_txn")
          ? "everything"
          : "all but the last " + format_count(number("txn") - number("durable_txn")) + " changes");
  row("Opened from", opened_from(text_in(statistics, "opened_from")));
}

void print_counters(const json& answer, const json& statistics) {
  const auto number = [&](const char* key) { return number_in(statistics, key); };
  std::printf("Since it was opened:\n");
  const std::uint64_t hits = number_in(answer, "hits");
  const std::uint64_t lookups = hits + number_in(answer, "misses");
  if (lookups != 0)
    row("  Hits", format_count(hits) + " of " + format_count(lookups) + " lookups" + percent(hits, lookups));
  row("  Evicted", counted(number("evicted_objects"), "file", "files") + " (" +
                       format_size(number("evicted_bytes")) + ")");
  if (number("expired_objects") != 0) {
    row("  Expired", counted(number("expired_objects"), "file", "files") + " (" +
                         format_size(number("expired_bytes")) + ")");
  }
  row("  Written",
      format_size(number("bytes_written")) + " in " + format_count(number("commits")) + " transactions");
  row("  Read", format_size(number("bytes_read")));
  const std::uint64_t checkpoints = number("checkpoints");
  row("  Checkpoints", format_count(checkpoints) +
                           (checkpoints == 0 ? ""
                                             : ", " +
                                                   format_duration(std::chrono::microseconds(
                                                       number("checkpoint_microseconds") / checkpoints)) +
                                                   " each"));
  if (number("room_waits") != 0) row("  Waits for room", format_count(number("room_waits")));
  std::uint64_t requests = 0;
  if (const auto kinds = answer.find("requests"); kinds != answer.end() && kinds->is_object()) {
    for (const auto& item : kinds->items()) requests += number_in(*kinds, item.key().c_str());
  }
  row("  Requests", format_count(requests) + ", " + format_count(number_in(answer, "failures")) + " failed");
}

void print_troubles(const json& answer, const json& statistics) {
  if (const std::string failure = text_in(answer, "failure"); !failure.empty()) row("FAILED", failure);
  if (const std::uint64_t pages = number_in(statistics, "corrupt_pages"); pages != 0) {
    row("DAMAGED", format_count(pages) + " pages: unmount, and run lrufs check");
  }
  if (const std::uint64_t pages = number_in(statistics, "unreadable_pages"); pages != 0) {
    row("UNREADABLE", format_count(pages) + " pages: the disk does not give them back");
  }
  if (const std::uint64_t failures = number_in(statistics, "checkpoint_failures"); failures != 0) {
    row("NOT SYNCED", format_count(failures) + " checkpoints failed");
  }
}

// What a newer libfuse, or another kernel, could switch on; and who answers at this moment.
void print_protocol(const json& answer) {
  const json none = json::array();
  const json& on = answer.contains("capabilities") ? answer["capabilities"] : none;
  const auto state = [&](const char* name) {
    return std::find(on.begin(), on.end(), name) == on.end() ? " off" : " on";
  };
  row("libfuse", text_in(answer, "libfuse") + ", protocol " + text_in(answer, "protocol") +
                     ": parallel_dirops" + state("parallel_dirops") + ", handle_killpriv_v2" +
                     state("handle_killpriv_v2") + ", io_uring" + state("over_io_uring"));
  const json threads = answer.contains("threads") ? answer["threads"] : json::object();
  const std::string workers = counted(number_in(threads, "workers"), "worker", "workers");
  if (threads.value("close", false)) {
    row("Answered by", "one thread on its client's core; " + workers + " for long requests");
  } else if (threads.value("alone", false)) {
    row("Answered by", "one thread; " + workers + " for long requests");
  } else {
    row("Answered by", workers);
  }
}

void print_supervision(const json& answer) {
  const auto found = answer.find("supervised");
  if (found == answer.end() || !found->is_object()) return;
  if (!found->value("takeover", false)) {
    row("Supervised", "yes, but this kernel does not send requests again (Linux 6.9): no takeover");
    return;
  }
  const std::uint64_t restarts = number_in(*found, "restarts");
  const std::string last = restarts == 0 ? "" : ", the last one after " + text_in(*found, "last_reason");
  row("Supervised", "worker " + std::to_string(number_in(*found, "worker_pid")) + ", " +
                        (restarts == 0 ? "no takeover so far" : counted(restarts, "takeover", "takeovers")) +
                        last);
}

void print_for_people(const json& answer) {
  const json statistics = answer.contains("statistics") ? answer["statistics"] : json::object();
  const std::string mount_point = text_in(answer, "mount_point");
  row("Store", text_in(answer, "store") + "  " + text_in(statistics, "uuid"));
  row("Mounted", mount_point.empty()
                     ? "no"
                     : "at " + mount_point + ", by process " + std::to_string(number_in(answer, "pid")) +
                           " (lrufs " + text_in(answer, "version") + ")");
  if (!mount_point.empty()) print_supervision(answer);
  if (!mount_point.empty()) print_protocol(answer);
  print_state(answer, statistics);
  if (!mount_point.empty()) print_counters(answer, statistics);
  print_troubles(answer, statistics);
}

int run(const Arguments& arguments) {
  auto target = find_target(arguments.path, !arguments.key.empty());
  if (target && (!arguments.key.empty() || target->is_object()))
    return show_object(*target, arguments.key, arguments.json);
  if (!target && !arguments.key.empty()) return report(target.error());
  const auto answer = ask(absolute_path(arguments.path));
  if (!answer) return report(about_store(absolute_path(arguments.path), answer.error()));
  if (arguments.json) {
    std::printf("%s\n", answer->dump(2, ' ', false, json::error_handler_t::replace).c_str());
  } else {
    print_for_people(*answer);
  }
  return kOk;
}

}  // namespace

Verb add_stat(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = program.add_subcommand(
      "stat", "Show how full a store is and how it is used, or all about one object in it");
  app->group(kStoresGroup);
  app->add_option("TARGET", arguments->path, kTargetHelp)->required()->type_name("");
  app->add_option("KEY", arguments->key,
                  "An object in the store, such as a/b (\"/\": the root).\n"
                  "Left out if TARGET is a path in a mount")
      ->type_name("");
  app->add_flag("--json", arguments->json, "Print everything that is known, as JSON (sizes in bytes)");
  app->footer(
      "A store file or a mount point alone is asked how it is doing; with a KEY, or with a path in a\n"
      "mount, one object is shown. To look at it is no use of it.\n\n"
      "Exit codes: 0 done, 1 failed (there is no such object, for instance), 2 wrong use.\n\n"
      "Examples:\n  lrufs stat /mnt/cache\n  lrufs stat --json cache.lrufs | jq .statistics.used_bytes\n"
      "  lrufs stat cache.lrufs thumbs/cat.png\n  lrufs stat --json /mnt/cache/thumbs/cat.png | jq .mtime");
  return {app, [arguments] { return run(*arguments); }};
}

}  // namespace lrufs::cmd
