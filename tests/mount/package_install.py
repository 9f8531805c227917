#!/usr/bin/env python3
# ctest: long timeout=900
"""The packages on a bare Debian 12 (debootstrap): apt installs them with what they depend on, the program mounts there, and
after removing and purging them nothing of theirs is left. Needs the network of apt."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import os
import shutil
import _lib
import _package
from _lib import check, equal, step


def test():
    _package.need_tools()
    _lib.need_root()
    _lib.need("debootstrap", "chroot", "unshare")
    packages = _package.make(os.path.join(_lib.WORK, "packages"))[:2]
    root = os.path.join(_lib.WORK, "root")
    step("debootstrap")
    _package.bare_debian(root)
    for path in packages:
        shutil.copy(path, root)
    names = [os.path.basename(path) for path in packages]

    def inside(seconds, script):
        return _package.inside(root, seconds, script)

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


_lib.main(test)
