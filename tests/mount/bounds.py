#!/usr/bin/env python3
# ctest: timeout=300
"""--size, --max-files, --high, --low and --max-file-size on a mount. While 8 processes write, the store's blocks (sampled
from outside) and the number of files (by `lrufs stat`) stay within their bounds; above the high mark eviction
begins in the background, and it ends at the low one; files larger than --max-file-size are refused with EFBIG."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import errno
import json
import os
import _lib
from _evict import Sampler
from _lib import Mount, LRUFS, check, equal, raises, run, step, wait_for, KIB, MIB

WRITERS = 8
MOST_FILES = 500
FILES_EACH = 400


def statistics(mount):
    return json.loads(run(20, LRUFS, "stat", "--json", mount.dir))["statistics"]


def eight_writers(rng):
    step("8 writers, --size 64M and --max-files")
    bound = 64 * MIB
    with Mount(name="writers", size="64M", options=["--max-files", str(MOST_FILES)]) as mount:
        for writer in range(WRITERS):
            os.mkdir(mount.path(f"w{writer}"))
        seeds = [rng.randrange(1 << 30) for _ in range(WRITERS)]

        def write(writer):
            data = os.urandom(MIB)
            for number in range(FILES_EACH):
                size = (seeds[writer] + number * 7919) % 200_000
                folder = mount.path(f"w{writer}")
                try:
                    _lib.write_file(f"{folder}/f{number}", data[:size])
                except FileNotFoundError:   # the folder was empty for long, and went
                    os.makedirs(folder, exist_ok=True)
        with Sampler(mount.store, bound):
            children = [_lib.spawn_function(write, writer) for writer in range(WRITERS)]
            most, samples = 0, 0
            while any(child.poll() is None for child in children):
                info = os.statvfs(mount.dir)
                seen = statistics(mount)
                # Evicted files that the kernel still knows live on without a name.
                most = max(most, seen["files"] - seen["orphans"])
                check(info.f_blocks * info.f_frsize <= bound, "df shows more than the bound")
                check(seen["used_bytes"] <= seen["capacity_bytes"] <= bound, f"more is used than the bound: {seen}")
                samples += 1
            for child in children:
                equal("exit status of a writer", 0, child.wait(60))
        check(most <= MOST_FILES, f"expected at most {MOST_FILES} files at any moment, saw {most}")
        check(samples > 5, f"expected to look while they write, did {samples} times")
        print(f"   at most {most} files, in {samples} samples")


def watermarks():
    step("--high 60 --low 40")
    with Mount(name="marks", size="32M", options=["--sync", "200ms", "-o", "high=60", "--low", "40"]) as mount:
        before = statistics(mount)
        capacity = before["capacity_bytes"]
        check(0.58 < before["evict_above_bytes"] / capacity < 0.62, f"expected to evict above 60 %, saw {before}")
        check(0.38 < before["evict_until_bytes"] / capacity < 0.42, f"expected to evict down to 40 %, saw {before}")
        data = os.urandom(100 * KIB)
        number = 0
        while statistics(mount)["used_bytes"] < 0.55 * capacity:
            _lib.write_file(mount.path(f"f{number}"), data)
            number += 1
        equal("evicted below the high mark", 0, statistics(mount)["evicted_objects"])
        last = number + 60
        while number < last and statistics(mount)["evicted_objects"] == 0:
            _lib.write_file(mount.path(f"f{number}"), data)
            number += 1
        check(number < last, "expected eviction to begin above the high mark")
        seen = wait_for("eviction down to the low mark", 30,
                        lambda: (lambda s: s if s["used_bytes"] <= 0.45 * capacity else None)(statistics(mount)))
        check(seen["used_bytes"] > 0.3 * capacity, f"expected to stop at the low mark, saw {seen['used_bytes']} of {capacity} used")
        check(os.path.exists(mount.path(f"f{number - 1}")) and not os.path.exists(mount.path("f0")), "not the oldest ones went")
        check("down to" in run(20, LRUFS, "stat", mount.dir), "lrufs stat does not show the marks")
    for options, words in ((["--high", "40", "--low", "60"], "is not below"), (["--high", "0"], "1 to 99"),
                           (["-o", "low=100"], "1 to 99"), (["--high", "many"], "1 to 99")):
        text = run(20, LRUFS, "mount", *options, mount.store, mount.dir, ok=(2,))
        check(words in text, f"{options}: expected a message with {words!r}, saw {text!r}")


def max_file_size():
    step("--max-file-size 1M")
    with Mount(name="large", size="64M") as mount:
        _lib.write_file(mount.path("old"), b"o" * (3 * MIB))
        mount.remount("--max-file-size", "1M")
        path = mount.path("new")
        _lib.write_file(path, b"n" * MIB)
        equal("a file of just that size", MIB, os.stat(path).st_size)
        fd = os.open(path, os.O_RDWR)
        raises("write behind it", errno.EFBIG, os.pwrite, fd, b"x", MIB)
        raises("write across it", errno.EFBIG, os.pwrite, fd, b"xx", MIB - 1)
        raises("truncate", errno.EFBIG, os.ftruncate, fd, MIB + 1)
        raises("fallocate", errno.EFBIG, _lib.fallocate, fd, 0, 0, MIB + 1)
        raises("zero range", errno.EFBIG, _lib.fallocate, fd, _lib.FALLOC_ZERO_RANGE, MIB - 10, 20)
        old = os.open(mount.path("old"), os.O_RDWR)
        raises("copy_file_range", errno.EFBIG, os.copy_file_range, old, fd, 4096, 0, MIB)
        equal("it stays as it was", b"n" * MIB, _lib.read_file(path))
        equal("a larger one stays readable", b"o" * (3 * MIB), _lib.read_file(mount.path("old")))
        os.pwrite(old, b"within", 10)
        raises("but does not grow", errno.EFBIG, os.pwrite, old, b"x", 3 * MIB)
        os.ftruncate(old, 100)
        os.close(old)
        os.close(fd)
        mount.remount("-o", "max_file_size=2M")
        os.truncate(mount.path("old"), 2 * MIB)
        raises("truncate with -o", errno.EFBIG, os.truncate, mount.path("old"), 2 * MIB + 1)
        mount.remount()
        os.truncate(mount.path("old"), 5 * MIB)
    text = run(20, LRUFS, "mount", "--max-file-size", "0", mount.store, mount.dir, ok=(2,))
    check("leave it out" in text, f"expected to be told what to do, saw {text!r}")


def test():
    eight_writers(_lib.seed())
    watermarks()
    max_file_size()


if _lib.PLAIN:
    _lib.skip("there are no bounds on a plain directory")
_lib.main(test)
