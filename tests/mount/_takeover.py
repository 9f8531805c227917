"""Helpers of the takeover tests: a client that verifies the result of each of its system calls, and the killer."""
import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import random
import signal
import struct
import time
import _lib
from _lib import KIB, check, equal

_lib.workers_may_die = True

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, RENAME_NOREPLACE, RENAME_EXCHANGE = -100, 1, 2
ALONE = 0.28  # seconds without another kill
SLOW = 0.001  # calls that take longer are noted, for the distribution of stalls


def worker_of(supervisor):
    """The process id of the worker, or None."""
    return _lib.child_named(supervisor, "lrufs-worker")


def worker_is(supervisor, other_than=None):
    def look():
        worker = worker_of(supervisor)
        return worker if worker != other_than else None
    return _lib.wait_for("a worker runs", 30, look)


def kill_worker(supervisor, number=signal.SIGKILL):
    """Returns (when, which)."""
    worker = worker_is(supervisor)
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, number)
    return time.monotonic(), worker


def content(tag, size):
    return random.Random(str(tag)).randbytes(size)


def renameat2(old, new, flags):
    if LIBC.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), old)


def link_open_file(fd, path):
    follow = 0x400  # AT_SYMLINK_FOLLOW
    if LIBC.linkat(AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, os.fsencode(path), follow) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


class Client:
    """Works in a folder of its own, knows what must be there, and checks each answer against that. Any error that it
    does not expect, any wrong answer, is a Failure."""

    def __init__(self, top, seed, log):
        self.top, self.rng = top, random.Random(seed)
        self.log = open(log, "w", encoding="ascii", buffering=1)
        self.files = {}   # name -> bytearray
        self.names = {}   # name -> xattr user.v, or None
        self.links = {}
        self.count = 0
        self.calls = 0
        os.mkdir(top)
        self.listed = os.path.join(top, "listed")
        self.call(os.mkdir, self.listed)
        for n in range(300):
            self.call(self.create, os.path.join(self.listed, f"entry-{n:04}"), b"")
        self.stream = None
        self.lock_path = os.path.join(top, "lock")
        self.lock_fd = self.call(os.open, self.lock_path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        self.call(fcntl.flock, self.lock_fd, fcntl.LOCK_EX)
        self.call(fcntl.fcntl, self.lock_fd, fcntl.F_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 10, 0))
        self.open_unlinked = []

    def path(self, name):
        return os.path.join(self.top, name)

    def call(self, function, *args, **kwargs):
        self.calls += 1
        start = time.monotonic()
        try:
            return function(*args, **kwargs)
        finally:
            end = time.monotonic()
            if end - start > SLOW:
                self.log.write(f"{start:.6f} {end:.6f} {getattr(function, '__name__', '?')}\n")

    def fails(self, code, function, *args):
        try:
            self.call(function, *args)
        except OSError as error:
            equal(f"errno of {function.__name__}{args}", errno.errorcode[code], errno.errorcode.get(error.errno))
            return
        _lib.fail(f"{function.__name__}{args}: expected {errno.errorcode[code]}, saw success")

    def create(self, path, data):
        fd = self.call(os.open, path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        try:
            if data:
                equal(f"bytes written to {path}", len(data), self.call(os.write, fd, data))
        finally:
            self.call(os.close, fd)

    def new_name(self):
        self.count += 1
        return f"f{self.count}"

    def any(self):
        return self.rng.choice(sorted(self.files)) if self.files else None

    # --- operations; each leaves the model as the file system must be

    def op_create(self):
        name = self.new_name()
        data = content((self.top, name), self.rng.choice((0, 10, 900, 5000, 30000, 200 * KIB)))
        self.create(self.path(name), data)
        self.files[name], self.names[name] = bytearray(data), None
        self.fails(errno.EEXIST, os.open, self.path(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)

    def op_append(self):
        name = self.any()
        if not name:
            return
        data = content((self.top, self.count, len(self.files[name])), self.rng.choice((1, 100, 3000)))
        fd = self.call(os.open, self.path(name), os.O_WRONLY | os.O_APPEND)
        try:
            for _ in range(3):
                equal("bytes appended", len(data), self.call(os.write, fd, data))
                self.files[name] += data
            equal("size after appending", len(self.files[name]), self.call(os.fstat, fd).st_size)
        finally:
            self.call(os.close, fd)

    def op_write(self):
        name = self.any()
        if not name or not self.files[name]:
            return
        at = self.rng.randrange(len(self.files[name]))
        data = content((self.count, at), self.rng.randrange(1, 9000))
        fd = self.call(os.open, self.path(name), os.O_RDWR)
        try:
            equal("bytes written", len(data), self.call(os.pwrite, fd, data, at))
            self.files[name][at:at + len(data)] = data
        finally:
            self.call(os.close, fd)

    def op_mmap(self):
        name = self.any()
        if not name or not self.files[name]:
            return
        data = content((self.count, "mmap"), min(len(self.files[name]), 6000))
        fd = self.call(os.open, self.path(name), os.O_RDWR)
        try:
            with mmap.mmap(fd, len(self.files[name])) as view:
                equal("a mapping", bytes(self.files[name]), bytes(view))
                view[:len(data)] = data
                if self.rng.random() < 0.5:
                    self.call(view.flush)
            self.files[name][:len(data)] = data
        finally:
            self.call(os.close, fd)

    def op_read(self):
        name = self.any()
        if not name:
            return
        fd = self.call(os.open, self.path(name), os.O_RDONLY)
        try:
            if self.rng.random() < 0.5:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            seen = bytearray()
            while piece := self.call(os.read, fd, 1 << 20):
                seen += piece
        finally:
            self.call(os.close, fd)
        equal(f"content of {name}", bytes(self.files[name]), bytes(seen))

    def op_rename(self):
        name = self.any()
        if not name:
            return
        new = self.new_name()
        kind = self.rng.randrange(4)
        if kind == 0 and len(self.files) > 1:
            new = self.any()
            if new == name or new in self.links or name in self.links:
                return
            self.call(renameat2, self.path(name), self.path(new), RENAME_EXCHANGE)
            self.files[name], self.files[new] = self.files[new], self.files[name]
            self.names[name], self.names[new] = self.names[new], self.names[name]
            return
        if name in self.links:
            return
        if kind == 1:
            self.call(renameat2, self.path(name), self.path(new), RENAME_NOREPLACE)
        else:
            self.call(os.rename, self.path(name), self.path(new))
        self.fails(errno.ENOENT, os.rename, self.path(name), self.path(new))
        self.files[new], self.names[new] = self.files.pop(name), self.names.pop(name)

    def op_replace(self):
        name = self.any()
        if not name or name in self.links:
            return
        data = content((self.top, self.count, "replaced"), self.rng.randrange(5000))
        self.create(self.path("temporary"), data)
        self.call(os.rename, self.path("temporary"), self.path(name))
        self.files[name], self.names[name] = bytearray(data), None

    def op_link(self):
        name = self.any()
        if not name or name in self.links:
            return
        new = self.new_name()
        before = self.call(os.stat, self.path(name)).st_nlink
        self.call(os.link, self.path(name), self.path(new))
        equal("links", before + 1, self.call(os.stat, self.path(new)).st_nlink)
        self.fails(errno.EEXIST, os.link, self.path(name), self.path(new))
        self.call(os.unlink, self.path(new))
        equal("links", before, self.call(os.stat, self.path(name)).st_nlink)

    def op_unlink(self):
        name = self.any()
        if not name:
            return
        self.call(os.unlink, self.path(name))
        self.fails(errno.ENOENT, os.unlink, self.path(name))
        del self.files[name], self.names[name]

    def op_open_unlinked(self):
        """A file without a name, used over several rounds."""
        if len(self.open_unlinked) < 4:
            name = self.new_name()
            data = bytearray(content((name, "unlinked"), self.rng.randrange(1, 20000)))
            fd = self.call(os.open, self.path(name), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            equal("bytes written", len(data), self.call(os.write, fd, data))
            self.call(os.unlink, self.path(name))
            self.open_unlinked.append((fd, data))
            return
        fd, data = self.open_unlinked[self.rng.randrange(4)]
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        equal("content of an open file without a name", bytes(data), self.call(os.pread, fd, len(data) + 1, 0))
        equal("its links", 0, self.call(os.fstat, fd).st_nlink)
        more = content((self.count, "more"), 100)
        equal("bytes written", 100, self.call(os.pwrite, fd, more, len(data)))
        data += more
        if self.rng.random() < 0.1:
            self.open_unlinked.remove((fd, data))
            self.call(os.close, fd)

    def op_tmpfile(self):
        name = self.new_name()
        data = content((name, "tmpfile"), 2000)
        fd = self.call(os.open, self.top, os.O_TMPFILE | os.O_RDWR, 0o600)
        try:
            equal("bytes written", len(data), self.call(os.write, fd, data))
            self.call(link_open_file, fd, self.path(name))
        finally:
            self.call(os.close, fd)
        self.files[name], self.names[name] = bytearray(data), None

    def op_mkdir(self):
        path = self.path("d" + self.new_name())
        self.call(os.mkdir, path)
        self.fails(errno.EEXIST, os.mkdir, path)
        self.create(os.path.join(path, "inside"), b"x")
        self.fails(errno.ENOTEMPTY, os.rmdir, path)
        self.call(os.unlink, os.path.join(path, "inside"))
        self.call(os.rmdir, path)
        self.fails(errno.ENOENT, os.rmdir, path)

    def op_symlink(self):
        path = self.path("s" + self.new_name())
        self.call(os.symlink, "target/" + str(self.count), path)
        self.fails(errno.EEXIST, os.symlink, "other", path)
        equal("a symlink's target", "target/" + str(self.count), self.call(os.readlink, path))
        self.call(os.unlink, path)

    def op_mkfifo(self):
        path = self.path("p" + self.new_name())
        self.call(os.mkfifo, path)
        self.fails(errno.EEXIST, os.mkfifo, path)
        self.call(os.unlink, path)

    def op_xattr(self):
        name = self.any()
        if not name:
            return
        path, value = self.path(name), str(self.count).encode() * self.rng.choice((1, 300))
        if self.names[name] is None:
            self.fails(errno.ENODATA, os.getxattr, path, "user.v")
            self.call(os.setxattr, path, "user.v", value, os.XATTR_CREATE)
            self.fails(errno.EEXIST, os.setxattr, path, "user.v", value, os.XATTR_CREATE)
            self.names[name] = value
        elif self.rng.random() < 0.5:
            self.call(os.removexattr, path, "user.v")
            self.fails(errno.ENODATA, os.removexattr, path, "user.v")
            self.names[name] = None
        else:
            self.call(os.setxattr, path, "user.v", value, os.XATTR_REPLACE)
            self.names[name] = value
        if self.names[name] is not None:
            equal("an xattr", self.names[name], self.call(os.getxattr, path, "user.v"))

    def op_attributes(self):
        name = self.any()
        if not name:
            return
        mode = self.rng.choice((0o600, 0o644, 0o751))
        self.call(os.chmod, self.path(name), mode)
        self.call(os.utime, self.path(name), (1000 + self.count, 2000 + self.count))
        seen = self.call(os.stat, self.path(name))
        equal("mode and times", (mode, 1000 + self.count, 2000 + self.count),
              (seen.st_mode & 0o7777, seen.st_atime, seen.st_mtime))

    def op_truncate(self):
        name = self.any()
        if not name:
            return
        size = self.rng.randrange(len(self.files[name]) + 5000)
        self.call(os.truncate, self.path(name), size)
        data = self.files[name]
        self.files[name] = data[:size] + bytes(size - len(data[:size]))
        equal("size", size, self.call(os.stat, self.path(name)).st_size)

    def op_copy(self):
        name = self.any()
        if not name or not self.files[name]:
            return
        new = self.new_name()
        size = len(self.files[name])
        source = self.call(os.open, self.path(name), os.O_RDONLY)
        target = self.call(os.open, self.path(new), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        try:
            done = 0
            while done < size:
                copied = self.call(os.copy_file_range, source, target, size - done)
                check(copied > 0, "copy_file_range: expected to get on, saw 0")
                done += copied
            equal("bytes copied", size, done)
        finally:
            self.call(os.close, source)
            self.call(os.close, target)
        self.files[new], self.names[new] = bytearray(self.files[name]), None

    def op_list(self):
        """A directory stream that goes on over many rounds, while names come and go beside those that stay."""
        if self.stream is None:
            extra = os.path.join(self.listed, f"extra-{self.count}")
            self.create(extra, b"")
            self.stream = (self.call(os.scandir, self.listed), set(), extra)
            return
        entries, seen, extra = self.stream
        for _ in range(60):
            entry = self.call(next, entries, None)
            if entry is None:
                missing = {f"entry-{n:04}" for n in range(300)} - seen
                check(not missing, f"a listing: {len(missing)} names are missing, such as {sorted(missing)[:3]}")
                self.call(os.unlink, extra)
                self.stream = None
                return
            check(entry.name not in seen, f"a listing has {entry.name} twice")
            seen.add(entry.name)

    def op_lock(self):
        """Both locks are still ours."""
        other = self.call(os.open, self.lock_path, os.O_RDWR)
        try:
            self.fails(errno.EAGAIN, fcntl.flock, other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            # Closing a descriptor of the file gives up fcntl's locks of the process: taken again.
            self.call(os.close, other)
            self.call(fcntl.fcntl, self.lock_fd, fcntl.F_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 10, 0))

    def op_fsync(self):
        name = self.any()
        if not name:
            return
        fd = self.call(os.open, self.path(name), os.O_RDWR)
        try:
            self.call(os.fsync, fd)
        finally:
            self.call(os.close, fd)

    def op_statfs(self):
        check(self.call(os.statvfs, self.top).f_bsize == 4096, "statvfs: expected blocks of 4096 bytes")

    def step(self):
        ops = [getattr(self, name) for name in dir(self) if name.startswith("op_") and name != "op_fsync"]
        operation = self.rng.choice(ops)
        if self.rng.random() < 0.004:
            operation = self.op_fsync
        if len(self.files) > 60:
            operation = self.op_unlink
        operation()

    def verify_all(self):
        expected = set(self.files) | {"listed", "lock"}
        equal(f"names in {self.top}", sorted(expected), sorted(self.call(os.listdir, self.top)))
        for name, data in self.files.items():
            equal(f"content of {name}", bytes(data), _lib.read_file(self.path(name)))
            value = os.getxattr(self.path(name), "user.v") if self.names[name] is not None else None
            equal(f"xattr of {name}", self.names[name], value)


def run_client(top, seed, log, stop):
    """In a child process: works until the file `stop` exists, then verifies everything once more."""
    client = Client(top, seed, log)
    while not os.path.exists(stop):
        try:
            client.step()
        except (OSError, _lib.Failure) as error:
            raise _lib.Failure(f"{os.path.basename(top)}, call {client.calls}: {error}") from error
    client.verify_all()
    print(f"   {os.path.basename(top)}: {client.calls} calls, all as expected")


def stalls(logs, kills):
    """For each kill of a worker that had taken over, the longest that a call took from it on, in seconds."""
    slow = []
    for log in logs:
        with contextlib.suppress(OSError):
            with open(log, encoding="ascii") as file:
                slow += [tuple(map(float, line.split()[:2])) for line in file if len(line.split()) == 3]
    alone = [when for before, when, after in zip([0.0] + kills, kills, kills[1:] + [float("inf")])
             if when - before > ALONE and after - when > ALONE]
    return sorted(max((end - when for start, end in slow if start <= when < end), default=0.0) for when in alone)


def tell_stalls(found):
    if found:
        def at(part):
            return 1000 * found[min(len(found) - 1, int(part * len(found)))]
        print(f"   stall of the calls that were running at a kill: median {at(0.5):.1f} ms, 90 % {at(0.9):.1f}, 99 % {at(0.99):.1f}, "
              f"longest {1000 * found[-1]:.1f} (of {len(found)} kills with none other near)")


def statistics(mount):
    """As `lrufs stat --json` has them."""
    return json.loads(os.getxattr(mount.dir, "user.lrufs.stats"))
