// Supervisor: the state behind supervise() (supervisor.h), and what happens to it. One thread, one loop:
// signals, and messages of the processes that it has started.
//
//   supervisor.cc          the loop, workers, restarts
//   supervisor_upgrade.cc  another version of the program takes over
//   supervisor_end.cc      unmounting, giving up, leaving the mount to the next supervisor
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "fs/fuse/fd.h"
#include "fs/fuse/owned_mount.h"
#include "fs/fuse/restart_policy.h"
#include "fs/fuse/supervisor.h"
#include "fs/fuse/takeover_memory.h"
#include "fs/fuse/upgrade_socket.h"
#include "fs/fuse/worker_link.h"
#include "store/error.h"

namespace lrufs::fs::fuse {

class Supervisor {
 public:
  explicit Supervisor(SupervisorOptions options);
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;
  ~Supervisor();

  store::Status run();

 private:
  using Clock = std::chrono::steady_clock;

  struct Child {
    pid_t pid = -1;
    Fd link;
    Clock::time_point started;
    bool ready = false;
    std::optional<store::Error> error;
  };

  [[nodiscard]] TakeoverMemory& memory() const { return memory_->get(); }
  [[nodiscard]] const std::string& where() const { return options_.mount.mount_point; }

  // --- supervisor.cc
  store::Status begin();
  store::Status go_on_with_kept();
  void wait();
  [[nodiscard]] std::optional<std::chrono::milliseconds> next_look() const;
  void look_at_clock();
  void take_signals();
  void reap();
  void reap_others() const;
  void listen();
  void hear(const Packet& packet);
  void worker_is_ready();
  store::Result<Child> spawn_worker(const std::string& program, std::string_view verb);
  store::Status start_worker();
  void spawn_spare();
  void take_turn(Child&& next);
  static void put_down(Child& child);
  void worker_ended(int status);
  void restart(const std::string& reason);
  void note_restart(const std::string& reason);
  void look_for_stuck();

  // --- supervisor_upgrade.cc
  [[nodiscard]] bool can_answer_upgrade() const;
  void begin_upgrade();
  void hear_candidate();
  void candidate_ended(int status);
  void upgrade_failed(const std::string& why);
  void promote();

  // --- supervisor_end.cc
  void begin_stop(int signal);
  void begin_leave();
  void left();
  void detached(int status);
  void end(store::Status status);

  SupervisorOptions options_;
  Fd signals_;
  std::unique_ptr<MappedTakeover> memory_;
  OwnedMount mount_;
  Child worker_;
  Child spare_;  // has been started, and waits for its turn, so that nobody has to wait for its start
  RestartPolicy policy_;
  bool serves_ = false;     // the mount has answered; this or an earlier supervisor's
  bool announced_ = false;  // on_ready() was called
  unsigned stuck_looks_ = 0;
  std::optional<Clock::time_point> start_at_;  // the next worker
  std::optional<Clock::time_point> spare_at_;  // the next spare one

  UpgradeSocket upgrades_;
  Child candidate_;  // stands by, with the program of an upgrade
  std::string candidate_program_;
  bool handing_over_ = false;     // the worker was told to let the candidate go on
  std::string fallback_program_;  // while the candidate has not served yet

  pid_t detacher_ = -1;
  bool stopping_ = false;
  bool leaving_ = false;                      // the worker was told to let go, for the next supervisor
  std::optional<Clock::time_point> stop_at_;  // the worker is told to stop, unless it has ended by then
  std::optional<store::Status> end_;
};

}  // namespace lrufs::fs::fuse
