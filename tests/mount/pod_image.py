#!/usr/bin/env python3
# ctest: timeout=5400 long
"""scripts/build-image.sh as somebody uses it who has nothing but this repository and an apt mirror: Debian 12 by debootstrap, libfuse
3.18 and lrufs built in it, the second stage of deploy/Containerfile. The image is small, runs as nobody special, has libgcc_s and
io_uring's library, and its program makes a mount by libfuse 3.18. Minutes on two cores. Skips without buildah and debootstrap."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import json
import os
import tarfile
import _lib
from _lib import MIB, SOURCE_DIR, WORK, check, equal, run, step


def build(archive):
    """In a process group of its own, which goes with the test, whatever ends that (_cleanup.sh)."""
    program = _lib.spawn("nice", os.path.join(SOURCE_DIR, "scripts/build-image.sh"), "--work", os.path.join(WORK, "work"),
                         "--archive", archive, start_new_session=True)
    with open(os.path.join(WORK, ".cleanup"), "w", encoding="ascii") as file:
        file.write(f"#!/bin/bash\nkill -KILL -- -{program.pid}\n")
        os.fchmod(file.fileno(), 0o755)
    equal("exit status of build-image.sh", 0, program.wait(5000))
    os.remove(os.path.join(WORK, ".cleanup"))


def test():
    archive, root = os.path.join(WORK, "image.tar"), os.path.join(WORK, "root")
    build(archive)
    step("built")
    equal("left behind beside the Debian base", ["debian-12.tar"], os.listdir(os.path.join(WORK, "work")))
    size = os.path.getsize(archive)
    check(size < 80 * MIB, f"expected a small image, saw {size} bytes")
    with tarfile.open(archive) as image:
        (manifest,) = json.load(image.extractfile("manifest.json"))
        equal("names", ["localhost/lrufs:latest"], manifest["RepoTags"])
        config = json.load(image.extractfile(manifest["Config"]))["config"]
        equal("user and program", ("65532:65532", ["/usr/bin/lrufs"]), (config["User"], config["Entrypoint"]))
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=image.extractfile(layer)) as files:
                files.extractall(root)
    libraries = os.path.join(root, "usr/lib/x86_64-linux-gnu")
    for name in ("libgcc_s.so.1", "liburing.so.2"):
        check(os.path.exists(os.path.join(libraries, name)), f"expected {name} in the image, saw {sorted(os.listdir(libraries))}")
    check(not os.path.exists(os.path.join(libraries, "libfuse3.so.3")), "expected libfuse to be linked in")
    store, mount_point = os.path.join(WORK, "store.lrufs"), os.path.join(WORK, "mnt")
    os.mkdir(mount_point)
    program = os.path.join(root, "usr/bin/lrufs")
    loader = [os.path.join(root, "usr/lib64/ld-linux-x86-64.so.2"), "--library-path", libraries, program]
    equal("version", run(20, _lib.LRUFS, "--version"), run(20, *loader, "--version"))
    run(30, program, "mount", "--size", "64M", "--log", _lib.DAEMON_LOG, store, mount_point)
    _lib.write_file(os.path.join(mount_point, "file"), b"content")
    told = run(20, program, "stat", mount_point)
    check("libfuse          3.18" in told, f"expected libfuse 3.18, saw {told}")
    run(30, program, "umount", mount_point)
    step(f"{size / MIB:.0f} MiB, with libfuse 3.18")


if _lib.PLAIN:
    _lib.skip("there is no program in a plain directory")
_lib.need_root()
_lib.need("buildah", "debootstrap")
_lib.main(test)
