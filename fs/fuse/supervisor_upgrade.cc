// Another version of the program takes over: it stands by beside the worker, and goes on when that has let
// go.
#include <sys/wait.h>

#include <utility>

#include "fs/fuse/event.h"
#include "fs/fuse/spawn.h"
#include "fs/fuse/supervisor_impl.h"

namespace lrufs::fs::fuse {

// Who asks while a worker is just starting waits for it.
bool Supervisor::can_answer_upgrade() const { return stopping_ || (worker_.ready && candidate_.pid <= 0); }

void Supervisor::begin_upgrade() {
  const auto program = upgrades_.accept();
  if (!program) return;
  if (stopping_) {
    upgrades_.answer("the mount is ending");
    return;
  }
  candidate_program_ = *program;
  auto candidate = spawn_worker(*program, kStandbyVerb);
  if (!candidate) {
    upgrades_.answer(store::describe(candidate.error()));
    return;
  }
  candidate_ = *std::move(candidate);
}

void Supervisor::hear_candidate() {
  while (const auto packet = receive_message(candidate_.link.get(), false)) {
    if (packet->what == Message::kFailed) candidate_.error = packet->error;
    if (packet->what == Message::kStandsBy && worker_.ready) {
      handing_over_ = true;
      send_message(worker_.link.get(), Message::kHandOver);
    }
    if (packet->what == Message::kStandsBy) return;
  }
  candidate_.link = Fd();
}

void Supervisor::candidate_ended(int status) {
  hear_candidate();  // its last words
  candidate_.pid = -1;
  upgrade_failed(candidate_.error ? store::describe(*candidate_.error)
                                  : "the new version ended with " + how_it_ended(status));
}

// Nothing happens if there is none.
void Supervisor::upgrade_failed(const std::string& why) {
  if (candidate_.pid <= 0 && candidate_program_.empty()) return;
  if (!handing_over_)
    tell(Level::warn, "upgrade_failed", where() + ": no upgrade to " + candidate_program_ + ": " + why);
  put_down(candidate_);
  candidate_program_.clear();
  upgrades_.answer(why);
}

// The worker has let go: the candidate's turn.
void Supervisor::promote() {
  handing_over_ = false;
  put_down(spare_);  // of the old program
  fallback_program_ = std::exchange(options_.program, std::exchange(candidate_program_, {}));
  memory().supervised.killed = 1;  // nobody is to be suspected
  take_turn(std::exchange(candidate_, Child()));
}

}  // namespace lrufs::fs::fuse
