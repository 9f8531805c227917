#!/usr/bin/env python3
# ctest: timeout=240
"""lrufs upgrade: another program takes over a mount that is in use, and clients do not notice; one that cannot leaves the old one serving."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import os
import shutil
import subprocess
import _lib
import _takeover
from _lib import LRUFS, Mount, check, equal, run, step

# Stands by, and fails when it is its turn.
TRAITOR = """#!/usr/bin/env python3
import socket
link = socket.socket(fileno=3)
link.send(b"b")
link.recv(100)
raise SystemExit(3)
"""


def program_of(worker):
    return os.readlink(f"/proc/{worker}/exe")


def test():
    if _lib.PLAIN:
        _lib.skip("there is no daemon on a plain directory")
    stop = os.path.join(_lib.WORK, "stop")
    other = os.path.join(_lib.WORK, "lrufs")  # as tests/mount/_cleanup.sh knows it
    shutil.copy(LRUFS, other)
    mount = Mount(size="256M", options=("--supervise",))
    mount.mount()
    if not _takeover.statistics(mount)["supervised"]["takeover"]:
        _lib.skip("this kernel does not send requests again")
    rng = _lib.seed()
    log = os.path.join(_lib.WORK, "slow")
    client = _lib.spawn_function(_takeover.run_client, mount.path("client"), rng.random(), log, stop)

    for number, program in enumerate((other, LRUFS, other, LRUFS), 1):
        before = _takeover.worker_is(mount.pid)
        run(60, LRUFS, "upgrade", mount.dir, program)
        after = _takeover.worker_is(mount.pid)
        check(after != before, "the worker is the same as before")
        equal("the program of the worker", program, program_of(after))
        told = _takeover.statistics(mount)["supervised"]
        equal("upgrades and restarts", (number, 0), (told["upgrades"], told["restarts"]))
        # It is that program, too, which takes over from one that dies.
        if number == 3:
            _takeover.kill_worker(mount.pid)
            equal("the program of the next worker", program, program_of(_takeover.worker_is(mount.pid, other_than=after)))
            _lib.wait_for("it serves", 20, lambda: _takeover.statistics(mount)["supervised"]["restarts"] == 1)
            break
    step("upgrades")

    worker = _takeover.worker_is(mount.pid)
    told = run(60, LRUFS, "upgrade", mount.dir, "/bin/false", ok=(1,))
    check("the new version ended with exit status 1" in told, f"expected to be told what is wrong, saw {told}")
    equal("the worker, after an upgrade that failed", worker, _takeover.worker_is(mount.pid))
    _lib.write_file(os.path.join(_lib.WORK, "text"), b"text", mode=0o644)
    told = run(60, LRUFS, "upgrade", mount.dir, os.path.join(_lib.WORK, "text"), ok=(1,))
    check("no program that can be run" in told, f"expected to be told what is wrong, saw {told}")
    step("a program that is none")

    traitor = os.path.join(_lib.WORK, "traitor")
    _lib.write_file(traitor, TRAITOR.encode(), mode=0o755)
    told = run(60, LRUFS, "upgrade", mount.dir, traitor, ok=(1,))
    check("the old one goes on" in told, f"expected to be told what is wrong, saw {told}")
    equal("the program that goes on", program_of(worker) if os.path.exists(f"/proc/{worker}/exe") else other,
          program_of(_takeover.worker_is(mount.pid)))
    step("a program that fails when it is its turn")

    if os.geteuid() == 0 and shutil.which("setpriv"):
        seen = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", LRUFS, "upgrade", mount.dir, other], capture_output=True,
                              text=True, timeout=60, check=False)
        equal("exit code of somebody else's upgrade", 1, seen.returncode)
    with open(stop, "w", encoding="ascii"):
        pass
    equal("exit status of the client", 0, client.wait(60))
    mount.check()
    with Mount(name="alone", size="64M", options=("--no-supervise",)) as alone:
        told = run(60, LRUFS, "upgrade", alone.dir, ok=(1,))
        check("has no supervisor" in told, f"expected to be told what is wrong, saw {told}")


_lib.main(test)
