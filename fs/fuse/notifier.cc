#include "fs/fuse/notifier.h"

#include <utility>

#include "fs/fuse/fuse_api.h"
#include "fs/fuse/kernel_notices.h"

namespace lrufs::fs::fuse {
namespace {

using store::raw;

// A listing or a lookup that was answered from before the eviction may reach the kernel's cache after the
// notification. It has arrived by then, unless its reader was held up for this long.
constexpr std::chrono::milliseconds kSettle{1000};

bool is_held(const NodeTable& nodes, store::Ino ino) { return ino == store::kRootIno || nodes.held(ino); }

}  // namespace

Notifier::Notifier(std::size_t bound) : bound_(bound) {}
Notifier::~Notifier() { stop(); }

void Notifier::start(fuse_session* session, const NodeTable& nodes, int socket, std::uint32_t generation) {
  notices_ = std::make_unique<KernelNotices>(session, socket, generation);
  {
    const store::MutexLock lock(mutex_);
    session_ = session;
    nodes_ = &nodes;
    running_ = true;
  }
  thread_ = std::thread([this] { run(); });
}

void Notifier::stop() {
  {
    const store::MutexLock lock(mutex_);
    running_ = false;
    nodes_ = nullptr;
    work_ = {};
  }
  if (notices_) notices_->stop();
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Notifier::removed(const std::vector<store::Evicted>& evicted) {
  const NodeTable* nodes = nullptr;
  {
    const store::MutexLock lock(mutex_);
    nodes = nodes_;
  }
  if (nodes == nullptr) return;
  // The shards' locks are taken without ours. An inode that comes to be held after this look was looked up
  // after the eviction, and so under another name, or not at all.
  Work found;
  for (const store::Evicted& e : evicted) {
    if (!is_held(*nodes, e.parent)) continue;
    if (e.kept_as_orphan || nodes->held(e.ino)) {
      found.names.push_back(e);
    } else {
      found.directories.insert(raw(e.parent));
    }
  }
  if (found.names.empty() && found.directories.empty()) return;

  const store::MutexLock lock(mutex_);
  if (!running_) return;
  for (store::Evicted& e : found.names) {
    if (work_.names.size() < bound_) {
      work_.names.push_back(std::move(e));
    } else {
      ++counts_.coalesced;
      add_directory(raw(e.parent));
    }
  }
  for (const std::uint64_t directory : found.directories) add_directory(directory);
  wake_.notify_one();
}

void Notifier::add_directory(std::uint64_t ino) {
  if (work_.directories.size() < bound_) work_.directories.insert(ino);
}

void Notifier::attributes_changed(store::Ino ino) {
  fuse_session* session = nullptr;
  {
    const store::MutexLock lock(mutex_);
    session = session_;
  }
  if (session != nullptr) fuse_lowlevel_notify_inval_inode(session, raw(ino), -1, 0);
}

Notifier::Counts Notifier::counts() const {
  const store::MutexLock lock(mutex_);
  Counts counts = counts_;
  counts.queued = work_.names.size() + work_.directories.size();
  return counts;
}

// Waits for work; with directories that settle, no longer than until these are due. False: the end.
bool Notifier::next(Work& work) {
  const store::MutexLock lock(mutex_);
  while (running_ && work_.names.empty() && work_.directories.empty()) {
    idle_ = true;
    became_idle_.notify_all();
    if (settling_.empty()) {
      wake_.wait(mutex_);
    } else if (!wake_.wait_until(mutex_, settle_at_)) {
      break;
    }
  }
  work = std::exchange(work_, {});
  idle_ = !running_;
  if (idle_) became_idle_.notify_all();
  return running_;
}

bool Notifier::idle_within(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  const store::MutexLock lock(mutex_);
  while (running_ && (!idle_ || !work_.names.empty() || !work_.directories.empty())) {
    if (!became_idle_.wait_until(mutex_, deadline)) return false;
  }
  return true;
}

void Notifier::run() {
  for (Work work; next(work);) {
    tell_names(work);
    tell_directories(work.directories);
    if (!settling_.empty() && std::chrono::steady_clock::now() >= settle_at_) {
      tell_directories(std::exchange(settling_, {}));
    }
    if (work.directories.empty()) continue;
    // A directory that changes all the time is told all the time anyway, so that the due time may stay as it
    // is.
    if (settling_.empty()) settle_at_ = std::chrono::steady_clock::now() + kSettle;
    settling_.merge(work.directories);
  }
}

void Notifier::tell_names(Work& work) {
  for (const store::Evicted& e : work.names) {
    // Not notify_delete: it also takes the lock of the inode itself, which a program that goes on writing to
    // the evicted file holds while its WRITE waits for the room that our work here brings.
    notices_->name_gone(e.parent, e.name);
    // Who has it open sees that it has no name any more. Negative offset: the attributes alone.
    if (e.kept_as_orphan) notices_->inode_changed(e.ino, -1);
  }
  const std::vector<int> results = notices_->send();
  std::size_t at = 0;
  for (const store::Evicted& e : work.names) {
    // ENOENT: the kernel has no such name, so it has not marked the directory as changed; its listing may
    // have it.
    if (results.at(at) != 0) work.directories.insert(raw(e.parent));
    at += e.kept_as_orphan ? 2 : 1;
  }
  const store::MutexLock lock(mutex_);
  counts_.names += work.names.size();
}

void Notifier::tell_directories(const InoSet& directories) {
  {
    const store::MutexLock lock(mutex_);
    counts_.directories += directories.size();
  }
  // Offset 0, not -1: the cached listing has to go, and not just the attributes. Errors mean that the kernel
  // does not know the directory, or that the connection is gone.
  for (const std::uint64_t directory : directories) notices_->inode_changed(store::Ino{directory}, 0);
  (void)notices_->send();
}

}  // namespace lrufs::fs::fuse
