#!/usr/bin/env python3
# ctest: timeout=300
"""The disk below the store is full, gives pages not back, or takes none any more. Small ext4 file systems on loop devices:

full      a store larger than its disk is filled: no error to a writer, eviction keeps it within what the disk has, fsync
          works, `lrufs check` finds nothing; when the disk has room again, the store grows again
trimmed   the same with --trim, while the store has holes: who writes gets no error, and the daemon no SIGBUS
unreadable  the image of the disk is cut off, so that reading the blocks behind it gives EIO, as a bad sector does: EIO to
          the readers of the files that lie there, the others are whole, the daemon lives, log and statistics say so
unwritable  the image is sparse on a tmpfs that is full, so that writing gives errors: fsync fails, and goes on to fail, the
          store is read-only, `lrufs stat` and the log say why; mounted again, all is there that an fsync had returned for
repair    of a damaged store on a disk without room for a second one: refused before anything is written, and the store is what it
          was; with room it is done

Needs root and loop devices."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import contextlib
import errno
import fcntl
import json
import os
import re
import struct
import subprocess
import _lib
from _evict import content
from _lib import KIB, LRUFS, MIB, Mount, check, equal, raises, run, step, wait_for

FIBMAP = 1


class Disk:
    """An ext4 in a file of `megabytes`, below `folder`, mounted at WORK/NAME.disk. _cleanup.sh unmounts it, and the loop
    device goes with the mount."""

    def __init__(self, name, megabytes, folder=None):
        self.image = os.path.join(folder or _lib.WORK, f"{name}.img")
        self.dir = os.path.join(_lib.WORK, f"{name}.disk")
        os.mkdir(self.dir)
        with open(self.image, "wb") as file:
            file.truncate(megabytes * MIB)
        # Without journal, so that where content lies is all that matters.
        run(30, "mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-O", "^has_journal", "-E", "nodiscard", self.image)
        self.attach()

    def attach(self):
        result = subprocess.run(["mount", "-o", "loop", self.image, self.dir], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, check=False, timeout=30)
        if result.returncode != 0:
            _lib.skip(f"no loop device: {result.stdout.strip()}")

    def reattach(self):
        """Nothing of it is left in the page cache."""
        run(60, "umount", self.dir)
        self.attach()


def statistics(mount):
    return json.loads(run(20, LRUFS, "stat", "--json", mount.dir))


def log_says(text):
    with open(_lib.DAEMON_LOG, encoding="utf-8", errors="replace") as file:
        return text in file.read()


def write_synced(path, data):
    _lib.write_file(path, data)
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def test_full():
    disk = Disk("full", 72)
    ballast = os.path.join(disk.dir, "ballast")
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 24 * MIB)
    mount = Mount(name="full", size="256M", store=os.path.join(disk.dir, "store.lrufs"))
    mount.mount()
    written = {}

    def fill(first, megabytes):
        number, left = first, megabytes * MIB
        while left > 0:
            size = 40 * KIB + number * 7919 % (600 * KIB)
            _lib.write_file(mount.path(f"f{number}"), content(number, size))  # any error ends the test
            written[f"f{number}"] = (number, size)
            if number % 20 == 0:
                write_synced(mount.path("synced"), content(number, 9000))
            number, left = number + 1, left - size
        return number

    def all_whole():
        names = [name for name in os.listdir(mount.dir) if name != "synced"]
        for name in names:
            check(_lib.read_file(mount.path(name)) == content(*written[name]), f"{name}: expected what was written")
        return names

    following = fill(0, 150)
    seen = statistics(mount)["statistics"]
    check(seen["evicted_objects"] > 0, "expected evictions on a full disk, saw none")
    check(log_says("cannot grow"), "expected the log to say that the store cannot grow")
    check(not seen["read_only"], "a full disk made the store read-only")
    check(f"f{following - 1}" in all_whole(), "the file that was written last is gone")
    before = seen["file_bytes"]
    check(before < 50 * MIB, f"expected a store within the disk's 48 MiB, saw {before / MIB:.0f}")
    os.unlink(ballast)
    state = {"next": following}

    def grew():  # it tries again some seconds after the last time
        state["next"] = fill(state["next"], 2)
        return statistics(mount)["statistics"]["file_bytes"] > before + 8 * MIB
    wait_for("the store grows when its disk has room again", 60, grew)
    names = all_whole()
    mount.remount()
    equal("files after a remount", sorted(names), sorted(name for name in os.listdir(mount.dir) if name != "synced"))
    all_whole()
    mount.check()
    step(f"full: {before / MIB:.0f} MiB of a disk with 48, {seen['evicted_objects']} files evicted; then "
         f"{_lib.disk_use(mount.store) / MIB:.0f} MiB")


def test_trimmed():
    disk = Disk("trimmed", 96)
    ballast = os.path.join(disk.dir, "ballast")
    mount = Mount(name="trimmed", size="80M", store=os.path.join(disk.dir, "store.lrufs"),
                  options=["--trim", "--sync", "100ms"])
    mount.mount()
    sizes = {}

    def write(numbers):
        for number in numbers:
            sizes[number] = 40 * KIB + number * 7919 % (600 * KIB)
            _lib.write_file(mount.path(f"f{number}"), content(number, sizes[number]))  # any error ends the test

    def whole():
        numbers = [int(name[1:]) for name in os.listdir(mount.dir)]
        for number in numbers:
            check(_lib.read_file(mount.path(f"f{number}")) == content(number, sizes[number]), f"f{number} is not what it was")
        return numbers
    write(range(180))
    for number in whole()[:-30]:
        os.unlink(mount.path(f"f{number}"))
    trimmed = wait_for("space is given back", 30, lambda: statistics(mount)["statistics"]["trimmed_bytes"])
    wait_for("as much as there is", 30, lambda: _lib.disk_use(mount.store) < 45 * MIB)
    fd = os.open(ballast, os.O_CREAT | os.O_WRONLY)  # all that is left
    for piece in (MIB, 4 * KIB):
        with contextlib.suppress(OSError):
            while True:
                os.posix_fallocate(fd, os.fstat(fd).st_size, piece)
    os.close(fd)
    before = _lib.disk_use(mount.store)
    write(range(1000, 1200))
    numbers = whole()
    check(1199 in numbers, "the file that was written last is gone")
    seen = statistics(mount)["statistics"]
    check(seen["evicted_objects"] > 0 and not seen["read_only"], f"expected evictions, and no failure, saw {seen}")
    check(_lib.disk_use(mount.store) < before + 2 * MIB, "the disk had more room than it should")
    os.unlink(ballast)
    state = {"next": 2000}

    def grew():
        write(range(state["next"], state["next"] + 8))
        state["next"] += 8
        return _lib.disk_use(mount.store) > before + 8 * MIB
    wait_for("the holes are filled when the disk has room again", 60, grew)
    whole()
    mount.check()
    step(f"trimmed: {trimmed / MIB:.0f} MiB and more given back; {before / MIB:.0f} MiB on the full disk, "
         f"{seen['evicted_objects']} files evicted; then {_lib.disk_use(mount.store) / MIB:.0f} MiB")


def block_of(file, page):
    return struct.unpack("I", fcntl.ioctl(file.fileno(), FIBMAP, struct.pack("I", page)))[0]


def first_bad_block(store, victim, others):
    """A block of the disk from which on lie 16 pages of `victim` and none of another file; and the first of these."""
    pages = {victim[at:at + 4096]: at // 4096 for at in range(0, len(victim), 4096)}
    with open(store, "rb") as file:
        blocks = sorted(((block_of(file, page), page) for page in range(os.path.getsize(store) // 4096)), reverse=True)
        found = []
        for block, page in blocks:
            file.seek(page * 4096)
            data = file.read(4096)
            if data in pages:
                found.append(pages[data])
            check(data not in others, "expected the last file's content at the end of the store")
            if len(found) == 16:
                return block, min(found)
    return _lib.fail("expected the last file's content at the end of the store")


def test_unreadable():
    disk = Disk("unreadable", 64)
    mount = Mount(name="unreadable", size="48M", store=os.path.join(disk.dir, "store.lrufs"))
    mount.mount()
    for number in range(20):
        _lib.write_file(mount.path(f"f{number}"), content(number, 300 * KIB))
    _lib.write_file(mount.path("spare"), content(50, 300 * KIB))
    mount.remount()
    victim = content(99, 2 * MIB)
    write_synced(mount.path("victim"), victim)
    os.unlink(mount.path("spare"))
    mount.remount()
    # The tree pages that lie behind the victim move to where the spare file was.
    for name in os.listdir(mount.dir):
        os.chmod(mount.path(name), 0o600)
    mount.umount()
    others = {content(number, 300 * KIB)[at:at + 4096] for number in range(20) for at in range(0, 300 * KIB, 4096)}
    block, first = first_bad_block(mount.store, victim, others)
    os.truncate(disk.image, block * 4096)  # the loop device keeps its length: reading behind it gives EIO
    _lib.drop_caches()
    said = _lib.run(60, _lib.LRUFS, "check", mount.store, ok=(1,))
    check("/victim: " in said and "1 finding" in said, f"lrufs check: expected the victim and nothing else, saw {said}")
    mount.mount()
    for number in range(20):
        equal(f"content of f{number}", content(number, 300 * KIB), _lib.read_file(mount.path(f"f{number}")))
    fd = os.open(mount.path("victim"), os.O_RDWR)
    out = os.open(mount.path("copy"), os.O_CREAT | os.O_RDWR)
    equal("the pages before", victim[:first * 4096][:4096], os.pread(fd, min(first, 1) * 4096, 0))
    for _ in range(2):
        raises("reading a page that the disk does not give back", errno.EIO, os.pread, fd, 4096, first * 4096)
    raises("copying it", errno.EIO, os.copy_file_range, fd, out, 4096, (first + 1) * 4096, 0)
    raises("overwriting a part of it", errno.EIO, os.pwrite, fd, b"part", (first + 2) * 4096 + 10)
    os.close(fd)
    os.close(out)
    for number in range(20):
        equal(f"content of f{number}", content(number, 300 * KIB), _lib.read_file(mount.path(f"f{number}")))
    check(_lib.alive(mount.pid), "the daemon is dead")
    seen = statistics(mount)["statistics"]
    check(seen["unreadable_pages"] >= 3, f"unreadable_pages: expected at least 3, saw {seen['unreadable_pages']}")
    check(not seen["read_only"], "a page that cannot be read made the store read-only")
    check("UNREADABLE" in run(20, LRUFS, "stat", mount.dir), "lrufs stat: expected UNREADABLE")
    check(log_says("does not give back"), "expected the log to say that pages cannot be read")
    run(30, LRUFS, "umount", mount.dir)
    mount.wait_gone()
    step(f"unreadable: {seen['unreadable_pages']} pages; the daemon lives")

    # And a store that somebody cuts off while it is mounted.
    cut = Mount(name="cut", size="64M")
    cut.mount()
    for number in range(40):
        _lib.write_file(cut.path(f"f{number}"), content(number, 500 * KIB))
    folder = os.open(cut.dir, os.O_RDONLY)
    os.fsync(folder)
    _lib.drop_caches(1)
    os.truncate(cut.store, MIB)
    for number in range(40):
        try:
            data = _lib.read_file(cut.path(f"f{number}"))
        except OSError as error:
            equal("error of a file that was cut off", errno.EIO, error.errno)
        else:
            check(data == content(number, 500 * KIB), f"f{number}: expected EIO or its content")
    raises("fsync of a store that was cut off", errno.EIO, os.fsync, folder)
    raises("creating a file", (errno.EIO, errno.EROFS), os.mkdir, "new", dir_fd=folder)
    check(_lib.alive(cut.pid), "the daemon is dead")
    failure = json.loads(os.getxattr(folder, "user.lrufs.stats"))["failure"]
    check("cut off" in failure, f"failure: expected to say that the file was cut off, saw {failure!r}")
    check(log_says("cut off"), "expected the log to say that the file was cut off")
    os.close(folder)
    run(30, LRUFS, "umount", "--force", cut.dir)
    cut.wait_gone()
    step("cut off: the daemon lives")


def test_unwritable():
    pool = os.path.join(_lib.WORK, "pool")
    os.mkdir(pool)
    run(20, "mount", "-t", "tmpfs", "-o", "size=96M", "none", pool)
    try:
        disk = Disk("unwritable", 64, pool)
        mount = Mount(name="unwritable", size="48M", store=os.path.join(disk.dir, "store.lrufs"))
        mount.mount("--sync", "unmount")
        synced, failed = [], None
        for number in range(40):
            if number == 20:
                # Full from now on. Not before, as it comes: the loop device takes a write that was cut short for a whole one.
                os.sync()
                usage = os.statvfs(pool)
                run(20, "mount", "-o", f"remount,size={(usage.f_blocks - usage.f_bfree) * usage.f_frsize}", pool)
            name = f"f{number}"
            try:
                write_synced(mount.path(name), content(number, 400 * KIB))
            except OSError as error:
                failed = error
                break
            synced.append(number)
        check(failed is not None, "expected an fsync to fail")
        equal("error of the fsync", errno.EIO, failed.errno)
        check(len(synced) >= 20, f"expected 20 fsyncs before, saw {len(synced)}")
        fd = os.open(mount.dir, os.O_RDONLY)
        for _ in range(3):
            raises("a later fsync", errno.EIO, os.fsync, fd)
        os.close(fd)
        raises("a later change", errno.EROFS, os.mkdir, mount.path("new"))
        equal("an older file", content(0, 400 * KIB), _lib.read_file(mount.path("f0")))
        seen = statistics(mount)
        check("fdatasync" in seen["failure"] or "msync" in seen["failure"], f"failure: expected the cause, saw {seen['failure']}")
        check(seen["statistics"]["read_only"], "expected a store that is read-only")
        check("FAILED" in run(20, LRUFS, "stat", mount.dir), "lrufs stat: expected FAILED")
        check(log_says("read-only from now on"), "expected the log to say that the store is read-only")
        run(30, LRUFS, "umount", "--force", mount.dir)
        mount.wait_gone()

        # The disk is mended; what the page cache shows and the disk does not hold is gone.
        run(20, "mount", "-o", "remount,size=96M", pool)
        disk.reattach()
        mount.mount()
        equal("the store opened from", "checkpoint", statistics(mount)["statistics"]["opened_from"])
        for number in synced:
            equal(f"f{number}, for which fsync had returned", content(number, 400 * KIB), _lib.read_file(mount.path(f"f{number}")))
        _lib.write_file(mount.path("after"), b"x")
        mount.check()
        run(60, "umount", disk.dir)
        step(f"unwritable: {len(synced)} fsyncs, then \"{seen['failure']}\"")
    finally:
        subprocess.run(["umount", "-l", pool], check=False, timeout=20)


def test_repair():
    """`lrufs check --repair` asks how much room there is before it begins."""
    pool = os.path.join(_lib.WORK, "small")
    os.mkdir(pool)
    run(20, "mount", "-t", "tmpfs", "-o", "size=25M", "none", pool)
    try:
        mount = Mount(name="repair", size="24M", store=os.path.join(pool, "store.lrufs"))
        mount.mount()
        for number in range(40):
            _lib.write_file(mount.path(f"f{number}"), content(number, 400 * KIB))
        _lib.write_file(mount.path("hurt"), b"inline content " * 40)
        mount.umount()
        data = _lib.read_file(mount.store)
        with open(mount.store, "r+b") as file:  # in all copies of the page
            for match in re.finditer(b"inline content ", data):
                file.seek(match.start())
                file.write(b"I")
        damaged = _lib.read_file(mount.store)
        said = run(60, LRUFS, "check", "--repair", mount.store, ok=(2,))
        seen = re.search(r"needs about (\d+) MiB; the disk has (\d+) MiB", said)
        check(seen and "Nothing was changed" in said, f"expected how much room is missing, saw {said}")
        needed, has = map(int, seen.groups())
        check(14 <= needed <= 20 and has < needed, f"expected some 16 MiB needed and less there, saw {said}")
        equal("files beside the store", ["store.lrufs"], os.listdir(pool))
        check(_lib.read_file(mount.store) == damaged, "the store was changed")
        run(20, "mount", "-o", "remount,size=64M", pool)
        said = run(60, LRUFS, "check", "--repair", mount.store)
        check("/hurt: dropped" in said, f"expected what was dropped, saw {said}")
        mount.mount()
        kept = [number for number in range(40) if os.path.exists(mount.path(f"f{number}"))]
        check(20 <= len(kept) and said.count(": dropped") == 41 - len(kept), f"expected most of 40 files, saw {len(kept)}: {said}")
        for number in kept:  # those with records on the same page are gone
            equal(f"f{number}", content(number, 400 * KIB), _lib.read_file(mount.path(f"f{number}")))
        mount.check()
        step(f"repair: {needed} MiB needed, {has} there; then done")
    finally:
        subprocess.run(["umount", "-l", pool], check=False, timeout=20)


def test():
    test_repair()
    test_full()
    test_trimmed()
    test_unreadable()
    test_unwritable()


if _lib.PLAIN:
    _lib.skip("a plain directory has no daemon")
_lib.need_root()
_lib.need("mkfs.ext4")
_lib.main(test)
