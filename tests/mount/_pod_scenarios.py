"""What happens to a pod, for both kinds of containers of _pod.py. The arguments of the program, the commands of probes and hooks, the
options and the script of the init container are those of deploy/kubernetes/base."""

import fcntl
import json
import os
import random
import re
import shlex
import signal
import struct
import subprocess
import _kustomize
import _lib
from _lib import LRUFS, MIB, SOURCE_DIR, WORK, check, equal, run, step, wait_for
from _pod import CACHE, STORE

GRACE = 30

# Files of one line, each noted in /log once it is closed; what fails is noted, and the next number tried. It never
# ends, and does not write so much that anything is evicted.
WRITER = f"""
trap 'exit 0' TERM
n=0
while :; do
  n=$((n + 1))
  if {{ echo "content $n" > {CACHE}/f$n; }} 2>> /log/errors; then echo $n >> /log/closed; else echo $n >> /log/failed; sleep 0.05; fi
  if [ $((n % 10)) = 0 ]; then sleep 0.03; fi
done
"""
# Are all files there that the log says were closed? Prints what is not.
READER = f"""
while read -r n; do
  read -r line < {CACHE}/f$n && [ "$line" = "content $n" ] || echo "$n: $line"
done < /log/closed.then 2>&1 | head -n 5
"""


class Manifest:
    """A folder of deploy/kubernetes as rendered, with a smaller store."""

    def __init__(self, size="64M", folder="base"):
        objects = _kustomize.render(os.path.join(SOURCE_DIR, "deploy/kubernetes", folder))
        pod = next(o for o in objects if o["kind"] in ("StatefulSet", "DaemonSet"))["spec"]["template"]["spec"]
        self.daemon = next(c for c in pod["initContainers"] + pod["containers"] if c["name"] == "lrufs")
        data = [o["data"] for o in objects if o["kind"] == "ConfigMap"]
        self.options = {**next(d for d in data if "LRUFS_SIZE" in d), "LRUFS_SIZE": size}
        self.prepare = next(d["prepare.sh"] for d in data if "prepare.sh" in d)
        self.arguments = [re.sub(r"\$\((\w+)\)", lambda m: self.options[m[1]], a) for a in self.daemon["args"]]

    def command(self, kind):
        """Of a probe, or the hook."""
        holder = self.daemon["lifecycle"] if kind == "preStop" else self.daemon
        if "exec" in holder[kind]:
            return shlex.join(holder[kind]["exec"]["command"])
        get = holder[kind]["httpGet"]
        port = next(p["containerPort"] for p in self.daemon["ports"] if p["name"] == get["port"])
        return f"wget -q -O /dev/null http://127.0.0.1:{port}{get['path']}"


def start(pod, manifest, **kwargs):
    """As the kubelet does: prepare, then the daemon until its startup probe succeeds."""
    print(f"   lrufs {' '.join(manifest.arguments)}")
    pod.prepare(manifest.prepare, manifest.options)
    sidecar = pod.sidecar(*manifest.arguments, **kwargs)
    wait_for("the startup probe succeeds", 30, lambda: probe(sidecar, manifest.command("startupProbe")))
    return sidecar


def probe(container, command, seconds=5):
    check(container.running(), f"the container has ended: {container.told()}")
    try:
        container.run(f"timeout {seconds} {command}")
        return True
    except _lib.Failure:
        return False


def closed(pod):
    return len(pod.logged("closed"))


def all_there(pod, app):
    """All that the application had closed before this call, as the application sees it."""
    then = pod.logged("closed")
    with open(os.path.join(pod.log, "closed.then"), "w", encoding="ascii") as file:
        file.write("\n".join(then) + "\n")
    equal("what the application finds in its files", "", app.run(READER, seconds=120))
    return len(then)


def under_the_mount(pod):
    """What lies in the folder that the mount hides; call it when nothing is mounted."""
    equal("mode of the mount point, which nobody is to write to", 0o555, os.stat(pod.cache).st_mode & 0o7777)
    return os.listdir(pod.cache)


def heals(pod, rounds=3):
    """Killed and restarted, with an application that is never restarted."""
    manifest = Manifest()
    sidecar = start(pod, manifest)
    app = pod.application(WRITER)
    wait_for("the application has written 100 files", 30, lambda: closed(pod) >= 100)
    status = app.run("grep -E 'CapEff|CapPrm|Uid' /proc/1/status; ls /dev; [ -e /sys/class/net/eth0 ] && echo eth0; true")
    check(status.count("0000000000000000") == 2 and "Uid:\t1000" in status and "fuse" not in status and "eth0" not in status,
          f"expected an application without privileges, saw {status}")
    equal("written on the host, read by the application", "from the host", host_to_application(pod, app))
    for kind in ("readinessProbe", "livenessProbe"):
        check(probe(sidecar, manifest.command(kind)), f"{kind}: expected to succeed")
    first = app.pid
    for number in range(1, rounds + 1):
        failures, before = len(pod.logged("failed")), closed(pod)
        sidecar.kill()
        wait_for("the application sees that the mount is gone", 20, lambda: len(pod.logged("failed")) > failures)
        sidecar = sidecar.again()
        wait_for("the mount answers again", 30, pod.answers)
        check("detached a dead mount" in sidecar.told(), f"expected the dead mount to be detached, saw {sidecar.told()}")
        wait_for("the application goes on", 30, lambda: closed(pod) >= before + 100)
        there = all_there(pod, app)
        check(app.running() and app.pid == first, "the application was restarted")
        step(f"restart {number}: {there} files, {len(pod.logged('failed'))} attempts failed meanwhile")
    equal("descriptor that was opened before", "lost", descriptor_over_a_restart(pod, app, sidecar))
    sidecar = pod.current
    app.kill()
    equal("exit status", 0, sidecar.terminate(GRACE))
    equal("what was written beside the mount while it was missing", [], under_the_mount(pod))
    run(60, LRUFS, "check", os.path.join(pod.store, "cache.lrufs"))


def worker_dies(pod, rounds=5):
    """The process that serves is killed, as by a memory limit: the container goes on, and the application sees nothing of it."""
    sidecar = start(pod, Manifest())
    app = pod.application(WRITER)
    wait_for("the application has written 100 files", 30, lambda: closed(pod) >= 100)
    for _ in range(rounds):
        before, worker = closed(pod), _lib.child_named(sidecar.pid, "lrufs-worker")
        os.kill(worker, signal.SIGKILL)
        wait_for("another worker serves", 20, lambda: _lib.child_named(sidecar.pid, "lrufs-worker") not in (None, worker))
        wait_for("the application goes on", 30, lambda: closed(pod) >= before + 100)
        check(sidecar.running(), f"the container has ended: {sidecar.told()}")
    equal("attempts of the application that failed", [], pod.logged("failed"))
    # The first process of a container has to bury all who die in it.
    wait_for("no dead process is left", 10, lambda: all(_lib.alive(pid) for pid in _lib.children(sidecar.pid)))
    step(f"{rounds} deaths, {all_there(pod, app)} files")
    app.kill()
    equal("exit status", 0, sidecar.terminate(GRACE))
    run(60, LRUFS, "check", os.path.join(pod.store, "cache.lrufs"))


def host_to_application(pod, app):
    _lib.write_file(os.path.join(pod.cache, "host"), b"from the host\n")
    return app.run(f"cat {CACHE}/host").strip()


def descriptor_over_a_restart(pod, app, sidecar):
    """What the documents say is lost: an open descriptor does not come back, the same path does."""
    script = f"""exec 3< {CACHE}/host; echo opened > /log/opened; until [ -e /log/restarted ]; do sleep 0.05; done
                 if cat <&3 > /dev/null 2>&1; then echo kept; else cat {CACHE}/host > /dev/null && echo lost; fi"""
    holder = app.background(script)
    wait_for("the descriptor is open", 20, lambda: pod.logged("opened"))
    sidecar.kill()
    pod.current = sidecar.again()
    wait_for("the mount answers again", 30, pod.answers)
    with open(os.path.join(pod.log, "restarted"), "w", encoding="ascii"):
        pass
    return holder.communicate(timeout=30)[0].strip()


def write_until_error(folder, name):
    rng = random.Random(name)
    try:
        for number in range(1_000_000):
            _lib.write_file(os.path.join(folder, f"{name}-{number}"), b"x" * rng.randrange(40_000))
    except OSError:
        os._exit(0)


def evicts(pod, rounds):
    """Killed while it evicts, with writers in the folder: one of its threads waits in the kernel for the lock of a folder, which a writer
    has who waits for an answer. The guard process, which lives until the last thread of the first process is gone, ends that."""
    manifest = Manifest("16M")
    sidecar = start(pod, manifest)
    for number in range(rounds):
        writers = [_lib.spawn_function(write_until_error, pod.cache, f"r{number}p{n}") for n in range(6)]
        wait_for("files are evicted", 30, lambda: json.loads(run(20, LRUFS, "stat", "--json", pod.cache))["statistics"]["evicted_objects"] > 300)
        sidecar.kill(20)
        for writer in writers:
            equal("exit status of a writer", 0, writer.wait(20))
        sidecar = sidecar.again()
        wait_for("the mount answers again", 30, pod.answers)
    equal("exit status", 0, sidecar.terminate(GRACE))
    run(60, LRUFS, "check", os.path.join(pod.store, "cache.lrufs"))
    step(f"killed {rounds} times while it evicts")


def stops(pod):
    """SIGTERM while the application is still inside: within the grace period, and everything is on the disk."""
    manifest = Manifest()
    sidecar = start(pod, manifest)
    # It has a file open and its folder is in the mount; as in a pod whose application does not end.
    app = pod.application(f"cd {CACHE}; exec 3> held; {WRITER}")
    wait_for("the application has written 200 files", 30, lambda: closed(pod) >= 200)
    sidecar.run(manifest.command("preStop"))
    # What comes after the hook's checkpoint has to be on the disk, too.
    then = closed(pod)
    wait_for("the application has written 50 files more", 30, lambda: closed(pod) >= then + 50)
    before = pod.logged("closed")
    equal("exit status of the sidecar", 0, sidecar.terminate(GRACE))
    wait_for("the application sees that the mount is gone", 20, lambda: pod.logged("failed"))
    check(not pod.mounted(), "expected the mount to be gone, saw it")
    equal("written beside the mount while it was missing", [], under_the_mount(pod))
    app.kill()
    store, mount_point = os.path.join(pod.store, "cache.lrufs"), os.path.join(WORK, "after")
    os.makedirs(mount_point, exist_ok=True)
    run(60, LRUFS, "check", store)
    # As after a power cut at this moment.
    run(60, LRUFS, "mount", "--from-checkpoint", "--log", _lib.DAEMON_LOG, store, mount_point)
    for name in before:
        equal(f"f{name}", f"content {name}\n".encode(), _lib.read_file(os.path.join(mount_point, f"f{name}")))
    run(60, LRUFS, "umount", mount_point)
    step(f"ended in time, with {len(before)} files on the disk")


def hangs(pod):
    """A daemon that hangs: the probes fail, and succeed once it goes on."""
    manifest = Manifest()
    sidecar = start(pod, manifest)
    sidecar.signal_all("STOP")
    try:
        for kind in ("readinessProbe", "livenessProbe"):
            check(not probe(sidecar, manifest.command(kind), 1), f"{kind} of a daemon that hangs: expected to fail")
    finally:
        sidecar.signal_all("CONT")
    for kind in ("readinessProbe", "livenessProbe"):
        wait_for(f"{kind} succeeds again", 20, lambda k=kind: probe(sidecar, manifest.command(k)))
    equal("exit status", 0, sidecar.terminate(GRACE))
    # Unmounted, the path is there, and no probe may take it for the mount.
    check(not pod.mounted(), "expected nothing to be mounted")
    out = subprocess.run([LRUFS, "stat", pod.cache], capture_output=True, text=True, check=False)
    equal("the probe's command on a folder that is no mount", 1, out.returncode)
    step("probes fail while it hangs")


def seeded(pod):
    """A new store begins with an archive; one that is there is left alone; the root belongs to whom the options say."""
    manifest = Manifest()
    folder = os.path.join(WORK, "seed")
    os.makedirs(os.path.join(folder, "data"))
    _lib.write_file(os.path.join(folder, "data/first"), b"from the seed")
    run(30, "tar", "-C", folder, "-cf", os.path.join(pod.dir, "seed.tar"), ".")
    script = manifest.prepare.replace("/seed/seed.tar", "/log/seed.tar")  # where prepare has pod.dir
    check(script != manifest.prepare, "prepare.sh: expected /seed/seed.tar")
    # An earlier start was interrupted.
    _lib.write_file(os.path.join(pod.store, "cache.lrufs.new"), b"half a store")
    pod.prepare(script, manifest.options)
    equal("files beside the store", ["cache.lrufs"], os.listdir(pod.store))
    sidecar = pod.sidecar(*manifest.arguments)
    wait_for("the mount answers", 30, pod.answers)
    app = pod.application(f"cat {CACHE}/data/first > /log/read; echo more > {CACHE}/more && echo done > /log/closed; sleep 600")
    wait_for("the application has written", 20, lambda: pod.logged("closed"))
    equal("read by the application", ["from the seed"], pod.logged("read"))
    root = os.stat(pod.cache)
    equal("owner and mode of the root", (1000, 1000, 0o775), (root.st_uid, root.st_gid, root.st_mode & 0o7777))
    # The pod comes again, with the dead mount of the last one.
    sidecar.kill()
    pod.prepare(script, manifest.options)
    sidecar = sidecar.again()
    wait_for("the mount answers again", 30, pod.answers)
    equal("read by the application", "more\n", app.run(f"cat {CACHE}/more"))
    app.kill()
    equal("exit status", 0, sidecar.terminate(GRACE))
    step("seeded once")


def shared(pod):
    """overlays/node-cache: the daemon's pod, and two pods of other users, one of which was there before the daemon."""
    manifest = Manifest(folder="overlays/node-cache")
    first = pod.application(f"until [ -e {CACHE}/second ]; do sleep 0.05; done; cat {CACHE}/second > /log/read; sleep 600")
    sidecar = start(pod, manifest)
    second = pod.application(f"umask 022; echo from 2000 > {CACHE}/second; sleep 600", user=2000)
    wait_for("the first pod reads what the second one wrote", 30, lambda: pod.logged("read"))
    equal("read by the first pod", ["from 2000"], pod.logged("read"))
    status = first.run(f"exec 2> /dev/null; rm {CACHE}/second; echo $?; (echo more >> {CACHE}/second); echo $?; cat {CACHE}/second", ok=None)
    check(status == "1\n1\nfrom 2000\n", f"expected another's file to be readable only, saw {status}")
    denied = first.run(f"exec 2> /dev/null; (echo all > {CACHE}/.lrufs/evict); echo $?", ok=None)
    check(denied == "1\n", f"expected the control folder to take no commands of users, saw {denied}")
    equal("what the owner does", "", second.run(f"rm {CACHE}/second"))
    first.kill()
    second.kill()
    equal("exit status", 0, sidecar.terminate(GRACE))
    step("shared by two users")


class Disk:
    """A volume: an ext4 of `megabytes` in a file, as the folder `store` of a pod."""

    def __init__(self, pod, megabytes):
        self.pod = pod
        self.image = os.path.join(pod.dir, "disk.img")
        with open(self.image, "wb") as file:
            file.truncate(megabytes * MIB)
        run(30, "mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-O", "^has_journal", "-E", "nodiscard", self.image)
        self.attach()

    def attach(self):
        done = subprocess.run(["mount", "-o", "loop", self.image, self.pod.store], capture_output=True, text=True, check=False)
        if done.returncode:
            _lib.skip(f"no loop device: {done.stderr.strip()}")

    def tear(self):
        """From now on nothing can be read from it or written to it, as if the device were gone (EXT4_IOC_SHUTDOWN)."""
        fd = os.open(self.pod.store, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, 0x8004587D, struct.pack("I", 2))
        finally:
            os.close(fd)

    def detach(self):
        wait_for("the volume is unmounted", 20,
                 lambda: subprocess.run(["umount", self.pod.store], capture_output=True, check=False).returncode == 0)


def volume_full(pod):
    """A volume smaller than the store's bound: older files make room, no error reaches the application."""
    Disk(pod, 24)
    manifest = Manifest("64M")
    sidecar = start(pod, manifest)
    app = pod.application(f"""
        i=0; while [ $i -lt 60 ]; do i=$((i+1)); dd if=/dev/zero of={CACHE}/big$i bs=1M count=1 2> /dev/null || echo $i >> /log/failed; echo $i >> /log/closed; done
        sleep 600""")
    wait_for("60 MiB are written to a volume of 24 MiB", 60, lambda: closed(pod) >= 60)
    equal("writes that failed", [], pod.logged("failed"))
    check(probe(sidecar, manifest.command("livenessProbe")), "the liveness probe: expected to succeed")
    equal("size of the last file", f"{MIB}\n", app.run(f"wc -c < {CACHE}/big60"))
    app.kill()
    equal("exit status", 0, sidecar.terminate(GRACE))
    run(60, LRUFS, "check", os.path.join(pod.store, "cache.lrufs"))
    step("a full volume evicts")


def volume_vanished(pod, **kwargs):
    """The volume is not there at the start; and it gives nothing back any more while it is mounted."""
    disk = Disk(pod, 64)
    manifest = Manifest("32M")
    pod.prepare(manifest.prepare, manifest.options)
    disk.detach()
    os.rmdir(pod.store)
    missing = os.path.join(pod.dir, "nowhere")
    os.mkdir(missing)
    os.chmod(missing, 0o555)
    arguments = [a.replace(STORE, f"{STORE}/volume") for a in manifest.arguments]
    sidecar = pod.sidecar(*arguments, store=missing, **kwargs)
    check(sidecar.wait(GRACE) == 1 and "does not exist" in sidecar.told(),
          f"a start without the volume: expected a message and exit status 1, saw {sidecar.told()}")
    os.mkdir(pod.store)
    disk.attach()
    sidecar = pod.sidecar(*manifest.arguments, **kwargs)
    wait_for("the mount answers", 30, pod.answers)
    app = pod.application(f"""
        echo kept > {CACHE}/kept; sync {CACHE}/kept; echo kept >> /log/closed
        until [ -e /log/gone ]; do sleep 0.05; done
        i=0; until [ -e /log/failed ]; do i=$((i+1)); {{ dd if=/dev/zero of={CACHE}/x$i bs=1M count=1 2> /dev/null && sync {CACHE}/x$i; }} || echo $i >> /log/failed; done
        sleep 600""")
    wait_for("the application has written", 20, lambda: closed(pod))
    disk.tear()
    with open(os.path.join(pod.log, "gone"), "w", encoding="ascii"):
        pass
    wait_for("the application gets an error", 60, lambda: pod.logged("failed"))
    wait_for("the liveness probe fails", 30, lambda: not probe(sidecar, manifest.command("livenessProbe")))
    app.kill()
    equal("exit status of a daemon whose volume has gone", 1, sidecar.terminate(GRACE))
    check(not pod.mounted(), "expected no mount to be left")
    step("a volume that vanished is told")


def memory(pod, megabytes, **kwargs):
    """128 MiB for the daemon, a store of 2 GiB, and `megabytes` written and read through it by the application."""
    manifest = Manifest("2G")
    sidecar = start(pod, manifest, **kwargs)
    app = pod.application(f"""
        i=0; while [ $i -lt {megabytes // 16} ]; do
          i=$((i + 1))
          dd if=/dev/zero of={CACHE}/$i bs=1M count=16 2> /dev/null && cat {CACHE}/$((i > 40 ? i - 40 : i)) | wc -c >> /log/read || echo $i >> /log/failed
          echo $i >> /log/closed
        done; sleep 600""")
    wait_for(f"{megabytes} MiB are written", 600, lambda: closed(pod) >= megabytes // 16 or not sidecar.running())
    check(sidecar.running(), f"the sidecar has ended: {sidecar.told()}")
    equal("requests that failed", [], pod.logged("failed"))
    equal("sizes that were read", {str(16 * MIB)}, set(pod.logged("read")))
    return sidecar, app
