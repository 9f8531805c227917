// Pages for transactions and writers: taking, growing the file, staging content, and making room when none is
// left.
#include <algorithm>
#include <cerrno>

#include "store/store_impl.h"

namespace lrufs::store {

namespace {

constexpr std::uint64_t kMinGrowth = (1U << 20U) / kPageSize;
constexpr std::uint64_t kMaxGrowth = (64U << 20U) / kPageSize;
// After the disk was full, growth is tried again this often.
constexpr std::chrono::seconds kDiskFullPause{5};
// How long a writer waits for readers to end, or for the kernel to let go of evicted files, without any
// progress.
constexpr std::chrono::milliseconds kWaitStep{20};
constexpr int kWaitSteps = 150;

}  // namespace

std::uint64_t StoreImpl::growable() const {
  if (disk_full_ && std::chrono::steady_clock::now() - disk_full_since_ < kDiskFullPause) return 0;
  if (cutting_) return space_->holes();
  const std::uint64_t most = std::min(capacity_.load(), space_->ceiling());
  return space_->holes() + (most > space_->grown() ? most - space_->grown() : 0);
}

std::uint64_t StoreImpl::in_prospect() const {
  if (compacting_) {  // the ceiling is raised for who lacks room
    const std::uint64_t most = disk_full_ ? space_->grown() : capacity_.load();
    const std::uint64_t taken = space_->used() + space_->busy() - std::min(space_->busy(), limbo_->pages());
    return most - std::min(most, taken);
  }
  const std::uint64_t pages = space_->free() + growable() + space_->pending() + limbo_->pages();
  return pages - std::min(pages, space_->used_above());  // which comes below
}

bool StoreImpl::grow(std::uint64_t want) {
  if (growable() == 0) return false;
  if (space_->holes() > 0) {
    const std::uint64_t before = space_->free();
    const bool any = fill_some_hole(want);
    const std::uint64_t filled = space_->free() - before;
    if (filled >= want) return true;
    want -= filled;
    if (growable() == 0) return any;
  }
  const std::uint64_t possible = growable();
  const std::uint64_t old = space_->grown();
  // Growing a file that was cut off would hide that, and zeros would take the place of what was there.
  if (!not_cut_off()) return false;
  std::uint64_t step = std::min(possible, std::max(want, std::clamp(old / 32, kMinGrowth, kMaxGrowth)));
  Status grown = ops->grow(fd, old * kPageSize, (old + step) * kPageSize);
  if (!grown && grown.error().code == Code::kNoSpace && step > want) {
    step = std::min(possible, want);
    grown = ops->grow(fd, old * kPageSize, (old + step) * kPageSize);
  }
  if (!grown) {
    disk_is_full(grown.error());
    return false;
  }
  disk_full_ = false;
  disk_full_at_ = 0;
  space_->set_grown(old + step);
  current_.grown_pages = old + step;
  pager->set_limit(old + step);
  return true;
}

void StoreImpl::disk_is_full(const Error& error) {
  const std::uint64_t pages = space_->grown() - space_->holes();
  if (!disk_full_)
    event(Options::Severity::kWarning, "the store cannot grow beyond " + std::to_string(pages * kPageSize) +
                                           " bytes, older files make room instead: " + describe(error));
  disk_full_ = true;
  disk_full_at_ = pages;
  disk_full_since_ = std::chrono::steady_clock::now();
}

std::uint64_t StoreImpl::floor_for(Store::Purpose purpose) const {
  switch (purpose) {
    case Store::Purpose::kWrite:
      return reserve_;
    case Store::Purpose::kName:
      return reserve_ / 2;
    case Store::Purpose::kDelete:
      break;
  }
  return 0;
}

void StoreImpl::pace(std::uint64_t pages) const {
  constexpr std::chrono::microseconds kLeast{50};
  constexpr std::chrono::microseconds kMost{2000};
  if (!options.background || !checkpoint_helps_.load(std::memory_order_relaxed)) return;
  const std::uint64_t left = writable_.load(std::memory_order_relaxed);
  if (left > slack() / 2) return;
  // What is left of the running checkpoint, or of one that is about to begin; it may take longer this time.
  const std::chrono::microseconds last(last_checkpoint_us_.load(std::memory_order_relaxed));
  const auto began = checkpoint_began_.load(std::memory_order_relaxed);
  auto remains = last;
  if (began != 0) {
    const auto since = std::chrono::duration_cast<std::chrono::microseconds>(
        std::chrono::steady_clock::now().time_since_epoch() - std::chrono::steady_clock::duration(began));
    remains = std::max(last - since, std::max(last, since) / 4);
  }
  const std::chrono::microseconds pause = remains * (pages + 1) / (left + 1);
  if (pause >= kLeast) std::this_thread::sleep_for(std::min(pause, kMost));
}

Status StoreImpl::checkpoint_for_room() {
  constexpr std::chrono::steady_clock::duration kClose = std::chrono::seconds(2);
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  if (now - room_checkpoint_at_.exchange(now) < kClose.count() && !compacting_.load()) {
    const std::uint64_t most = std::max(least_slack(), capacity_.load() / 10);
    slack_ = std::min(slack_ * 2, most);
  }
  return checkpoint(readers.latest(), true, false);
}

void StoreImpl::shrink_slack() {
  constexpr std::chrono::steady_clock::duration kLong = std::chrono::seconds(10);
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  if (now - room_checkpoint_at_ > kLong.count()) slack_ = std::max(slack_ / 2, least_slack());
}

std::uint64_t StoreImpl::image_pages() const {
  return 2 * std::clamp<std::uint64_t>(capacity_ / 512, 2, Images::kMax);
}

bool StoreImpl::have_images() {
  if (images_) return true;
  std::vector<PageNo> pages;
  while (pages.size() < image_pages()) {
    const PageNo page = take_page(Store::Purpose::kWrite);
    if (page == kNoPage) {
      for (const PageNo each : pages) space_->give_back({each, 1});
      return false;
    }
    pages.push_back(page);
  }
  images_.emplace(base, std::move(pages));
  return true;
}

PageNo StoreImpl::take_page(Store::Purpose purpose) {
  const std::uint64_t floor = floor_for(purpose);
  if (space_->free() <= floor) grow(floor + 1 - space_->free());
  if (space_->free() <= floor) return kNoPage;
  PageNo page = space_->take_page();
  while (page != kNoPage && pager->lost(page)) page = space_->take_page();  // that one stays taken for good
  return page;
}

PageRun StoreImpl::take_run(std::uint64_t want, PageNo hint, Store::Purpose purpose) {
  const std::uint64_t floor = floor_for(purpose);
  if (space_->free() < floor + want) grow(floor + want - space_->free());
  PageRun run;
  for (;;) {
    if (space_->free() <= floor) return {};
    run = space_->take_run(std::min(want, space_->free() - floor), hint);
    if (!pager->lost(run.first, run.count)) break;
    for (std::uint64_t i = 0; i < run.count; ++i) {  // the lost ones stay taken for good
      if (!pager->lost(run.first + i)) space_->give_back({run.first + i, 1});
    }
  }
  for (std::uint64_t i = 0; i < run.count; ++i) pager->clear_verified(run.first + i);
  return run;
}

// --- staging
// ---------------------------------------------------------------------------------------------------------

Result<StagedData> StoreImpl::stage(std::uint64_t offset, Bytes data) {
  if (options.read_only) return fail(Code::kReadOnly, "the store was opened read-only");
  if (offset > kMaxFileSize || data.size() > kMaxFileSize - offset) return fail(Code::kFileTooLarge);
  const std::uint64_t first = pages_for(offset);
  const std::uint64_t end = pages_for(offset + data.size());
  StagedData staged;
  staged.first_file_page_ = first;
  if (first >= end) return staged;
  std::uint64_t asked = end - first;
  for (;;) {
    {
      const MutexLock lock(writer_);
      if (failed_.load()) {
        const MutexLock failure_lock(failure_mutex_);
        return fail(Code::kReadOnly, failure_);
      }
      staged.owner_ = this;
      std::uint64_t missing = end - first;
      while (missing > 0) {
        const PageNo hint =
            staged.runs_.empty() ? kNoPage : staged.runs_.back().first + staged.runs_.back().count;
        const PageRun run =
            take_run(missing, raw(hint) < space_->grown() ? hint : kNoPage, Store::Purpose::kWrite);
        if (run.count == 0) break;
        staged.runs_.push_back(run);
        missing -= run.count;
      }
      if (missing == 0) break;
      for (const PageRun& run : staged.runs_) space_->give_back(run);
      staged.runs_.clear();
      staged.owner_ = nullptr;
    }
    LRUFS_TRY(retry_with_room(asked, end - first, Store::Purpose::kWrite));
  }
  LRUFS_TRY(fill(staged, offset, data));
  return staged;
}

Status StoreImpl::fill(const StagedData& staged, std::uint64_t offset, Bytes data) {
  LRUFS_TRY(not_cut_off());
  std::size_t at = staged.first_file_page_ * kPageSize - offset;
  for (const PageRun& run : staged.runs_) {
    const std::size_t part = std::min<std::size_t>(run.count * kPageSize, data.size() - at);
    // Through the file, not the map, and in whole pages: a page that is wholly overwritten need not be
    // faulted in, nor read, first.
    const std::size_t whole = part / kPageSize * kPageSize;
    const std::uint64_t to = raw(run.first) * kPageSize;
    LRUFS_TRY(ops->write(fd, to, data.subspan(at, whole)));
    if (whole < part) {
      std::array<std::byte, kPageSize> last{};
      std::memcpy(last.data(), data.data() + at + whole, part - whole);
      LRUFS_TRY(ops->write(fd, to + whole, last));
    }
    at += part;
  }
  return {};
}

Status StoreImpl::not_cut_off() {
  // In this order: the file may grow meanwhile, and the limit after it.
  const std::uint64_t expected = pager->limit() * kPageSize;
  LRUFS_TRY_ASSIGN(const FileIdentity now, ops->identify(fd));
  // (Or shorter, which lowers the limit first.)
  if (now.size >= expected || now.size >= pager->limit() * kPageSize) return {};
  const Error error(Code::kIo,
                    "the store's file was cut off while it was in use: it has " + std::to_string(now.size) +
                        " bytes instead of " + std::to_string(expected),
                    EIO);
  fail_store(error);
  return fail(error);
}

bool StoreImpl::all_readable(const std::vector<Segment>& segments) {
  bool all = true;
  for (const Segment& segment : segments) {
    if (segment.data == nullptr || segment.length == 0) continue;
    const auto begin = static_cast<std::uint64_t>(segment.data - base);
    for (std::uint64_t page = begin / kPageSize; page < pages_for(begin + segment.length); ++page) {
      std::byte probe{};
      const bool lost = pager->lost(PageNo{page});
      // By a system call: the page is not replaced by zeros, which a reader beside us could take for content.
      if (!lost && ops->read(fd, page * kPageSize, {&probe, 1})) continue;
      if (!lost) guard->note(PageNo{page});
      all = false;
    }
  }
  if (!all) tell_losses();
  return all;
}

void StoreImpl::unstage(StagedData& staged) {
  const MutexLock lock(writer_);
  for (const PageRun& run : staged.runs_) space_->give_back(run);
  staged.runs_.clear();
  staged.owner_ = nullptr;
}

StagedData::StagedData(StagedData&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)),
      first_file_page_(other.first_file_page_),
      runs_(std::move(other.runs_)),
      tail_filled_(other.tail_filled_) {
  other.runs_.clear();
}

StagedData& StagedData::operator=(StagedData&& other) noexcept {
  if (this != &other) {
    if (owner_ != nullptr) owner_->unstage(*this);
    owner_ = std::exchange(other.owner_, nullptr);
    first_file_page_ = other.first_file_page_;
    runs_ = std::move(other.runs_);
    tail_filled_ = other.tail_filled_;
    other.runs_.clear();
  }
  return *this;
}

StagedData::~StagedData() {
  if (owner_ != nullptr) owner_->unstage(*this);
}

std::uint64_t StagedData::page_count() const {
  std::uint64_t count = 0;
  for (const PageRun& run : runs_) count += run.count;
  return count;
}

// --- room
// ------------------------------------------------------------------------------------------------------------

Status StoreImpl::retry_with_room(std::uint64_t& asked, std::uint64_t needed, Store::Purpose purpose) {
  asked = std::max(asked, needed);
  const Wait wait(options);
  // Deleting needs the reserve only while it runs: what it frees comes back.
  const std::uint64_t floor =
      purpose == Store::Purpose::kDelete ? floor_for(Store::Purpose::kName) : floor_for(purpose);
  LRUFS_TRY(make_room(asked + floor, wait.allowed()));
  asked = std::min(asked * 2, std::max(asked, capacity_ / 8));
  return {};
}

Status StoreImpl::make_room(std::uint64_t want, bool may_wait) {
  room_waits_.fetch_add(1, std::memory_order_relaxed);
  if (want + kHeaderPages >= capacity_) return fail(Code::kNoSpace, "the file is larger than the store");
  RoomProgress progress;
  for (;;) {
    LRUFS_TRY_ASSIGN(const RoomStep step, room_step(want, may_wait, progress));
    if (step == RoomStep::kDone) return {};
    if (step == RoomStep::kAgain) continue;
    const MutexLock lock(writer_);
    room_changed_.wait_until(writer_, std::chrono::steady_clock::now() + kWaitStep);
    ++progress.waited;
  }
}

// Room comes from four sources, the cheapest first: pages that the last checkpoint still needs (a checkpoint
// frees them), pages that readers see (they end soon), evicted files that the kernel still holds (it is told,
// and lets go), and eviction.
Result<StoreImpl::RoomStep> StoreImpl::room_step(std::uint64_t want, bool may_wait, RoomProgress& progress) {
  const MutexLock room(room_mutex_);
  std::uint64_t usable = 0;
  std::uint64_t pending = 0;
  std::uint64_t limbo = 0;
  std::uint64_t orphaned = 0;
  {
    const MutexLock lock(writer_);
    clear_dead_readers();
    limbo_->release();
    usable = space_->free() + growable();
    pending = space_->pending();
    limbo = limbo_->pages();
    orphaned = orphan_pages_total_;
  }
  if (usable >= want) return RoomStep::kDone;
  if (usable > progress.last_usable) progress.waited = progress.useless_checkpoints = 0;
  progress.last_usable = usable;
  if (compacting_.load()) {
    if (raise_ceiling(want - usable)) return RoomStep::kAgain;
    if (may_wait && cutting_.load()) return RoomStep::kWait;
  }
  const auto checkpoint_again = [&]() -> Result<RoomStep> {
    LRUFS_TRY(checkpoint_for_room());
    ++progress.useless_checkpoints;
    return RoomStep::kAgain;
  };
  if (usable + pending >= want && progress.useless_checkpoints < 3) return checkpoint_again();
  if (may_wait && usable + pending + limbo + orphaned >= want && progress.waited < kWaitSteps / 3)
    return RoomStep::kWait;
  const std::uint64_t missing = want - std::min(want, usable + pending);
  LRUFS_TRY_ASSIGN(const auto evicted,
                   evict_some(std::max<std::uint64_t>(missing, 1), 64, EvictionReason::kCapacity));
  if (evicted) {
    progress.useless_checkpoints = 0;
    return RoomStep::kAgain;
  }
  // Nothing is left to evict. What is pending, read, or held may still come.
  if (pending > 0 && progress.useless_checkpoints < 3) return checkpoint_again();
  if (may_wait && (limbo > 0 || orphaned > 0) && progress.waited < kWaitSteps) return RoomStep::kWait;
  report_stalled_reader();
  return fail(Code::kNoSpace, "the store is full and everything left in it is pinned or in use");
}

}  // namespace lrufs::store
