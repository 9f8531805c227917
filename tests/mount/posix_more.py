#!/usr/bin/env python3
# ctest: timeout=240
"""What the other posix_*.py leave: O_TMPFILE, whiteouts, file handles, inotify, locks, set-id bits under every kind of
change, descriptors of the wrong kind, limits of size, maps, read-only mounts. Runs on a plain directory as well:
LRUFS_TEST_DIR=/some/dir (tmpfs and ext4 pass; where they differ the test says so)."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
import stat
import struct
import _lib
import _posix
from _lib import SkipTest, check, equal, fallocate, libc, raises, read_file, renameat2, write_file
from _posix import AT_FDCWD, AT_SYMLINK_FOLLOW, GROUP, J, OTHER, OWNER, acting_as, need_users

PROC = "/proc/self/fd/{}"


def touch(*parts, data=b"", mode=0o644):
    write_file(J(*parts), data, mode=mode)
    return J(*parts)


# --- O_TMPFILE ------------------------------------------------------------------------------------------------------

def need_tmpfile(d):
    if not _posix.takes_tmpfile(d):
        raise SkipTest("no O_TMPFILE here")


def test_tmpfile_and_linkat(d):
    need_tmpfile(d)
    fd = os.open(d, os.O_TMPFILE | os.O_RDWR, 0o640)
    equal("links, mode", (0, oct(0o640)), (os.fstat(fd).st_nlink, oct(stat.S_IMODE(os.fstat(fd).st_mode))))
    os.write(fd, b"x" * 100_000)
    os.fsync(fd)
    equal("names", [], os.listdir(d))
    equal("content", b"x" * 100_000, os.pread(fd, 200_000, 0))
    _posix.link(PROC.format(fd), J(d, "named"), AT_SYMLINK_FOLLOW)
    equal("links once it has a name", 1, os.fstat(fd).st_nlink)
    equal("one inode", os.fstat(fd).st_ino, os.stat(J(d, "named")).st_ino)
    raises("a name that is taken", errno.EEXIST, _posix.link, PROC.format(fd), J(d, "named"), AT_SYMLINK_FOLLOW)
    os.write(fd, b"more")
    os.close(fd)
    equal("size", 100_004, os.stat(J(d, "named")).st_size)
    fd = os.open(d, os.O_TMPFILE | os.O_RDWR | os.O_EXCL)
    raises("O_EXCL: never to be linked", errno.ENOENT, _posix.link, PROC.format(fd), J(d, "x"), AT_SYMLINK_FOLLOW)
    os.close(fd)
    raises("without write access", errno.EINVAL, os.open, d, os.O_TMPFILE | os.O_RDONLY)
    yield
    equal("content after remount", b"x" * 100_000 + b"more", read_file(J(d, "named")))


def test_tmpfile_inherits(d):
    need_users()
    need_tmpfile(d)
    os.chown(d, 0, GROUP)
    os.chmod(d, 0o2777)
    os.umask(0o027)
    with acting_as(OTHER):
        fd = os.open(d, os.O_TMPFILE | os.O_RDWR, 0o666)
    seen = os.fstat(fd)
    equal("owner, group of the folder, umask", (OTHER, GROUP, oct(0o640)), (seen.st_uid, seen.st_gid, oct(stat.S_IMODE(seen.st_mode))))
    os.close(fd)
    os.setxattr(d, "system.posix_acl_default", struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (
        (1, 7, 0xffffffff), (2, 6, OWNER), (4, 5, 0xffffffff), (16, 7, 0xffffffff), (32, 0, 0xffffffff))))
    fd = os.open(d, os.O_TMPFILE | os.O_RDWR, 0o666)
    equal("mode under a default ACL", oct(0o660), oct(stat.S_IMODE(os.fstat(fd).st_mode)))
    check("system.posix_acl_access" in os.listxattr(fd), "expected an access ACL")
    os.close(fd)
    os.chmod(d, 0o555)
    with acting_as(OTHER):
        raises("in a folder that may not be written", errno.EACCES, os.open, d, os.O_TMPFILE | os.O_RDWR)


# --- rename ---------------------------------------------------------------------------------------------------------

def test_whiteout(d):
    need_users()
    touch(d, "file", data=b"1")
    renameat2(J(d, "file"), J(d, "moved"), _lib.RENAME_WHITEOUT)
    equal("moved", b"1", read_file(J(d, "moved")))
    for name in ("file", "moved"):
        equal(f"links of {name}", 1, os.lstat(J(d, name)).st_nlink)

    def look():
        seen = os.lstat(J(d, "file"))
        equal("what stays behind", (True, 0), (stat.S_ISCHR(seen.st_mode), seen.st_rdev))
    look()
    raises("NOREPLACE with it, over a file", errno.EEXIST, renameat2, J(d, "moved"), J(d, "file"), 5)
    yield
    look()


def test_across_file_systems(d):
    other = J(_lib.WORK, "outside")
    write_file(other, b"")
    if os.stat(other).st_dev == os.stat(d).st_dev:
        other = "/dev/shm" if os.stat("/dev/shm").st_dev != os.stat(d).st_dev else "/var/tmp"
        raises("rename", errno.EXDEV, os.rename, touch(d, "f"), J(other, "lrufs-test-f"))
        raises("link", errno.EXDEV, os.link, J(d, "f"), J(other, "lrufs-test-f"))
        return
    raises("rename into another", errno.EXDEV, os.rename, touch(d, "f"), other + "2")
    raises("link into another", errno.EXDEV, os.link, J(d, "f"), other + "2")
    raises("rename from another", errno.EXDEV, os.rename, other, J(d, "x"))
    raises("link from another", errno.EXDEV, os.link, other, J(d, "x"))


def test_mount_points_are_busy(d):
    need_users()
    os.makedirs(J(d, "point"))
    os.makedirs(J(d, "empty"))
    _lib.run(20, "mount", "--bind", J(d, "empty"), J(d, "point"))
    try:
        raises("rmdir", errno.EBUSY, os.rmdir, J(d, "point"))
        raises("rename", errno.EBUSY, os.rename, J(d, "point"), J(d, "x"))
        raises("rename over it", errno.EBUSY, os.rename, J(d, "empty"), J(d, "point"))
    finally:
        _lib.run(20, "umount", J(d, "point"))
    os.rmdir(J(d, "point"))


# --- file handles ---------------------------------------------------------------------------------------------------

class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]


def handle_of(path):
    handle, mount = Handle(128), ctypes.c_int()
    _posix._call(libc.name_to_handle_at, AT_FDCWD, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount), 0)
    return handle


def open_handle(d, handle, flags=os.O_RDONLY):
    at = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return _posix._call(libc.open_by_handle_at, at, ctypes.byref(handle), flags)
    finally:
        os.close(at)


def is_stale(d, handle):
    try:
        os.close(open_handle(d, handle))
    except OSError as error:
        equal("errno", errno.ESTALE, error.errno)
        return True
    return False


def test_file_handles(d):
    need_users()
    on_tmpfs = _lib.run(20, "stat", "-f", "-c", "%T", d).strip() == "tmpfs"
    os.makedirs(J(d, "a", "b"))
    touch(d, "a", "b", "f", data=b"content")
    file, folder = handle_of(J(d, "a", "b", "f")), handle_of(J(d, "a", "b"))

    def look():
        fd = open_handle(d, file)
        equal("content by handle", b"content", os.read(fd, 100))
        equal("the same file", os.fstat(fd).st_ino, os.stat(J(d, "a", "b", "f")).st_ino)
        os.close(fd)
        fd = open_handle(d, folder, os.O_RDONLY | os.O_DIRECTORY)
        equal("a folder by handle", ["f"], os.listdir(fd))
        equal("its ..", os.stat(J(d, "a")).st_ino, os.stat("..", dir_fd=fd).st_ino)
        os.close(fd)
    look()
    _lib.drop_caches(2)         # what the kernel knows by number alone is gone; tmpfs has nothing else
    look()
    if not on_tmpfs:
        yield
        look()
    fd = open_handle(d, file)
    os.unlink(J(d, "a", "b", "f"))
    other = open_handle(d, file)    # it is in use still
    os.close(other)
    os.close(fd)
    # What was unlinked goes away in the background once the last descriptor is closed.
    _lib.wait_for("ESTALE for a file that is gone", 20, lambda: is_stale(d, file))
    os.rmdir(J(d, "a", "b"))
    _lib.drop_caches(2)
    _lib.wait_for("ESTALE for a folder that is gone", 20, lambda: is_stale(d, folder))


# --- inotify --------------------------------------------------------------------------------------------------------

IN = {"ACCESS": 1, "MODIFY": 2, "ATTRIB": 4, "CLOSE_WRITE": 8, "CLOSE_NOWRITE": 16, "OPEN": 32, "MOVED_FROM": 64, "MOVED_TO": 128, "CREATE": 256,
      "DELETE": 512, "DELETE_SELF": 1024, "MOVE_SELF": 2048, "IGNORED": 0x8000}


def events(fd):
    found = []
    try:
        data = os.read(fd, 65536)
    except BlockingIOError:
        return found
    while data:
        _, mask, cookie, length = struct.unpack_from("iIII", data)
        found.append(("|".join(name for name, bit in IN.items() if mask & bit), data[16:16 + length].rstrip(b"\0").decode()))
        data = data[16 + length:]
    return found


def test_inotify(d):
    """What another process does is told, in order; nothing else is."""
    fd = libc.inotify_init1(os.O_NONBLOCK)
    watch = IN["MODIFY"] | IN["ATTRIB"] | IN["CLOSE_WRITE"] | IN["MOVED_FROM"] | IN["MOVED_TO"] | IN["CREATE"] | IN["DELETE"] | IN["DELETE_SELF"]
    check(libc.inotify_add_watch(fd, os.fsencode(d), watch) > 0, "inotify_add_watch failed")

    def act():
        touch(d, "f", data=b"1")
        os.chmod(J(d, "f"), 0o600)
        os.rename(J(d, "f"), J(d, "g"))
        os.link(J(d, "g"), J(d, "h"))
        os.unlink(J(d, "g"))
        os.mkdir(J(d, "sub"))
        os.rmdir(J(d, "sub"))
    _lib.in_child(20, act)
    equal("events", [("CREATE", "f"), ("MODIFY", "f"), ("CLOSE_WRITE", "f"), ("ATTRIB", "f"), ("MOVED_FROM", "f"), ("MOVED_TO", "g"), ("CREATE", "h"),
                     ("DELETE", "g"), ("CREATE", "sub"), ("DELETE", "sub")], [e for e in events(fd) if e[0] != "ATTRIB" or e[1] == "f"])
    check(libc.inotify_add_watch(fd, os.fsencode(J(d, "h")), IN["DELETE_SELF"] | IN["ATTRIB"]) > 0, "inotify_add_watch failed")
    _lib.in_child(20, os.unlink, J(d, "h"))
    check({"DELETE_SELF", "IGNORED"} <= {kind for kind, _ in events(fd)}, "expected the end of the file to be told")
    os.close(fd)


# --- locks ----------------------------------------------------------------------------------------------------------

def record(kind, start, length):
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)


def test_record_locks(d):
    path = touch(d, "f", data=b"x" * 100)
    fd = os.open(path, os.O_RDWR)
    fcntl.fcntl(fd, fcntl.F_SETLK, record(fcntl.F_WRLCK, 10, 10))
    fcntl.fcntl(fd, fcntl.F_SETLK, record(fcntl.F_UNLCK, 14, 2))       # splits it

    def other():
        mine = os.open(path, os.O_RDWR)
        for start, free in ((0, True), (10, False), (14, True), (16, False), (20, True)):
            if free:
                fcntl.fcntl(mine, fcntl.F_SETLK, record(fcntl.F_WRLCK, start, 1))
            else:
                raises(f"byte {start}", (errno.EAGAIN, errno.EACCES), fcntl.fcntl, mine, fcntl.F_SETLK, record(fcntl.F_WRLCK, start, 1))
        kind, _, start, length, pid = struct.unpack("hhqqi4x", fcntl.fcntl(mine, fcntl.F_GETLK, record(fcntl.F_WRLCK, 0, 0)))
        equal("F_GETLK", (fcntl.F_WRLCK, 10, 4, os.getppid()), (kind, start, length, pid))
    _lib.in_child(20, other)
    ro = os.open(path, os.O_RDONLY)
    raises("a write lock on O_RDONLY", errno.EBADF, fcntl.fcntl, ro, fcntl.F_SETLK, record(fcntl.F_WRLCK, 0, 1))
    os.close(ro)        # closing any descriptor of the file drops the process's record locks
    _lib.in_child(20, lambda: fcntl.fcntl(os.open(path, os.O_RDWR), fcntl.F_SETLK, record(fcntl.F_WRLCK, 0, 0)))
    os.close(fd)


def test_open_file_description_locks(d):
    path = touch(d, "f")
    one, two = (os.open(path, os.O_RDWR) for _ in range(2))
    fcntl.fcntl(one, fcntl.F_OFD_SETLK, record(fcntl.F_WRLCK, 0, 0))
    raises("by another description of this process", errno.EAGAIN, fcntl.fcntl, two, fcntl.F_OFD_SETLK, record(fcntl.F_RDLCK, 5, 1))
    os.close(os.open(path, os.O_RDWR))      # does not drop it
    raises("still", errno.EAGAIN, fcntl.fcntl, two, fcntl.F_OFD_SETLK, record(fcntl.F_RDLCK, 5, 1))
    os.close(one)
    fcntl.fcntl(two, fcntl.F_OFD_SETLK, record(fcntl.F_RDLCK, 5, 1))
    os.close(two)


def test_locks_are_waited_for(d):
    path = touch(d, "f")
    for lock in (fcntl.flock, fcntl.lockf):
        fd = os.open(path, os.O_RDWR)
        lock(fd, fcntl.LOCK_EX)
        r, w = os.pipe()

        def wait(lock=lock):
            mine = os.open(path, os.O_RDWR)
            os.write(w, b"1")
            lock(mine, fcntl.LOCK_EX)
            equal("written under the lock", b"done", read_file(path))
        child = _lib.spawn_function(wait)
        os.read(r, 1)
        os.pwrite(fd, b"done", 0)
        lock(fd, fcntl.LOCK_UN)
        equal("exit status", 0, child.wait(20))
        for fd in (fd, r, w):
            os.close(fd)


# --- set-id bits ----------------------------------------------------------------------------------------------------

def by_map(fd):
    with mmap.mmap(fd, 4096) as view:
        view[0:1] = b"y"


CHANGES = {"write": lambda fd, p: os.pwrite(fd, b"y", 0), "append": lambda fd, p: os.pwrite(fd, b"y", 5000),
           "ftruncate": lambda fd, p: os.ftruncate(fd, 10), "truncate": lambda fd, p: os.truncate(p, 10),
           "O_TRUNC": lambda fd, p: os.close(os.open(p, os.O_WRONLY | os.O_TRUNC)),
           "fallocate": lambda fd, p: fallocate(fd, 0, 0, 9000), "punch": lambda fd, p: fallocate(fd, 3, 0, 4096),
           "copy_file_range": lambda fd, p: os.copy_file_range(fd, fd, 100, 0, 3000),
           "nothing written": lambda fd, p: os.pwrite(fd, b"", 0), "map": lambda fd, p: by_map(fd)}


def known_mode(path):
    """The mode that the kernel goes by when it runs the file. statx(2) for nothing but that takes it from the inode as it is,
    where stat(2) would have it refreshed for the times."""
    statx_mode, mode_at = 0x2, 28
    answer = ctypes.create_string_buffer(256)
    if libc.statx(AT_FDCWD, os.fsencode(path), 0, statx_mode, answer) != 0:
        raise OSError(ctypes.get_errno(), "statx", path)
    return stat.S_IMODE(struct.unpack_from("=H", answer, mode_at)[0])


def test_set_id_bits(d):
    """Who may write but does not own the file takes the bits away, except through a map, and by truncation to a size."""
    need_users()
    os.chmod(d, 0o777)
    path = touch(d, "f", data=b"x" * 5000)
    for uid in (OTHER, 0):
        for mode in (0o6777, 0o2767, 0o4777, 0o6666):
            for what, change in CHANGES.items():
                os.chown(path, OWNER, GROUP)
                write_file(path, b"x" * 5000)
                os.chmod(path, mode)
                with acting_as(uid):
                    fd = os.open(path, os.O_RDWR)
                    change(fd, path)
                    os.close(fd)
                kept = uid == 0 or what in ("nothing written", "map")
                # S_ISGID without the group's x bit once meant mandatory locking. Linux clears it as well, if the writer is not in
                # the group; a request does not tell of that.
                wanted = mode if kept else mode & (0o777 if _lib.PLAIN or mode & 0o010 else 0o2777)
                for see in (known_mode, lambda p: stat.S_IMODE(os.stat(p).st_mode)):
                    equal(f"mode {mode:o} after {what} by {uid}", oct(wanted), oct(see(path)))


def test_chown_and_set_id_bits(d):
    need_users()
    path = touch(d, "f")
    os.mkdir(J(d, "folder"))
    for mode, wanted in ((0o6755, 0o755), (0o4644, 0o644), (0o2755, 0o755), (0o2745, 0o2745), (0o6644, 0o2644)):
        os.chmod(path, mode)
        os.chown(path, OWNER, GROUP)
        equal(f"mode {mode:o} after chown by root", oct(wanted), oct(stat.S_IMODE(os.stat(path).st_mode)))
    os.chmod(J(d, "folder"), 0o6755)
    os.chown(J(d, "folder"), OWNER, GROUP)
    equal("of a folder", oct(0o6755), oct(stat.S_IMODE(os.stat(J(d, "folder")).st_mode)))
    with acting_as(OWNER, OTHER):
        os.chmod(path, 0o2755)
    equal("chmod g+s by one who is not in the group", oct(0o755), oct(stat.S_IMODE(os.stat(path).st_mode)))


def test_chown_of_other_kinds_and_by_others(d):
    """chown takes the bits of everything but folders; what it takes away depends on the caller's groups; and to take
    bits away one must be the owner, even if neither owner nor group is to change."""
    need_users()

    def see(path):
        return oct(stat.S_IMODE(os.lstat(path).st_mode))
    for kind in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR):
        path = J(d, f"kind{kind:o}")
        os.mknod(path, kind | 0o600, os.makedev(1, 3))
        for mode, wanted in ((0o6755, 0o755), (0o2745, 0o2745), (0o4644, 0o644)):
            os.chmod(path, mode)
            os.chown(path, OWNER, GROUP)
            equal(f"mode {mode:o} of a {kind:o} after chown", oct(wanted), see(path))
            os.chmod(path, mode)
            os.chown(path, -1, -1)
            equal(f"mode {mode:o} of a {kind:o} after a chown of nothing", oct(wanted), see(path))
    path = touch(d, "f")
    for kind in (path, J(d, f"kind{stat.S_IFIFO:o}")):
        os.chown(kind, OWNER, GROUP)
        for mode, by_stranger in ((0o4755, errno.EPERM), (0o2755, errno.EPERM), (0o2745, errno.EPERM), (0o6644, errno.EPERM),
                                  (0o755, 0), (0o600, 0)):
            os.chmod(kind, mode)
            before = os.stat(kind).st_ctime_ns
            with acting_as(OWNER + 50, OTHER):
                if by_stranger and (_lib.PLAIN or kind != path):
                    raises(f"chown of nothing, mode {mode:o}, by a stranger", by_stranger, os.chown, kind, -1, -1)
                else:
                    os.chown(kind, -1, -1)   # of a regular file on a mount: succeeds and does nothing (docs/semantics.md)
            equal(f"mode {mode:o} after a stranger's chown of nothing", oct(mode), see(kind))
            check((os.stat(kind).st_ctime_ns == before) == bool(by_stranger), f"ctime after a stranger's chown, mode {mode:o}")
        for groups, mode, wanted in ((OTHER, 0o2745, 0o745), (GROUP, 0o2745, 0o2745), (OTHER, 0o6755, 0o755), (GROUP, 0o6755, 0o755)):
            os.chown(kind, OWNER, GROUP)
            os.chmod(kind, mode)
            with acting_as(OWNER, groups):
                os.chown(kind, -1, -1)
            equal(f"mode {mode:o} after its owner's chown of nothing", oct(wanted), see(kind))
            os.chmod(kind, mode)
            with acting_as(OWNER, groups):
                os.chown(kind, -1, groups)
            equal(f"mode {mode:o} after its owner's chown to a group of his", oct(wanted), see(kind))


# --- content: limits and wrong descriptors --------------------------------------------------------------------------

def test_limits_of_size(d):
    path = touch(d, "f", data=b"x" * 100)

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        fd = os.open(path, os.O_RDWR)
        equal("up to the limit", 192, os.pwrite(fd, b"y" * 1000, 8000))
        raises("behind RLIMIT_FSIZE", errno.EFBIG, os.pwrite, fd, b"y", 8192)
        raises("truncate above it", errno.EFBIG, os.ftruncate, fd, 8193)
        raises("fallocate above it", errno.EFBIG, fallocate, fd, 0, 0, 8193)
    _lib.in_child(20, limited)
    equal("size", 8192, os.stat(path).st_size)
    fd = os.open(path, os.O_RDWR)
    raises("the end over 2^63", (errno.EINVAL, errno.EFBIG), os.pwrite, fd, b"yy", (1 << 63) - 2)
    raises("fallocate over 2^63", errno.EFBIG, fallocate, fd, 0, (1 << 63) - 10, 100)
    os.close(fd)


def test_wrong_descriptors(d):
    """The same errno as on every other file system."""
    path = touch(d, "f", data=b"x" * 10_000)
    os.mkfifo(J(d, "fifo"))
    fds = {"ro": os.open(path, os.O_RDONLY), "wo": os.open(path, os.O_WRONLY), "rw": os.open(path, os.O_RDWR), "folder": os.open(d, os.O_RDONLY),
           "path": os.open(path, os.O_PATH), "fifo": os.open(J(d, "fifo"), os.O_RDWR), "append": os.open(path, os.O_RDWR | os.O_APPEND)}
    E = errno
    for what, fd, code, call in (
            ("read of O_WRONLY", "wo", E.EBADF, lambda f: os.read(f, 1)), ("write of O_RDONLY", "ro", E.EBADF, lambda f: os.write(f, b"x")),
            ("read of a folder", "folder", E.EISDIR, lambda f: os.read(f, 1)), ("write of a folder", "folder", E.EBADF, lambda f: os.write(f, b"x")),
            ("read of O_PATH", "path", E.EBADF, lambda f: os.read(f, 1)), ("fchmod of O_PATH", "path", E.EBADF, lambda f: os.fchmod(f, 0)),
            ("pread before 0", "rw", E.EINVAL, lambda f: os.pread(f, 1, -1)), ("pwrite before 0", "rw", E.EINVAL, lambda f: os.pwrite(f, b"x", -1)),
            ("lseek before 0", "rw", E.EINVAL, lambda f: os.lseek(f, -1, os.SEEK_SET)), ("lseek whence", "rw", E.EINVAL, lambda f: os.lseek(f, 0, 9)),
            ("SEEK_DATA at the end", "rw", E.ENXIO, lambda f: os.lseek(f, 10_000, os.SEEK_DATA)),
            ("SEEK_HOLE at the end", "rw", E.ENXIO, lambda f: os.lseek(f, 10_000, os.SEEK_HOLE)),
            ("SEEK_HOLE before 0", "rw", E.ENXIO, lambda f: os.lseek(f, -1, os.SEEK_HOLE)),
            ("ftruncate before 0", "rw", E.EINVAL, lambda f: os.ftruncate(f, -1)), ("ftruncate of O_RDONLY", "ro", E.EINVAL, lambda f: os.ftruncate(f, 1)),
            ("ftruncate of a folder", "folder", E.EINVAL, lambda f: os.ftruncate(f, 1)), ("fallocate of O_RDONLY", "ro", E.EBADF, lambda f: fallocate(f, 0, 0, 1)),
            ("fallocate of nothing", "rw", E.EINVAL, lambda f: fallocate(f, 0, 0, 0)), ("fallocate before 0", "rw", E.EINVAL, lambda f: fallocate(f, 0, -1, 1)),
            ("fallocate of a fifo", "fifo", E.ESPIPE, lambda f: fallocate(f, 0, 0, 1)), ("punch without KEEP_SIZE", "rw", E.EOPNOTSUPP, lambda f: fallocate(f, 2, 0, 1)),
            ("fallocate, unknown mode", "rw", E.EOPNOTSUPP, lambda f: fallocate(f, 0x4000, 0, 1)),
            ("copy onto itself", "rw", E.EINVAL, lambda f: os.copy_file_range(f, f, 100, 0, 50)),
            ("copy to O_APPEND", "rw", E.EBADF, lambda f: os.copy_file_range(f, fds["append"], 100, 0, 5000)),
            ("copy from a folder", "folder", E.EISDIR, lambda f: os.copy_file_range(f, fds["rw"], 100)),
            ("copy to O_RDONLY", "rw", E.EBADF, lambda f: os.copy_file_range(f, fds["ro"], 100)),
            ("a writable shared map of O_RDONLY", "ro", E.EACCES, lambda f: mmap.mmap(f, 4096)),
            ("a map of a folder", "folder", (E.ENODEV, E.EACCES), lambda f: mmap.mmap(f, 4096, prot=mmap.PROT_READ)),
            ("listing a file", "rw", E.ENOTDIR, os.listdir), ("opening below a file", "rw", E.ENOTDIR, lambda f: os.open("x", os.O_RDONLY, dir_fd=f)),
            ("a reflink", "rw", E.EOPNOTSUPP, lambda f: fcntl.ioctl(f, 0x40049409, fds["ro"])), ("an unknown ioctl", "rw", E.ENOTTY, lambda f: fcntl.ioctl(f, 0x12345678)), ("chdir to a file", "rw", E.ENOTDIR, os.fchdir)):
        raises(what, code, call, fds[fd])
    equal("size, after all that", 10_000, os.stat(path).st_size)
    for fd in fds.values():
        os.close(fd)


def test_running_programs_are_busy(d):
    path = touch(d, "program", data=read_file("/bin/sleep"), mode=0o755)
    program = _lib.spawn(path, "60")
    _lib.wait_for("it runs", 20, lambda: os.readlink(f"/proc/{program.pid}/exe") == os.path.realpath(path))
    raises("open for writing", errno.ETXTBSY, os.open, path, os.O_WRONLY)
    raises("truncate", errno.ETXTBSY, os.truncate, path, 0)
    os.rename(path, path + "2")     # its name is free
    touch(path, data=b"new")
    program.kill()
    program.wait()
    os.close(os.open(path + "2", os.O_RDWR))
    fd = os.open(path + "2", os.O_WRONLY)
    os.chmod(path + "2", 0o755)
    raises("running what is open for writing", errno.ETXTBSY, os.execv, path + "2", ["x"])
    os.close(fd)


# --- maps -----------------------------------------------------------------------------------------------------------

def test_maps_and_calls_see_each_other(d):
    path = touch(d, "f", data=b"0" * 20_000)
    fd = os.open(path, os.O_RDWR)
    with mmap.mmap(fd, 20_000) as view:
        for n, offset in enumerate((0, 4095, 5000, 19_999)):
            view[offset] = 65 + n
            equal("written by the map, read by a call", bytes([65 + n]), os.pread(fd, 1, offset))
            os.pwrite(fd, bytes([97 + n]), offset)
            equal("written by a call, read by the map", 97 + n, view[offset])

        def other():
            mine = os.open(path, os.O_RDWR)
            with mmap.mmap(mine, 20_000) as theirs:
                theirs[7000:7005] = b"other"
                equal("another process's map", ord("a"), theirs[0])
        _lib.in_child(20, other)
        equal("through a map of another process", b"other", view[7000:7005])
        direct = os.open(path, os.O_RDWR | os.O_DIRECT)
        view.flush()
        buffer = mmap.mmap(-1, 4096)
        if os.preadv(direct, [buffer], 4096):
            equal("O_DIRECT sees what a map wrote", b"other", buffer[7000 - 4096:7005 - 4096])
        buffer[0:6] = b"direct"
        os.pwritev(direct, [buffer], 8192)
        equal("a map sees what O_DIRECT wrote", b"direct", view[8192:8198])
        os.close(direct)
        fallocate(fd, 3, 4096, 4096)
        equal("a hole", bytes(4), view[5000:5004])
        os.ftruncate(fd, 0)
        os.ftruncate(fd, 20_000)
        equal("cut off and grown again", bytes(20_000), view[:])
    os.close(fd)


def test_touching_a_map_behind_the_end(d):
    path = touch(d, "f", data=b"x" * 8192)

    def child():
        fd = os.open(path, os.O_RDWR)
        view = mmap.mmap(fd, 8192)
        os.ftruncate(fd, 100)
        equal("what is left of the page", bytes(10), view[200:210])
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
        view[5000]      # SIGBUS
    equal("exit status", -signal.SIGBUS, _lib.spawn_function(child).wait(20))


def test_size_of_a_folder(d):
    """Each file system has its own idea."""
    os.mkdir(J(d, "folder"))
    touch(d, "folder", "f")
    size = os.stat(J(d, "folder")).st_size
    check(_lib.PLAIN or size == 0, f"expected 0, saw {size}")


# --- listings -------------------------------------------------------------------------------------------------------

def test_listing_while_others_come_and_go(d):
    """Another process makes, moves and removes names all the while; what was there throughout is met exactly once."""
    stays = 1000
    touch(d, "0")
    for n in range(stays):
        os.link(J(d, "0"), J(d, f"stay{n}"))

    def churn():
        n = 0
        while True:
            os.link(J(d, "0"), J(d, f"new{n}"))
            os.rename(J(d, f"new{n}"), J(d, f"moved{n}"))
            if n >= 50:
                os.unlink(J(d, f"moved{n - 50}"))
            n += 1
    child = _lib.spawn_function(churn)
    try:
        for _ in range(6):
            seen = [name for name in os.listdir(d) if name.startswith("stay")]
            equal("names that stay: how many, how many different", (stays, stays), (len(seen), len(set(seen))))
        check(child.poll() is None, "expected the other process to go on")
    finally:
        child.kill()
        child.wait(20)


# --- read-only ------------------------------------------------------------------------------------------------------

def test_read_only(d):
    """EROFS, where Linux says EROFS: after what is wrong with the path, before what is wrong with the call."""
    if _lib.PLAIN:
        raise SkipTest("a plain directory cannot be mounted read-only")
    need_users()
    mount = _lib.Mount("read-only", size="64M", options=["-o", "allow_other"])
    reference = _posix.tmpfs("read-only-reference")
    with mount:
        for top in (reference, mount.dir):
            touch(top, "f", data=b"content")
            os.mkdir(J(top, "folder"))
            os.symlink("f", J(top, "s"))
        _lib.run(20, "mount", "-o", "remount,ro", reference)
        mount.remount("-o", "ro")
        for user in ((0,), (OTHER,)):
            for name in ("f", "folder", "s", "none", "none/x", "f/x", "n" * 256):
                for what, call in READ_ONLY.items():
                    seen = []
                    for top in (reference, mount.dir):
                        try:
                            with acting_as(*user):
                                seen.append(("ok", call(J(top, name), J(top, "new"))))
                        except OSError as error:
                            seen.append(_posix.name_of(error))
                    equal(f"{what} of {name[:20]} by {user[0]}", *seen)


READ_ONLY = {
    "open": lambda p, n: os.close(os.open(p, os.O_RDONLY)), "open for writing": lambda p, n: os.close(os.open(p, os.O_WRONLY)),
    "O_CREAT": lambda p, n: os.close(os.open(p, os.O_CREAT | os.O_RDONLY)), "O_EXCL": lambda p, n: os.open(p, os.O_CREAT | os.O_EXCL),
    "O_TRUNC": lambda p, n: os.open(p, os.O_TRUNC), "mkdir": lambda p, n: os.mkdir(p), "rmdir": lambda p, n: os.rmdir(p),
    "unlink": lambda p, n: os.unlink(p), "rename": os.rename, "rename onto": lambda p, n: os.rename(n, p), "exchange": lambda p, n: renameat2(p, n, 2),
    "link": lambda p, n: os.link(p, n), "symlink": lambda p, n: os.symlink("x", p), "mknod": lambda p, n: os.mknod(p), "chmod": lambda p, n: os.chmod(p, 0o600),
    "chown": lambda p, n: os.chown(p, 1, 1), "utime": lambda p, n: os.utime(p, (1, 1)), "truncate": lambda p, n: os.truncate(p, 1),
    "access": lambda p, n: os.access(p, os.W_OK), "setxattr": lambda p, n: os.setxattr(p, "user.x", b"1"), "removexattr": lambda p, n: os.removexattr(p, "user.x"),
    "readlink": lambda p, n: os.readlink(p)}


_lib.run_all(globals(), options=["-o", "allow_other"])
