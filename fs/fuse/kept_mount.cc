#include "fs/fuse/kept_mount.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "fs/fuse/event.h"
#include "fs/fuse/guard.h"
#include "fs/fuse/mount_point.h"
#include "store/bytes.h"

namespace lrufs::fs::fuse {

using store::Code;
using store::fail;
using store::Status;

bool is_connected(int connection) {
  if (connection < 0) return false;
  pollfd fd{.fd = connection, .events = POLLIN, .revents = 0};
  return ::poll(&fd, 1, 0) >= 0 && (fd.revents & POLLERR) == 0;
}

std::uint64_t identity_of(const MountOptions& options) {
  std::uint64_t hash = store::hash64(store::as_bytes(options.store));
  hash = store::hash64(store::as_bytes(options.mount_point), hash);
  for (const std::string& word : fuse_words(options)) hash = store::hash64(store::as_bytes(word), hash);
  return hash;
}

Status can_go_on(const KeptMount& kept, const MountOptions& options) {
  LRUFS_TRY_ASSIGN(const auto memory, MappedTakeover::open(::fcntl(kept.memory.get(), F_DUPFD_CLOEXEC, 0)));
  const TakeoverMemory& seen = memory->get();
  if (!is_connected(kept.connection.get())) return fail(Code::kInvalid, "its connection has ended");
  if (seen.init_bytes == 0) return fail(Code::kInvalid, "it was never served");
  if (seen.resend != TakeoverMemory::Resend::kYes)
    return fail(Code::kInvalid, "this kernel does not send requests again");
  if (seen.mount.identity != identity_of(options))
    return fail(Code::kInvalid, "it has another store, another mount point, or other options of the kernel");
  if (const auto device = device_at(options.mount_point); !device || *device != seen.mount.device)
    return fail(Code::kInvalid, "something else is mounted at " + options.mount_point);
  return {};
}

std::optional<dev_t> device_of(const KeptMount& kept) {
  struct Start {
    std::uint32_t version;
    std::uint32_t unused;
    std::uint64_t device;
  } start{};
  static_assert(offsetof(Start, device) == offsetof(TakeoverMemory, mount));
  if (!is_connected(kept.connection.get()) ||
      ::pread(kept.memory.get(), &start, sizeof start, 0) != sizeof start)
    return std::nullopt;
  return static_cast<dev_t>(start.device);
}

void end_kept_mount(const KeptMount& kept, const std::vector<std::string>& places) {
  const auto device = device_of(kept);
  if (!device) return;
  for (const std::string& place : places) {
    if (device_at(place) != device) continue;
    abort_connection(*device, place);
    if (const Status done = detach(place, /*lazy=*/true); !done)
      tell(Level::err, "unmount_failed", store::describe(done.error()));
  }
}

}  // namespace lrufs::fs::fuse
