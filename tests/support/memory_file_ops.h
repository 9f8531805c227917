// MemoryFileOps: one store file in memory, for tests that open, kill and cut the power of small stores many
// times a second. No system call is made. It knows what a sync has made durable, so that it can become what a
// power cut leaves. Under AddressSanitizer, memory behind the end of the file must not be touched, as in a
// map (SIGBUS).
//
// Not thread-safe: for stores without background threads. One file at a time, whatever its path; locks are
// always granted.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "store/file_ops.h"

#if defined(__SANITIZE_ADDRESS__)
#define LRUFS_TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LRUFS_TEST_ASAN 1
#endif
#endif
#ifdef LRUFS_TEST_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size)
#define ASAN_UNPOISON_MEMORY_REGION(address, size)
#endif

namespace lrufs::test {

class MemoryFileOps final : public store::FileOps {
 public:
  // Maps and files reach no further than `most` bytes.
  explicit MemoryFileOps(std::size_t most)
      : most_((most + store::kPageSize - 1) / store::kPageSize * store::kPageSize),
        current_(make()),
        durable_(make()) {}
  MemoryFileOps(const MemoryFileOps&) = delete;
  MemoryFileOps& operator=(const MemoryFileOps&) = delete;
  ~MemoryFileOps() override {
    current_.reset();
    durable_.reset();
    open_.clear();
    for (std::byte* memory : pool_) unmap_memory(memory);
  }

  // The file is `size` bytes long, which are zeros but for these pages, and all of that is durable.
  using Pages = std::vector<std::pair<std::size_t, std::vector<std::byte>>>;  // offset, bytes
  void reset(std::size_t size, const Pages& pages) {
    for (File* file : {current_.get(), durable_.get()}) {
      file->resize(0, most_);
      file->resize(size, most_);
      for (const auto& [offset, bytes] : pages) std::memcpy(file->base + offset, bytes.data(), bytes.size());
    }
  }
  // The process that has it open dies: who has it open still works on a copy that nobody else sees.
  void abandon() {
    auto next = make();
    next->assign(*current_, most_);
    current_ = std::move(next);
  }
  // The power is cut: `arrives(offset)` says of each 512 bytes that were changed since the last sync whether
  // they reached the disk, `size` how long the file is. To be called after abandon().
  void cut_power(std::size_t size, const std::function<bool(std::size_t offset)>& arrives) {
    constexpr std::size_t kSector = 512;
    File& now = *current_;
    const std::size_t old_size = now.size;
    now.resize(std::max({old_size, durable_->size, size}), most_);
    for (std::size_t page = 0; page < now.size; page += store::kPageSize) {
      const bool was_there = page < durable_->size;
      if (was_there && page < old_size &&
          std::memcmp(now.base + page, durable_->base + page, store::kPageSize) == 0)
        continue;
      for (std::size_t at = page; at < page + store::kPageSize; at += kSector) {
        if (page < old_size && arrives(at)) continue;
        if (was_there)
          std::memcpy(now.base + at, durable_->base + at, kSector);
        else
          std::memset(now.base + at, 0, kSector);
      }
    }
    now.resize(size, most_);
    durable_->assign(now, most_);
  }
  [[nodiscard]] std::size_t size() const { return current_->size; }
  [[nodiscard]] std::size_t durable_size() const { return durable_->size; }
  [[nodiscard]] store::Bytes bytes() const { return {current_->base, current_->size}; }
  // Of one range: a meta, so a checkpoint is complete.
  [[nodiscard]] std::uint64_t range_syncs() const { return range_syncs_; }
  void reboot() { ++boot_; }

  // FileOps
  store::Result<int> open(const std::string& /*path*/, bool /*create*/, bool /*read_only*/) override {
    open_[++last_fd_] = current_;
    return last_fd_;
  }
  void close(int fd) override { open_.erase(fd); }
  store::Result<store::FileIdentity> identify(int fd) override {
    store::FileIdentity identity;
    identity.device = 1;
    identity.inode = 1;
    identity.size = identity.disk_bytes = open_.at(fd)->size;
    identity.is_regular = true;
    return identity;
  }
  store::Status lock(int /*fd*/, bool /*exclusive*/) override { return {}; }
  void unlock(int /*fd*/) override {}
  store::Result<bool> try_lock_byte(int /*fd*/, std::uint64_t /*byte*/) override { return true; }
  void unlock_byte(int /*fd*/, std::uint64_t /*byte*/) override {}
  store::Result<bool> byte_is_locked(int /*fd*/, std::uint64_t /*byte*/) override { return false; }
  store::Result<std::byte*> map_shared(int fd, std::uint64_t offset, std::uint64_t /*bytes*/,
                                       bool /*writable*/) override {
    return open_.at(fd)->base + offset;
  }
  store::Result<std::byte*> map(int fd, std::uint64_t bytes, bool /*writable*/) override {
    if (bytes > most_) return store::fail(store::Code::kIo, "mmap: larger than the test allows", ENOMEM);
    return open_.at(fd)->base;
  }
  void unmap(std::byte* /*base*/, std::uint64_t /*bytes*/) override {}
  store::Status grow(int fd, std::uint64_t /*old_size*/, std::uint64_t new_size) override {
    if (new_size > most_) return store::fail(store::Code::kNoSpace, "fallocate: full", ENOSPC);
    open_.at(fd)->resize(new_size, most_);
    return {};
  }
  store::Status truncate(int fd, std::uint64_t size) override { return grow(fd, 0, size); }
  store::Status punch(int fd, std::uint64_t offset, std::uint64_t length) override {
    std::memset(open_.at(fd)->base + offset, 0, length);
    return {};
  }
  store::Status fill(int /*fd*/, std::uint64_t /*offset*/, std::uint64_t /*length*/) override { return {}; }
  store::Result<Range> next_hole(int fd, std::uint64_t /*offset*/) override {
    const std::uint64_t size = open_.at(fd)->size;
    return Range{size, size};
  }
  store::Status write(int fd, std::uint64_t offset, store::Bytes data) override {
    File& file = *open_.at(fd);
    if (offset + data.size() > file.size) file.resize(offset + data.size(), most_);
    std::memcpy(file.base + offset, data.data(), data.size());
    return {};
  }
  store::Status read(int fd, std::uint64_t offset, store::MutableBytes out) override {
    const File& file = *open_.at(fd);
    if (offset + out.size() > file.size) return store::fail(store::Code::kIo, "pread: the file ends early");
    std::memcpy(out.data(), file.base + offset, out.size());
    return {};
  }
  store::Status sync_all(int fd, std::byte* /*base*/, std::uint64_t /*bytes*/) override {
    if (open_.at(fd) == current_) durable_->assign(*current_, most_);
    return {};
  }
  store::Status sync_range(int fd, std::byte* base, std::uint64_t offset, std::uint64_t length) override {
    if (open_.at(fd) != current_) return {};
    std::memcpy(durable_->base + offset, base + offset, length);
    ++range_syncs_;
    return {};
  }
  void start_write_back(int /*fd*/, std::uint64_t /*offset*/, std::uint64_t /*length*/) override {}
  store::Status sync_parent(const std::string& /*path*/) override { return {}; }
  std::string boot_id() override {
    std::string id = std::to_string(boot_);
    return std::string(32 - id.size(), '0') + id;
  }

 private:
  struct File {
    std::byte* base = nullptr;
    std::size_t size = 0;
    void resize(std::size_t to, std::size_t most) {
      if (to > size) {
        ASAN_UNPOISON_MEMORY_REGION(base + size, to - size);
        std::memset(base + size, 0, to - size);
      }
      size = to;
      ASAN_POISON_MEMORY_REGION(base + size, most - size);
    }
    void assign(const File& other, std::size_t most) {
      ASAN_UNPOISON_MEMORY_REGION(base, other.size);
      size = other.size;
      std::memcpy(base, other.base, size);
      ASAN_POISON_MEMORY_REGION(base + size, most - size);
    }
  };
  std::shared_ptr<File> make() {
    if (pool_.empty()) {
      void* memory = ::mmap(nullptr, most_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (memory == MAP_FAILED) std::abort();
      pool_.push_back(static_cast<std::byte*>(memory));
    }
    auto* file = new File{pool_.back(), 0};  // NOLINT(cppcoreguidelines-owning-memory): the deleter below
    pool_.pop_back();
    ASAN_POISON_MEMORY_REGION(file->base, most_);
    return {file, [this](File* gone) {
              pool_.push_back(gone->base);
              delete gone;  // NOLINT(cppcoreguidelines-owning-memory)
            }};
  }
  void unmap_memory(std::byte* memory) const {
    ASAN_UNPOISON_MEMORY_REGION(memory, most_);
    ::munmap(memory, most_);
  }

  const std::size_t most_;
  std::vector<std::byte*> pool_;
  std::shared_ptr<File> current_;
  std::shared_ptr<File> durable_;
  std::map<int, std::shared_ptr<File>> open_;
  int last_fd_ = 1 << 20;  // no descriptor of the process
  std::uint64_t range_syncs_ = 0;
  std::uint64_t boot_ = 1;
};

}  // namespace lrufs::test
