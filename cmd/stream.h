// Content on its way: pieces of data and holes, from and to file descriptors. Nothing is held in memory but
// one piece of 1 MiB.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "store/error.h"
#include "store/types.h"

namespace lrufs::cmd {

inline constexpr std::size_t kPiece = 1U << 20U;

// Data, or `hole` bytes that read as zeros; neither: the end.
struct Piece {
  store::Bytes data{};  // valid until the next one is asked for
  std::uint64_t hole = 0;
  [[nodiscard]] bool is_end() const { return data.empty() && hole == 0; }
  [[nodiscard]] std::uint64_t length() const { return data.size() + hole; }
};

using Source = std::function<store::Result<Piece>()>;
using Sink = std::function<store::Status(const Piece&)>;

// An open descriptor, closed at the end.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor();
  [[nodiscard]] int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

// Reads from a descriptor that stays the caller's, from where it stands; holes of regular files are found
// (SEEK_DATA). `name` is for messages. A signal is an error (interrupt.h).
class DescriptorSource {
 public:
  DescriptorSource(int fd, std::string name);
  store::Result<Piece> next();

 private:
  store::Result<std::uint64_t> hole_here();
  int fd_;
  std::string name_;
  bool seeks_ = false;      // a regular file
  std::uint64_t data_ = 0;  // bytes of data that are known to be ahead
  std::vector<std::byte> buffer_;
};

// Writes to a descriptor that stays the caller's. Holes become holes in a regular file that was empty
// (`sparse`), else zeros. EPIPE is an error with that os_errno.
class DescriptorSink {
 public:
  DescriptorSink(int fd, std::string name, bool sparse) : fd_(fd), name_(std::move(name)), sparse_(sparse) {}
  store::Status put(const Piece& piece);
  store::Status finish();  // a hole at the end

 private:
  store::Status write(store::Bytes data);
  int fd_;
  std::string name_;
  bool sparse_;
  std::uint64_t size_ = 0;
  bool ends_in_hole_ = false;
};

}  // namespace lrufs::cmd
