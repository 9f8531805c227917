#!/usr/bin/env python3
# ctest: timeout=300
"""`lrufs resize`, `mount --size` and `lrufs compact` of stores that are not mounted (resize_live.py has the others), and
`mount --trim`: a smaller bound keeps the last used files and gives the disk space back, also when it is killed in the
middle; compact evicts nothing; trim gives space back while mounted."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import json
import os
import time
import _lib
from _evict import Files
from _lib import Mount, LRUFS, check, equal, run, step, wait_for, KIB, MIB


def size_of(rng):
    return rng.randrange(300 * KIB) if rng.random() < 0.5 else rng.randrange(3 * KIB)


def fill(mount, rng, total):
    files = Files(mount, rng, per_folder=20, size=size_of)
    files.write_bytes(total)
    for name in rng.sample(sorted(files.order), len(files.order) // 4):
        files.read(name)
    return files


def is_well(mount, files, what):
    """Mounts; the last used files are there, and whole."""
    mount.mount()
    names = files.survivors_are_the_last_used(what)
    for name in sorted(names, key=list(files.order).index):
        files.read(name)
    files.forget_the_gone(names)
    mount.umount()
    mount.verify()
    return names


def resizing(rng):
    step("resize of what is not mounted")
    mount = Mount(name="resize", size="96M", options=["--recency", "0"])
    mount.mount()
    files = fill(mount, rng, 60 * MIB)
    mount.umount()
    check(_lib.disk_use(mount.store) > 50 * MIB, "expected a large store")
    run(60, LRUFS, "resize", mount.store, "32M")
    check(_lib.disk_use(mount.store) <= 32 * MIB, f"expected at most 32 MiB, saw {_lib.disk_use(mount.store)}")
    mount.size = "32M"
    names = is_well(mount, files, "32 MiB")
    check(files.bytes_of(names) > 20 * MIB, f"expected it to be well used, saw {files.bytes_of(names)} bytes of files")

    step("mount with a smaller size")
    mount.size = "12M"
    names = is_well(mount, files, "12 MiB")
    check(_lib.disk_use(mount.store) <= 12 * MIB, f"expected at most 12 MiB, saw {_lib.disk_use(mount.store)}")

    step("larger again, JSON")
    seen = json.loads(run(60, LRUFS, "resize", "--json", mount.store, "64M"))
    equal("bounds", (12 * MIB, 64 * MIB), (seen["before"]["bound_bytes"], seen["after"]["bound_bytes"]))
    equal("evicted", 0, seen["evicted_objects"])
    for size, code, words in (("1M", 2, "at least"), ("large", 2, "large")):
        text = run(20, LRUFS, "resize", mount.store, size, ok=(code,))
        check(words in text, f"resize to {size}: expected a message with {words!r}, saw {text!r}")
    mount.size = "64M"
    mount.mount()
    files.write_bytes(30 * MIB)
    mount.umount()
    is_well(mount, files, "64 MiB")


def killed(rng):
    step("resize killed in the middle")
    mount = Mount(name="killed", size="96M", options=["--recency", "0"])
    mount.mount()
    files = fill(mount, rng, 50 * MIB)
    mount.umount()
    kept = mount.store + ".kept"
    run(60, "cp", mount.store, kept)
    start = time.monotonic()
    run(60, LRUFS, "resize", mount.store, "16M")
    took = time.monotonic() - start
    ended = 0
    for _ in range(6):
        run(60, "cp", kept, mount.store)
        process = _lib.spawn(LRUFS, "resize", mount.store, "16M")
        deadline = time.monotonic() + rng.random() * took
        while time.monotonic() < deadline and process.poll() is None:
            pass
        process.kill()
        ended += process.wait(20) == 0
        mount.verify()
        mount.size = "96M"
        is_well(mount, Copy(files), "after SIGKILL")
        run(60, LRUFS, "resize", mount.store, "16M")
        check(_lib.disk_use(mount.store) <= 16 * MIB, "expected the second resize to do it")
        is_well(Mount(name="killed", size="16M", options=["--recency", "0"]), Copy(files), "after the second")
    print(f"   {6 - ended} of 6 were killed before they ended")


class Copy(Files):
    """The same files, to be forgotten again."""
    def __init__(self, files):
        super().__init__(files.mount, files.rng, files.per_folder, files.prefix, files.size_of)
        self.order = files.order.copy()


def compacting(rng):
    step("compact")
    mount = Mount(name="compact", size="96M", options=["--recency", "0"])
    mount.mount()
    files = fill(mount, rng, 60 * MIB)
    names = list(files.order)
    for name in names:
        if rng.random() < 0.8:
            os.unlink(mount.path(name))
            del files.order[name]
    mount.umount()
    before = _lib.disk_use(mount.store)
    seen = json.loads(run(60, LRUFS, "compact", "--json", mount.store))
    after = _lib.disk_use(mount.store)
    equal("disk use before and after", (before, after), (seen["before"]["disk_bytes"], seen["after"]["disk_bytes"]))
    equal("bound", 96 * MIB, seen["after"]["bound_bytes"])
    left = files.bytes_of(files.order)
    check(after < left * 1.1 + 3 * MIB, f"expected little more than the {left} bytes of files, saw {after} of {before}")
    equal("files", len(files.order), len(is_well(mount, files, "compacted")))
    check("before:" in run(60, LRUFS, "compact", mount.store), "expected figures for people")
    is_well(mount, files, "compacted twice")


def trimming(rng):
    step("trim")
    mount = Mount(name="trim", size="128M", options=["--sync", "100ms", "--trim"])
    mount.mount()
    files = Files(mount, rng, per_folder=20, size=lambda r: r.randrange(2 * MIB))
    files.write_bytes(90 * MIB)
    before = _lib.disk_use(mount.store)
    for name in list(files.order)[:-5]:
        os.unlink(mount.path(name))
        del files.order[name]
    wait_for("the disk space of what was deleted comes back", 30, lambda: _lib.disk_use(mount.store) < before * 0.6)
    wait_for("lrufs stat tells of it", 30, lambda: "Given back" in run(20, LRUFS, "stat", mount.dir) and json.loads(
        run(20, LRUFS, "stat", "--json", mount.dir))["statistics"]["trimmed_bytes"] > 20 * MIB)
    print(f"   {before / MIB:.0f} MiB on disk before, {_lib.disk_use(mount.store) / MIB:.0f} after")
    for name in list(files.order):
        files.read(name)
    # It is used again: by this mount, and by one that finds the holes.
    files.write_bytes(40 * MIB)
    for name in list(files.order):
        files.read(name)
    mount.kill()
    mount.verify()
    mount.mount()
    files.write_bytes(60 * MIB)
    mount.umount()
    mount.verify()
    mount.options = ["-o", "trim"]
    mount.mount()
    for name in files.survivors_are_the_last_used("after trimming"):
        files.read(name)
    mount.check()


def test():
    rng = _lib.seed()
    resizing(rng)
    compacting(rng)
    killed(rng)
    trimming(rng)


if _lib.PLAIN:
    _lib.skip("a plain directory has no store")
_lib.main(test)
