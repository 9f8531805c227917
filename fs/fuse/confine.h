// confine(): a daemon that serves gives up what serving does not need, so that whoever gets hold of it by a
// hostile request or store has little: no capability but CAP_DAC_READ_SEARCH (and CAP_SYS_NICE, where the
// limit of priorities cannot be raised), no path that it may open for writing, few that it may read, no other
// program, no mounts, no new rights. Beside it remains a keeper (keeper.h), which unmounts.
//
// Each part that the kernel does not have is left out; the log says what holds.
//
// Call confine() once, when the mount is made, in the process that serves; threads that run already are
// confined as well. Not from a thread that holds locks of others.
#pragma once

#include "fs/fuse/mount_options.h"

namespace lrufs::fs::fuse {

// Does nothing if options.confine is not set.
void confine(const MountOptions& options);

// What can be done long before, while nobody waits: the keeper is started.
void prepare_to_confine(const MountOptions& options);

}  // namespace lrufs::fs::fuse
