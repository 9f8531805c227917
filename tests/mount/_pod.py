"""Containers of a pod as the tests of deploy/kubernetes have them: a privileged sidecar that mounts, and an application without any
privilege, which share a folder (in Kubernetes: mountPropagation Bidirectional and HostToContainer).

Two ways to run them, with one interface: `Namespaces` needs only util-linux and root, `Podman` podman and runc. Both use the
files of the image (deploy/image-root.sh), and have

    pod = Namespaces("name")                      # pod.store and pod.volume: folders of the host, pod.cache the mount point on it
    sidecar = pod.sidecar("mount", "-f", …)       # arguments of lrufs; pod.STORE, pod.CACHE: the paths in the containers
    app = pod.application("shell script")         # user 1000, no capabilities, no network; /log is writable
    app.run("shell command")                      # in that container, as its user; its output
    sidecar.kill()                                # SIGKILL of all its processes
    sidecar = sidecar.again()                     # restarted, with the same arguments
    sidecar.terminate(seconds)                    # SIGTERM of its first one; exit status; fails when it takes longer

Nothing survives a test: processes of Namespaces end with the test's own (PR_SET_PDEATHSIG), containers of podman are removed
by a file .cleanup that _cleanup.sh runs, and mounts lie below WORK."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import _lib
from _lib import LRUFS, SOURCE_DIR, WORK, check, fail, run, wait_for

STORE, VOLUME, CACHE = "/var/lib/lrufs", "/mnt/lrufs", "/mnt/lrufs/cache"  # as in deploy/kubernetes/base
USER = 1000


def image_root():
    """The files of the image, with the folders that volumes are mounted at."""
    root = os.path.join(WORK, "image")
    if not os.path.isdir(root):
        run(60, os.path.join(SOURCE_DIR, "deploy/image-root.sh"), LRUFS, root)
        for folder in (STORE, VOLUME, "/log"):
            os.makedirs(root + folder)
    return root


class Volumes:
    """The folders that the containers of a pod share. `volume` is a shared mount, as the kubelet's folder is."""

    def __init__(self, name):
        self.name = name
        self.dir = os.path.join(WORK, name)
        self.store = os.path.join(self.dir, "store")
        self.volume = os.path.join(self.dir, "volume")
        self.cache = os.path.join(self.volume, "cache")
        self.log = os.path.join(self.dir, "log")
        for folder in (self.dir, self.store, self.volume, self.log):  # prepare.sh makes self.cache
            os.mkdir(folder)
        os.chown(self.log, USER, USER)
        # Nothing of a container's own mounts is to reach the host: a private mount around, in which one is shared.
        run(10, "mount", "--bind", self.dir, self.dir)
        run(10, "mount", "--make-private", self.dir)
        run(10, "mount", "--bind", self.volume, self.volume)
        run(10, "mount", "--make-shared", self.volume)

    def logged(self, name):
        """Lines that the application has written to /log/NAME."""
        try:
            with open(os.path.join(self.log, name), encoding="utf-8") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def mounted(self):
        return self.cache in _lib.mount_points()

    def answers(self):
        """Does the mount answer, as seen on the host?"""
        seen = subprocess.run(["timeout", "5", "stat", "-f", "-c", "%T", self.cache], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, check=False)
        return seen.stdout.strip() == "fuseblk"  # by its magic number


def signal_namespace(pid, name):
    """A signal to all processes of a container, by the id of one."""
    wanted = os.readlink(f"/proc/{pid}/ns/pid")
    check(wanted != os.readlink("/proc/self/ns/pid"), "a container has a process namespace of its own")
    for other in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{other}/ns/pid") == wanted:
                os.kill(int(other), getattr(signal, f"SIG{name}"))


# --- namespaces -----------------------------------------------------------------------------------------------------

class Namespaces(Volumes):
    """Containers by unshare, bind mounts and chroot: own mount and process namespaces, the application's network is none."""

    kind = "namespaces"

    def __init__(self, name):
        _lib.need_root()
        _lib.need("unshare", "setpriv", "nsenter", "chroot", "busybox")
        self.image = image_root()
        super().__init__(name)
        self.number = 0

    def _root(self):
        self.number += 1
        root = os.path.join(self.dir, f"root{self.number}")
        os.mkdir(root)
        return root

    def sidecar(self, *arguments, before=None, store=None):
        """`before` is called with the process id before the program starts, such as to put it into a cgroup."""
        root = self._root()
        quoted = " ".join(map(shlex.quote, arguments))
        script = f"""set -e
            mount --bind {self.image} {root}; mount --make-private {root}
            mount --bind {store or self.store} {root}{STORE}
            mount --rbind {self.volume} {root}{VOLUME}  # with a mount that is there already, as runc does
            mount -t proc proc {root}/proc
            mount --rbind /dev {root}/dev; mount --make-rprivate {root}/dev
            chroot {root} ip link set lo up
            read -r go
            exec chroot {root} /usr/bin/lrufs {quoted}"""
        again = lambda: self.sidecar(*arguments, before=before, store=store)  # noqa: E731
        return Namespace(self, "sidecar", root, script, ["-m", "-p", "-n"], before, again)

    def prepare(self, script, environment):
        """An init container: root, without what makes mounts visible."""
        root = self._root()
        with open(os.path.join(self.dir, "prepare.sh"), "w", encoding="utf-8") as file:
            file.write(script)
        words = " ".join(shlex.quote(f"{k}={v}") for k, v in environment.items())
        return run(60, "unshare", "-m", "-p", "--fork", "--kill-child=KILL", "sh", "-c", f"""set -e
            mount --bind {self.image} {root}
            mount --bind {self.store} {root}{STORE}
            mount --rbind {self.volume} {root}{VOLUME}
            mount -t proc proc {root}/proc
            mount -t tmpfs tmp {root}/tmp
            mount --bind {self.dir} {root}/log
            exec chroot {root} /bin/env -i PATH=/usr/bin {words} /bin/sh /log/prepare.sh""")

    def application(self, script, user=USER):
        script_of_user = script
        root = self._root()
        quoted = shlex.quote(script)
        script = f"""set -e
            mount --bind {self.image} {root}; mount --make-private {root}
            mount --rbind {self.volume} {root}{VOLUME}; mount --make-rslave {root}{VOLUME}
            mount -o remount,bind,ro {root}{VOLUME}
            mount --bind {self.log} {root}/log
            mount -t proc proc {root}/proc
            mount -t tmpfs -o mode=755 dev {root}/dev; mknod -m 666 {root}/dev/null c 1 3; mknod -m 666 {root}/dev/zero c 1 5
            read -r go
            exec setpriv --no-new-privs chroot --userspec={user}:{user} --groups= {root} /bin/sh -c {quoted}"""
        return Namespace(self, "application", root, script, ["-m", "-p", "-n"], None, lambda: self.application(script_of_user, user), user)


class Namespace:
    def __init__(self, pod, role, root, script, namespaces, before, again, user=0):
        self.pod, self.role, self.root, self.again, self.user = pod, role, root, again, str(user)
        self.output = os.path.join(pod.dir, f"{os.path.basename(root)}.out")
        with open(self.output, "wb") as out:
            self.process = _lib.spawn(
                "setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, "--fork", "--kill-child=KILL", "--propagation", "unchanged",
                "sh", "-c", script, stdin=subprocess.PIPE, stdout=out, stderr=out)
        self.pid = wait_for(f"the first process of the {role}", 10, self._first)
        if before:
            before(self.pid)
        self.process.stdin.write(b"go\n")
        self.process.stdin.close()

    def _first(self):
        check(self.process.poll() is None, f"the {self.role} has ended: {self.told()}")
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            children = file.read().split()
        return int(children[0]) if children else None

    def told(self):
        with open(self.output, encoding="utf-8", errors="replace") as file:
            return file.read()

    def running(self):
        return self.process.poll() is None

    def _enter(self):
        return ["nsenter", "-t", str(self.pid), "-m", "-p", "-n", "-r", "-w", "-S", self.user, "-G", self.user, "--", "/bin/sh", "-c"]

    def run(self, command, seconds=30, ok=(0,)):
        return run(seconds, *self._enter(), command, ok=ok)

    def background(self, command):
        return _lib.spawn(*self._enter(), command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def signal_all(self, name):
        signal_namespace(self.pid, name)

    def kill(self, seconds=60):
        """The first process of a process namespace takes all others along."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait(seconds)

    def terminate(self, seconds):
        os.kill(self.pid, signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return fail(f"expected the {self.role} to end within {seconds} s; it runs")
