// StoreImpl: the parts of a store and the steps that involve several of them. Internal to store/.
//
// Lock order: relocation_mutex_ → room_mutex_ → checkpoint_mutex_ → writer_ → { touch batch,
// protected_mutex_, the caller's is_held, the times of use }; reaper_mutex_ is taken without any of these.
// The mapping's content is protected so: tree pages are written by the transaction that bore them, before
// they are published, and never after; metas by the holder of writer_ (live) or checkpoint_mutex_ (durable);
// log and map pages under writer_; file content by whoever owns the pages (a writer that staged them, or the
// transaction).
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "store/keys.h"
#include "store/limbo.h"
#include "store/meta.h"
#include "store/reader_table.h"
#include "store/space_log.h"
#include "store/space_map.h"
#include "store/store.h"
#include "store/thread_annotations.h"
#include "store/touch_batch.h"
#include "store/use_times.h"

namespace lrufs::store {

struct Transaction::State final : public PageWriter {
  State(StoreImpl& owner, Store::Purpose why, bool in_place);

  // PageWriter
  [[nodiscard]] PageSource pages() const override;
  [[nodiscard]] TxnId birth() const override { return id; }
  Result<Page*> make_page() override;
  Result<Page*> edit_page(PageNo page, TxnId birth) override;
  Page* edit_in_place(const Page& page) override;
  void free_page(PageNo page) override;
  // Into the namespace tree, where the owner's inode was found last, if that is the place.
  Result<LeafHints::Hint> put(const Key& key, Bytes value);
  Result<bool> erase(const Key& key);
  [[nodiscard]] PageNo guess(const Key& key) const;
  Status link_at(Inode& dir, std::string_view name, Inode& child, Cookie cookie, PageNo leaf);
  [[nodiscard]] PageNo leaf_without(const Key& entry) const;

  // Content pages.
  Result<PageRun> take_run(std::uint64_t want, PageNo hint);
  void free_run(PageRun run);  // splits between pages of this transaction and older ones
  [[nodiscard]] bool is_mine(PageNo page) const;
  // The pages that it took, and those that it was refused: what it needs at least.
  [[nodiscard]] std::uint64_t pages_needed() const;

  // The LRU order (txn_order.cc).
  Status list_at(Inode& inode, TouchSeq seq, bool parked = false);  // into the recency tree
  Status unlist(Inode& inode);
  Status apply_touch(const TouchBatch::Touch& touch);

  // Pins and expiry (txn_keep.cc). Covered: it carries a pin, or one of its names is below a directory that
  // does. Below: the directory itself, or one that it is in.
  Result<bool> is_covered(const Inode& inode);
  Result<bool> is_below_pin(Ino dir);
  Status unpark(Inode& inode);
  void look_at_parked_again();
  Status leaves(const Inode& dir, Inode& child);
  Status arrives(const Inode& dir, const Inode& child);
  void count_pin(const Inode& inode, bool pinned);
  Status schedule(Inode& inode, std::uint64_t expires);
  Status schedule_exactly(Inode& inode);  // at its end, not before
  Status unschedule(Inode& inode);
  Status start_ttl(Inode& inode);
  Status renew(Inode& inode);  // its content changed

  // Content (txn_content.cc).
  Status free_extents(Inode& inode, std::uint64_t first, std::uint64_t end);  // file pages [first, end)
  Status insert_extent(Inode& inode, std::uint64_t file_page, PageRun run);
  Status overwrite_pages(Inode& inode, std::uint64_t offset, Bytes data, StagedData* staged, WriteMode mode);
  Status place_staged(Inode& inode, std::uint64_t first, std::uint64_t count, std::uint64_t data_end,
                      StagedData& staged);
  Status fill_new_pages(Inode& inode, std::uint64_t first, std::uint64_t count, std::uint64_t offset,
                        Bytes data);
  Status copy_page(const Inode& inode, std::uint64_t file_page, std::byte* to) const;  // zeros for a hole
  Status leave_inline(Inode& inode);
  Status zero_range(Inode& inode, std::uint64_t offset, std::uint64_t length);  // within one page
  Status zero_tail(Inode& inode);  // before the file's end moves away from where it is
  void set_size(Inode& inode, std::uint64_t size);

  StoreImpl* store;
  Store::Purpose purpose;
  TxnId id;
  std::atomic<std::uint32_t>* announced = nullptr;  // clear_on_abort()
  Roots roots;
  Counters counters;
  Images* const images;  // null: pages are copied, never edited in place
  ReadView view;
  bool active = true;
  bool changed = false;
  bool overwrites = false;          // content in place: ReaderTable::begin_overwriting()
  std::vector<PageRun> taken;       // busy until commit
  std::uint64_t refused = 0;        // pages that it asked for last and did not get
  std::vector<PageNo> tree_pages;   // to be sealed
  std::vector<PageNo> spare_pages;  // taken and freed again in this transaction
  std::vector<PageRun> spare_runs;
  std::vector<PageRun> freed;
  std::vector<PageNo> freed_tree_pages;  // of these, with the states' own
  std::vector<StagedData*> staged_used;
  std::vector<TouchBatch::Touch> touches_written;
  std::vector<Ino> destroyed;
  Ino near = kNoIno;  // the object that was looked up or put last, and its leaf
  PageNo near_leaf = kNoPage;
  LeafHints::Hint found_at;  // of `near`, if it was looked up by its name: the hints lead there
  Ino named = kNoIno;        // the object that was looked up or linked last, under the name of this hash
  std::uint64_t named_hash = 0;
  PageNo beside = kNoPage;  // where the entry would be of the name that was looked up last and is not there
  std::vector<Ino>
      moved_out;           // directories with entries that lost a name below a pin, and have no new one yet
  Ino looked_at = kNoIno;  // the directory that is_below_pin() was asked about last
  bool looked_at_is_below = false;
  std::uint64_t earliest_due = ~0ULL;  // of what was put into the expiry tree
  const std::uint64_t losses;          // of the map's guard, when it began
};

struct Snapshot::State {
  State(StoreImpl& store, Kind kind);
  ~State() { readers->release(lease, frozen); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ReaderTable* readers;
  const bool frozen;
  const ReaderTable::Lease lease;
  const ReadView view;
};

// The message by which create() asks update() for a free place under max_files.
inline constexpr std::string_view kFileLimitReached = "the limit of files is reached";

// To open a store as it lies there, to look at it: read-only, never made, with its own bound.
Options as_it_lies(bool from_checkpoint, std::shared_ptr<FileOps> file_ops, std::uint64_t name_hash_mask);

class StoreImpl {
 public:
  StoreImpl(std::string path, Options options);
  ~StoreImpl();
  StoreImpl(const StoreImpl&) = delete;
  StoreImpl& operator=(const StoreImpl&) = delete;

  // --- store_open.cc
  Status open();
  Status open_or_make();
  Status open_file(bool& fresh, bool& writable);
  Status open_opened(bool fresh);
  Status map_file(std::uint64_t bound);
  [[nodiscard]] Result<bool> was_never_finished(Bytes header) const;
  Status format();
  Status open_state(const std::vector<std::byte>& header);
  Status load_state(const Meta& meta, const Meta& durable) REQUIRES(writer_);
  Status load_durable_state(const MetaChoice& choice) REQUIRES(writer_, checkpoint_mutex_);
  Status holds_all_pages() const REQUIRES(writer_);
  Status refuse_truncated(const Meta& meta) const REQUIRES(writer_);
  // Images of the live state that SIGKILL kept from their place.
  Status place_images(const Meta& live, const std::byte* meta_page);
  Status verify_new_pages(const Meta& live, TxnId durable_txn) const;
  // The sum of the checksums of the state's tree pages born after `since`; kCorrupt, kIo.
  [[nodiscard]] Result<std::uint64_t> sum_new_pages(const Meta& meta, TxnId since) const;
  // What open_state() does about damage: the store becomes read-only, if it may.
  void settle_damage(bool was_seen_before) REQUIRES(checkpoint_mutex_);
  void see_damage(PageNo page, const char* what);
  [[nodiscard]] bool must_record_damage() const { return damaged_.load() && !damage_is_durable_.load(); }
  void set_bound(std::uint64_t bytes) REQUIRES(writer_);
  void set_capacity(std::uint64_t pages);
  // The most pages that a store with this bound may use; what it keeps for deletion; what it evicts ahead.
  static std::uint64_t capacity_pages(std::uint64_t bound);
  static std::uint64_t reserve_pages(std::uint64_t capacity) {
    return std::clamp<std::uint64_t>(capacity / 64, 48, 4096);
  }
  static std::uint64_t slack_pages(std::uint64_t capacity) {
    return std::clamp<std::uint64_t>(capacity / 64, kLeastSlack, 32768);
  }
  Status close();

  // --- store_shared.cc: Options::shared, and the writer's side of it
  Status lock_file(bool exclusive);
  Status open_shared(bool can_announce);
  Status open_unwritten(bool can_announce);
  // The state of the process that writes. kStale: there is none any more.
  Status open_beside_writer();
  Status load_beside_writer(const Meta& meta);
  // Of a store that nobody writes: announces the state, so that a writer may come.
  void share_state(TxnId txn);
  // A writer meets readers of earlier states.
  void meet_readers() REQUIRES(writer_);
  void keep_all_for_readers() REQUIRES(writer_);
  Status admit_readers();
  void clear_dead_readers() REQUIRES(writer_);

  // --- store_txn.cc
  // `in_place`: pages may be edited in place. Then commit() may answer kConflict: run it again without.
  Result<std::unique_ptr<Transaction::State>> begin(Store::Purpose purpose,
                                                    bool in_place = false) NO_THREAD_SAFETY_ANALYSIS;
  Status commit(Transaction::State& txn) NO_THREAD_SAFETY_ANALYSIS;
  // The sums of current_ as they will be with the transaction's tree pages.
  struct PageSums {
    std::uint64_t since_durable = 0;
    std::uint64_t since_checkpoint = 0;
  };
  [[nodiscard]] PageSums sums_after(const Transaction::State& txn) const REQUIRES(writer_);
  void abort(Transaction::State& txn) NO_THREAD_SAFETY_ANALYSIS;
  Status update(const Store::Body& body, Store::Purpose purpose);
  Status update_once(const Store::Body& body, Store::Purpose purpose, bool in_place, TxnId& published,
                     std::uint64_t& needed);
  // A writer's share of the eviction that is due: what comes in pays for what must go, so that neither runs
  // away from the other, whichever thread the lock prefers. Before it writes, so that it does not meet what
  // it has written.
  void evict_a_share();
  // Where pages run out before the checkpoint ends that gives some back: lets its caller, who has taken
  // `pages`, be a little slower, so that what is left lasts. Otherwise one of the callers would meet the end
  // of it, and wait for all of the checkpoint.
  void pace(std::uint64_t pages) const;
  ReaderTable::Lease lease(bool frozen);
  static Transaction make_transaction(std::unique_ptr<Transaction::State> state) {
    return Transaction(std::move(state));
  }
  Snapshot snapshot(Snapshot::Kind kind) { return Snapshot(std::make_unique<Snapshot::State>(*this, kind)); }
  static Transaction::State& state_of(Transaction& txn) { return *txn.state_; }

  // --- store_space.cc
  // Pages that must stay free after a transaction of this purpose.
  [[nodiscard]] std::uint64_t floor_for(Store::Purpose purpose) const;
  PageNo take_page(Store::Purpose purpose) REQUIRES(writer_);
  PageRun take_run(std::uint64_t want, PageNo hint, Store::Purpose purpose) REQUIRES(writer_);
  bool grow(std::uint64_t want) REQUIRES(writer_);
  // The watermarks, in pages that are free or will be: below the first eviction begins, and it goes on up to
  // the second. Between them lies the slack: pages to go on with until a checkpoint gives back those that
  // were freed since the last one.
  // Options::high and low move them apart from each other, and further from what is the least.
  [[nodiscard]] std::uint64_t evict_start() const { return std::max(least_start(), unused_at(options.high)); }
  [[nodiscard]] std::uint64_t evict_stop() const {
    const std::uint64_t least = least_start() + slack() / 2;
    const std::uint64_t start = evict_start();
    if (options.low != 0) return std::max({least, start, unused_at(options.low)});
    return options.high == 0 ? least : std::max(least, start + start / 4);
  }
  // Below it writers help (evict_a_share()), since they would wait for room otherwise.
  [[nodiscard]] std::uint64_t least_start() const { return reserve_ + slack(); }
  [[nodiscard]] std::uint64_t unused_at(std::uint32_t percent) const {
    return percent == 0 ? 0 : capacity_ / 100 * (100 - percent);
  }
  // At most a tenth of what the store can be: of its file, where the disk is full.
  [[nodiscard]] std::uint64_t slack() const {
    const std::uint64_t most = (disk_full_at_ != 0 ? disk_full_at_.load() : capacity_.load()) / 10;
    return std::min(slack_.load(), std::max(most, kLeastSlack));
  }
  static constexpr std::uint64_t kLeastSlack = 32;
  [[nodiscard]] std::uint64_t least_slack() const { return slack_pages(capacity_); }
  // A checkpoint that only makes room: if they follow each other closely the slack grows.
  Status checkpoint_for_room();
  void shrink_slack();  // now and then: without such checkpoints it goes back to the least
  // Sets pages aside for images, if there are some to spare.
  bool have_images() REQUIRES(writer_);
  [[nodiscard]] std::uint64_t image_pages() const;
  [[nodiscard]] std::uint64_t growable() const REQUIRES(writer_);
  // Pages that are usable now, or will be after a checkpoint, or when the kernel lets go of orphans.
  [[nodiscard]] std::uint64_t in_prospect() const REQUIRES(writer_);
  // kIo, and the store has failed, if the file is shorter than it was made: somebody cut it off.
  Status not_cut_off();
  Result<StagedData> stage(std::uint64_t offset, Bytes data);
  void unstage(StagedData& staged);
  Status fill(const StagedData& staged, std::uint64_t offset, Bytes data);
  // Until `want` pages are free or the file can grow by them. `may_wait`: for others, that is, for readers
  // and for the kernel to let go of files; never with room_mutex_ held, since one who must not wait may come.
  Status make_room(std::uint64_t want, bool may_wait);
  enum class RoomStep : std::uint8_t { kDone, kAgain, kWait };
  struct RoomProgress {
    int waited = 0;
    int useless_checkpoints = 0;
    std::uint64_t last_usable = 0;
  };
  Result<RoomStep> room_step(std::uint64_t want, bool may_wait, RoomProgress& progress) EXCLUDES(room_mutex_);
  // make_room(asked), after the work that asks failed although it needs only `needed` pages as far as it is
  // known; asks for twice as much the next time, up to a part of the store: beyond that only for what is
  // needed.
  Status retry_with_room(std::uint64_t& asked, std::uint64_t needed, Store::Purpose purpose);

  // --- evictor.cc
  struct Victim {
    Inode inode;
    TouchSeq seq{0};
  };
  // The least recently used object that may go. Moves what is in its way to its right place in the order;
  // that may be a lot, so it stops once the transaction has taken more than `budget` pages, and sets
  // `paused`: commit, and go on.
  Result<std::optional<Victim>> next_victim(Transaction& txn, std::size_t budget, bool& paused);
  // Moves what is parked and not covered any more back to its place in the order; false: there is more to
  // look at, commit and go on.
  static Result<bool> look_at_parked(Transaction& txn, std::size_t budget);
  Status remove_victim(Transaction& txn, Inode inode, std::vector<Evicted>& told,
                       std::vector<std::uint64_t>& pages);
  // Evicts up to `max_objects` in one transaction, until `pages` were freed (orphaned ones count). Returns
  // pages; nullopt: no victim is left. `ahead`: nobody waits for it, so the file that was written last stays,
  // even alone.
  Result<std::optional<std::uint64_t>> evict_some(std::uint64_t pages, std::size_t max_objects,
                                                  EvictionReason reason, bool ahead = false);
  // Who goes next, after `chosen` objects went in this transaction; with 0 it begins anew. nullopt: nobody,
  // or, with `paused` set, not in this transaction.
  using Choose =
      std::function<Result<std::optional<Inode>>(Transaction& txn, std::size_t chosen, bool& paused)>;
  Result<std::optional<Evictions>> evict_chosen(const Choose& choose, std::uint64_t pages,
                                                std::size_t max_objects, EvictionReason reason);
  // evict_request.cc: these, in this order, but for those that are gone, being written, or directories with
  // entries.
  Status evict_these(const std::vector<Ino>& objects, Evictions& done);
  Status evict_below(Ino dir, std::string_view name_prefix, Evictions& done);
  Result<std::vector<Store::Standing>> next_to_go(std::size_t limit);
  Result<std::vector<Store::Standing>> last_used(std::size_t limit);
  Status flush_touches();
  Status reclaim(const std::vector<Ino>& inodes);
  Status reclaim_orphans();
  void tell_evicted(const std::vector<Evicted>& told);
  void forget_orphan_pages(const std::vector<Evicted>& told);
  bool is_protected(Ino ino) EXCLUDES(protected_mutex_);

  // --- reaper.cc
  [[nodiscard]] std::uint64_t wall_clock() const;  // nanoseconds since 1970
  [[nodiscard]] std::uint64_t expires_at(const Inode& inode) const;
  [[nodiscard]] bool is_expired(const Inode& inode) const;
  void note_use(const Inode& inode);
  struct WrittenUse {
    Ino ino = kNoIno;
    std::uint64_t time = 0;
  };
  struct Reaped {
    std::vector<Evicted> told;
    std::vector<std::uint64_t> pages;
    std::vector<WrittenUse> uses;
    std::size_t objects = 0;
  };
  using ReapBody = std::function<Status(Transaction&, Reaped&)>;
  Status reap_in_txn(const ReapBody& body, Reaped& reaped);
  Status reap(const std::vector<Ino>& inodes);
  // The objects at the beginning of the expiry tree, in one transaction: those that have expired go, those
  // that were used or written since move on. False: none is due.
  Result<bool> reap_some(std::size_t max_objects, std::size_t& reaped);
  Status reap_one(Transaction& txn, const Inode& inode, Reaped& reaped);
  Status write_uses(bool all);
  [[nodiscard]] Result<std::uint64_t> first_due();
  void reap_in_background();
  void wake_reaper(std::uint64_t due);

  // --- resize.cc
  // How far a long operation is, in pages.
  struct LongWork {
    const Store::OnProgress& tell;
    std::uint64_t done = 0;
    std::uint64_t all = 0;
    std::uint64_t to_move = 0;  // of all: behind the new end before it began
    // An error: the work is to end.
    Status report(std::uint64_t pages_done);
  };
  Status resize(std::uint64_t bound, const Store::OnProgress& on_progress) EXCLUDES(relocation_mutex_);
  Status enlarge(std::uint64_t bound, std::uint64_t pages) REQUIRES(relocation_mutex_);
  Status shrink(std::uint64_t bound, std::uint64_t pages, LongWork& work) REQUIRES(relocation_mutex_);
  Status compact(Store::Company company, const Store::OnProgress& on_progress) EXCLUDES(relocation_mutex_);
  Status compact_alone(LongWork& work) REQUIRES(relocation_mutex_);
  Status compact_beside(LongWork& work) REQUIRES(relocation_mutex_);
  // To how many bytes a store may grow that is opened with so many.
  static std::uint64_t reach_of(std::uint64_t bytes);
  // Until no other process reads a state before `state`; kBusy after a second.
  Status await_readers(TxnId state);
  // The same, of those who read now.
  Status await_present_readers();
  // Room for who lacks it, where a compaction has taken it away. False: there is none, or not now.
  bool raise_ceiling(std::uint64_t want);
  void set_end(std::uint64_t pages) REQUIRES(writer_);
  // From now on no page from `ceiling` on is taken, and the figures are those of such a capacity.
  void relocate(std::uint64_t capacity, std::uint64_t ceiling) REQUIRES(relocation_mutex_);
  void set_relocation(std::uint64_t capacity, std::uint64_t ceiling) REQUIRES(writer_);
  Status count_orphans() REQUIRES(relocation_mutex_);
  // Until what is used fits, with some room; with `begin` relocation then begins.
  Status evict_to_fit(std::uint64_t pages, LongWork& work, bool begin) REQUIRES(relocation_mutex_);
  // What is there, below the ceiling.
  Status move_and_cut(LongWork& work, std::uint64_t bound) REQUIRES(relocation_mutex_);
  // Until nothing of any state lies at the ceiling or behind it.
  Status move_below(LongWork& work) REQUIRES(relocation_mutex_);
  Status await_busy_pages(LongWork& work) REQUIRES(relocation_mutex_);
  // Cuts the file at the ceiling (bound 0: behind its last page in use), if nothing lies behind it; then the
  // store has the bound, unless that is 0. False: something lies there.
  Result<bool> cut_file(std::uint64_t bound) REQUIRES(relocation_mutex_);

  // --- relocate.cc (relocate.h says how)
  Status report_move(LongWork& work);
  // The ceiling may rise meanwhile (raise_ceiling()): each transaction goes by what it is.
  Status move_trees(LongWork& work);
  Status move_content(LongWork& work);
  Result<bool> find_content(std::vector<std::byte>& from);
  void bring_in(PageNo first, std::uint64_t end) const;
  Result<std::uint64_t> move_extent(Transaction::State& txn, Ino owner, const Extent& extent,
                                    std::uint64_t pages, std::uint64_t most);
  Result<std::uint64_t> move_xattr(Transaction::State& txn, Bytes key, Bytes value, std::uint64_t pages);
  Status move_space_log();
  // Pages to move in one transaction.
  [[nodiscard]] std::uint64_t move_budget() const REQUIRES(writer_);
  // The current state once more, under the next number.
  void publish_again() REQUIRES(writer_);
  // update() without images; for deletion's purpose where nobody else writes.
  Status update_by_copies(const Store::Body& body);

  // --- trim.cc
  // Gives the blocks of long free runs back, but for some room to go on with.
  void trim();
  Status find_holes() REQUIRES(writer_);
  bool fill_some_hole(std::uint64_t want) REQUIRES(writer_);
  void disk_is_full(const Error& error) REQUIRES(writer_);

  // --- checkpointer.cc
  // Returns when `wanted` is durable. `internal`: not on a caller's behalf (for the statistics); `clean`: the
  // last one.
  Status checkpoint(TxnId wanted, bool internal, bool clean);
  Status run_checkpoint(bool clean) REQUIRES(checkpoint_mutex_);
  void gather_group() REQUIRES(group_mutex_);
  void condense() REQUIRES(writer_);
  void fail_store(const Error& error);
  // Pages that could not be read since the last time are told (Options::on_event, now and then).
  void tell_losses();
  bool all_readable(const std::vector<Segment>& segments);
  void background();
  void evict_in_background();
  void start_background();
  void stop_background();
  void wake_background();
  // Tells, once a stall, that a reader has kept pages from being reused for long.
  void report_stalled_reader() EXCLUDES(writer_);

  void event(Options::Severity severity, const std::string& text) const {
    if (options.on_event) options.on_event(severity, text);
  }
  Statistics statistics();

  // Tells Options::on_wait of a wait as long as it lives.
  class Wait {
   public:
    explicit Wait(const Options& options)
        : options_(options), allowed_(!options.on_wait || options.on_wait(true)) {}
    ~Wait() {
      if (options_.on_wait) (void)options_.on_wait(false);
    }
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;
    [[nodiscard]] bool allowed() const { return allowed_; }

   private:
    const Options& options_;
    const bool allowed_;
  };

  std::string path;
  Options options;
  std::shared_ptr<FileOps> ops;
  int fd = -1;
  FileIdentity identity;
  std::byte* base = nullptr;
  std::uint64_t mapped_bytes = 0;
  std::array<std::uint8_t, 16> boot_id{};
  std::string opened_from;
  std::uint64_t open_us = 0;  // what open() took

  std::unique_ptr<MapGuard> guard;
  std::unique_ptr<Pager> pager;
  std::unique_ptr<NameHash> name_hash;
  mutable ReaderTable readers;
  std::unique_ptr<SharedReaders> shared_readers_;  // of a writer
  std::unique_ptr<SharedReader> shared_reader_;    // of Options::shared
  TxnId shared_txn_{0};                            // the state that it sees
  bool beside_writer_ = false;
  std::atomic<std::uint64_t> next_seq{2};
  TouchBatch touches{next_seq, options.max_touches};

  Mutex room_mutex_ ACQUIRED_BEFORE(checkpoint_mutex_);
  // Callers who wait for one checkpoint together; nothing is locked under it.
  Mutex group_mutex_;
  CondVar group_ended_, group_grew_;
  bool group_runs_ GUARDED_BY(group_mutex_) = false;
  std::size_t group_arrived_ GUARDED_BY(group_mutex_) = 0;  // since the last one began
  std::size_t group_size_ GUARDED_BY(group_mutex_) = 0;     // of the last one
  std::atomic<std::uint64_t> last_checkpoint_us_{0};
  Mutex checkpoint_mutex_ ACQUIRED_BEFORE(writer_);
  mutable Mutex writer_;
  Meta current_ GUARDED_BY(writer_);        // the published state
  bool dirty_ GUARDED_BY(writer_) = false;  // it is not yet durable
  std::unique_ptr<SpaceMap> space_ GUARDED_BY(writer_);
  std::unique_ptr<SpaceLog> space_log_ GUARDED_BY(writer_);
  std::optional<Images> images_ GUARDED_BY(writer_);
  TxnId checkpoint_txn_ GUARDED_BY(writer_){0};                 // of the running checkpoint
  std::uint64_t sum_since_checkpoint_ GUARDED_BY(writer_) = 0;  // as Meta::new_pages_sum, once it has ended
  std::atomic<std::uint64_t> capacity_{0};                      // pages
  std::atomic<std::uint64_t> reserve_{0};                       // pages: kept for deletion
  // While the file is made shorter without eviction.
  std::atomic<bool> keeps_all_{false};
  // While it is made shorter beside others; only the ceiling is lowered then. Written under writer_.
  std::atomic<bool> compacting_{false};
  // The file is being cut: it must not grow. Written under writer_.
  std::atomic<bool> cutting_{false};
  Mutex relocation_mutex_ ACQUIRED_BEFORE(room_mutex_);  // one at a time
  std::atomic<std::uint64_t> slack_{0};                  // pages
  std::atomic<std::uint64_t> disk_full_at_{0};  // pages that the file had when it could not grow; 0: it can
  std::atomic<std::chrono::steady_clock::rep> room_checkpoint_at_{0};
  bool disk_full_ GUARDED_BY(writer_) = false;
  std::chrono::steady_clock::time_point disk_full_since_ GUARDED_BY(writer_);
  std::unique_ptr<Limbo> limbo_ GUARDED_BY(writer_);
  std::chrono::steady_clock::time_point dead_looked_for_ GUARDED_BY(writer_);
  std::unordered_map<std::uint64_t, std::uint64_t> orphan_pages_
      GUARDED_BY(writer_);  // evicted, still held: pages
  std::uint64_t orphan_pages_total_ GUARDED_BY(writer_) = 0;
  CondVar room_changed_;  // with writer_: pages became free, or orphans went
  Meta durable_ GUARDED_BY(checkpoint_mutex_);
  int durable_slot_ GUARDED_BY(checkpoint_mutex_) = 0;
  std::atomic<std::uint64_t> durable_txn_{0};
  std::atomic<bool> failed_{false};
  std::atomic<bool> stall_reported_{false};
  std::atomic<std::uint64_t> losses_told_{0};
  std::atomic<std::size_t> objects_owed_{0};  // by writers, while eviction is due
  std::atomic<std::uint64_t> pages_owed_{0};
  // Pages that were missing to evict_start() and to least_start() after the last commit.
  std::atomic<std::uint64_t> eviction_due_{0};
  std::atomic<std::uint64_t> share_due_{0};
  std::atomic<std::uint64_t> writable_{~0ULL};  // pages that content could take after the last commit
  std::atomic<bool> checkpoint_helps_{false};   // those are few, and others wait for a checkpoint
  std::atomic<std::chrono::steady_clock::rep> checkpoint_began_{0};  // of the running one; 0: none is
  std::atomic<bool> damaged_{false};                 // seen now, or by whoever wrote the metas
  std::atomic<bool> damage_is_durable_{false};       // the durable meta says so
  std::vector<std::string> open_damage_;             // what open() noticed
  bool space_known_ = false;                         // the free-space map could be read
  std::uint64_t shrink_to_ = 0;                      // the bound that open() has still to reach, or 0
  std::uint64_t trim_from_ GUARDED_BY(writer_) = 0;  // where trim() goes on
  bool trim_failed_ GUARDED_BY(writer_) = false;     // and it was told
  mutable Mutex failure_mutex_;
  std::string failure_ GUARDED_BY(failure_mutex_);
  std::chrono::steady_clock::time_point losses_told_at_ GUARDED_BY(failure_mutex_);

  Mutex protected_mutex_;
  std::map<std::uint64_t, int> protected_ GUARDED_BY(protected_mutex_);
  std::atomic<std::uint64_t> last_written_{0};  // inode that was protected last

  Mutex background_mutex_;
  CondVar background_wake_;
  bool stopping_ GUARDED_BY(background_mutex_) = false;
  bool evict_wanted_ GUARDED_BY(background_mutex_) = false;
  bool checkpoint_wanted_ GUARDED_BY(background_mutex_) = false;
  std::thread checkpoint_thread_;
  std::thread evict_thread_;

  UseTimes uses_;
  Mutex reaper_mutex_;
  CondVar reaper_wake_;
  bool reaper_stops_ GUARDED_BY(reaper_mutex_) = false;
  std::atomic<std::uint64_t> reaper_due_{~0ULL};  // written under reaper_mutex_
  std::thread reaper_thread_;
  bool closed_ = false;

  struct EvictionCounts {
    std::atomic<std::uint64_t> objects{0}, bytes{0};
  };
  std::array<EvictionCounts, kEvictionReasons> evictions_;
  std::atomic<std::uint64_t> commits_{0}, aborts_{0}, checkpoints_{0}, checkpoint_failures_{0},
      checkpoint_us_{0}, sync_calls_{0}, touch_count_{0}, touch_flushes_{0}, room_waits_{0},
      bytes_written_{0}, bytes_read_{0};
};

}  // namespace lrufs::store
