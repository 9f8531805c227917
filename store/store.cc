#include "store/store.h"

#include <dirent.h>

#include <algorithm>

#include "store/bytes.h"
#include "store/store_impl.h"

namespace lrufs::store {

namespace {

// The parts of "a/b/c", one after the other.
class PathParts {
 public:
  // kInvalid for empty, "." and ".." parts.
  static Result<PathParts> of(std::string_view key) {
    for (PathParts parts(key); !parts.done();) {
      if (parts.rest_.back() == '/') return fail(Code::kInvalid, "a key does not end in \"/\"");
      const std::string_view part = parts.next();
      if (part.empty() || part == "." || part == "..")
        return fail(Code::kInvalid, "a key is a path like \"a/b/c\", without empty parts, \".\" or \"..\"");
      if (part.size() > kMaxName) return fail(Code::kNameTooLong);
    }
    return PathParts(key);
  }
  [[nodiscard]] bool done() const { return rest_.empty(); }
  std::string_view next() {
    const std::size_t slash = rest_.find('/');
    const std::string_view part = rest_.substr(0, slash);
    rest_.remove_prefix(slash == std::string_view::npos ? rest_.size() : slash + 1);
    return part;
  }

 private:
  explicit PathParts(std::string_view key) : rest_(key) {}
  std::string_view rest_;
};

// The object at the end of the path.
Result<ReadView::Object> walk(const ReadView& view, PathParts parts) {
  if (parts.done()) return view.object(kRootIno);
  Result<ReadView::Object> found = view.find(kRootIno, parts.next());
  while (found && !parts.done()) {
    if (found->inode.is_directory())
      found = view.find(found->inode.ino, parts.next());
    else
      found = fail(Code::kNotDirectory);
  }
  return found;
}

// The directory that the last part of the path is in, and that part; kInvalid for the empty path.
struct Parent {
  Inode dir;
  std::string_view name;
};
Result<Parent> walk_to_parent(const ReadView& view, PathParts parts) {
  if (parts.done()) return fail(Code::kInvalid);
  LRUFS_TRY_ASSIGN(Inode dir, view.inode(kRootIno));
  for (;;) {
    const std::string_view name = parts.next();
    if (parts.done()) return Parent{dir, name};
    LRUFS_TRY_ASSIGN(const ReadView::Object& object, view.find(dir.ino, name));
    if (!object.inode.is_directory()) return fail(Code::kNotDirectory);
    dir = object.inode;
  }
}

Result<Inode> make_child(Transaction& txn, Inode& dir, std::string_view name, std::uint32_t mode) {
  Inode prototype;
  prototype.ttl = dir.ttl;
  prototype.mode = mode;
  prototype.uid = dir.uid;
  prototype.gid = dir.gid;
  prototype.atime = prototype.mtime = prototype.ctime = prototype.btime = now();
  LRUFS_TRY_ASSIGN(Inode child, txn.create(prototype));
  LRUFS_TRY(txn.link(dir, name, child));
  dir.mtime = dir.ctime = child.ctime;
  LRUFS_TRY(txn.put_inode(dir));
  return child;
}

// The file at the end of the path, made with its parents if it is absent; the caller puts it. `used`: to be
// touched; kNoIno for a new file, whose number is its place in the order.
// `expired`: one of that name is in the way, which has to be reaped first.
Result<Inode> open_for_writing(const StoreImpl& store, Transaction& txn, PathParts parts, Ino& used,
                               std::vector<Ino>& expired) {
  used = kNoIno;
  if (parts.done()) return fail(Code::kIsDirectory);
  Ino at = kRootIno;
  for (;;) {
    const std::string_view name = parts.next();
    const bool last = parts.done();
    const auto inode = txn.find(at, name);
    if (inode) {
      if (last) {
        if (store.is_expired(*inode)) {
          expired.assign(1, inode->ino);
          return fail(Code::kNotFound);
        }
        if (!inode->is_regular()) return fail(Code::kIsDirectory);
        used = inode->ino;
        return *inode;
      }
      if (!inode->is_directory()) return fail(Code::kNotDirectory);
      at = inode->ino;
      continue;
    }
    if (inode.error().code != Code::kNotFound) return fail(inode.error());
    LRUFS_TRY_ASSIGN(Inode dir, txn.view().inode(at));
    LRUFS_TRY_ASSIGN(const Inode child, make_child(txn, dir, name, last ? 0100644 : 0040755));
    if (last) return child;
    LRUFS_TRY(txn.put_inode(child));
    at = child.ino;
  }
}

}  // namespace

Store::Store(std::unique_ptr<StoreImpl> impl) : impl_(std::move(impl)) {}
Store::~Store() = default;

Result<std::unique_ptr<Store>> Store::open(const std::string& path, Options options) {
  auto impl = std::make_unique<StoreImpl>(path, std::move(options));
  LRUFS_TRY(impl->open());
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

Status Store::close() { return impl_->close(); }

Snapshot Store::snapshot(Snapshot::Kind kind) const { return impl_->snapshot(kind); }

Result<Transaction> Store::begin(Purpose purpose) {
  LRUFS_TRY_ASSIGN(auto state, impl_->begin(purpose));
  return StoreImpl::make_transaction(std::move(state));
}

Status Store::update(const Body& body, Purpose purpose) { return impl_->update(body, purpose); }
Result<StagedData> Store::stage(std::uint64_t offset, Bytes data) { return impl_->stage(offset, data); }

Store::Protection::Protection(Store& store, Ino ino) : store_(store), ino_(ino) {
  const MutexLock lock(store_.impl_->protected_mutex_);
  ++store_.impl_->protected_[raw(ino_)];
  store_.impl_->last_written_.store(raw(ino_));
}

Store::Protection::~Protection() {
  const MutexLock lock(store_.impl_->protected_mutex_);
  const auto found = store_.impl_->protected_.find(raw(ino_));
  if (--found->second == 0) store_.impl_->protected_.erase(found);
}

void Store::touch(Ino ino) {
  if (impl_->options.read_only) return;
  impl_->touch_count_.fetch_add(1, std::memory_order_relaxed);
  impl_->touches.touch(ino);
  if (impl_->touches.full()) impl_->wake_background();
}

void Store::touch(const Inode& inode) {
  touch(inode.ino);
  if (inode.expires_ever() && impl_->options.ttl_from_use && !impl_->options.read_only)
    impl_->note_use(inode);
}

bool Store::is_expired(const Inode& inode) const { return impl_->is_expired(inode); }
std::uint64_t Store::expires_at(const Inode& inode) const { return impl_->expires_at(inode); }
Status Store::reap(const std::vector<Ino>& inodes) { return impl_->reap(inodes); }

Result<std::vector<Ino>> Store::all_expired(const ReadView& view, Ino dir) const {
  constexpr std::size_t kAtOnce = 64;
  std::vector<Ino> expired;
  if (view.roots().expiry.page == kNoPage) return expired;
  std::vector<Ino> entries;
  LRUFS_TRY(view.list(dir, Cookie{0}, [&](const DirEntry& entry) {
    entries.push_back(entry.ino);
    return entries.size() < kAtOnce;
  }));
  for (const Ino ino : entries) {
    LRUFS_TRY_ASSIGN(const Inode inode, view.inode(ino));
    if (!is_expired(inode)) return std::vector<Ino>();
    expired.push_back(ino);
  }
  return expired;
}

Result<std::uint64_t> Store::reap_expired() {
  constexpr std::size_t kBatch = 64;
  LRUFS_TRY(impl_->write_uses(true));
  std::size_t reaped = 0;
  for (bool more = true; more;) {
    LRUFS_TRY_ASSIGN(more, impl_->reap_some(kBatch, reaped));
  }
  return reaped;
}

void Store::writer_barrier() const { const MutexLock lock(impl_->writer_); }
Status Store::reclaim(const std::vector<Ino>& inodes) { return impl_->reclaim(inodes); }

Status Store::reclaim_orphans() { return impl_->reclaim_orphans(); }

bool Store::is_short_of_room() const { return impl_->eviction_due_.load(std::memory_order_relaxed) != 0; }

Result<std::uint64_t> Store::evict(std::uint64_t bytes) {
  std::uint64_t freed = 0;
  while (freed < bytes) {
    LRUFS_TRY_ASSIGN(const auto pages,
                     impl_->evict_some(pages_for(bytes - freed), 64, EvictionReason::kRequest));
    if (!pages) break;
    freed += *pages * kPageSize;
  }
  return freed;
}

Result<std::vector<Store::Standing>> Store::next_to_go(std::size_t limit) const {
  return impl_->next_to_go(limit);
}
Result<std::vector<Store::Standing>> Store::last_used(std::size_t limit) const {
  return impl_->last_used(limit);
}

Result<Evictions> Store::evict_key(std::string_view key) {
  LRUFS_TRY_ASSIGN(const Inode inode, resolve(key));
  if (inode.ino == kRootIno) return fail(Code::kNotPermitted, "the root cannot be evicted");
  if (inode.is_directory() && inode.entries > 0) return fail(Code::kNotEmpty);
  Evictions done;
  LRUFS_TRY(impl_->evict_these({inode.ino}, done));
  if (done.objects == 0) return fail(Code::kBusy, "it is being written, or a pin keeps it");
  return done;
}

Result<Evictions> Store::evict_prefix(std::string_view prefix) {
  const std::size_t slash = prefix.rfind('/');
  const std::string_view dir = slash == std::string_view::npos ? "" : prefix.substr(0, slash);
  const std::string_view name = slash == std::string_view::npos ? prefix : prefix.substr(slash + 1);
  LRUFS_TRY_ASSIGN(const Inode inode, resolve(dir));
  if (!inode.is_directory()) return fail(Code::kNotDirectory);
  Evictions done;
  LRUFS_TRY(impl_->evict_below(inode.ino, name, done));
  return done;
}

Status Store::resize(std::uint64_t bound, const OnProgress& on_progress) {
  return impl_->resize(bound, on_progress);
}
Status Store::compact(Company company, const OnProgress& on_progress) {
  return impl_->compact(company, on_progress);
}

Result<std::vector<Ino>> Store::eviction_order(std::size_t limit) const {
  // Simulated on an aborted transaction: the victims are taken out one by one, and nothing of it is
  // published.
  LRUFS_TRY_ASSIGN(auto state, impl_->begin(Purpose::kDelete));
  Transaction txn(StoreImpl::make_transaction(std::move(state)));
  std::vector<Ino> order;
  while (order.size() < limit) {
    bool paused = false;
    LRUFS_TRY_ASSIGN(const auto victim, impl_->next_victim(txn, ~std::size_t{0}, paused));
    if (paused) continue;
    if (!victim) break;
    order.push_back(victim->inode.ino);
    std::vector<Evicted> told;
    std::vector<std::uint64_t> pages;
    const Inode& inode = victim->inode;
    LRUFS_TRY_ASSIGN(const std::vector<Link> links, txn.view().links(inode));
    Inode gone = inode;
    for (const Link& link : links) {
      LRUFS_TRY_ASSIGN(Inode dir, txn.view().inode(link.parent));
      LRUFS_TRY_ASSIGN(const DirEntry entry, txn.view().entry_at(link.parent, link.cookie));
      const std::string name(entry.name);
      LRUFS_TRY(txn.unlink(dir, name, gone));
      LRUFS_TRY(txn.put_inode(dir));
    }
    LRUFS_TRY(txn.destroy(gone));
  }
  return order;
}

Status Store::checkpoint() {
  const StoreImpl::Wait wait(impl_->options);
  return impl_->checkpoint(impl_->readers.latest(), false, false);
}
Statistics Store::statistics() const { return impl_->statistics(); }
std::string Store::failure() const {
  const MutexLock lock(impl_->failure_mutex_);
  return impl_->failure_;
}
bool Store::read_only() const { return impl_->options.read_only || impl_->failed_.load(); }
bool Store::all_readable(const std::vector<Segment>& segments) { return impl_->all_readable(segments); }
std::uint64_t Store::max_file_size() const {
  // Beside the content: the space log before it is condensed, the extents, and what holds the name.
  constexpr std::uint64_t kLogPages = 272;
  const std::uint64_t other =
      impl_->reserve_ + kHeaderPages + kLogPages + impl_->image_pages() + impl_->capacity_ / 256;
  const std::uint64_t capacity = impl_->capacity_;
  return (capacity - std::min(capacity, other)) * kPageSize;
}

// --- by path
// -----------------------------------------------------------------------------------------------------------

Result<Inode> Store::resolve(std::string_view key) const {
  LRUFS_TRY_ASSIGN(const PathParts parts, PathParts::of(key));
  const Snapshot state = snapshot(Snapshot::Kind::kTransient);
  LRUFS_TRY_ASSIGN(const ReadView::Object& object, walk(state.view(), parts));
  if (is_expired(object.inode)) return fail(Code::kNotFound);
  return object.inode;
}

// update() of a body that may meet expired files in its way: it says which, and fails; then these go, and it
// runs again.
template <typename ExpiryBody>
Status Store::without_expired(const ExpiryBody& body, Purpose purpose) {
  for (;;) {
    std::vector<Ino> expired;
    Status done = update(
        [&](Transaction& txn) -> Status {
          expired.clear();
          return body(txn, expired);
        },
        purpose);
    if (done || expired.empty()) return done;
    LRUFS_TRY(reap(expired));
  }
}

Status Store::put(std::string_view key, Bytes value) {
  LRUFS_TRY_ASSIGN(const PathParts parts, PathParts::of(key));
  StagedData staged;
  if (value.size() >= kStageThreshold) {
    LRUFS_TRY_ASSIGN(staged, stage(0, value));
  }
  Ino used = kNoIno;
  Ino written = kNoIno;
  LRUFS_TRY(without_expired([&](Transaction& txn, std::vector<Ino>& expired) -> Status {
    LRUFS_TRY_ASSIGN(Inode inode, open_for_writing(*impl_, txn, parts, used, expired));
    if (used != kNoIno) impl_->touches.prefetch(used);
    written = inode.ino;
    // What a value of the same form covers is replaced where it is; the rest goes first.
    const bool same_form = ((inode.flags & Inode::kPaged) != 0U) == (value.size() > kMaxInline);
    if (inode.size > value.size() || !same_form) LRUFS_TRY(txn.truncate(inode, 0));
    LRUFS_TRY(txn.write(inode, 0, value, &staged));
    inode.mtime = inode.ctime = now();
    return txn.put_inode(inode);
  }));
  impl_->last_written_.store(raw(written));
  if (used != kNoIno) touch(used);
  return {};
}

Result<std::string> Store::get(std::string_view key) {
  Result<std::string> value;
  if (Status found = get(key, *value); !found) value = tl::unexpected(std::move(found).error());
  return value;
}

Status Store::get(std::string_view key, std::string& value) {
  LRUFS_TRY_ASSIGN(const PathParts parts, PathParts::of(key));
  const Snapshot::State state(*impl_, Snapshot::Kind::kTransient);
  LRUFS_TRY_ASSIGN(const ReadView::Object& object, walk(state.view, parts));
  const Inode& inode = object.inode;
  if (inode.is_directory()) return fail(Code::kIsDirectory);
  if (inode.expires_ever() && is_expired(inode)) return fail(Code::kNotFound);
  impl_->touches.prefetch(inode.ino);
  std::vector<Segment> segments;
  LRUFS_TRY(state.view.map_content(object, 0, inode.size, segments));
  value.clear();
  value.reserve(inode.size);
  for (const Segment& segment : segments) {
    if (segment.data == nullptr)
      value.append(segment.length, '\0');
    else
      value.append(as_text({segment.data, segment.length}));
  }
  for (const Segment& segment : segments) {
    if (segment.data != nullptr && impl_->pager->lost_bytes(segment.data, segment.length))
      return unreadable(kNoPage);
  }
  touch(inode);
  impl_->bytes_read_.fetch_add(value.size(), std::memory_order_relaxed);
  return {};
}

Result<std::uint64_t> Store::read(std::string_view key, std::uint64_t offset, MutableBytes out) {
  LRUFS_TRY_ASSIGN(const PathParts parts, PathParts::of(key));
  const Snapshot::State state(*impl_, Snapshot::Kind::kTransient);
  LRUFS_TRY_ASSIGN(const ReadView::Object& object, walk(state.view, parts));
  const Inode& inode = object.inode;
  if (inode.is_directory()) return fail(Code::kIsDirectory);
  if (is_expired(inode)) return fail(Code::kNotFound);
  touch(inode);
  LRUFS_TRY_ASSIGN(const std::uint64_t bytes, state.view.read(inode, offset, out));
  impl_->bytes_read_.fetch_add(bytes, std::memory_order_relaxed);
  return bytes;
}

Status Store::write(std::string_view key, std::uint64_t offset, Bytes data) {
  LRUFS_TRY_ASSIGN(const PathParts parts, PathParts::of(key));
  StagedData staged;
  if (data.size() >= kStageThreshold) {
    LRUFS_TRY_ASSIGN(staged, stage(offset, data));
  }
  Ino used = kNoIno;
  Ino written = kNoIno;
  LRUFS_TRY(without_expired([&](Transaction& txn, std::vector<Ino>& expired) -> Status {
    LRUFS_TRY_ASSIGN(Inode inode, open_for_writing(*impl_, txn, parts, used, expired));
    written = inode.ino;
    LRUFS_TRY(txn.write(inode, offset, data, &staged));
    inode.mtime = inode.ctime = now();
    return txn.put_inode(inode);
  }));
  impl_->last_written_.store(raw(written));
  if (used != kNoIno) touch(used);
  return {};
}

Status Store::erase(std::string_view key) {
  LRUFS_TRY_ASSIGN(const PathParts parts, PathParts::of(key));
  if (parts.done()) return fail(Code::kNotPermitted, "the root cannot be erased");
  return without_expired(
      [&](Transaction& txn, std::vector<Ino>& expired) -> Status {
        LRUFS_TRY_ASSIGN(const Parent parent, walk_to_parent(txn.view(), parts));
        Inode dir = parent.dir;
        LRUFS_TRY_ASSIGN(const ReadView::Object& object, txn.view().find(dir.ino, parent.name));
        Inode child = object.inode;
        if (is_expired(child)) {
          expired.assign(1, child.ino);
          return fail(Code::kNotFound);
        }
        if (child.is_directory() && child.entries > 0) {
          LRUFS_TRY_ASSIGN(expired, all_expired(txn.view(), child.ino));
          return fail(Code::kNotEmpty);
        }
        LRUFS_TRY(txn.unlink(dir, parent.name, child));
        dir.mtime = dir.ctime = now();
        LRUFS_TRY(txn.put_inode(dir));
        if (child.nlink > (child.is_directory() ? 1U : 0U)) return txn.put_inode(child);
        if (impl_->options.is_held && impl_->options.is_held(child.ino)) {
          child.nlink = 0;
          LRUFS_TRY(txn.orphan(child));
          return txn.put_inode(child);
        }
        return txn.destroy(child);
      },
      Purpose::kDelete);
}

Result<std::vector<std::string>> Store::names(std::string_view dir, std::string_view from,
                                              std::size_t limit) const {
  LRUFS_TRY_ASSIGN(const PathParts parts, PathParts::of(dir));
  const Snapshot state = snapshot(Snapshot::Kind::kTransient);
  LRUFS_TRY_ASSIGN(const ReadView::Object& object, walk(state.view(), parts));
  const Inode& inode = object.inode;
  if (!inode.is_directory()) return fail(Code::kNotDirectory);
  std::vector<std::string> names;
  const bool some_expire = state.view().roots().expiry.page != kNoPage;
  LRUFS_TRY(state.view().list(inode.ino, Cookie{0}, [&](const DirEntry& entry) {
    if (entry.name < from) return true;
    const auto child = some_expire ? state.view().inode(entry.ino) : Result<Inode>(Inode());
    if (!child || !is_expired(*child)) names.emplace_back(entry.name);
    return true;
  }));
  const std::size_t count = std::min(limit, names.size());
  std::partial_sort(names.begin(), names.begin() + static_cast<long>(count), names.end());
  names.resize(count);
  return names;
}

Statistics StoreImpl::statistics() {
  Statistics s;
  tell_losses();
  {
    const MutexLock lock(writer_);
    clear_dead_readers();
    s.bound_bytes = current_.bound_bytes;
    s.used_bytes = space_->used() * kPageSize;
    s.file_bytes = space_->grown() * kPageSize;
    s.free_bytes = (space_->free() + growable()) * kPageSize;
    const std::uint64_t set_aside = images_ ? images_->pages().size() : 0;
    s.trimmed_bytes = space_->holes() * kPageSize;
    s.pending_bytes = (space_->pending() + space_->busy() - set_aside) * kPageSize;
    s.snapshot_bytes = limbo_->pages() * kPageSize;
    s.pinned_objects = current_.counters.pinned_objects;
    s.pinned_directories = current_.counters.pinned_directories;
    s.pinned_bytes = current_.counters.pinned_bytes;
    s.parked_objects = current_.counters.parked;
    s.dirty_bytes = space_->unsynced() * kPageSize;
    s.snapshot_microseconds = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(limbo_->age()).count());
    s.files = current_.counters.files;
    s.directories = current_.counters.directories;
    s.orphans = current_.counters.orphans;
    s.content_bytes = current_.counters.content_bytes;
    s.txn = raw(current_.txn);
    s.uuid = format_hex128(current_.uuid);
  }
  s.capacity_bytes = capacity_ * kPageSize;
  s.reserve_bytes = reserve_ * kPageSize;
  s.durable_txn = durable_txn_.load();
  s.pending_touches = touches.size();
  s.shared_readers = readers.count_shared();
  s.readers = readers.count() + s.shared_readers;
  s.oldest_reader_lag = raw(readers.latest()) - raw(readers.oldest());
  s.max_files = options.max_files;
  const auto in_use = [&](std::uint64_t unused) {
    const std::uint64_t capacity = capacity_;
    return (capacity - std::min(capacity, unused)) * kPageSize;
  };
  s.evict_above_bytes = in_use(evict_start());
  s.evict_until_bytes = in_use(evict_stop());
  s.read_only = options.read_only || failed_.load();
  s.damaged = damaged_.load();
  s.opened_from = opened_from;
  s.open_microseconds = open_us;
  s.commits = commits_.load();
  s.aborts = aborts_.load();
  s.checkpoints = checkpoints_.load();
  s.checkpoint_failures = checkpoint_failures_.load();
  s.checkpoint_microseconds = checkpoint_us_.load();
  s.sync_calls = sync_calls_.load();
  for (std::size_t i = 0; i < kEvictionReasons; ++i) {
    s.evictions.at(i) = {evictions_.at(i).objects.load(), evictions_.at(i).bytes.load()};
    const bool expired = i == static_cast<std::size_t>(EvictionReason::kExpiry);
    (expired ? s.expired_objects : s.evicted_objects) += s.evictions.at(i).objects;
    (expired ? s.expired_bytes : s.evicted_bytes) += s.evictions.at(i).bytes;
  }
  s.touches = touch_count_.load();
  s.touch_flushes = touch_flushes_.load();
  s.room_waits = room_waits_.load();
  s.bytes_written = bytes_written_.load();
  s.bytes_read = bytes_read_.load();
  s.corrupt_pages = pager->corrupt_pages();
  s.unreadable_pages = guard->lost_pages();
  return s;
}

}  // namespace lrufs::store
