// liblrufs-power-cut.so: goes into the real daemon by LD_PRELOAD and makes the files that a power cut could
// leave of its store. It needs nothing of the daemon but its system calls.
//
//   LRUFS_POWER_CUT_STORE   the store file; it must be on the disk when the daemon starts
//   LRUFS_POWER_CUT_PIPES   PREFIX.in and PREFIX.out, two FIFOs: commands come in, one line each, and each is
//                           answered by a line
//
//   image MOMENT SEED PATH  writes an image. MOMENT: now, or within the next sync: fdatasync or msync, begins
//   (it was
//                           called, nothing is sure yet) or ends (it is about to return). Answer: "done
//                           NANOSECONDS TEXT": the time (CLOCK_MONOTONIC) before which all that had returned
//                           counts, and what the image is made of.
//   drop CALL               from now on fdatasync (or msync, or nothing) returns 0 and does nothing: a lying
//   daemon quit
//
// What is sure: the content that a page had when a sync was called that has since succeeded. An image is
// this, and of the pages that differ now any subset, each whole or in some of its 512-byte sectors; the file
// has the length that is sure, the one that it has now, or one between. fallocate, ftruncate, pwrite and
// stores to the map make nothing sure, so they need not be watched: the file itself is read when an image is
// made. While one is made no sync returns.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kSector = 512;
using Content = std::vector<char>;

template <typename Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "power cut: %s: %s\n", what.c_str(), std::strerror(errno));
  std::abort();
}

std::uint64_t now_nanoseconds() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(time.tv_nsec);
}

struct Request {
  std::uint64_t seed = 0;
  std::string path;
};

class PowerCut {
 public:
  static PowerCut& instance() {
    static PowerCut* one = new PowerCut;  // never destroyed: threads of the daemon may outlive main()
    return *one;
  }

  [[nodiscard]] bool is_store(int fd) const {
    struct stat file {};
    struct stat store {};
    return fd >= 0 && !store_.empty() && ::fstat(fd, &file) == 0 && ::stat(store_.c_str(), &store) == 0 &&
           file.st_dev == store.st_dev && file.st_ino == store.st_ino;
  }

  void mapped(const void* base, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    base_ = static_cast<const char*>(base);
    bytes_ = bytes;
    if (fd_ >= 0) return;
    fd_ = ::open(store_.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) die("open " + store_);
    sure_ = read_now();
    std::thread([this] { serve(); }).detach();
  }

  // The offset of an address in the store, if it is within the map.
  [[nodiscard]] std::optional<std::size_t> offset_of(const void* address) const {
    const auto* at = static_cast<const char*>(address);
    if (base_ == nullptr || at < base_ || at >= base_ + bytes_) return std::nullopt;
    return static_cast<std::size_t>(at - base_);
  }

  template <typename Sync>
  int sync(const std::string& call, std::size_t offset, std::optional<std::size_t> length, Sync&& sync_now) {
    Content covered;
    {
      const std::lock_guard lock(mutex_);
      if (dropped_ == call) {
        take_image(call + "-begins");
        take_image(call + "-ends");
        return 0;
      }
      covered = read_now();
      take_image(call + "-begins");
    }
    const int result = sync_now();
    const int error = errno;
    if (result == 0) {
      const std::lock_guard lock(mutex_);
      if (length) {  // pages of the map, without the file's length
        const std::size_t end =
            std::min({(offset + *length + kPage - 1) / kPage * kPage, covered.size(), sure_.size()});
        for (std::size_t at = offset / kPage * kPage; at < end; ++at) sure_[at] = covered[at];
      } else {
        sure_ = std::move(covered);
      }
      take_image(call + "-ends");
    }
    errno = error;
    return result;
  }

 private:
  PowerCut() {
    if (const char* store = std::getenv("LRUFS_POWER_CUT_STORE")) store_ = store;
    if (const char* pipes = std::getenv("LRUFS_POWER_CUT_PIPES")) pipes_ = pipes;
  }

  [[nodiscard]] Content read_now() const {
    struct stat file {};
    if (::fstat(fd_, &file) != 0) die("fstat");
    Content content(static_cast<std::size_t>(file.st_size));
    std::size_t at = 0;
    while (at < content.size()) {
      const ssize_t n = ::pread(fd_, content.data() + at, content.size() - at, static_cast<off_t>(at));
      if (n < 0) die("pread");
      if (n == 0) break;
      at += static_cast<std::size_t>(n);
    }
    return content;
  }

  void take_image(const std::string& moment) {
    const auto found = wanted_.find(moment);
    if (found == wanted_.end()) return;
    const Request request = found->second;
    wanted_.erase(found);
    answer(make_image(request));
  }

  std::string make_image(const Request& request) {
    const std::uint64_t time = now_nanoseconds();
    std::mt19937_64 random(request.seed);
    const auto below = [&](std::uint64_t limit) {
      return std::uniform_int_distribution<std::uint64_t>(0, limit - 1)(random);
    };
    const Content now = read_now();
    Content image = sure_;
    const std::size_t low = std::min(now.size(), sure_.size());
    const std::size_t high = std::max(now.size(), sure_.size());
    switch (below(3)) {
      case 0:
        break;
      case 1:
        image.resize(now.size());
        break;
      default:
        image.resize(low + below((high - low) / kPage + 1) * kPage);
    }
    std::vector<std::size_t> changed;
    for (std::size_t at = 0; at < std::min(image.size(), now.size()); at += kPage) {
      const std::size_t length = std::min({kPage, image.size() - at, now.size() - at});
      if (std::memcmp(image.data() + at, now.data() + at, length) != 0) changed.push_back(at);
    }
    // How likely a page is to have arrived: never, always, or something between; metas (the first four pages)
    // as the rest, surely, or surely not.
    const std::uint64_t percent = std::vector<std::uint64_t>{0, 100, 50, 5, 95}[below(5)];
    const std::uint64_t metas = below(3);
    const std::uint64_t torn_percent = std::vector<std::uint64_t>{0, 20, 60}[below(3)];
    std::size_t kept = 0;
    std::size_t torn = 0;
    for (const std::size_t at : changed) {
      const bool meta = at < 4 * kPage;
      const bool keep = meta && metas == 1 ? true : meta && metas == 2 ? false : below(100) < percent;
      if (!keep) continue;
      const bool tear = below(100) < torn_percent;
      ++kept;
      if (tear) ++torn;
      const std::size_t end = std::min({at + kPage, image.size(), now.size()});
      for (std::size_t sector = at; sector < end; sector += kSector) {
        if (!tear || below(2) == 0)
          std::memcpy(image.data() + sector, now.data() + sector, std::min(kSector, end - sector));
      }
    }
    std::FILE* file = std::fopen(request.path.c_str(), "wbe");
    if (file == nullptr || std::fwrite(image.data(), 1, image.size(), file) != image.size() ||
        std::fclose(file) != 0)
      die("write " + request.path);
    std::ostringstream text;
    text << "done " << time << ' ' << kept << " of " << changed.size() << " changed pages, " << torn
         << " torn, metas "
         << (metas == 0   ? "as the rest"
             : metas == 1 ? "kept"
                          : "lost")
         << ", " << image.size() << " bytes (" << sure_.size() << " sure, " << now.size() << " now)";
    return text.str();
  }

  void answer(const std::string& text) const {
    const std::string line = text + "\n";
    if (::write(out_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) die("answer");
  }

  void serve() {
    sigset_t all;  // signals are the daemon's
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
    std::FILE* in = std::fopen((pipes_ + ".in").c_str(), "re");
    out_ = ::open((pipes_ + ".out").c_str(), O_WRONLY | O_CLOEXEC);
    if (in == nullptr || out_ < 0) die("open " + pipes_ + ".in and .out");
    char* line = nullptr;
    std::size_t size = 0;
    while (::getline(&line, &size, in) > 0) {
      std::istringstream words(line);
      std::string command;
      std::string what;
      Request request;
      words >> command >> what >> request.seed >> request.path;
      const std::lock_guard lock(mutex_);
      if (command == "image" && what == "now") {
        answer(make_image(request));
      } else if (command == "image") {
        wanted_[what] = request;
      } else if (command == "drop") {
        dropped_ = what;
        answer("done");
      } else {
        break;
      }
    }
    std::free(line);  // NOLINT: getline(3) owns it so
    std::fclose(in);
  }

  std::string store_;
  std::string pipes_;
  std::mutex mutex_;
  int fd_ = -1;
  int out_ = -1;
  const char* base_ = nullptr;
  std::size_t bytes_ = 0;
  Content sure_;
  std::map<std::string, Request> wanted_;  // by moment
  std::string dropped_;
};

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

// NOLINTBEGIN(readability-inconsistent-declaration-parameter-name)
void* mmap(void* address, std::size_t length, int protection, int flags, int fd, off_t offset) noexcept {
  static auto* next = real<void*(void*, std::size_t, int, int, int, off_t)>("mmap");
  void* base = next(address, length, protection, flags, fd, offset);
  if (base != MAP_FAILED && (flags & MAP_SHARED) != 0 && (protection & PROT_WRITE) != 0 &&
      PowerCut::instance().is_store(fd))
    PowerCut::instance().mapped(base, length);
  return base;
}

int fdatasync(int fd) {
  static auto* next = real<int(int)>("fdatasync");
  if (!PowerCut::instance().is_store(fd)) return next(fd);
  return PowerCut::instance().sync("fdatasync", 0, std::nullopt, [&] { return next(fd); });
}

int fsync(int fd) {
  static auto* next = real<int(int)>("fsync");
  if (!PowerCut::instance().is_store(fd)) return next(fd);
  return PowerCut::instance().sync("fdatasync", 0, std::nullopt, [&] { return next(fd); });
}

int msync(void* address, std::size_t length, int flags) {
  static auto* next = real<int(void*, std::size_t, int)>("msync");
  const auto offset = PowerCut::instance().offset_of(address);
  if (!offset || (flags & MS_SYNC) == 0) return next(address, length, flags);
  return PowerCut::instance().sync("msync", *offset, length, [&] { return next(address, length, flags); });
}
// NOLINTEND(readability-inconsistent-declaration-parameter-name)

}  // extern "C"
#pragma GCC visibility pop
