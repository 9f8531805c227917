"""Containers of a pod by podman and runc, with the interface of _pod.py: the image is made by scripts/build-image.sh around the program
under test; podman's storage, locks and configuration lie below WORK, the system's are not touched. The sidecar is restarted by
podman itself (restart policy), as by the kubelet."""

import json
import os
import shlex
import signal
import subprocess
import _lib
from _lib import LRUFS, SOURCE_DIR, WORK, check, fail, run, wait_for
from _pod import CACHE, STORE, USER, VOLUME, Volumes, signal_namespace  # noqa: F401

PLACE = os.path.join(WORK, "podman")
IMAGE = "localhost/lrufs:latest"


def _options():
    return ["--root", f"{PLACE}/root", "--runroot", f"{PLACE}/run", "--tmpdir", f"{PLACE}/tmp", "--storage-driver", "vfs",
            "--cgroup-manager", "cgroupfs", "--runtime", "runc", "--events-backend", "file"]


def podman(*arguments, seconds=120, ok=(0,)):
    return run(seconds, "podman", *_options(), *arguments, ok=ok)


def set_up():
    """Skips where podman does not work, such as in a container that may not make others."""
    _lib.need_root()
    _lib.need("podman", "runc", "conmon", "buildah", "busybox")
    os.makedirs(f"{PLACE}/tmp")
    with open(f"{PLACE}/containers.conf", "w", encoding="ascii") as file:
        # Locks in a file: the default is one segment of shared memory for all storages.
        file.write('[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]\n[engine]\nlock_type = "file"\n')
    os.environ["CONTAINERS_CONF"] = f"{PLACE}/containers.conf"
    # Whatever happens: _cleanup.sh runs this.
    with open(os.path.join(WORK, ".cleanup"), "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\nexport CONTAINERS_CONF={PLACE}/containers.conf\n"
                   f"timeout 60 podman {shlex.join(_options())} pod rm --all --force --time 0\n"
                   f"timeout 60 podman {shlex.join(_options())} rm --all --force --time 0\n"
                   # podman leaves its own group; one that is in use cannot be removed.
                   "find /sys/fs/cgroup/libpod_parent /sys/fs/cgroup/*/libpod_parent -depth -type d -exec rmdir {} +\n")
        os.fchmod(file.fileno(), 0o755)
    archive = os.path.join(WORK, "lrufs.tar")
    run(120, os.path.join(SOURCE_DIR, "scripts/build-image.sh"), "--binary", LRUFS, "--archive", archive, "--work", f"{PLACE}/build")
    podman("load", "--quiet", "--input", archive)
    works = subprocess.run(["podman", *_options(), "run", "--rm", "--network", "none", IMAGE, "--version"], capture_output=True, text=True,
                           timeout=120, check=False)
    if works.returncode != 0:
        _lib.skip(f"podman cannot run containers here: {works.stderr.strip()[-300:]}")


class Podman(Volumes):
    kind = "podman"

    def sidecar(self, *arguments, memory=None, store=None, restart="always"):
        name = f"{self.name}-sidecar{len(self.names)}"
        limit = ["--memory", memory, "--memory-swap", memory] if memory else []
        return self._start("sidecar", name, [
            "--privileged", "--device", "/dev/fuse", "--user", "0", "--restart", restart, *limit, "--volume", f"{store or self.store}:{STORE}",
            "--volume", f"{self.volume}:{VOLUME}:rshared", IMAGE, *arguments])

    def application(self, script, user=USER):
        name = f"{self.name}-application{len(self.names)}"
        return self._start("application", name, [
            "--user", f"{user}:{user}", "--cap-drop", "all", "--security-opt", "no-new-privileges", "--read-only",
            "--volume", f"{self.volume}:{VOLUME}:ro,rslave", "--volume", f"{self.log}:/log", "--entrypoint", "/bin/sh", IMAGE, "-c", script])

    def prepare(self, script, environment):
        with open(os.path.join(self.dir, "prepare.sh"), "w", encoding="utf-8") as file:
            file.write(script)
        variables = [word for k, v in environment.items() for word in ("--env", f"{k}={v}")]
        # What the manifest's init container may do.
        return podman("run", "--rm", "--network", "none", "--user", "0", "--cap-drop", "all", "--cap-add", "CHOWN,DAC_OVERRIDE,FOWNER",
                      "--security-opt", "no-new-privileges", *variables, "--volume", f"{self.store}:{STORE}",
                      "--volume", f"{self.volume}:{VOLUME}", "--volume", f"{self.dir}:/log", "--entrypoint", "/bin/sh", IMAGE,
                      "/log/prepare.sh")

    def _start(self, role, name, arguments):
        self.names.append(name)
        podman("run", "--detach", "--name", name, "--network", "none", *arguments)
        return Container(self, role, name)

    def __init__(self, name):
        self.names = []
        super().__init__(name)


class Container:
    def __init__(self, pod, role, name):
        self.pod, self.role, self.name = pod, role, name
        self.told_before = 0
        self.pid = self.state()["Pid"]

    def state(self):
        return json.loads(podman("inspect", "--format", "{{json .State}}", self.name))

    def running(self):
        state = self.state()
        return state["Running"] and state["Pid"] != 0

    def told(self):
        """Since the last restart."""
        return podman("logs", self.name)[self.told_before:]

    def run(self, command, seconds=60, ok=(0,)):
        return podman("exec", self.name, "/bin/sh", "-c", command, seconds=seconds, ok=ok)

    def background(self, command):
        return _lib.spawn("podman", *_options(), "exec", self.name, "/bin/sh", "-c", command, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)

    def signal_all(self, name):
        signal_namespace(self.pid, name)

    def kill(self, seconds=60):
        """By the process id: podman kill would also keep it from being restarted."""
        self.told_before = len(podman("logs", self.name))
        self.pid = self.state()["Pid"]
        os.kill(self.pid, signal.SIGKILL)
        wait_for("the killed process has ended", seconds, lambda: not _lib.alive(self.pid))

    def again(self):
        """podman restarts it."""
        old = self.pid
        wait_for("podman restarts the container", 60, lambda: self.state()["Pid"] not in (0, old))
        self.pid = self.state()["Pid"]
        return self

    def terminate(self, seconds):
        """As the kubelet: SIGTERM, and SIGKILL after the time. podman does not restart what it has stopped."""
        podman("stop", "--time", str(seconds), self.name, seconds=seconds + 60)
        state = self.state()
        check(state["ExitCode"] != 137, f"expected the {self.role} to end within {seconds} s; it had to be killed")
        return state["ExitCode"]

    def wait(self, seconds):
        out = podman("wait", self.name, seconds=seconds)
        try:
            return int(out.split()[-1])
        except (ValueError, IndexError):
            return fail(f"podman wait: {out}")
