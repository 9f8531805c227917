#include "fs/fuse/caller_privilege.h"

#include <linux/capability.h>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include "fs/fuse/keeper.h"

namespace lrufs::fs::fuse {
namespace {

// Capabilities in another user namespace do not count here. To see that of others is a right of its own.
std::optional<bool> shares_user_namespace(pid_t pid) {
  if (Keeper* const keeper = Keeper::of_process(); keeper != nullptr)
    return keeper->shares_user_namespace(pid);
  return is_in_own_user_namespace(pid);
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
  return shares_user_namespace(pid).value_or(uid == 0);
}

}  // namespace

bool may_administer(pid_t pid, std::uint32_t uid) { return has_capability(pid, uid, CAP_SYS_ADMIN); }

bool may_keep_set_id(pid_t pid, std::uint32_t uid) { return has_capability(pid, uid, CAP_FSETID); }

bool may_act_as_owner(pid_t pid, std::uint32_t uid) { return has_capability(pid, uid, CAP_FOWNER); }

}  // namespace lrufs::fs::fuse
