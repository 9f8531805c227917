#!/usr/bin/env python3
# ctest: timeout=120
"""overlayfs with the mount as its upper layer (whiteouts, opaque folders in trusted.* xattrs, O_TMPFILE, RENAME_WHITEOUT) and
as its lower one. LRUFS_TEST_DIR=/some/dir takes a plain directory."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import os
import shutil
import stat
import _lib
from _lib import Mount, equal, raises, read_file, run, step, write_file
import errno

J = os.path.join


def overlay(lower, upper, work, options=""):
    path = J(_lib.WORK, "merged")
    os.makedirs(path, exist_ok=True)
    run(20, "mount", "-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}{options}", "overlay", path)
    return path


def use(merged):
    """What each layer has to be good for; the tree that is left is looked at by see()."""
    equal("a file below", b"below", read_file(J(merged, "file")))
    write_file(J(merged, "file"), b"above")                         # copied up
    os.unlink(J(merged, "gone"))                                    # a whiteout
    shutil.rmtree(J(merged, "folder"))
    os.mkdir(J(merged, "folder"))                                   # opaque
    write_file(J(merged, "folder", "new"), b"new")
    os.rename(J(merged, "moved"), J(merged, "here"))                # a whiteout is left behind
    os.chmod(J(merged, "big"), 0o600)                               # copied up whole
    write_file(J(merged, "there"), b"1")
    os.link(J(merged, "there"), J(merged, "there2"))
    os.setxattr(J(merged, "there"), "user.x", b"1")


def see(merged):
    equal("names", ["big", "file", "folder", "here", "there", "there2"], sorted(os.listdir(merged)))
    equal("content", (b"above", b"moved", b"new"), (read_file(J(merged, "file")), read_file(J(merged, "here")), read_file(J(merged, "folder", "new"))))
    equal("an opaque folder", ["new"], os.listdir(J(merged, "folder")))
    equal("what was copied up", (3_000_000, 0o600), (len(read_file(J(merged, "big"))), stat.S_IMODE(os.stat(J(merged, "big")).st_mode)))
    equal("links", 2, os.stat(J(merged, "there")).st_nlink)
    raises("a whiteout", errno.ENOENT, os.stat, J(merged, "gone"))


def below(top):
    os.makedirs(J(top, "folder"))
    for name in ("file", "gone", "moved"):
        write_file(J(top, name), b"below" if name == "file" else name.encode())
    write_file(J(top, "folder", "old"), b"old")
    write_file(J(top, "big"), b"x" * 3_000_000)


def test():
    _lib.need_root()
    with Mount() as mount:
        plain = J(_lib.WORK, "plain")
        run(20, "mount", "-t", "tmpfs", "tmpfs", _made(plain))
        for what, lower_top, upper_top in (("upper", plain, mount.dir), ("lower", mount.dir, plain), ("both", mount.dir, mount.dir)):
            lower, upper, work = (J(top, f"{what}-{kind}") for top, kind in ((lower_top, "l"), (upper_top, "u"), (upper_top, "w")))
            for path in (lower, upper, work):
                os.mkdir(path)
            below(lower)
            merged = overlay(lower, upper, work)
            use(merged)
            see(merged)
            run(20, "umount", merged)
            if what != "lower":
                seen = os.lstat(J(upper, "gone"))
                equal("the whiteout in the upper layer", (True, 0), (stat.S_ISCHR(seen.st_mode), seen.st_rdev))
                mount.remount()
            merged = overlay(lower, upper, work)
            see(merged)
            run(20, "umount", merged)
            equal("the lower layer", b"below", read_file(J(lower, "file")))
            step(f"as {what}")


def _made(path):
    os.mkdir(path)
    return path


_lib.main(test)
