#!/usr/bin/env python3
# ctest: long timeout=3600 serial
"""10,000,000 files: the daemon's own memory (anonymous, not the page cache that its map shows) stays under 200 MiB, right after
the mount, after find walked the whole tree, while the kernel knows millions of inodes, after it forgot them, and after
evictions. The store is made by build/…/tests/tools/fill_store. LRUFS_TEN_MILLION is the number of files."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import os
import subprocess
import time
import _lib
from _lib import Mount, check, equal, step, MIB

COUNT = int(os.environ.get("LRUFS_TEN_MILLION", 10_000_000))
MOST_MEMORY = 200 * MIB


def memory(mount, what):
    seen = mount.anonymous_memory()
    print(f"   daemon's own memory {what}: {seen / MIB:.1f} MiB")
    check(seen < MOST_MEMORY, f"daemon's own memory {what}: expected under {MOST_MEMORY} bytes, saw {seen}")


def test():
    mount = Mount(size="16G")
    tool = os.path.join(os.environ.get("LRUFS_BUILD_DIR", ""), "tests/tools/fill_store")
    if not os.access(tool, os.X_OK):
        _lib.skip(f"no {tool}")
    start = time.monotonic()
    subprocess.run([tool, mount.store, str(16 << 30), str(COUNT)], timeout=2400, check=True)
    step(f"{COUNT} files made, {_lib.disk_use(mount.store) / MIB:.0f} MiB on disk, {(time.monotonic() - start) / COUNT * 1e6:.0f} us each")
    print(f"   mount: {mount.mount():.3f} s")
    memory(mount, "right after the mount")
    start = time.monotonic()
    out = subprocess.run(["find", mount.dir, "-type", "f", "-size", "+0", "-printf", "."], stdout=subprocess.PIPE, timeout=1800,
                         check=True).stdout
    equal("files that find sees", COUNT, len(out))
    step(f"find with attributes: {(time.monotonic() - start) / COUNT * 1e6:.1f} us a file")
    memory(mount, "after find walked the tree")
    if os.geteuid() == 0:
        _lib.drop_caches(2)
        memory(mount, "after the kernel forgot all inodes")
    mount.kill()
    print(f"   mount after SIGKILL: {mount.mount():.3f} s")
    memory(mount, "right after a mount after SIGKILL")
    mount.umount()


if _lib.PLAIN:
    _lib.skip("a plain directory has no daemon")
_lib.main(test)
