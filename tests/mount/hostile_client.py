#!/usr/bin/env python3
# ctest: timeout=180
"""Another user on a shared mount (allow_other) who means harm: names and calls at random, the largest of everything, other
people's files, filling the cache, pinning all of it. The daemon lives, what is not his stays as it is, and what he can do is
what docs/security.md says."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import contextlib
import errno
import fcntl
import os
import stat
import _lib
from _lib import check, equal, raises, step

EVIL = 4711


def as_evil(function, *args):
    def run():
        os.setgroups([])
        os.setgid(EVIL)
        os.setuid(EVIL)
        os.umask(0o022)
        function(*args)
    _lib.in_child(90, run)


def garbage(folder, rng):
    """Names of all bytes, too long ones, folders that never end, every call with what makes no sense."""
    os.chdir(folder)
    made = []
    for number in range(300):
        name = bytes(rng.choice([b for b in range(1, 256) if b != ord("/")]) for _ in range(rng.randrange(1, 250))) + b"%d" % number
        with contextlib.suppress(OSError):
            rng.choice([lambda n: os.close(os.open(n, os.O_CREAT | os.O_WRONLY)), os.mkdir, lambda n: os.symlink(n, n)])(name)
            made.append(name)
    listed = set(os.listdir(os.fsencode(folder)))
    equal("names that were listed", set(made), listed)
    raises("a name of 256 bytes", errno.ENAMETOOLONG, os.mkdir, b"x" * 256)
    raises("an empty name", errno.ENOENT, os.mkdir, b"")
    raises("a link to itself", errno.ELOOP, _follow_itself)
    depth = 0
    with contextlib.suppress(OSError):
        while depth < 600:
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
            depth += 1
    check(depth > 100, f"expected deep folders, saw {depth}")
    os.chdir(folder)
    fd = os.open("file", os.O_CREAT | os.O_RDWR)
    for offset in (2**62, 2**63 - 2):
        with contextlib.suppress(OSError):
            os.pwrite(fd, b"x", offset)
        with contextlib.suppress(OSError):
            os.ftruncate(fd, offset)
        with contextlib.suppress(OSError):
            os.pread(fd, 4096, offset)
        with contextlib.suppress(OSError):
            _lib.fallocate(fd, 0, offset, 4096)
    os.ftruncate(fd, 0)
    for _ in range(300):
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, rng.randrange(2**32), b"\0" * rng.choice([0, 8, 1024]))
        with contextlib.suppress(OSError, OverflowError):
            _lib.fallocate(fd, rng.randrange(128), rng.randrange(-(2**63), 2**63), rng.randrange(-(2**63), 2**63))
        with contextlib.suppress(OSError):
            os.lseek(fd, rng.randrange(2**63), rng.randrange(6))
    os.ftruncate(fd, 0)
    # The kernel's limit of one value is 64 KiB; all of one file's together have to fit, too.
    raises("an xattr of 64 KiB and one", (errno.E2BIG, errno.ERANGE), os.setxattr, fd, "user.x", b"x" * 65537)
    raises("a name of an xattr", (errno.ERANGE, errno.ENAMETOOLONG), os.setxattr, fd, "user." + "n" * 251, b"x")
    with contextlib.suppress(OSError):
        for number in range(2000):
            os.setxattr(fd, f"user.{number}", b"x" * 65536)
    for name in ("security.capability", "trusted.overlay.opaque"):
        with contextlib.suppress(OSError):
            os.setxattr(fd, name, b"x" * 20)
            check(False, f"{name}: expected a refusal, saw it set")
    os.close(fd)


def _follow_itself():
    os.symlink("loop", "loop")
    os.stat("loop")


def others_files(mount):
    """What is not his: neither read nor changed, by whatever way."""
    private, public = mount.path("private"), mount.path("public/of_root")
    raises("read", errno.EACCES, os.open, private, os.O_RDONLY)
    for what, call in {
        "write": lambda: os.open(public, os.O_WRONLY), "truncate": lambda: os.truncate(public, 0),
        "chmod": lambda: os.chmod(public, 0o777), "chown": lambda: os.chown(public, EVIL, EVIL),
        "unlink": lambda: os.unlink(public), "rename": lambda: os.rename(public, mount.path("public/x")),
        "replace": lambda: os.rename(_own(mount), public), "pin": lambda: os.setxattr(public, "user.lrufs.pin", b"1"),
        "ttl": lambda: os.setxattr(public, "user.lrufs.ttl", b"1s"), "make in the root": lambda: os.mkdir(mount.path("mine")),
        "a device": lambda: os.mknod(mount.path("public/null"), stat.S_IFCHR | 0o666, os.makedev(1, 3)),
    }.items():
        raises(what, (errno.EACCES, errno.EPERM), call)
    path = mount.path("public/program")
    _lib.write_file(path, b"#!/bin/sh\n", mode=0o755)
    os.chmod(path, 0o6755)
    # What he makes set-id is his own: and the mount is nosuid unless root says otherwise.
    equal("owner of what he makes", EVIL, os.stat(path).st_uid)


def _own(mount):
    path = mount.path("public/own")
    _lib.write_file(path, b"own")
    return path


def fill(mount):
    for number in range(400):
        _lib.write_file(mount.path("public", f"fill{number}"), b"f" * 500_000)


def pin_all(mount):
    """Files of his own, pinned, as many as go in."""
    refused = None
    for number in range(400):
        path = mount.path("public", f"pinned{number}")
        try:
            _lib.write_file(path, b"p" * 500_000)
            os.setxattr(path, "user.lrufs.pin", b"1")
        except OSError as error:
            refused = error.errno
            break
    # ENOENT: the file itself was all that could still go, before it had its pin.
    check(refused in (errno.ENOSPC, errno.ENOENT), f"the end of pinning: expected ENOSPC (or ENOENT), saw {refused}")


def cannot_pin(mount):
    path = mount.path("public", "unpinned")
    _lib.write_file(path, b"x")
    raises("a pin, with noxattr", errno.ENOTSUP, os.setxattr, path, "user.lrufs.pin", b"1")


def test():
    if _lib.PLAIN:
        _lib.skip("is about a shared mount")
    _lib.need_root()
    rng = _lib.seed()
    with _lib.Mount("shared", size="64M", options=("-o", "allow_other")) as mount:
        os.mkdir(mount.path("public"))
        os.chmod(mount.path("public"), 0o1777)
        _lib.write_file(mount.path("private"), b"secret", mode=0o600)
        _lib.write_file(mount.path("public/of_root"), b"root's", mode=0o644)
        _lib.write_file(mount.path("pinned"), b"stays" * 1000)
        os.setxattr(mount.path("pinned"), "user.lrufs.pin", b"1")
        _lib.write_file(mount.path("unpinned"), b"may go" * 1000)
        daemon = mount.pid

        step("what is not his")
        as_evil(others_files, mount)
        equal("root's file", b"root's", _lib.read_file(mount.path("public/of_root")))
        step("garbage")
        os.mkdir(mount.path("public/evil"))
        os.chown(mount.path("public/evil"), EVIL, EVIL)
        as_evil(garbage, mount.path("public/evil"), rng)
        equal("the daemon", [daemon], mount.daemons())

        step("filling the cache: the least recently used go, whose they are; a pin keeps")
        as_evil(fill, mount)
        equal("a pinned file", b"stays" * 1000, _lib.read_file(mount.path("pinned")))
        check(not os.path.exists(mount.path("unpinned")), "expected the oldest file to be evicted, whoever owns it")

        step("pinning all of it: no room for others, until root takes it away")
        as_evil(pin_all, mount)
        pinned = {name for name in os.listdir(mount.path("public")) if "user.lrufs.pin" in os.listxattr(mount.path("public", name))}
        check(len(pinned) > 50, f"expected most of the store to be pinned, saw {len(pinned)} files")
        with contextlib.suppress(OSError):  # what still fits makes room for itself
            for number in range(50):
                _lib.write_file(mount.path(f"of_root{number}"), b"r" * 500_000)
        left = sum(os.path.exists(mount.path(f"of_root{number}")) for number in range(50))
        check(left < 25, f"expected little room beside what is pinned, saw {left} files of 50")
        equal("what is pinned", [], sorted(pinned - set(os.listdir(mount.path("public")))))
        equal("a pinned file of root", b"stays" * 1000, _lib.read_file(mount.path("pinned")))
        for name in os.listdir(mount.path("public")):
            if name.startswith("pinned"):
                os.unlink(mount.path("public", name))
        _lib.write_file(mount.path("of_root"), b"r" * 500_000)
        equal("the daemon", [daemon], mount.daemons())

        step("with noxattr nobody pins")
        mount.remount("-o", "noxattr")
        as_evil(cannot_pin, mount)


_lib.main(test)
