// Goes into the daemon by LD_PRELOAD (tests/mount/confined.py): a thread, there from before main(), that
// tries on command what a daemon in bad hands would try, and says what came of it. Its two descriptors are
// open from the beginning, and given by LRUFS_PROBE=IN,OUT. Each line of input makes it try everything; each
// line of output is "NAME ERRNO" (0: it could be done), and "end" the last one.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

namespace {

int g_in = -1;
int g_out = -1;

void report(const char* name, bool done) {
  const int error = done ? 0 : errno;
  std::array<char, 128> line{};
  const int length = std::snprintf(line.data(), line.size(), "%s %d\n", name, error);
  if (::write(g_out, line.data(), static_cast<std::size_t>(length)) != length) std::abort();
}

void try_open(const char* name, const char* path, int flags) {
  const int fd = ::open(path, flags | O_CLOEXEC, 0600);
  report(name, fd >= 0);
  if (fd >= 0) ::close(fd);
}

void try_socket(const char* name, int family) {
  const int fd = ::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  report(name, fd >= 0);
  if (fd >= 0) ::close(fd);
}

void try_all() {
  const char* file = std::getenv("LRUFS_PROBE_FILE");  // NOLINT(concurrency-mt-unsafe)
  try_open("create", (std::string(file) + ".new").c_str(), O_CREAT | O_WRONLY);
  try_open("write", file, O_WRONLY);
  try_open("read", file, O_RDONLY);
  try_open("read_proc", "/proc/self/status", O_RDONLY);
  report("chmod", ::chmod(file, 0777) == 0);
  report("rename", ::rename(file, file) == 0);
  // These fail in any case, but with EPERM only where they are refused.
  constexpr pid_t kNobody = 1 << 30;
  report("mount", ::mount("none", "/no/such/folder", "tmpfs", 0, nullptr) == 0);
  report("unshare", ::unshare(CLONE_NEWUSER) == 0);
  report("ptrace", ::ptrace(PTRACE_SEIZE, kNobody, nullptr, nullptr) == 0);
  report("setuid", ::syscall(SYS_setuid, -1) == 0);
  report("bpf", ::syscall(SYS_bpf, -1, nullptr, 0) == 0);
  try_socket("netlink", AF_NETLINK);
  try_socket("unix", AF_UNIX);
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  report("executable_memory", ::mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
  ::munmap(page, 4096);
  // execve() that succeeds would end us: in a child.
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl("/bin/true", "true", nullptr);
    ::_exit(errno);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  errno = WEXITSTATUS(status);
  report("execve", errno == 0);
  // New threads can be made, and are as confined.
  std::thread([file] { try_open("write_by_new_thread", file, O_WRONLY); }).join();
  report("unlink", ::unlink(file) == 0);
  if (::write(g_out, "end\n", 4) != 4) std::abort();
}

void* probe(void* /*none*/) {
  char command = 0;
  while (::read(g_in, &command, 1) == 1) {
    if (command == '\n') try_all();
  }
  return nullptr;
}

[[gnu::constructor]] void start() {
  const char* descriptors = std::getenv("LRUFS_PROBE");  // NOLINT(concurrency-mt-unsafe)
  if (descriptors == nullptr || std::sscanf(descriptors, "%d,%d", &g_in, &g_out) != 2) return;
  ::unsetenv("LRUFS_PROBE");  // NOLINT(concurrency-mt-unsafe): not in the guard and the keeper
  sigset_t ending;
  sigset_t before;
  ::sigemptyset(&ending);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&ending, signal);
  ::pthread_sigmask(SIG_BLOCK, &ending, &before);
  pthread_t thread{};
  if (::pthread_create(&thread, nullptr, probe, nullptr) != 0) std::abort();
  ::pthread_detach(thread);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace
