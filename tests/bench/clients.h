// What fs_bench needs to measure with several clients, on a quiet machine or on a busy one.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace bench {

[[noreturn]] inline void die(const std::string& what) {
  std::fprintf(stderr, "fs_bench: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

inline void check(bool good, const std::string& what) {
  if (!good) die(what);
}

struct Done {
  double seconds = 0;  // of the client that took longest
  long count = 0;      // of all
};

// Runs work(n) in a process for each of the clients, all at once. It returns how many things it did.
template <typename Work>
Done run_clients(size_t clients, Work work) {
  const size_t bytes = clients * sizeof(Done);
  void* const shared = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  check(shared != MAP_FAILED, "mmap");
  Done* const done = static_cast<Done*>(shared);
  std::array<int, 2> ready{}, go{};
  check(pipe2(ready.data(), O_CLOEXEC) == 0 && pipe2(go.data(), O_CLOEXEC) == 0, "pipe");
  std::fflush(nullptr);
  std::vector<pid_t> pids;
  char byte = 0;
  for (size_t n = 0; n < clients; ++n) {
    pids.push_back(fork());
    check(pids.back() >= 0, "fork");
    if (pids.back() > 0) continue;
    close(go[1]);
    check(write(ready[1], &byte, 1) == 1, "write");
    check(read(go[0], &byte, 1) == 0, "read");  // until the parent closes its end
    const auto start = std::chrono::steady_clock::now();
    done[n].count = work(n);
    done[n].seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    _exit(0);
  }
  for (size_t n = 0; n < clients; ++n) check(read(ready[0], &byte, 1) == 1, "read");
  close(go[1]);
  Done all;
  for (size_t n = 0; n < clients; ++n) {
    int status = 0;
    check(waitpid(pids[n], &status, 0) == pids[n], "waitpid");
    if (status != 0) std::exit(1);  // the client has said why
    all.seconds = std::max(all.seconds, done[n].seconds);
    all.count += done[n].count;
  }
  munmap(shared, bytes);
  for (const int fd : {ready[0], ready[1], go[0]}) close(fd);
  return all;
}

// Waits until nothing but `busy` others has run for a moment; false after `seconds`.
inline bool wait_until_quiet(long seconds, long busy) {
  constexpr int kSamples = 6;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  for (int quiet = 0; quiet < kSamples;) {
    FILE* const file = std::fopen("/proc/loadavg", "re");
    long running = 0;
    const bool known = file != nullptr && std::fscanf(file, "%*s %*s %*s %ld/", &running) == 1;
    if (file != nullptr) std::fclose(file);
    if (known && running <= 1 + busy) {
      ++quiet;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      continue;
    }
    quiet = 0;
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

// Processes that only use a core, each in a session of its own, so that the scheduler sees strangers.
class BusyCores {
 public:
  explicit BusyCores(long count) {
    const pid_t parent = getpid();
    for (long n = 0; n < count; ++n) {
      const pid_t pid = fork();
      check(pid >= 0, "fork");
      if (pid == 0) {
        setsid();
        const auto turn = std::chrono::milliseconds(100);
        while (getppid() == parent) {
          const auto end = std::chrono::steady_clock::now() + turn;
          while (std::chrono::steady_clock::now() < end) {
          }
        }
        _exit(0);
      }
      pids_.push_back(pid);
    }
  }
  BusyCores(const BusyCores&) = delete;
  BusyCores& operator=(const BusyCores&) = delete;
  ~BusyCores() {
    for (const pid_t pid : pids_) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
  }

 private:
  std::vector<pid_t> pids_;
};

}  // namespace bench
