#include "fs/fuse/caller_privilege.h"

#include <linux/capability.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

namespace lrufs::fs::fuse {
namespace {

// Identifies the user namespace of a process; capabilities in another one do not count here.
std::optional<ino_t> user_namespace(const std::string& proc) {
  struct stat info {};
  if (::stat((proc + "/ns/user").c_str(), &info) != 0) return std::nullopt;
  return info.st_ino;
}

std::optional<std::uint64_t> effective_capabilities(const std::string& proc) {
  constexpr std::string_view kField = "CapEff:";
  std::ifstream status(proc + "/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with(kField)) continue;
    return std::strtoull(line.c_str() + kField.size(), nullptr, 16);
  }
  return std::nullopt;
}

bool has_capability(pid_t pid, std::uint32_t uid, unsigned capability) {
  if (pid == 0) return uid == 0;
  const std::string proc = "/proc/" + std::to_string(pid);
  const auto capabilities = effective_capabilities(proc);
  if (!capabilities) return uid == 0;
  if ((*capabilities & (std::uint64_t{1} << capability)) == 0) return false;
  const auto theirs = user_namespace(proc);
  const auto ours = user_namespace("/proc/self");
  if (!theirs || !ours) return uid == 0;
  return *theirs == *ours;
}

}  // namespace

bool may_administer(pid_t pid, std::uint32_t uid) { return has_capability(pid, uid, CAP_SYS_ADMIN); }

bool may_keep_set_id(pid_t pid, std::uint32_t uid) { return has_capability(pid, uid, CAP_FSETID); }

bool may_act_as_owner(pid_t pid, std::uint32_t uid) { return has_capability(pid, uid, CAP_FOWNER); }

}  // namespace lrufs::fs::fuse
