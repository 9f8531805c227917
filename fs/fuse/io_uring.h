// FUSE over io_uring, as libfuse 3.18 has it: a thread and a queue for each core, which libfuse starts at
// INIT and which serve all requests but FORGET and what comes before they are ready. What is ours is to say
// why it cannot be had, and to end these threads.
//
// A queue serves its core's requests one after the other: other requests of the same core wait behind a long
// one. And what is in flight cannot be taken over by another process. So it is a choice and no default.
//
// Thread-safety: from one thread.
#pragma once

#include "fs/fuse/fuse_api.h"
#include "store/error.h"

namespace lrufs::fs::fuse {

// kInvalid, with what to do about it: this build, this kernel or its setting does not have it.
store::Status io_uring_is_there();

// After the connection has ended: waits for libfuse's threads to answer what they have, and frees them.
void end_io_uring(fuse_session* session);

}  // namespace lrufs::fs::fuse
