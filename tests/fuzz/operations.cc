// libFuzzer: a stream of bytes drives a small store beside a model of it: files are written, cut, renamed,
// erased and evicted, snapshots are held; the store is closed, checkpointed, killed, loses power, or comes
// back with a part of its pages in the same boot. What is read is what the model says, and the check finds
// nothing.
//
// The file lies in memory (MemoryFileOps). Runs are reproducible: a new store is an image whose random parts
// are fixed. LRUFS_FUZZ_FAULT=BITS turns faults on (store/faults.h), to see that they are found.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "store/bytes.h"
#include "store/check.h"
#include "store/faults.h"
#include "store/meta.h"
#include "store/store.h"
#include "tests/support/memory_file_ops.h"

namespace lrufs::store {
namespace {

constexpr const char* kPath = "/in memory";
constexpr int kMostSteps = 150;

enum class Step : std::uint8_t {
  kPut,
  kWrite,
  kErase,
  kGet,
  kCheckpoint,
  kReopen,
  kKill,
  kPowerCut,
  kSetBack,
  kEvict,
  kCompact,
  kRename,
  kTruncate,
  kSetXattr,
  kWriteInPlace,
  kTakeSnapshot,
  kEndSnapshot,
  kPunch,
  kCompare,
  kPin,
  kExpire,
};
// What a byte stands for. Opening and checking a store takes longer than all others.
constexpr Step kSteps[] = {Step::kPut,          Step::kPut,         Step::kPut,          Step::kPut,
                           Step::kPut,          Step::kPut,         Step::kWrite,        Step::kWrite,
                           Step::kWrite,        Step::kErase,       Step::kErase,        Step::kGet,
                           Step::kCheckpoint,   Step::kCheckpoint,  Step::kReopen,       Step::kKill,
                           Step::kPowerCut,     Step::kSetBack,     Step::kEvict,        Step::kCompact,
                           Step::kRename,       Step::kRename,      Step::kTruncate,     Step::kTruncate,
                           Step::kSetXattr,     Step::kSetXattr,    Step::kWriteInPlace, Step::kWriteInPlace,
                           Step::kTakeSnapshot, Step::kEndSnapshot, Step::kPunch,        Step::kCompare,
                           Step::kPin,          Step::kPin,         Step::kExpire,       Step::kExpire};

struct File {
  std::shared_ptr<const std::string> content = std::make_shared<const std::string>();
  std::string xattr;
  friend bool operator==(const File& a, const File& b) {
    return a.xattr == b.xattr && (a.content == b.content || *a.content == *b.content);
  }
};
using Model = std::map<std::string, File>;

// Ends the process where the store and the model differ; libFuzzer keeps the input.
void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "operations: %s\n", what);
  std::abort();
}
template <typename T>
void require_ok(const Result<T>& result, const char* what) {
  if (result) return;
  std::fprintf(stderr, "operations: %s: %s\n", what, describe(result.error()).c_str());
  std::abort();
}

// A new store, as it lies on the disk, with the random parts of its metas made the same for each process.
struct NewStore {
  std::size_t size = 0;
  test::MemoryFileOps::Pages pages;

  static NewStore make() {
    const auto ops = std::make_shared<test::MemoryFileOps>(kMinBound);
    Options options;
    options.bound = kMinBound;
    options.background = false;
    options.file_ops = ops;
    auto store = Store::open(kPath, options);
    require_ok(store, "no store is made");
    require_ok((*store)->close(), "a new store does not close");
    NewStore result;
    const Bytes all = ops->bytes();
    result.size = all.size();
    for (std::size_t at = 0; at < all.size(); at += kPageSize) {
      const Bytes page = all.subspan(at, kPageSize);
      if (std::all_of(page.begin(), page.end(), [](std::byte b) { return b == std::byte{0}; })) continue;
      std::vector<std::byte> bytes(page.begin(), page.end());
      if (auto meta = decode_meta(bytes.data()).meta; at < kHeaderPages * kPageSize && meta) {
        meta->uuid = {1, 2, 3};
        meta->name_seed = 42;  // no name was hashed yet
        meta->session = 4711 + at / kPageSize % 2;
        meta->durable_session = 4711;
        encode_meta(*meta, bytes.data());
      }
      result.pages.emplace_back(at, std::move(bytes));
    }
    return result;
  }
};

class Run {
 public:
  Run(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {
    static const NewStore new_store = NewStore::make();
    static const auto memory = std::make_shared<test::MemoryFileOps>(kMinBound);
    ops_ = memory;
    ops_->reset(new_store.size, new_store.pages);
    open();
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  ~Run() {
    snapshot_.reset();
    store_.reset();
  }

  void all() {
    for (int steps = 0; at_ < size_ && steps < kMostSteps; ++steps) {
      const std::uint64_t before = ops_->range_syncs();
      const bool is_exact = step();
      // Evictions make checkpoints of their own, in the middle of an operation, when room waits for one.
      if (!is_exact && ops_->range_syncs() != before) uncertain_ = true;
    }
    expect_equal();
    close();
    expect_sound();
  }

 private:
  std::uint8_t byte() { return at_ < size_ ? data_[at_++] : std::uint8_t{0}; }
  std::string key() {
    const std::uint8_t b = byte();
    return "d" + std::to_string(b % 5) + "/f" + std::to_string(b / 5 % 12);
  }
  std::string text() {
    constexpr std::size_t kSizes[] = {0,    1,    100,    900,    1001,   1002,   4096,
                                      5000, 8192, 20'000, 40'960, 70'000, 200'000};
    const std::uint8_t b = byte();
    std::string text(kSizes[b % std::size(kSizes)], static_cast<char>('a' + b % 26));
    // No two texts are the same, nor two pages of one.
    ++serial_;
    for (std::size_t at = 0; at + 8 <= text.size(); at += 1000) {
      const std::uint64_t mark = serial_ << 32U | at;
      std::memcpy(text.data() + at, &mark, sizeof mark);
    }
    return text;
  }

  void open() {
    Options options;
    options.bound = kMinBound;
    options.background = false;
    options.file_ops = ops_;
    options.on_wait = [](bool) { return false; };
    options.wall_clock = [this] { return clock_; };
    options.on_evict = [this](const std::vector<Evicted>& gone) {
      evicted_.insert(evicted_.end(), gone.begin(), gone.end());
    };
    auto opened = Store::open(kPath, options);
    require_ok(opened, "the store does not open");
    store_ = *std::move(opened);
    require(!store_->read_only(), "the store is read-only");
    require(!store_->statistics().damaged, "opening meets damage");
  }
  void close() {
    snapshot_.reset();
    require_ok(store_->close(), "close fails");
    store_.reset();
    now_is_durable();
  }
  // As SIGKILL leaves it: the bytes of now, and nobody who has them open.
  void kill() {
    snapshot_.reset();
    ops_->abandon();
    store_.reset();  // what that writes goes nowhere
    evicted_.clear();
  }
  void expect_sound() {
    const auto report = check_file(kPath, {.file_ops = ops_});
    require_ok(report, "the check fails");
    if (!report->clean()) require(false, report->findings.front().message.c_str());
  }

  void now_is_durable() {
    durable_ = model_;
    uncertain_ = false;
    since_.clear();
    for (const auto& [name, file] : model_) since_[name].push_back(file);
  }
  void set(const std::string& name, File file) {
    since_[name].push_back(file);
    model_[name] = std::move(file);
  }
  // Evicted names are gone from the model as well; folders are told, too, and are no keys of it.
  void settle() {
    for (const Evicted& each : evicted_) {
      for (auto at = model_.begin(); at != model_.end();) {
        const bool same_name = std::string_view(at->first).substr(at->first.find('/') + 1) == each.name;
        at = same_name && !store_->resolve(at->first) ? model_.erase(at) : std::next(at);
      }
    }
    evicted_.clear();
  }
  Ino number_of(const std::string& name) {
    const auto inode = store_->resolve(name);
    return inode ? inode->ino : kNoIno;
  }
  // To write a file may evict what was there under its name.
  void forget_evicted(const std::string& name, Ino before) {
    if (before != number_of(name)) model_.erase(name);
  }
  // A snapshot keeps pages, and pins keep files, so there may be no room; then nothing has changed.
  bool is_done(const Status& status, const char* what) {
    const bool no_room = !status && status.error().code == Code::kNoSpace &&
                         (snapshot_.has_value() || store_->statistics().pinned_objects != 0);
    if (!no_room) require_ok(status, what);
    settle();
    return status.has_value();
  }

  static File read(const ReadView& view, Ino ino) {
    const auto inode = view.inode(ino);
    require_ok(inode, "an inode is missing");
    auto content = std::make_shared<std::string>(inode->size, '\0');
    const auto length =
        view.read(*inode, 0, {reinterpret_cast<std::byte*>(content->data()), content->size()});
    require_ok(length, "content cannot be read");
    require(*length == inode->size, "content ends early");
    File file{std::move(content), {}};
    if (const auto value = view.xattr(ino, "user.x")) file.xattr = *value;
    return file;
  }
  static Model read_all(const ReadView& view) {
    Model found;
    for (int d = 0; d < 5; ++d) {
      const std::string name = "d" + std::to_string(d);
      const auto dir = view.lookup(kRootIno, name);
      if (!dir) continue;
      require_ok(view.list(dir->ino, Cookie{0},
                           [&](const DirEntry& entry) {
                             const std::string path = name + "/" + std::string(entry.name);
                             found[path] = read(view, entry.ino);
                             return true;
                           }),
                 "a folder cannot be listed");
    }
    return found;
  }
  // All of it, and nothing else.
  static void expect_model(const ReadView& view, const Model& model) {
    static std::vector<std::byte> buffer(kMinBound);
    std::size_t names = 0;
    for (int d = 0; d < 5; ++d) {
      const std::string name = "d" + std::to_string(d);
      const auto dir = view.lookup(kRootIno, name);
      if (!dir) continue;
      const auto each = [&](const DirEntry& entry) {
        ++names;
        const auto known = model.find(name + "/" + std::string(entry.name));
        require(known != model.end(), "a name that the model does not have");
        const auto inode = view.inode(entry.ino);
        require_ok(inode, "an inode is missing");
        const std::string& content = *known->second.content;
        require(inode->size == content.size(), "another size than the model's");
        const auto length = view.read(*inode, 0, MutableBytes(buffer).first(content.size()));
        require_ok(length, "content cannot be read");
        require(*length == content.size() && std::memcmp(buffer.data(), content.data(), content.size()) == 0,
                "other content than the model's");
        const auto xattr = view.xattr(entry.ino, "user.x");
        require(xattr ? *xattr == known->second.xattr : known->second.xattr.empty(), "another xattr");
        return true;
      };
      require_ok(view.list(dir->ino, Cookie{0}, each), "a folder cannot be listed");
    }
    require(names == model.size(), "names are missing");
  }
  void expect_equal() { expect_model(store_->snapshot().view(), model_); }

  // The power was cut, or a part of the pages came back: what is there now must be the last checkpoint, or,
  // where a checkpoint happened within an operation, made of files that existed since. `live`: or a later
  // state, in which content that is younger than the checkpoint may be what was there before.
  void take_what_is_there(bool live) {
    evicted_.clear();
    Model found = read_all(store_->snapshot().view());
    if (!live && !uncertain_) require(found == durable_, "not the state of the last checkpoint");
    for (const auto& each : found) {
      const std::string& name = each.first;
      const File& file = each.second;
      const auto& known = since_[name];
      const bool existed = std::any_of(known.begin(), known.end(), [&](const File& one) {
        if (!live) return one == file;
        const auto old = durable_.find(name);
        const bool old_content = old != durable_.end() && old->second.content == one.content;
        const bool old_xattr = old != durable_.end() && old->second.xattr == one.xattr;
        return one.content->size() == file.content->size() && one.xattr.size() == file.xattr.size() &&
               (!old_content || *one.content == *file.content) && (!old_xattr || one.xattr == file.xattr);
      });
      require(existed, "a file as it never was");
    }
    model_ = std::move(found);
    if (!live) now_is_durable();
    for (const auto& [name, file] : model_) since_[name].push_back(file);
    // What had ended since the checkpoint is back, until it is reaped again.
    require_ok(store_->reap_expired(), "nothing can be reaped");
    settle();
  }
  void lose_pages() {
    static constexpr unsigned kPercent[] = {0, 100, 50, 50, 10, 90, 3, 97};
    const std::uint8_t how = byte();
    const unsigned percent = kPercent[how % 8];
    const bool torn = (how & 8U) != 0;
    const unsigned metas = how >> 4U & 3U;  // 0, 1: as the rest; 2: none; 3: all
    const std::size_t size = (how & 64U) != 0 ? ops_->size() : std::max(ops_->size(), ops_->durable_size());
    std::uint64_t state = std::uint64_t{byte()} * 0x9E3779B97F4A7C15ULL + how;
    bool page_arrives = false;
    ops_->cut_power((how & 128U) != 0 ? ops_->durable_size() : size, [&](std::size_t offset) {
      if (offset < kHeaderPages * kPageSize && metas >= 2) return metas == 3;
      if (torn || offset % kPageSize == 0) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        page_arrives = (state >> 33U) % 100 < percent;
      }
      return page_arrives;
    });
  }

  // True: the model knows exactly what is durable now.
  bool step() {
    switch (kSteps[byte() % std::size(kSteps)]) {
      case Step::kPut: {
        const std::string name = key();
        const std::string content = text();
        const Ino before = number_of(name);
        if (!is_done(store_->put(name, as_bytes(content)), "put fails")) break;
        forget_evicted(name, before);
        set(name, {std::make_shared<const std::string>(content), model_[name].xattr});
        break;
      }
      case Step::kWrite: {
        const std::string name = key();
        const std::string content = text();
        const std::size_t offset = byte() * 37U;
        const Ino before = number_of(name);
        if (!is_done(store_->write(name, offset, as_bytes(content)), "write fails")) break;
        forget_evicted(name, before);
        set(name, overwritten(model_[name], offset, content));
        break;
      }
      case Step::kErase: {
        const std::string name = key();
        const bool had = model_.erase(name) > 0;
        require(store_->erase(name).has_value() == had, "erase differs");
        break;
      }
      case Step::kGet: {
        const std::string name = key();
        const auto found = store_->get(name);
        const auto known = model_.find(name);
        require(found.has_value() == (known != model_.end()), "get differs");
        if (found) require(*found == *known->second.content, "get gives other content");
        break;
      }
      case Step::kCheckpoint:
        require_ok(store_->checkpoint(), "a checkpoint fails");
        now_is_durable();
        return true;
      case Step::kReopen:
        close();
        expect_sound();
        open();
        return true;
      case Step::kKill:
        kill();
        expect_sound();
        open();
        expect_equal();
        return true;
      case Step::kPowerCut:
        kill();
        ops_->reboot();
        lose_pages();
        is_a_session_lost_ = true;
        expect_sound();
        open();
        take_what_is_there(false);
        return true;
      case Step::kSetBack: {
        // Within the boot: a volume that was set back in place. Once for a session that was lost: of what two
        // of them left behind in the log, the older one's may pass (docs/durability.md, "Not yet").
        kill();
        if (!std::exchange(is_a_session_lost_, true)) lose_pages();
        expect_sound();
        open();
        take_what_is_there(store_->statistics().opened_from == "live");
        return true;
      }
      case Step::kCompact:
        if (snapshot_) break;  // would be waited for
        require_ok(store_->compact(), "compact fails");
        require(evicted_.empty(), "compact evicts");
        now_is_durable();
        return true;
      case Step::kEvict:
        require_ok(store_->evict(byte() * 1000U), "evict fails");
        settle();
        break;
      case Step::kRename:
        rename(key(), key());
        break;
      case Step::kTruncate: {
        const std::size_t size = byte() * 300U;
        change(
            key(), "truncate fails",
            [&](Transaction& txn, Inode& inode) { return txn.truncate(inode, size); },
            [&](File& file) {
              std::string content = *file.content;
              content.resize(size, '\0');
              file.content = std::make_shared<const std::string>(std::move(content));
            });
        break;
      }
      case Step::kSetXattr: {
        const std::string value = text().substr(0, 9000);
        change(
            key(), "set_xattr fails",
            [&](Transaction& txn, Inode& inode) { return txn.set_xattr(inode, "user.x", as_bytes(value)); },
            [&](File& file) { file.xattr = value; });
        break;
      }
      case Step::kWriteInPlace: {
        const std::string content = text().substr(0, 30'000);
        const std::size_t offset = byte() * 37U;
        change(
            key(), "a write in place fails",
            [&](Transaction& txn, Inode& inode) {
              return txn.write(inode, offset, as_bytes(content), nullptr, Transaction::WriteMode::kInPlace);
            },
            [&](File& file) { file = overwritten(file, offset, content); });
        break;
      }
      case Step::kTakeSnapshot:
        if (!snapshot_) {
          snapshot_.emplace(store_->snapshot());
          seen_ = model_;
        }
        break;
      case Step::kEndSnapshot:
        if (snapshot_) {
          expect_model(snapshot_->view(), seen_);
          snapshot_.reset();
        }
        break;
      case Step::kPunch: {
        const std::size_t offset = byte() * 300U;
        const std::size_t length = byte() * 300U;
        change(
            key(), "punch fails",
            [&](Transaction& txn, Inode& inode) { return txn.punch(inode, offset, length); },
            [&](File& file) {
              std::string content = *file.content;
              if (offset < content.size())
                std::fill_n(content.begin() + static_cast<long>(offset),
                            std::min(length, content.size() - offset), '\0');
              file.content = std::make_shared<const std::string>(std::move(content));
            });
        break;
      }
      case Step::kCompare:
        expect_equal();
        break;
      case Step::kPin: {
        const std::string name = key();
        const bool folder = byte() % 2 == 0;
        const bool pinned = byte() % 2 == 0;
        const auto inode = store_->resolve(folder ? name.substr(0, 2) : name);
        if (!inode) break;
        const Status done = store_->update(
            [&](Transaction& txn) -> Status {
              LRUFS_TRY_ASSIGN(Inode now, txn.view().inode(inode->ino));
              LRUFS_TRY(txn.set_pinned(now, pinned));
              return txn.put_inode(now);
            },
            Store::Purpose::kDelete);
        require_ok(done, "set_pinned fails");
        settle();
        break;
      }
      case Step::kExpire: {
        // Each file that is given a time to live gets one of a few lengths, and time passes: so some end with
        // it, and others later, or are written before.
        constexpr std::uint64_t kSeconds = 1'000'000'000;
        const std::string name = key();
        const std::uint64_t ttl = byte() % 4U * 1000U;
        change(
            name, "set_ttl fails", [&](Transaction& txn, Inode& inode) { return txn.set_ttl(inode, ttl); },
            [](File&) {});
        clock_ += byte() % 3U * kSeconds;
        const std::uint64_t before = store_->statistics().expired_objects;
        const auto reaped = store_->reap_expired();
        require_ok(reaped, "nothing can be reaped");
        require(store_->statistics().expired_objects - before == *reaped, "another number was reaped");
        settle();
        break;
      }
    }
    return false;
  }

  static File overwritten(const File& file, std::size_t offset, const std::string& text) {
    if (text.empty()) return file;
    std::string whole = *file.content;
    whole.resize(std::max(whole.size(), offset + text.size()), '\0');
    whole.replace(offset, text.size(), text);
    return {std::make_shared<const std::string>(std::move(whole)), file.xattr};
  }

  // One transaction on a file, which eviction leaves alone.
  template <typename Body, typename Same>
  void change(const std::string& name, const char* what, const Body& body, const Same& same) {
    const auto inode = store_->resolve(name);
    require(inode.has_value() == model_.contains(name), "resolve differs");
    if (!inode) return;
    const Store::Protection protection(*store_, inode->ino);
    const Status done = store_->update([&](Transaction& txn) -> Status {
      LRUFS_TRY_ASSIGN(Inode now, txn.view().inode(inode->ino));
      LRUFS_TRY(body(txn, now));
      return txn.put_inode(now);
    });
    if (!is_done(done, what)) return;
    File file = model_.at(name);
    same(file);
    set(name, std::move(file));
  }
  void rename(const std::string& from, const std::string& to) {
    const auto file = store_->resolve(from);
    require(file.has_value() == model_.contains(from), "resolve differs");
    if (!file || from == to) return;
    const auto from_dir = store_->resolve(from.substr(0, 2));
    const auto to_dir = store_->resolve(to.substr(0, 2));
    require_ok(from_dir, "a folder is missing");
    if (!to_dir) return;
    const Store::Protection protection(*store_, file->ino);
    const Store::Protection dir_protection(*store_, to_dir->ino);
    const Status done = store_->update(
        [&](Transaction& txn) -> Status {
          LRUFS_TRY_ASSIGN(Inode source, txn.view().inode(from_dir->ino));
          LRUFS_TRY_ASSIGN(Inode other, txn.view().inode(to_dir->ino));
          Inode& target = from_dir->ino == to_dir->ino ? source : other;
          LRUFS_TRY_ASSIGN(Inode moved, txn.view().inode(file->ino));
          const std::string name = to.substr(3);
          if (const auto old = txn.view().lookup(to_dir->ino, name)) {
            LRUFS_TRY_ASSIGN(Inode replaced, txn.view().inode(old->ino));
            LRUFS_TRY(txn.unlink(target, name, replaced));
            LRUFS_TRY(txn.destroy(replaced));
          }
          LRUFS_TRY(txn.unlink(source, from.substr(3), moved));
          LRUFS_TRY(txn.link(target, name, moved));
          LRUFS_TRY(txn.put_inode(moved));
          LRUFS_TRY(txn.put_inode(source));
          return &target == &source ? Status{} : txn.put_inode(target);
        },
        Store::Purpose::kName);
    if (!is_done(done, "rename fails")) return;
    File content = std::move(model_.at(from));
    model_.erase(from);
    set(to, std::move(content));
  }

  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
  std::uint64_t serial_ = 0;
  std::uint64_t clock_ = 1'700'000'000'000'000'000;  // by which files end
  std::shared_ptr<test::MemoryFileOps> ops_;
  std::unique_ptr<Store> store_;
  std::optional<Snapshot> snapshot_;
  Model seen_;     // by the snapshot
  Model model_;    // now
  Model durable_;  // at the last checkpoint, unless `uncertain_`
  bool uncertain_ = false;
  bool is_a_session_lost_ = false;
  std::map<std::string, std::vector<File>> since_;  // all that was at a name since then
  std::vector<Evicted> evicted_;
};

}  // namespace
}  // namespace lrufs::store

// Memory that was freed is used again soon: the default keeps 256 MiB of it back, and most of the time would
// go into the kernel's making new pages.
extern "C" const char* __asan_default_options();  // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __asan_default_options() {
  return "quarantine_size_mb=4:thread_local_quarantine_size_kb=64:malloc_context_size=3:"
         "allocator_release_to_os_interval_ms=-1";
}

#ifdef LRUFS_FAULTS
extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  if (const char* bits = std::getenv("LRUFS_FUZZ_FAULT"))
    lrufs::store::detail::faults = static_cast<std::uint32_t>(std::strtoul(bits, nullptr, 0));
  return 0;
}
#endif

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  lrufs::store::Run(data, size).all();
  return 0;
}
