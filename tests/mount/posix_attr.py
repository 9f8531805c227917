#!/usr/bin/env python3
# ctest: timeout=180
"""Modes, owners, times, extended attributes, ACLs, permissions. On a plain directory: LRUFS_TEST_DIR=/some/dir.
Mounted with allow_other and default_permissions, so that other users are checked by the kernel."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import errno
import os
import stat
import struct
import time
import _lib
from _lib import SkipTest, check, equal, raises, read_file, write_file

J = os.path.join
NOBODY = 65534
SECOND = 1_000_000_000


def touch(*parts, data=b"", mode=0o644):
    write_file(J(*parts), data, mode=mode)
    return J(*parts)


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def root_only():
    if os.geteuid() != 0:
        raise SkipTest("needs root")


def as_user(function, uid=NOBODY, groups=()):
    """Runs the function in a child process of another user."""
    def child():
        os.setgroups(list(groups))
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        function()
    child.__name__ = f"{function.__name__} (as user {uid})"
    _lib.in_child(30, child)


# --- modes and owners -----------------------------------------------------------------------------------------------

def test_modes(d):
    touch(d, "f")
    os.mkdir(J(d, "dir"))
    for path in (J(d, "f"), J(d, "dir")):
        for value in (0, 0o777, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777, 0o600):
            os.chmod(path, value)
            equal("mode", oct(value), oct(mode(path)))
    os.umask(0)
    for value in (0o000, 0o400, 0o666, 0o777, 0o4711):
        os.close(os.open(J(d, f"c{value:o}"), os.O_CREAT | os.O_WRONLY, value))
        os.mkdir(J(d, f"d{value:o}"), value & 0o777)
        os.mkfifo(J(d, f"p{value:o}"), value & 0o777)
    os.umask(0o027)
    touch(d, "umask", mode=0o666)
    equal("mode under umask 027", oct(0o640), oct(mode(J(d, "umask"))))
    os.umask(0o022)

    def look():
        for value in (0o000, 0o400, 0o666, 0o777, 0o4711):
            equal("mode of a new file", oct(value), oct(mode(J(d, f"c{value:o}"))))
            equal("mode of a new folder", oct(value & 0o777), oct(mode(J(d, f"d{value:o}"))))
            equal("mode of a new fifo", oct(value & 0o777), oct(mode(J(d, f"p{value:o}"))))
    look()
    raises("chmod of a missing one", errno.ENOENT, os.chmod, J(d, "none"), 0)
    yield
    look()


def test_owners(d):
    root_only()
    touch(d, "f")
    os.symlink("f", J(d, "s"))
    os.chown(J(d, "f"), 1234, 5678)
    os.chown(J(d, "s"), 4_000_000_000, 77, follow_symlinks=False)

    def look(owner):
        seen = os.stat(J(d, "f"))
        equal("owner", owner, (seen.st_uid, seen.st_gid))
        seen = os.lstat(J(d, "s"))
        equal("owner of the symlink", (4_000_000_000, 77), (seen.st_uid, seen.st_gid))
    look((1234, 5678))
    os.chown(J(d, "f"), -1, 99)
    look((1234, 99))
    os.chown(J(d, "f"), 42, -1)
    look((42, 99))
    yield
    look((42, 99))


def test_chown_takes_setuid_away(d):
    root_only()
    touch(d, "f")
    os.chmod(J(d, "f"), 0o6755)
    os.chown(J(d, "f"), NOBODY, NOBODY)
    equal("mode after chown", oct(0o755), oct(mode(J(d, "f"))))


def test_writes_take_setuid_away(d):
    root_only()
    os.chmod(d, 0o777)
    touch(d, "f", data=b"12345")
    for what in ("write", "truncate"):
        os.chown(J(d, "f"), NOBODY, NOBODY)
        os.chmod(J(d, "f"), 0o6777)
        equal("set", oct(0o6777), oct(mode(J(d, "f"))))

        def change(what=what):
            if what == "truncate":
                os.truncate(J(d, "f"), 3)
            else:
                write_file(J(d, "f"), b"x", os.O_WRONLY)
        as_user(change, uid=NOBODY - 1)
        equal(f"mode after a {what} by another user", oct(0o777), oct(mode(J(d, "f"))))


def test_setgid_folders(d):
    root_only()
    os.mkdir(J(d, "dir"))
    os.chown(J(d, "dir"), 0, 4321)
    os.chmod(J(d, "dir"), 0o2775)
    touch(d, "dir", "file")
    os.mkdir(J(d, "dir", "sub"))
    touch(d, "dir", "sub", "file")
    os.symlink("x", J(d, "dir", "link"))
    for name in ("dir/file", "dir/sub", "dir/sub/file", "dir/link"):
        equal(f"group of {name}", 4321, os.lstat(J(d, name)).st_gid)
    equal("a new folder is setgid, too", oct(0o2755), oct(mode(J(d, "dir", "sub"))))
    equal("a new file is not", oct(0o644), oct(mode(J(d, "dir", "file"))))


# --- permissions ----------------------------------------------------------------------------------------------------

def test_other_users_are_refused(d):
    root_only()
    os.chmod(d, 0o755)
    touch(d, "secret", data=b"secret", mode=0o600)
    touch(d, "public", data=b"public", mode=0o644)
    os.mkdir(J(d, "closed"), 0o700)
    touch(d, "closed", "f")
    os.mkdir(J(d, "drop"), 0o733)
    os.chmod(J(d, "drop"), 0o733)

    def other():
        raises("read 0600 of another", errno.EACCES, os.open, J(d, "secret"), os.O_RDONLY)
        equal("read 0644 of another", b"public", read_file(J(d, "public")))
        raises("write 0644 of another", errno.EACCES, os.open, J(d, "public"), os.O_WRONLY)
        raises("into 0700 of another", errno.EACCES, os.stat, J(d, "closed", "f"))
        raises("list 0700 of another", errno.EACCES, os.listdir, J(d, "closed"))
        raises("create in 0755 of another", errno.EACCES, touch, d, "mine")
        raises("chmod of another's", errno.EPERM, os.chmod, J(d, "public"), 0o666)
        raises("chown of another's", errno.EPERM, os.chown, J(d, "public"), NOBODY, NOBODY)
        raises("set the times of another's", errno.EPERM, os.utime, J(d, "public"), (1, 1))
        raises("unlink in 0755 of another", errno.EACCES, os.unlink, J(d, "public"))
        touch(d, "drop", "mine")
        raises("list 0733 of another", errno.EACCES, os.listdir, J(d, "drop"))
        equal("own file", NOBODY, os.stat(J(d, "drop", "mine")).st_uid)
        equal("access", (True, False), (os.access(J(d, "public"), os.R_OK), os.access(J(d, "public"), os.W_OK)))
    as_user(other)


def test_permission_changes_count_at_once(d):
    # Breaks when the kernel goes on with cached attributes after another process changed them.
    root_only()
    os.chmod(d, 0o755)
    touch(d, "f", data=b"1")
    as_user(lambda: equal("open to all", b"1", read_file(J(d, "f"))))
    os.chmod(J(d, "f"), 0o600)
    as_user(lambda: raises("closed", errno.EACCES, os.open, J(d, "f"), os.O_RDONLY))
    os.chown(J(d, "f"), NOBODY, NOBODY)
    as_user(lambda: equal("given away", b"1", read_file(J(d, "f"))))


def test_sticky_folder(d):
    root_only()
    os.mkdir(J(d, "tmp"))
    os.chmod(J(d, "tmp"), 0o1777)
    touch(d, "tmp", "roots")

    def other():
        touch(d, "tmp", "mine")
        raises("unlink another's", errno.EPERM, os.unlink, J(d, "tmp", "roots"))
        raises("rename another's", errno.EPERM, os.rename, J(d, "tmp", "roots"), J(d, "tmp", "x"))
        raises("rename over another's", errno.EPERM, os.rename, J(d, "tmp", "mine"), J(d, "tmp", "roots"))
        os.unlink(J(d, "tmp", "mine"))
    as_user(other)


# --- times ----------------------------------------------------------------------------------------------------------

def test_set_times(d):
    cases = {"zero": (0, 0), "ns": (1_234_567_890_123_456_789, 987_654_321_987_654_321), "before1970": (-SECOND - 1, -5 * SECOND),
             "after2038": (5_000_000_000 * SECOND + 7, 4_294_967_296 * SECOND + 999_999_999)}
    for name, times in cases.items():
        touch(d, name)
        os.utime(J(d, name), ns=times)
    os.mkdir(J(d, "dir"))
    os.utime(J(d, "dir"), ns=(SECOND + 1, 2 * SECOND + 2))
    os.symlink("zero", J(d, "link"))
    os.utime(J(d, "link"), ns=(3 * SECOND + 3, 4 * SECOND + 4), follow_symlinks=False)

    def look():
        for name, times in cases.items():
            seen = os.stat(J(d, name))
            equal(f"times of {name}", times, (seen.st_atime_ns, seen.st_mtime_ns))
        equal("mtime of a folder", 2 * SECOND + 2, os.stat(J(d, "dir")).st_mtime_ns)
        equal("mtime of a symlink", 4 * SECOND + 4, os.lstat(J(d, "link")).st_mtime_ns)
    look()
    before = time.time_ns() - SECOND
    touch(d, "now")
    os.utime(J(d, "now"), ns=(1, 1))
    os.utime(J(d, "now"))
    check(before <= os.stat(J(d, "now")).st_mtime_ns <= time.time_ns() + SECOND, "utime to now: expected the time of day")
    _lib.run(20, "touch", "-a", "-d", "@777", J(d, "ns"))  # UTIME_OMIT for the other
    equal("touch -a", (777 * SECOND, cases["ns"][1]), (os.stat(J(d, "ns")).st_atime_ns, os.stat(J(d, "ns")).st_mtime_ns))
    cases["ns"] = (777 * SECOND, cases["ns"][1])
    yield
    look()


def test_times_of_changes(d):
    def changed(what, path, which, call):
        """Does the call move (which of) the times of the path forward?"""
        os.utime(path, ns=(SECOND, SECOND))
        before = os.stat(path)
        # The clock of a file system has the resolution of a timer tick: wait until it has moved on.
        probe = J(_lib.WORK, "clock")
        _lib.wait_for("the clock moves", 5, lambda: (write_file(probe, b"x"), os.stat(probe).st_mtime_ns > before.st_ctime_ns + 5_000_000)[1])
        call()
        after = os.stat(path)
        for name in ("mtime", "ctime"):
            old, new = getattr(before, f"st_{name}_ns"), getattr(after, f"st_{name}_ns")
            if name in which:
                check(new > old, f"{what}: expected a later {name}, saw {old} and then {new}")
            elif name == "mtime":
                equal(f"{what}: {name} stays", old, new)

    path = touch(d, "f", data=b"12345")
    changed("write", path, ("mtime", "ctime"), lambda: write_file(path, b"x", os.O_WRONLY))
    changed("append", path, ("mtime", "ctime"), lambda: write_file(path, b"x", os.O_WRONLY | os.O_APPEND))
    changed("truncate", path, ("mtime", "ctime"), lambda: os.truncate(path, 2))
    changed("O_TRUNC", path, ("mtime", "ctime"), lambda: write_file(path, b""))
    changed("chmod", path, ("ctime",), lambda: os.chmod(path, 0o600))
    changed("link", path, ("ctime",), lambda: os.link(path, J(d, "f2")))
    changed("unlink of another name", path, ("ctime",), lambda: os.unlink(J(d, "f2")))
    changed("setxattr", path, ("ctime",), lambda: os.setxattr(path, "user.x", b"1"))
    changed("read", path, (), lambda: read_file(path))
    folder = J(d, "dir")
    os.mkdir(folder)
    changed("create in a folder", folder, ("mtime", "ctime"), lambda: touch(folder, "new"))
    changed("write to a file in a folder", folder, (), lambda: write_file(J(folder, "new"), b"x", os.O_WRONLY))
    changed("rename in a folder", folder, ("mtime", "ctime"), lambda: os.rename(J(folder, "new"), J(folder, "other")))
    changed("rename out of a folder", folder, ("mtime", "ctime"), lambda: os.rename(J(folder, "other"), J(d, "out")))
    changed("mkdir in a folder", folder, ("mtime", "ctime"), lambda: os.mkdir(J(folder, "sub")))
    changed("rmdir in a folder", folder, ("mtime", "ctime"), lambda: os.rmdir(J(folder, "sub")))
    changed("symlink in a folder", folder, ("mtime", "ctime"), lambda: os.symlink("x", J(folder, "s")))
    changed("unlink in a folder", folder, ("mtime", "ctime"), lambda: os.unlink(J(folder, "s")))


def test_new_files_have_the_time_of_day(d):
    before = time.time_ns() - SECOND
    touch(d, "f")
    os.mkdir(J(d, "dir"))
    os.symlink("x", J(d, "s"))
    for name in ("f", "dir", "s"):
        seen = os.lstat(J(d, name))
        for which in ("atime", "mtime", "ctime"):
            value = getattr(seen, f"st_{which}_ns")
            check(before <= value <= time.time_ns() + SECOND, f"{which} of a new {name}: expected about now, saw {value}")


def test_mtime_set_after_writing_stays(d):
    # What cp -p and tar do: write, futimens, close. Breaks when dirty pages that are written at close set mtime again.
    fd = os.open(J(d, "f"), os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"x" * 100_000)
    os.utime(fd, ns=(5 * SECOND + 5, 6 * SECOND + 6))
    os.close(fd)
    equal("mtime", 6 * SECOND + 6, os.stat(J(d, "f")).st_mtime_ns)
    yield
    equal("mtime after remount", 6 * SECOND + 6, os.stat(J(d, "f")).st_mtime_ns)
    equal("atime after remount", 5 * SECOND + 5, os.stat(J(d, "f")).st_atime_ns)


# --- extended attributes --------------------------------------------------------------------------------------------

def test_xattrs(d):
    kinds = ["user"] + (["trusted", "security"] if os.geteuid() == 0 else [])
    os.mkdir(J(d, "dir"))
    for path in (touch(d, "f", data=b"content"), J(d, "dir")):
        for kind in kinds:
            name = f"{kind}.test"
            raises(f"get of an absent {name}", errno.ENODATA, os.getxattr, path, name)
            raises(f"remove of an absent {name}", errno.ENODATA, os.removexattr, path, name)
            raises("XATTR_REPLACE of an absent one", errno.ENODATA, os.setxattr, path, name, b"", os.XATTR_REPLACE)
            os.setxattr(path, name, b"value\0with\xff", os.XATTR_CREATE)
            raises("XATTR_CREATE of a present one", errno.EEXIST, os.setxattr, path, name, b"", os.XATTR_CREATE)
            equal(name, b"value\0with\xff", os.getxattr(path, name))
            os.setxattr(path, name, b"other", os.XATTR_REPLACE)
            equal(f"{name} replaced", b"other", os.getxattr(path, name))
            os.setxattr(path, f"{kind}.empty", b"")
            equal(f"{kind}.empty", b"", os.getxattr(path, f"{kind}.empty"))
            check(f"{kind}.empty" in os.listxattr(path), f"the list: expected {kind}.empty, saw {os.listxattr(path)}")
            os.removexattr(path, f"{kind}.empty")
        wanted = sorted(f"{kind}.test" for kind in kinds)
        equal("list", wanted, sorted(n for n in os.listxattr(path) if n.endswith(".test")))
    raises("no such name space", errno.EOPNOTSUPP, os.setxattr, J(d, "f"), "nonsense.x", b"")
    os.symlink("f", J(d, "s"))
    raises("user.* on a symlink", errno.EPERM, os.setxattr, J(d, "s"), "user.x", b"", follow_symlinks=False)
    if os.geteuid() == 0:
        os.setxattr(J(d, "s"), "trusted.x", b"on the symlink", follow_symlinks=False)
        equal("trusted.* on a symlink", b"on the symlink", os.getxattr(J(d, "s"), "trusted.x", follow_symlinks=False))
    yield
    for name in ("f", "dir"):
        equal("list after remount", wanted, sorted(n for n in os.listxattr(J(d, name)) if n.endswith(".test")))
        for kind in kinds:
            equal(f"{kind}.test after remount", b"other", os.getxattr(J(d, name), f"{kind}.test"))
    equal("content", b"content", read_file(J(d, "f")))


def test_trusted_names_are_hidden(d):
    # xattr(7): from who has no CAP_SYS_ADMIN, root in a container among them. Reading them fails as if there were none.
    root_only()
    path = touch(d, "f")
    for name in ("user.u", "trusted.t"):
        os.setxattr(path, name, b"1")
    equal("as root", {"user.u", "trusted.t"}, set(os.listxattr(path)) - {"security.selinux"})

    def look():
        equal("names", {"user.u"}, set(os.listxattr(path)) - {"security.selinux"})
        raises("reading it", errno.ENODATA, os.getxattr, path, "trusted.t")
    as_user(look)

    def without_capability():
        CAP_SYS_ADMIN, header = 21, struct.pack("<Ii", 0x20080522, 0)
        data = _lib.ctypes.create_string_buffer(24)
        equal("capget", 0, _lib.libc.capget(header, data))
        words = list(struct.unpack("<6I", data.raw))
        words[0] &= ~(1 << CAP_SYS_ADMIN)
        equal("capset", 0, _lib.libc.capset(header, struct.pack("<6I", *words)))
        look()
    _lib.in_child(20, without_capability)


def test_xattr_sizes(d):
    path = touch(d, "f")
    name = "user." + "n" * 250
    os.setxattr(path, name, b"long name")
    raises("a name of 256 bytes", errno.ERANGE, os.setxattr, path, name + "n", b"")
    sizes = (1, 100, 1000, 2000, 3500)
    for size in sizes:
        other = touch(d, str(size))
        os.setxattr(other, "user.v", os.urandom(size))
        value = bytes(n & 255 for n in range(size))
        os.setxattr(other, "user.v", value)
        equal(f"{size} bytes", value, os.getxattr(other, "user.v"))
    raises("a value over 64 KiB", (errno.E2BIG, errno.ENOSPC), os.setxattr, path, "user.v", b"x" * 65_537)
    # The kernel asks for the size first: a buffer that is too small is refused.
    small = _lib.ctypes.create_string_buffer(4)
    equal("getxattr into a small buffer", -1, _lib.libc.getxattr(os.fsencode(J(d, "100")), b"user.v", small, 4))
    equal("its errno", errno.ERANGE, _lib.ctypes.get_errno())
    equal("listxattr into a small buffer", -1, _lib.libc.listxattr(os.fsencode(J(d, "100")), small, 4))
    equal("its errno", errno.ERANGE, _lib.ctypes.get_errno())
    equal("listxattr for the size", 7, _lib.libc.listxattr(os.fsencode(J(d, "100")), None, 0))
    yield
    equal("long name after remount", b"long name", os.getxattr(path, name))
    for size in sizes:
        equal(f"{size} bytes after remount", bytes(n & 255 for n in range(size)), os.getxattr(J(d, str(size)), "user.v"))


def test_many_xattrs(d):
    path = touch(d, "f", data=b"x" * 700)
    count = 60
    for n in range(count):
        os.setxattr(path, f"user.a{n}", b"v%d" % n)
    for n in range(0, count, 3):
        os.removexattr(path, f"user.a{n}")
    wanted = {f"user.a{n}": b"v%d" % n for n in range(count) if n % 3}

    def look():
        equal("all", wanted, {name: os.getxattr(path, name) for name in os.listxattr(path) if name.startswith("user.")})
        equal("content", b"x" * 700, read_file(path))
    look()
    yield
    look()
    os.rename(path, J(d, "g"))
    equal("they move along", b"v1", os.getxattr(J(d, "g"), "user.a1"))


def test_file_capabilities(d):
    root_only()
    path = touch(d, "f", data=b"#!/bin/sh\n")
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # version 2, effective: cap_net_bind_service
    os.setxattr(path, "security.capability", capability)
    equal("set", capability, os.getxattr(path, "security.capability"))
    write_file(path, b"x", os.O_WRONLY)
    raises("after a write", errno.ENODATA, os.getxattr, path, "security.capability")


# --- ACLs -----------------------------------------------------------------------------------------------------------

def acl(path):
    lines = _lib.run(20, "getfacl", "--numeric", "--omit-header", "--absolute-names", path).split("\n")
    return sorted(line.split("\t")[0].split("#")[0].strip() for line in lines if line)


def test_acls(d):
    root_only()
    path = touch(d, "f", data=b"secret", mode=0o640)
    os.chmod(d, 0o755)
    _lib.run(20, "setfacl", "-m", f"u:{NOBODY}:rw,g:777:r", path)
    wanted = sorted([f"user:{NOBODY}:rw-", "user::rw-", "group::r--", "group:777:r--", "mask::rw-", "other::---"])
    equal("getfacl", wanted, acl(path))
    equal("the group bits show the mask", oct(0o660), oct(mode(path)))
    as_user(lambda: equal("read by the named user", b"secret", read_file(path)))
    as_user(lambda: raises("read by nobody's friend", errno.EACCES, os.open, path, os.O_RDONLY), uid=NOBODY - 1)
    as_user(lambda: equal("read by the named group", b"secret", read_file(path)), uid=NOBODY - 1, groups=[777])
    os.chmod(path, 0o600)
    equal("chmod sets the mask", sorted(w.replace("mask::rw-", "mask::---") for w in wanted), acl(path))
    as_user(lambda: raises("the mask hides the named user", errno.EACCES, os.open, path, os.O_RDONLY))
    os.chmod(path, 0o660)
    yield
    equal("getfacl after remount", wanted, acl(path))
    as_user(lambda: equal("read by the named user", b"secret", read_file(path)))
    _lib.run(20, "setfacl", "-b", path)
    equal("removed", sorted(["user::rw-", "group::r--", "other::---"]), acl(path))
    equal("mode", oct(0o640), oct(mode(path)))


def test_default_acls(d):
    root_only()
    os.mkdir(J(d, "dir"), 0o755)
    _lib.run(20, "setfacl", "-d", "-m", f"u:{NOBODY}:rwx,g::r-x,o::---", J(d, "dir"))
    touch(d, "dir", "file", mode=0o666)
    os.mkdir(J(d, "dir", "sub"), 0o777)
    touch(d, "dir", "sub", "deep", mode=0o666)
    os.mkfifo(J(d, "dir", "fifo"), 0o666)

    def look():
        for name in ("file", "sub/deep", "fifo"):
            equal(f"mode of {name}", oct(0o660), oct(mode(J(d, "dir", name))))
            check(f"user:{NOBODY}:rwx" in acl(J(d, "dir", name)), f"{name}: expected the named user, saw {acl(J(d, 'dir', name))}")
            check("mask::rw-" in acl(J(d, "dir", name)), f"{name}: expected the mask rw-, saw {acl(J(d, 'dir', name))}")
        check(f"default:user:{NOBODY}:rwx" in acl(J(d, "dir", "sub")), f"sub: expected the default ACL, saw {acl(J(d, 'dir', 'sub'))}")
    look()
    yield
    look()


_lib.need("setfacl", "getfacl", "touch")
_lib.run_all(globals(), options=["-o", "allow_other,default_permissions"])
