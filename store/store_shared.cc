// Options::shared: reading a store that another process writes, and what the writer does about such readers.
// The protocol is in shared_readers.h.
#include <algorithm>
#include <chrono>
#include <thread>

#include "store/store_impl.h"

namespace lrufs::store {

namespace {

// How often a writer asks whether the readers that it sees are still alive.
constexpr std::chrono::milliseconds kDeadPause{100};

constexpr std::chrono::milliseconds kStep{1};

}  // namespace

Status StoreImpl::lock_file(bool exclusive) {
  const auto deadline = std::chrono::steady_clock::now() + SharedReader::kPatience;
  for (;;) {
    // Asked before and after: the reader may begin or end in between.
    const bool before = ops->byte_is_locked(fd, kOpeningByte).value_or(false);
    Status locked = ops->lock(fd, exclusive);
    if (locked || locked.error().code != Code::kBusy) return locked;
    if (!before && !ops->byte_is_locked(fd, kOpeningByte).value_or(false)) return locked;
    if (std::chrono::steady_clock::now() > deadline) return locked;
    std::this_thread::sleep_for(kStep);
  }
}

// --- the reader
// ---------------------------------------------------------------------------------------------

Status StoreImpl::open_shared(bool can_announce) {
  if (!options.read_only || options.exclusive)
    return fail(Code::kInvalid, "a store can only be shared by those who read");
  const auto deadline = std::chrono::steady_clock::now() + SharedReader::kPatience;
  for (;;) {
    const Status locked = open_unwritten(can_announce);
    if (locked || locked.error().code != Code::kBusy) return locked;
    if (options.from_checkpoint)
      return fail(Code::kBusy, path +
                                   " is in use by another process, so its last checkpoint cannot be kept: "
                                   "read its current state, or unmount it first");
    if (!can_announce)
      return fail(
          Code::kNotPermitted,
          path +
              " is in use by another process, and you may not write to it: whoever reads a store that "
              "is in use announces that in its file. Read it as its owner or as root, or unmount it");
    const Status opened = open_beside_writer();
    if (opened || opened.error().code != Code::kStale) return opened;
    if (std::chrono::steady_clock::now() > deadline) return locked;
    // It opens the store, closes it, or has just died.
    std::this_thread::sleep_for(kStep);
  }
}

// kBusy: somebody writes.
Status StoreImpl::open_unwritten(bool can_announce) {
  bool opening = false;
  if (can_announce) {
    const auto deadline = std::chrono::steady_clock::now() + kDeadPause;
    do {
      LRUFS_TRY_ASSIGN(opening, ops->try_lock_byte(fd, kOpeningByte));
      if (!opening) std::this_thread::sleep_for(kStep);
    } while (!opening && std::chrono::steady_clock::now() < deadline);
  }
  Status opened = ops->lock(fd, false);
  if (opened) {  // nobody writes, and nobody begins to
    LRUFS_TRY_ASSIGN(identity, ops->identify(fd));
    opened = open_opened(identity.size == 0);
    // A store that is damaged stays as it is.
    if (opened && can_announce && !damaged_.load()) share_state(shared_txn_);
  }
  if (opening) ops->unlock_byte(fd, kOpeningByte);
  return opened;
}

Status StoreImpl::open_beside_writer() {
  LRUFS_TRY_ASSIGN(identity, ops->identify(fd));
  if (identity.size < kHeaderPages * kPageSize) return fail(Code::kStale);
  shared_reader_.reset();  // its lock would not keep another one of this file from its slot
  LRUFS_TRY_ASSIGN(shared_reader_, SharedReader::claim(*ops, fd));
  Status opened = fail(Code::kStale);
  // The live metas take turns: a writer that is fast enough overwrites the one that is looked for.
  constexpr int kTries = 100;
  for (int tries = 0; tries < kTries; ++tries) {
    LRUFS_TRY_ASSIGN(const TxnId txn, shared_reader_->announce_latest());
    std::array<std::byte, kMetaBytes> bytes;
    for (const std::uint64_t page : {kLiveMetaPage + raw(txn) % 2, kBaseMetaPage}) {
      LRUFS_TRY(ops->read(fd, page * kPageSize, bytes));
      const auto meta = decode_meta(bytes.data()).meta;
      if (meta && meta->txn == txn) return load_beside_writer(*meta);
    }
  }
  shared_reader_.reset();
  return opened;
}

Status StoreImpl::load_beside_writer(const Meta& meta) {
  LRUFS_TRY_ASSIGN(identity, ops->identify(fd));  // it may have grown until the state was published
  beside_writer_ = true;
  LRUFS_TRY(map_file(meta.bound_bytes));
  const MutexLock checkpoint_lock(checkpoint_mutex_);
  const MutexLock lock(writer_);
  shared_txn_ = meta.txn;
  current_ = durable_ = meta;
  name_hash = std::make_unique<NameHash>(meta.name_seed, options.name_hash_mask);
  options.bound = meta.bound_bytes;
  set_bound(options.bound);
  const std::uint64_t grown = identity.size / kPageSize;
  space_ = std::make_unique<SpaceMap>(std::max(capacity_.load(), grown));
  limbo_ = std::make_unique<Limbo>(readers, *space_);
  space_log_ = std::make_unique<SpaceLog>(*pager);
  const Status loaded = load_state(meta, meta);
  space_known_ = loaded.has_value();
  if (!loaded) open_damage_.push_back(describe(loaded.error()));
  settle_damage(meta.damaged);
  opened_from = "shared";
  pager->set_on_damage([this](PageNo page, const char* what) { see_damage(page, what); });
  space_->finish_load(grown);
  pager->set_current(space_->used_bits());
  next_seq.store(meta.counters.next_seq);
  durable_txn_.store(raw(meta.durable_txn));
  readers.publish(meta.txn, meta.roots);
  return {};
}

void StoreImpl::share_state(TxnId txn) {
  shared_reader_.reset();
  auto claimed = SharedReader::claim(*ops, fd);
  if (!claimed) return;  // then the lock stays: nobody writes meanwhile
  shared_reader_ = *std::move(claimed);
  shared_reader_->announce(txn);
  ops->unlock(fd);
}

// --- the writer
// ---------------------------------------------------------------------------------------------

void StoreImpl::meet_readers() {
  shared_readers_ = std::make_unique<SharedReaders>(base + kReaderTablePage * kPageSize, *ops, fd);
  shared_readers_->clear_dead(nullptr);
  // From now on what they see stays; who comes before begin_session() finds no writer, and looks again.
  readers.attach(shared_readers_.get());
}

// Readers of a state before this one, which another process wrote, may see any page that the current state
// does not use: what was freed in between is not known any more.
void StoreImpl::keep_all_for_readers() {
  std::uint64_t pages = 0;
  for (const PageRun& run : space_->take_rest()) {
    limbo_->add(current_.txn, run);
    pages += run.count;
  }
  event(Options::Severity::kInfo, std::to_string(shared_readers_->count()) +
                                      " processes still read the store as it was before: until they end, " +
                                      std::to_string(pages * kPageSize) +
                                      " bytes of its file are not reused");
}

Status StoreImpl::admit_readers() {
  const MutexLock lock(writer_);
  if (!shared_readers_) meet_readers();
  encode_meta(current_, base + kBaseMetaPage * kPageSize);
  return shared_readers_->begin_session(current_.session, current_.txn);
}

void StoreImpl::clear_dead_readers() {
  if (!shared_readers_ || !shared_readers_->has_claims()) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - dead_looked_for_ < kDeadPause) return;
  dead_looked_for_ = now;
  shared_readers_->clear_dead([&](std::uint64_t pid) {
    event(Options::Severity::kWarning, "process " + std::to_string(pid) +
                                           " died while it read the store: what was kept for it is free "
                                           "again");
  });
}

}  // namespace lrufs::store
