#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "peers/peer.h"

namespace lrufs::bench {

void die(const std::string& what) {
  std::fprintf(stderr, "store_bench: %s\n", what.c_str());
  std::_Exit(1);
}

namespace {

class PlainFile final : public Peer {
 public:
  explicit PlainFile(const Setup& setup)
      : fd_(::open((setup.folder + "/file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (fd_ < 0) fail("open");
  }
  ~PlainFile() override { ::close(fd_); }

  void put(std::string_view key, std::string_view value) override {
    size_ = value.size();
    if (::pwrite(fd_, value.data(), value.size(), offset(key)) != static_cast<ssize_t>(size_)) fail("pwrite");
  }

  bool get(unsigned /*thread*/, std::string_view key, std::string& value) override {
    value.resize(size_);
    if (::pread(fd_, value.data(), value.size(), offset(key)) != static_cast<ssize_t>(size_)) fail("pread");
    return true;
  }

  void sync() override {
    if (::fdatasync(fd_) != 0) fail("fdatasync");
  }

 private:
  [[noreturn]] static void fail(const char* call) { die(std::string(call) + ": " + std::strerror(errno)); }
  // Keys end in "-" and their number.
  [[nodiscard]] off_t offset(std::string_view key) const {
    std::uint64_t number = 0;
    const std::string_view digits = key.substr(key.rfind('-') + 1);
    std::from_chars(digits.data(), digits.data() + digits.size(), number);
    return static_cast<off_t>(number * size_);
  }

  int fd_;
  std::size_t size_ = 0;
};

}  // namespace

std::unique_ptr<Peer> open_plain_file(const Setup& setup) { return std::make_unique<PlainFile>(setup); }

}  // namespace lrufs::bench
