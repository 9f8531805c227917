#!/usr/bin/env python3
# ctest: timeout=300
"""Random system calls on a mount and on a tmpfs, step by step: each must give the same result or errno on both, and from
time to time, and after remounts, the whole trees are compared. Names are few, so that calls meet: renames over open files,
writes to unlinked ones, links of O_TMPFILE files, folders that are removed while open, other users, odd offsets.
LRUFS_RANDOM_OPS is the number of calls (default 6,000; 200,000 with LRUFS_LONG=1), LRUFS_TEST_SEED repeats a run; the last
calls are printed when it fails. On a plain directory (LRUFS_TEST_DIR) that is compared with tmpfs."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import mmap
import os
import stat
import _lib
import _posix
from _lib import Mount, check, equal, fallocate, renameat2, step
from _posix import GROUP, J, MEMBER, OTHER, OWNER, acting_as, utimens

OPERATIONS = int(os.environ.get("LRUFS_RANDOM_OPS", 200_000 if os.environ.get("LRUFS_LONG") == "1" else 6000))
ROUND = 2000            # calls between two remounts
NAMES = ["a", "b", "c", "d", "e"]
MAX_SIZE = 300_000
USERS = [(0,)] * 6 + [(OWNER, GROUP), (MEMBER, MEMBER, [GROUP]), (OTHER,)]


class Player:
    """One of the two sides. Every call gives back what must be the same on both."""

    def __init__(self, top):
        self.top = top
        self.files = {}         # slot -> descriptor

    def close_all(self):
        for fd in self.files.values():
            os.close(fd)
        self.files.clear()

    def play(self, user, call):
        name, *arguments = call
        os.chdir(self.top)
        try:
            with acting_as(*user):
                return "ok", getattr(self, name)(*arguments)
        except OSError as error:
            return _posix.name_of(error), None

    # --- with paths
    def open(self, slot, path, flags, mode):
        fd = os.open(path, flags, mode)
        self.keep(slot, fd)

    def keep(self, slot, fd):
        if slot in self.files:
            os.close(self.files[slot])
        self.files[slot] = fd

    def mkdir(self, path, mode):
        os.mkdir(path, mode)

    def rmdir(self, path):
        os.rmdir(path)

    def unlink(self, path):
        os.unlink(path)

    def symlink(self, target, path):
        os.symlink(target, path)

    def link(self, old, new):
        _posix.link(old, new)

    def rename(self, old, new, flags):
        renameat2(old, new, flags)

    def mknod(self, path, mode):
        os.mknod(path, mode, 0)

    def chmod(self, path, mode):
        os.chmod(path, mode)

    def chown(self, path, uid, gid):
        os.chown(path, uid, gid, follow_symlinks=False)

    def utime(self, path, time):
        utimens(path, time, time, _posix.AT_SYMLINK_NOFOLLOW)
        return os.lstat(path).st_mtime_ns, os.lstat(path).st_atime_ns

    def truncate(self, path, size):
        os.truncate(path, size)

    def set_xattr(self, path, name, value):
        os.setxattr(path, name, value, follow_symlinks=False)

    def remove_xattr(self, path, name):
        os.removexattr(path, name, follow_symlinks=False)

    def look(self, path):
        return _posix.describe(path, xattrs=True)

    def listing(self, path):
        return sorted((entry.name, entry.is_dir(follow_symlinks=False), entry.is_symlink()) for entry in os.scandir(path))

    # --- with descriptors
    def fd(self, slot):
        return self.files[slot]

    def close(self, slot):
        os.close(self.files.pop(slot))

    def write(self, slot, offset, data):
        return os.pwrite(self.fd(slot), data, offset)

    def append(self, slot, data):
        if stat.S_ISREG(os.fstat(self.fd(slot)).st_mode):
            os.lseek(self.fd(slot), 0, os.SEEK_END)     # of a folder: EINVAL on tmpfs alone
        return os.write(self.fd(slot), data)

    def read(self, slot, offset, length):
        return os.pread(self.fd(slot), length, offset)

    def map_write(self, slot, offset, data):
        info = os.fstat(self.fd(slot))
        size = info.st_size if stat.S_ISREG(info.st_mode) else 0    # what a folder's size is nobody says
        if offset + len(data) > size:
            return "behind the end"
        with mmap.mmap(self.fd(slot), size) as view:
            view[offset:offset + len(data)] = data
        return None

    def ftruncate(self, slot, size):
        os.ftruncate(self.fd(slot), size)

    def allocate(self, slot, mode, offset, length):
        fallocate(self.fd(slot), mode, offset, length)

    def copy(self, source, target, from_offset, to_offset, length):
        return os.copy_file_range(self.fd(source), self.fd(target), length, from_offset, to_offset)

    def fsync(self, slot):
        os.fsync(self.fd(slot))

    def fchmod(self, slot, mode):
        os.fchmod(self.fd(slot), mode)

    def fstat(self, slot):
        info = os.fstat(self.fd(slot))
        return oct(info.st_mode), info.st_nlink, info.st_uid, info.st_gid, 0 if stat.S_ISDIR(info.st_mode) else info.st_size

    def flisting(self, slot):
        return sorted(os.listdir(self.fd(slot)))

    def give_name(self, slot, path):
        """linkat(2) of what may be an O_TMPFILE file."""
        _posix.link(f"/proc/self/fd/{self.fd(slot)}", path, _posix.AT_SYMLINK_FOLLOW)

    def create_below(self, slot, name):
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_NONBLOCK, 0o644, dir_fd=self.fd(slot)))


class Chooser:
    """Makes up calls."""

    def __init__(self, random, tmpfile):
        self.random, self.tmpfile = random, tmpfile

    def path(self):
        depth = self.random.choice((1, 1, 1, 2, 2, 3))
        return "/".join(self.random.choice(NAMES) for _ in range(depth)) + self.random.choice([""] * 30 + ["/", "/.", "/.."])

    def data(self):
        return self.random.randbytes(8) * (self.random.choice((1, 1, 10, 300, 5000)) + self.random.randrange(20)) + b"x" * self.random.randrange(8)

    def offset(self):
        return self.random.choice((0, 0, self.random.randrange(5000), self.random.randrange(MAX_SIZE), 4096 * self.random.randrange(60)))

    def flags(self):
        r = self.random
        flags = r.choice((os.O_RDONLY, os.O_RDWR, os.O_RDWR, os.O_WRONLY)) | os.O_NONBLOCK
        for flag, chance in ((os.O_CREAT, 0.6), (os.O_EXCL, 0.1), (os.O_TRUNC, 0.1), (os.O_APPEND, 0.1), (os.O_NOFOLLOW, 0.1), (os.O_DIRECTORY, 0.1)):
            if r.random() < chance:
                flags |= flag
        if not flags & os.O_CREAT:
            flags &= ~os.O_EXCL     # undefined without it
        if self.tmpfile and r.random() < 0.08:
            flags = os.O_TMPFILE | os.O_RDWR
        return flags

    def mode(self):
        return self.random.choice((0o644, 0o755, 0o777, 0o600, 0o6775, 0o1777, 0o2777))

    def call(self, slots):
        r = self.random
        if slots and r.random() < 0.5:
            slot = r.choice(slots)
            return r.choice((
                ("write", slot, self.offset(), self.data()), ("write", slot, self.offset(), self.data()), ("append", slot, self.data()),
                ("read", slot, self.offset(), self.offset()), ("read", slot, 0, MAX_SIZE), ("map_write", slot, self.offset() // 4, self.data()),
                ("ftruncate", slot, self.offset()), ("allocate", slot, r.choice((0, 1, 3)), self.offset(), 1 + self.offset()),
                ("copy", slot, r.choice(slots), self.offset() // 4, self.offset(), 1 + self.offset()), ("fsync", slot), ("fchmod", slot, self.mode()),
                ("fstat", slot), ("flisting", slot), ("give_name", slot, self.path()), ("close", slot), ("create_below", slot, r.choice(NAMES))))
        return r.choice((
            ("open", r.randrange(12), self.path(), self.flags(), self.mode()), ("open", r.randrange(12), self.path(), self.flags(), self.mode()),
            ("open", r.randrange(12), self.path(), self.flags(), self.mode()), ("mkdir", self.path(), self.mode()), ("mkdir", self.path(), self.mode()),
            ("rmdir", self.path()), ("unlink", self.path()), ("symlink", r.choice((self.path(), "../" + self.path())), self.path()),
            ("link", self.path(), self.path()), ("rename", self.path(), self.path(), 0), ("rename", self.path(), self.path(), 0),
            ("rename", self.path(), self.path(), r.choice((1, 2, 2, 4, 5))), ("mknod", self.path(), r.choice((stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFREG)) | self.mode()),
            ("chmod", self.path(), self.mode()), ("chown", self.path(), r.choice((0, OWNER, OTHER, -1)), r.choice((0, GROUP, MEMBER, -1))),
            ("utime", self.path(), (r.randrange(-5, 1 << 33), r.randrange(10**9))), ("truncate", self.path(), self.offset()),
            ("set_xattr", self.path(), r.choice(("user.x", "trusted.x")), self.data()[:900]), ("remove_xattr", self.path(), "user.x"),
            ("look", self.path()), ("listing", self.path())))


def tree(top):
    return {path: _posix.describe(J(top, path), xattrs=True) for path in [".", *_posix.walk(top)]}


def compare(sides, log):
    left, right = (tree(side.top) for side in sides)
    for path in sorted(left.keys() | right.keys()):
        if left.get(path) != right.get(path):
            report(log)
            _lib.fail(f"{path}: expected {_lib.brief(left.get(path))}, saw {_lib.brief(right.get(path))}")


def report(log):
    print("the last calls:\n  " + "\n  ".join(_lib.brief(call, 200) for call in log[-40:]))


def test():
    random = _lib.seed()
    os.umask(0o022)
    with Mount(size="256M", options=["-o", "allow_other"]) as mount:
        os.chmod(_lib.WORK, 0o755)
        sides = [Player(J(_posix.tmpfs(options="noatime,nosuid,nodev"), "tree")), Player(mount.path("tree"))]
        for side in sides:
            os.mkdir(side.top)
            os.chmod(side.top, 0o777)
        chooser = Chooser(random, _posix.takes_tmpfile(mount.dir))
        log, succeeded = [], 0
        for number in range(1, OPERATIONS + 1):
            user, call = random.choice(USERS), chooser.call(sorted(sides[0].files))
            log.append((user, *call))
            wanted, seen = (side.play(user, call) for side in sides)
            if call[0] == "chown" and call[2:] == (-1, -1) and (wanted[0], seen[0]) == ("EPERM", "ok"):
                seen = wanted   # a stranger's chown of nothing does nothing on a regular file (docs/semantics.md)
            if wanted != seen:
                report(log)
                equal(f"{_lib.brief(call)} by user {user[0]}", wanted, seen)
            succeeded += wanted[0] == "ok"
            if number % 500 == 0:
                compare(sides, log)
            if number % ROUND == 0:
                os.chdir(_lib.WORK)
                for side in sides:
                    side.close_all()
                mount.remount()
                compare(sides, log)
                # What nobody may enter or nothing is left of makes for boring rounds.
                for path in [".", *_posix.walk(sides[0].top)]:
                    for side in sides:
                        if stat.S_ISDIR(os.lstat(J(side.top, path)).st_mode):
                            os.chmod(J(side.top, path), 0o777)
        os.chdir(_lib.WORK)
        for side in sides:
            side.close_all()
        check(succeeded > OPERATIONS // 4, f"expected a quarter of the calls to succeed, saw {succeeded} of {OPERATIONS}")
        step(f"{OPERATIONS} calls, {succeeded} of them successful")


_lib.main(test)
