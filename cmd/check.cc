// lrufs check: the full check of a store that is not mounted.
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "cmd/live_mount.h"
#include "cmd/os.h"
#include "cmd/units.h"
#include "cmd/verbs.h"
#include "store/check.h"

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
  bool json = false;
};

Result<CheckReport> check(const std::string& path, bool from_checkpoint) {
  struct stat attributes {};
  if (::stat(path.c_str(), &attributes) != 0) {
    return fail(Code::kNotFound, "cannot look at " + shown(path) + ": " + errno_text(errno));
  }
  if (S_ISDIR(attributes.st_mode)) {
    return fail(Code::kIsDirectory, shown(path) + " is a folder: name the store file (lrufs stat " +
                                        shown(path) + " tells its name, if this is a mount)");
  }
  store::CheckOptions options;
  options.from_checkpoint = from_checkpoint;
  auto report = store::check_file(path, options);
  if (report || report.error().code != Code::kBusy) return report;
  const auto where = mount_of_store(path);
  return fail(Code::kBusy, "the store " + shown(path) + " is in use" +
                               (where ? ": it is mounted at " + shown(*where) +
                                            ". Unmount it first: lrufs umount " + shown(*where)
                                      : " by another process: it can be checked when that has closed it"));
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
  } else {
    std::printf("%s: %s in %s\n", shown(path).c_str(),
                counted(report.findings.size() + report.suppressed, "finding", "findings").c_str(),
                content.c_str());
  }
}

int run(const Arguments& arguments) {
  const std::string path = absolute_path(arguments.store);
  const auto report = check(path, arguments.from_checkpoint);
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
  CLI::App* app =
      program.add_subcommand("check", "Check every page of a store that is not mounted; changes nothing");
  app->add_option("STORE", arguments->store, "The store file")->required()->type_name("");
  app->add_flag("--from-checkpoint", arguments->from_checkpoint,
                "Check the last checkpoint, as after a power cut");
  app->add_flag("--json", arguments->json, "Print the result as JSON");
  app->footer(
      "Exit codes: 0 nothing was found, 1 damage was found, 2 the store could not be checked.\n\n"
      "Example:\n  lrufs check cache.lrufs");
  return {app, [arguments] { return run(*arguments); }};
}

}  // namespace lrufs::cmd
