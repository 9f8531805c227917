// refuse_system_calls() of privileges.h: a filter of seccomp(2).
//
// A list of what is refused, not of what is allowed: the libraries below use other calls with each version,
// and a daemon that fails because of its filter helps nobody. What is refused leads out of the process, to
// more rights, or into rarely used parts of the kernel.
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "fs/fuse/privileges.h"

namespace lrufs::fs::fuse {
namespace {

constexpr std::array kRefused = {
    // Other programs: there is nothing to execute (the guard and the keeper run already).
    SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(uselib),
    // Other processes.
    SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(process_madvise),
    SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_getfd), SCMP_SYS(pidfd_send_signal), SCMP_SYS(kcmp),
    // Mounts and namespaces: the keeper unmounts.
    SCMP_SYS(mount), SCMP_SYS(umount), SCMP_SYS(umount2), SCMP_SYS(mount_setattr), SCMP_SYS(move_mount),
    SCMP_SYS(open_tree), SCMP_SYS(fsopen), SCMP_SYS(fsconfig), SCMP_SYS(fsmount), SCMP_SYS(fspick),
    SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(setns), SCMP_SYS(unshare),
    // Other ids and rights.
    SCMP_SYS(setuid), SCMP_SYS(setgid), SCMP_SYS(setreuid), SCMP_SYS(setregid), SCMP_SYS(setresuid),
    SCMP_SYS(setresgid), SCMP_SYS(setfsuid), SCMP_SYS(setfsgid), SCMP_SYS(setgroups), SCMP_SYS(capset),
    // Names and attributes of files: what the daemon writes is open.
    SCMP_SYS(chmod), SCMP_SYS(fchmod), SCMP_SYS(fchmodat), SCMP_SYS(chown), SCMP_SYS(lchown),
    SCMP_SYS(fchown), SCMP_SYS(fchownat), SCMP_SYS(link), SCMP_SYS(linkat), SCMP_SYS(symlink),
    SCMP_SYS(symlinkat), SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(unlink),
    SCMP_SYS(unlinkat), SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(rmdir), SCMP_SYS(mknod),
    SCMP_SYS(mknodat), SCMP_SYS(truncate), SCMP_SYS(setxattr), SCMP_SYS(lsetxattr), SCMP_SYS(fsetxattr),
    SCMP_SYS(removexattr), SCMP_SYS(lremovexattr), SCMP_SYS(fremovexattr), SCMP_SYS(name_to_handle_at),
    SCMP_SYS(open_by_handle_at), SCMP_SYS(fanotify_init),
    // The machine.
    SCMP_SYS(reboot), SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(init_module),
    SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(swapon), SCMP_SYS(swapoff), SCMP_SYS(acct),
    SCMP_SYS(quotactl), SCMP_SYS(quotactl_fd), SCMP_SYS(settimeofday), SCMP_SYS(clock_settime),
    SCMP_SYS(adjtimex), SCMP_SYS(clock_adjtime), SCMP_SYS(sethostname), SCMP_SYS(setdomainname),
    SCMP_SYS(iopl), SCMP_SYS(ioperm), SCMP_SYS(syslog), SCMP_SYS(vhangup),
    // Parts of the kernel with a history of holes.
    SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd), SCMP_SYS(keyctl), SCMP_SYS(add_key),
    SCMP_SYS(request_key), SCMP_SYS(personality), SCMP_SYS(modify_ldt), SCMP_SYS(lookup_dcookie),
    SCMP_SYS(vmsplice), SCMP_SYS(move_pages), SCMP_SYS(migrate_pages), SCMP_SYS(io_setup),
    SCMP_SYS(io_submit)};

constexpr std::array kIoUring = {SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter),
                                 SCMP_SYS(io_uring_register)};

constexpr std::array kNamespaces = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                    CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};

// Calls that this machine does not have are no error.
int refuse(scmp_filter_ctx filter, int call) {
  const int result = ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), call, 0);
  return result == -EDOM ? 0 : result;
}

int add_rules(scmp_filter_ctx filter, bool io_uring) {
  // Also that no process gains rights by it, and that all threads have it.
  int result = ::seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 1);
  if (result == 0) result = ::seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
  // Not the mitigations that Linux before 5.16 switches on along with a filter: they are for code that is not
  // trusted, and slow all down. A tree instead of a chain of comparisons.
  if (result == 0) result = ::seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
  if (result == 0) result = ::seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
  for (const int call : kRefused) {
    if (result == 0) result = refuse(filter, call);
  }
  for (const int call : kIoUring) {
    if (result == 0 && !io_uring) result = refuse(filter, call);
  }
  // The flags of clone3(2) are in memory, where a filter cannot look; without it glibc uses clone(2).
  if (result == 0) result = ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
  for (const auto flag : kNamespaces) {
    const auto bit = static_cast<scmp_datum_t>(flag);
    if (result == 0)
      result = ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, bit, bit));
  }
  // Sockets of the log, of systemd and of the metrics; all else (AF_NETLINK, AF_PACKET, AF_ALG, …) is not
  // used.
  for (int family = AF_INET + 1; family < AF_INET6; ++family) {
    if (result == 0)
      result = ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
                                  SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(family)));
  }
  if (result == 0)
    result = ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
                                SCMP_A0(SCMP_CMP_GT, static_cast<scmp_datum_t>(AF_INET6)));
  return result;
}

}  // namespace

bool refuse_system_calls(bool io_uring, std::string& reason) {
  const std::unique_ptr<void, void (*)(scmp_filter_ctx)> filter(::seccomp_init(SCMP_ACT_ALLOW),
                                                                ::seccomp_release);
  int result = filter ? add_rules(filter.get(), io_uring) : -ENOMEM;
  if (result == 0) result = ::seccomp_load(filter.get());
  if (result == 0) return true;
  reason = std::strerror(-result);  // NOLINT(concurrency-mt-unsafe): one thread calls this
  return false;
}

}  // namespace lrufs::fs::fuse
