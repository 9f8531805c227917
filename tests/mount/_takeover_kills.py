"""The worker of a mount is killed at random moments, and no client notices: four verify every answer, beside eviction, expiry and
checkpoints."""
import errno
import os
import time
import _lib
import _takeover
from _lib import KIB, MIB, Mount, check, equal, step

CLIENTS = 4
BOUND = 64 * MIB


def churn(top, stop):
    """Fills the store, so that files are evicted all the time; reads some of them back; others expire."""
    os.mkdir(top)
    expiring = os.path.join(top, "expiring")
    os.mkdir(expiring)
    os.setxattr(expiring, "user.lrufs.ttl", b"1")
    os.setxattr(expiring, "user.lrufs.pin", b"1")  # empty, it would be evicted as a file is
    number = 0
    while not os.path.exists(stop):
        number += 1
        where = expiring if number % 5 == 0 else top
        path = os.path.join(where, f"c{number}")
        data = _takeover.content(path, 1 + (number * 7919) % (100 * KIB))
        _lib.write_file(path, data)
        for other in (number - 1, number - 40):
            if other < 1:
                continue
            path = os.path.join(expiring if other % 5 == 0 else top, f"c{other}")
            try:
                seen = _lib.read_file(path)
            except OSError as error:
                # Evicted, or expired: by its name, or under our hands.
                check(error.errno in (errno.ENOENT, errno.ESTALE), f"{path}: expected it to be whole or gone, saw {error}")
                continue
            equal(f"content of {path}", _takeover.content(path, 1 + (other * 7919) % (100 * KIB)), seen)
    kept = number - number // 5  # do not expire
    gone = kept + 1 - len(os.listdir(top))
    print(f"   churn: {number} files, {gone} of them evicted")
    check(gone > 0, "expected some files to be evicted meanwhile")


def test(count):
    if _lib.PLAIN:
        _lib.skip("there is no daemon on a plain directory")
    rng = _lib.seed()
    stop = os.path.join(_lib.WORK, "stop")
    mount = Mount(size=f"{BOUND // MIB}M", options=("--supervise", "--sync", "1s"))
    mount.mount()
    if not _takeover.statistics(mount)["supervised"]["takeover"]:
        _lib.skip("this kernel does not send requests again")
    os.mkdir(mount.path("kept"))
    os.setxattr(mount.path("kept"), "user.lrufs.pin", b"1")
    logs = [os.path.join(_lib.WORK, f"slow{n}") for n in range(CLIENTS)]
    clients = [_lib.spawn_function(_takeover.run_client, mount.path("kept", f"client{n}"), rng.random(), logs[n], stop)
               for n in range(CLIENTS)]
    clients.append(_lib.spawn_function(churn, mount.path("churn"), stop))
    kills = []
    while len(kills) < count:
        # The random moment; now and then at once, so that a worker dies that has not taken over yet.
        # The last ones have time enough between them to see how long one takes.
        alone = count - len(kills) <= min(30, count // 10)
        time.sleep(0.3 + 0.1 * rng.random() if alone else rng.choice((0.002, 0.05, 0.25)) * rng.random())
        when, worker = _takeover.kill_worker(mount.pid)
        kills.append(when)
        _takeover.worker_is(mount.pid, other_than=worker)
        for client in clients:
            check(client.poll() is None, f"expected all clients to go on, one ended with {client.returncode} after {len(kills)} kills")
        if len(kills) % 50 == 0:
            step(f"{len(kills)} kills")
    with open(stop, "w", encoding="ascii"):
        pass
    for client in clients:
        equal("exit status of a client", 0, client.wait(60))
    _takeover.tell_stalls(_takeover.stalls(logs, kills))
    told = _takeover.statistics(mount)
    equal("restarts", count, told["supervised"]["restarts"])
    # What evicted and removed files occupied comes back, though nobody knew whether the kernel held them.
    print(f"   orphans: {told['statistics']['orphans']}")
    if os.geteuid() == 0:
        _lib.drop_caches(2)  # kernels before 6.18 keep the names of those that they were not told of
        _lib.wait_for("all orphans are reclaimed", 30, lambda: _takeover.statistics(mount)["statistics"]["orphans"] == 0)
    mount.check()
    check(_lib.disk_use(mount.store) <= BOUND, f"disk use: expected at most the bound, saw {_lib.disk_use(mount.store)}")
