#!/usr/bin/env python3
# ctest: timeout=180
"""Eviction on a live mount: the kernel is told. With --recency 1h the kernel may keep names and attributes for an hour
without asking; an evicted name must be gone from its cache all the same, in a moment. A daemon that evicts without a
notification, or that sends it for one of two names only, makes this fail (the old name still answers stat and open), and
one that sends it from inside a request hangs here."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import errno
import mmap
import os
import _lib
from _evict import Files, content
from _lib import Mount, check, equal, raises, step, KIB, MIB

BOUND = 64 * MIB
SOON = 5  # seconds; timeouts are an hour


def fill(mount, name, total=2 * BOUND):
    """Another process writes twice the bound."""
    def write():
        mine = Files(mount, _lib.random.Random(1), prefix=name)
        mine.write_bytes(total)
    equal("exit status of the writer", 0, _lib.spawn_function(write).wait(120))


def gone(mount, *names):
    for name in names:
        _lib.wait_for(f"{name}, evicted, is gone from the kernel's cache", SOON, lambda: not os.path.lexists(mount.path(name)))
        raises(f"open of {name}", errno.ENOENT, os.open, mount.path(name), os.O_RDONLY)
        raises(f"stat of {name}", errno.ENOENT, os.stat, mount.path(name))


def known_names_go(mount):
    step("names, attributes, pages and listings that the kernel knew")
    os.makedirs(mount.path("a/b/c"))
    _lib.write_file(mount.path("a/b/c/file"), content(1, 100_000))
    _lib.write_file(mount.path("a/one"), content(2, 5000))
    os.mkdir(mount.path("other"))
    os.link(mount.path("a/one"), mount.path("other/two"))
    os.symlink("a/one", mount.path("symlink"))
    os.mkdir(mount.path("empty"))
    names = ["a/b/c/file", "a/one", "other/two", "symlink", "empty"]
    # The kernel learns them every way there is.
    for name in names:
        os.lstat(mount.path(name))
    for folder in ("", "a", "a/b/c", "other"):
        list(os.scandir(mount.path(folder)))
    equal("content", content(1, 100_000), _lib.read_file(mount.path("a/b/c/file")))
    equal("target", "a/one", os.readlink(mount.path("symlink")))
    fill(mount, "x")
    gone(mount, *names)
    # And the folders that became empty with them, from the innermost out.
    gone(mount, "a/b/c", "a/b", "a", "other")
    left = {name.split("/")[0] for name in os.listdir(mount.dir)}
    check(not left & {"a", "other", "symlink", "empty"}, f"the listing of the root: expected no evicted names, saw {sorted(left)}")


def listings_are_right(mount):
    step("cached listings")
    os.mkdir(mount.path("list"))
    for n in range(300):
        _lib.write_file(mount.path(f"list/{n}"), b"x" * 2000)
    equal("listed", 300, len(os.listdir(mount.path("list"))))
    keep = os.open(mount.path("list"), os.O_RDONLY | os.O_DIRECTORY)
    equal("listed through an open descriptor", 300, len(os.listdir(keep)))
    fill(mount, "y")

    def none_left():
        try:
            return not os.listdir(mount.path("list"))
        except FileNotFoundError:
            return True
    _lib.wait_for("the listing of a folder whose files were evicted is empty, or the folder is gone", SOON, none_left)
    _lib.wait_for("the same through a descriptor that was opened before", SOON, lambda: not os.listdir(keep))
    os.close(keep)


def evicted_names_can_be_taken(mount):
    step("a new file under an evicted name")
    _lib.write_file(mount.path("again"), content(3, 50_000))
    old = os.open(mount.path("again"), os.O_RDONLY)
    view = mmap.mmap(old, 50_000, prot=mmap.PROT_READ)
    fill(mount, "z")
    gone(mount, "again")
    fd = os.open(mount.path("again"), os.O_CREAT | os.O_EXCL | os.O_RDWR)
    os.write(fd, b"the new one")
    os.close(fd)
    equal("the new one", b"the new one", _lib.read_file(mount.path("again")))
    check(os.pread(old, 60_000, 0) == content(3, 50_000), "the old one, open: expected its content")
    check(view[:] == content(3, 50_000), "the old one, mapped: expected its content")
    # Pages that the kernel dropped are asked for again: from an inode without a name.
    os.posix_fadvise(old, 0, 0, os.POSIX_FADV_DONTNEED)
    check(os.pread(old, 60_000, 0) == content(3, 50_000), "the old one, its cached pages dropped: expected its content")
    view.close()
    os.close(old)


def a_working_folder_that_goes(mount):
    step("the current folder of a process, evicted")
    os.mkdir(mount.path("cwd"))

    def inside():
        os.chdir(mount.path("cwd"))
        fill(mount, "w")
        # An empty folder in use may stay or go; either way nothing hangs, and it is told honestly.
        try:
            os.stat(mount.path("cwd"))
            _lib.write_file("file", b"x")
            equal("a file in a folder that stayed", b"x", _lib.read_file(mount.path("cwd/file")))
        except FileNotFoundError:
            raises("create in a folder that is gone", errno.ENOENT, _lib.write_file, "file", b"x")
    _lib.in_child(120, inside)


def walkers_and_writers(mount):
    step("stat, open and list all the time while evicting: no error but ENOENT, no deadlock")
    stop = mmap.mmap(-1, 4096)  # shared with the walkers

    def walk():
        seen = 0
        while not stop[0]:
            for folder, _, names in os.walk(mount.dir):
                for name in names:
                    if stop[0]:
                        break
                    try:
                        fd = os.open(os.path.join(folder, name), os.O_RDONLY)
                    except FileNotFoundError:
                        continue
                    # Empty: seen between its creation and its first write. Never somebody else's content.
                    data = os.pread(fd, 64 * KIB, 0)
                    if os.path.basename(folder)[0] in "pq" and data:
                        check(data.startswith(b"file %d of " % int(name[1:])),
                              f"{folder}/{name}: expected its own content, saw {data[:30]} of {os.fstat(fd).st_size} bytes")
                    os.close(fd)
                    seen += 1
        check(seen > 100, f"a walker: expected to see hundreds of files, saw {seen}")
    walkers = [_lib.spawn_function(walk) for _ in range(2)]

    def write(name):
        mine = Files(mount, _lib.random.Random(name), prefix=name, per_folder=20)
        mine.write_bytes(4 * BOUND)
    writers = [_lib.spawn_function(write, name) for name in ("p", "q")]
    for writer in writers:
        equal("exit status of a writer", 0, writer.wait(120))
    stop[0] = 1
    for walker in walkers:
        equal("exit status of a walker (no error but ENOENT, no hang)", 0, walker.wait(30))


def test():
    with Mount(size="64M", options=["--recency", "1h"]) as mount:
        known_names_go(mount)
        listings_are_right(mount)
        evicted_names_can_be_taken(mount)
        a_working_folder_that_goes(mount)
        walkers_and_writers(mount)


if _lib.PLAIN:
    _lib.skip("nothing is evicted from a plain directory")
_lib.main(test)
