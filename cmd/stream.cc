#include "cmd/stream.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "cmd/interrupt.h"
#include "cmd/os.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Result;
using store::Status;

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

DescriptorSource::DescriptorSource(int fd, std::string name) : fd_(fd), name_(std::move(name)) {
  struct stat attributes {};
  seeks_ = ::fstat(fd, &attributes) == 0 && S_ISREG(attributes.st_mode);
}

// Bytes of a hole from here on, which are then skipped; 0 where data is, as far as data_ says.
Result<std::uint64_t> DescriptorSource::hole_here() {
  const off_t here = ::lseek(fd_, 0, SEEK_CUR);
  if (here < 0) return fail(Code::kIo, "lseek(2): " + errno_text(errno), errno);
  off_t data = ::lseek(fd_, here, SEEK_DATA);
  if (data < 0 && errno == ENXIO) {  // a hole up to the end, or the end
    data = std::max(here, ::lseek(fd_, 0, SEEK_END));
    ::lseek(fd_, data, SEEK_SET);
    return static_cast<std::uint64_t>(data - here);
  }
  if (data < 0) {  // holes are not known here
    seeks_ = false;
    ::lseek(fd_, here, SEEK_SET);
    return 0;
  }
  const off_t hole = ::lseek(fd_, data, SEEK_HOLE);
  data_ = hole > data ? static_cast<std::uint64_t>(hole - data) : kPiece;
  ::lseek(fd_, data, SEEK_SET);
  return static_cast<std::uint64_t>(data - here);
}

Result<Piece> DescriptorSource::next() {
  LRUFS_TRY(not_interrupted());
  if (seeks_ && data_ == 0) {
    LRUFS_TRY_ASSIGN(const std::uint64_t hole, hole_here());
    if (hole != 0) return Piece{.hole = hole};
  }
  buffer_.resize(kPiece);
  const std::size_t wanted = seeks_ && data_ != 0 ? std::min<std::uint64_t>(kPiece, data_) : kPiece;
  std::size_t length = 0;
  // Pipes come in small pieces, and the store is better served with large ones; but nobody waits long for
  // that.
  const auto began = std::chrono::steady_clock::now();
  while (length < wanted) {
    if (length != 0 && std::chrono::steady_clock::now() - began > std::chrono::milliseconds(100)) break;
    LRUFS_TRY(wait_for_descriptor(fd_, POLLIN));
    const ssize_t count = ::read(fd_, buffer_.data() + length, wanted - length);
    if (count == 0) break;
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) return fail(Code::kIo, "cannot read " + name_ + ": " + errno_text(errno), errno);
    length += static_cast<std::size_t>(count);
  }
  data_ -= std::min<std::uint64_t>(data_, length);
  return Piece{.data = store::Bytes(buffer_).first(length)};
}

Status DescriptorSink::write(store::Bytes data) {
  while (!data.empty()) {
    const ssize_t count = ::write(fd_, data.data(), data.size());
    if (count < 0 && errno == EINTR) {
      LRUFS_TRY(not_interrupted());
      continue;
    }
    if (count < 0 && errno == EAGAIN) {
      LRUFS_TRY(wait_for_descriptor(fd_, POLLOUT));
      continue;
    }
    if (count < 0) {
      const Code code = errno == ENOSPC ? Code::kNoSpace : Code::kIo;
      return fail(code, "cannot write " + name_ + ": " + errno_text(errno), errno);
    }
    data = data.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

Status DescriptorSink::put(const Piece& piece) {
  LRUFS_TRY(not_interrupted());
  size_ += piece.length();
  ends_in_hole_ = sparse_ && piece.hole != 0;
  if (piece.hole == 0) return write(piece.data);
  if (sparse_) {
    if (::lseek(fd_, static_cast<off_t>(size_), SEEK_SET) >= 0) return {};
    return fail(Code::kFileTooLarge, "cannot write " + name_ + ": " + errno_text(errno), errno);
  }
  const std::vector<std::byte> zeros(std::min<std::uint64_t>(piece.hole, kPiece));
  for (std::uint64_t left = piece.hole; left != 0;) {
    const std::uint64_t some = std::min<std::uint64_t>(left, zeros.size());
    LRUFS_TRY(write(store::Bytes(zeros).first(some)));
    LRUFS_TRY(not_interrupted());
    left -= some;
  }
  return {};
}

Status DescriptorSink::finish() {
  if (!ends_in_hole_ || ::ftruncate(fd_, static_cast<off_t>(size_)) == 0) return {};
  return fail(Code::kIo, "cannot write " + name_ + ": " + errno_text(errno), errno);
}

}  // namespace lrufs::cmd
