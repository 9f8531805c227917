#!/usr/bin/env python3
# ctest: timeout=120
"""A mount as a service of systemd: what the daemon tells its manager (ready when the mount answers, alive, stopping with more
time to write), and the unit file (systemd-analyze verify and security, where systemd is installed)."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import contextlib
import os
import re
import shutil
import signal
import stat
import subprocess
import _lib
import _service
from _lib import check, equal, step

UNIT = "lrufs@.service"
# systemd-analyze security: 10 is "anything goes". What keeps it above 4 needs a mount namespace, in which nobody would see the mount.
EXPOSURE = 6.0


@contextlib.contextmanager
def service(folder, name, store, **environment):
    mount_point = os.path.join(folder, name)
    os.makedirs(mount_point, exist_ok=True)
    manager = _service.Manager(os.path.join(folder, f"{name}.socket"))
    process = _lib.spawn(_lib.LRUFS, "mount", "--foreground", "--size", "64M", store, mount_point,
                         env={**os.environ, "NOTIFY_SOCKET": manager.path, **environment}, stderr=subprocess.PIPE, text=True)
    with _service.ended_with(process, mount_point):
        yield manager, process, mount_point


def ends(process, code):
    equal("exit code", code, process.wait(30))


def notifications(folder):
    store = os.path.join(folder, "store.lrufs")
    step("ready, and stopped by SIGTERM")
    with service(folder, "plain", store) as (manager, process, mount_point):
        manager.wait_for("READY=1", process)
        check(os.path.ismount(mount_point), f"{mount_point}: expected a mount once READY=1 was told, saw none")
        equal("what was told before", [], [m for m in manager.seen[:-1]])
        _lib.write_file(os.path.join(mount_point, "file"), b"content")
        process.send_signal(signal.SIGTERM)
        message = manager.wait_for("STOPPING=1", process)
        check(any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in message), f"expected more time to be asked for, saw {message}")
        ends(process, 0)
        check(not any("WATCHDOG=1" in m for m in manager.seen), f"nobody asked for a watchdog, saw {manager.seen}")
    step("alive, and stopped by umount")
    with service(folder, "watched", store, WATCHDOG_USEC="200000") as (manager, process, mount_point):
        manager.wait_for("READY=1", process)
        for _ in range(5):
            manager.wait_for("WATCHDOG=1", process)
        equal("content", b"content", _lib.read_file(os.path.join(mount_point, "file")))
        _lib.run(30, "umount", mount_point)
        manager.wait_for("STOPPING=1", process)
        ends(process, 0)
    step("a start that fails")
    with open(os.path.join(folder, "no-store"), "wb") as file:
        file.write(b"x" * 100_000)
    with service(folder, "failing", os.path.join(folder, "no-store")) as (manager, process, mount_point):
        ends(process, 1)
        manager.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            _lib.fail(f"expected nothing to be told, saw {manager.socket.recv(65536)}")
        told = process.stderr.read()
        check("no-store" in told and "lrufs" in told, f"expected to be told what it is, saw {told}")


def unit_file(folder):
    if shutil.which("systemd-analyze") is None:
        step("left out: the unit file (no systemd-analyze)")
        return
    step("the unit file")
    with open(os.path.join(os.environ["LRUFS_BUILD_DIR"], "deploy", UNIT), encoding="utf-8") as file:
        text = file.read()
    check("@" not in re.sub(r"lrufs@NAME|lrufs@|=@system-service @mount", "", text), "expected all variables to be replaced")
    # The program that was built, in place of the one that will be installed.
    text, count = re.subn(r"(?m)^ExecStart=\S+", f"ExecStart={_lib.LRUFS}", text)
    equal("ExecStart lines", 1, count)
    path = os.path.join(folder, UNIT)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    instance = path.replace("@.", "@test.")
    shutil.copy(path, instance)
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", instance], capture_output=True, text=True, timeout=60, check=False)
    equal("systemd-analyze verify", (0, ""), (verified.returncode, "\n".join(
        line for line in verified.stderr.splitlines() if "lrufs" in line)))
    shown = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", instance], capture_output=True, text=True,
                           timeout=60, check=False)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", shown.stdout)
    check(found is not None, f"expected an exposure level, saw {shown.stdout[-300:]} {shown.stderr}")
    step(f"exposure {found[1]}")
    check(float(found[1]) <= EXPOSURE, f"exposure: expected at most {EXPOSURE}, saw {found[1]}")


def test():
    if _lib.PLAIN:
        _lib.skip("there is no daemon on a plain directory")
    folder = os.path.join(_lib.WORK, "service")
    os.mkdir(folder)
    notifications(folder)
    unit_file(folder)


_lib.main(test)
