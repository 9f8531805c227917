#!/usr/bin/env python3
# ctest: long timeout=1200
"""The installed package under a systemd that runs (process 1 of a container of podman): the service starts, is confined, goes
on after SIGKILL and over `systemctl restart` without an error for a program on the mount, and stops with everything on the disk; a line of /etc/fstab with x-systemd.automount mounts when it is first
used; removing the package stops its services. Needs the network of apt."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import json
import os
import shutil
import subprocess
import _lib
import _package
from _lib import check, equal, step

# A program that checks each of its calls, with a file open all the time.
CLIENT = """exec 9>>/srv/cache/held
i=0
until [ -e /root/stop ]; do
  i=$((i + 1))
  { echo $i >&9 && echo $i > /srv/cache/n && [ "$(cat /srv/cache/n)" = $i ] && [ $(wc -l < /srv/cache/held) = $i ]; } ||
    { echo "failed at $i" > /root/result; exit 1; }
done
echo "fine: $i rounds" > /root/result
"""
CONTAINERS = """[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
"""


def test():
    _package.need_tools()
    _lib.need_root()
    _lib.need("debootstrap", "chroot", "unshare", "podman", "runc")
    package = _package.make(os.path.join(_lib.WORK, "packages"))[0]
    root = os.path.join(_lib.WORK, "root")
    step("a Debian with systemd and the package")
    _package.bare_debian(root)
    shutil.copy(package, root)
    _package.inside(root, 700, "apt-get -q update; apt-get -q -y install --no-install-recommends systemd-sysv dbus fuse3 procps "
                    f"./{os.path.basename(package)}; apt-get clean")
    configuration = os.path.join(_lib.WORK, "containers.conf")
    _lib.write_file(configuration, CONTAINERS.encode())
    environment = {**os.environ, "CONTAINERS_CONF": configuration}
    storage = ("--root", os.path.join(_lib.WORK, "storage"), "--runroot", os.path.join(_lib.WORK, "runroot"), "--storage-driver", "vfs")

    def podman(seconds, *arguments, ok=(0,)):
        return _lib.run(seconds, "podman", *storage, *arguments, env=environment, ok=ok)

    name = f"lrufs-test-{os.getpid()}"
    try:
        podman(100, "run", "-d", "--name", name, "--privileged", "--systemd=always", "--network", "none", "--rootfs", root, "/sbin/init")

        def sh(script, seconds=60, ok=(0,)):
            return podman(seconds, "exec", name, "/bin/sh", "-euc", script, ok=ok)

        step("systemd runs")
        _lib.wait_for("systemd is up", 60, lambda: sh("systemctl is-system-running || true").strip() in ("running", "degraded"))
        step("the service")
        sh("mkdir -p /srv/cache /var/cache/lrufs; echo 'STORE=/var/cache/lrufs/c.lrufs\nMOUNT_POINT=/srv/cache\n"
           "OPTIONS=--size 64M -o allow_other' > /etc/lrufs/cache.conf; systemctl start lrufs@cache; findmnt /srv/cache; "
           "echo kept > /srv/cache/file")
        equal("state", "active", sh("systemctl is-active lrufs@cache").strip())
        facts = sh("grep -E '^(NoNewPrivs|Seccomp|CapPrm):' /proc/$(pgrep -x lrufs-worker)/status").split()
        equal("confined", ["CapPrm:", "0000000000000004", "NoNewPrivs:", "1", "Seccomp:", "2"], facts)
        check("has given up" in sh("journalctl -u lrufs@cache --no-pager"), "expected the journal to say that it is confined")
        step("killed, and started again, under a program that has a file open")
        _lib.write_file(os.path.join(root, "root/client.sh"), CLIENT.encode())
        podman(60, "exec", "-d", name, "/bin/sh", "/root/client.sh")

        def rounds():
            return int(sh("cat /srv/cache/n").strip() or 0)

        def main_process():
            return sh("systemctl show -p MainPID --value lrufs@cache").strip()

        def goes_on(script):
            before, process = rounds(), main_process()
            sh(script)
            _lib.wait_for("another process serves", 30, lambda: main_process() not in (process, "0"))
            _lib.wait_for("the program goes on", 30, lambda: rounds() > before)
            equal("mounts", "1", sh("grep -c ' /srv/cache ' /proc/self/mountinfo").strip())
            check("failed" not in sh("cat /root/result 2>&1 || true"), "the program saw an error")
        _lib.wait_for("the program runs", 30, lambda: sh("cat /srv/cache/n 2>&1 || true").strip().isdigit())
        device = sh("stat -c %d /srv/cache")
        for _ in range(5):
            goes_on("systemctl kill -s KILL --kill-who=main lrufs@cache")
        for _ in range(2):
            goes_on("systemctl restart lrufs@cache")
        step("new options, while it is mounted")
        sh("sed -i 's/--size 64M/--size 96M/' /etc/lrufs/cache.conf")
        goes_on("systemctl restart lrufs@cache")
        check(96 << 20 in json.loads(sh("lrufs stat --json /srv/cache"))["statistics"].values(), "expected the new size")
        equal("the mount", device, sh("stat -c %d /srv/cache"))
        equal("a file of before", "kept", sh("cat /srv/cache/file").strip())
        sh("touch /root/stop")
        _lib.wait_for("the program has ended", 30, lambda: os.path.exists(os.path.join(root, "root/result")))
        check(sh("cat /root/result").startswith("fine"), f"the program: {sh('cat /root/result')}")
        step("stopped")
        sh("systemctl stop lrufs@cache; ! findmnt /srv/cache; lrufs check /var/cache/lrufs/c.lrufs")
        equal("state", "inactive", sh("systemctl is-active lrufs@cache || true").strip())
        equal("processes that are left", "", sh("pgrep -x lrufs || true").strip())
        step("x-systemd.automount")
        sh("mkdir /srv/auto; echo '/var/cache/lrufs/auto.lrufs /srv/auto lrufs size=64M,noauto,x-systemd.automount 0 0' >> /etc/fstab; "
           "systemctl daemon-reload; systemctl start srv-auto.automount; ! findmnt -t fuse.lrufs /srv/auto")
        sh("echo auto > /srv/auto/file; findmnt -t fuse.lrufs /srv/auto; systemctl stop srv-auto.automount srv-auto.mount; "
           "! findmnt /srv/auto; lrufs check /var/cache/lrufs/auto.lrufs")
        step("removing the package stops it")
        sh("systemctl start lrufs@cache; cat /srv/cache/file")
        sh("cp /usr/bin/lrufs /root/; dpkg -r lrufs; ! findmnt /srv/cache; /root/lrufs check /var/cache/lrufs/c.lrufs", 90)
    except _lib.Failure:
        print(subprocess.run(["podman", *storage, "exec", name, "journalctl", "-u", "lrufs@cache", "--no-pager", "-n", "40"],
                             env=environment, capture_output=True, text=True, check=False, timeout=30).stdout)
        raise
    finally:
        subprocess.run(["podman", *storage, "rm", "-f", "-t", "5", name], env=environment, stdout=subprocess.DEVNULL, check=False, timeout=100)


_lib.main(test)
