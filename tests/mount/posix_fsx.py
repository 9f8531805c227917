#!/usr/bin/env python3
# ctest: timeout=240
"""Random operations on files against a model in memory (as fsx does), by several processes at once, with remounts in
between. LRUFS_FSX_OPS is the number of operations of each file. On a plain directory: LRUFS_TEST_DIR=/some/dir.
Any byte that is lost, stale, or comes back after a truncation or a punch makes it fail; the operations that led there
are printed."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import errno
import mmap
import os
import random
import _lib
from _lib import Mount, check, equal, fallocate, step, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, KIB, MIB

OPERATIONS = int(os.environ.get("LRUFS_FSX_OPS", 1500))
PROCESSES = 4
ROUNDS = 3


class Fsx:
    """One file and what must be in it."""

    def __init__(self, path, seed, limit):
        self.path, self.limit = path, limit
        self.random = random.Random(seed)
        self.model = bytearray()
        self.fd = None
        self.log = []

    def data(self, length):
        """Bytes that tell when they were written."""
        mark = b"%d;" % len(self.log)
        return (mark * (length // len(mark) + 1))[:length]

    def put(self, offset, data):
        if not data:
            return
        if offset > len(self.model):
            self.model.extend(bytes(offset - len(self.model)))
        self.model[offset:offset + len(data)] = data

    def range(self, inside=False):
        r = self.random
        top = len(self.model) if inside else self.limit
        offset = r.randrange(top + 1)
        if r.random() < 0.3:
            offset &= ~4095
        length = min(r.choice((1, 10, 500, 4096, 5000, 20_000, self.limit)), top - offset)
        return offset, r.randint(0, length)

    def write(self):
        offset, length = self.range()
        data = self.data(length)
        self.log.append(f"write {offset} {length}")
        equal("bytes written", length, os.pwrite(self.fd, data, offset))
        self.put(offset, data)

    def append(self):
        length = min(self.random.choice((1, 100, 3000, 9000)), self.limit - len(self.model))
        data = self.data(length)
        self.log.append(f"append {length} at {len(self.model)}")
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.write(fd, data)
        os.close(fd)
        self.put(len(self.model), data)

    def read(self):
        offset, length = self.range()
        self.log.append(f"read {offset} {length}")
        seen = os.pread(self.fd, length, offset)
        self.compare(seen, offset, self.model[offset:offset + length])

    def truncate(self):
        size = self.random.choice((0, self.random.randrange(self.limit + 1), len(self.model) // 2, len(self.model) + 1))
        size = min(size, self.limit)
        self.log.append(f"truncate {len(self.model)} to {size}")
        if self.random.random() < 0.5:
            os.ftruncate(self.fd, size)
        else:
            os.truncate(self.path, size)
        if size > len(self.model):
            self.model.extend(bytes(size - len(self.model)))
        del self.model[size:]

    def punch(self):
        offset, length = self.range()
        if length:
            self.log.append(f"punch {offset} {length}")
            fallocate(self.fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length)
            end = min(offset + length, len(self.model))
            if end > offset:
                self.model[offset:end] = bytes(end - offset)

    def zero(self):
        offset, length = self.range()
        keep = self.random.random() < 0.5
        if length:
            self.log.append(f"zero {offset} {length} {'keep size' if keep else ''}")
            try:
                fallocate(self.fd, FALLOC_ZERO_RANGE | (FALLOC_KEEP_SIZE if keep else 0), offset, length)
            except OSError as error:
                check(_lib.PLAIN and error.errno == errno.EOPNOTSUPP, f"ZERO_RANGE: {error}")  # tmpfs
                return
            end = min(offset + length, len(self.model)) if keep else offset + length
            if end > offset:
                self.put(offset, bytes(end - offset))

    def allocate(self):
        offset, length = self.range()
        if length:
            self.log.append(f"allocate {offset} {length}")
            fallocate(self.fd, 0, offset, length)
            if offset + length > len(self.model):
                self.model.extend(bytes(offset + length - len(self.model)))

    def map_write(self):
        offset, length = self.range(inside=True)
        if length:
            self.log.append(f"map write {offset} {length}")
            data = self.data(length)
            view = mmap.mmap(self.fd, len(self.model))
            self.compare(view[offset:offset + length], offset, self.model[offset:offset + length])
            view[offset:offset + length] = data
            view.close()
            self.put(offset, data)

    def copy(self):
        offset, length = self.range(inside=True)
        to = self.random.randrange(self.limit + 1)
        length = min(length, self.limit - to, abs(to - offset))
        if length:
            self.log.append(f"copy_file_range {offset} {length} to {to}")
            data = self.model[offset:offset + length]
            done = 0
            while done < length:
                count = os.copy_file_range(self.fd, self.fd, length - done, offset + done, to + done)
                check(count > 0, "copy_file_range: expected some bytes, saw none")
                done += count
            self.put(to, bytes(data))

    def sync(self):
        self.log.append("fsync")
        os.fsync(self.fd)

    def reopen(self):
        self.log.append("close and open")
        os.close(self.fd)
        self.open()

    def replace(self):
        """A new file takes the name."""
        self.log.append("replace by rename")
        data = self.data(self.random.choice((0, 10, 1500, 30_000)) % (self.limit + 1))
        _lib.write_file(self.path + ".new", data)
        os.rename(self.path + ".new", self.path)
        self.model = bytearray(data)
        os.close(self.fd)
        self.open()

    def drop_cached_pages(self):
        self.log.append("fadvise dontneed")
        os.fsync(self.fd)
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def open(self):
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)

    def compare(self, seen, offset, wanted):
        if seen == wanted:
            return
        at = next((n for n, (a, b) in enumerate(zip(seen, wanted)) if a != b), min(len(seen), len(wanted)))
        _lib.fail(f"{self.path}: expected {len(wanted)} bytes from {offset}, saw {len(seen)}; the first that differs is at "
                  f"{offset + at}: expected {bytes(wanted[at:at + 20])}, saw {bytes(seen[at:at + 20])}")

    def whole(self):
        self.log.append("compare all")
        equal(f"{self.path}: size", len(self.model), os.stat(self.path).st_size)
        self.compare(_lib.read_file(self.path), 0, self.model)

    OPERATIONS = ([write] * 8 + [read] * 6 + [append] * 2 + [truncate] * 3 + [punch] * 2 + [zero] * 2 + [allocate] + [map_write] * 3
                  + [copy] * 2 + [sync] + [reopen] * 2 + [replace] + [drop_cached_pages])

    def run(self, count):
        self.open()
        try:
            self.whole()
            for n in range(count):
                self.random.choice(self.OPERATIONS)(self)
                if n % 50 == 0:
                    self.whole()
            self.whole()
        except BaseException:
            print(f"the last operations on {self.path}:\n  " + "\n  ".join(self.log[-40:]))
            raise
        os.close(self.fd)
        self.fd = None


def model_path(path):
    return os.path.join(_lib.WORK, os.path.basename(path) + ".model")


def play(folder, number, base, finished_rounds):
    """One process: its files one after the other, from where the round before left them."""
    for limit in (1500, 10_000, 100 * KIB, MIB):
        name = f"p{number}-{limit}"
        file = Fsx(os.path.join(folder, name), f"{base} {name} {finished_rounds}", limit)
        if finished_rounds:
            file.model = bytearray(_lib.read_file(model_path(name)))
        file.run(OPERATIONS if limit < MIB else OPERATIONS // 8)
        _lib.write_file(model_path(name), file.model)


def test():
    base = _lib.seed().randrange(1 << 32)
    with Mount(size="1G") as mount:
        folder = mount.path("fsx")
        os.mkdir(folder)
        for number in range(ROUNDS):
            children = [_lib.spawn_function(play, folder, n, base, number) for n in range(PROCESSES)]
            for child in children:
                equal("exit status", 0, child.wait(200))
            step(f"round {number + 1} of {ROUNDS}")
            mount.remount()
        names = sorted(os.listdir(folder))
        equal("files at the end", PROCESSES * 4, len(names))
        for name in names:
            check(_lib.read_file(os.path.join(folder, name)) == _lib.read_file(model_path(name)), f"{name}: wrong at the end")


_lib.main(test)
