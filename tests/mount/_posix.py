"""For the conformance tests: acting as other users, what tree there is, and system calls that Python does not have."""
import contextlib
import ctypes
import errno
import os
import stat
import _lib
from _lib import libc

J = os.path.join
AT_FDCWD, AT_EMPTY_PATH, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW = -100, 0x1000, 0x400, 0x100
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
SECOND = 1_000_000_000
OWNER, MEMBER, OTHER = 1001, 1002, 1003     # whose files they are; one in the files' group; somebody else
GROUP, FOREIGN_GROUP = 2001, 2002


@contextlib.contextmanager
def acting_as(uid, gid=None, groups=()):
    """Effective ids, and with them the file-system ids and capabilities, of this (single-threaded) process. Root again
    afterwards."""
    if uid == 0 and gid is None:
        yield
        return
    os.setgroups(list(groups))
    os.setegid(uid if gid is None else gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups([])


def need_users():
    if os.geteuid() != 0:
        raise _lib.SkipTest("needs root")


def _call(function, *arguments):
    result = function(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def link(old, new, flags=0):
    _call(libc.linkat, AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)


class Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_int64), ("nsec", ctypes.c_int64)]


def utimens(path, atime, mtime, flags=0):
    """Times as (seconds, nanoseconds); None for a null pointer (both now)."""
    times = None if atime is None else (Timespec * 2)(Timespec(*atime), Timespec(*mtime))
    _call(libc.utimensat, AT_FDCWD, os.fsencode(path), times, flags)


def name_of(error):
    return errno.errorcode.get(error.errno, str(error.errno))


def kind(mode):
    return {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
            stat.S_IFSOCK: "socket", stat.S_IFCHR: "char", stat.S_IFBLK: "block"}[stat.S_IFMT(mode)]


def all_xattrs(path):
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
            if not name.startswith("security.selinux")}


def describe(path, content=True, xattrs=False):
    """What has to be the same on every file system, as a dictionary."""
    info = os.lstat(path)
    seen = {"kind": kind(info.st_mode), "mode": oct(stat.S_IMODE(info.st_mode)), "owner": (info.st_uid, info.st_gid)}
    if stat.S_ISDIR(info.st_mode):
        seen["subfolders"] = info.st_nlink
    else:
        seen["links"] = info.st_nlink
        seen["size"] = info.st_size
    if stat.S_ISLNK(info.st_mode):
        seen["target"] = os.readlink(path)
    if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
        seen["device"] = info.st_rdev
    if stat.S_ISREG(info.st_mode) and content and info.st_size < 1 << 26:
        seen["content"] = hash(_lib.read_file(path)) if info.st_size > 64 else _lib.read_file(path)
    if xattrs and (found := all_xattrs(path)):
        seen["xattrs"] = found
    return seen


def walk(top):
    """Every path below a folder, relative to it, in order."""
    found = []
    for entry in sorted(os.scandir(top), key=lambda e: e.name):
        found.append(entry.name)
        if entry.is_dir(follow_symlinks=False):
            found += [J(entry.name, below) for below in walk(entry.path)]
    return found


def tmpfs(name="reference", options="noatime,size=2G"):
    """An empty tmpfs below WORK, which the end of the test takes away."""
    if os.geteuid() != 0:
        _lib.skip("needs root: a tmpfs to compare with")
    path = os.path.join(_lib.WORK, name)
    os.mkdir(path)
    _lib.run(20, "mount", "-t", "tmpfs", "-o", options, "tmpfs", path)
    os.chmod(path, 0o755)
    return path


def takes_tmpfile(folder):
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR))
    except OSError as error:
        _lib.equal("O_TMPFILE, errno", errno.EOPNOTSUPP, error.errno)
        return False
    return True
