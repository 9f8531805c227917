// libFuzzer: arbitrary bytes as a store file: open, check, read everything, write a little, repair. Half of
// the inputs are made valid first: their checksums are stamped anew, so that the fuzzer gets behind them.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "store/bytes.h"
#include "store/check.h"
#include "store/meta.h"
#include "store/page.h"
#include "store/repair.h"
#include "store/store.h"

namespace lrufs::store {
namespace {

constexpr std::size_t kMost = 512 * kPageSize;
constexpr std::uint64_t kLargestBound = 64ULL << 20U;

const std::string& folder() {
  static const std::string& path = []() -> const std::string& {
    // In memory, where there is such a folder: the syncs would take most of the time.
    const bool has_memory = ::access("/dev/shm", W_OK) == 0;
    auto* name = new std::string(has_memory ? "/dev/shm/lrufs_fuzz_XXXXXX" : "/tmp/lrufs_fuzz_XXXXXX");
    if (::mkdtemp(name->data()) == nullptr) std::abort();
    std::atexit([] { std::filesystem::remove_all(folder()); });
    return *name;
  }();
  return path;
}

// Metas and whatever may be a tree page, with the checksums that they would have.
void stamp(std::vector<std::byte>& file, const FileIdentity& identity,
           const std::array<std::uint8_t, 16>& boot) {
  for (std::size_t at = 0; at + kPageSize <= file.size(); at += kPageSize) {
    std::byte* bytes = file.data() + at;
    if (at < 4 * kPageSize) {
      store_le(bytes + kMetaBytes - 8, hash64({bytes, kMetaBytes - 8}));
      auto meta = decode_meta(bytes).meta;
      if (!meta) continue;
      meta->bound_bytes = std::clamp(meta->bound_bytes, kMinBound, kLargestBound);
      if (at >= 2 * kPageSize) {
        meta->boot_id = boot;
        meta->device = identity.device;
        meta->inode = identity.inode;
      }
      encode_meta(*meta, bytes);
      continue;
    }
    Page page;
    std::memcpy(page.bytes(), bytes, kPageSize);
    if (page.header.count > (kPageSize - sizeof(PageHeader)) / 2 || page.header.heap > kPageSize) continue;
    if (page.header.kind != 1 && page.header.kind != 2) continue;
    page.header.page_no = at / kPageSize;
    seal_page(page);
    std::memcpy(bytes, page.bytes(), kPageSize);
  }
}

void read_below(const ReadView& view, Ino dir, int depth, std::size_t& budget) {
  (void)view.list(dir, Cookie{0}, [&](const DirEntry& entry) {
    if (budget == 0) return false;
    --budget;
    (void)view.lookup(dir, entry.name);
    const auto inode = view.inode(entry.ino);
    if (!inode) return true;
    (void)view.links(*inode);
    (void)view.path_of(entry.ino);
    if (const auto names = view.xattr_names(entry.ino)) {
      for (const std::string& name : *names) (void)view.xattr(entry.ino, name);
    }
    std::byte bytes[5000];
    (void)view.read(*inode, 0, bytes);
    (void)view.read(*inode, inode->size / 2, bytes);
    (void)view.next_data(*inode, 0);
    (void)view.next_hole(*inode, 0);
    if (inode->is_directory() && depth < 20) read_below(view, entry.ino, depth + 1, budget);
    return true;
  });
}

void use(const std::string& path, bool force) {
  Options options;
  options.bound_given = false;
  options.create = false;
  options.background = false;
  options.force = force;
  const auto opened = Store::open(path, options);
  if (!opened) return;
  Store& store = **opened;
  {
    const Snapshot snapshot = store.snapshot();
    std::size_t budget = 2000;
    read_below(snapshot.view(), kRootIno, 0, budget);
    (void)snapshot.view().orphans(kNoIno, 100);
  }
  (void)store.put("a/new file", as_bytes(std::string(5000, 'x')));
  (void)store.put("file", as_bytes("short"));
  (void)store.erase("file");
  (void)store.checkpoint();
  (void)store.evict(10'000);
  (void)store.reclaim_orphans();
  (void)store.close();
}

}  // namespace
}  // namespace lrufs::store

// See operations.cc.
extern "C" const char* __asan_default_options();  // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __asan_default_options() {
  return "quarantine_size_mb=4:thread_local_quarantine_size_kb=64:malloc_context_size=3:"
         "allocator_release_to_os_interval_ms=-1";
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lrufs::store;  // NOLINT(google-build-using-namespace)
  if (size == 0 || size > kMost) return 0;
  // The last byte says what is done, so that the rest is a plain file.
  const std::uint8_t how = data[--size];
  const std::string path = folder() + "/store";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) std::abort();
  const auto ops = posix_file_ops();
  std::vector<std::byte> file(size);
  std::memcpy(file.data(), data, size);
  if ((how & 1U) != 0) stamp(file, *ops->identify(fd), parse_hex128(ops->boot_id()));
  const bool written = ops->write(fd, 0, file).has_value();
  ::close(fd);
  if (!written) std::abort();
  (void)check_file(path, {.from_checkpoint = (how & 2U) != 0, .mark = (how & 4U) != 0});
  use(path, (how & 8U) != 0);
  if (const auto repaired = repair_file(path); repaired) {
    const auto report = check_file(path);
    if (!report || !report->clean()) __builtin_trap();
  }
  return 0;
}
