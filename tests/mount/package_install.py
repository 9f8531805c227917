#!/usr/bin/env python3
# ctest: long timeout=900
"""The packages on a bare Debian 12 (debootstrap): apt installs them with what they depend on, the program mounts there, and
after removing and purging them nothing of theirs is left. Needs the network of apt."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import contextlib
import glob
import os
import shutil
import subprocess
import _lib
import _package
from _lib import check, equal, step


def mirror():
    """Where apt gets Debian 12 from, on this machine."""
    with open("/etc/os-release", encoding="utf-8") as file:
        if "VERSION_CODENAME=bookworm" not in file.read():
            _lib.skip("this is no Debian 12, on which the package was built")
    for uri in _lib.run(60, "apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI)").split():
        if uri.rstrip("/").endswith("/debian"):
            return uri
    return _lib.skip("apt knows no mirror of Debian here")


def test():
    _package.need_tools()
    _lib.need_root()
    _lib.need("debootstrap", "chroot", "unshare")
    packages = _package.make(os.path.join(_lib.WORK, "packages"))[:2]
    root = os.path.join(_lib.WORK, "root")
    step("debootstrap")
    _lib.run(600, "debootstrap", "--variant=minbase", "bookworm", root, mirror())
    # apt as it is set up here: a proxy, say.
    for path in glob.glob("/etc/apt/apt.conf.d/*") + glob.glob("/etc/apt/sources.list*") + ["/etc/resolv.conf"]:
        if os.path.isfile(path) and "docker-clean" not in path:
            with contextlib.suppress(OSError):
                os.makedirs(os.path.dirname(root + path), exist_ok=True)
                shutil.copy(path, root + path)
    for path in packages:
        shutil.copy(path, root)
    names = [os.path.basename(path) for path in packages]

    def inside(seconds, script):
        """In a mount namespace of its own: what is mounted there ends with it."""
        whole = f"""set -eu; root=$1
        mount -t proc proc "$root/proc"; mount --bind /dev "$root/dev"; mount --bind /sys "$root/sys"
        exec chroot "$root" /bin/sh -euc {_quoted(script)}"""
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        return _lib.run(seconds, "unshare", "-m", "--propagation", "private", "/bin/sh", "-c", whole, "sh", root, env=environment)

    def files():
        skip = ("proc", "dev", "sys", "var/lib/dpkg", "var/lib/apt", "var/cache", "var/log", "tmp")
        found = set()
        for folder, folders, names in os.walk(root):
            inner = os.path.relpath(folder, root)
            folders[:] = [f for f in folders if os.path.normpath(os.path.join(inner, f)) not in skip]
            found.update(os.path.normpath(os.path.join(inner, name)) for name in names + folders)
        return found

    step("apt-get update")
    inside(300, "apt-get -q update")
    # What they depend on comes first, so that before and after can be compared.
    depends = ", ".join(_package.control(path, "Depends") for path in packages)
    needed = sorted({d.split("(")[0].split("|")[0].strip() for d in depends.split(",")})
    inside(600, "apt-get -q -y install --no-install-recommends fuse3 " + " ".join(needed))
    before = files()
    step("install")
    inside(300, f"apt-get -q -y install --no-install-recommends ./{names[0]} ./{names[1]}")
    equal("their state", ["ii", "ii"], inside(30, "dpkg-query -W -f '${db:Status-Abbrev}\\n' lrufs liblrufs-store-dev").split())
    equal("what dpkg finds changed", "", inside(60, "dpkg --verify lrufs liblrufs-store-dev"))
    check("etc/lrufs" in files(), "expected the folder /etc/lrufs")
    step("use, by mount(8)")
    out = inside(120, """mkdir /srv/cache
    mount -t lrufs -o size=64M /var/cache/c.lrufs /srv/cache; echo works > /srv/cache/file; cat /srv/cache/file
    lrufs umount /srv/cache; mount -t fuse.lrufs /var/cache/c.lrufs /srv/cache; cat /srv/cache/file; umount /srv/cache
    lrufs check /var/cache/c.lrufs; rmdir /srv/cache; rm /var/cache/c.lrufs""")
    check(out.splitlines()[:2] == ["works", "works"], f"expected the file twice, saw {out}")
    step("install again, remove, install, purge")
    install = f"apt-get -q -y install --reinstall --no-install-recommends ./{names[0]} ./{names[1]}"
    inside(300, install)
    inside(120, "apt-get -q -y remove lrufs liblrufs-store-dev")
    equal("what is left of the program", "no\n", inside(30, "command -v lrufs || echo no"))
    inside(300, install)
    inside(120, "apt-get -q -y purge lrufs liblrufs-store-dev")
    equal("files that were left", [], sorted(files() - before)[:20])
    equal("files that are missing", [], sorted(before - files())[:20])


def _quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


_lib.main(test)
