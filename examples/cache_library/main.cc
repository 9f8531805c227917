// A cache in a program, without a mount: opens a store, fills it beyond its bound, and shows what is left.
//
//   cmake -S . -B build && cmake --build build
//   g++ -std=c++20 main.cc $(pkg-config --cflags --libs lrufs-store) -o cache_library
//
//   ./cache_library cache.lrufs
#include <cstddef>
#include <cstdio>
#include <memory>
#include <span>
#include <string>

#include "store/store.h"

using lrufs::store::Options;
using lrufs::store::Status;
using lrufs::store::Store;

namespace {

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string thumbnail_key(int number) { return "thumbs/" + std::to_string(number); }

// Errors are values: LRUFS_TRY returns them to the caller.
Status use(Store& store) {
  const std::string first(100'000, 'x');
  LRUFS_TRY(store.put(thumbnail_key(0), bytes_of(first)));  // folders are made
  LRUFS_TRY_ASSIGN(const std::string again, store.get(thumbnail_key(0)));
  std::printf("read %zu bytes\n", again.size());
  if (const auto absent = store.get("thumbs/none"); !absent)
    std::printf("no such key: %s\n", lrufs::store::describe(absent.error()).c_str());

  // 40 MB into 16 MiB. Each get() is a use: the first one stays, although it is the oldest.
  for (int i = 1; i <= 400; ++i) {
    LRUFS_TRY(store.put(thumbnail_key(i), bytes_of(first)));
    LRUFS_TRY(store.get(thumbnail_key(0)));
  }
  LRUFS_TRY_ASSIGN(const auto names, store.names("thumbs", "", 1000));
  const auto facts = store.statistics();
  std::printf("%zu of 401 thumbnails are left, %s the first one; %s the second one\n", names.size(),
              store.resolve(thumbnail_key(0)) ? "with" : "without",
              store.resolve(thumbnail_key(1)) ? "with" : "without");
  std::printf("at most %llu bytes on disk, %llu taken\n", static_cast<unsigned long long>(facts.bound_bytes),
              static_cast<unsigned long long>(facts.file_bytes));
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: cache_library STORE\n");
    return 2;
  }
  Options options;
  options.bound = 16ULL << 20U;
  auto store = Store::open(argv[1], options);
  if (!store) {
    std::fprintf(stderr, "cache_library: %s\n", lrufs::store::describe(store.error()).c_str());
    return 1;
  }
  Status done = use(**store);
  if (const Status closed = (*store)->close(); done && !closed) done = closed;  // all is on the disk now
  if (!done) {
    std::fprintf(stderr, "cache_library: %s\n", lrufs::store::describe(done.error()).c_str());
    return 1;
  }
  return 0;
}
