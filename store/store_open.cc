// Opening, making and closing a store. No step looks at all objects: a state is its meta, the condensed
// free-space map, and the log after it; only tree pages born after the durable meta are verified before a
// live meta is believed.
#include <algorithm>
#include <random>

#include "store/bytes.h"
#include "store/faults.h"
#include "store/store_impl.h"

namespace lrufs::store {

namespace {

// A file system needs blocks of its own for a file's extents, and they count against the file's disk use: at
// worst one 12-byte ext4 extent for each second page.
constexpr std::uint64_t kOverheadDivisor = 512;
constexpr std::uint64_t kInitialBytes = 1U << 20U;
// Transactions of a lost past may have written pages that a later power cut leaves behind. New ones are
// numbered far above them, so that no stale page can be taken for a new one: by at least this much, and as
// much again by chance, since another session may have gone on from the same state and left no meta.
constexpr std::uint64_t kTxnGap = 1ULL << 32U;

std::uint64_t random64() {
  static std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32U) | device();
}

// Is on the disk before anything else of a new store, in the place of the first durable meta, and goes with
// the first checkpoint. Without it, a file that is no store could be taken for one whose making was cut
// short.
constexpr std::string_view kBeingMade = "lrufs: a store that is being made\n";

}  // namespace

Options as_it_lies(bool from_checkpoint, std::shared_ptr<FileOps> file_ops, std::uint64_t name_hash_mask) {
  Options options;
  options.read_only = true;
  options.create = false;
  options.bound_given = false;
  options.from_checkpoint = from_checkpoint;
  options.file_ops = std::move(file_ops);
  options.name_hash_mask = name_hash_mask;
  return options;
}

StoreImpl::StoreImpl(std::string file, Options opts)
    : path(std::move(file)),
      options(std::move(opts)),
      ops(options.file_ops ? options.file_ops : posix_file_ops()) {
  boot_id = parse_hex128(ops->boot_id());
}

StoreImpl::~StoreImpl() {
  if (fd >= 0 && !closed_) (void)close();
  shared_reader_.reset();
  guard.reset();
  if (base != nullptr) ops->unmap(base, mapped_bytes);
  if (fd >= 0) ops->close(fd);
}

std::uint64_t StoreImpl::capacity_pages(std::uint64_t bound) {
  return (bound - bound / kOverheadDivisor) / kPageSize;
}

void StoreImpl::set_capacity(std::uint64_t pages) {
  capacity_ = pages;
  reserve_ = reserve_pages(pages);
  slack_ = slack_pages(pages);
}

void StoreImpl::set_bound(std::uint64_t bytes) {
  current_.bound_bytes = bytes;
  set_capacity(capacity_pages(bytes));
}

Status StoreImpl::open_file(bool& fresh, bool& writable) {
  const bool locks_out = !options.read_only || options.exclusive;
  writable = locks_out || options.shared;
  auto opened = ops->open(path, false, !writable);
  if (!opened && !locks_out && options.shared && opened.error().os_errno != ENOENT) {
    writable = false;
    opened = ops->open(path, false, true);
  }
  const bool missing = !opened && opened.error().os_errno == ENOENT;
  if (missing && options.create && !options.read_only) opened = ops->open(path, true, false);
  if (!opened) {
    Error error = opened.error();
    if (error.os_errno == EISDIR)
      error = Error(Code::kNotAStore, path + " is a directory, not a store", EISDIR);
    if (error.os_errno == ELOOP)
      error = Error(Code::kNotAStore, path + " is a symbolic link; name the store itself", ELOOP);
    return fail(std::move(error));
  }
  fd = *opened;
  LRUFS_TRY_ASSIGN(identity, ops->identify(fd));
  if (!identity.is_regular) return fail(Code::kNotAStore, path + " is not a regular file");
  if (!options.shared) LRUFS_TRY(lock_file(locks_out));
  fresh = identity.size == 0;
  return {};
}

Status StoreImpl::map_file(std::uint64_t bound) {
  const std::uint64_t used = pages_for(std::max(bound, identity.size)) * kPageSize;
  mapped_bytes = used;
  if (beside_writer_) {
    LRUFS_TRY_ASSIGN(base, ops->map_shared(fd, 0, mapped_bytes, false));
  } else {
    // A mapping cannot be made longer where it is: for resize() it reaches further from the beginning, unless
    // there is no address space for that (RLIMIT_AS).
    mapped_bytes = options.read_only ? used : reach_of(used);
    auto mapped = ops->map(fd, mapped_bytes, !options.read_only);
    if (!mapped && mapped_bytes > used) mapped = ops->map(fd, mapped_bytes = used, true);
    LRUFS_TRY_ASSIGN(base, mapped);
  }
  guard = std::make_unique<MapGuard>(base, used, fd, !options.read_only, mapped_bytes);
  pager = std::make_unique<Pager>(base, used / kPageSize, guard.get(), mapped_bytes / kPageSize);
  pager->set_limit(std::min(identity.size, used) / kPageSize);
  return {};
}

Status StoreImpl::open() {
  const auto start = std::chrono::steady_clock::now();
  Status opened = open_or_make();
  open_us = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start)
          .count());
  closed_ = !opened;  // then the file stays as it is
  return opened;
}

Status StoreImpl::open_or_make() {
  if (options.bound_given && options.bound < kMinBound)
    return fail(Code::kBoundTooSmall, "a bound of " + std::to_string(options.bound) +
                                          " bytes is too small: a store needs at least " +
                                          std::to_string(kMinBound) + " bytes (" +
                                          std::to_string(kMinBound >> 20U) + "M)");
  if (options.high > 99 || options.low > 99 || (options.high != 0 && options.low >= options.high))
    return fail(Code::kInvalid, "the watermarks of eviction are percentages below 100, low below high");
  bool fresh = false;
  bool writable = false;
  LRUFS_TRY(open_file(fresh, writable));
  if (options.shared) return open_shared(writable);
  LRUFS_TRY(open_opened(fresh));
  if (!options.read_only) LRUFS_TRY(admit_readers());
  start_background();
  return {};
}

Status StoreImpl::open_opened(bool fresh) {
  std::vector<std::byte> header(4 * kPageSize);
  if (!fresh) {
    LRUFS_TRY(
        ops->read(fd, 0, MutableBytes(header).first(std::min<std::uint64_t>(header.size(), identity.size))));
    LRUFS_TRY_ASSIGN(fresh, was_never_finished(header));
    if (!fresh && identity.size < kHeaderPages * kPageSize)
      return fail(Code::kNotAStore, path + " is not an lrufs store, or was cut off");
  }
  if (fresh) {
    if (options.read_only || !options.create) return fail(Code::kNotAStore, path + " is empty, not a store");
    if (const Status made = format(); !made) {
      (void)ops->truncate(fd, 0);
      return made;
    }
  } else {
    LRUFS_TRY(open_state(header));
  }
  if (shrink_to_ != 0) LRUFS_TRY(resize(shrink_to_, nullptr));
  return {};
}

// SIGKILL or a power cut before the first checkpoint leaves zeros, of any length, or the mark.
Result<bool> StoreImpl::was_never_finished(Bytes header) const {
  if (identity.size > kInitialBytes) return false;
  if (as_text(header.first(kBeingMade.size())) == kBeingMade) return true;
  const auto is_zero = [](std::byte b) { return b == std::byte{0}; };
  if (!std::all_of(header.begin(), header.end(), is_zero)) return false;
  std::vector<std::byte> all(identity.size);
  LRUFS_TRY(ops->read(fd, 0, all));
  return std::all_of(all.begin(), all.end(), is_zero);
}

Status StoreImpl::format() {
  const std::uint64_t initial = kInitialBytes;
  LRUFS_TRY(ops->truncate(fd, 0));
  LRUFS_TRY(ops->grow(fd, 0, initial));
  identity.size = initial;
  LRUFS_TRY(map_file(options.bound));
  std::memcpy(base, kBeingMade.data(), kBeingMade.size());
  LRUFS_TRY(ops->sync_all(fd, base, mapped_bytes));
  opened_from = "new";
  {
    const MutexLock checkpoint_lock(checkpoint_mutex_);
    const MutexLock lock(writer_);
    for (auto& byte : current_.uuid) byte = static_cast<std::uint8_t>(random64());
    current_.name_seed = random64();
    current_.session = random64();
    current_.boot_id = boot_id;
    current_.device = identity.device;
    current_.inode = identity.inode;
    current_.grown_pages = initial / kPageSize;
    set_bound(options.bound);
    name_hash = std::make_unique<NameHash>(current_.name_seed, options.name_hash_mask);
    space_ = std::make_unique<SpaceMap>(capacity_, mapped_bytes / kPageSize);
    pager->set_current(space_->used_bits());
    limbo_ = std::make_unique<Limbo>(readers, *space_);
    space_->finish_load(initial / kPageSize);
    space_log_ = std::make_unique<SpaceLog>(*pager);
    readers.publish(current_.txn, current_.roots);
    durable_slot_ = 1;
  }
  LRUFS_TRY(update(
      [&](Transaction& txn) -> Status {
        Inode root;
        root.ino = kRootIno;
        root.mode = 0040755;
        root.uid = static_cast<std::uint32_t>(::geteuid());
        root.gid = static_cast<std::uint32_t>(::getegid());
        root.nlink = 2;
        root.atime = root.mtime = root.ctime = root.btime = now();
        ++state_of(txn).counters.directories;
        return txn.put_inode(root);
      },
      Store::Purpose::kDelete));
  LRUFS_TRY(checkpoint(readers.latest(), true, false));
  return ops->sync_parent(path);
}

Status StoreImpl::open_state(const std::vector<std::byte>& header) {
  auto choice = choose_meta(header.data(), identity, boot_id, options.from_checkpoint);
  if (!choice) {
    Error error = choice.error();
    if (error.code == Code::kNotFound) error = Error(Code::kNotAStore, "the file is not an lrufs store");
    error.message = path + ": " + error.message;
    return fail(std::move(error));
  }
  const bool keep_bound = !options.bound_given || options.read_only;
  const std::uint64_t old_bound =
      std::max(choice->durable.bound_bytes, choice->live ? choice->live->bound_bytes : 0);
  if (old_bound < kMinBound) return fail(Code::kCorrupt, path + ": the meta holds an impossible bound");
  const std::uint64_t largest_bound = keep_bound ? old_bound : std::max(old_bound, options.bound);
  LRUFS_TRY(map_file(largest_bound));

  const MutexLock checkpoint_lock(checkpoint_mutex_);
  const MutexLock lock(writer_);
  durable_ = choice->durable;
  durable_slot_ = choice->durable_slot;
  name_hash = std::make_unique<NameHash>(durable_.name_seed, options.name_hash_mask);
  const auto reset_space = [&]() NO_THREAD_SAFETY_ANALYSIS {
    space_ = std::make_unique<SpaceMap>(std::max(capacity_pages(largest_bound), identity.size / kPageSize),
                                        mapped_bytes / kPageSize);
    limbo_ = std::make_unique<Limbo>(readers, *space_);
    space_log_ = std::make_unique<SpaceLog>(*pager);
  };
  bool from_live = false;
  if (choice->live) {
    reset_space();
    // Where the durable meta that it continues is lost, all that the live state uses is kept instead.
    const Meta& base_state = choice->damage.empty() ? durable_ : *choice->live;
    Status believed = place_images(*choice->live, header.data() + *choice->live_page * kPageSize);
    if (believed) believed = verify_new_pages(*choice->live, durable_.txn);
    if (believed) believed = load_state(*choice->live, base_state);
    if (believed) believed = holds_all_pages();
    from_live = believed.has_value();
    space_known_ = from_live;
    if (!from_live)
      event(Options::Severity::kWarning,
            "the newest state of the store is not whole, the last checkpoint is used: " +
                describe(believed.error()));
  }
  if (!choice->damage.empty()) open_damage_.push_back(choice->damage);
  if (!from_live) {
    reset_space();
    // The live meta that takes the place of the lost durable ones.
    if (!choice->live && choice->live_page)
      (void)place_images(durable_, header.data() + *choice->live_page * kPageSize);
    if (const Status loaded = load_durable_state(*choice); !loaded) {
      open_damage_.push_back(describe(loaded.error()));
      if (!space_known_) reset_space();
    }
  }
  LRUFS_TRY(refuse_truncated(from_live ? *choice->live : durable_));
  settle_damage(durable_.damaged || (from_live && choice->live->damaged));
  current_ = from_live ? *choice->live : durable_;
  if (options.on_found) options.on_found(current_.txn, current_.counters.next_seq);
  opened_from = from_live ? "live" : durable_.clean ? "clean" : "checkpoint";
  if (keep_bound || options.read_only) options.bound = current_.bound_bytes;
  set_bound(options.bound);
  if (!options.read_only) meet_readers();
  const bool has_readers = shared_readers_ && shared_readers_->has_claims();
  std::uint64_t grown = identity.size / kPageSize;
  if (grown > capacity_ && open_damage_.empty()) {
    if (space_->high_water() <= capacity_) {
      // Readers of an earlier state may see what lies there: then it is cut the next time.
      if (!options.read_only && !has_readers) LRUFS_TRY(ops->truncate(fd, capacity_ * kPageSize));
      grown = capacity_;
      pager->set_limit(grown);
    } else if (!options.read_only) {
      // As it was for now; open_or_make() goes on.
      shrink_to_ = options.bound;
      set_bound(std::max(old_bound, identity.size));
      current_.bound_bytes = old_bound;
    }
  }
  pager->set_on_damage([this](PageNo page, const char* what) { see_damage(page, what); });
  space_->finish_load(grown);
  pager->set_current(space_->used_bits());
  if (!options.read_only) LRUFS_TRY(find_holes());
  current_.grown_pages = grown;
  next_seq.store(current_.counters.next_seq);
  current_.session = random64();
  current_.boot_id = boot_id;
  current_.device = identity.device;
  current_.inode = identity.inode;
  current_.durable_txn = durable_.txn;
  current_.durable_session = durable_.session;
  current_.new_pages_sum = 0;
  if (from_live) {
    LRUFS_TRY_ASSIGN(current_.new_pages_sum, sum_new_pages(current_, durable_.txn));
  }
  current_.txn = TxnId{raw(choice->highest) + kTxnGap + random64() % kTxnGap};
  dirty_ = from_live;
  durable_txn_.store(from_live ? raw(durable_.txn) : raw(current_.txn));
  if (from_live && kLiveMetaPage + raw(current_.txn) % 2 == *choice->live_page)
    current_.txn = TxnId{raw(current_.txn) + 1};
  readers.publish(current_.txn, current_.roots);
  if (has_readers) keep_all_for_readers();
  if (options.shared) shared_txn_ = from_live ? choice->live->txn : durable_.txn;
  if (!options.read_only && from_live) {
    // The images of the live meta are in place and will be overwritten: one follows that names none.
    encode_meta(current_, base + (kLiveMetaPage + raw(current_.txn) % 2) * kPageSize);
  }
  if (!options.read_only && !from_live) {
    // Live metas of a past that is not believed must not be believed later either. And what the page cache
    // shows must be what the disk holds before a page is reused, even if a sync of the process before failed.
    std::memset(base + kLiveMetaPage * kPageSize, 0, 2 * kPageSize);
    encode_meta(durable_, base + (kDurableMetaPage + static_cast<std::uint64_t>(durable_slot_)) * kPageSize);
    LRUFS_TRY(ops->sync_range(fd, base, 0, 4 * kPageSize));
  }
  return {};
}

// Pages that neither the current nor the durable state uses may be missing: the file is cut when its bound is
// lowered.
Status StoreImpl::holds_all_pages() const {
  const std::uint64_t needed = space_->high_water() * kPageSize;
  if (needed <= identity.size) return {};
  return fail(Code::kCorrupt, path + ": the store is truncated: it has " + std::to_string(identity.size) +
                                  " bytes and needs " + std::to_string(needed));
}

// A store that lost its end is more likely a copy that failed than a cache to go on with: whoever wants to
// read what is left says so.
Status StoreImpl::refuse_truncated(const Meta& meta) const {
  if (options.read_only || options.force) return {};
  const bool lost_end = identity.size < meta.grown_pages * kPageSize;
  Status whole;
  if (space_known_) {
    whole = holds_all_pages();
  } else if (lost_end) {
    whole = fail(Code::kCorrupt, path + ": the store is truncated: it has " + std::to_string(identity.size) +
                                     " of " + std::to_string(meta.grown_pages * kPageSize) + " bytes");
  }
  if (whole) return {};
  return fail(Code::kCorrupt, whole.error().message +
                                  ". Read what is left (mount -o ro), or keep that (lrufs check --repair)");
}

Status StoreImpl::load_state(const Meta& meta, const Meta& durable) {
  SpaceLog::Bounds bounds{.last = meta.txn};
  if (meta.txn != durable.txn) {
    bounds.older_end = durable.space.log_end;
    bounds.older = durable.txn;
  }
  LRUFS_TRY(space_log_->load(meta.space, *space_, false, true, bounds));
  if (meta.space == durable.space) {
    space_->copy_used_to_durable();
    return {};
  }
  SpaceLog reader(*pager);
  return reader.load(durable.space, *space_, true, false, {.last = durable.txn});
}

Status StoreImpl::load_durable_state(const MetaChoice& choice) {
  LRUFS_TRY(load_state(durable_, durable_));
  space_known_ = true;
  LRUFS_TRY(holds_all_pages());
  if (choice.doubtful) LRUFS_TRY(sum_new_pages(durable_, TxnId{0}));
  return {};
}

void StoreImpl::settle_damage(bool was_seen_before) {
  damaged_.store(was_seen_before || !open_damage_.empty());
  damage_is_durable_.store(durable_.damaged);
  if (!damaged_.load()) return;
  const std::string what = open_damage_.empty() ? "damage was seen in it before" : open_damage_.front();
  const bool keep_off = !options.force || !space_known_;
  std::string text = path + " is damaged: " + what;
  if (!options.read_only && keep_off)
    text += options.force ? "; its free space is not known, so it is read-only all the same"
                          : "; it is opened read-only";
  event(Options::Severity::kError, text + ". `lrufs check --repair` keeps what is whole");
  options.read_only = options.read_only || keep_off;
}

// A page failed its checks while the store is in use. That it did is written to the metas by the next publish
// or checkpoint; what is hurt is an error to its caller, the rest goes on.
void StoreImpl::see_damage(PageNo page, const char* what) {
  constexpr std::uint64_t kTold = 20;
  const bool first = !damaged_.exchange(true);
  if (pager->corrupt_pages() <= kTold)
    event(Options::Severity::kError, path + ": page " + std::to_string(raw(page)) + " " + what +
                                         (first ? ". Unmount, and run `lrufs check --repair`" : ""));
}

Status StoreImpl::place_images(const Meta& live, const std::byte* meta_page) {
  LRUFS_TRY_ASSIGN(const std::vector<ImageRef> images, decode_images(meta_page));
  for (const ImageRef& ref : images) {
    const auto lies_within = [&](PageNo page) {
      return raw(page) >= kHeaderPages && raw(page) < pager->limit();
    };
    if (!lies_within(ref.image) || !lies_within(ref.target))
      return fail(Code::kCorrupt, "an image lies outside of the store");
    const Page& image = *pager->at(ref.image);
    if (image.header.page_no != raw(ref.target) || image.header.birth > raw(live.txn) ||
        image.header.checksum != page_checksum(image) || !node_is_well_formed(image))
      return fail(Code::kCorrupt, "an image is damaged, at page " + std::to_string(raw(ref.image)));
    copy_tree_page(*pager->at(ref.target), image);
  }
  return {};
}

// Every page that the live state does not share with the durable one must have reached this page cache whole:
// born when its parent says, with its checksum; and, since a page that is edited in place keeps its birth,
// all of them in the version of this state. Pages that both share are older than the durable meta and are not
// visited.
Status StoreImpl::verify_new_pages(const Meta& live, TxnId durable_txn) const {
  if (live.format > 1) {
    LRUFS_TRY_ASSIGN(const std::uint64_t sum, sum_new_pages(live, live.durable_txn));
    if (sum != live.new_pages_sum && !on(Fault::kSkipPageSum))
      return fail(Code::kCorrupt, "pages of the newest state are not in its version");
    if (live.durable_txn <= durable_txn) return {};
  }
  LRUFS_TRY(sum_new_pages(live, durable_txn));
  return {};
}

Result<std::uint64_t> StoreImpl::sum_new_pages(const Meta& meta, TxnId since) const {
  std::uint64_t sum = 0;
  for (const TreeRoot& root : {meta.roots.names, meta.roots.recency, meta.roots.expiry, meta.roots.spare}) {
    std::vector<TreeRoot> stack;
    if (root.page != kNoPage) stack.push_back(root);
    while (!stack.empty()) {
      const TreeRoot next = stack.back();
      stack.pop_back();
      if (next.birth <= since) continue;
      LRUFS_TRY_ASSIGN(const Page* page, pager->fetch(next.page, next.birth));
      sum += page->header.checksum;
      const NodeView node(*page);
      if (node.is_leaf()) continue;
      for (std::uint16_t i = 0; i < node.count(); ++i) stack.push_back({node.child(i), node.child_birth(i)});
      if (stack.size() > pager->limit() + kMaxDepth * 512)
        return fail(Code::kCorrupt, "a tree contains itself");
    }
  }
  return sum;
}

Status StoreImpl::close() {
  if (closed_) return {};
  closed_ = true;
  stop_background();
  shared_reader_.reset();
  Status result;
  if (!options.read_only && fd >= 0 && base != nullptr && !failed_.load()) {
    if (touches.size() > 0) result = flush_touches();
    if (uses_.size() > 0) {
      const Status written = write_uses(true);
      if (result) result = written;
    }
    bool unclean = false;
    {
      const MutexLock lock(checkpoint_mutex_);
      const MutexLock writer_lock(writer_);
      unclean = dirty_ || !durable_.clean || must_record_damage();
    }
    if (unclean) {
      const Status synced = checkpoint(readers.latest(), true, true);
      if (result) result = synced;
    }
  } else if (failed_.load()) {
    const MutexLock lock(failure_mutex_);
    result = fail(Code::kIo, failure_);
  }
  if (shared_readers_) {
    readers.attach(nullptr);
    shared_readers_->end_session();
    std::memset(base + kBaseMetaPage * kPageSize, 0, kPageSize);
    shared_readers_.reset();
  }
  if (base != nullptr) ops->unmap(std::exchange(base, nullptr), mapped_bytes);
  if (fd >= 0) ops->close(std::exchange(fd, -1));
  return result;
}

}  // namespace lrufs::store
