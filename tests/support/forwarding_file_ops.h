// ForwardingFileOps: file operations that pass everything on, for tests that change a few of them.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "store/file_ops.h"

namespace lrufs::test {

class ForwardingFileOps : public store::FileOps {
 public:
  explicit ForwardingFileOps(std::shared_ptr<store::FileOps> under = store::posix_file_ops())
      : under_(std::move(under)) {}

  store::Result<int> open(const std::string& path, bool create, bool read_only) override {
    return under_->open(path, create, read_only);
  }
  void close(int fd) override { under_->close(fd); }
  store::Result<store::FileIdentity> identify(int fd) override { return under_->identify(fd); }
  store::Status lock(int fd, bool exclusive) override { return under_->lock(fd, exclusive); }
  void unlock(int fd) override { under_->unlock(fd); }
  store::Result<bool> try_lock_byte(int fd, std::uint64_t byte) override {
    return under_->try_lock_byte(fd, byte);
  }
  void unlock_byte(int fd, std::uint64_t byte) override { under_->unlock_byte(fd, byte); }
  store::Result<bool> byte_is_locked(int fd, std::uint64_t byte) override {
    return under_->byte_is_locked(fd, byte);
  }
  store::Result<std::byte*> map_shared(int fd, std::uint64_t offset, std::uint64_t bytes,
                                       bool writable) override {
    return under_->map_shared(fd, offset, bytes, writable);
  }
  store::Result<std::byte*> map(int fd, std::uint64_t bytes, bool writable) override {
    return under_->map(fd, bytes, writable);
  }
  void unmap(std::byte* base, std::uint64_t bytes) override { under_->unmap(base, bytes); }
  store::Status grow(int fd, std::uint64_t old_size, std::uint64_t new_size) override {
    return under_->grow(fd, old_size, new_size);
  }
  store::Status truncate(int fd, std::uint64_t size) override { return under_->truncate(fd, size); }
  store::Status punch(int fd, std::uint64_t offset, std::uint64_t length) override {
    return under_->punch(fd, offset, length);
  }
  store::Status fill(int fd, std::uint64_t offset, std::uint64_t length) override {
    return under_->fill(fd, offset, length);
  }
  store::Result<Range> next_hole(int fd, std::uint64_t offset) override {
    return under_->next_hole(fd, offset);
  }
  store::Status write(int fd, std::uint64_t offset, store::Bytes data) override {
    return under_->write(fd, offset, data);
  }
  store::Status read(int fd, std::uint64_t offset, store::MutableBytes out) override {
    return under_->read(fd, offset, out);
  }
  store::Status sync_all(int fd, std::byte* base, std::uint64_t bytes) override {
    return under_->sync_all(fd, base, bytes);
  }
  store::Status sync_range(int fd, std::byte* base, std::uint64_t offset, std::uint64_t length) override {
    return under_->sync_range(fd, base, offset, length);
  }
  void start_write_back(int fd, std::uint64_t offset, std::uint64_t length) override {
    under_->start_write_back(fd, offset, length);
  }
  store::Status sync_parent(const std::string& path) override { return under_->sync_parent(path); }
  std::string boot_id() override { return under_->boot_id(); }

 protected:
  std::shared_ptr<store::FileOps> under_;
};

}  // namespace lrufs::test
