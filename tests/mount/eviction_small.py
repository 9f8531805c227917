#!/usr/bin/env python3
# ctest: timeout=300
"""Eviction of what is smaller than a page, and of what is no file: 64 MiB of store, tiny files, symlinks, hard links,
xattrs, empty folders and deep ones, some four times what fits. No write fails, disk use stays under the bound, exactly the
last used ones survive. Small values share pages: freeing a page's worth of old files does not free a page, which is what
can make this fail (ENOSPC, or a bound that is passed). Then --max-files. LRUFS_EVICT_SMALL sets the number of files."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import os
import _lib
from _evict import Files, Sampler
from _lib import Mount, check, equal, step, MIB

BOUND = 64 * MIB
COUNT = int(os.environ.get("LRUFS_EVICT_SMALL", 60_000))


def tiny_files(rng):
    with Mount(name="tiny", size="64M") as mount:
        with Sampler(mount.store, BOUND):
            step(f"{COUNT} files of up to 3,000 bytes")
            files = Files(mount, rng, per_folder=500, size=lambda r: r.randrange(3000))
            for _ in range(COUNT):
                files.write()
            survivors = files.survivors_are_the_last_used("tiny files")
            check(len(survivors) < COUNT * 0.9, f"expected some of {COUNT} files to be evicted, saw {len(survivors)} left")
            check(files.bytes_of(survivors) > 0.4 * BOUND,
                  f"expected the store to be well used, saw {files.bytes_of(survivors) / MIB:.1f} of {BOUND / MIB} MiB in files")
            for name in survivors:
                files.read(name)
            mount.umount()
            mount.verify()
            mount.mount("--recency", "0s")
            files.forget_the_gone(survivors)
            equal("files after remount", set(survivors), files.listed())
            step("the same, read in random order in between")
            rng.shuffle(survivors)
            for name in survivors:
                files.read(name)
            for _ in range(len(survivors) // 2):
                files.write()
            files.survivors_are_the_last_used("after reading in random order")


def everything_else(rng):
    """Things without content, in rounds; those of the last round are there, those of the first ones are gone."""
    with Mount(name="kinds", size="64M") as mount:
        with Sampler(mount.store, BOUND):
            step("symlinks, hard links, xattrs, folders")
            rounds, kinds = 6, ("file", "symlink", "links", "xattr", "empty", "deep")

            def make(number):
                top = mount.path(f"round{number}")
                os.mkdir(top)
                for kind in kinds:
                    os.mkdir(os.path.join(top, kind))
                for n in range(300):
                    _lib.write_file(f"{top}/file/{n}", rng.randbytes(20_000))
                    os.symlink("t" * 3000, f"{top}/symlink/{n}")
                    _lib.write_file(f"{top}/links/{n}a", rng.randbytes(6000))
                    os.link(f"{top}/links/{n}a", f"{top}/links/{n}b")
                    _lib.write_file(f"{top}/xattr/{n}", b"")
                    for k in range(4):
                        os.setxattr(f"{top}/xattr/{n}", f"user.k{k}", rng.randbytes(3000))
                    os.mkdir(f"{top}/empty/{n}")
                    if n % 30 == 0:
                        os.makedirs(f"{top}/deep/" + "/".join(f"{n}-{k}" for k in range(60)))
                    # Fill: what makes the older ones go.
                    _lib.write_file(f"{top}/file/{n}fill", rng.randbytes(100_000))
            for number in range(rounds):
                make(number)
            # A round is some 38 MiB: of the first ones nothing is left, not even folders.
            left = set(os.listdir(mount.dir))
            check("round0" not in left and "round1" not in left,
                  f"rounds 0 and 1 of {rounds}: expected all gone, folders as well; left are {sorted(left)}")
            top = mount.path(f"round{rounds - 1}")
            for kind, count in (("file", 600), ("symlink", 300), ("links", 600), ("xattr", 300), ("empty", 300), ("deep", 10)):
                equal(f"{kind} of the last round", count, len(os.listdir(f"{top}/{kind}")))
            equal("a symlink", "t" * 3000, os.readlink(f"{top}/symlink/299"))
            equal("an xattr", 3000, len(os.getxattr(f"{top}/xattr/299", "user.k3")))
            equal("links", 2, os.stat(f"{top}/links/299a").st_nlink)
            # Of the rounds in between: a hard-linked file has both of its names, or none.
            for folder in left:
                names = set(os.listdir(mount.path(folder, "links"))) if os.path.isdir(mount.path(folder, "links")) else set()
                halves = [name for name in names if name[:-1] + ("b" if name.endswith("a") else "a") not in names]
                check(not halves, f"{folder}: expected both names of a file or none, saw one of {halves[:5]}")


def max_files(rng):
    step("--max-files 1000")
    with Mount(name="count", size="64M", options=["--max-files", "1000"]) as mount:
        files = Files(mount, rng, per_folder=100, size=lambda r: r.randrange(300))
        for number in range(3000):
            files.write()
            if number % 200 == 0:
                check(len(files.listed()) <= 1000, f"expected at most 1000 files at any time, saw {len(files.listed())}")
        survivors = files.survivors_are_the_last_used("with --max-files 1000")
        check(800 <= len(survivors) <= 1000, f"expected about 1000 files, saw {len(survivors)}")
        for name in survivors:
            files.read(name)


def test():
    rng = _lib.seed()
    max_files(rng)
    everything_else(rng)
    tiny_files(rng)


if _lib.PLAIN:
    _lib.skip("nothing is evicted from a plain directory")
_lib.main(test)
