#!/usr/bin/env python3
# ctest: timeout=120
"""The store's file as others meet it: nobody but its owner may read it, whatever the umask; a link in its place is no way to
another file; its lock is not lost by somebody who opens it, locks it or takes its name away."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import errno
import fcntl
import os
import stat
import struct
import _lib
from _lib import check, equal, step

OFD_SETLK = 37


def mode(path):
    return oct(stat.S_IMODE(os.lstat(path).st_mode))


def who_may_read_it(folder):
    step("its mode")
    os.umask(0)
    path = os.path.join(folder, "new.lrufs")
    with _lib.Mount("mode", size="64M", store=path) as mount:
        equal("mode of a new store", "0o600", mode(path))
        _lib.write_file(mount.path("file"), b"content")
    made = {"copy": ("copy", path, os.path.join(folder, "copy.lrufs")), "put": ("put", os.path.join(folder, "put.lrufs"), "key", __file__)}
    _lib.run(60, _lib.LRUFS, *made["copy"])
    equal("mode of a copy", "0o600", mode(made["copy"][2]))
    archive = os.path.join(folder, "all.tar")
    _lib.run(60, _lib.LRUFS, "dump", path, "-o", archive)
    _lib.run(60, _lib.LRUFS, "load", "--size", "64M", os.path.join(folder, "load.lrufs"), archive)
    equal("mode of a store that was loaded", "0o600", mode(os.path.join(folder, "load.lrufs")))
    os.umask(0o022)
    return path


def links(folder, store):
    step("a link in its place")
    mount_point = os.path.join(folder, "mnt")
    os.mkdir(mount_point)
    victim = os.path.join(folder, "victim")
    _lib.write_file(victim, b"precious " * 1000)
    planted = os.path.join(folder, "planted.lrufs")
    os.symlink(victim, planted)
    refused = _lib.run(30, _lib.LRUFS, "mount", "--size", "64M", planted, mount_point, ok=(1,))
    check("is not an lrufs store" in refused, f"a link to another file: expected that it is no store, saw {refused}")
    equal("the file that the link leads to", b"precious " * 1000, _lib.read_file(victim))
    os.unlink(planted)
    nowhere = os.path.join(folder, "nowhere")
    os.symlink(nowhere, planted)
    refused = _lib.run(30, _lib.LRUFS, "mount", "--size", "64M", planted, mount_point, ok=(1,))
    check("symbolic link" in refused, f"a link that leads nowhere: saw {refused}")
    check(not os.path.lexists(nowhere), "a store was made where a link leads to")
    for verb in (("put", planted, "key", __file__), ("resize", planted, "64M"), ("check", planted)):
        _lib.run(30, _lib.LRUFS, *verb, ok=(1, 2))
        check(not os.path.lexists(nowhere), f"lrufs {verb[0]}: something was made where a link leads to")
    # Writing over a link replaces the link.
    _lib.run(60, _lib.LRUFS, "dump", store, "-o", planted, ok=(0, 1))
    check(not os.path.lexists(nowhere), "lrufs dump: something was made where a link leads to")


def lock(folder, store):
    step("its lock")
    other = os.path.join(folder, "other")
    os.makedirs(other)

    def second_mount_is_refused(after):
        refused = _lib.run(30, _lib.LRUFS, "mount", store, other, ok=(1,))
        check("in use" in refused, f"a second mount, {after}: expected 'in use', saw {refused}")

    with _lib.Mount("locked", store=store) as mount:
        # A lock of fcntl(2) of the older kind would be lost when anything in its process closes the file.
        _lib.run(30, _lib.LRUFS, "stat", store)
        _lib.run(30, _lib.LRUFS, "get", "-o", os.path.join(folder, "got"), mount.dir, "file")
        second_mount_is_refused("after others have opened and closed the file")
        with open(store, "r+b") as file:
            _lib.raises("a lock on records", (errno.EAGAIN, errno.EACCES), fcntl.lockf, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for kind in (fcntl.F_WRLCK, fcntl.F_RDLCK):
                wanted = struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 1, 0)
                _lib.raises("a lock of an open file", (errno.EAGAIN, errno.EACCES), fcntl.fcntl, file, OFD_SETLK, wanted)
            fcntl.lockf(file, fcntl.LOCK_UN)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # another kind: means nothing here
            second_mount_is_refused("while somebody has another lock")
        second_mount_is_refused("after somebody has unlocked the file")
        hidden = store + ".hidden"
        os.rename(store, hidden)
        os.symlink(hidden, store)
        second_mount_is_refused("with a link in its place")
        os.unlink(store)
        os.link(hidden, store)
        second_mount_is_refused("by another name of the file")
        os.unlink(hidden)
        equal("content", b"content", _lib.read_file(mount.path("file")))
        _lib.write_file(mount.path("after"), b"written")


def test():
    if _lib.PLAIN:
        _lib.skip("there is no store on a plain directory")
    folder = os.path.join(_lib.WORK, "folder")
    os.mkdir(folder)
    store = who_may_read_it(folder)
    links(folder, store)
    lock(folder, store)


_lib.main(test)
