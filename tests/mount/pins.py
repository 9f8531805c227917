#!/usr/bin/env python3
# ctest: timeout=180
"""Pins: what user.lrufs.pin is set on, and what lies below it, is not evicted: files that were there, that come later, that
are moved in; what is moved out goes again. Remounts and SIGKILL keep pins; cp -a and tar carry them. With all pinned there
is ENOSPC, until a pin goes; then the old order counts, uses while it was pinned included.

What makes it fail, for example: a pin that is not looked for at each ancestor; parked files that do not come back, or at
another place; a pin that is only in memory."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import errno
import json
import os
import _lib
from _lib import Mount, check, equal, raises, step, write_file, KIB, MIB

PIN = "user.lrufs.pin"
BOUND = 24 * MIB
SIZE = 128 * KIB
TAR = os.path.join(_lib.WORK, "t.tar")


def data(name):
    return ((os.path.basename(name).encode() + b"\n") * SIZE)[:SIZE]


def put(mount, *names):
    for name in names:
        write_file(mount.path(name), data(name))


def there(mount, names):
    """By listing, which is no use."""
    found = []
    for name in names:
        folder, base = os.path.split(name)
        if folder and not os.path.isdir(mount.path(folder)):
            continue
        if base in os.listdir(mount.path(folder)):
            found.append(name)
    return found


def fill(mount, total, folder="fill"):
    """Newer files of so many bytes."""
    os.makedirs(mount.path(folder), exist_ok=True)
    fill.serial = getattr(fill, "serial", 0)
    for _ in range(total // SIZE):
        fill.serial += 1
        put(mount, f"{folder}/n{fill.serial}")


def statistics(mount):
    return json.loads(_lib.run(20, _lib.LRUFS, "stat", "--json", mount.dir))["statistics"]


def the_xattr(mount):
    step("the xattr")
    put(mount, "x")
    os.mkdir(mount.path("xd"))
    for path in (mount.path("x"), mount.path("xd"), mount.dir):
        raises("a pin that is not there", errno.ENODATA, os.getxattr, path, PIN)
        raises("to take it away", errno.ENODATA, os.removexattr, path, PIN)
        raises("a value that means nothing", errno.EINVAL, os.setxattr, path, PIN, b"yes")
        os.setxattr(path, PIN, b"")
        equal("its value", b"1", os.getxattr(path, PIN))
        raises("XATTR_CREATE", errno.EEXIST, os.setxattr, path, PIN, b"1", os.XATTR_CREATE)
        check(PIN in os.listxattr(path), f"expected {PIN} in the list of {path}, saw {os.listxattr(path)}")
        os.setxattr(path, PIN, b"0")
        equal("the list after 0", False, PIN in os.listxattr(path))
    raises("another name of ours", errno.EOPNOTSUPP, os.setxattr, mount.path("x"), "user.lrufs.none", b"1")
    os.setxattr(mount.path("x"), PIN, b"1")
    _lib.run(20, "cp", "-a", mount.path("x"), mount.path("copy"))
    equal("after cp -a", b"1", os.getxattr(mount.path("copy"), PIN))
    _lib.run(20, "tar", "-C", mount.dir, "--xattrs", "--xattrs-include=*", "-cf", TAR, "x")
    os.mkdir(mount.path("out"))
    _lib.run(20, "tar", "-C", mount.path("out"), "--xattrs", "--xattrs-include=*", "-xf", TAR)
    equal("after tar", b"1", os.getxattr(mount.path("out", "x"), PIN))
    seen = statistics(mount)
    equal("pinned objects", 3, seen["pinned_objects"])
    equal("pinned bytes", 3 * len(data("x")), seen["pinned_bytes"])
    for name in ("copy", "out/x"):
        os.unlink(mount.path(name))
    for name in ("x", "xd"):
        (os.rmdir if name == "xd" else os.unlink)(mount.path(name))
    equal("pinned objects after deletion", 0, statistics(mount)["pinned_objects"])


KEPT = ["single", "kept/early", "kept/deep/er/early", "kept/late", "kept/deep/er/late", "kept/moved", "kept/tree/in/side",
        "elsewhere/linked"]
GONE = ["loose", "out-of-it", "outtree/file"]


def what_is_covered(mount):
    step("before, later, moved in, moved out, linked; 4 times the bound")
    for folder in ("kept/deep/er", "elsewhere", "tree/in", "kept/outtree"):
        os.makedirs(mount.path(folder))
    put(mount, "loose", "single", "kept/early", "kept/deep/er/early", "moved", "kept/out-of-it", "tree/in/side",
        "kept/outtree/file", "elsewhere/linked")
    os.setxattr(mount.path("single"), PIN, b"1")
    os.setxattr(mount.path("kept"), PIN, b"1")
    put(mount, "kept/late", "kept/deep/er/late")
    os.rename(mount.path("moved"), mount.path("kept/moved"))
    os.rename(mount.path("tree"), mount.path("kept/tree"))
    os.link(mount.path("elsewhere/linked"), mount.path("kept/link"))
    fill(mount, 2 * BOUND)
    os.rename(mount.path("kept/out-of-it"), mount.path("out-of-it"))
    os.rename(mount.path("kept/outtree"), mount.path("outtree"))
    check_kept(mount, "after twice the bound")
    fill(mount, 2 * BOUND)
    check_kept(mount, "after four times the bound")
    equal("what no pin covers", [], there(mount, GONE))


def check_kept(mount, what):
    for name in KEPT:
        check(os.path.exists(mount.path(name)), f"{what}: expected {name} to be there")
        check(_lib.read_file(mount.path(name)) == data(name), f"{what}: {name} has other content")


def across_mounts(mount):
    step("remount, SIGKILL")
    mount.remount()
    fill(mount, BOUND)
    check_kept(mount, "after a remount")
    os.mkdir(mount.path("pinned-late"))
    os.setxattr(mount.path("pinned-late"), PIN, b"1")
    put(mount, "pinned-late/f")
    mount.kill()
    mount.mount()
    fill(mount, 2 * BOUND)
    check_kept(mount, "after SIGKILL")
    equal("pinned right before SIGKILL", data("f"), _lib.read_file(mount.path("pinned-late/f")))


def the_order_after_unpinning(mount):
    step("the old order after unpinning")
    os.removexattr(mount.path("kept"), PIN)
    os.removexattr(mount.path("pinned-late"), PIN)
    os.removexattr(mount.path("single"), PIN)
    fill(mount, 2 * BOUND)
    equal("what lost its pin, after twice the bound", [], there(mount, KEPT + ["pinned-late/f"]))
    os.makedirs(mount.path("order"))
    names = [f"order/f{n}" for n in range(20)]
    put(mount, *names)
    os.setxattr(mount.path("order"), PIN, b"1")
    fill(mount, 2 * BOUND)  # parks all of them
    used = [names[n] for n in (3, 0, 11)]
    for name in used:
        os.stat(mount.path(name))
    equal("parked", len(names), statistics(mount)["parked_objects"])
    os.removexattr(mount.path("order"), PIN)
    expected = [name for name in names if name not in used] + used
    while left := there(mount, names):
        equal("what is left, least recently used first", expected[len(expected) - len(left):],
              [name for name in expected if name in left])
        fill(mount, 4 * SIZE)


def everything_is_pinned(mount):
    step("everything is pinned: ENOSPC; unpinned: it goes on")
    os.setxattr(mount.dir, PIN, b"1")
    os.makedirs(mount.path("full"))
    written = []
    try:
        for n in range(2 * BOUND // SIZE):
            put(mount, f"full/f{n}")
            written.append(f"full/f{n}")
        _lib.fail("expected ENOSPC with the root pinned")
    except OSError as error:
        equal("the error", errno.ENOSPC, error.errno)
    equal("all that was written", written, [name for name in written if os.path.exists(mount.path(name))])
    os.removexattr(mount.dir, PIN)
    fill(mount, BOUND // 4)
    for name in written[-3:]:
        check(_lib.read_file(mount.path(name)) == data(name), f"{name}: expected its content")


def test():
    _lib.need("cp", "tar")
    with Mount(size=f"{BOUND // MIB}M", options=["--recency", "0s"]) as mount:
        the_xattr(mount)
        what_is_covered(mount)
        across_mounts(mount)
        the_order_after_unpinning(mount)
        everything_is_pinned(mount)


if _lib.PLAIN:
    _lib.skip("a plain directory has no pins")
_lib.main(test)
