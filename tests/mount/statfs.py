#!/usr/bin/env python3
# ctest: timeout=120
"""df: the bound, the use, and what could be written (what eviction may free counts as available)."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import os
import _lib
from _evict import check_df, df
from _lib import Mount, check, equal, MIB


def test():
    for text, bound in (("64M", 64 * MIB), ("1G", 1024 * MIB), ("100MiB", 100 * MIB)):
        with Mount(name=f"m{text}", size=text) as mount:
            check_df(mount, bound, f"empty, {text}", used_at_most=bound // 8)
            equal("longest name", 255, os.statvfs(mount.dir).f_namemax)
            before = df(mount)
            _lib.write_file(mount.path("file"), os.urandom(30 * MIB))
            total, free, _ = df(mount)
            equal("total stays", before[0], total)
            check(29 * MIB <= before[1] - free <= 33 * MIB, f"free after 30 MiB: expected 30 MiB less than {before[1]}, saw {free}")
            # What df(1) prints is what people see.
            line = _lib.run(20, "df", "-B1", "--output=size,used,avail", mount.dir).splitlines()[1].split()
            equal("df's size", total, int(line[0]))
            check(int(line[1]) >= 29 * MIB, f"df's use: expected 30 MiB or more, saw {line[1]}")
            check(int(line[2]) >= 0.8 * bound, f"df's available: expected most of {bound}, saw {line[2]}")
            inodes = os.statvfs(mount.dir).f_files
            check(inodes > 0, f"df -i: expected some inodes in all, saw {inodes}")
            os.unlink(mount.path("file"))
            _lib.wait_for("the room of an unlinked file is free", 10, lambda: df(mount)[1] >= free + 29 * MIB)
            mount.remount()
            check_df(mount, bound, f"after remount, {text}", used_at_most=bound // 8)
            # A program that asks before it writes must be let: cp, dpkg and tar trust this figure.
            _lib.write_file(mount.path("fill"), b"x" * (bound // 2))
            check_df(mount, bound, f"half full, {text}", used_at_least=bound // 2)


if _lib.PLAIN:
    _lib.skip("a plain directory has no bound")
_lib.main(test)
