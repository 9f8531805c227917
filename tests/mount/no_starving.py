#!/usr/bin/env python3
# ctest: timeout=240
"""No request starves behind a long one, whoever answers: for each placement of the answering threads

frozen   the disk below the store takes nothing (fsfreeze): a client waits in fsync, another one in write, while lookups of
         a third one go on; and all is well when the disk goes on
stopped  a client is stopped (SIGSTOP) in the middle of its requests; the others end
busy     a process that only computes, on the core that the client is bound to: all requests are answered
many     24 clients at once

A thread that waits while nobody else reads, or that gives way to others for ever, makes this fail by its deadline. frozen
needs root, loop devices and fsfreeze."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import json
import os
import shutil
import signal
import subprocess
import _lib
from _lib import LRUFS, MIB, Mount, check, equal, run, step, wait_for

PLACEMENTS = ("auto", "spread", "alone", "close")


def threads(mount):
    return json.loads(run(20, LRUFS, "stat", "--json", mount.dir))["threads"]


def look_up(folder, count, start=0):
    """One request each: names that nobody has asked for."""
    for n in range(start, start + count):
        check(not os.path.lexists(os.path.join(folder, f"absent{n}")), "a name that was never made exists")


def churn(folder, count):
    os.mkdir(folder)
    for n in range(count):
        path = os.path.join(folder, f"f{n}")
        _lib.write_file(path, b"x" * 4096)
        if n % 8 == 0:
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
        equal("content", b"x" * 4096, _lib.read_file(path))
        os.unlink(path)


def synced_write(path):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"synced")
    os.fsync(fd)


def only_sync(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)


def frozen(placement):
    image, disk = os.path.join(_lib.WORK, f"{placement}.img"), os.path.join(_lib.WORK, f"{placement}.disk")
    os.mkdir(disk)
    with open(image, "wb") as file:
        file.truncate(192 * MIB)
    run(30, "mkfs.ext4", "-q", "-F", image)
    attached = subprocess.run(["mount", "-o", "loop", image, disk], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False, timeout=30)
    if attached.returncode != 0:
        print(f"   no loop device: {attached.stdout.strip()}")
        return
    # Neither the timer's checkpoints nor eviction meet the frozen disk.
    mount = Mount(name=f"frozen-{placement}", size="64M", store=os.path.join(disk, "store.lrufs"),
                  options=["-o", f"placement={placement}", "--sync", "unmount"])
    mount.mount()
    _lib.write_file(mount.path("before"), b"before")
    # Folders of their own: the kernel locks a folder for who makes something in it.
    for n in range(6):
        os.mkdir(mount.path(f"w{n}"))
    os.mkdir(mount.path("quiet"))
    look_up(mount.path("quiet"), 500)
    run(30, "fsfreeze", "-f", disk)
    try:
        waiting = [_lib.spawn_function(only_sync, mount.path("before"))]
        wait_for("the fsync is with the daemon", 20, lambda: requests(mount)["fsync"] >= 1)
        # With the loop's own threads at work the clients go on ...
        reader = _lib.spawn_function(look_up, mount.path("quiet"), 500, 1000)
        equal("lookups beside an fsync that waits", 0, reader.wait(30))
        # ... and also when all of these are in a request that must change the store.
        for n in range(6):
            waiting.append(_lib.spawn_function(synced_write, mount.path(f"w{n}", "file")))
        reader = _lib.spawn_function(look_up, mount.path("quiet"), 500, 2000)
        equal("lookups beside writers that wait", 0, reader.wait(30))
        equal("who waits for the disk", [None] * len(waiting), [child.poll() for child in waiting])
    finally:
        run(30, "fsfreeze", "-u", disk)
    for child in waiting:
        equal("who waited for the disk", 0, child.wait(60))
    for n in range(6):
        equal("what was written", b"synced", _lib.read_file(mount.path(f"w{n}", "file")))
    mount.check()
    run(60, "umount", disk)


def requests(mount):
    return json.loads(run(20, LRUFS, "stat", "--json", mount.dir))["requests"]


def forever(folder):
    n = 0
    while True:
        look_up(folder, 1, n := n + 1)


def stopped(mount):
    clients = [_lib.spawn_function(forever, mount.path()) for _ in range(3)]
    for client in clients:
        os.kill(client.pid, signal.SIGSTOP)
        others = _lib.spawn_function(churn, mount.path(f"beside-{client.pid}"), 50)
        equal("a client beside a stopped one", 0, others.wait(60))
        os.kill(client.pid, signal.SIGCONT)
        client.kill()
        client.wait(10)


def compute():
    os.setsid()
    while True:
        pass


def busy(mount, placement):
    core = min(os.sched_getaffinity(0))

    def bound():
        os.sched_setaffinity(0, {core})
        churn(mount.path("busy"), 300)

    def bound_and_computing():
        os.sched_setaffinity(0, {core})
        compute()

    before = threads(mount)
    hog = _lib.spawn_function(bound_and_computing)
    client = _lib.spawn_function(bound)
    equal("the client beside a process that computes", 0, client.wait(90))
    hog.kill()
    hog.wait(10)
    after = threads(mount)
    print(f"   {placement}: close {after['closed'] - before['closed']} times, stuck {after['stuck'] - before['stuck']} times")


def many(mount, count):
    clients = [_lib.spawn_function(churn, mount.path(f"client{n}"), 40) for n in range(count)]
    for client in clients:
        equal("one of many clients", 0, client.wait(120))
    # One is added only when all are in requests, or wait in the store; one that has answered may be between two.
    workers = threads(mount)["workers"]
    check(workers <= 4 + 2 * count, f"expected at most 4 workers and two for each of {count} clients; saw {workers}")


def come_and_go(mount):
    """Threads that a crowd has made necessary are gone some seconds after it. (Who comes later, gets them again.)"""
    most = 0
    clients = [_lib.spawn_function(churn, mount.path(f"crowd{n}"), 60) for n in range(32)]
    while any(client.poll() is None for client in clients):
        most = max(most, threads(mount)["workers"])
    for client in clients:
        equal("one of a crowd", 0, client.wait(120))
    wait_for(f"of {most} threads four are left", 30, lambda: threads(mount)["workers"] == 4)
    return most


def who_answers(mount, placement):
    """The option has an effect. On a busy machine the lone thread may lose its charge for a while."""
    done = 10_000

    def answered(what):
        nonlocal done
        look_up(mount.dir, 500, done)
        done += 500
        return threads(mount)[what] > 0

    if placement in ("alone", "close"):
        wait_for("the lone thread answers requests", 30, lambda: answered("alone_requests"))
    if placement == "close" and os.geteuid() == 0 and len(os.sched_getaffinity(0)) > 1:
        wait_for("the lone thread goes beside its client", 30, lambda: answered("closed"))
        alone_on_its_core(mount)
    answered("closed")
    seen = threads(mount)
    if placement == "spread":
        equal("requests of the lone thread", 0, seen["alone_requests"])
    if placement in ("spread", "alone"):
        equal("times that the lone thread went beside its client", 0, seen["closed"])


def cores_of_threads(pid):
    """Thread -> the cores that it may run on, and whether it gives way (SCHED_IDLE)."""
    found = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            found[thread] = os.sched_getaffinity(int(thread)), os.sched_getscheduler(int(thread)) == os.SCHED_IDLE
        except ProcessLookupError:
            pass
    return found


def alone_on_its_core(mount):
    """The thread that gives way has its client's core for itself: what evicts and checkpoints would take it for long."""
    done = 100_000

    def seen():
        nonlocal done
        look_up(mount.dir, 300, done)
        done += 300
        threads_now = cores_of_threads(mount.server)
        close = [cores for cores, gives_way in threads_now.values() if gives_way]
        if len(close) != 1 or len(close[0]) != 1:
            return False
        return all(gives_way or not cores & close[0] for cores, gives_way in threads_now.values())

    wait_for("the lone thread is beside its client, and no other thread is", 30, seen)
    # And they may run everywhere again while several clients take turns.

    def look_up_until_ended(start):
        while not os.path.exists(os.path.join(_lib.WORK, "enough")):
            look_up(mount.dir, 200, start)
            start += 200
    clients = [_lib.spawn_function(look_up_until_ended, 10**7 * n) for n in range(1, 4)]
    wait_for("with several clients all threads may use all cores", 30, lambda: all(
        cores == os.sched_getaffinity(0) and not gives_way for cores, gives_way in cores_of_threads(mount.server).values()))
    _lib.write_file(os.path.join(_lib.WORK, "enough"), b"")
    for client in clients:
        equal("a client", 0, client.wait(60))


def test():
    freezes = os.geteuid() == 0 and shutil.which("fsfreeze") and shutil.which("mkfs.ext4")
    for placement in PLACEMENTS:
        step(f"placement={placement}")
        mount = Mount(name=placement, options=["-o", f"placement={placement}"])
        mount.mount()
        who_answers(mount, placement)
        stopped(mount)
        busy(mount, placement)
        if placement in ("spread", "alone"):
            step(f"up to {come_and_go(mount)} threads, and four again")
        many(mount, 24)
        mount.check()
        if freezes:
            frozen(placement)


if _lib.PLAIN:
    _lib.skip("about the daemon's threads")
_lib.main(test)
