#include "fs/fuse/privileges.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace lrufs::fs::fuse {
namespace {

// linux/prctl.h of Linux 6.3.
constexpr int kSetMdwe = 65;              // PR_SET_MDWE
constexpr unsigned long kMdweRefuse = 1;  // PR_MDWE_REFUSE_EXEC_GAIN

using CapabilityWords = std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3>;

__user_cap_header_struct header() { return {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0}; }

bool get_capabilities(CapabilityWords& words) {
  auto head = header();
  return ::syscall(SYS_capget, &head, words.data()) == 0;
}

// Of version 1 of Landlock, which all have; 2 adds the moving between folders, 3 truncation.
constexpr std::uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kAll =
    kRead | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
    LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |
    LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
    LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;
constexpr std::uint64_t kRefer = 1ULL << 13U;     // LANDLOCK_ACCESS_FS_REFER
constexpr std::uint64_t kTruncate = 1ULL << 14U;  // LANDLOCK_ACCESS_FS_TRUNCATE

void allow(int rules, const std::string& path, std::uint64_t access) {
  const int fd = ::open(path.c_str(), O_PATH | O_CLOEXEC);
  if (fd < 0) return;
  // Without a request to who serves it: that may be us, and not yet.
  struct statx what {};
  if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &what) == 0) {
    if (!S_ISDIR(what.stx_mode)) access &= ~std::uint64_t{LANDLOCK_ACCESS_FS_READ_DIR};
    landlock_path_beneath_attr rule{};
    rule.allowed_access = access;
    rule.parent_fd = fd;
    (void)::syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
  }
  ::close(fd);
}

}  // namespace

std::uint64_t capabilities() {
  CapabilityWords words{};
  if (!get_capabilities(words)) return 0;
  return words[0].effective | std::uint64_t{words[1].effective} << 32U;
}

bool drop_capabilities_but(std::uint64_t keep) {
  CapabilityWords words{};
  if (!get_capabilities(words)) return false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto mask = static_cast<std::uint32_t>(keep >> (32 * i));
    __user_cap_data_struct& word = words.at(i);
    word.permitted &= mask;
    word.effective &= mask;
    word.inheritable &= mask;
  }
  auto head = header();
  return ::syscall(SYS_capset, &head, words.data()) == 0;
}

bool refuse_new_privileges() { return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0; }

bool allow_return_to_normal_priority() {
  constexpr rlim_t kNormal = 20;  // getrlimit(2): nice values down to 20 - 20
  rlimit limit{};
  if (::getrlimit(RLIMIT_NICE, &limit) != 0) return false;
  if (limit.rlim_cur >= kNormal) return true;
  limit.rlim_cur = kNormal;
  limit.rlim_max = std::max(limit.rlim_max, kNormal);
  return ::setrlimit(RLIMIT_NICE, &limit) == 0;
}

bool refuse_new_code() { return ::prctl(kSetMdwe, kMdweRefuse, 0, 0, 0) == 0; }

FileRules::FileRules(const std::vector<std::string>& readable, const std::vector<std::string>& writable) {
  const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 1) return;
  landlock_ruleset_attr handled{};
  handled.handled_access_fs = kAll | (version >= 2 ? kRefer : 0) | (version >= 3 ? kTruncate : 0);
  fd_ = static_cast<int>(::syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0));
  if (fd_ < 0) return;
  version_ = static_cast<int>(version);
  for (const std::string& path : readable) allow(fd_, path, kRead);
  for (const std::string& path : writable) allow(fd_, path, kRead | LANDLOCK_ACCESS_FS_WRITE_FILE);
}

FileRules::~FileRules() {
  if (fd_ >= 0) ::close(fd_);
}

bool FileRules::apply() const { return fd_ < 0 || ::syscall(SYS_landlock_restrict_self, fd_, 0) == 0; }

}  // namespace lrufs::fs::fuse
