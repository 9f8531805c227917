#!/usr/bin/env python3
# ctest: timeout=120
"""-o io_uring: refused with the reason and the remedy where this build or the kernel does not have it, before anything is
touched. Where it is on (root: echo Y > /sys/module/fuse/parameters/enable_uring) the mount serves by it, ends cleanly by
umount and by SIGTERM, in use or not, and the store is whole."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import json
import os
import signal
import subprocess
import _lib
from _lib import LRUFS, Mount, check, equal, run, step, wait_for

SWITCH = "/sys/module/fuse/parameters/enable_uring"


def switched_on():
    if not os.path.exists(SWITCH):
        return False
    with open(SWITCH, encoding="ascii") as file:
        return file.read().strip() == "Y"


def refusal(mount):
    """Why the mount is refused; None if it is not."""
    os.makedirs(mount.dir, exist_ok=True)
    done = subprocess.run([LRUFS, "mount", "--size", "64M", "-o", "io_uring", "--log", _lib.DAEMON_LOG, mount.store, mount.dir],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60)
    return done.stdout if done.returncode != 0 else None


def work(folder):
    os.mkdir(folder)
    for n in range(300):
        path = os.path.join(folder, f"f{n}")
        _lib.write_file(path, b"%d" % n * 1000)
        if n % 3 == 0:
            os.unlink(path)
        elif n % 50 == 1:
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)


def work_until_error(folder):
    try:
        work(folder)
    except OSError:
        pass


def whole(folder):
    for n in range(300):
        path = os.path.join(folder, f"f{n}")
        equal(path, n % 3 != 0, os.path.exists(path))
        if n % 3:
            equal(path, b"%d" % n * 1000, _lib.read_file(path))


def test():
    mount = Mount(size="64M")
    why = refusal(mount)
    if why is not None:
        step(f"refused: {why.strip()}")
        check("io_uring" in why and ("libfuse" in why or "enable_uring" in why or "Linux 6.14" in why),
              f"expected the reason and the remedy, saw: {why}")
        if switched_on():
            check("libfuse" in why, f"it is switched on; expected the cause in libfuse, saw: {why}")
        check(not mount.mounted(), "refused, and yet mounted")
        return
    step("it is there")
    mount.pid = mount.daemons()[0]
    seen = json.loads(run(20, LRUFS, "stat", "--json", mount.dir))
    check("over_io_uring" in seen["capabilities"], f"expected over_io_uring among the capabilities: {seen['capabilities']}")
    clients = [_lib.spawn_function(work, mount.path(f"a{n}")) for n in range(8)]
    for client in clients:
        equal("a client", 0, client.wait(60))
    mount.remount("-o", "io_uring")
    for n in range(8):
        whole(mount.path(f"a{n}"))
    step("SIGTERM while a file is open and clients work")
    fd = os.open(mount.path("open"), os.O_CREAT | os.O_RDWR)
    os.write(fd, b"open")
    clients = [_lib.spawn_function(work_until_error, mount.path(f"b{n}")) for n in range(4)]
    wait_for("clients work", 20, lambda: os.path.exists(mount.path("b0", "f20")))
    os.kill(mount.pid, signal.SIGTERM)
    mount.wait_gone(60)
    for client in clients:
        equal("a client that got an error", 0, client.wait(30))
    os.close(fd)
    mount.verify()
    mount.mount("-o", "io_uring")
    for n in range(8):
        whole(mount.path(f"a{n}"))
    equal("what was written before the end", b"open", _lib.read_file(mount.path("open")))
    mount.check()


if _lib.PLAIN:
    _lib.skip("about requests")
_lib.main(test)
