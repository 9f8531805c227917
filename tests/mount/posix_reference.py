#!/usr/bin/env python3
# ctest: timeout=400
"""The conformance tests on other file systems of this kernel, a tmpfs and an ext4, so that they are known to be right where
lrufs is not concerned. What they themselves compare with tmpfs is left out on tmpfs. LRUFS_LONG=1 for all of them."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import os
import _lib
import _posix
from _lib import check, step

TESTS = ["names", "attr", "data", "more", "stress", "matrix", "random"]
# They compare with tmpfs themselves.
LEFT_OUT = {"tmpfs": {"matrix", "random"}, "ext4": set()}
if os.environ.get("LRUFS_LONG") != "1":
    TESTS = [name for name in TESTS if name not in ("names", "data")]
SMALLER = {"LRUFS_STRESS_OPS": "1500", "LRUFS_MATRIX_CASES": "1000", "LRUFS_RANDOM_OPS": "2000"}


def ext4():
    image, path = os.path.join(_lib.WORK, "ext4.image"), os.path.join(_lib.WORK, "ext4")
    with open(image, "wb") as file:
        file.truncate(1 << 30)
    os.mkdir(path)
    _lib.run(60, "mkfs.ext4", "-q", "-F", image)
    # The loop device goes away with the mount.
    _lib.run(60, "mount", "-o", "loop,noatime,nosuid,nodev", image, path)
    return path


def test():
    _lib.need_root()
    _lib.need("mkfs.ext4")
    folders = (("tmpfs", _posix.tmpfs(options="noatime,nosuid,nodev,size=1G")), ("ext4", ext4()))
    step("mounted")
    for kind, folder in folders:
        for name in TESTS:
            if name in LEFT_OUT[kind]:
                continue
            environment = {**os.environ, **SMALLER, "LRUFS_TEST_DIR": folder}
            # Into a file: the watch beside each test keeps a pipe open until its deadline.
            with open(os.path.join(_lib.WORK, "out"), "w+", encoding="utf-8", errors="replace") as file:
                _lib.run(180, os.path.join(_lib.TESTS_DIR, f"posix_{name}.py"), ok=None, env=environment, stdout=file)
                file.seek(0)
                out = file.read()
            check(out.rstrip().endswith("passed"), f"posix_{name}.py on {kind}:\n{out[-3000:]}")
            step(f"{name} on {kind}")


_lib.main(test)
