#!/usr/bin/env python3
# ctest: timeout=240
"""The worker of a supervised mount dies at chosen places of each kind of request: the caller gets the one right answer, once. A request
that ends each worker is answered EIO after three. By a program with crash points built in (tests/CMakeLists.txt)."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import contextlib
import errno
import os
import _lib
import _takeover
from _lib import Mount, check, equal, step

_lib.LRUFS = os.path.join(os.environ["LRUFS_BUILD_DIR"], "tests", "tools", "crashing", "lrufs")
CRASH_FILE = os.path.join(_lib.WORK, "crash")
ALL = ("begun", "changed", "published", "answered")
UNCHANGING = ("begun", "answered")


def arm(kind, place, how):
    with open(CRASH_FILE + ".new", "w", encoding="ascii") as file:
        file.write(f"{kind} {place} {how}\n")
    os.rename(CRASH_FILE + ".new", CRASH_FILE)


def disarm():
    with contextlib.suppress(FileNotFoundError):
        os.unlink(CRASH_FILE)


def restarts(mount):
    return _takeover.statistics(mount)["supervised"]["restarts"]


class Once:
    """What is done with a crash armed for it, and the things that it needs, made before."""

    def __init__(self, mount, name):
        self.top = mount.path(name)
        os.mkdir(self.top)
        _lib.write_file(self.p("file"), b"content")
        os.setxattr(self.p("file"), "user.old", b"old")
        _lib.write_file(self.p("large"), b"L" * 300_000)
        os.mkdir(self.p("folder"))
        self.fd = os.open(self.p("file"), os.O_RDWR | os.O_APPEND)
        self.large = os.open(self.p("large"), os.O_RDWR)

    def close(self):
        os.close(self.fd)
        os.close(self.large)

    def p(self, name):
        return os.path.join(self.top, name)

    def mknod(self):
        os.close(os.open(self.p("new"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
        equal("the new file", (0, 0o640), (os.stat(self.p("new")).st_size, os.stat(self.p("new")).st_mode & 0o7777))

    def mkdir(self):
        os.mkdir(self.p("new"))
        equal("the new folder", [], os.listdir(self.p("new")))

    def symlink(self):
        os.symlink("target", self.p("new"))
        equal("the symlink", "target", os.readlink(self.p("new")))

    def link(self):
        os.link(self.p("file"), self.p("new"))
        equal("links", 2, os.stat(self.p("new")).st_nlink)

    def unlink(self):
        os.unlink(self.p("file"))
        equal("what is left", ["folder", "large"], sorted(os.listdir(self.top)))
        equal("content of the open file", b"content", os.pread(self.fd, 100, 0))

    def rmdir(self):
        os.rmdir(self.p("folder"))
        check(not os.path.exists(self.p("folder")), "the folder is still there")

    def rename(self):
        os.rename(self.p("file"), self.p("large"))
        equal("what is left", ["folder", "large"], sorted(os.listdir(self.top)))
        equal("content", b"content", _lib.read_file(self.p("large")))
        equal("content of the replaced file, open", b"L" * 1000, os.pread(self.large, 1000, 0))

    def rename_exchange(self):
        _takeover.renameat2(self.p("file"), self.p("large"), _takeover.RENAME_EXCHANGE)
        equal("content", b"content", _lib.read_file(self.p("large")))
        equal("size of the other", 300_000, os.stat(self.p("file")).st_size)

    def append(self):
        equal("bytes written", 5, os.write(self.fd, b" more"))
        equal("content", b"content more", _lib.read_file(self.p("file")))

    def write_large(self):
        equal("bytes written", 200_000, os.pwrite(self.large, b"M" * 200_000, 50_000))
        equal("content", b"L" * 50_000 + b"M" * 200_000 + b"L" * 50_000, _lib.read_file(self.p("large")))

    def setxattr(self):
        os.setxattr(self.p("file"), "user.new", b"value", os.XATTR_CREATE)
        equal("the xattr", b"value", os.getxattr(self.p("file"), "user.new"))

    def removexattr(self):
        os.removexattr(self.p("file"), "user.old")
        equal("xattrs", [], os.listxattr(self.p("file")))

    def setattr(self):
        os.truncate(self.p("file"), 3)
        equal("content", b"con", _lib.read_file(self.p("file")))

    def fallocate(self):
        os.posix_fallocate(self.large, 0, 400_000)
        equal("size", 400_000, os.stat(self.p("large")).st_size)

    def copy(self):
        target = os.open(self.p("new"), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        done = 0
        while done < 300_000:
            done += os.copy_file_range(self.large, target, 300_000 - done)
        os.close(target)
        equal("the copy", b"L" * 300_000, _lib.read_file(self.p("new")))

    def tmpfile(self):
        fd = os.open(self.top, os.O_TMPFILE | os.O_RDWR, 0o600)
        equal("links", 0, os.fstat(fd).st_nlink)
        equal("bytes written", 4, os.write(fd, b"data"))
        _takeover.link_open_file(fd, self.p("new"))
        os.close(fd)
        equal("content", b"data", _lib.read_file(self.p("new")))

    def lookup(self):
        check(not os.path.exists(self.p("never-asked-for")), "a name that nobody made is there")

    def read(self):
        os.posix_fadvise(self.large, 0, 0, os.POSIX_FADV_DONTNEED)
        equal("content", b"L" * 300_000, os.pread(self.large, 300_000, 0))

    def fsync(self):
        os.write(self.fd, b"!")
        os.fsync(self.fd)

    def listing(self):
        equal("names", ["file", "folder", "large"], sorted(os.listdir(self.top)))


KINDS = [(8, "mknod", ALL), (9, "mkdir", ALL), (6, "symlink", ALL), (13, "link", ALL), (10, "unlink", ALL), (11, "rmdir", ALL),
         (12, "rename", ALL), (45, "rename_exchange", ALL), (16, "append", ALL), (16, "write_large", ALL), (21, "setxattr", ALL),
         (24, "removexattr", ALL), (4, "setattr", ALL), (43, "fallocate", ALL), (47, "copy", ALL), (51, "tmpfile", ALL),
         (1, "lookup", UNCHANGING), (15, "read", UNCHANGING), (20, "fsync", UNCHANGING), (44, "listing", UNCHANGING)]


def each_kind(mount):
    number = deaths = 0
    for kind, name, places in KINDS:
        for place in places:
            for how in ("kill", "crash"):
                number += 1
                once = Once(mount, f"{name}-{place}-{how}")
                before = restarts(mount)
                arm(kind, place, how)
                try:
                    getattr(once, name)()
                except (OSError, _lib.Failure) as error:
                    _lib.fail(f"{name}, {how} where it has {place}: {error}")
                # The caller may have its answer before.
                _lib.wait_for(f"{name}: the worker dies where it has {place}", 20, lambda: not os.path.exists(CRASH_FILE))
                once.close()
                _lib.wait_for("another worker has taken over", 20, lambda: restarts(mount) == before + 1)
                deaths += 1
    step(f"{deaths} deaths in {number} requests")


def poison(mount):
    """Each worker that takes the request dies of it."""
    before = restarts(mount)
    arm(9, "begun", "always")
    _lib.raises("mkdir that ends each worker", errno.EIO, os.mkdir, mount.path("poison"))
    disarm()
    equal("workers that it took", before + 3, restarts(mount))
    os.mkdir(mount.path("poison"))
    with open(_lib.DAEMON_LOG, encoding="utf-8") as log:
        check(any("mkdir" in line and "EIO" in line for line in log), "expected the log to tell which kind of request it was")
    told = _lib.run(20, _lib.LRUFS, "stat", mount.dir)
    check("takeovers, the last one after signal 11" in told, f"expected lrufs stat to tell how often and why, saw:\n{told}")
    step("a poisonous request")


def old_kernel():
    """One that does not send requests again (played by a switch): it is said, and the mount ends with its worker, as without a supervisor."""
    os.environ["LRUFS_NO_RESEND"] = "1"
    mount = Mount(name="old", size="64M", options=("--supervise",))
    mount.mount()
    del os.environ["LRUFS_NO_RESEND"]
    _lib.write_file(mount.path("file"), b"content")
    told = _lib.run(20, _lib.LRUFS, "stat", mount.dir)
    check("no takeover" in told and "6.9" in told, f"expected lrufs stat to say that takeover is off, saw:\n{told}")
    with open(_lib.DAEMON_LOG, encoding="utf-8") as log:
        check("does not send requests again" in log.read(), "expected the log to say that takeover is off")
    fd = os.open(mount.dir, os.O_RDONLY)
    _takeover.kill_worker(mount.pid)
    mount.wait_gone()
    check(not mount.mounted(), "expected the mount to end with its worker")
    _lib.raises("a look at it", (errno.ENOTCONN, errno.ECONNABORTED), os.listdir, fd)
    with contextlib.suppress(OSError):
        os.close(fd)
    mount.mount()
    equal("content", b"content", _lib.read_file(mount.path("file")))
    mount.check()
    step("an old kernel")


def test():
    if _lib.PLAIN:
        _lib.skip("there is no daemon on a plain directory")
    os.environ["LRUFS_CRASH_FILE"] = CRASH_FILE
    # A confined worker could not read the file that says where it is to die.
    mount = Mount(size="256M", options=("--supervise", "-o", "no_confine"))
    mount.mount()
    if not _takeover.statistics(mount)["supervised"]["takeover"]:
        _lib.skip("this kernel does not send requests again")
    arm(9, "begun", "kill")
    os.mkdir(mount.path("probe"))
    check(not os.path.exists(CRASH_FILE), "this program has no crash points")
    each_kind(mount)
    poison(mount)
    mount.check()
    old_kernel()


_lib.main(test)
