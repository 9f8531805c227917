#include "fs/node_table.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <unordered_map>
#include <utility>

#include "store/thread_annotations.h"

namespace lrufs::fs {

using store::Ino;
using store::MutexLock;
using store::raw;

namespace {

constexpr std::size_t kShards = 64;

// The finaliser of MurmurHash3: consecutive inode numbers spread over shards and slots.
std::uint64_t hash_of(std::uint64_t ino) {
  ino ^= ino >> 33U;
  ino *= 0xff51afd7ed558ccdULL;
  ino ^= ino >> 33U;
  ino *= 0xc4ceb9fe1a85ec53ULL;
  return ino ^ (ino >> 33U);
}

// Slots of one shard in pages of its own, since memory that malloc was given back may stay with the process.
// Two arrays, so that a slot takes 12 bytes and not 16.
class Slots {
 public:
  static constexpr std::size_t kSlotBytes = sizeof(std::uint64_t) + sizeof(std::uint32_t);

  Slots() = default;
  // Room for at least `capacity` slots, all empty.
  explicit Slots(std::size_t capacity) : bytes_(store::pages_for(capacity * kSlotBytes) * store::kPageSize) {
    void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    capacity_ = bytes_ / kSlotBytes;
    inodes_ = static_cast<std::uint64_t*>(memory);
    counts_ = static_cast<std::uint32_t*>(static_cast<void*>(inodes_ + capacity_));
  }
  Slots(Slots&& other) noexcept { swap(other); }
  Slots& operator=(Slots&& other) noexcept {
    swap(other);
    return *this;
  }
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;
  ~Slots() {
    if (inodes_ != nullptr) munmap(inodes_, bytes_);
  }

  [[nodiscard]] std::size_t capacity() const { return capacity_; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  [[nodiscard]] std::uint64_t& ino(std::size_t slot) { return inodes_[slot]; }
  [[nodiscard]] std::uint64_t ino(std::size_t slot) const { return inodes_[slot]; }
  [[nodiscard]] std::uint32_t& count(std::size_t slot) { return counts_[slot]; }
  [[nodiscard]] std::uint32_t count(std::size_t slot) const { return counts_[slot]; }
  // Where an inode with this hash is looked for first. Scaled, not masked: capacities are no powers of two,
  // so that a table grows by a third and not by half of its memory.
  [[nodiscard]] std::size_t home(std::uint64_t hash) const {
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::size_t>((static_cast<Wide>(hash) * capacity_) >> 64U);
  }
  [[nodiscard]] std::size_t after(std::size_t slot) const { return slot + 1 == capacity_ ? 0 : slot + 1; }

 private:
  void swap(Slots& other) {
    std::swap(bytes_, other.bytes_);
    std::swap(capacity_, other.capacity_);
    std::swap(inodes_, other.inodes_);
    std::swap(counts_, other.counts_);
  }
  std::size_t bytes_ = 0;
  std::size_t capacity_ = 0;
  std::uint64_t* inodes_ = nullptr;  // 0 (kNoIno): the slot is empty
  std::uint32_t* counts_ = nullptr;  // in the same mapping, behind inodes_
};

}  // namespace

class alignas(64) NodeTable::Shard {
 public:
  void add(std::uint64_t ino, std::uint64_t hash, std::uint64_t count) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    std::size_t slot = find(ino, hash);
    if (slot == kNone) {
      if ((size_ + 1) * 10 > slots_.capacity() * 8) resize();
      slot = insert(slots_, ino, hash, 0);
      ++size_;
    }
    set_total(slot, total(slot) + count);
  }

  bool remove(std::uint64_t ino, std::uint64_t hash, std::uint64_t count) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    const std::size_t slot = find(ino, hash);
    if (slot == kNone) return false;
    const std::uint64_t now = total(slot);
    if (now > count) {
      set_total(slot, now - count);
      return false;
    }
    const bool orphan = (slots_.count(slot) & kOrphan) != 0U;
    beyond_.erase(ino);
    erase(slot);
    --size_;
    if (slots_.bytes() > store::kPageSize && size_ * 10 < slots_.capacity() * 4) resize();
    return orphan;
  }

  [[nodiscard]] std::uint64_t lookups(std::uint64_t ino, std::uint64_t hash) const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    const std::size_t slot = find(ino, hash);
    return slot == kNone ? 0 : total(slot);
  }

  bool mark_orphan(std::uint64_t ino, std::uint64_t hash, bool uncounted) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    std::size_t slot = find(ino, hash);
    if (slot == kNone) {
      if (!uncounted) return false;
      if ((size_ + 1) * 10 > slots_.capacity() * 8) resize();
      slot = insert(slots_, ino, hash, 0);
      ++size_;
    } else if (!uncounted && total(slot) == 0) {  // a mark without a count, and the kernel has let go of it
      erase(slot);
      --size_;
      return false;
    }
    slots_.count(slot) |= kOrphan;
    return true;
  }

  void clear(std::vector<Ino>& marked) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    for (std::size_t slot = 0; slot < slots_.capacity(); ++slot) {
      if (slots_.ino(slot) != 0 && (slots_.count(slot) & kOrphan) != 0U)
        marked.push_back(Ino{slots_.ino(slot)});
    }
    slots_ = Slots();
    beyond_.clear();
    size_ = 0;
  }

  [[nodiscard]] std::size_t size() const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return size_;
  }
  [[nodiscard]] std::size_t memory_bytes() const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return slots_.bytes();
  }

 private:
  static constexpr std::size_t kNone = ~std::size_t{0};
  static constexpr std::uint32_t kOrphan = 1U << 31U;
  static constexpr std::uint32_t kMaxCount = kOrphan - 1;

  [[nodiscard]] std::size_t find(std::uint64_t ino, std::uint64_t hash) const REQUIRES(mutex_) {
    if (slots_.capacity() == 0) return kNone;
    for (std::size_t slot = slots_.home(hash);; slot = slots_.after(slot)) {
      if (slots_.ino(slot) == ino) return slot;
      if (slots_.ino(slot) == 0) return kNone;
    }
  }

  static std::size_t insert(Slots& slots, std::uint64_t ino, std::uint64_t hash, std::uint32_t count) {
    std::size_t slot = slots.home(hash);
    while (slots.ino(slot) != 0) slot = slots.after(slot);
    slots.ino(slot) = ino;
    slots.count(slot) = count;
    return slot;
  }

  // Closes the gap, so that there are no tombstones: an entry moves back unless that would put it before its
  // home.
  void erase(std::size_t gap) REQUIRES(mutex_) {
    const auto distance = [&](std::size_t from, std::size_t to) REQUIRES(mutex_) {
      return to >= from ? to - from : to + slots_.capacity() - from;
    };
    for (std::size_t slot = slots_.after(gap); slots_.ino(slot) != 0; slot = slots_.after(slot)) {
      const std::size_t home = slots_.home(hash_of(slots_.ino(slot)));
      if (distance(home, slot) < distance(gap, slot)) continue;
      slots_.ino(gap) = slots_.ino(slot);
      slots_.count(gap) = slots_.count(slot);
      gap = slot;
    }
    slots_.ino(gap) = 0;
    slots_.count(gap) = 0;
  }

  // To 60 % load: the table is next touched when it has grown by a third or shrunk by one.
  void resize() REQUIRES(mutex_) {
    Slots next(size_ * 10 / 6 + 1);
    for (std::size_t slot = 0; slot < slots_.capacity(); ++slot) {
      const std::uint64_t ino = slots_.ino(slot);
      if (ino != 0) insert(next, ino, hash_of(ino), slots_.count(slot));
    }
    slots_ = std::move(next);
  }

  // Counts above 31 bits (one hot inode over days) have their excess in a map on the side.
  [[nodiscard]] std::uint64_t total(std::size_t slot) const REQUIRES(mutex_) {
    const std::uint64_t count = slots_.count(slot) & kMaxCount;
    if (count < kMaxCount) return count;
    const auto excess = beyond_.find(slots_.ino(slot));
    return excess == beyond_.end() ? count : count + excess->second;
  }
  void set_total(std::size_t slot, std::uint64_t value) REQUIRES(mutex_) {
    if (value > kMaxCount) {
      beyond_[slots_.ino(slot)] = value - kMaxCount;
      value = kMaxCount;
    } else if (!beyond_.empty()) {
      beyond_.erase(slots_.ino(slot));
    }
    slots_.count(slot) = (slots_.count(slot) & kOrphan) | static_cast<std::uint32_t>(value);
  }

  mutable store::Mutex mutex_;
  Slots slots_ GUARDED_BY(mutex_);
  std::size_t size_ GUARDED_BY(mutex_) = 0;
  std::unordered_map<std::uint64_t, std::uint64_t> beyond_ GUARDED_BY(mutex_);
};

NodeTable::NodeTable() {
  shards_.reserve(kShards);
  for (std::size_t i = 0; i < kShards; ++i) shards_.push_back(std::make_unique<Shard>());
}
NodeTable::~NodeTable() = default;

// The low bits choose the shard, the high bits the slot.
NodeTable::Shard& NodeTable::shard(std::uint64_t hash) const { return *shards_[hash % kShards]; }

void NodeTable::add(Ino ino, std::uint64_t count) {
  if (ino == store::kNoIno || count == 0) return;
  const std::uint64_t hash = hash_of(raw(ino));
  shard(hash).add(raw(ino), hash, count);
}

bool NodeTable::remove(Ino ino, std::uint64_t count) {
  if (ino == store::kNoIno || count == 0) return false;
  const std::uint64_t hash = hash_of(raw(ino));
  return shard(hash).remove(raw(ino), hash, count);
}

bool NodeTable::held(Ino ino) const { return lookups(ino) != 0 || may_be_held(ino); }

void NodeTable::inherit(std::uint64_t below) { inherited_below_ = below; }

bool NodeTable::may_be_held(Ino ino) const {
  if (!inherited(ino)) return false;
  const store::MutexLock lock(released_mutex_);
  return !released_.contains(raw(ino));
}

void NodeTable::release(Ino ino) {
  const store::MutexLock lock(released_mutex_);
  released_.insert(raw(ino));
}

void NodeTable::settle(Ino ino) {
  const store::MutexLock lock(released_mutex_);
  released_.erase(raw(ino));
}

std::uint64_t NodeTable::lookups(Ino ino) const {
  if (ino == store::kNoIno) return 0;
  const std::uint64_t hash = hash_of(raw(ino));
  return shard(hash).lookups(raw(ino), hash);
}

bool NodeTable::mark_orphan(Ino ino) {
  if (ino == store::kNoIno) return false;
  const std::uint64_t hash = hash_of(raw(ino));
  return shard(hash).mark_orphan(raw(ino), hash, may_be_held(ino));
}

std::vector<Ino> NodeTable::clear() {
  inherited_below_ = 0;
  std::vector<Ino> marked;
  for (const auto& each : shards_) each->clear(marked);
  return marked;
}

std::uint64_t NodeTable::size() const {
  std::uint64_t sum = 0;
  for (const auto& each : shards_) sum += each->size();
  return sum;
}

std::uint64_t NodeTable::memory_bytes() const {
  std::uint64_t sum = shards_.size() * sizeof(Shard);
  for (const auto& each : shards_) sum += each->memory_bytes();
  return sum;
}

}  // namespace lrufs::fs
