// lrufs check: the full check of a store that is not mounted, and its repair.
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "cmd/live_mount.h"
#include "cmd/os.h"
#include "cmd/progress.h"
#include "cmd/units.h"
#include "cmd/verbs.h"
#include "store/check.h"
#include "store/repair.h"

namespace lrufs::cmd {
namespace {

using nlohmann::json;
using store::CheckFinding;
using store::CheckReport;
using store::Code;
using store::fail;
using store::Result;

constexpr int kFoundDamage = kFailed;  // exit codes of this verb
constexpr int kNotChecked = kUsage;

struct Arguments {
  std::string store;
  bool from_checkpoint = false;
  bool repair = false;
  bool json = false;
};

// `work` on the store at `path`, with what a person should know if that is not possible.
template <typename T>
Result<T> with_store(const std::string& path, const std::function<Result<T>()>& work) {
  struct stat attributes {};
  if (::stat(path.c_str(), &attributes) != 0) {
    return fail(Code::kNotFound, "cannot look at " + shown(path) + ": " + errno_text(errno));
  }
  if (S_ISDIR(attributes.st_mode)) {
    return fail(Code::kIsDirectory, shown(path) + " is a folder: name the store file (lrufs stat " +
                                        shown(path) + " tells its name, if this is a mount)");
  }
  auto report = work();
  if (report || report.error().code != Code::kBusy) return report;
  const auto where = mount_of_store(path);
  return fail(Code::kBusy, "the store " + shown(path) + " is in use" +
                               (where ? ": it is mounted at " + shown(*where) +
                                            ". Unmount it first: lrufs umount " + shown(*where)
                                      : " by another process: it can be checked when that has closed it"));
}

json to_json(const std::string& path, const store::RepairReport& report) {
  return {{"store", path},
          {"was_sound", report.was_sound},
          {"opened_from", report.opened_from},
          {"files", report.files},
          {"directories", report.directories},
          {"lost_and_found", report.found},
          {"dropped", report.dropped}};
}

void print(const std::string& path, const store::RepairReport& report) {
  const std::string kept = counted(report.files, "file", "files") + " and " +
                           counted(report.directories, "directory", "directories");
  if (report.was_sound) {
    std::printf("%s: nothing wrong in %s\n", shown(path).c_str(), kept.c_str());
    return;
  }
  for (const std::string& dropped : report.dropped) std::printf("%s: dropped\n", shown(dropped).c_str());
  std::printf("%s: repaired; %s kept, %s dropped\n", shown(path).c_str(), kept.c_str(),
              format_count(report.dropped.size()).c_str());
  if (report.found != 0)
    std::printf("%s without a name %s now in lost+found\n",
                counted(report.found, "object", "objects").c_str(), report.found == 1 ? "is" : "are");
}

json to_json(const CheckFinding& finding) {
  json out = {{"message", finding.message}};
  if (!finding.path.empty()) out["path"] = finding.path;
  if (finding.ino != store::kNoIno) out["inode"] = store::raw(finding.ino);
  if (finding.page != store::kNoPage) out["page"] = store::raw(finding.page);
  return out;
}

json to_json(const std::string& path, const CheckReport& report) {
  json findings = json::array();
  for (const CheckFinding& finding : report.findings) findings.push_back(to_json(finding));
  return {{"store", path},
          {"clean", report.clean()},
          {"marked", report.marked},
          {"opened_from", report.opened_from},
          {"findings", std::move(findings)},
          {"suppressed", report.suppressed},
          {"files", report.files},
          {"directories", report.directories},
          {"orphans", report.orphans},
          {"tree_pages", report.tree_pages},
          {"content_pages", report.content_pages},
          {"space_pages", report.space_pages},
          {"used_pages", report.used_pages}};
}

void print(const CheckFinding& finding) {
  std::string where;
  if (!finding.path.empty()) where += shown(finding.path) + ": ";
  if (finding.ino != store::kNoIno) where += "inode " + std::to_string(store::raw(finding.ino)) + ": ";
  if (finding.page != store::kNoPage) where += "page " + std::to_string(store::raw(finding.page)) + ": ";
  std::printf("%s%s\n", where.c_str(), finding.message.c_str());
}

void print(const std::string& path, const CheckReport& report) {
  for (const CheckFinding& finding : report.findings) print(finding);
  if (report.suppressed != 0) std::printf("... and %s more\n", format_count(report.suppressed).c_str());
  const std::string content = counted(report.files, "file", "files") + " and " +
                              counted(report.directories, "directory", "directories") + ", " +
                              format_size(report.used_pages * store::kPageSize) + " in use";
  if (report.clean()) {
    std::printf("%s: nothing wrong in %s\n", shown(path).c_str(), content.c_str());
    if (report.marked)
      std::printf(
          "It is marked as damaged, since something was seen before: lrufs check --repair takes that back\n");
  } else {
    std::printf("%s: %s in %s\n", shown(path).c_str(),
                counted(report.findings.size() + report.suppressed, "finding", "findings").c_str(),
                content.c_str());
    std::printf("%sTo keep what is whole: lrufs check --repair %s\n",
                report.marked ? "It will be mounted read-only. " : "", shown(path).c_str());
  }
}

int repair(const std::string& path, const Arguments& arguments) {
  const auto report = with_store<store::RepairReport>(
      path, [&] { return store::repair_file(path, {.from_checkpoint = arguments.from_checkpoint}); });
  if (!report) return cmd::report(about_store(path, report.error()), kNotChecked);
  if (arguments.json)
    std::printf("%s\n", to_json(path, *report).dump(2, ' ', false, json::error_handler_t::replace).c_str());
  else
    print(path, *report);
  return kOk;
}

int run(const Arguments& arguments) {
  const std::string path = absolute_path(arguments.store);
  if (arguments.repair) return repair(path, arguments);
  const auto report = with_store<CheckReport>(path, [&] {
    Progress progress("check", Progress::Unit::kBytes, 0);
    store::CheckOptions options{.from_checkpoint = arguments.from_checkpoint, .mark = true};
    options.on_progress = [&](std::uint64_t pages, std::uint64_t of) {
      progress.set_total(of * store::kPageSize);
      progress.set(pages * store::kPageSize);
    };
    auto checked = store::check_file(path, options);
    if (checked || checked.error().code != Code::kBusy || arguments.from_checkpoint) return checked;
    options.shared = true;  // somebody has it open: the state of this moment
    return store::check_file(path, options);
  });
  if (!report) return cmd::report(about_store(path, report.error()), kNotChecked);
  if (arguments.json) {
    std::printf("%s\n", to_json(path, *report).dump(2, ' ', false, json::error_handler_t::replace).c_str());
  } else {
    print(path, *report);
  }
  return report->clean() ? kOk : kFoundDamage;
}

}  // namespace

Verb add_check(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = program.add_subcommand("check", "Check every page of a store, or repair it");
  app->group(kStoresGroup);
  app->add_option("STORE", arguments->store, "The store file")->required()->type_name("");
  app->add_flag("--from-checkpoint", arguments->from_checkpoint,
                "Check the last checkpoint, as after a power cut");
  app->add_flag("--repair", arguments->repair,
                "If something is wrong: write what is whole to a new store\n"
                "beside it and put that in its place. Files that are hurt\n"
                "are dropped");
  app->add_flag("--json", arguments->json, "Print the result as JSON");
  app->footer(
      "A damaged store is marked, so that it is mounted read-only until it is repaired;\n"
      "nothing else is changed without --repair. Of a store that is mounted the state of this moment\n"
      "is checked; it is not marked, and --repair needs it unmounted.\n\n"
      "Exit codes: 0 nothing was found (or it is repaired), 1 damage was found, 2 the store could\n"
      "not be checked (or not be repaired, and is as it was).\n\n"
      "Examples:\n  lrufs check cache.lrufs\n  lrufs check --repair cache.lrufs");
  return {app, [arguments] { return run(*arguments); }};
}

}  // namespace lrufs::cmd
