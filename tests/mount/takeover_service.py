#!/usr/bin/env python3
# ctest: timeout=200
"""A supervisor that dies under a service manager which keeps its descriptors (FDSTORE of sd_notify(3)): the next one goes on with
the mount, and a client that verifies each of its calls does not notice. What does not fit is mounted anew, and what nobody goes on
with is ended."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import errno
import os
import signal
import struct
import subprocess
import _lib
import _service
import _takeover
from _lib import LRUFS, check, equal, step, wait_for

DEATHS = 6


class Service:
    def __init__(self, name, *options):
        self.dir = os.path.join(_lib.WORK, name)
        self.store = f"{self.dir}.lrufs"
        os.makedirs(self.dir)
        self.options = options
        self.manager = _service.Manager(f"{self.dir}.socket")
        self.process = None

    def start(self, *options):
        with open(f"{self.dir}.err", "a", encoding="utf-8") as err:
            self.process = self.manager.start(LRUFS, "mount", "--foreground", "--size", "256M", *self.options, *options, self.store,
                                              self.dir, stderr=err)
        self.manager.wait_for("READY=1", self.process)
        while len(self.manager.kept) < 2:
            self.manager.hear()
        return self.process

    def words(self):
        return _lib.read_file(f"{self.dir}.err").decode()

    def guard(self):
        return next(child for child in _lib.children(self.process.pid) if _lib.words_of(child)[1:2] == ["guard"])

    def everybody(self):
        return [self.process.pid, *_lib.children(self.process.pid)]

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait(30)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        equal("exit code", 0, self.process.wait(60))
        check(not os.path.ismount(self.dir), "expected SIGTERM to unmount")


def goes_on(recency):
    service = Service(f"goes-on-{recency}", "--sync", "1s", "--recency", recency)
    with _service.ended_with(service.start(), service.dir):
        if not _takeover.statistics(service)["supervised"]["takeover"]:
            _lib.skip("this kernel does not send requests again")
        device = os.stat(service.dir).st_dev
        stop = os.path.join(_lib.WORK, f"stop-{recency}")
        log = os.path.join(_lib.WORK, "slow")
        client = _lib.spawn_function(_takeover.run_client, os.path.join(service.dir, "client"), 1, log, stop)
        for number in range(DEATHS):
            # The end of memory, the signal of the watchdog, a crash.
            before = service.everybody()
            guard = service.guard()
            service.kill((signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV)[number % 3])
            wait_for("its worker has ended, too", 20, lambda: not any(_lib.alive(pid) for pid in before if pid != guard))
            check(_lib.alive(guard), "expected the guard to wait for the next supervisor, it is gone")
            service.start()
            wait_for("the guard is dismissed", 20, lambda: not _lib.alive(guard))
            equal("the mount", device, os.stat(service.dir).st_dev)
            check(client.poll() is None, f"expected the client to go on, it ended with {client.returncode}")
        step(f"{DEATHS} deaths")
        told = _takeover.statistics(service)["supervised"]
        equal("restarts", DEATHS, told["restarts"])
        check("supervisor" in told["last_reason"], f"the reason: {told}")
        step("and the worker's death, after that")
        _takeover.kill_worker(service.process.pid)
        wait_for("another worker", 20, lambda: _takeover.statistics(service)["supervised"]["restarts"] == DEATHS + 1)
        _lib.write_file(stop, b"")
        equal("exit status of the client", 0, client.wait(60))
        service.stop()
        while service.manager.kept:
            service.manager.wait_for("FDSTOREREMOVE=1", service.process)
    _lib.run(60, LRUFS, "check", service.store)


def hold(path, holds, ended):
    """In a process of its own: one that starts others closes its files in them, and would wait for the mount."""
    fd = os.open(path, os.O_RDWR)
    _lib.write_file(holds, b"")
    wait_for("the mount has ended", 60, lambda: os.path.exists(ended))
    try:
        os.pwrite(fd, b"x", 0)
        os.fsync(fd)
    except OSError as error:
        check(error.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO), f"expected ENOTCONN, saw {error}")
        os._exit(0)
    _lib.fail("writing to a file of a mount that was ended: expected an error, saw success")


def somewhere_else():
    step("with another mount point: the old place is free again")
    service = Service("before")
    with _service.ended_with(service.start(), service.dir):
        _lib.write_file(os.path.join(service.dir, "file"), b"content")
        service.kill()
        old, service.dir = service.dir, os.path.join(_lib.WORK, "after")
        os.mkdir(service.dir)
        with _service.ended_with(service.start(), service.dir):
            equal("content", b"content", _lib.read_file(os.path.join(service.dir, "file")))
            check(old not in _lib.mount_points(), f"expected nothing to be mounted at {old}")
            step("by a version that has another layout of what it keeps")
            service.kill()
            os.pwrite(service.manager.kept["lrufs-memory"], struct.pack("<I", 99), 0)
            service.start()
            check("cannot take over" in service.words(), f"expected to be told why, saw {service.words()}")
            equal("content", b"content", _lib.read_file(os.path.join(service.dir, "file")))
            equal("mounts", 1, _lib.mount_points().count(service.dir))
            service.stop()


def mounted_anew():
    step("with other options: the mount of before is ended, and made anew")
    service = Service("anew")
    with _service.ended_with(service.start(), service.dir):
        _lib.write_file(os.path.join(service.dir, "file"), b"content")
        holds, ended = os.path.join(_lib.WORK, "holds"), os.path.join(_lib.WORK, "ended")
        holder = _lib.spawn_function(hold, os.path.join(service.dir, "file"), holds, ended)
        wait_for("a file is held open", 20, lambda: os.path.exists(holds))
        service.kill()
        service.start("-o", "ro")
        check("is mounted anew" in service.words(), f"expected to be told why, saw {service.words()}")
        _lib.write_file(ended, b"")
        equal("exit status of who had a file open", 0, holder.wait(30))
        equal("content", b"content", _lib.read_file(os.path.join(service.dir, "file")))
        equal("mounts", 1, _lib.mount_points().count(service.dir))
        service.stop()
    step("without a supervisor")
    with _service.ended_with(service.start(), service.dir):
        service.kill()
        process = service.manager.start(LRUFS, "mount", "--foreground", "--no-supervise", service.store, service.dir)
        with _service.ended_with(process, service.dir):
            service.manager.wait_for("READY=1", process)
            equal("content", b"content", _lib.read_file(os.path.join(service.dir, "file")))
            process.send_signal(signal.SIGTERM)
            equal("exit code", 0, process.wait(60))
    _lib.run(60, LRUFS, "check", service.store)


def nobody_comes():
    step("a manager that keeps all, and starts nothing: the guard lets go who waits")
    service = Service("nobody")
    with _service.ended_with(service.start(), service.dir):
        _lib.write_file(os.path.join(service.dir, "file"), b"content")
        service.kill()
        reader = _lib.spawn("stat", os.path.join(service.dir, "file"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("who waits is let go", 60, lambda: reader.poll() is not None)
        service.manager.drop()
    step("and the mount that is dead is replaced")
    with _service.ended_with(service.start(), service.dir):
        equal("content", b"content", _lib.read_file(os.path.join(service.dir, "file")))
        service.stop()
    _lib.run(60, LRUFS, "check", service.store)


def test():
    if _lib.PLAIN:
        _lib.skip("there is no daemon on a plain directory")
    goes_on("10s")
    goes_on("0")
    mounted_anew()
    somewhere_else()
    nobody_comes()


_lib.main(test)
