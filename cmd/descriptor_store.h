// The service manager's store of descriptors (sd_notify(3), FDSTORE=1): it keeps those of a mount while the
// service is started again, or when its process has died, so that programs on the mount do not notice.
// The unit has to allow it (FileDescriptorStoreMax= of systemd.service(5)).
//
// Thread-safety: while the process has one thread.
#pragma once

#include "fs/fuse/kept_mount.h"

namespace lrufs::cmd {

// Is there a manager that keeps descriptors for this process? Asked by $FDSTORE (systemd 254), or the bus.
bool manager_keeps_descriptors();

void keep_descriptors(int connection, int memory);
void drop_descriptors();

// What an earlier process of the service has handed over; nothing the second time.
fs::fuse::KeptMount kept_descriptors();

// We were told to end. Is the service being started again (`systemctl restart`), with what it has kept? A
// stop, or a manager that does not answer within two seconds: false.
bool manager_starts_again();

}  // namespace lrufs::cmd
