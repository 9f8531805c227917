// The first exchange with the kernel, INIT, which has to be over before the workers start.
//
// libfuse before 3.17 negotiates PARALLEL_DIROPS and then does not send it: lookups and listings in one
// directory would wait for each other. HANDLE_KILLPRIV_V2 it does not know. For these versions its answer is
// caught on the way (the session's descriptor is a socket for as long as INIT is processed) and the flags are
// added.
#pragma once

#include <array>

#include "fs/fuse/connection.h"
#include "fs/fuse/fuse_api.h"
#include "fs/fuse/takeover_memory.h"
#include "store/error.h"

namespace lrufs::fs::fuse {

// Waits for INIT and answers it, through libfuse. `connection` is what the init callback fills, during this
// call; what is added to the answer is added there, too. kBusy: one of `stop_fds` became readable first. kIo:
// the kernel and libfuse do not agree, or the connection ended.
// With `memory`, the kernel's INIT and the answer are kept there.
store::Status exchange_init(fuse_session* session, Connection& connection, const std::array<int, 2>& stop_fds,
                            TakeoverMemory* memory = nullptr);

// The exchange that another process has had, as `memory` keeps it: libfuse learns of it, the kernel is not
// answered again. kInvalid: this version would have agreed on something else.
store::Status repeat_init(fuse_session* session, Connection& connection, const TakeoverMemory& memory);

}  // namespace lrufs::fs::fuse
