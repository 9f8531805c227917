#!/usr/bin/env python3
# ctest: timeout=300
"""Several processes at once do random things in one small tree, so that they run into each other: create, write, truncate,
rename, exchange, link, unlink, mkdir, rmdir, list, xattrs, maps, O_TMPFILE. Every file holds one pattern that its inode number
tells, at whatever length. At the end: link counts are what the tree shows, folders count their folders, sizes are what can be
read and every byte is right or a hole's zero, the same after a remount, `lrufs check` finds nothing, and when all is removed the
room is free again. Errors are expected, but only those that such races can give.
LRUFS_STRESS_OPS is the number of calls of each process (default 3,000; 40,000 with LRUFS_LONG=1); LRUFS_TEST_SEED. On a plain
directory: LRUFS_TEST_DIR."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import collections
import errno
import mmap
import os
import random
import shutil
import stat
import _lib
import _posix
from _lib import Mount, check, equal, fallocate, renameat2, step, wait_for
from _posix import J

OPERATIONS = int(os.environ.get("LRUFS_STRESS_OPS", 40_000 if os.environ.get("LRUFS_LONG") == "1" else 3000))
PROCESSES = 5
NAMES = "abcdefgh"
EXPECTED = {errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EINVAL, errno.ELOOP, errno.EPERM, errno.ENODATA,
            errno.EOPNOTSUPP, errno.ESTALE}


def pattern(ino, offset, length):
    """What a file with this inode number has at this place; never zero."""
    mark = b"%d." % ino
    start = offset % len(mark)
    return (mark * (length // len(mark) + 2))[start:start + length]


class Worker:
    def __init__(self, top, seed):
        self.top, self.random = top, random.Random(seed)
        self.done = collections.Counter()

    def path(self):
        return J(self.top, *(self.random.choice(NAMES) for _ in range(self.random.choice((1, 2, 2, 3)))))

    def with_file(self, use, flags=os.O_RDWR):
        fd = os.open(self.path(), flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                use(fd)
        finally:
            os.close(fd)

    def put(self, fd):
        offset, length = self.random.choice((0, self.random.randrange(200_000))), self.random.choice((1, 100, 4096, 30_000))
        os.pwrite(fd, pattern(os.fstat(fd).st_ino, offset, length), offset)

    def create(self):
        self.with_file(self.put, os.O_RDWR | os.O_CREAT)

    def write(self):
        self.with_file(self.put)

    def read(self):
        def look(fd):
            offset = self.random.randrange(100_000)
            verify(os.fstat(fd).st_ino, offset, os.pread(fd, 50_000, offset))
        self.with_file(look, os.O_RDONLY)

    def write_by_map(self):
        def use(fd):
            size = os.fstat(fd).st_size
            if size < 4096:
                return
            # A page that another one cuts off meanwhile would be SIGBUS: keep to the first byte, which they leave.
            with mmap.mmap(fd, 1) as view:
                view[0:1] = pattern(os.fstat(fd).st_ino, 0, 1)
                view.flush()  # or the kernel writes it later, which moves mtime
        self.with_file(use)

    def truncate(self):
        self.with_file(lambda fd: os.ftruncate(fd, 1 + self.random.randrange(150_000)))

    def punch(self):
        self.with_file(lambda fd: fallocate(fd, 3, self.random.randrange(100_000), 1 + self.random.randrange(50_000)))

    def fsync(self):
        self.with_file(os.fsync)

    def unlinked(self):
        """A file goes on without its name."""
        path = self.path()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self.put(fd)
        os.unlink(path)
        ino = os.fstat(fd).st_ino
        verify(ino, 0, os.pread(fd, 300_000, 0))
        os.close(fd)

    def tmpfile(self):
        fd = os.open(self.top, os.O_TMPFILE | os.O_RDWR)
        try:
            self.put(fd)
            _posix.link(f"/proc/self/fd/{fd}", self.path(), _posix.AT_SYMLINK_FOLLOW)
        finally:
            os.close(fd)

    def mkdir(self):
        os.mkdir(self.path())

    def rmdir(self):
        os.rmdir(self.path())

    def unlink(self):
        os.unlink(self.path())

    def link(self):
        os.link(self.path(), self.path(), follow_symlinks=False)

    def symlink(self):
        os.symlink("target", self.path())

    def rename(self):
        renameat2(self.path(), self.path(), self.random.choice((0, 0, 0, 1, 2)))

    def listing(self):
        names = os.listdir(self.path())
        equal("each name once", len(names), len(set(names)))

    def xattr(self):
        os.setxattr(self.path(), "user.x", self.random.randbytes(self.random.choice((10, 3000))), follow_symlinks=False)

    def chmod(self):
        os.chmod(self.path(), 0o700 + self.random.randrange(64))

    KINDS = [create] * 5 + [write] * 3 + [read] * 3 + [write_by_map, truncate, truncate, punch, fsync, unlinked, tmpfile, mkdir, mkdir, mkdir, rmdir, unlink,
                                                       unlink, link, link, symlink, rename, rename, rename, listing, listing, xattr, chmod]

    def run(self, count):
        for _ in range(count):
            kind = self.random.choice(self.KINDS)
            try:
                kind(self)
                self.done[kind.__name__] += 1
            except OSError as error:
                check(error.errno in EXPECTED, f"{kind.__name__}: an error that no race explains: {error}")
        check(len(self.done) > len(set(self.KINDS)) // 2, f"expected most kinds of calls to succeed sometimes, saw {dict(self.done)}")


def verify(ino, offset, data):
    wanted = pattern(ino, offset, len(data))
    for at in range(0, len(data), 512):
        seen, right = data[at:at + 512], wanted[at:at + 512]
        if seen not in (right, bytes(len(seen))):      # or a hole begins or ends in it
            wrong = next((n for n, (a, b) in enumerate(zip(seen, right)) if a not in (b, 0)), None)
            check(wrong is None, f"inode {ino}: from {offset + at} expected {_lib.brief(right)} or a hole, saw {_lib.brief(seen)}")


def look_through(top):
    """Checks the tree against itself; returns what it is."""
    names, found = collections.Counter(), {}
    for path in _posix.walk(top):
        info = os.lstat(J(top, path))
        kind = stat.S_IFMT(info.st_mode)
        names[info.st_ino] += 1
        found[path] = (info.st_ino, kind, info.st_size, info.st_mtime_ns, info.st_mode)
        if kind == stat.S_IFREG:
            data = _lib.read_file(J(top, path))
            equal(f"{path}: bytes that can be read", info.st_size, len(data))
            verify(info.st_ino, 0, data)
        elif kind == stat.S_IFDIR:
            folders = sum(entry.is_dir(follow_symlinks=False) for entry in os.scandir(J(top, path)))
            equal(f"{path}: links of a folder", 2 + folders, info.st_nlink)
    for path in found:
        info = os.lstat(J(top, path))
        if not stat.S_ISDIR(info.st_mode):
            equal(f"{path}: links", names[info.st_ino], info.st_nlink)
    return found


def test():
    base = _lib.seed().randrange(1 << 32)
    with Mount(size="512M") as mount:
        top = mount.path("tree")
        os.mkdir(top)
        before = os.statvfs(mount.dir)
        workers = [_lib.spawn_function(Worker(top, f"{base} {n}").run, OPERATIONS) for n in range(PROCESSES)]
        for worker in workers:
            equal("exit status", 0, worker.wait(250))
        step(f"{PROCESSES} processes, {OPERATIONS} calls each")
        found = look_through(top)
        check(len(found) > 20, f"expected some files, saw {len(found)}")
        mount.remount()
        equal("the tree after a remount", found, look_through(top))
        mount.umount()
        mount.verify()
        mount.mount()
        shutil.rmtree(top)
        if not _lib.PLAIN:
            os.sync()
            # What the kernel forgets, and what a checkpoint frees, comes back a little later.
            wait_for("all of the room is free again", 30, lambda: os.statvfs(mount.dir).f_files - os.statvfs(mount.dir).f_ffree <=
                     before.f_files - before.f_ffree)
        step(f"{len(found)} names at the end")


_lib.main(test)
