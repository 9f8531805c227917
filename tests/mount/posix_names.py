#!/usr/bin/env python3
# ctest: timeout=180
"""Names, folders, links and renames, as POSIX and Linux want them. On a plain directory: LRUFS_TEST_DIR=/some/dir."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import ctypes
import errno
import os
import stat
import _lib
from _lib import check, equal, raises, renameat2, read_file, write_file, RENAME_EXCHANGE, RENAME_NOREPLACE

J = os.path.join


def touch(*parts, data=b""):
    path = J(*parts)
    write_file(path, data)
    return path


def names(path):
    return sorted(os.listdir(path))


# --- names ----------------------------------------------------------------------------------------------------------

def test_name_lengths(d):
    for length in (1, 2, 14, 15, 16, 17, 254, 255):
        touch(d, "n" * length, data=str(length).encode())
    raises("a name of 256 bytes, create", errno.ENAMETOOLONG, touch, d, "n" * 256)
    raises("a name of 256 bytes, stat", errno.ENAMETOOLONG, os.stat, J(d, "n" * 256))
    raises("a name of 256 bytes, rename", errno.ENAMETOOLONG, os.rename, J(d, "n"), J(d, "n" * 256))
    raises("a name of 256 bytes, mkdir", errno.ENAMETOOLONG, os.mkdir, J(d, "n" * 256))
    os.mkdir(J(d, "d" * 255))
    os.rename(J(d, "n" * 255), J(d, "d" * 255, "m" * 255))
    wanted = sorted(["n" * n for n in (1, 2, 14, 15, 16, 17, 254)] + ["d" * 255])
    equal("names", wanted, names(d))
    yield
    equal("names after remount", wanted, names(d))
    equal("content below names of 255 bytes", b"255", read_file(J(d, "d" * 255, "m" * 255)))


def test_every_byte_in_a_name(d):
    d = os.fsencode(d)
    singles = [bytes([b]) for b in range(1, 256) if b not in b"/."]
    full = bytes(b for b in range(1, 256) if b != ord("/"))  # 254 bytes, all there are
    wanted = singles + [full + b"x", b"..." , b".hidden", b" ", b"-rf", b"\xff\xfe\xc3\x28", "ä€😀".encode()]
    wanted = sorted(set(wanted))
    for name in wanted:
        write_file(J(d, name), name)
    equal("names", wanted, sorted(os.listdir(d)))
    yield
    equal("names after remount", wanted, sorted(os.listdir(d)))
    for name in wanted:
        equal(f"content of {name!r}", name, read_file(J(d, name)))
        os.unlink(J(d, name))
    equal("names after unlink", [], os.listdir(d))


def test_similar_names_are_different(d):
    wanted = ["a", "A", "a ", "aa", "a\n", "á", "a\u0301", "a.", "b" * 200 + "1", "b" * 200 + "2"]
    for name in wanted:
        touch(d, name, data=name.encode())
    for name in wanted:
        equal(f"content of {name!r}", name.encode(), read_file(J(d, name)))


def test_deep_paths(d):
    depth = 600
    here = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
    for level in range(depth):
        os.mkdir(f"level{level}", dir_fd=here)
        below = os.open(f"level{level}", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    fd = os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(fd, b"deep")
    os.close(fd)
    # And up again by "..".
    for level in reversed(range(depth)):
        above = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        equal("the same folder by its name and by ..", os.fstat(here).st_ino, os.stat(f"level{level}", dir_fd=above).st_ino)
        os.close(here)
        here = above
    os.close(here)
    long_path = J(d, *(f"level{n}" for n in range(depth)))
    raises("a path longer than PATH_MAX", errno.ENAMETOOLONG, os.stat, long_path)
    yield
    here = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
    for level in range(depth):
        below = os.open(f"level{level}", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    equal("content at the bottom", 4, os.stat("bottom", dir_fd=here).st_size)
    os.close(here)


def test_path_of_path_max(d):
    path = d
    while len(path) + 201 < 4095:
        path = J(path, "p" * 200)
    os.makedirs(path)
    last = J(path, "q" * (4095 - len(path) - 1))
    if len(os.path.basename(last)) > 255:
        last = last[:len(path) + 1 + 255]
    touch(last, data=b"end")
    equal("content", b"end", read_file(last))


def test_paths_that_do_not_resolve(d):
    touch(d, "file")
    raises("missing", errno.ENOENT, os.stat, J(d, "none"))
    raises("below a missing one", errno.ENOENT, os.stat, J(d, "none", "x"))
    raises("below a file", errno.ENOTDIR, os.stat, J(d, "file", "x"))
    raises("create below a file", errno.ENOTDIR, touch, d, "file", "x")
    raises("a file with a slash", errno.ENOTDIR, os.stat, J(d, "file") + "/")
    raises("a file as folder", errno.ENOTDIR, os.open, J(d, "file"), os.O_RDONLY | os.O_DIRECTORY)
    raises("a folder for writing", errno.EISDIR, os.open, d, os.O_WRONLY)
    raises("empty path", errno.ENOENT, os.stat, "")
    raises("create with a slash", (errno.EISDIR, errno.ENOENT), touch, d, "new/")


def test_absent_names_become_present(d):
    # Breaks when a cached "no such name" outlives the name's creation by another process.
    path = J(d, "later")
    raises("absent", errno.ENOENT, os.stat, path)
    raises("absent, again", errno.ENOENT, os.open, path, os.O_RDONLY)
    _lib.in_child(20, touch, path)
    check(os.stat(path).st_size == 0, "created by another process: expected to see it")
    os.rename(path, J(d, "moved"))
    raises("the old name", errno.ENOENT, os.stat, path)
    os.link(J(d, "moved"), path)
    equal("same inode", os.stat(path).st_ino, os.stat(J(d, "moved")).st_ino)
    _lib.in_child(20, os.unlink, path)
    raises("unlinked by another process", errno.ENOENT, os.stat, path)


# --- create ---------------------------------------------------------------------------------------------------------

def test_open_flags(d):
    raises("no O_CREAT", errno.ENOENT, os.open, J(d, "f"), os.O_RDWR)
    fd = os.open(J(d, "f"), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    os.write(fd, b"12345")
    os.close(fd)
    raises("O_EXCL, exists", errno.EEXIST, os.open, J(d, "f"), os.O_CREAT | os.O_EXCL | os.O_RDWR)
    fd = os.open(J(d, "f"), os.O_CREAT | os.O_RDONLY)
    equal("O_CREAT leaves content", b"12345", os.read(fd, 10))
    raises("write to O_RDONLY", errno.EBADF, os.write, fd, b"x")
    os.close(fd)
    fd = os.open(J(d, "f"), os.O_WRONLY | os.O_TRUNC)
    equal("O_TRUNC", 0, os.fstat(fd).st_size)
    raises("read from O_WRONLY", errno.EBADF, os.read, fd, 1)
    os.close(fd)
    os.symlink("f", J(d, "l"))
    raises("O_NOFOLLOW", errno.ELOOP, os.open, J(d, "l"), os.O_RDONLY | os.O_NOFOLLOW)
    raises("O_EXCL on a symlink", errno.EEXIST, os.open, J(d, "l"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.symlink("target", J(d, "dangling"))
    os.close(os.open(J(d, "dangling"), os.O_CREAT | os.O_WRONLY))
    check(os.path.exists(J(d, "target")), "O_CREAT through a dangling symlink: expected its target to be made")


def test_one_of_many_wins_o_excl(d):
    rounds, processes = 100, 4
    readers = []
    for number in range(processes):
        r, w = os.pipe()

        def compete(w=w):
            won = bytearray(rounds)
            for n in range(rounds):
                try:
                    os.close(os.open(J(d, f"excl{n}"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                    os.mkdir(J(d, f"dir{n}"))
                    won[n] = 1
                except FileExistsError:
                    pass
            os.write(w, bytes(won))
        child = _lib.spawn_function(compete)
        os.close(w)
        readers.append((child, r))
    wins = [0] * rounds
    for child, r in readers:
        equal("exit status", 0, child.wait(60))
        for n, won in enumerate(os.read(r, rounds)):
            wins[n] += won
        os.close(r)
    equal("winners of each round", [1] * rounds, wins)


def test_special_files(d):
    if os.geteuid() != 0:
        raise _lib.SkipTest("needs root")
    made = {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "char": stat.S_IFCHR, "block": stat.S_IFBLK, "reg": stat.S_IFREG}
    for name, kind in made.items():
        os.mknod(J(d, name), kind | 0o640, os.makedev(7, 300) if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0)

    def look():
        for name, kind in made.items():
            seen = os.lstat(J(d, name))
            equal(f"{name}: mode", oct(kind | 0o640), oct(seen.st_mode))
            if name in ("char", "block"):
                equal(f"{name}: device", (7, 300), (os.major(seen.st_rdev), os.minor(seen.st_rdev)))
    look()
    # A fifo works between two processes.
    _lib.spawn_function(write_file, J(d, "fifo"), b"through", os.O_WRONLY)
    equal("read from the fifo", b"through", read_file(J(d, "fifo")))
    yield
    look()


# --- folders --------------------------------------------------------------------------------------------------------

def test_mkdir_rmdir_unlink_errors(d):
    os.mkdir(J(d, "dir"))
    touch(d, "dir", "file")
    raises("mkdir, exists", errno.EEXIST, os.mkdir, J(d, "dir"))
    raises("mkdir, file exists", errno.EEXIST, os.mkdir, J(d, "dir", "file"))
    raises("rmdir, not empty", errno.ENOTEMPTY, os.rmdir, J(d, "dir"))
    raises("rmdir of a file", errno.ENOTDIR, os.rmdir, J(d, "dir", "file"))
    raises("rmdir of .", errno.EINVAL, os.rmdir, J(d, "dir", "."))
    raises("rmdir of ..", errno.ENOTEMPTY, os.rmdir, J(d, "dir", ".."))
    raises("unlink of a folder", (errno.EISDIR, errno.EPERM), os.unlink, J(d, "dir"))
    raises("unlink of a missing one", errno.ENOENT, os.unlink, J(d, "none"))
    os.unlink(J(d, "dir", "file"))
    os.rmdir(J(d, "dir"))
    raises("rmdir, twice", errno.ENOENT, os.rmdir, J(d, "dir"))
    equal("left", [], names(d))


def test_folder_link_counts(d):
    # File systems that do not count report 1 always; those that do, 2 + the folders in it.
    os.makedirs(J(d, "a", "b"))
    os.mkdir(J(d, "a", "c"))
    touch(d, "a", "file")
    seen = os.stat(J(d, "a")).st_nlink
    check(seen in (1, 4), f"links of a folder with two folders in it: expected 4 (or always 1), saw {seen}")
    os.rename(J(d, "a", "b"), J(d, "b"))
    os.rmdir(J(d, "a", "c"))
    seen = os.stat(J(d, "a")).st_nlink
    check(seen in (1, 2), f"links of a folder without folders: expected 2 (or always 1), saw {seen}")


def test_removed_folder_that_is_in_use(d):
    os.mkdir(J(d, "gone"))
    fd = os.open(J(d, "gone"), os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir(J(d, "gone"))
    raises("create in a removed folder", errno.ENOENT, os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    raises("mkdir in a removed folder", errno.ENOENT, os.mkdir, "x", dir_fd=fd)
    equal("listing of a removed folder", [], os.listdir(fd))
    check(stat.S_ISDIR(os.fstat(fd).st_mode), "fstat of a removed folder: expected a folder")
    os.close(fd)

    def in_removed_cwd():
        os.mkdir(J(d, "cwd"))
        os.chdir(J(d, "cwd"))
        os.rmdir(J(d, "cwd"))
        raises("getcwd in a removed folder", errno.ENOENT, os.getcwd)
        raises("create in a removed cwd", errno.ENOENT, touch, "x")
        os.mkdir(J(d, "cwd"))  # the same name, another folder
        raises("create in a removed cwd", errno.ENOENT, touch, "x")
        equal("the new folder", [], os.listdir(J(d, "cwd")))
    _lib.in_child(20, in_removed_cwd)


def test_listing(d):
    count = 5000
    wanted = sorted(f"file{n:05d}" + "x" * (n % 90) for n in range(count))
    for n, name in enumerate(wanted):
        if n % 7 == 0:
            os.mkdir(J(d, name))
        elif n % 11 == 0:
            os.symlink("nowhere", J(d, name))
        else:
            touch(d, name)

    def look():
        seen = names(d)
        equal("number of names", count, len(seen))
        equal("names", wanted, seen)
        with os.scandir(d) as entries:
            for entry in entries:
                info = entry.stat(follow_symlinks=False)
                equal(f"{entry.name}: inode of the entry and of stat", info.st_ino, entry.inode())
                equal(f"{entry.name}: is a folder", stat.S_ISDIR(info.st_mode), entry.is_dir(follow_symlinks=False))
                equal(f"{entry.name}: is a symlink", stat.S_ISLNK(info.st_mode), entry.is_symlink())
    look()
    # Other processes change it between two listings (cached listings must go).
    _lib.in_child(20, os.unlink, J(d, wanted[1]))
    _lib.in_child(20, touch, J(d, "another"))
    wanted[1] = "another"
    wanted.sort()
    look()
    yield
    look()


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("reclen", ctypes.c_uint16), ("type", ctypes.c_uint8),
                ("name", ctypes.c_char * 256)]


libc = _lib.libc
libc.opendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.POINTER(Dirent)
libc.telldir.restype = ctypes.c_long


class Directory:
    """opendir and its family, which Python hides."""

    def __init__(self, path):
        self.handle = ctypes.c_void_p(libc.opendir(os.fsencode(path)))
        check(self.handle.value, f"opendir {path} failed")

    def read(self):
        ctypes.set_errno(0)
        entry = libc.readdir(self.handle)
        if not entry:
            equal("errno at the end of a listing", 0, ctypes.get_errno())
            return None
        return entry.contents.name.decode()

    def rest(self):
        found = []
        while (name := self.read()) is not None:
            found.append(name)
        return found

    def tell(self):
        return libc.telldir(self.handle)

    def seek(self, position):
        libc.seekdir(self.handle, ctypes.c_long(position))

    def rewind(self):
        libc.rewinddir(self.handle)

    def close(self):
        libc.closedir(self.handle)


def test_dot_and_dot_dot(d):
    os.mkdir(J(d, "sub"))
    directory = Directory(J(d, "sub"))
    equal("an empty folder", [".", ".."], sorted(directory.rest()))
    directory.close()
    equal("sub/.", os.stat(J(d, "sub")).st_ino, os.stat(J(d, "sub", ".")).st_ino)
    equal("sub/..", os.stat(d).st_ino, os.stat(J(d, "sub", "..")).st_ino)


def test_telldir_and_seekdir(d):
    count = 2000
    for n in range(count):
        touch(d, f"entry{n}")
    directory = Directory(d)
    seen, positions = [], []
    while True:
        positions.append(directory.tell())
        name = directory.read()
        if name is None:
            break
        seen.append(name)
    equal("names", sorted([".", ".."] + [f"entry{n}" for n in range(count)]), sorted(seen))
    for n in (1500, 3, 0, 1999, 700, 1):
        directory.seek(positions[n])
        equal(f"the entries from position {n} on", seen[n:], directory.rest())
    directory.rewind()
    equal("after rewinddir", seen, directory.rest())
    touch(d, "new")
    directory.rewind()
    equal("after a change and rewinddir", sorted(seen + ["new"]), sorted(directory.rest()))
    directory.close()


def test_deleting_while_listing(d):
    # POSIX: what is neither added nor removed meanwhile is returned exactly once. Breaks when positions are counted
    # in entries rather than named by keys.
    count = 6000
    for n in range(count):
        touch(d, f"{n:05d}")
    directory = Directory(d)
    seen = []
    while (name := directory.read()) is not None:
        if name in (".", ".."):
            continue
        seen.append(name)
        os.unlink(J(d, name))
    directory.close()
    equal("names that were seen", [f"{n:05d}" for n in range(count)], sorted(seen))
    equal("left", [], names(d))


def test_changes_while_listing(d):
    count = 4000
    for n in range(count):
        touch(d, f"keep{n}")
        touch(d, f"drop{n}")
    directory = Directory(d)
    seen = []
    while (name := directory.read()) is not None:
        seen.append(name)
        n = len(seen)
        if n <= count:
            os.unlink(J(d, f"drop{n - 1}"))     # anywhere in the order, seen already or not
            touch(d, f"added{n}")
    directory.close()
    kept = [name for name in seen if name.startswith("keep")]
    equal("names that stayed, seen exactly once", sorted(f"keep{n}" for n in range(count)), sorted(kept))
    equal("no name twice", len(seen), len(set(seen)))
    equal("a new listing", sorted([f"keep{n}" for n in range(count)] + [f"added{n}" for n in range(1, count + 1)]), names(d))


def test_rm_rf_of_a_tree(d):
    for a in range(20):
        for b in range(20):
            os.makedirs(J(d, "t", f"{a}", f"{b}"))
            touch(d, "t", f"{a}", f"{b}", "f")
    _lib.run(60, "rm", "-rf", J(d, "t"))
    equal("left", [], names(d))


# --- symbolic links -------------------------------------------------------------------------------------------------

def test_symlinks(d):
    targets = ["x", "/", "../..", "a/" * 100 + "b", "t" * 4095, "with space\nand newline", "äöü"]
    for n, target in enumerate(targets):
        os.symlink(target, J(d, f"s{n}"))
    raises("a target of 4096 bytes", errno.ENAMETOOLONG, os.symlink, "t" * 4096, J(d, "long"))
    raises("an empty target", errno.ENOENT, os.symlink, "", J(d, "empty"))
    raises("exists", errno.EEXIST, os.symlink, "x", J(d, "s0"))
    touch(d, "file")
    raises("readlink of a file", errno.EINVAL, os.readlink, J(d, "file"))

    def look():
        for n, target in enumerate(targets):
            equal(f"target {n}", target, os.readlink(J(d, f"s{n}")))
            equal(f"size of symlink {n}", len(os.fsencode(target)), os.lstat(J(d, f"s{n}")).st_size)
            equal(f"mode of symlink {n}", oct(stat.S_IFLNK | 0o777), oct(os.lstat(J(d, f"s{n}")).st_mode))
    look()
    yield
    look()


def test_symlink_loops(d):
    os.symlink("self", J(d, "self"))
    os.symlink("b", J(d, "a"))
    os.symlink("a", J(d, "b"))
    os.symlink(".", J(d, "here"))
    for name in ("self", "a", "b"):
        raises(f"stat of the loop {name}", errno.ELOOP, os.stat, J(d, name))
        raises(f"open of the loop {name}", errno.ELOOP, os.open, J(d, name), os.O_RDONLY)
    touch(d, "file", data=b"found")
    equal("through 'here' 30 times", b"found", read_file(J(d, *["here"] * 30, "file")))
    raises("through 'here' 50 times", errno.ELOOP, os.stat, J(d, *["here"] * 50, "file"))


# --- hard links -----------------------------------------------------------------------------------------------------

def test_hard_links(d):
    touch(d, "one", data=b"content")
    os.mkdir(J(d, "dir"))
    os.link(J(d, "one"), J(d, "two"))
    os.link(J(d, "two"), J(d, "dir", "three"))
    raises("exists", errno.EEXIST, os.link, J(d, "one"), J(d, "two"))
    raises("of a folder", errno.EPERM, os.link, J(d, "dir"), J(d, "dir2"))
    raises("of a missing one", errno.ENOENT, os.link, J(d, "none"), J(d, "x"))
    os.symlink("one", J(d, "symlink"))
    os.link(J(d, "symlink"), J(d, "symlink2"), follow_symlinks=False)
    equal("a hard link of a symlink", "one", os.readlink(J(d, "symlink2")))

    def look(*paths):
        infos = [os.stat(J(d, path)) for path in paths]
        for path, info in zip(paths, infos):
            equal(f"links of {path}", len(paths), info.st_nlink)
            equal(f"inode of {path}", infos[0].st_ino, info.st_ino)
    look("one", "two", "dir/three")
    fd = os.open(J(d, "dir/three"), os.O_WRONLY | os.O_APPEND)
    os.write(fd, b" and more")
    os.close(fd)
    equal("content by the first name", b"content and more", read_file(J(d, "one")))
    os.unlink(J(d, "one"))
    look("two", "dir/three")
    yield
    look("two", "dir/three")
    equal("content after remount", b"content and more", read_file(J(d, "dir/three")))
    os.unlink(J(d, "two"))
    look("dir/three")
    equal("content by the last name", b"content and more", read_file(J(d, "dir/three")))


def test_many_hard_links(d):
    touch(d, "0", data=b"x" * 5000)
    for n in range(1, 3000):
        os.link(J(d, "0"), J(d, str(n)))
    equal("links", 3000, os.stat(J(d, "1234")).st_nlink)
    yield
    equal("links after remount", 3000, os.stat(J(d, "2999")).st_nlink)
    for n in range(2999):
        os.unlink(J(d, str(n)))
    equal("links, all but one unlinked", 1, os.stat(J(d, "2999")).st_nlink)
    equal("content", b"x" * 5000, read_file(J(d, "2999")))


# --- rename ---------------------------------------------------------------------------------------------------------

def test_rename_files(d):
    touch(d, "a", data=b"a")
    touch(d, "b", data=b"b")
    inode = os.stat(J(d, "a")).st_ino
    os.rename(J(d, "a"), J(d, "b"))
    equal("names", ["b"], names(d))
    equal("content", b"a", read_file(J(d, "b")))
    equal("the inode moves along", inode, os.stat(J(d, "b")).st_ino)
    os.rename(J(d, "b"), J(d, "b"))
    equal("onto itself", ["b"], names(d))
    os.link(J(d, "b"), J(d, "c"))
    os.rename(J(d, "b"), J(d, "c"))
    equal("onto another name of the same file: nothing happens", ["b", "c"], names(d))
    raises("a missing one", errno.ENOENT, os.rename, J(d, "none"), J(d, "x"))
    os.mkdir(J(d, "dir"))
    raises("a file over a folder", errno.EISDIR, os.rename, J(d, "b"), J(d, "dir"))
    raises("a folder over a file", errno.ENOTDIR, os.rename, J(d, "dir"), J(d, "b"))
    os.rename(J(d, "b"), J(d, "dir", "b"))
    equal("into another folder", b"a", read_file(J(d, "dir", "b")))
    os.symlink("x", J(d, "s"))
    os.rename(J(d, "s"), J(d, "c"))
    equal("a symlink over a file", "x", os.readlink(J(d, "c")))


def test_rename_folders(d):
    os.makedirs(J(d, "a", "sub"))
    touch(d, "a", "sub", "file", data=b"1")
    os.mkdir(J(d, "empty"))
    os.makedirs(J(d, "full", "x"))
    raises("into itself", errno.EINVAL, os.rename, J(d, "a"), J(d, "a", "sub", "a"))
    raises("over a folder with content", (errno.ENOTEMPTY, errno.EEXIST), os.rename, J(d, "a"), J(d, "full"))
    raises("over an ancestor", (errno.ENOTEMPTY, errno.EEXIST), os.rename, J(d, "a", "sub"), J(d, "a"))
    os.rename(J(d, "a"), J(d, "empty"))
    equal("names", ["empty", "full"], names(d))
    equal("content moves along", b"1", read_file(J(d, "empty", "sub", "file")))
    os.rename(J(d, "empty", "sub"), J(d, "full", "sub"))
    equal("the new ..", os.stat(J(d, "full")).st_ino, os.stat(J(d, "full", "sub", "..")).st_ino)
    yield
    equal("content after remount", b"1", read_file(J(d, "full", "sub", "file")))
    equal("names after remount", ["sub", "x"], names(J(d, "full")))


def test_rename_noreplace(d):
    touch(d, "a", data=b"a")
    touch(d, "b", data=b"b")
    os.mkdir(J(d, "dir"))
    raises("over a file", errno.EEXIST, renameat2, J(d, "a"), J(d, "b"), RENAME_NOREPLACE)
    raises("over a folder", errno.EEXIST, renameat2, J(d, "a"), J(d, "dir"), RENAME_NOREPLACE)
    raises("a missing one", errno.ENOENT, renameat2, J(d, "none"), J(d, "x"), RENAME_NOREPLACE)
    equal("nothing changed", (b"a", b"b"), (read_file(J(d, "a")), read_file(J(d, "b"))))
    renameat2(J(d, "a"), J(d, "dir", "c"), RENAME_NOREPLACE)
    equal("moved", b"a", read_file(J(d, "dir", "c")))
    raises("bad flags", errno.EINVAL, renameat2, J(d, "b"), J(d, "x"), RENAME_NOREPLACE | RENAME_EXCHANGE)


def test_rename_exchange(d):
    touch(d, "file", data=b"file")
    os.makedirs(J(d, "dir", "sub"))
    touch(d, "dir", "sub", "inner", data=b"inner")
    os.mkdir(J(d, "other"))
    touch(d, "other", "o", data=b"o")
    raises("with a missing one", errno.ENOENT, renameat2, J(d, "file"), J(d, "none"), RENAME_EXCHANGE)
    renameat2(J(d, "file"), J(d, "other", "o"), RENAME_EXCHANGE)
    equal("two files", (b"o", b"file"), (read_file(J(d, "file")), read_file(J(d, "other", "o"))))
    renameat2(J(d, "file"), J(d, "dir", "sub"), RENAME_EXCHANGE)
    equal("a file and a folder of another folder", (b"inner", b"o"),
          (read_file(J(d, "file", "inner")), read_file(J(d, "dir", "sub"))))
    equal("the exchanged folder's ..", os.stat(d).st_ino, os.stat(J(d, "file", "..")).st_ino)
    raises("a folder with its own child", errno.EINVAL, renameat2, J(d, "file"), J(d, "file", "inner"), RENAME_EXCHANGE)
    raises("a child with its own folder", (errno.EINVAL, errno.ENOTEMPTY), renameat2, J(d, "file", "inner"), J(d, "file"),
           RENAME_EXCHANGE)
    yield
    equal("after remount", (b"inner", b"o", b"file"),
          (read_file(J(d, "file", "inner")), read_file(J(d, "dir", "sub")), read_file(J(d, "other", "o"))))


def test_rename_is_atomic(d):
    # A reader never finds the name absent, nor half a file, while it is being replaced again and again.
    path = J(d, "name")
    size = 6000
    touch(path, data=b"0" * size)

    def replace():
        for n in range(1500):
            touch(path + ".tmp", data=str(n % 10).encode() * size)
            os.rename(path + ".tmp", path)

    writer = _lib.spawn_function(replace)
    reads = 0
    while writer.poll() is None:
        data = read_file(path)
        check(len(data) == size and data == data[:1] * size, f"a replaced file: expected {size} equal bytes, saw {_lib.brief(data)}")
        reads += 1
    equal("exit status of the writer", 0, writer.wait(60))
    check(reads > 10, f"expected many reads meanwhile, saw {reads}")
    equal("names", ["name"], names(d))


def test_renames_in_parallel(d):
    # Two processes move files against each other's direction; nothing gets lost.
    for side in "ab":
        os.mkdir(J(d, side))
    for n in range(200):
        touch(d, "a", f"f{n}", data=str(n).encode())

    def move(source, target):
        for _ in range(10):
            for name in os.listdir(J(d, source)):
                try:
                    os.rename(J(d, source, name), J(d, target, name))
                except FileNotFoundError:
                    pass
    children = [_lib.spawn_function(move, "a", "b"), _lib.spawn_function(move, "b", "a"), _lib.spawn_function(move, "a", "b")]
    for child in children:
        equal("exit status", 0, child.wait(60))
    seen = {name: side for side in "ab" for name in names(J(d, side))}
    equal("names in both folders", sorted(f"f{n}" for n in range(200)), sorted(names(J(d, "a")) + names(J(d, "b"))))
    for name, side in seen.items():
        equal(f"content of {name}", name[1:].encode(), read_file(J(d, side, name)))


# --- open files that lost their name --------------------------------------------------------------------------------

def test_unlinked_open_file(d):
    for size in (10, 300_000):
        path = J(d, f"file{size}")
        data = os.urandom(size)
        touch(path, data=data)
        fd = os.open(path, os.O_RDWR)
        other = os.open(path, os.O_RDONLY)
        os.unlink(path)
        raises("its name", errno.ENOENT, os.stat, path)
        equal("links", 0, os.fstat(fd).st_nlink)
        equal("reads", data, os.pread(fd, size + 1, 0))
        os.pwrite(fd, b"more", size)
        equal("written after unlink, read by another descriptor", data + b"more", os.pread(other, size + 10, 0))
        os.ftruncate(fd, 5)
        equal("truncated after unlink", data[:5], os.pread(other, 100, 0))
        os.fchmod(fd, 0o600)
        equal("mode", 0o600, stat.S_IMODE(os.fstat(other).st_mode))
        touch(path, data=b"a new file of that name")
        equal("the old one", data[:5], os.pread(fd, 100, 0))
        check(os.fstat(fd).st_ino != os.stat(path).st_ino, "expected different inodes of the old and the new file")
        os.close(fd)
        equal("the old one, one of two descriptors closed", data[:5], os.pread(other, 100, 0))
        os.close(other)
        equal("the new one", b"a new file of that name", read_file(path))


def test_open_file_that_was_replaced(d):
    touch(d, "f", data=b"old")
    fd = os.open(J(d, "f"), os.O_RDONLY)
    touch(d, "g", data=b"new")
    os.rename(J(d, "g"), J(d, "f"))
    equal("the open one", b"old", os.pread(fd, 10, 0))
    equal("by name", b"new", read_file(J(d, "f")))
    equal("links", 0, os.fstat(fd).st_nlink)
    os.close(fd)


def test_sockets_and_locks(d):
    import fcntl
    import socket
    server = socket.socket(socket.AF_UNIX)
    os.chdir(d)  # the path of a socket is short
    server.bind("sock")
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect("sock")
    client.close()
    server.close()
    touch(d, "lock")
    fd = os.open(J(d, "lock"), os.O_RDWR)
    for lock in (fcntl.flock, fcntl.lockf):
        lock(fd, fcntl.LOCK_EX)

        def try_lock(lock=lock):
            other = os.open(J(d, "lock"), os.O_RDWR)
            raises("a lock that another process has", (errno.EAGAIN, errno.EACCES), lock, other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _lib.in_child(20, try_lock)
        lock(fd, fcntl.LOCK_UN)

        def take_lock(lock=lock):
            lock(os.open(J(d, "lock"), os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
        _lib.in_child(20, take_lock)
    os.close(fd)


_lib.run_all(globals())
