"""Request traces against a mount with --max-files and --recency 0, beside a textbook LRU: an ordered dict. A request: is
the name there (a use)? If not, make it."""

import bisect
import collections
import json
import os
import _lib
from _lib import Mount, LRUFS, check, equal, step

LIMIT = 300


class TextbookLru:
    def __init__(self, limit):
        self.limit, self.order = limit, collections.OrderedDict()   # the last used one is the last one

    def use(self, key):
        """True: a hit."""
        if key in self.order:
            self.order.move_to_end(key)
            return True
        if len(self.order) == self.limit:
            self.order.popitem(last=False)
        self.order[key] = None
        return False


def uniform(rng, length):
    return [rng.randrange(2 * LIMIT) for _ in range(length)]


def zipf(rng, length):
    sums, total = [], 0.0
    for i in range(1, 20 * LIMIT + 1):
        total += i ** -0.99
        sums.append(total)
    return [bisect.bisect_left(sums, rng.random() * total) for _ in range(length)]


def loops(_rng, length):
    return [i % (LIMIT + 1) if i < length // 2 else i % (LIMIT - 1) for i in range(length)]


def scans(rng, length):
    return [1_000_000 + i if i % 900 < 450 else rng.randrange(LIMIT * 9 // 10) for i in range(length)]


def mixed(rng, length):
    kinds = [make(rng, length) for make in (uniform, zipf, loops, scans)]
    return [kinds[i // 200 % 4][i] for i in range(length)]


KINDS = {"uniform": uniform, "Zipf 0.99": zipf, "loops": loops, "scans": scans, "mixed": mixed}


def statistics(mount):
    return json.loads(_lib.run(20, LRUFS, "stat", "--json", mount.dir))["statistics"]


def request(mount, key):
    """True: a hit."""
    path = mount.path(f"k{key}")
    try:
        os.stat(path)
        return True
    except FileNotFoundError:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        return False


def replay(name, trace):
    """Hit for hit, with a remount after a third; SIGKILL after two thirds loses the uses in memory and nothing else."""
    options = ["--max-files", str(LIMIT), "--recency", "0"]
    with Mount(name=name.split()[0], size="64M", options=options) as mount:
        model = TextbookLru(LIMIT)
        misses, lost, more = 0, 0, 0
        for at, key in enumerate(trace):
            if at == len(trace) // 3:
                mount.remount()
            if at == len(trace) * 2 // 3:
                lost = statistics(mount)["pending_touches"]
                mount.kill()
                mount.mount()
                equal(f"{name}: files after SIGKILL", {f"k{each}" for each in model.order}, set(os.listdir(mount.dir)))
            hit, expected = request(mount, key), model.use(key)
            misses += not hit
            if at < len(trace) * 2 // 3:
                equal(f"{name}: request {at} of {len(trace)}, k{key}, is a hit", expected, hit)
            else:
                more += expected and not hit
        check(more <= lost, f"{name}: SIGKILL lost uses of {lost} files, so at most so many misses more, saw {more}")
        equal(f"{name}: number of files", LIMIT, len(os.listdir(mount.dir)))
        print(f"   {name}: {misses} misses in {len(trace)} requests; SIGKILL lost the uses of {lost} files: {more} misses more")


def replay_all(length):
    rng = _lib.seed()
    for name, make in KINDS.items():
        step(name)
        replay(name, make(rng, length))
