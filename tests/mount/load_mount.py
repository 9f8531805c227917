#!/usr/bin/env python3
# ctest: timeout=120
"""`lrufs load` through a mount: what `lrufs dump` wrote comes back with all that belongs to it, in the order of use; what
tar wrote as well; interrupted, each file is whole or absent."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import json
import os
import signal
import stat
import _lib
from _lib import LRUFS, MIB, Mount, WORK, check, equal, run, step, wait_for


def facts(mount, name):
    path = mount.path(name)
    seen = os.lstat(path)
    xattrs = {n: os.getxattr(path, n, follow_symlinks=False) for n in os.listxattr(path, follow_symlinks=False)}
    what = os.readlink(path) if stat.S_ISLNK(seen.st_mode) else _lib.read_file(path) if stat.S_ISREG(seen.st_mode) else None
    return (oct(seen.st_mode), seen.st_uid, seen.st_gid, seen.st_mtime_ns, seen.st_nlink if not what is None else 0, xattrs, what)


def order(target):
    text = run(20, LRUFS, "ls", "--lru", "--json", target)
    return [each["path"] if "path" in each else each["key"] for each in json.loads(text)]


def test():
    first = Mount(name="first", size="64M", options=["--recency", "0"])
    first.mount()
    os.makedirs(first.path("a/b/empty"))
    for i in range(40):
        _lib.write_file(first.path(f"a/b/f{i}"), os.urandom(i * 3000))
    _lib.write_file(first.path("a/x"), b"x")
    os.link(first.path("a/x"), first.path("a/second"))
    os.symlink("b/f1", first.path("a/link"))
    os.mkfifo(first.path("a/fifo"))
    os.setxattr(first.path("a/x"), "user.with space=%", b"\0value\xff")
    os.setxattr(first.path("a/b/f3"), "user.lrufs.pin", b"1")
    os.setxattr(first.path("a/b/f4"), "user.lrufs.ttl", b"5000")
    os.chmod(first.path("a/b/f5"), 0o4711)
    os.utime(first.path("a/b/f6"), ns=(10 ** 18 + 1, 10 ** 18 + 2))
    if os.geteuid() == 0:
        os.chown(first.path("a/b/f7"), 1234, 4321)
    os.utime(first.path("a/b"), ns=(10 ** 18, 10 ** 18 + 7))
    with open(first.path("a/sparse"), "wb") as file:
        file.truncate(5 * MIB)
        file.write(b"at the start")
    for i in (7, 3, 20, 1):
        _lib.read_file(first.path(f"a/b/f{i}"))
    names = ["a/x", "a/second", "a/link", "a/fifo", "a/sparse", "a/b"] + [f"a/b/f{i}" for i in range(40)]
    archive = os.path.join(WORK, "archive.tar")
    run(30, LRUFS, "dump", "-o", archive, first.dir)

    step("a dump comes back through a mount, by the mount's name and by the store's")
    expected = {name: facts(first, name) for name in names}
    for kind in ("mount", "store"):
        second = Mount(name=f"second-{kind}", size="64M", options=["--recency", "0"])
        second.mount()
        _lib.write_file(second.path("other"), b"stays")
        os.makedirs(second.path("a"))
        _lib.write_file(second.path("a/x"), b"is replaced")
        seen = json.loads(run(60, LRUFS, "load", "--json", second.dir if kind == "mount" else second.store, archive))
        equal("left out", 0, seen["left_out"])
        check(seen["files"] >= 44 and seen["links"] == 1, f"saw {seen}")
        for name in names:
            equal(name, expected[name], facts(second, name))
        check(os.stat(second.path("a/sparse")).st_blocks < 100, "the hole was filled")
        equal("other", b"stays", _lib.read_file(second.path("other")))
        second.check()

    step("in the order of use")
    third = Mount(name="third", size="64M", options=["--recency", "0"])
    third.mount()
    run(60, LRUFS, "load", third.dir, archive)
    with open(third.path(".lrufs/next"), encoding="utf-8") as file:
        seen = [line.split(" ", 1)[1].strip() for line in file]
    with os.popen(f"tar tf {archive}") as listing:
        members = ["/" + line.strip() for line in listing if not line.strip().endswith("/")]
    wanted = [name for name in members if name in seen]
    equal("order", wanted, [name for name in seen if name in members])
    check(len(wanted) > 30, f"expected most of them, saw {wanted}")

    step("below a folder; what tar wrote; what does not belong there")
    os.makedirs(third.path("sub"))
    folder = os.path.join(WORK, "tree")
    os.makedirs(os.path.join(folder, "in"))
    for name in ("one", "in/two", "in/three"):
        _lib.write_file(os.path.join(folder, name), name.encode() * 1000)
    run(30, "bash", "-c", f"tar -C {folder} -cz . | {LRUFS} load {third.path('sub')}")
    equal("in/two", b"in/two" * 1000, _lib.read_file(third.path("sub/in/two")))
    run(30, "tar", "-C", folder, "-cPf", archive + "2", "--transform", "s,^one,../../out,", "one", "in/two")
    text = run(30, LRUFS, "load", third.path("sub"), archive + "2", ok=(1,))
    check("left out" in text and '".."' in text, f"saw {text!r}")
    check(not os.path.exists(third.path("out")) and not os.path.exists(os.path.join(WORK, "out")), "it went out of the folder")
    text = run(30, LRUFS, "load", "--size", "1G", third.dir, archive, ok=(2,))
    check("lrufs resize" in text, f"saw {text!r}")
    text = run(30, LRUFS, "load", third.path("sub"), os.path.join(folder, "one"), ok=(1,))
    check("tar archive" in text, f"saw {text!r}")

    step("interrupted")
    with open(os.path.join(WORK, "err"), "wb") as err:
        process = _lib.spawn(LRUFS, "load", third.dir, stdin=-1, stderr=err)
        with open(archive, "rb") as file:
            process.stdin.write(file.read(300_000))
            process.stdin.flush()
        wait_for("some of it is there", 20, lambda: os.path.exists(third.path("a/b/f9")))
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        equal("exit status", -signal.SIGINT, process.wait(20))
    for name in names:
        if os.path.lexists(third.path(name)):
            equal(name + " after the interruption", expected[name][-1], facts(third, name)[-1])
    left = [n for _, _, files in os.walk(third.path("a")) for n in files if "a/" + n not in names and "a/b/" + n not in names]
    equal("what is left over", [], left)
    third.check()
    first.check()


if _lib.PLAIN:
    _lib.skip("a plain directory has no store")
_lib.main(test)
