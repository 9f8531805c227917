#!/usr/bin/env python3
# ctest: long timeout=1200
"""The installed package under a systemd that runs (process 1 of a container of podman): the service starts, is confined, heals
after SIGKILL, and stops with everything on the disk; a line of /etc/fstab with x-systemd.automount mounts when it is first
used; removing the package stops its services. Needs the network of apt."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import os
import shutil
import subprocess
import _lib
import _package
from _lib import check, equal, step

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
        facts = sh("pid=$(systemctl show -p MainPID --value lrufs@cache); grep -E '^(NoNewPrivs|Seccomp|CapPrm):' /proc/$pid/status").split()
        equal("confined", ["CapPrm:", "0000000000000004", "NoNewPrivs:", "1", "Seccomp:", "2"], facts)
        check("has given up" in sh("journalctl -u lrufs@cache --no-pager"), "expected the journal to say that it is confined")
        step("killed")
        sh("systemctl kill -s KILL --kill-who=main lrufs@cache")
        _lib.wait_for("the service is back, with its file", 30, lambda: "kept" in sh("cat /srv/cache/file 2>&1 || true"))
        equal("mounts", "1", sh("grep -c ' /srv/cache ' /proc/self/mountinfo").strip())
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
    finally:
        subprocess.run(["podman", *storage, "rm", "-f", "-t", "5", name], env=environment, stdout=subprocess.DEVNULL, check=False, timeout=100)


_lib.main(test)
