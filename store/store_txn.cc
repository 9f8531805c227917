// Begin, commit, abort; the pages of a transaction; update() with its retries; snapshots.
#include <algorithm>
#include <cerrno>

#include "store/faults.h"
#include "store/store_impl.h"

namespace lrufs::store {

Transaction::State::State(StoreImpl& owner, Store::Purpose why, bool in_place)
    : store(&owner),
      purpose(why),
      id(TxnId{raw(owner.current_.txn) + 1}),
      roots(owner.current_.roots),
      counters(owner.current_.counters),
      images(in_place ? &*owner.images_ : nullptr),
      view(PageSource(*owner.pager, id, images, &freed_tree_pages), roots, *owner.name_hash),
      losses(owner.guard->losses()) {
  owner.writer_.assert_held();
  if (images != nullptr) images->start(id);
}

PageSource Transaction::State::pages() const { return view.pages(); }

bool Transaction::State::is_mine(PageNo page) const {
  store->writer_.assert_held();
  return !store->space_->is_used(page);
}

Result<Page*> Transaction::State::make_page() {
  store->writer_.assert_held();
  PageNo number = kNoPage;
  if (!spare_pages.empty()) {
    number = spare_pages.back();
    spare_pages.pop_back();
  } else {
    number = store->take_page(purpose);
    if (number == kNoPage) {
      refused = 1;
      return fail(Code::kNoSpace);
    }
    taken.push_back({number, 1});
    tree_pages.push_back(number);
  }
  changed = true;
  Page* page = store->pager->at(number);
  page->header.page_no = raw(number);
  page->header.birth = raw(id);
  store->pager->set_verified(number, id);
  return page;
}

Result<Page*> Transaction::State::edit_page(PageNo number, TxnId page_birth) {
  store->writer_.assert_held();
  if (images != nullptr) {
    if (Page* image = images->find(number)) return image;
  }
  LRUFS_TRY_ASSIGN(const Page* old, store->pager->fetch(number, page_birth));
  if (page_birth == id) return store->pager->at(number);
  if (images != nullptr && store->space_->rewritable(number)) {
    if (Page* image = images->make(*old)) {
      changed = true;
      return image;
    }
  }
  LRUFS_TRY_ASSIGN(Page * copy, make_page());
  const std::uint64_t copy_number = copy->header.page_no;
  copy_tree_page(*copy, *old);
  copy->header.page_no = copy_number;
  copy->header.birth = raw(id);
  free_page(number);
  return copy;
}

Page* Transaction::State::edit_in_place(const Page& page) {
  store->writer_.assert_held();
  const PageNo number{page.header.page_no};
  if (page.header.birth == raw(id)) return store->pager->at(number);
  if (images == nullptr) return nullptr;
  if (Page* image = images->find(number)) return image;
  if (!store->space_->rewritable(number)) return nullptr;
  changed = true;
  return images->make(page);
}

Result<LeafHints::Hint> Transaction::State::put(const Key& key, Bytes value) {
  LRUFS_TRY_ASSIGN(const LeafHints::Hint place, tree_put(*this, roots.names, key, value, guess(key)));
  if (place.page != kNoPage && key.kind() != Kind::kEntry) {
    if (key.owner() != near || place.page != near_leaf) found_at = {};
    near = key.owner();
    near_leaf = place.page;
  }
  return place;
}

Result<bool> Transaction::State::erase(const Key& key) {
  return tree_erase(*this, roots.names, key, guess(key));
}

// A leaf of another tree may be where the hint points by now: that has keys of one length only.
PageNo Transaction::State::guess(const Key& key) const {
  if (near != kNoIno && key.owner() == near && key.kind() != Kind::kEntry) return near_leaf;
  const LeafHints::Hint hint = key.hint(store->pager->hints());
  const Page* leaf = hint.page == kNoPage ? nullptr : pages().leaf(hint.page);
  if (leaf == nullptr || key.bytes().size() == kRecencyKey) return kNoPage;
  const NodeView node(*leaf);
  return hint.index < node.count() && node.key(hint.index).size() != kRecencyKey ? hint.page : kNoPage;
}

void Transaction::State::free_page(PageNo page) {
  changed = true;
  if (is_mine(page)) {
    spare_pages.push_back(page);
    return;
  }
  if (images != nullptr) images->drop(page);
  freed.push_back({page, 1});
  freed_tree_pages.push_back(page);
}

Result<PageRun> Transaction::State::take_run(std::uint64_t want, PageNo hint) {
  store->writer_.assert_held();
  changed = true;
  const PageRun run = store->take_run(want, hint, purpose);
  if (run.count == 0) {
    refused = want;
    return fail(Code::kNoSpace);
  }
  taken.push_back(run);
  return run;
}

std::uint64_t Transaction::State::pages_needed() const {
  std::uint64_t pages = refused;
  for (const PageRun& run : taken) pages += run.count;
  return pages;
}

void Transaction::State::free_run(PageRun run) {
  changed = true;
  while (run.count > 0) {
    const bool mine = is_mine(run.first);
    std::uint64_t count = 1;
    while (count < run.count && is_mine(run.first + count) == mine) ++count;
    (mine ? spare_runs : freed).push_back({run.first, count});
    run = {run.first + count, run.count - count};
  }
}

Result<std::unique_ptr<Transaction::State>> StoreImpl::begin(Store::Purpose purpose, bool in_place) {
  if (options.read_only) return fail(Code::kReadOnly, "the store was opened read-only");
  tell_losses();
  writer_.lock();
  if (failed_.load()) {
    writer_.unlock();
    const MutexLock lock(failure_mutex_);
    return fail(Code::kReadOnly, failure_);
  }
  // A reader that was there before the last publish may well stay; others are waited for (exclude()).
  return std::make_unique<Transaction::State>(
      *this, purpose, in_place && raw(readers.oldest()) >= raw(current_.txn) && have_images());
}

StoreImpl::PageSums StoreImpl::sums_after(const Transaction::State& txn) const {
  PageSums sums{current_.new_pages_sum, sum_since_checkpoint_};
  const auto sum_of = [&](PageNo page) { return pager->at(page)->header.checksum; };
  const auto add = [&](std::uint64_t change) {
    sums.since_durable += change;
    sums.since_checkpoint += change;
  };
  for (const PageNo page : txn.tree_pages) {
    if (std::find(txn.spare_pages.begin(), txn.spare_pages.end(), page) == txn.spare_pages.end())
      add(sum_of(page));
  }
  // A page that was edited in place was born after the running checkpoint began.
  if (txn.images != nullptr) {
    for (const ImageRef& ref : txn.images->refs()) add(sum_of(ref.image) - sum_of(ref.target));
  }
  for (const PageNo page : txn.freed_tree_pages) {
    const std::uint64_t birth = pager->at(page)->header.birth;
    if (birth > raw(current_.durable_txn)) sums.since_durable -= sum_of(page);
    if (birth > raw(checkpoint_txn_)) sums.since_checkpoint -= sum_of(page);
  }
  return sums;
}

Status StoreImpl::commit(Transaction::State& txn) {
  if (!txn.changed) {
    abort(txn);
    return {};
  }
  std::vector<SpaceChange> changes;
  changes.reserve(txn.taken.size() + txn.freed.size() + txn.spare_pages.size() + txn.spare_runs.size() + 1);
  const auto note = [&](PageRun run, bool is_freed) {
    if (!changes.empty() && changes.back().freed == is_freed &&
        raw(changes.back().run.first) + changes.back().run.count == raw(run.first))
      changes.back().run.count += run.count;
    else
      changes.push_back({run, is_freed});
  };
  for (const PageRun& run : txn.taken) note(run, false);
  for (const StagedData* staged : txn.staged_used) {
    for (const PageRun& run : staged->runs_) note(run, false);
  }
  for (const PageRun& run : txn.freed) note(run, true);
  for (const PageRun& run : txn.spare_runs) note(run, true);
  for (const PageNo page : txn.spare_pages) note({page, 1}, true);

  const SpaceLog::Mark mark = space_log_->mark();
  const auto take = [&](std::uint64_t want) NO_THREAD_SAFETY_ANALYSIS {
    const PageRun run = take_run(want, kNoPage, txn.purpose);
    if (run.count > 0)
      txn.taken.push_back(run);
    else
      txn.refused = want;
    return run;
  };
  if (const Status logged = space_log_->append(txn.id, changes, take); !logged) {
    space_log_->rewind(mark);
    abort(txn);
    return logged;
  }
  if (!on(Fault::kSkipSeal)) {
    for (const PageNo page : txn.tree_pages) seal_page(*pager->at(page));
    if (txn.images != nullptr) {
      for (const ImageRef& ref : txn.images->refs()) seal_page(*pager->at(ref.image));
    }
  }
  if (guard->losses() != txn.losses) {
    // It may have read zeros, or written into pages that the file no longer has.
    const PageNo log_page{raw(current_.space.log_end.segment) + current_.space.log_end.offset / kPageSize};
    if (pager->lost(log_page)) fail_store(unreadable(log_page).value());
    space_log_->rewind(mark);
    abort(txn);
    return fail(Code::kIo, "a page of the store could not be read meanwhile", EIO);
  }

  const std::span<const ImageRef> images =
      txn.images != nullptr ? txn.images->refs() : std::span<const ImageRef>();
  if (!images.empty() && !readers.exclude()) {
    space_log_->rewind(mark);
    abort(txn);
    return fail(Code::kConflict);
  }
  const PageSums sums = sums_after(txn);
  sum_since_checkpoint_ = sums.since_checkpoint;
  txn.counters.next_seq = next_seq.load(std::memory_order_relaxed);
  current_.new_pages_sum = sums.since_durable;
  current_.txn = txn.id;
  current_.roots = txn.roots;
  current_.counters = txn.counters;
  current_.space = space_log_->roots();
  current_.clean = false;
  current_.damaged = damaged_.load(std::memory_order_relaxed);
  // The publish: from here on SIGKILL cannot take it back.
  if (!on(Fault::kSkipLiveMeta))
    encode_meta(current_, base + (kLiveMetaPage + raw(txn.id) % 2) * kPageSize, images);
  if (!images.empty()) {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (!on(Fault::kSkipImages)) txn.images->put_in_place();
    if (guard->losses() != txn.losses) fail_store(unreadable(kNoPage).value());
  }
  if (pager->lost(PageNo{0}, kHeaderPages)) fail_store(unreadable(PageNo{kLiveMetaPage}).value());
  // Before that, since who sees the new state must not follow a hint to what it has freed. In order: what was
  // taken may have been freed again.
  for (const SpaceChange& change : changes)
    change.freed ? space_->retire_to_limbo(change.run) : space_->publish(change.run);
  readers.publish(txn.id, txn.roots);
  if (!images.empty()) readers.admit();
  if (txn.overwrites) readers.end_overwriting();
  clear_dead_readers();

  const bool unseen = raw(readers.oldest()) >= raw(txn.id) || on(Fault::kIgnoreReaders);
  for (const SpaceChange& change : changes) {
    if (!change.freed) continue;
    if (unseen)
      space_->give_back(change.run);
    else
      limbo_->add(txn.id, change.run);
  }
  limbo_->release();
  for (StagedData* staged : txn.staged_used) {
    staged->owner_ = nullptr;
    staged->runs_.clear();
  }
  for (const Ino ino : txn.destroyed) {
    const auto found = orphan_pages_.find(raw(ino));
    if (found != orphan_pages_.end()) {
      orphan_pages_total_ -= found->second;
      orphan_pages_.erase(found);
    }
  }
  if (!txn.freed.empty()) room_changed_.notify_all();
  dirty_ = true;
  if (space_log_->wants_condensing(*space_)) condense();
  const std::uint64_t prospect = in_prospect() + orphan_pages_total_;
  const auto missing = [&](std::uint64_t pages) { return pages - std::min(pages, prospect); };
  eviction_due_.store(missing(evict_start()), std::memory_order_relaxed);
  share_due_.store(missing(least_start()), std::memory_order_relaxed);
  const std::uint64_t usable = space_->free() + growable();
  writable_.store(usable - std::min(usable, reserve_.load()), std::memory_order_relaxed);
  checkpoint_helps_.store(usable < least_start() && space_->pending() > slack() / 4,
                          std::memory_order_relaxed);
  commits_.fetch_add(1, std::memory_order_relaxed);
  txn.active = false;
  writer_.unlock();

  for (const Ino ino : txn.destroyed) touches.forget(ino);
  if (txn.earliest_due < reaper_due_.load(std::memory_order_relaxed)) wake_reaper(txn.earliest_due);
  return {};
}

void StoreImpl::abort(Transaction::State& txn) {
  if (txn.overwrites) readers.end_overwriting();
  for (const PageRun& run : txn.taken) space_->give_back(run);
  for (auto touch = txn.touches_written.rbegin(); touch != txn.touches_written.rend(); ++touch)
    touches.restore(*touch);
  if (txn.announced != nullptr) txn.announced->store(0);
  txn.active = false;
  if (txn.changed) aborts_.fetch_add(1, std::memory_order_relaxed);
  writer_.unlock();
}

Status StoreImpl::update_once(const Store::Body& body, Store::Purpose purpose, bool in_place,
                              TxnId& published, std::uint64_t& needed) {
  LRUFS_TRY_ASSIGN(auto state, begin(purpose, in_place));
  Transaction txn(std::move(state));
  Status done = body(txn);
  if (done) {
    published = txn.id();
    done = txn.commit();
  }
  needed = state_of(txn).pages_needed();
  return done;
}

Status StoreImpl::update(const Store::Body& body, Store::Purpose purpose) {
  std::uint64_t asked = 32;
  int retries = 0;
  bool in_place = true;
  if (purpose != Store::Purpose::kDelete) evict_a_share();
  for (;;) {
    TxnId published{0};
    std::uint64_t needed = 0;
    const std::uint64_t losses = guard->losses();
    const Status done = update_once(body, purpose, in_place, published, needed);
    if (done) {
      if (purpose != Store::Purpose::kDelete) pages_owed_.fetch_add(2 * needed, std::memory_order_relaxed);
      if (options.sync == Options::Sync::kAlways) return checkpoint(published, false, false);
      wake_background();
      if (purpose != Store::Purpose::kDelete) pace(needed);
      return {};
    }
    if (done.error().code == Code::kConflict) {
      in_place = false;
      continue;
    }
    if (done.error().code == Code::kNoSpace && done.error().message == kFileLimitReached) {
      LRUFS_TRY_ASSIGN(const auto evicted, evict_some(1, 1, EvictionReason::kMaxFiles));
      if (!evicted)
        return fail(Code::kNoSpace, "the limit of files is reached and nothing more can be evicted");
      continue;
    }
    // Another thread's page may have been lost, which does not concern this transaction.
    if (done.error().code == Code::kIo && guard->losses() != losses && !failed_.load() && retries++ < 3)
      continue;
    if (done.error().code != Code::kNoSpace) return done;
    LRUFS_TRY(retry_with_room(asked, needed, purpose));
  }
}

// --- Transaction and Snapshot as the callers see them
// ----------------------------------------------------------------

Transaction::Transaction(std::unique_ptr<State> state) : state_(std::move(state)) {}
Transaction::Transaction(Transaction&&) noexcept = default;
Transaction::~Transaction() {
  if (state_ && state_->active) state_->store->abort(*state_);
}
const ReadView& Transaction::view() const { return state_->view; }
TxnId Transaction::id() const { return state_->id; }
Status Transaction::commit() { return state_->store->commit(*state_); }
void Transaction::clear_on_abort(std::atomic<std::uint32_t>& word) { state_->announced = &word; }
void Transaction::abort() {
  if (state_->active) state_->store->abort(*state_);
}

ReaderTable::Lease StoreImpl::lease(bool frozen) {
  if (!frozen) return readers.acquire(false);
  // A transaction may be overwriting content in place: it ends before the content is frozen.
  const MutexLock lock(writer_);
  return readers.acquire(true);
}

Snapshot::State::State(StoreImpl& store, Kind kind)
    : readers(&store.readers),
      frozen(kind == Kind::kFull),
      lease(store.lease(frozen)),
      view(PageSource(*store.pager, lease.txn), lease.roots, *store.name_hash) {}

Snapshot::Snapshot(std::unique_ptr<State> state) : state_(std::move(state)) {}
Snapshot::Snapshot(Snapshot&&) noexcept = default;
Snapshot::~Snapshot() = default;
const ReadView& Snapshot::view() const { return state_->view; }
TxnId Snapshot::id() const { return state_->lease.txn; }

}  // namespace lrufs::store
