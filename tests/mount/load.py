#!/usr/bin/env python3
# ctest: timeout=900
"""64 processes at once on one mount that evicts all the while (20 s; with LRUFS_LONG=1 ten minutes; LRUFS_LOAD_SECONDS): every
kind of operation, in folders of their own and in shared ones. What is read is whole and is what was written under that name, or the name
is gone (evicted). Meanwhile the daemon is stopped and continued, and clients are killed in the middle of their requests and
replaced. A process that does not get on for a minute fails the test, with the stacks of all. At the end no request is
left in the kernel's queue, and the store is sound. On a plain folder (LRUFS_TEST_DIR) nothing is stopped."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import contextlib
import errno
import fcntl
import json
import mmap
import os
import random
import signal
import struct
import time
import zlib
import _lib
from _lib import MIB, Mount, check, equal, step

CLIENTS = 64
SECONDS = float(os.environ.get("LRUFS_LOAD_SECONDS", 600 if os.environ.get("LRUFS_LONG") == "1" else 20))
STALLED = 60
FOLDERS = 40            # shared ones
NAMES = 400             # in each
HEADER = struct.Struct("<QII")   # which name, length, checksum
GONE = (errno.ENOENT, errno.ENOTDIR)


def content(which, length, rng):
    body = rng.randbytes(min(length, 64)) * (length // 64 + 1)
    body = body[:length]
    return HEADER.pack(which, length, zlib.crc32(body)) + body


def check_content(path, data, which):
    """Whole, and under its own name."""
    check(len(data) >= HEADER.size, f"{path}: expected at least a header, saw {len(data)} bytes")
    name, length, crc = HEADER.unpack_from(data)
    equal(f"{path}: the name in it", which, name)
    equal(f"{path}: its length", HEADER.size + length, len(data))
    equal(f"{path}: its checksum", crc, zlib.crc32(data[HEADER.size:]))


def read_all(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(fd, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


class Client:
    def __init__(self, top, number, progress):
        self.top, self.number, self.progress = top, number, progress
        # The third and later generations of a client must not repeat the first one's.
        self.rng = random.Random((SEED, number, os.getpid()).__repr__())
        self.own = os.path.join(top, f"own{number}")
        self.count = 0

    def shared(self):
        folder, name = self.rng.randrange(FOLDERS), self.rng.randrange(NAMES)
        return os.path.join(self.top, f"shared{folder}", f"n{name}"), folder * NAMES + name

    def run(self):
        operations = [(getattr(self, name), weight) for name, weight in (
            ("replace", 12), ("look", 20), ("map", 3), ("append", 4), ("listing", 2), ("churn", 5), ("folders", 2), ("attributes", 3),
            ("synced", 1), ("links", 2), ("exclusive", 3), ("big", 1), ("locked", 2), ("removed", 2))]
        functions, weights = zip(*operations)
        os.makedirs(self.own, exist_ok=True)
        while True:
            operation = self.rng.choices(functions, weights)[0]
            try:
                operation()
            except OSError as error:
                # An evicted file is not there, and an evicted folder takes its name along.
                if error.errno not in GONE:
                    raise
                os.makedirs(self.own, exist_ok=True)
            self.count += 1
            self.progress[self.number * 8:self.number * 8 + 8] = struct.pack("<Q", self.count)

    def replace(self):
        path, which = self.shared()
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{path}.{self.number}.tmp"
        _lib.write_file(temporary, content(which, self.rng.choice((0, 50, 900, 4096, 20000, 150000)), self.rng))
        os.rename(temporary, path)

    def look(self):
        path, which = self.shared()
        data = read_all(path)
        check_content(path, data, which)
        equal("its size", True, os.stat(path).st_size >= HEADER.size)

    def map(self):
        path, which = self.shared()
        fd = os.open(path, os.O_RDONLY)
        try:
            with mmap.mmap(fd, os.fstat(fd).st_size, prot=mmap.PROT_READ) as seen:
                check_content(path, bytes(seen), which)
        finally:
            os.close(fd)

    def append(self):
        """All clients to one file: no line is torn."""
        path = os.path.join(self.top, "log")
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(fd, f"{self.number:04} {self.count:011}\n".encode())
            if os.fstat(fd).st_size > 200_000:
                os.unlink(path)
        finally:
            os.close(fd)
        lines = read_all(path).split(b"\n")
        check(all(len(line) == 16 for line in lines[:-1]) and lines[-1] == b"",
              f"a torn line in the log: {[line for line in lines[:-1] if len(line) != 16][:3]}")

    def listing(self):
        folder = os.path.join(self.top, f"shared{self.rng.randrange(FOLDERS)}")
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
        equal("names that are listed twice", len(set(names)), len(names))

    def churn(self):
        path = os.path.join(self.own, f"f{self.rng.randrange(50)}")
        data = content(self.number, self.rng.randrange(3000), self.rng)
        _lib.write_file(path, data)
        fd = os.open(path, os.O_RDWR)
        try:
            # Whatever happens to the name, the open file is what it was.
            equal(f"{path}, open", data, os.pread(fd, 1 << 20, 0))
            if self.rng.random() < 0.3:
                os.ftruncate(fd, HEADER.size)
                equal(f"{path}, cut", data[:HEADER.size], os.pread(fd, 1 << 20, 0))
        finally:
            os.close(fd)
        os.unlink(path)

    def folders(self):
        a, b = os.path.join(self.own, "a"), os.path.join(self.own, f"b{self.rng.randrange(3)}")
        with contextlib.suppress(FileExistsError):
            os.mkdir(a)
        _lib.write_file(os.path.join(a, "inside"), b"inside")
        with contextlib.suppress(OSError):
            os.rename(a, b)
        for path in (a, b):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(path, "inside"))
            with contextlib.suppress(OSError):
                os.rmdir(path)

    def attributes(self):
        path, _ = self.shared()
        os.setxattr(path, "user.by", str(self.number).encode())
        with contextlib.suppress(OSError):
            check(os.getxattr(path, "user.by").isdigit(), "a torn xattr")
        os.chmod(path, self.rng.choice((0o644, 0o600)))
        os.utime(path, ns=(1, self.rng.randrange(1 << 60)))

    def synced(self):
        path = os.path.join(self.own, "synced")
        fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
        try:
            os.write(fd, b"synced")
            os.fsync(fd)
        finally:
            os.close(fd)

    def links(self):
        path, which = self.shared()
        link = os.path.join(self.own, "link")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(link)
        os.link(path, link)
        check_content(link, read_all(link), which)

    def exclusive(self):
        """Of many that make a name, one does."""
        path = os.path.join(self.top, f"lock{self.rng.randrange(4)}")
        try:
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                if time.time() - os.stat(path).st_mtime > 5:
                    os.unlink(path)
            return
        os.write(fd, str(self.number).encode())
        os.close(fd)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def big(self):
        path = os.path.join(self.own, "big")
        data = content(self.number, self.rng.randrange(1, 3) * MIB, self.rng)
        _lib.write_file(path, data)
        check_content(path, read_all(path), self.number)
        os.unlink(path)

    def locked(self):
        path = os.path.join(self.top, "locked")
        fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX)
            before = os.pread(fd, 100, 0)
            check(len(set(before)) <= 1, f"what the lock protects is mixed: {before[:20]!r}")
            os.pwrite(fd, bytes([65 + self.number % 26]) * 100, 0)
        finally:
            os.close(fd)

    def removed(self):
        """An open file without a name."""
        path = os.path.join(self.own, "removed")
        data = content(self.number, 20000, self.rng)
        fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC)
        try:
            os.unlink(path)
            os.write(fd, data)
            check_content(path, os.pread(fd, 1 << 20, 0), self.number)
        finally:
            os.close(fd)


def stacks(pids):
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in sorted(os.listdir(f"/proc/{pid}/task")):
                with open(f"/proc/{pid}/task/{task}/stack", encoding="ascii") as stack, \
                        open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as comm:
                    print(f"--- {pid}/{task} {comm.read().strip()}\n{stack.read()}", end="")


def waiting(mount):
    """Requests in the kernel's queue for this mount; None where that cannot be seen."""
    device = os.stat(mount.dir).st_dev
    try:
        with open(f"/sys/fs/fuse/connections/{os.minor(device)}/waiting", encoding="ascii") as file:
            return int(file.read())
    except OSError:
        return None


def test():
    global SEED
    rng = _lib.seed()
    SEED = rng.random()
    with Mount(size="48M", options=["--recency", "1s"]) as mount:
        progress = mmap.mmap(-1, CLIENTS * 8)
        start = lambda n: _lib.spawn_function(lambda: Client(mount.dir, n, progress).run())  # noqa: E731
        clients = [start(n) for n in range(CLIENTS)]
        seen, since = [0] * CLIENTS, [time.monotonic()] * CLIENTS
        killed = stopped = 0
        end = time.monotonic() + SECONDS
        disturb = time.monotonic() + 1
        while time.monotonic() < end:
            time.sleep(0.05)     # the load is what takes time here, nothing is waited for
            now = time.monotonic()
            for n, client in enumerate(clients):
                check(client.poll() is None, f"client {n} ended with status {client.returncode}")
                done = struct.unpack_from("<Q", progress, n * 8)[0]
                if done != seen[n]:
                    seen[n], since[n] = done, now
                elif now - since[n] > STALLED:
                    stacks([*(c.pid for c in clients), *([] if _lib.PLAIN else [mount.server])])
                    check(False, f"client {n} does not get on for {STALLED} s (operation {done})")
            if now < disturb or _lib.PLAIN:
                continue
            disturb = now + rng.uniform(0.3, 2)
            if rng.random() < 0.3:
                os.kill(mount.server, signal.SIGSTOP)
                time.sleep(rng.uniform(0, 0.3))
                os.kill(mount.server, signal.SIGCONT)
                stopped += 1
            else:
                n = rng.randrange(CLIENTS)
                clients[n].kill()
                clients[n].wait(STALLED)
                clients[n] = start(n)
                since[n] = now
                killed += 1
        total = sum(struct.unpack_from("<Q", progress, n * 8)[0] for n in range(CLIENTS))
        for client in clients:
            client.kill()
        for client in clients:
            client.wait(STALLED)
        step(f"{SECONDS:.0f} s, at least {total} operations, {killed} clients killed, the daemon stopped {stopped} times")
        if not _lib.PLAIN:
            check(total > CLIENTS, f"expected some operations of each client, saw {total}")
            left = waiting(mount)
            if left is not None:
                _lib.wait_for("no request is left in the queue", 30, lambda: waiting(mount) == 0)
            facts = json.loads(_lib.run(30, _lib.LRUFS, "stat", "--json", mount.dir))["statistics"]
            step(f"{facts['evicted_objects']} objects were evicted")
            check(facts["evicted_objects"] > 0, "nothing was evicted: no load")


_lib.main(test)
