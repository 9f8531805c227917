#include "fs/fuse/context.h"

#include <utility>

#include "fs/fuse/control.h"
#include "fs/fuse/event_log.h"

namespace lrufs::fs::fuse {

Context::Context(Volume& v, Notifier& n, MountOptions o) : volume(v), notifier(n), options(std::move(o)) {}
Context::~Context() = default;

}  // namespace lrufs::fs::fuse
