// Checkpoints, and the threads that do in the background what nobody should wait for.
#include <utility>

#include "store/faults.h"
#include "store/store_impl.h"

namespace lrufs::store {

namespace {

// Pages that cannot be read are told at most this often.
constexpr std::chrono::seconds kLossesPause{10};

}  // namespace

void StoreImpl::condense() {
  auto retired = space_log_->condense(*space_);
  if (!retired) return;  // too little space now; the log goes on
  current_.space = space_log_->roots();
  publish_again();
  // Readers of this process do not look at them; those of others load them.
  for (const PageRun& run : *retired)
    readers.count_shared() == 0 ? space_->give_back(run) : limbo_->add(current_.txn, run);
}

void StoreImpl::publish_again() {
  current_.txn = TxnId{raw(current_.txn) + 1};
  encode_meta(current_, base + (kLiveMetaPage + raw(current_.txn) % 2) * kPageSize);
  readers.publish(current_.txn, current_.roots);
}

Status StoreImpl::checkpoint(TxnId wanted, bool internal, bool clean) {
  if (!internal) sync_calls_.fetch_add(1, std::memory_order_relaxed);
  tell_losses();
  const auto is_done = [&] {
    return !clean && durable_txn_.load() >= raw(wanted) && !failed_.load() && !must_record_damage();
  };
  if (is_done()) return {};
  if (options.read_only) return fail(Code::kReadOnly, "the store was opened read-only");
  {
    const MutexLock lock(group_mutex_);
    ++group_arrived_;
    group_grew_.notify_all();
    // All wake at once when the running one ends, and it may have done it for us.
    while (group_runs_ && !is_done()) group_ended_.wait(group_mutex_);
    if (is_done()) return {};
    group_runs_ = true;
    if (!internal) gather_group();
    group_size_ = std::exchange(group_arrived_, 0);
  }
  Status done;
  {
    const MutexLock lock(checkpoint_mutex_);
    if (!is_done()) done = run_checkpoint(clean);
  }
  const MutexLock lock(group_mutex_);
  group_runs_ = false;
  group_ended_.notify_all();
  return done;
}

// Those who shared the last checkpoint are mostly about to ask for the next: it waits for them, for an eighth
// of the time that one took.
void StoreImpl::gather_group() {
  constexpr std::uint64_t kPart = 8;
  constexpr std::chrono::microseconds kMost{500};
  const std::chrono::microseconds part(last_checkpoint_us_.load(std::memory_order_relaxed) / kPart);
  const auto deadline = std::chrono::steady_clock::now() + std::min(part, kMost);
  while (group_arrived_ < group_size_ && std::chrono::steady_clock::now() < deadline)
    group_grew_.wait_until(group_mutex_, deadline);
}

Status StoreImpl::run_checkpoint(bool clean) {
  const auto start = std::chrono::steady_clock::now();
  const std::uint64_t losses = guard->losses();
  struct Running {
    std::atomic<std::chrono::steady_clock::rep>& began;
    ~Running() { began.store(0, std::memory_order_relaxed); }
  } const running{checkpoint_began_};
  checkpoint_began_.store(start.time_since_epoch().count(), std::memory_order_relaxed);
  Meta meta;
  {
    const MutexLock lock(writer_);
    if (failed_.load()) {
      const MutexLock failure_lock(failure_mutex_);
      return fail(Code::kIo, failure_);
    }
    if (!dirty_ && !clean && !must_record_damage()) return {};
    // Not once a page was lost: it takes pages without asking which they are. The log may go on.
    if (losses == 0 && space_log_->wants_condensing(*space_)) {
      condense();
      if (guard->losses() != 0) {
        const Error error = unreadable(kNoPage).value();
        fail_store(error);
        return fail(error);
      }
    }
    checkpoint_txn_ = current_.txn;
    sum_since_checkpoint_ = 0;
    meta = current_;
    meta.new_pages_sum = 0;
    meta.clean = clean;
    meta.damaged = damaged_.load();
    space_->begin_checkpoint();
    dirty_ = false;
  }
  const auto give_up = [&](const Error& error) -> Status {
    // First of all: the state of this checkpoint may have become durable all the same, so its pages must
    // stay. From here on nobody takes a page.
    fail_store(error);
    {
      const MutexLock lock(writer_);
      space_->end_checkpoint(false);
      dirty_ = true;
      // The kernel may have dropped dirty pages and show them still: whoever opens the store next must not
      // believe them.
      std::memset(base + kLiveMetaPage * kPageSize, 0, 2 * kPageSize);
      encode_meta(current_, base + kBaseMetaPage * kPageSize);  // readers beside this process do
    }
    checkpoint_failures_.fetch_add(1, std::memory_order_relaxed);
    return fail(Code::kIo, "the store could not be written to disk: " + describe(error), error.os_errno);
  };
  const int slot = 1 - durable_slot_;
  const std::uint64_t offset = (kDurableMetaPage + static_cast<std::uint64_t>(slot)) * kPageSize;
  // What was cut off, or written into a page that is no more, no sync would report.
  if (const Status whole = not_cut_off(); !whole) return give_up(whole.error());
  if (on(Fault::kMetaBeforePages)) encode_meta(meta, base + offset);
  if (!on(Fault::kSkipFirstSync)) {
    if (const Status synced = ops->sync_all(fd, base, mapped_bytes); !synced) return give_up(synced.error());
  }
  encode_meta(meta, base + offset);
  if (!on(Fault::kSkipMetaSync)) {
    if (const Status synced = ops->sync_range(fd, base, offset, kPageSize); !synced) {
      // Nor this meta, of which nobody knows whether it arrived.
      std::memset(base + offset, 0, kPageSize);
      (void)ops->sync_range(fd, base, offset, kPageSize);
      return give_up(synced.error());
    }
  }
  if (guard->losses() != losses && pager->lost(PageNo{0}, kHeaderPages))
    return give_up(unreadable(PageNo{offset / kPageSize}).value());
  durable_ = meta;
  durable_slot_ = slot;
  damage_is_durable_.store(meta.damaged);
  {
    const MutexLock lock(writer_);
    space_->end_checkpoint(true);
    checkpoint_helps_.store(false, std::memory_order_relaxed);  // the next commit knows
    current_.durable_txn = meta.txn;
    current_.new_pages_sum = sum_since_checkpoint_;
    current_.durable_session = meta.session;
    durable_txn_.store(raw(meta.txn));
    room_changed_.notify_all();
  }
  checkpoints_.fetch_add(1, std::memory_order_relaxed);
  const auto took = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start)
          .count());
  checkpoint_us_.fetch_add(took, std::memory_order_relaxed);
  last_checkpoint_us_.store(took, std::memory_order_relaxed);
  return {};
}

// A failed write-back may have dropped dirty pages: nothing that was written since the last checkpoint can be
// trusted to reach the disk, whatever later calls say. The store serves what it has and takes nothing more.
void StoreImpl::fail_store(const Error& error) {
  {
    const MutexLock lock(failure_mutex_);
    if (failure_.empty())
      failure_ = "the store is read-only since its disk failed (" + describe(error) +
                 "); unmount, look after the disk, and mount again";
  }
  if (!failed_.exchange(true))
    event(Options::Severity::kError, "the store is read-only from now on: " + describe(error));
}

void StoreImpl::tell_losses() {
  if (guard->losses() == losses_told_.load(std::memory_order_relaxed)) return;
  {
    const MutexLock lock(failure_mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (losses_told_.load() != 0 && now - losses_told_at_ < kLossesPause) return;
    losses_told_at_ = now;
    losses_told_.store(guard->losses());
  }
  if (!not_cut_off()) return;  // that was told
  event(Options::Severity::kWarning,
        "the disk does not give back " + std::to_string(guard->lost_pages()) +
            " pages of the store so far: what is in them gives EIO, the rest goes on. Look after the disk");
}

void StoreImpl::start_background() {
  if (!options.background || options.read_only) return;
  checkpoint_thread_ = std::thread([this] { background(); });
  evict_thread_ = std::thread([this] { evict_in_background(); });
  reaper_thread_ = std::thread([this] { reap_in_background(); });
}

void StoreImpl::stop_background() {
  {
    const MutexLock lock(background_mutex_);
    stopping_ = true;
    background_wake_.notify_all();
  }
  {
    const MutexLock lock(reaper_mutex_);
    reaper_stops_ = true;
    reaper_wake_.notify_all();
  }
  if (reaper_thread_.joinable()) reaper_thread_.join();
  if (checkpoint_thread_.joinable()) checkpoint_thread_.join();
  if (evict_thread_.joinable()) evict_thread_.join();
}

void StoreImpl::background() {
  const bool syncs = options.sync != Options::Sync::kUnmount;
  auto next = std::chrono::steady_clock::now() + options.sync_interval;
  for (bool for_room = false;;) {
    {
      const MutexLock lock(background_mutex_);
      while (!stopping_ && !checkpoint_wanted_ && std::chrono::steady_clock::now() < next)
        background_wake_.wait_until(background_mutex_, next);
      if (stopping_) return;
      for_room = std::exchange(checkpoint_wanted_, false);
    }
    if (for_room) {
      if (checkpoint_helps_.load(std::memory_order_relaxed)) (void)checkpoint_for_room();
      continue;
    }
    if (syncs) (void)checkpoint(readers.latest(), true, false);  // a failure is recorded and told
    report_stalled_reader();
    shrink_slack();
    if (options.trim) trim();
    next = std::chrono::steady_clock::now() + options.sync_interval;
  }
}

void StoreImpl::wake_background() {
  if (!options.background) return;
  const bool evict = touches.full() || eviction_due_.load(std::memory_order_relaxed) != 0;
  const bool helps = checkpoint_helps_.load(std::memory_order_relaxed) &&
                     checkpoint_began_.load(std::memory_order_relaxed) == 0;
  if (!evict && !helps) return;
  const MutexLock lock(background_mutex_);
  if ((evict_wanted_ || !evict) && (checkpoint_wanted_ || !helps)) return;
  evict_wanted_ = evict_wanted_ || evict;
  checkpoint_wanted_ = checkpoint_wanted_ || helps;
  background_wake_.notify_all();
}

void StoreImpl::report_stalled_reader() {
  constexpr std::chrono::seconds kLong{5};
  std::uint64_t pages = 0;
  Limbo::Clock::duration age{0};
  {
    const MutexLock lock(writer_);
    clear_dead_readers();
    limbo_->release();
    pages = limbo_->pages();
    age = limbo_->age();
  }
  if (age < kLong) {
    stall_reported_ = false;
  } else if (!stall_reported_.exchange(true)) {
    event(Options::Severity::kWarning,
          "a reader that has not ended for " +
              std::to_string(std::chrono::duration_cast<std::chrono::seconds>(age).count()) + " s keeps " +
              std::to_string(pages * kPageSize) + " bytes from being reused");
  }
}

// Evicts ahead of need, so that writers rarely wait.
void StoreImpl::evict_in_background() {
  // Writers do their share themselves; this thread is not woken for each of them.
  constexpr std::chrono::milliseconds kPause{5};
  // A quarter of a millisecond: each page that is changed for the first time after a checkpoint is a page
  // fault.
  constexpr std::size_t kBatch = 16;
  auto next = std::chrono::steady_clock::now();
  for (;;) {
    {
      const MutexLock lock(background_mutex_);
      while (!stopping_ && !evict_wanted_) background_wake_.wait(background_mutex_);
      while (!stopping_ && std::chrono::steady_clock::now() < next)
        background_wake_.wait_until(background_mutex_, next);
      if (stopping_) return;
      next = std::chrono::steady_clock::now() + kPause;
      evict_wanted_ = false;
    }
    if (touches.full()) (void)flush_touches();
    for (;;) {
      std::uint64_t missing = 0;
      bool checkpoint_helps = false;
      {
        const MutexLock lock(writer_);
        limbo_->release();
        const std::uint64_t prospect = in_prospect() + orphan_pages_total_;
        missing = prospect < evict_stop() ? evict_stop() - prospect : 0;
        checkpoint_helps =
            missing == 0 && space_->free() + growable() < evict_start() && space_->pending() > 0;
      }
      {
        const MutexLock lock(background_mutex_);
        if (stopping_) return;
      }
      if (missing > 0) {
        writer_.give_way();
        const auto evicted = evict_some(missing, kBatch, EvictionReason::kCapacity, true);
        if (evicted && *evicted) continue;
      } else if (checkpoint_helps) {
        (void)checkpoint_for_room();
      }
      break;
    }
  }
}

}  // namespace lrufs::store
