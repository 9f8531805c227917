// Which core a thread may run on, and how it gives way to others: the few calls of Linux that
// worker_pool.h needs to put one thread beside its client.
//
// Thread-safety: all functions, from any thread.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace lrufs::fs::fuse {

pid_t this_thread();

// The threads of this process, as /proc has them at the moment; none where that does not tell.
std::vector<pid_t> own_threads();

// The cores that this process was given, as of the first call.
const cpu_set_t& own_cores();

// SCHED_IDLE, which gives way to everything. The kernel takes a core on which nothing else runs for an idle
// one: a client that such a thread wakes stays on its core. False: not allowed.
bool give_way(pid_t thread, bool yes);

// Is there more than one core, and may a thread of ours give way and come back? Without CAP_SYS_NICE it may
// not come back (sched(7)); a thread of its own tries it.
bool can_run_close();

bool pin_to(pid_t thread, int core);
bool unpin(pid_t thread);
// To any core but this one, at once.
bool move_off(pid_t thread, int core);

// Where a thread of any process ran last; nothing if it cannot be seen from here (another pid namespace).
std::optional<int> core_of(std::uint32_t thread);

}  // namespace lrufs::fs::fuse
