#!/usr/bin/env python3
# ctest: timeout=900 serial
"""The daemon in a memory cgroup of 128 MiB (version 1 or 2; the writers are outside of it) with a store of 4 GiB, under steady
writes and reads of much more than that: the daemon is not killed, no error reaches a program, what is read is what was
written. Throughput, the longest fsync and the memory's high-water mark are told, not bound.
LRUFS_MEMORY_SECONDS is how long it writes (default 20; 240 with LRUFS_LONG=1). With LRUFS_LONG=1 the store is filled before the
limit begins, so that every write evicts."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import contextlib
import json
import mmap
import os
import random
import struct
import time
import _lib
from _cgroup import MemoryGroup
from _evict import content, mixed_size
from _lib import GIB, KIB, MIB, Mount, check, equal, step

LONG = os.environ.get("LRUFS_LONG") == "1"
SECONDS = float(os.environ.get("LRUFS_MEMORY_SECONDS", 240 if LONG else 20))
LIMIT = 128 * MIB
WRITERS = 2


def data_of(number, size):
    part = content(number, min(size, MIB))
    return (part * (size // len(part) + 1))[:size]


def work(mount, number, until, result):
    """Writes files, reads older ones, and syncs now and then; counts go to shared memory."""
    rng = random.Random(number)
    sizes, written, read, longest, n = {}, 0, 0, 0.0, 0
    while time.monotonic() < until:
        n += 1
        size = mixed_size(rng, 4 * KIB, 16 * MIB)
        _lib.write_file(mount.path(f"w{number}-{n}"), data_of(n, size))
        sizes[n] = size
        written += size
        for _ in range(2):
            old = rng.choice(list(sizes)) if rng.random() < 0.5 else max(1, n - rng.randrange(20))
            with contextlib.suppress(FileNotFoundError):
                data = _lib.read_file(mount.path(f"w{number}-{old}"))
                check(data == data_of(old, sizes[old]), f"w{number}-{old}: expected what was written")
                read += len(data)
        if n % 50 == 0:
            fd = os.open(mount.path(f"w{number}-{n}"), os.O_RDONLY)
            start = time.monotonic()
            os.fsync(fd)
            longest = max(longest, time.monotonic() - start)
            os.close(fd)
    result[:32] = struct.pack("<QQdQ", written, read, longest, n)


def evicted(mount):
    """Objects and bytes."""
    seen = json.loads(_lib.run(20, _lib.LRUFS, "stat", "--json", mount.dir))["statistics"]
    return seen["evicted_objects"], seen["evicted_bytes"]


def fill(mount):
    """Until the first file goes."""
    number = 0
    while not evicted(mount)[0]:
        for _ in range(16):
            _lib.write_file(mount.path(f"old{number}"), data_of(number, 16 * MIB))
            number += 1
        check(number * 16 * MIB < 8 * GIB, "expected evictions in a store of 4 GiB, saw none after 8 GiB")
    step(f"filled with {number} files of 16 MiB")


def test():
    group = MemoryGroup(LIMIT)
    try:
        mount = Mount(size="4G")
        mount.mount()
        if LONG:
            fill(mount)
        before = evicted(mount)
        for pid in {mount.pid, mount.server, *_lib.children(mount.pid)}:
            group.take(pid)
        start = time.monotonic()
        shared = [mmap.mmap(-1, 4096) for _ in range(WRITERS)]
        writers = [_lib.spawn_function(work, mount, number, start + SECONDS, shared[number]) for number in range(WRITERS)]
        for writer in writers:
            equal("exit status of a writer", 0, writer.wait(SECONDS * 4 + 120))
        seconds = time.monotonic() - start
        written, read, longest, files = zip(*(struct.unpack("<QQdQ", one[:32]) for one in shared))
        check(_lib.alive(mount.pid), "the daemon is dead")
        equal("kills for lack of memory", 0, group.kills())
        print(f"   {sum(files)} files in {seconds:.0f} s: written {sum(written) / seconds / MIB:.0f} MiB/s, read "
              f"{sum(read) / seconds / MIB:.0f} MiB/s, the longest fsync {max(longest):.2f} s")
        objects, size = (now - then for now, then in zip(evicted(mount), before))
        print(f"   evicted: {objects} files, {size / seconds / MIB:.0f} MiB/s")
        check(not LONG or size > sum(written) // 2, f"expected as much evicted as is written, saw {size} of {sum(written)} bytes")
        print(f"   memory: at most {group.highest() / MIB:.0f} of {LIMIT / MIB:.0f} MiB, "
              f"{mount.anonymous_memory() / MIB:.1f} MiB the daemon's own; the store has {_lib.disk_use(mount.store) / GIB:.1f} GiB")
        check(sum(written) > 2 * LIMIT or SECONDS < 10, f"expected more written than fits the limit, saw {sum(written)} bytes")
        mount.check()
        step(f"{sum(written) / GIB:.1f} GiB through {LIMIT / MIB:.0f} MiB")
    finally:
        group.remove()


if _lib.PLAIN:
    _lib.skip("a plain directory has no daemon")
_lib.need_root()
_lib.main(test)
