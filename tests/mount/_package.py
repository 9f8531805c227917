"""For the tests of packages: makes them, and looks into them."""
import contextlib
import glob
import os
import re
import shutil
import tarfile
import _lib
from _lib import check, equal

BUILD = os.environ.get("LRUFS_BUILD_DIR") or os.path.join(_lib.SOURCE_DIR, "build/release")


def need_tools():
    _lib.need("cpack", "dpkg-deb", "dpkg-shlibdeps")
    if not os.path.exists(os.path.join(BUILD, "CPackConfig.cmake")):
        _lib.skip(f"no CPackConfig.cmake in {BUILD}")
    with open(os.path.join(BUILD, "CMakeCache.txt"), encoding="utf-8") as file:
        if not re.search(r"(?m)^CMAKE_BUILD_TYPE:\w+=Release$", file.read()):
            _lib.skip("not a release build")


def static_fuse():
    return "libfuse3" not in _lib.run(30, "ldd", _lib.LRUFS)


def make(folder, build=BUILD, seconds=300):
    """Runs cpack; returns the paths of lrufs' package, of liblrufs-store-dev's, and of the archive."""
    os.makedirs(folder)
    out = _lib.run(seconds, "cpack", "--config", os.path.join(build, "CPackConfig.cmake"), "-B", folder, cwd=folder)
    check("warning" not in out.lower(), f"cpack: expected no warning, saw {out}")
    shutil.rmtree(os.path.join(folder, "_CPack_Packages"))
    names = sorted(os.listdir(folder))
    patterns = [r"liblrufs-store-dev_[0-9.]+-1_\w+\.deb", r"lrufs-[0-9.]+-linux-\w+\.tar\.gz", r"lrufs_[0-9.]+-1_\w+\.deb"]
    equal("files that cpack made", len(patterns), len(names))
    for pattern, name in zip(patterns, names):
        check(re.fullmatch(pattern, name), f"cpack: expected a file {pattern}, saw {names}")
    development, archive, program = (os.path.join(folder, name) for name in names)
    return program, development, archive


def members(path):
    """The archive's members by their names, without the ./ before them."""
    with tarfile.open(path) as archive:
        return {re.sub(r"^\./", "", m.name).rstrip("/"): m for m in archive.getmembers()}


def deb_members(path, folder):
    plain = os.path.join(folder, os.path.basename(path) + ".tar")
    with open(plain, "wb") as out:
        _lib.run(60, "dpkg-deb", "--fsys-tarfile", path, stdout=out, stderr=None)
    found = members(plain)
    os.unlink(plain)
    return found


def control(path, field):
    return _lib.run(30, "dpkg-deb", "-f", path, field).strip()


# --- a bare Debian ---------------------------------------------------------------------------------------------------

def mirror():
    """Where apt gets Debian 12 from, on this machine."""
    with open("/etc/os-release", encoding="utf-8") as file:
        if "VERSION_CODENAME=bookworm" not in file.read():
            _lib.skip("this is no Debian 12, on which the package was built")
    for uri in _lib.run(60, "apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI)").split():
        if uri.rstrip("/").endswith("/debian"):
            return uri
    return _lib.skip("apt knows no mirror of Debian here")


def bare_debian(root):
    """By debootstrap, with apt as it is set up here (a proxy, say)."""
    _lib.run(600, "debootstrap", "--variant=minbase", "bookworm", root, mirror())
    for path in glob.glob("/etc/apt/apt.conf.d/*") + glob.glob("/etc/apt/sources.list*") + ["/etc/resolv.conf"]:
        if os.path.isfile(path) and "docker-clean" not in path:
            with contextlib.suppress(OSError):
                os.makedirs(os.path.dirname(root + path), exist_ok=True)
                shutil.copy(path, root + path)


def inside(root, seconds, script):
    """Runs a script there, in a mount namespace of its own: what is mounted there ends with it."""
    quoted = "'" + script.replace("'", "'\\''") + "'"
    whole = f"""set -eu; root=$1
    mount -t proc proc "$root/proc"; mount --bind /dev "$root/dev"; mount --bind /sys "$root/sys"
    exec chroot "$root" /bin/sh -euc {quoted}"""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return _lib.run(seconds, "unshare", "-m", "--propagation", "private", "/bin/sh", "-c", whole, "sh", root, env=environment)
