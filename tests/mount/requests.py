#!/usr/bin/env python3
# ctest: timeout=120
"""How many requests the kernel sends for what programs do, exactly, by kind: the table in docs/performance.md, and what
speed rests on. A capability that is no longer negotiated (zero-message open, cached listings, negative entries), a timeout
that is not given, or an operation that invalidates too much makes this fail.

Not counted: FORGET and RELEASE, for which nobody waits; but there is to be no RELEASE at all."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import json
import os
import _lib
from _lib import Mount, check, equal, step, KIB, MIB


class Requests:
    """`with Requests(mount, what, mknod=1, ...)`: exactly these are sent inside. `optional` ones may be sent or not."""

    def __init__(self, mount, what, optional=(), **expected):
        self.mount, self.what, self.expected, self.optional = mount, what, expected, optional

    def now(self):
        counts = json.loads(os.getxattr(self.mount.dir, "user.lrufs.stats"))["requests"]
        return {kind: count for kind, count in counts.items() if kind not in ("forget", "batch_forget") and count}

    def __enter__(self):
        self.before = self.now()

    def __exit__(self, kind, _value, _trace):
        if kind:
            return
        after = self.now()
        seen = {k: n - self.before.get(k, 0) for k, n in after.items() if n != self.before.get(k, 0)}
        seen["getxattr"] -= 2  # our own question: Python asks with a small buffer first
        seen = {k: n for k, n in seen.items() if n and k not in self.optional}
        equal(self.what, self.expected, seen)


def create(path, data=b"x" * 4096, flags=os.O_CREAT | os.O_WRONLY):
    fd = os.open(path, flags, 0o644)
    os.write(fd, data)
    os.close(fd)


def read(path):
    fd = os.open(path, os.O_RDONLY)
    data = os.read(fd, 64 * KIB)
    os.close(fd)
    return data


def learn(mount):
    """What the kernel asks once in the life of a mount: is there an OPEN, OPENDIR, FLUSH?"""
    create(mount.path("first"))
    read(mount.path("first"))
    os.listdir(mount.dir)
    os.unlink(mount.path("first"))
    os.stat(mount.dir)


def changes(mount, xattr):
    step("changes")
    folder = mount.path("d")
    os.mkdir(folder)
    os.stat(folder)
    d = lambda name: os.path.join(folder, name)  # noqa: E731
    with Requests(mount, "create, write 4 KiB, close", lookup=1, mknod=1, write=1, **xattr):
        create(d("a"))
    # After a change of a folder the kernel asks for its attributes (default_permissions), and so once more for each change.
    with Requests(mount, "create another", getattr=1, lookup=1, mknod=1, write=1, **xattr):
        create(d("b"))
    os.stat(folder)
    with Requests(mount, "stat of an absent name", lookup=1):
        check(not os.path.exists(d("absent")), "absent: expected no such file")
    with Requests(mount, "create under a name known to be absent", mknod=1, write=1, **xattr):
        create(d("absent"))
    os.stat(folder)
    check(not os.path.exists(d("also-absent")), "also-absent: expected no such file")
    with Requests(mount, "the same with O_EXCL, which always asks", lookup=1, mknod=1, write=1, **xattr):
        create(d("also-absent"), flags=os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.stat(folder)
    # The target of a rename is always looked up.
    with Requests(mount, "replace through a temporary name", lookup=2, mknod=1, write=1, getattr=1, rename=1, **xattr):
        create(d("tmp"))
        os.rename(d("tmp"), d("a"))
    os.stat(folder)
    with Requests(mount, "unlink", unlink=1):
        os.unlink(d("b"))
    os.stat(folder)
    with Requests(mount, "mkdir and rmdir", lookup=1, mkdir=1, getattr=1, rmdir=1):
        os.mkdir(d("sub"))
        os.rmdir(d("sub"))


def hot(mount):
    step("what is hot")
    path = mount.path("d/a")
    os.stat(mount.path("d"))
    os.stat(path)
    read(path)
    with Requests(mount, "a hundred times stat, open, read and close of a hot file"):
        for _ in range(100):
            os.stat(path)
            read(path)
    check(not os.path.exists(mount.path("d/none")), "none: expected no such file")
    with Requests(mount, "a name known to be absent, a hundred times"):
        for _ in range(100):
            check(not os.path.exists(mount.path("d/none")), "none: expected no such file")
    for _ in range(2):  # reading a folder makes the kernel ask once for its access time
        os.listdir(mount.path("d"))
    with Requests(mount, "listing a folder that was listed, with attributes"):
        for entry in os.scandir(mount.path("d")):
            entry.stat()


def cold(mount):
    step("what is cold")
    for number in range(50):
        create(mount.path(f"d/file{number}"))
    os.symlink("a", mount.path("d/link"))
    mount.remount()
    learn(mount)
    os.stat(mount.path("d"))
    with Requests(mount, "open, read and close of a cold file", lookup=1, read=1):
        read(mount.path("d/a"))
    with Requests(mount, "readlink of a cold link", lookup=1, readlink=1):
        os.readlink(mount.path("d/link"))
    with Requests(mount, "readlink of a hot link"):
        os.readlink(mount.path("d/link"))
    mount.remount()
    learn(mount)
    os.stat(mount.path("d"))
    # The second one finds the end.
    with Requests(mount, "listing a cold folder of 54, with attributes", readdirplus=2):
        equal("entries", 54, sum(1 for entry in os.scandir(mount.path("d")) if entry.stat(follow_symlinks=False)))


def sequential(mount, xattr):
    step("reading and writing in sequence")
    data = os.urandom(MIB)
    fd = os.open(mount.path("big"), os.O_CREAT | os.O_WRONLY)
    with Requests(mount, "16 MiB in pieces of 1 MiB", write=16, **xattr):
        for _ in range(16):
            os.write(fd, data)
    os.close(fd)
    mount.remount()
    learn(mount)
    os.stat(mount.path("big"))
    fd = os.open(mount.path("big"), os.O_RDONLY)
    before = json.loads(os.getxattr(mount.dir, "user.lrufs.stats"))["requests"]["read"]
    while os.read(fd, MIB):
        pass
    sent = json.loads(os.getxattr(mount.dir, "user.lrufs.stats"))["requests"]["read"] - before
    os.close(fd)
    # Read-ahead begins small and grows.
    check(16 <= sent <= 32, f"READs for 16 MiB: expected 16 to 32, saw {sent}")


def nothing_needless(mount):
    counts = json.loads(os.getxattr(mount.dir, "user.lrufs.stats"))["requests"]
    for kind in ("release", "releasedir", "create", "readdir", "access"):
        equal(f"{kind} requests", 0, counts.get(kind, 0))
    for kind in ("open", "opendir", "flush"):
        check(counts.get(kind, 0) <= 1, f"{kind}: expected to be asked once at most, saw {counts[kind]}")


def test():
    with Mount(options=["--recency", "1h"]) as mount:
        learn(mount)
        # security.capability, once for each file: the daemon clears set-id bits itself (HANDLE_KILLPRIV_V2).
        xattr = {"getxattr": 1}
        changes(mount, xattr)
        hot(mount)
        cold(mount)
        sequential(mount, xattr)
        nothing_needless(mount)


if _lib.PLAIN:
    _lib.skip("a plain directory sends no requests")
_lib.main(test)
