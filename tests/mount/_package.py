"""For the tests of packages: makes them, and looks into them."""
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
