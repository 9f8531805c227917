// Peer: what a benchmark asks of a store of keys and values, so that all candidates do the same work. One
// file an implementation; a failed call ends the program with its message: a benchmark has nobody to tell.
//
// Thread-safety: put, get and sync may be called from several threads at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lrufs::bench {

struct Setup {
  std::string folder;       // exists, empty unless it is opened again
  std::uint64_t bound = 0;  // bytes on disk (lrufs), of the map (LMDB), of keys and values (persistent-cache)
  bool put_is_synced = false;  // put() returns when it survives a power cut
  unsigned threads = 1;        // at most so many use it
};

class Peer {
 public:
  Peer() = default;
  virtual ~Peer() = default;  // closes
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  // One transaction. Without put_is_synced it survives SIGKILL, but no power cut.
  virtual void put(std::string_view key, std::string_view value) = 0;
  // Copies the value; false: there is none. `thread`: 0 … Setup::threads - 1.
  virtual bool get(unsigned thread, std::string_view key, std::string& value) = 0;
  // Returns when everything put before survives a power cut.
  virtual void sync() = 0;
};

using Open = std::function<std::unique_ptr<Peer>(const Setup&)>;
std::unique_ptr<Peer> open_lrufs(const Setup& setup);
std::unique_ptr<Peer> open_lmdb(const Setup& setup);
std::unique_ptr<Peer> open_rocksdb(const Setup& setup);
std::unique_ptr<Peer> open_persistent_cache(const Setup& setup);
// The file system itself: values of one size, one behind the other in one file, by pwrite(2) and pread(2);
// keys are numbers.
std::unique_ptr<Peer> open_plain_file(const Setup& setup);

[[noreturn]] void die(const std::string& what);

}  // namespace lrufs::bench
