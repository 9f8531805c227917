#include "fs/fuse/kept_mount.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

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

void end_kept_mount(KeptMount kept, const std::string& mount_point) {
  // Where every version of it has them.
  struct Start {
    std::uint32_t version;
    std::uint32_t unused;
    std::uint64_t device;
  } start{};
  static_assert(offsetof(Start, device) == offsetof(TakeoverMemory, mount));
  const bool known = ::pread(kept.memory.get(), &start, sizeof start, 0) == sizeof start;
  if (!known || !is_connected(kept.connection.get())) return;
  const auto device = static_cast<dev_t>(start.device);
  if (device_at(mount_point) != device) return;
  abort_connection(device, mount_point);
  if (const Status done = detach(mount_point, /*lazy=*/true); !done)
    tell(Level::err, "unmount_failed", store::describe(done.error()));
}

}  // namespace lrufs::fs::fuse
