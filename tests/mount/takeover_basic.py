#!/usr/bin/env python3
# ctest: timeout=240
"""A supervised mount: umount, SIGTERM (also when it is in use) and a dead supervisor end it as without one; a worker that cannot start is
given up, and nobody hangs; what the service manager and lrufs stat are told; what it excludes."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import contextlib
import os
import signal
import socket
import subprocess
import _lib
import _takeover
from _lib import Mount, alive, check, equal, step


def is_confined(pid):
    """By a filter of system calls (proc(5))."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return "\nSeccomp:\t2\n" in file.read()


def workers_are_confined():
    mount = Mount(name="confined", size="64M", options=("--supervise",))
    mount.mount()
    first = _takeover.worker_is(mount.pid)
    check(is_confined(first), "expected the first worker to have given up its rights")
    check(not is_confined(mount.pid), "expected the supervisor to keep its rights")
    _takeover.kill_worker(mount.pid)
    _lib.write_file(mount.path("file"), b"content")
    _lib.wait_for("the next worker is confined", 20, lambda: is_confined(_takeover.worker_is(mount.pid)))
    check(_takeover.worker_is(mount.pid) != first, "expected another worker")
    mount.umount()
    step("confined workers")


def ends_as_without():
    mount = Mount(name="ends", size="64M", options=("--supervise",))
    mount.mount()
    worker = _takeover.worker_is(mount.pid)
    _lib.write_file(mount.path("file"), b"content")
    equal("the process that lrufs stat names", mount.pid, _takeover.statistics(mount)["pid"])
    equal("the worker that it names", worker, _takeover.statistics(mount)["supervised"]["worker_pid"])
    mount.umount()
    check(not alive(worker), "the worker outlives lrufs umount")
    mount.verify()
    step("umount")

    mount.mount()
    worker = _takeover.worker_is(mount.pid)
    os.kill(worker, signal.SIGTERM)  # as a service manager does to all processes: the supervisor's word counts
    _lib.write_file(mount.path("other"), b"other")
    equal("the worker, after a SIGTERM of its own", worker, _takeover.worker_of(mount.pid))
    os.kill(mount.pid, signal.SIGTERM)
    mount.wait_gone()
    check(not mount.mounted(), "still mounted after SIGTERM")
    mount.verify()
    step("SIGTERM")

    mount.mount()
    fd = os.open(mount.path("file"), os.O_RDWR)
    os.kill(mount.pid, signal.SIGTERM)
    mount.wait_gone()
    check(not mount.mounted(), "still mounted after SIGTERM")
    _lib.raises("reading from a file of a mount that has ended", (_lib.errno.ENOTCONN, _lib.errno.ECONNABORTED), os.pread, fd, 1, 0)
    with contextlib.suppress(OSError):  # its FLUSH fails, too
        os.close(fd)
    mount.verify()
    step("SIGTERM while it is in use")

    mount.mount()
    worker = _takeover.worker_is(mount.pid)
    os.kill(mount.pid, signal.SIGKILL)
    mount.wait_gone()
    _lib.wait_for("the worker ends with its supervisor", 20, lambda: not alive(worker))
    _lib.raises("a look at the mount of a dead supervisor", (_lib.errno.ENOTCONN, _lib.errno.ECONNABORTED), os.listdir, mount.dir)
    mount.detach()
    mount.verify()
    mount.mount()
    equal("content", b"content", _lib.read_file(mount.path("file")))
    mount.check()
    step("SIGKILL of the supervisor")


def gives_up():
    """No other worker can open the store: it has become unreadable."""
    mount = Mount(name="gives-up", size="64M", options=("--supervise",))
    mount.mount()
    fd = os.open(mount.dir, os.O_RDONLY)
    os.rename(mount.store, mount.store + ".gone")
    with open(mount.store, "wb") as file:
        file.write(b"no store" * 20000)
    _takeover.kill_worker(mount.pid)
    mount.wait_gone(seconds=60)
    check(not mount.mounted(), "expected the mount to be ended when no worker can serve")
    _lib.raises("a look at it", (_lib.errno.ENOTCONN, _lib.errno.ECONNABORTED), os.listdir, fd)
    with contextlib.suppress(OSError):
        os.close(fd)
    with open(_lib.DAEMON_LOG, encoding="utf-8") as log:
        text = log.read()
    check("gave up" in text and "not an lrufs store" in text, "expected the log to tell that it gave up, and why")
    os.rename(mount.store + ".gone", mount.store)
    mount.check()
    step("given up")


def tells_the_manager():
    folder = os.path.join(_lib.WORK, "service")
    os.makedirs(os.path.join(folder, "mnt"))
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(os.path.join(folder, "socket"))
    manager.settimeout(30)
    process = _lib.spawn(_lib.LRUFS, "mount", "--foreground", "--supervise", "--size", "64M", os.path.join(folder, "store.lrufs"),
                         os.path.join(folder, "mnt"), env={**os.environ, "NOTIFY_SOCKET": os.path.join(folder, "socket"),
                                                           "WATCHDOG_USEC": "400000"}, stderr=subprocess.PIPE, text=True)

    def hear(what):
        while True:
            message = manager.recv(65536).decode()
            if what in message:
                return message
    hear("READY=1")
    hear("WATCHDOG=1")
    _takeover.kill_worker(process.pid)
    check("signal 9" in hear("another one takes over"), "expected the manager to be told why")
    _lib.write_file(os.path.join(folder, "mnt", "file"), b"content")
    hear("WATCHDOG=1")
    process.send_signal(signal.SIGTERM)
    hear("STOPPING=1")
    equal("exit code", 0, process.wait(30))
    step("the service manager")


def excludes():
    mount = Mount(name="excludes", size="64M")
    os.makedirs(mount.dir)
    told = _lib.run(20, _lib.LRUFS, "mount", "--supervise", "-o", "io_uring", mount.store, mount.dir, ok=(2,))
    check("exclude each other" in told, f"expected to be told that io_uring excludes it, saw {told}")
    mount.mount("-o", "supervise")
    check(_takeover.statistics(mount)["supervised"] is not None, "expected -o supervise to be taken")
    mount.umount()
    mount.mount("--no-supervise")
    check(_takeover.statistics(mount)["supervised"] is None, "expected one process with --no-supervise")
    mount.check()
    step("what it excludes")


def test():
    if _lib.PLAIN:
        _lib.skip("there is no daemon on a plain directory")
    ends_as_without()
    workers_are_confined()
    excludes()
    tells_the_manager()
    gives_up()


_lib.main(test)
