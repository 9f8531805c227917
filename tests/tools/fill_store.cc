// Fills a store through its own interface, as tests/mount/million.py would through a mount, but in seconds:
//   fill_store STORE BOUND_BYTES COUNT
// makes COUNT files dN/eM/fK of some 100 bytes, 1,000 a folder.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "store/bytes.h"
#include "store/store.h"

int main(int argc, char** argv) {
  using namespace lrufs::store;
  if (argc != 4) {
    std::fprintf(stderr, "usage: fill_store STORE BOUND_BYTES COUNT\n");
    return 2;
  }
  Options options;
  options.bound = std::strtoull(argv[2], nullptr, 10);
  const std::uint64_t count = std::strtoull(argv[3], nullptr, 10);
  auto store = Store::open(argv[1], options);
  Status done = store ? Status{} : Status{fail(store.error())};
  for (std::uint64_t number = 0; done && number < count; ++number) {
    const std::uint64_t folder = number / 1000;
    const std::string key =
        "d" + std::to_string(folder % 100) + "/e" + std::to_string(folder) + "/f" + std::to_string(number);
    const std::string line = "small file " + std::to_string(number) + "\n";
    std::string data;
    for (int i = 0; i < 6; ++i) data += line;
    done = (*store)->put(key, as_bytes(data));
  }
  if (done) done = (*store)->close();
  if (!done) {
    std::fprintf(stderr, "fill_store: %s\n", describe(done.error()).c_str());
    return 1;
  }
  return 0;
}
