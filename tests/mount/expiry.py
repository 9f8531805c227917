#!/usr/bin/env python3
# ctest: timeout=180
"""Files with a time to live: by name they are there until their end and not a moment longer, though the kernel has their
names and attributes cached; listings follow at once; who has one open goes on as after unlink. Defaults of folders, of the
mount, of fstab's words; counted from the write or from the use; across remounts and SIGKILL.

What makes it fail, for example: timeouts for the kernel that do not look at the end; a lookup that leaves the clock to the
reaper; a reaper that sleeps too long, or that looks for work at intervals; an expired name in the way of a new one."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import errno
import json
import os
import tarfile
import time
import _lib
from _lib import Mount, check, equal, raises, step, wait_for, write_file

TTL, EXPIRES = "user.lrufs.ttl", "user.lrufs.expires"


def ends(path):
    return float(os.getxattr(path, EXPIRES))


def live(path, ttl):
    os.setxattr(path, TTL, ttl.encode())


def new(mount, name, ttl=None, content=b"content"):
    path = mount.path(name)
    write_file(path, content)
    if ttl:
        live(path, ttl)
    return path


def there_until(path, end, look=os.stat):
    """Looks all the time; the answer must be right by the clock before and after it. Kernel timeouts are in ticks, so the
    clock is allowed to be three hundredths of a second wrong where something is still there."""
    seen = 0
    while True:
        before = time.time()
        try:
            look(path)
        except FileNotFoundError:
            check(time.time() >= end, f"{path} was gone {end - time.time():.3f} s before its end")
            return seen
        check(before < end + 0.03, f"{path} was there {before - end:.3f} s after its end")
        seen += 1


def open_and_close(path):
    os.close(os.open(path, os.O_RDONLY))


def gone(path, seconds=20):
    wait_for(f"{path} is gone", seconds, lambda: not os.path.lexists(path))


def statistics(mount):
    return json.loads(_lib.run(20, _lib.LRUFS, "stat", "--json", mount.dir))["statistics"]


def the_xattrs(mount):
    step("the xattrs")
    path = new(mount, "x")
    for name in (TTL, EXPIRES):
        raises(f"{name} that is not there", errno.ENODATA, os.getxattr, path, name)
    for value, shown in ((b"90s", b"90"), (b"5m", b"300"), (b"7d", b"604800"), (b"0.5", b"0.5")):
        os.setxattr(path, TTL, value)
        equal(f"after {value}", shown, os.getxattr(path, TTL))
    raises("nonsense", errno.EINVAL, os.setxattr, path, TTL, b"soon")
    raises("to set the end", errno.EOPNOTSUPP, os.setxattr, path, EXPIRES, b"5")
    before = time.time()
    live(path, "100")
    check(before + 99.9 < ends(path) < time.time() + 100.1, f"expected an end in 100 s, saw {ends(path) - time.time()}")
    equal("the list", [TTL], os.listxattr(path))
    _lib.run(20, "cp", "-a", path, mount.path("copy"))
    equal("after cp -a", b"100", os.getxattr(mount.path("copy"), TTL))
    os.removexattr(path, TTL)
    raises("after removal", errno.ENODATA, os.getxattr, path, EXPIRES)


def to_the_moment(mount):
    step("there until the end, by each way to ask, with hot caches")
    for look, name in ((os.stat, "s"), (open_and_close, "o"), (_lib.read_file, "r")):
        path = new(mount, name)
        for _ in range(3):
            look(path)  # the kernel has it, for --recency and a day
        live(path, "0.6")
        check(there_until(path, ends(path), look) > 10, f"expected to see {path} some times")
        raises("to open it", errno.ENOENT, os.open, path, os.O_RDONLY)
    step("a listing that the kernel has cached")
    os.mkdir(mount.path("list"))
    new(mount, "list/stays")
    end = max(ends(new(mount, f"list/f{n}", "1")) for n in range(50))
    for _ in range(3):
        os.listdir(mount.path("list"))
    wait_for("the listing follows", 20, lambda: os.listdir(mount.path("list")) == ["stays"])
    check(time.time() >= end, "a listing without files that were not yet at their end")
    equal("in a new listing", ["stays"], [entry.name for entry in os.scandir(mount.path("list"))])
    wait_for("they are reaped", 20, lambda: statistics(mount)["expired_objects"] >= 53)
    check(statistics(mount)["evicted_objects"] == 0, "expected nothing to be counted as evicted for room")


def open_files(mount):
    step("open files live on")
    path = new(mount, "open", "0.7", b"before")
    fd = os.open(path, os.O_RDWR)
    gone(path)
    equal("its content", b"before", os.pread(fd, 100, 0))
    os.pwrite(fd, b"after!", 0)
    equal("written", b"after!", os.pread(fd, 100, 0))
    wait_for("it has no name", 20, lambda: os.fstat(fd).st_nlink == 0)
    raises("by its name", errno.ENOENT, os.stat, path)
    write_file(path, b"another")
    equal("the open one", b"after!", os.pread(fd, 100, 0))
    equal("the new one", b"another", _lib.read_file(path))
    os.close(fd)


def writes(mount):
    step("each write starts anew; reading does not, nor does touch")
    path = new(mount, "w", "1.5")
    fd = os.open(path, os.O_WRONLY)
    for n in range(5):
        end = ends(path)
        wait_for("some time", 20, lambda: time.time() > end - 1.2)
        os.pwrite(fd, b"%d" % n, 0)
        check(ends(path) > end, "expected a later end after a write")
    end = ends(path)
    os.utime(path, (0, 0))
    _lib.read_file(path)
    os.chmod(path, 0o600)
    equal("its end", end, ends(path))
    there_until(path, end)
    os.close(fd)


def names_in_the_way(mount):
    step("a name that has expired is no obstacle, at the very moment")
    os.mkdir(mount.path("way"))
    for n, make in enumerate((lambda p: os.close(os.open(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY)), os.mkdir,
                              lambda p: os.symlink("target", p), lambda p: os.mknod(p, 0o600))):
        path = new(mount, f"way/f{n}", "0.5")
        end = ends(path)
        while time.time() < end:
            try:
                make(path)
            except FileExistsError:
                check(time.time() < end + 0.01 or not os.path.lexists(path), f"EEXIST for {path}, which has expired")
                continue
            check(time.time() >= end, f"{path} was made over one that is there")
            break
        else:
            make(path)
        check(os.path.lexists(path), f"expected the new {path} to be there")
    os.mkdir(mount.path("way/empty"))
    stays = new(mount, "way/empty/stays")
    for n in range(100):
        new(mount, f"way/empty/f{n}", "0.4")
    end = time.time() + 0.4  # of the last one, or later
    wait_for("the end", 20, lambda: time.time() >= end)
    raises("a folder with one that is there", errno.ENOTEMPTY, os.rmdir, mount.path("way/empty"))
    os.unlink(stays)
    os.rmdir(mount.path("way/empty"))


def defaults_of_folders(mount):
    step("a folder's default: for what is made in it, not for what is there or moved in; what moves out keeps its own")
    os.mkdir(mount.path("def"))
    old = new(mount, "def/old")
    outside = new(mount, "outside")
    live(mount.path("def"), "1h")
    os.mkdir(mount.path("def/sub"))
    equal("of a new folder", b"3600", os.getxattr(mount.path("def/sub"), TTL))
    inner = new(mount, "def/sub/inner")
    equal("of a new file", b"3600", os.getxattr(inner, TTL))
    os.symlink("x", mount.path("def/sub/link"))
    os.rename(inner, mount.path("inner"))
    equal("moved out", b"3600", os.getxattr(mount.path("inner"), TTL))
    os.rename(outside, mount.path("def/outside"))
    for path in (old, mount.path("def/outside")):
        raises(f"{path} has none", errno.ENODATA, os.getxattr, path, TTL)
    live(mount.path("def/sub"), "0.7")
    brief = new(mount, "def/sub/brief")
    os.symlink("x", mount.path("def/sub/link2"))
    there_until(brief, ends(brief))
    gone(mount.path("def/sub/link2"))
    check(os.path.lexists(mount.path("def/sub/link")), "expected the older link to be there")
    check(os.path.isdir(mount.path("def/sub")), "expected the folder to be there")


def across_mounts(mount):
    step("remount, SIGKILL: the end stays what it was")
    first, second, late = (new(mount, name, ttl) for name, ttl in (("m1", "1"), ("m2", "2.5"), ("m3", "1h")))
    end = [ends(path) for path in (first, second, late)]
    mount.umount()
    wait_for("the first end", 20, lambda: time.time() >= end[0])
    mount.mount()
    raises("expired while it was not mounted", errno.ENOENT, os.stat, first)
    if time.time() < end[1] - 0.2:
        equal("the second", end[1], ends(second))
    mount.kill()
    mount.mount()
    there_until(second, end[1])
    equal("the late one", end[2], ends(late))
    mount.kill()
    mount.mount()
    wait_for("all are reaped", 20, lambda: statistics(mount)["files"] == len(files_of(mount)))
    equal("the late one", end[2], ends(late))


def files_of(mount):
    return [name for _, _, names in os.walk(mount.dir) for name in names]


def by_the_kernels_clock_alone(mount):
    step("-o ro: nobody reaps and nobody tells the kernel, so what it was given with the names must be right")
    looks = (os.stat, open_and_close, _lib.read_file)
    paths = [new(mount, f"ro{n}", f"{3 + n / 2}") for n in range(len(looks))]
    mount.remount("-o", "ro")
    for path, look in zip(paths, looks):
        look(path)
    for path, look, end in zip(paths, looks, [ends(path) for path in paths]):
        there_until(path, end, look)
    mount.remount()


def of_the_mount(mount):
    step("--ttl: for what is made while it is mounted so")
    path = new(mount, "no-ttl")
    mount.remount("--ttl", "1s")
    write_file(path, b"written again")
    raises("it was there before", errno.ENODATA, os.getxattr, path, TTL)
    made = new(mount, "made")
    os.mkdir(mount.path("made-folder"))
    raises("a folder", errno.ENODATA, os.getxattr, mount.path("made-folder"), TTL)
    there_until(made, ends(made))
    mount.remount("-o", "ttl=1h,ttl_from=write")
    equal("by -o", b"3600", os.getxattr(new(mount, "by-o"), TTL))
    mount.remount()
    raises("mounted without", errno.ENODATA, os.getxattr, new(mount, "without"), TTL)
    equal("the one before", b"3600", os.getxattr(mount.path("by-o"), TTL))
    mount.umount()
    for words in (["--ttl", "soon"], ["--ttl-from", "birth"], ["-o", "ttl=soon"], ["--ttl", "40000d"]):
        _lib.run(20, _lib.LRUFS, "mount", *words, mount.store, mount.dir, ok=(2,))
    mount.mount()


def from_use(mount):
    step("--ttl-from use: looking at it is enough")
    mount.remount("--ttl-from", "use", "--recency", "0s")
    path, idle = new(mount, "used", "1.5"), new(mount, "idle", "1.5")
    end = ends(idle)
    idle_seen = os.listdir(mount.dir).count("idle")
    equal("the idle one", 1, idle_seen)
    while time.time() < end + 2:
        os.stat(path)
    raises("the idle one", errno.ENOENT, os.stat, idle)
    os.stat(path)
    last = time.time()
    # What was not written is lost with SIGKILL: at most a quarter of the time to live, and that at least a second.
    live(path, "8")
    for _ in range(3):
        os.stat(path)
    mount.kill()
    mount.mount("--ttl-from", "use", "--recency", "0s")
    os.stat(path)
    check(ends(path) >= last + 6, "expected an end that is not much earlier")
    live(path, "0.7")
    fd = os.open(path, os.O_RDONLY)
    gone_at = ends(path)
    wait_for("nobody uses its name", 20, lambda: os.fstat(fd).st_nlink == 0)
    check(time.time() >= gone_at, "gone before its end")
    os.close(fd)


def by_command():
    step("what has expired and was not reaped, by command")
    with Mount("command", size="16M") as mount:
        _lib.write_file(mount.path("stays"), b"content")
        _lib.write_file(mount.path("goes"), b"content")
        mount.umount()
        source = os.path.join(_lib.WORK, "source")
        _lib.write_file(source, b"content")
        lrufs = lambda *words, ok=(0,): _lib.run(20, _lib.LRUFS, *words, ok=ok)  # noqa: E731
        lrufs("put", "--ttl", "500ms", mount.store, "goes", source)
        wait_for("it is gone", 20, lambda: "goes" not in lrufs("ls", mount.store).split())
        equal("ls", ["stays"], lrufs("ls", mount.store).split())
        equal("ls --lru", ["stays"], [line.split()[-1] for line in lrufs("ls", "--lru", mount.store).splitlines()])
        lrufs("get", mount.store, "goes", ok=(1,))
        archive = os.path.join(_lib.WORK, "archive")
        lrufs("dump", "-o", archive, mount.store)
        with tarfile.open(archive) as tar:
            equal("names in the archive", ["stays"], [name for name in tar.getnames() if name not in (".", "")])


def test():
    _lib.need("cp")
    with Mount(size="64M") as mount:
        the_xattrs(mount)
        to_the_moment(mount)
        open_files(mount)
        writes(mount)
        names_in_the_way(mount)
        defaults_of_folders(mount)
        across_mounts(mount)
        by_the_kernels_clock_alone(mount)
        of_the_mount(mount)
        from_use(mount)
    by_command()


if _lib.PLAIN:
    _lib.skip("on a plain directory nothing expires")
_lib.main(test)
