#!/usr/bin/env python3
# ctest: timeout=300
"""Every way to end a mount, under write load: `lrufs umount`, umount(8), fusermount3 -u, SIGTERM, SIGINT. Each leaves a
clean store with everything that was closed, whole; writers get errors, and nothing hangs. An end that does not wait for the
kernel's dirty pages, closes the store too early, or leaves a dead mount behind makes this fail."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import mmap
import os
import shutil
import signal
import subprocess
import time
import _lib
from _evict import content
from _lib import LRUFS, Mount, check, equal, step, wait_for

WRITERS = 2
FILES = 60  # closed before the end, at least
STOP = mmap.mmap(-1, 4096)  # shared with the writers


def write_until_error(top, log_path):
    """Files of all sizes, below a folder that exists in the mount only; each is noted once it is closed, or renamed.
    Ends when STOP is set, too."""
    log = os.open(log_path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        for n in range(1_000_000):
            if STOP[0]:
                return
            size = n * 7919 % 60_000
            name = f"f{n}"
            _lib.write_file(os.path.join(top, name), content(n, size))
            os.write(log, f"{name} {n} {size}\n".encode())
            if n % 5 == 0:
                os.rename(os.path.join(top, name), os.path.join(top, name + "r"))
                os.write(log, f"{name}r {n} {size}\n".encode())
    except OSError:
        os._exit(0)


def notes(log_path):
    """name -> (number, size); a file that was being renamed may have either name."""
    found = {}
    if os.path.exists(log_path):
        with open(log_path, encoding="utf-8") as log:
            for line in log:
                name, number, size = line.split()
                found.pop(name[:-1] if name.endswith("r") else None, None)
                found[name] = (int(number), int(size))
    return found


def whole(top, log_path):
    found = notes(log_path)
    for name, (number, size) in found.items():
        path = os.path.join(top, name)
        if not os.path.exists(path) and os.path.exists(path + "r"):
            path += "r"
        check(os.path.exists(path), f"{path}: closed before the end; expected to be there")
        data = _lib.read_file(path)
        check(data == content(number, size), f"{path}: closed before the end; expected {size} bytes, whole; saw {len(data)}")
    return len(found)


def until_not_busy(*command):
    """A file that is open for a moment makes a mount busy, which is no failure; but it has to succeed in the end: when
    it does not hit a moment in which no file is open, the writers stop after some seconds."""
    refused = 0
    started = time.monotonic()

    def attempt():
        nonlocal refused
        done = subprocess.run(["timeout", "60", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        if done.returncode == 0:
            return True
        check("busy" in done.stdout.lower() or "in use" in done.stdout.lower(),
              f"{' '.join(command)}: expected success or 'busy', saw status {done.returncode}: {done.stdout}")
        refused += 1
        if time.monotonic() > started + 3:
            STOP[0] = 1
        return False
    wait_for(f"{' '.join(command)} succeeds", 30, attempt)
    if refused:
        print(f"   busy {refused} times")


def ways(mount):
    yield "lrufs umount", lambda: until_not_busy(LRUFS, "umount", mount.dir)
    yield "SIGTERM", lambda: os.kill(mount.pid, signal.SIGTERM)
    yield "SIGINT", lambda: os.kill(mount.pid, signal.SIGINT)
    if os.geteuid() == 0:
        yield "umount", lambda: until_not_busy("umount", mount.dir)
    if shutil.which("fusermount3"):
        yield "fusermount3 -u", lambda: until_not_busy("fusermount3", "-u", mount.dir)


def under_load(mount):
    rounds = []
    for way, end in ways(mount):
        for sync in ("5s", "unmount"):
            name = f"{way.replace(' ', '-')}-{sync}"
            step(f"{way}, --sync {sync}")
            mount.mount("--sync", sync)
            tops = [(mount.path(f"{name}-{n}"), os.path.join(_lib.WORK, f"{name}-{n}.log")) for n in range(WRITERS)]
            for top, _ in tops:
                os.mkdir(top)
            STOP[0] = 0
            writers = [_lib.spawn_function(write_until_error, *top) for top in tops]
            wait_for("some files are written", 60, lambda: all(len(notes(log)) >= FILES // WRITERS for _, log in tops))
            end()
            mount.wait_gone(60)
            wait_for("the mount is gone", 10, lambda: not mount.mounted())
            for writer in writers:
                equal("exit status of a writer that got an error", 0, writer.wait(30))
            equal("what lies below the mount point", [], os.listdir(mount.dir))
            mount.verify()
            mount.mount()
            for top in tops:
                whole(*top)
            mount.umount()
            mount.verify()
            rounds += tops
    mount.mount()
    print(f"   {sum(whole(*top) for top in rounds)} files whole, of all rounds")
    mount.umount()


def while_in_use(mount):
    step("while a file is open, a folder is a process's current one, and a map is in use")
    mount.mount()
    _lib.write_file(mount.path("open"), b"content")
    os.mkdir(mount.path("cwd"))
    fd = os.open(mount.path("open"), os.O_RDWR)
    holder = _lib.spawn("sleep", "1000", cwd=mount.path("cwd"))
    if os.geteuid() == 0:
        refused = subprocess.run(["timeout", "30", "umount", mount.dir], stderr=subprocess.PIPE, text=True, check=False)
        check(refused.returncode != 0 and "busy" in refused.stderr, f"umount of a mount in use: expected 'busy', saw {refused}")
        equal("the mount goes on", b"content", _lib.read_file(mount.path("open")))
    os.write(fd, b"written")  # not closed: a signal must not wait for that
    os.kill(mount.pid, signal.SIGTERM)
    mount.wait_gone(60)
    wait_for("the mount is gone", 10, lambda: not mount.mounted())
    try:
        os.pread(fd, 10, 0)  # an error, or what the kernel has cached; but no hang
        os.pwrite(fd, b"x" * 100_000, 0)
        os.fsync(fd)
        _lib.fail("fsync after the daemon has gone: expected an error, saw success")
    except OSError:
        pass
    try:
        os.close(fd)
    except OSError:
        pass
    holder.kill()
    holder.wait(10)
    mount.verify()
    mount.mount()
    equal("what was written before the end", b"written", _lib.read_file(mount.path("open")))
    mount.umount()


def again_and_again(mount):
    step("20 ends and mounts one right after the other")
    for n in range(20):
        mount.mount()
        if n:
            equal(f"written before end {n}", b"%d" % (n - 1), _lib.read_file(mount.path("last")))
        _lib.write_file(mount.path("last"), b"%d" % n)
        mount.umount()


def test():
    mount = Mount(size="4G")  # nothing is to be evicted in this test
    under_load(mount)
    while_in_use(mount)
    again_and_again(mount)
    mount.check()


if _lib.PLAIN:
    _lib.skip("a plain directory is not unmounted")
_lib.main(test)
