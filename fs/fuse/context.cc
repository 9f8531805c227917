#include "fs/fuse/context.h"

#include <utility>

#include "fs/fuse/control.h"
#include "fs/fuse/event_log.h"

namespace lrufs::fs::fuse {

Context::Context(Volume& v, Notifier& n, MountOptions o) : volume(v), notifier(n), options(std::move(o)) {}
Context::~Context() = default;

std::optional<WorkerPool::Counts> Context::threads() const {
  const store::MutexLock lock(pool_mutex_);
  if (pool_ == nullptr) return std::nullopt;
  return pool_->counts();
}

void Context::set_pool(const WorkerPool* pool) {
  const store::MutexLock lock(pool_mutex_);
  pool_ = pool;
}

}  // namespace lrufs::fs::fuse
