#!/usr/bin/env python3
# ctest: timeout=120
"""The guard of a daemon that was killed comes late (it is stopped meanwhile, or only begins then): the mount that has taken the
place of the dead one, with the same number of connection and at the same folder, goes on."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import os
import signal
import _lib
from _lib import Mount, alive, check, equal, step


def guard_of(pid):
    """The process id of the daemon's guard."""
    for child in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{child}/stat", encoding="utf-8", errors="replace") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
            with open(f"/proc/{child}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if parent == pid and words[1:2] == [b"guard"]:
            return int(child)
    return None


def sleeps(pid):
    """Is it waiting for its parent's death?"""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        state = file.read().rpartition(")")[2].split()[0]
    with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
        return state == "S" and "sigtimedwait" in file.read()


def begins_late(mount):
    """A guard that begins when its daemon is dead, with the descriptor that the daemon gave it. True: it was put to the test."""
    device, dead = os.stat(mount.dir).st_dev, mount.pid
    try:
        control = os.open(f"/sys/fs/fuse/connections/{os.minor(device)}/abort", os.O_WRONLY)
    except FileNotFoundError:
        return False
    os.dup2(control, 3)
    mount.kill()
    mount.mount()
    late = _lib.spawn(_lib.LRUFS, "guard", mount.dir, str(device), str(dead), "1", "0", pass_fds=(3,))
    equal("exit status of the late guard", 0, late.wait(20))
    equal("content on the mount after a guard that begins late", b"content", _lib.read_file(mount.path("file")))
    return os.stat(mount.dir).st_dev == device


def test():
    if _lib.PLAIN:
        _lib.skip("there is no daemon on a plain directory")
    for number in range(5):
        with Mount(name=f"m{number}") as mount:
            _lib.write_file(mount.path("file"), b"content")
            device = os.stat(mount.dir).st_dev
            guard = guard_of(mount.pid)
            check(guard is not None, "expected a guard process beside the daemon, saw none")
            _lib.wait_for("the guard waits", 20, lambda: sleeps(guard))
            os.kill(guard, signal.SIGSTOP)
            try:
                mount.kill()
                mount.mount()
                same = os.stat(mount.dir).st_dev == device
            finally:
                os.kill(guard, signal.SIGCONT)
            _lib.wait_for("the late guard ends", 20, lambda: not alive(guard))
            equal("content on the mount after the late guard", b"content", _lib.read_file(mount.path("file")))
            _lib.write_file(mount.path("another"), b"another")
            step(f"{'the same number' if same else 'another number'} of connection")
            if same and begins_late(mount):
                return
    _lib.skip("each mount got a number of its own")


_lib.main(test)
