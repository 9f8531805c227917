#!/usr/bin/env python3
# ctest: timeout=900 serial
"""A file of 3 GiB through a store of 4 GiB: written in pieces of 1 MiB, fsync'ed, unmounted, mounted, compared byte by
byte; then a second one, for which the first has to go. Every 4 KiB say where in which file they belong, so that a page
that is lost, stale, or in the wrong place is found and named. LRUFS_BIG_MIB sets the size (the store is 4/3 of it).
On a plain directory: LRUFS_TEST_DIR=/some/dir."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import errno
import os
import random
import shutil
import struct
import time
import _lib
from _lib import Mount, check, equal, step, GIB, MIB

SIZE = int(os.environ.get("LRUFS_BIG_MIB", 3072)) * MIB
BOUND = SIZE // 3 * 4
PAGE = 4096


class Content:
    """Content of a file, a MiB at a time."""

    def __init__(self, salt):
        self.salt = salt
        self.block = bytearray(random.Random(salt).randbytes(MIB))

    def at(self, index):
        for page in range(MIB // PAGE):
            struct.pack_into("<QQ", self.block, page * PAGE, self.salt, index * (MIB // PAGE) + page)
        return self.block


def write(path, content, size):
    start = time.monotonic()
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    for index in range(size // MIB):
        equal(f"bytes written at {index} MiB", MIB, os.write(fd, content.at(index)))
    os.fsync(fd)
    os.close(fd)
    report("written and synced", size, start)


def compare(path, content, size, what):
    start = time.monotonic()
    equal(f"size ({what})", size, os.stat(path).st_size)
    fd = os.open(path, os.O_RDONLY)
    buffer = bytearray(MIB)
    for index in range(size // MIB):
        equal(f"bytes read at {index} MiB ({what})", MIB, os.readv(fd, [buffer]))
        wanted = content.at(index)
        if buffer != wanted:
            page = next(n for n in range(0, MIB, PAGE) if buffer[n:n + PAGE] != wanted[n:n + PAGE])
            salt, number = struct.unpack_from("<QQ", buffer, page)
            _lib.fail(f"{what}: the page at {index * MIB + page} differs; it says to be page {number} of file {salt}, "
                      f"expected page {(index * MIB + page) // PAGE} of file {content.salt}")
    equal(f"bytes after the end ({what})", b"", os.read(fd, 1))
    os.close(fd)
    report(f"read and compared ({what})", size, start)


def report(what, size, start):
    seconds = time.monotonic() - start
    step(f"{what}: {size / MIB / seconds:.0f} MiB/s")


def test():
    with Mount(size=f"{BOUND // MIB}M") as mount:
        first, second = mount.path("first"), mount.path("second")
        _lib.write_file(mount.path("small"), b"older than all")
        write(first, Content(1), SIZE)
        compare(first, Content(1), SIZE, "just written")
        mount.remount()
        compare(first, Content(1), SIZE, "after remount")
        if _lib.PLAIN:
            return
        check(_lib.disk_use(mount.store) <= BOUND, f"disk use: expected at most {BOUND}, saw {_lib.disk_use(mount.store)}")
        write(second, Content(2), SIZE // 2)
        write(second, Content(3), SIZE)  # over the content it has: truncated first
        check(_lib.disk_use(mount.store) <= BOUND, f"disk use: expected at most {BOUND}, saw {_lib.disk_use(mount.store)}")
        _lib.raises("the first one, which had to go", errno.ENOENT, os.stat, first)
        mount.remount()
        compare(second, Content(3), SIZE, "the second one after remount")
        # A file that is larger than the store: an error to its writer, and nothing is broken by it.
        step("larger than the store")
        content = Content(4)
        fd = os.open(mount.path("too big"), os.O_CREAT | os.O_WRONLY, 0o644)
        try:
            for index in range(BOUND // MIB + 64):
                os.write(fd, content.at(index))
            os.fsync(fd)
            _lib.fail("a file larger than the store: expected ENOSPC, saw success")
        except OSError as error:
            equal("errno of a file larger than the store", "ENOSPC", errno.errorcode[error.errno])
        try:
            os.close(fd)
        except OSError:
            pass  # the kernel may tell once more
        check(_lib.disk_use(mount.store) <= BOUND, f"disk use: expected at most {BOUND}, saw {_lib.disk_use(mount.store)}")
        os.unlink(mount.path("too big"))
        _lib.write_file(mount.path("after"), b"there is room again")
        equal("a file after that", b"there is room again", _lib.read_file(mount.path("after")))


free = shutil.disk_usage(_lib.WORK).free
if free < min(10 * GIB, 3 * BOUND):
    _lib.skip(f"needs {min(10 * GIB, 3 * BOUND) // GIB} GiB free in {_lib.WORK}, there are {free // GIB}")
_lib.main(test)
