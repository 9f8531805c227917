#!/usr/bin/env python3
# ctest: timeout=180
"""What a daemon that serves may still do (fs/fuse/confine.h): of every thread the capabilities, no_new_privs and the filter of
system calls; and, tried from inside by a thread that was there before all (tests/tools/confined_preload.cc), files, programs,
mounts, processes and sockets. Beside it, the keeper and the guard."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import contextlib
import ctypes
import errno
import os
import shutil
import signal
import subprocess
import _lib
from _lib import check, equal, step

PROBE = os.path.join(os.environ.get("LRUFS_BUILD_DIR") or os.path.join(_lib.SOURCE_DIR, "build/release"), "tests/tools/liblrufs-confined.so")
DAC_READ_SEARCH, SYS_PTRACE, SYS_ADMIN, SYS_NICE = 1 << 2, 1 << 19, 1 << 21, 1 << 23
EPERM, EACCES = errno.EPERM, errno.EACCES
# What must be refused, with the errors that say so; what must go on.
BY_FILTER = {"unlink": {EPERM}, "chmod": {EPERM}, "rename": {EPERM}, "mount": {EPERM}, "unshare": {EPERM}, "ptrace": {EPERM},
             "setuid": {EPERM}, "bpf": {EPERM}, "netlink": {EPERM}, "execve": {EPERM}}
BY_LANDLOCK = {"create": {EACCES}, "write": {EACCES}, "read": {EACCES}, "write_by_new_thread": {EACCES}}
GO_ON = {"read_proc", "unix"}


def status(pid, task=None):
    path = f"/proc/{pid}/status" if task is None else f"/proc/{pid}/task/{task}/status"
    with open(path, encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def kernel_has_landlock():
    return ctypes.CDLL(None, use_errno=True).syscall(444, None, ctypes.c_size_t(0), 1) > 0


@contextlib.contextmanager
def daemon(name, *options):
    """A mount in the foreground with the probe in it; yields it, its mount point and a function that tries everything."""
    mount_point = os.path.join(_lib.WORK, name)
    os.makedirs(mount_point)
    target = os.path.join(_lib.WORK, f"{name}.target")
    _lib.write_file(target, b"not for the daemon")
    command_in, command_out = os.pipe()
    answer_in, answer_out = os.pipe()
    log = os.path.join(_lib.WORK, f"{name}.log")
    process = _lib.spawn(_lib.LRUFS, "mount", "-f", "--size", "64M", "--no-supervise", "--log", log, *options, f"{mount_point}.lrufs", mount_point,
                         pass_fds=(command_in, answer_out),
                         env={**os.environ, "LD_PRELOAD": PROBE, "LRUFS_PROBE": f"{command_in},{answer_out}", "LRUFS_PROBE_FILE": target})
    os.close(command_in)
    os.close(answer_out)
    answers = os.fdopen(answer_in, encoding="ascii")

    def attempt():
        os.write(command_out, b"\n")
        found = {}
        while (line := answers.readline()) != "end\n":
            check(line, "expected an answer of the probe, saw its end")
            what, code = line.split()
            found[what] = int(code)
        return found

    def ready():
        with contextlib.suppress(OSError), open(log, encoding="utf-8") as file:
            return ("mounted" if "no_confine" in options else "has given up") in file.read()

    try:
        _lib.wait_for("the daemon is confined", 30, ready)
        yield process, mount_point, attempt
        process.send_signal(signal.SIGTERM)
        equal("exit code", 0, process.wait(30))
        check(not os.path.ismount(mount_point), "expected SIGTERM to unmount; it is mounted")
    finally:
        process.kill()
        process.wait()
        subprocess.run(["umount", "-l", mount_point], stderr=subprocess.DEVNULL, check=False)
        os.close(command_out)
        answers.close()


def helpers(pid):
    """The keeper and the guard of a daemon: their process ids."""
    found = {}
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        for child in file.read().split():
            with open(f"/proc/{child}/cmdline", "rb") as words:
                found[words.read().split(b"\0")[1].decode()] = int(child)
    return found


def all_threads(pid, wanted):
    tasks = os.listdir(f"/proc/{pid}/task")
    check(len(tasks) > 5, f"expected a daemon with many threads, saw {len(tasks)}")
    for task in tasks:
        facts = status(pid, task)
        wanted(facts, f"thread {facts['Name']}")


def confined():
    step("confined")
    with daemon("confined") as (process, mount_point, attempt):
        def wanted(facts, who):
            for field in ("CapPrm", "CapEff"):
                check(int(facts[field], 16) & ~(DAC_READ_SEARCH | SYS_NICE) == 0, f"{who}: {field}: saw {facts[field]}")
            equal(f"{who}: no_new_privs", "1", facts["NoNewPrivs"])
            equal(f"{who}: seccomp", "2", facts["Seccomp"])
        all_threads(process.pid, wanted)
        found = attempt()
        refused = dict(BY_FILTER)
        if kernel_has_landlock():
            refused.update(BY_LANDLOCK)
        else:
            step("left out: files (no Landlock here)")
        for what, codes in refused.items():
            check(found[what] in codes, f"{what}: expected {codes}, saw {found[what]}")
        for what in GO_ON:
            equal(what, 0, found[what])
        if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 3):
            equal("executable memory", EACCES, found["executable_memory"])
        check(os.path.exists(os.path.join(_lib.WORK, "confined.target")), "the daemon could remove a file")

        step("it serves on")
        _lib.write_file(os.path.join(mount_point, "file"), b"x" * 300_000)
        equal("content", b"x" * 300_000, _lib.read_file(os.path.join(mount_point, "file")))
        for number in range(300):  # more than the store holds: the store grows, evicts, makes checkpoints
            _lib.write_file(os.path.join(mount_point, f"large{number}"), b"y" * 300_000)
        _lib.run(30, _lib.LRUFS, "checkpoint", mount_point)
        if shutil.which("getfattr") and shutil.which("unshare"):
            step("rights of clients are still told")
            newest = os.path.join(mount_point, "large299")
            _lib.run(20, "setfattr", "-n", "trusted.mine", "-v", "1", newest)
            names = ("getfattr", "--absolute-names", "-m", "-", newest)
            check("trusted.mine" in _lib.run(20, *names), "expected root to see its trusted.mine")
            # Root there, and by its id root here; but its capabilities count in its own namespace only.
            seen = _lib.run(20, "unshare", "-U", "-r", *names)
            check("trusted.mine" not in seen, f"trusted.* in a user namespace: expected none, saw {seen}")

        step("the keeper and the guard")
        beside = helpers(process.pid)
        equal("processes beside the daemon", ["guard", "keeper"], sorted(beside))
        facts = status(beside["keeper"])
        equal("capabilities of the keeper", DAC_READ_SEARCH | SYS_PTRACE | SYS_ADMIN, int(facts["CapPrm"], 16))
        equal("no_new_privs of the keeper", "1", facts["NoNewPrivs"])
        check(int(status(beside["guard"])["CapPrm"], 16) & ~(SYS_ADMIN | DAC_READ_SEARCH) == 0, "the guard keeps too much")
        for pid in beside.values():
            os.kill(pid, signal.SIGTERM)  # as systemd does it to the whole group
    _lib.wait_for("the keeper and the guard end with the daemon", 10, lambda: not any(_lib.alive(pid) for pid in beside.values()))


def killed():
    step("a daemon that was killed leaves no keeper")
    with _lib.Mount("killed", size="64M", options=("--no-supervise",)) as mount:
        beside = helpers(mount.pid)
        equal("processes beside the daemon", ["guard", "keeper"], sorted(beside))
        mount.kill()
        _lib.wait_for("the keeper and the guard end", 10, lambda: not any(_lib.alive(pid) for pid in beside.values()))


def not_confined():
    step("-o no_confine")
    with daemon("free", "-o", "no_confine") as (process, _, attempt):
        def wanted(facts, who):
            equal(f"{who}: seccomp", "0", facts["Seccomp"])
            equal(f"{who}: no_new_privs", "0", facts["NoNewPrivs"])
        all_threads(process.pid, wanted)
        equal("processes beside the daemon", ["guard"], sorted(helpers(process.pid)))
        found = attempt()  # that the attempts themselves are right
        for what in ("create", "write", "read", "chmod", "rename", "unlink", "execve", "netlink", "executable_memory",
                     "write_by_new_thread"):
            equal(f"{what}, not confined", 0, found[what])
        for what in ("mount", "unshare", "ptrace", "setuid", "bpf"):
            check(found[what] not in (0, EPERM), f"{what}, not confined: expected another error than EPERM, saw {found[what]}")


def test():
    if _lib.PLAIN:
        _lib.skip("there is no daemon on a plain directory")
    _lib.need_root()
    if not os.path.exists(PROBE):
        _lib.skip(f"no {PROBE}")
    confined()
    not_confined()
    killed()


_lib.main(test)
