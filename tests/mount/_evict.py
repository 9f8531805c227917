"""Shared by the eviction tests: files whose content tells where they belong, a model of the order of use, and a sampler
of the store's disk use."""

import collections
import itertools
import mmap
import os
import random
import signal
import struct
import time
import _lib
from _lib import KIB, MIB, check, fail

_pool = random.Random(12345).randbytes(2 * MIB)


def content(number, size):
    """Never the same for two files; any page in the wrong place, or missing, differs."""
    head = b"file %d of %d bytes\n" % (number, size)
    start = number * 4099 % MIB
    return (head + _pool[start:start + size])[:size]


def mixed_size(rng, low=4 * KIB, high=MIB):
    """Between low and high, every order of magnitude as often as the others."""
    return int(low * (high / low) ** rng.random())


class Sampler:
    """A process that looks at the store's disk use all the time."""

    def __init__(self, store, bound):
        self.store, self.bound = store, bound
        self.shared = mmap.mmap(-1, 4096)
        self.child = None

    def __enter__(self):
        self.child = _lib.spawn_function(self._look)
        return self

    def _look(self):
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        most, count, longest, slow, last = 0, 0, 0.0, 0, time.monotonic()
        while True:
            most = max(most, os.stat(self.store).st_blocks * 512)
            now = time.monotonic()
            gap, last = now - last, now
            count, longest, slow = count + 1, max(longest, gap), slow + (gap > 0.010)
            self.shared[:32] = struct.pack("<QQdQ", most, count, longest, slow)
            time.sleep(0.002)

    def seen(self):
        return struct.unpack("<QQdQ", self.shared[:32])

    def __exit__(self, kind, _value, _trace):
        self.child.kill(signal.SIGTERM)
        self.child.wait(10)
        most, count, longest, slow = self.seen()
        print(f"   disk use: at most {most / MIB:.1f} of {self.bound / MIB:.0f} MiB, in {count} samples, "
              f"{slow} of them over 10 ms after the one before (the longest: {longest * 1000:.0f} ms)")
        if kind is None:
            check(most <= self.bound, f"disk use of the store: expected never over {self.bound} bytes, saw {most}")
            check(count > 10 and slow < count / 5, f"expected to sample every 10 ms, saw {slow} longer gaps in {count}")


class Files:
    """What was put into a mount, in the order of last use."""

    def __init__(self, mount, rng, per_folder=50, prefix="d", size=mixed_size):
        self.mount, self.rng, self.per_folder, self.prefix, self.size_of = mount, rng, per_folder, prefix, size
        self.order = collections.OrderedDict()   # name -> (number, size); the last used one is the last one
        self.numbers = itertools.count()
        self.folders = []                        # in the order of their making

    def write(self, size=None):
        """A new file; returns its name."""
        number = next(self.numbers)
        folder = f"{self.prefix}{number // self.per_folder}"
        if number % self.per_folder == 0:
            os.mkdir(self.mount.path(folder))
            self.folders.append(folder)
        size = self.size_of(self.rng) if size is None else size
        name = f"{folder}/f{number}"
        try:
            _lib.write_file(self.mount.path(name), content(number, size))
        except FileNotFoundError:
            # The folder lost its files to larger ones, and aged out itself.
            os.mkdir(self.mount.path(folder))
            _lib.write_file(self.mount.path(name), content(number, size))
        self.order[name] = (number, size)
        return name

    def write_bytes(self, total):
        """New files of so many bytes all in all."""
        while total > 0:
            total -= self.order[self.write()][1]

    def use(self, name):
        self.order.move_to_end(name)

    def read(self, name):
        """Reads the whole file, which must be what was written."""
        number, size = self.order[name]
        seen = _lib.read_file(self.mount.path(name))
        self.use(name)
        if seen != content(number, size):
            at = next((n for n, (a, b) in enumerate(zip(seen, content(number, size))) if a != b), min(len(seen), size))
            fail(f"{name}: expected {size} bytes of its own content, saw {len(seen)} bytes; the first that differs is {at}: "
                 f"{seen[at:at + 40]}")

    def listed(self):
        """The names that are there, by listing (which is no use of a file)."""
        found = set()
        for folder in os.listdir(self.mount.dir):
            if folder.startswith(self.prefix):
                try:
                    found.update(f"{folder}/{name}" for name in os.listdir(self.mount.path(folder)))
                except FileNotFoundError:
                    pass  # an empty folder that went meanwhile
        return found

    def settled(self):
        """The listing once eviction ahead of need has come to rest: the same twice, 50 ms apart."""
        state = [None, time.monotonic()]

        def same():
            if time.monotonic() < state[1]:
                return None
            seen = self.listed()
            before, state[0], state[1] = state[0], seen, time.monotonic() + 0.05
            return seen if seen == before else None
        found = _lib.wait_for("eviction comes to rest", 20, lambda: (same() or None))
        return found

    def survivors_are_the_last_used(self, what):
        """Exactly the most recently used files are there. Returns them, the least recently used first."""
        found = self.settled()
        names = list(self.order)
        unknown = found - set(names)
        check(not unknown, f"{what}: expected only files that were written, saw {sorted(unknown)[:5]}")
        wanted = names[len(names) - len(found):]
        missing = [n for n in wanted if n not in found]
        old = [n for n in names[:len(names) - len(found)] if n in found]
        check(not missing, f"{what}: of {len(names)} files {len(found)} are there; expected the last used ones. Gone, although used "
                           f"later than others: {self.places(missing)}. There, although older: {self.places(old)}")
        size = sum(self.order[n][1] for n in wanted)
        print(f"   {what}: {len(found)} of {len(names)} files are there, {size / MIB:.1f} MiB")
        return wanted

    def places(self, names):
        index = {name: n for n, name in enumerate(self.order)}
        text = ", ".join(f"{name} (place {index[name]}, {self.order[name][1]} bytes)" for name in names[:4])
        return f"{len(names)}: {text}{' ...' if len(names) > 4 else ''}"

    def bytes_of(self, names):
        return sum(self.order[name][1] for name in names)

    def forget_the_gone(self, survivors):
        for name in set(self.order) - set(survivors):
            del self.order[name]


def df(mount):
    """(total, free, available) in bytes, as df shows them."""
    info = os.statvfs(mount.dir)
    return info.f_blocks * info.f_frsize, info.f_bfree * info.f_frsize, info.f_bavail * info.f_frsize


def check_df(mount, bound, what, used_at_least=0, used_at_most=None):
    total, free, available = df(mount)
    text = f"{what}: df shows total {total}, free {free}, available {available}, for a bound of {bound}"
    check(0.95 * bound <= total <= bound, f"{text}; expected a total of the bound")
    check(free <= total and available <= total, f"{text}; expected no more free or available than there is")
    check(available >= 0.8 * total, f"{text}; expected what eviction may free to be available")
    check(total - free >= used_at_least, f"{text}; expected at least {used_at_least} used")
    if used_at_most is not None:
        check(total - free <= used_at_most, f"{text}; expected at most {used_at_most} used")
