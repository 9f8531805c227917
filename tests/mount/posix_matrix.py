#!/usr/bin/env python3
# ctest: timeout=300
"""Every system call that takes a path, on every kind of object and every kind of path that does not lead to one, by root,
the owner, a member of the group and somebody else: a mount must answer with the errno that tmpfs answers with, and what
succeeds must leave the same tree with the same owners, modes, link counts, and the same times touched. So the order of the
errors is Linux's own. It is a random choice of all the combinations (LRUFS_TEST_SEED; all with LRUFS_LONG=1; LRUFS_MATRIX_CASES
is the number of those with one path, and of those with two). On a plain directory (LRUFS_TEST_DIR) that is compared with tmpfs (mount it noatime,nosuid,nodev); where ext4 differs is
told below."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import itertools
import os
import shutil
import stat
import struct
import time
import _lib
import _posix
from _lib import Mount, check, renameat2, step
from _posix import GROUP, FOREIGN_GROUP, J, MEMBER, OTHER, OWNER, UTIME_NOW, UTIME_OMIT, acting_as, describe, utimens

CASES = int(os.environ.get("LRUFS_MATRIX_CASES", 10**9 if os.environ.get("LRUFS_LONG") == "1" else 2000))
OLD = (1_000_000_000, 0)
USERS = {"root": (0,), "owner": (OWNER, GROUP), "member": (MEMBER, MEMBER, [GROUP]), "other": (OTHER,)}


# The tree that each call begins with, by its parts; the current folder of all paths below is its top.
def file(path, mode=0o644, owner=OWNER, group=GROUP):
    _lib.write_file(path, b"content")
    os.chown(path, owner, group)
    if mode != 0o644:
        os.chmod(path, mode)


def folder(path, mode=0o755, owner=OWNER, group=GROUP, files=()):
    os.mkdir(path, 0o755)
    for name, arguments in files:
        file(J(path, name), **arguments)
    os.chown(path, owner, group)
    if mode != 0o755:
        os.chmod(path, mode)


PARTS = {
    ("file", "twin"): lambda: (file("file"), os.link("file", "twin")),
    ("setid",): lambda: file("setid", 0o6775),
    ("secret",): lambda: file("secret", 0o600, owner=0, group=0),
    ("empty",): lambda: folder("empty"),
    ("full",): lambda: (folder("full", files=[("inner", {})]), folder("full/sub")),
    ("closed",): lambda: folder("closed", 0o600, files=[("file", {})]),     # its names can be listed, not used
    ("fixed",): lambda: folder("fixed", 0o555, files=[("file", {})]),       # nothing can be made or removed
    ("sticky",): lambda: folder("sticky", 0o1777, 0, 0, [("roots", {"owner": 0, "group": 0}), ("mine", {"mode": 0o666})]),
    ("setgid",): lambda: folder("setgid", 0o2777, 0, FOREIGN_GROUP),
    ("shared",): lambda: folder("shared", 0o775, files=[("file", {"mode": 0o664})]),
    ("to-file",): lambda: os.symlink("file", "to-file"),
    ("to-folder",): lambda: os.symlink("full", "to-folder"),
    ("dangling",): lambda: os.symlink("nowhere", "dangling"),
    ("loop",): lambda: os.symlink("loop", "loop"),
    ("fifo",): lambda: os.mkfifo("fifo"),
    ("socket",): lambda: os.mknod("socket", stat.S_IFSOCK | 0o666),
    ("device",): lambda: os.mknod("device", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
}


def below(path):
    if stat.S_ISDIR(os.lstat(path).st_mode):
        return [path] + [J(path, name) for name in _posix.walk(path)]
    return [path]


def times(info, ctime):
    """Which times were touched since the tree was built."""
    old = OLD[0] * _posix.SECOND
    return [name for name, moved in (("atime", info.st_atime_ns != old), ("mtime", info.st_mtime_ns != old),
                                     ("ctime", info.st_ctime_ns != ctime)) if moved]


class Side:
    """One of the two trees."""

    def __init__(self, top):
        self.top = top
        self.wanted = {}        # of the fresh tree: path -> (inode, ctime, description)
        self.stale = set(PARTS)
        os.mkdir(top)

    def state(self, xattrs):
        """The whole tree: path -> what is the same on all file systems."""
        found = {}
        for path in [".", *_posix.walk(".")]:
            info = os.lstat(path)
            inode, ctime, _ = self.wanted.get(path, (None, None, None))
            found[path] = describe(path, xattrs=xattrs), times(info, ctime) if inode == info.st_ino else "new"
        return found

    def spoil(self, state):
        """Notes which parts are not any more what they were."""
        for names in PARTS:
            fresh = {path for path in self.wanted if path.split("/")[0] in names}
            there = {path for path in state if path.split("/")[0] in names}
            if fresh != there or any(state[path] != (self.wanted[path][2], []) for path in fresh):
                self.stale.add(names)
        known = {name for names in PARTS for name in names}
        self.unknown = {path.split("/")[0] for path in state} - known - {"."}
        self.touched = bool(state["."][1])
        if state["."][0] != self.wanted["."][2]:
            self.stale.update(PARTS)

    unknown = ()
    touched = False     # the top itself

    def renew(self):
        os.chdir(self.top)
        if not self.stale and not self.unknown and not self.touched:
            return
        for name in [*self.unknown, *(name for names in self.stale for name in names)]:
            if os.path.isdir(name) and not os.path.islink(name):
                shutil.rmtree(name)
            elif os.path.lexists(name):
                os.unlink(name)
        # ext4 takes it for no change if an attribute is set to what it is.
        for name in os.listxattr("."):
            os.removexattr(".", name)
        if self.stale == set(PARTS):
            os.chown(".", OWNER, GROUP)
            os.chmod(".", 0o755)
        fresh = ["."]
        for names in self.stale:
            PARTS[names]()
            fresh += [path for name in names for path in below(name)]
        for path in fresh:
            utimens(path, OLD, OLD, _posix.AT_SYMLINK_NOFOLLOW)
        for path in fresh:
            info = os.lstat(path)
            self.wanted[path] = (info.st_ino, info.st_ctime_ns, describe(path))
        self.wanted["."] = (*self.wanted["."][:2], describe("."))
        self.stale, self.unknown, self.touched = set(), (), False

    def let_the_clock_move(self):
        """tmpfs gives folders the ctime of the file, which may be as coarse as a tick of the timer."""
        # 5: CLOCK_REALTIME_COARSE
        newest = max(ctime for _, ctime, _ in self.wanted.values())
        _lib.wait_for("the coarse clock moves", 5, lambda: time.clock_gettime_ns(5) > newest)

    def perform(self, user, name, arguments):
        self.renew()
        if name.split()[0] in ("link", "unlink", "rmdir", "rename"):
            self.let_the_clock_move()
        call = ONE.get(name) or TWO[name]
        try:
            with acting_as(*USERS[user]):
                result = ("ok", call(*arguments))
        except OSError as error:
            # ext4 makes the whiteout before it sees that the rename cannot be, and removes it again: the folder's times move.
            if _lib.PLAIN and "WHITEOUT" in name:
                self.spoil(self.state(False))
            return _posix.name_of(error), {}
        if name in READS:
            return result, {}
        state = self.state("xattr" in name or "chown" in name)
        self.spoil(state)
        return result, state


# --- the calls ------------------------------------------------------------------------------------------------------

def opened(path, flags):
    fd = os.open(path, flags | os.O_NONBLOCK, 0o666)
    try:
        return stat.S_IFMT(os.fstat(fd).st_mode), os.lseek(fd, 0, os.SEEK_CUR) if flags & os.O_APPEND else 0
    finally:
        os.close(fd)


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NO_ID = 0xffffffff
ACL = acl((1, 6, NO_ID), (2, 7, OTHER), (4, 4, NO_ID), (16, 7, NO_ID), (32, 0, NO_ID))
O = os
OPENS = {"O_RDONLY": 0, "O_WRONLY": O.O_WRONLY, "O_RDWR": O.O_RDWR, "O_TRUNC": O.O_WRONLY | O.O_TRUNC,
         "O_RDONLY|O_TRUNC": O.O_TRUNC, "O_CREAT": O.O_WRONLY | O.O_CREAT, "O_EXCL": O.O_WRONLY | O.O_CREAT | O.O_EXCL,
         "O_CREAT|O_TRUNC": O.O_RDWR | O.O_CREAT | O.O_TRUNC, "O_CREAT|O_RDONLY": O.O_CREAT, "O_DIRECTORY": O.O_DIRECTORY,
         "O_DIRECTORY|O_WRONLY": O.O_DIRECTORY | O.O_WRONLY, "O_DIRECTORY|O_CREAT": O.O_DIRECTORY | O.O_CREAT,
         "O_NOFOLLOW": O.O_NOFOLLOW, "O_PATH": O.O_PATH, "O_PATH|O_NOFOLLOW": O.O_PATH | O.O_NOFOLLOW,
         "O_APPEND": O.O_WRONLY | O.O_APPEND, "O_NOATIME": O.O_NOATIME, "O_DIRECT": O.O_DIRECT, "O_SYNC": O.O_SYNC | O.O_WRONLY}
OPENS.update({"O_TMPFILE": O.O_TMPFILE | O.O_RDWR, "O_TMPFILE|O_RDONLY": O.O_TMPFILE, "O_TMPFILE|O_EXCL": O.O_TMPFILE | O.O_RDWR | O.O_EXCL})
ONE = {f"open {name}": lambda p, f=flags: opened(p, f) for name, flags in OPENS.items()}
ONE.update({
    "stat": lambda p: os.stat(p).st_mode & 0o170000, "lstat": lambda p: os.lstat(p).st_mode & 0o170000,
    "readlink": os.readlink, "listdir": lambda p: sorted(os.listdir(p)), "statfs": lambda p: os.statvfs(p).f_namemax,
    "mkdir": lambda p: os.mkdir(p, 0o777), "mkdir 7777": lambda p: os.mkdir(p, 0o7777), "rmdir": os.rmdir, "unlink": os.unlink,
    "mknod file": lambda p: os.mknod(p, stat.S_IFREG | 0o666), "mknod untyped": lambda p: os.mknod(p, 0o644),
    "mknod setid": lambda p: os.mknod(p, stat.S_IFREG | 0o6777),
    "mknod fifo": lambda p: os.mkfifo(p), "mknod socket": lambda p: os.mknod(p, stat.S_IFSOCK | 0o600),
    "mknod char": lambda p: os.mknod(p, stat.S_IFCHR | 0o600, os.makedev(1, 5)),
    "mknod block": lambda p: os.mknod(p, stat.S_IFBLK | 0o600, os.makedev(7, 400)),
    "mknod whiteout": lambda p: os.mknod(p, stat.S_IFCHR, 0), "mknod folder": lambda p: os.mknod(p, stat.S_IFDIR | 0o755),
    "mknod symlink": lambda p: os.mknod(p, stat.S_IFLNK | 0o755), "mknod nonsense": lambda p: os.mknod(p, 0o170000 | 0o755),
    "symlink": lambda p: os.symlink("target", p), "symlink empty": lambda p: os.symlink("", p),
    "symlink 4096": lambda p: os.symlink("x" * 4096, p),
    "truncate 3": lambda p: os.truncate(p, 3), "truncate longer": lambda p: os.truncate(p, 12345),
    "truncate same": lambda p: os.truncate(p, 7), "truncate 4 EiB": lambda p: os.truncate(p, 1 << 62),
    "utime now": lambda p: utimens(p, None, None), "utime set": lambda p: utimens(p, (5, 6), (7, 8)),
    "utime lset": lambda p: utimens(p, (5, 6), (7, 8), _posix.AT_SYMLINK_NOFOLLOW),
    "utime omit": lambda p: utimens(p, (0, UTIME_OMIT), (0, UTIME_OMIT)),
    "utime omit atime": lambda p: utimens(p, (0, UTIME_OMIT), (7, 8)), "utime nows": lambda p: utimens(p, (0, UTIME_NOW), (0, UTIME_NOW)),
    "utime now+omit": lambda p: utimens(p, (0, UTIME_NOW), (0, UTIME_OMIT)), "utime bad": lambda p: utimens(p, (0, 1 << 30), (0, 0)),
    "utime negative": lambda p: utimens(p, (0, -1), (0, 0)),
    "access R": lambda p: os.access(p, os.R_OK, effective_ids=True), "access W": lambda p: os.access(p, os.W_OK, effective_ids=True),
    "access X": lambda p: os.access(p, os.X_OK, effective_ids=True),
    "getxattr": lambda p: os.getxattr(p, "user.absent"), "listxattr": lambda p: sorted(os.listxattr(p)),
    "removexattr": lambda p: os.removexattr(p, "user.absent"),
    "O_PATH folder": lambda p: opened(p, os.O_PATH | os.O_DIRECTORY),
})
for _mode in (0o600, 0o777, 0o2755, 0o4755, 0o6755, 0o1777, 0):
    ONE[f"chmod {_mode:o}"] = lambda p, m=_mode: os.chmod(p, m)
for _owner, _group in ((OTHER, -1), (OWNER, -1), (-1, GROUP), (-1, MEMBER), (-1, FOREIGN_GROUP), (OWNER, GROUP), (0, 0), (-1, -1)):
    ONE[f"chown {_owner}:{_group}"] = lambda p, u=_owner, g=_group: os.chown(p, u, g)
    ONE[f"lchown {_owner}:{_group}"] = lambda p, u=_owner, g=_group: os.chown(p, u, g, follow_symlinks=False)
for _name, _value in (("user.x", b"value"), ("user.", b""), ("user", b""), ("trusted.x", b"value"), ("security.x", b"value"), ("nonsense.x", b""),
                      ("system.posix_acl_access", ACL), ("system.posix_acl_default", ACL), ("system.posix_acl_access", b"rubbish"),
                      ("system.posix_acl_access", b""), ("system.posix_acl_access", struct.pack("<I", 1)), ("system.other", b""),
                      ("system.posix_acl_default", struct.pack("<I", 2))):
    ONE[f"setxattr {_name} {len(_value)}"] = lambda p, n=_name, v=_value: os.setxattr(p, n, v)
    ONE[f"lsetxattr {_name} {len(_value)}"] = lambda p, n=_name, v=_value: os.setxattr(p, n, v, follow_symlinks=False)
for _name in ("trusted.x", "security.x", "nonsense.x", "user", "user.", "system.posix_acl_access", "system.posix_acl_default"):
    ONE[f"getxattr {_name}"] = lambda p, n=_name: os.getxattr(p, n)
    ONE[f"removexattr {_name}"] = lambda p, n=_name: os.removexattr(p, n)

# They change nothing (both sides are mounted so that reading does not move atime).
READS = {"stat", "lstat", "readlink", "listdir", "statfs", "access R", "access W", "access X", "getxattr", "listxattr", "O_PATH folder",
         *(f"open {name}" for name, flags in OPENS.items() if not flags & (O.O_CREAT | O.O_TRUNC)),
         *(name for name in ONE if name.startswith("getxattr "))}

TWO = {"link": lambda a, b: _posix.link(a, b), "link following": lambda a, b: _posix.link(a, b, _posix.AT_SYMLINK_FOLLOW),
       "link bad flags": lambda a, b: _posix.link(a, b, 1), "rename": os.rename}
for _name, _flags in (("NOREPLACE", 1), ("EXCHANGE", 2), ("WHITEOUT", 4), ("NOREPLACE|EXCHANGE", 3), ("EXCHANGE|WHITEOUT", 6),
                      ("NOREPLACE|WHITEOUT", 5), ("unknown", 8)):
    TWO[f"rename {_name}"] = lambda a, b, f=_flags: renameat2(a, b, f)

EXISTING = ["file", "setid", "secret", "empty", "full", "closed", "closed/file", "fixed", "fixed/file", "sticky/roots", "sticky/mine", "shared/file",
            "to-file", "to-folder", "dangling", "loop", "fifo", "socket", "device", "full/sub", "setgid", "."]
LONG = "n" * 256
ABSENT = ["new", "fixed/new", "sticky/new", "setgid/new", "shared/new", "closed/new", "none/x", "file/x", "loop/x", "dangling/x", LONG, f"none/{LONG}",
          f"file/{LONG}", f"{LONG}/x", f"fixed/{LONG}", "", "new/", "file/", "empty/", "to-folder/", "to-file/", "dangling/", "empty/.", "empty/..",
          "to-folder/inner", "fifo/x", "/".join(["to-folder/.."] * 41), "x/" * 2048, "closed/none", "fixed/.", "full/new"]   # nothing that leaves the tree
# For calls with two paths: one or two of a kind.
SOURCES = ["file", "twin", "secret", "empty", "full", "full/sub", "closed/file", "fixed/file", "fixed", "sticky/roots", "sticky/mine", "shared/file",
           "to-file", "to-folder", "dangling", "fifo", "device", "none", "file/x", LONG, "", "empty/.", "full/..", ".", "file/", "empty/", "loop/x",
           "full/inner"]
TARGETS = ["new", "file", "twin", "empty", "full", "full/sub/new", "full/sub", "full/inner", "fixed/new", "fixed/file", "closed/new", "sticky/new", "sticky/roots",
           "sticky/mine", "setgid/new", "shared/new", "shared/file", "to-file", "to-folder", "dangling", "fifo", "new/", "empty/", "file/", LONG,
           f"fixed/{LONG}", "", "file/x", "none/x", "empty/.", "."]


# ext4 has a smaller largest size, and no new ctime for removing an ACL that there is not.
EXT4_DIFFERS = ["truncate 4 EiB", *(name for name in ONE if "xattr system.posix_acl" in name)]


# --- comparing ------------------------------------------------------------------------------------------------------

def differences(a, b):
    """What of two states is not the same, briefly."""
    return "; ".join(f"{path}: {a.get(path)} against {b.get(path)}" for path in sorted(a.keys() | b.keys()) if a.get(path) != b.get(path))


def test():
    random = _lib.seed()
    with Mount(size="256M", options=["-o", "allow_other"]) as mount:
        os.umask(0o022)
        reference, tested = Side(J(_posix.tmpfs(options="noatime,nosuid,nodev"), "tree")), Side(mount.path("tree"))
        os.chmod(_lib.WORK, 0o755)
        if not _posix.takes_tmpfile(mount.dir):
            print("O_TMPFILE is not supported: left out")
            for name in [name for name in ONE if "O_TMPFILE" in name]:
                del ONE[name]
        one = [(user, name, (path,)) for user in USERS for path in EXISTING + ABSENT for name in ONE]
        two = [(user, name, (a, b)) for user in USERS for a, b in itertools.product(SOURCES, TARGETS) for name in TWO]
        cases = []
        for group in (one, two):
            cases += group if len(group) <= CASES else random.sample(group, CASES)
        wrong = []
        for user, name, arguments in cases:
            assert not any(path.startswith(("/", "..")) for path in arguments), "would leave the tree"
            wanted, wanted_state = reference.perform(user, name, arguments)
            seen, seen_state = tested.perform(user, name, arguments)
            if name.endswith("chown -1:-1") and not _lib.PLAIN and wanted == "EPERM" and seen == ("ok", None):
                os.chdir(reference.top)
                wanted, wanted_state = seen, reference.state(True)   # it does nothing on a regular file (docs/semantics.md)
            if (wanted, wanted_state) != (seen, seen_state) and not (_lib.PLAIN and name in EXT4_DIFFERS):
                shown = tuple(a if len(a) < 40 else f"{a[:20]}…({len(a)})" for a in arguments)
                what = f"expected {wanted}, saw {seen}" if wanted != seen else differences(wanted_state, seen_state)
                wrong.append(f"{name} {shown} by {user}: {what}")
                print(f"FAIL  {wrong[-1]}")
                check(len(wrong) < 40 or "LRUFS_MATRIX_ALL" in os.environ, "and more, perhaps")
        os.chdir(_lib.WORK)
        check(not wrong, f"{len(wrong)} of {len(cases)} calls differ from tmpfs")
        step(f"{len(cases)} of {len(one)} calls with one path and {len(two)} with two")


_lib.main(test)
