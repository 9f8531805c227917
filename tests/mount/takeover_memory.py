#!/usr/bin/env python3
# ctest: timeout=300 serial
"""A memory limit that kills, as a container has it: of the processes of a mount it is the worker that the kernel chooses, another
one takes over, and clients that verify each of their calls do not notice."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import os
import signal
import _lib
import _takeover
from _cgroup import MemoryGroup
from _lib import KIB, MIB, Mount, check, equal, run, step, wait_for

LIMIT = 96 * MIB
KILLS = 5
CHUNK = bytes(64 * KIB)


def hog(group, folder, worker):
    """Fills memory with a file, until the worker is killed for it; this process itself has little."""
    group.take(os.getpid())
    path = os.path.join(folder, "hog")
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.unlink(path)
    for _ in range(2 * LIMIT // len(CHUNK)):
        if not _lib.alive(worker):
            break
        os.write(fd, CHUNK)
    check(not _lib.alive(worker), "expected the worker to be killed for the memory, it lives")
    os.close(fd)


def test():
    if _lib.PLAIN:
        _lib.skip("there is no daemon on a plain directory")
    _lib.need_root()
    group = MemoryGroup(LIMIT)
    try:
        mount = Mount(size="256M", options=("--sync", "1s"))
        mount.mount()
        if not _takeover.statistics(mount)["supervised"]["takeover"]:
            _lib.skip("this kernel does not send requests again")
        for pid in {mount.pid, *_lib.children(mount.pid)}:
            group.take(pid)
        stop = os.path.join(_lib.WORK, "stop")
        logs = [os.path.join(_lib.WORK, f"slow{n}") for n in range(2)]
        clients = [_lib.spawn_function(_takeover.run_client, mount.path(f"client{n}"), n, log, stop) for n, log in enumerate(logs)]
        supervisor = mount.pid
        folder = os.path.join(_lib.WORK, "memory")
        os.mkdir(folder)
        run(10, "mount", "-t", "tmpfs", "none", folder)
        for number in range(KILLS):
            worker = _takeover.worker_is(supervisor)
            with open(f"/proc/{worker}/oom_score_adj", encoding="ascii") as file, \
                    open(f"/proc/{supervisor}/oom_score_adj", encoding="ascii") as other:
                check(int(file.read()) > int(other.read()), "expected the kernel to prefer the worker")
            one = _lib.spawn_function(hog, group, folder, worker)
            # It may be the next to be killed, while the worker is just ending.
            check(one.wait(60) in (0, -signal.SIGKILL), f"exit status of what takes the memory: {one.returncode}")
            wait_for("another worker serves", 30, lambda: _takeover.statistics(mount)["supervised"]["restarts"] > number
                     and _takeover.worker_of(supervisor) not in (None, worker))
            check(_lib.alive(supervisor), "the supervisor was killed")
            for client in clients:
                check(client.poll() is None, f"expected the clients to go on, one ended with {client.returncode}")
        step(f"{group.kills()} kills for lack of memory")
        seen = _takeover.statistics(mount)["supervised"]
        check("signal 9" in seen["last_reason"], f"the reason: {seen}")
        metrics = _lib.read_file(mount.path(".lrufs/metrics")).decode()
        check('lrufs_last_takeover_seconds{reason="signal 9 (Killed)"} 1' in metrics, f"metrics: {metrics[-900:]}")
        check(f"lrufs_takeovers_total {KILLS}" in metrics, f"metrics: {metrics[-900:]}")
        _lib.write_file(stop, b"")
        for client in clients:
            equal("exit status of a client", 0, client.wait(60))
        mount.check()
    finally:
        def removed():
            group.remove()
            return not os.path.isdir(group.dir)
        wait_for("the cgroup is empty, and gone", 10, removed)


_lib.main(test)
