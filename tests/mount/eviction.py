#!/usr/bin/env python3
# ctest: timeout=900
"""A store of 256 MiB, and 2 GiB of files: no write ever fails, the store's disk use never passes the bound, the survivors
are exactly the most recently used files, each whole; files that are used again and again stay; open files that are
evicted stay readable; what is being written is never the victim; empty folders age out; all the same after a remount.

What makes it fail, for example: a victim taken out of order, or by a stale order after a remount (the survivors are no
suffix of the order of use); touches that are lost between the kernel's cache, the batch and the tree (the used files go);
growing the file before evicting, or a page of bookkeeping over the bound (disk use); pages of a victim that are reused
while a file still has them (content). LRUFS_EVICT_MIB sets the bound, everything else scales with it."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import errno
import os
import _lib
from _evict import Files, Sampler, check_df, content
from _lib import Mount, check, equal, raises, step, KIB, MIB

BOUND = int(os.environ.get("LRUFS_EVICT_MIB", 256)) * MIB


def write_eight_times_the_bound(mount, files):
    step("8 times the bound of files")
    check_df(mount, BOUND, "empty", used_at_most=BOUND // 16)
    for part in range(8):
        files.write_bytes(BOUND)
        files.survivors_are_the_last_used(f"{part + 1} times the bound")
    survivors = files.survivors_are_the_last_used("at the end")
    check(files.bytes_of(survivors) > 0.7 * BOUND,
          f"expected the store to be full of files, saw {files.bytes_of(survivors)} bytes in a store of {BOUND}")
    check_df(mount, BOUND, "full", used_at_least=int(0.7 * BOUND))
    # Names that are gone are gone by every way to ask.
    gone = [name for name in files.order if name not in set(survivors)]
    for name in gone[::max(1, len(gone) // 200)]:
        raises(f"stat of {name}, evicted", errno.ENOENT, os.stat, mount.path(name))
        raises(f"open of {name}, evicted", errno.ENOENT, os.open, mount.path(name), os.O_RDONLY)
    # An empty folder ages like a file: those from before the oldest survivor by more than the bound are long gone.
    first_needed = files.folders.index(survivors[0].split("/")[0])
    old = [folder for folder in files.folders[:first_needed // 2] if os.path.lexists(mount.path(folder))]
    check(not old, f"empty folders: expected the old ones to be gone, saw {len(old)} of {first_needed // 2}: {old[:5]}")
    for name in survivors:
        files.read(name)
    return survivors


def again_after_a_remount(mount, files, survivors):
    step("remount")
    mount.umount()
    mount.verify()
    # From here on every path lookup is seen at once, so that the order of reads is exact.
    mount.mount("--recency", "0s")
    equal("files after remount", sorted(survivors), sorted(files.settled()))
    files.forget_the_gone(survivors)
    files.rng.shuffle(survivors)
    for name in survivors:
        files.read(name)
    step("half the bound, after reading all in random order, and a remount")
    mount.remount("--recency", "0s")
    files.write_bytes(BOUND // 2)
    left = files.survivors_are_the_last_used("after reading in random order")
    check(any(name not in left for name in survivors[:10]), "expected the files that were read first to go first")


def used_files_stay(mount, files):
    step("used files stay: read, stat'ed, rewritten, opened, and 4 times the bound written")
    survivors = files.survivors_are_the_last_used("before")
    oldest = survivors[:60]
    hot_read, hot_stat, hot_write, hot_open = oldest[0:20], oldest[20:40], oldest[40:50], oldest[50:60]

    def use(names, how):
        names = list(names)
        files.rng.shuffle(names)
        for name in names:
            how(name)
            files.use(name)

    def rewrite(name):
        number, size = files.order[name]
        _lib.write_file(mount.path(name), content(number, size + 1), os.O_WRONLY)
        files.order[name] = (number, size + 1)

    for _ in range(32):
        use(hot_read, files.read)
        use(hot_stat, lambda name: os.stat(mount.path(name)))
        use(hot_write, rewrite)
        use(hot_open, lambda name: os.close(os.open(mount.path(name), os.O_RDONLY)))
        files.write_bytes(BOUND // 8)
    survivors = set(files.survivors_are_the_last_used("with used files"))
    for kind, names in (("read", hot_read), ("stat'ed", hot_stat), ("rewritten", hot_write), ("opened", hot_open)):
        lost = [name for name in names if name not in survivors]
        check(not lost, f"files that were {kind} again and again: expected to stay; gone: {lost}")
        for name in names:
            files.read(name)


def open_files_live_on(mount, files):
    step("open files that are evicted")
    reader_name, writer_name = files.write(BOUND // 8), files.write(BOUND // 16)
    _lib.write_file(mount.path("linked"), b"two names")
    os.link(mount.path("linked"), mount.path("linked2"))
    number, size = files.order[reader_name]
    reader = os.open(mount.path(reader_name), os.O_RDONLY)
    writer = os.open(mount.path(writer_name), os.O_RDWR)
    files.write_bytes(2 * BOUND)
    for name in (reader_name, writer_name, "linked", "linked2"):
        _lib.wait_for(f"the name {name} is gone", 10, lambda: not os.path.lexists(mount.path(name)))
    files.survivors_are_the_last_used("with two open files evicted")
    check(os.pread(reader, size + 1, 0) == content(number, size), "an evicted file that is open: expected its content")
    equal("its links", 0, os.fstat(reader).st_nlink)
    os.pwrite(writer, b"still writable", 12345)
    equal("written after eviction", b"still writable", os.pread(writer, 14, 12345))
    # A new file takes the name; the old one stays what it was.
    if not os.path.isdir(os.path.dirname(mount.path(reader_name))):
        os.mkdir(os.path.dirname(mount.path(reader_name)))
    _lib.write_file(mount.path(reader_name), b"new")
    files.order[reader_name] = (None, 3)
    files.use(reader_name)
    files.write_bytes(BOUND // 4)
    check(os.pread(reader, size + 1, 0) == content(number, size), "after the name was taken by another: expected the old content")
    equal("the new file", b"new", _lib.read_file(mount.path(reader_name)))
    files.use(reader_name)
    os.close(reader)
    os.close(writer)
    # Their room comes back.
    files.write_bytes(BOUND)
    survivors = files.survivors_are_the_last_used("after they were closed")
    check(files.bytes_of(survivors) > 0.7 * BOUND,
          f"room after closing evicted files: expected it back, saw {files.bytes_of(survivors)} of {BOUND} bytes in use")


def what_is_written_stays(mount, files):
    step("one file of three quarters of the bound, written in pieces; then two at once among small ones")
    piece = 256 * KIB

    def data(number, index):
        return content(number * 1000 + index, piece)

    def write_big(number, pieces):
        fd = os.open(mount.path(f"big{number}"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
        for index in range(pieces):
            os.write(fd, data(number, index))
        os.close(fd)

    def whole(number, pieces):
        equal(f"size of big{number}", pieces * piece, os.stat(mount.path(f"big{number}")).st_size)
        fd = os.open(mount.path(f"big{number}"), os.O_RDONLY)
        for index in range(pieces):
            check(os.read(fd, piece) == data(number, index), f"big{number}: piece {index} differs")
        os.close(fd)

    write_big(1, BOUND * 3 // 4 // piece)
    whole(1, BOUND * 3 // 4 // piece)

    def small():
        mine = Files(mount, _lib.random.Random(5), prefix="small", size=lambda rng: rng.randrange(100_000))
        for _ in range(BOUND // 4 // 50_000):
            mine.write()
    pieces = BOUND // 5 // piece
    writers = [_lib.spawn_function(write_big, 2, pieces), _lib.spawn_function(write_big, 3, pieces), _lib.spawn_function(small)]
    for writer in writers:
        equal("exit status of a writer", 0, writer.wait(120))
    whole(2, pieces)
    whole(3, pieces)
    # Rewriting a file in place, again and again, while others come: nothing but its own newest content.
    fd = os.open(mount.path("rewritten"), os.O_CREAT | os.O_RDWR)
    for number in range(40):
        os.pwrite(fd, content(number, MIB), 0)
        files.write_bytes(BOUND // 40)
        check(os.pread(fd, MIB, 0) == content(number, MIB), f"a file rewritten for the {number + 1}th time: wrong content")
    os.close(fd)


def many_writers(mount):
    # More than the daemon has threads: when all of them wait for room, nobody reads the kernel's FORGETs that would give it.
    step("12 processes, half the bound from each: no error, no hang, every file that is left is whole")

    def write(number):
        mine = Files(mount, _lib.random.Random(number), prefix=f"p{number}-")
        mine.write_bytes(BOUND // 2)
    writers = [_lib.spawn_function(write, number) for number in range(12)]
    for writer in writers:
        equal("exit status of a writer", 0, writer.wait(400))
    count = 0
    for folder in os.listdir(mount.dir):
        if folder.startswith("p"):
            for name in os.listdir(mount.path(folder)):
                data = _lib.read_file(mount.path(folder, name))
                check(data == content(int(name[1:]), len(data)) and b"of %d bytes\n" % len(data) in data[:40],
                      f"{folder}/{name}: expected whole and its own content, saw {len(data)} bytes, starting {data[:40]}")
                count += 1
    print(f"   {count} files are there, all whole")
    check(count > 100, f"expected hundreds of files, saw {count}")


def test():
    rng = _lib.seed()
    with Mount(size=f"{BOUND // MIB}M") as mount:
        with Sampler(mount.store, BOUND):
            files = Files(mount, rng)
            survivors = write_eight_times_the_bound(mount, files)
            again_after_a_remount(mount, files, survivors)
            used_files_stay(mount, files)
            open_files_live_on(mount, files)
            what_is_written_stays(mount, files)
            many_writers(mount)
        step("check")


if _lib.PLAIN:
    _lib.skip("nothing is evicted from a plain directory")
_lib.main(test)
