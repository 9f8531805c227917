#!/usr/bin/env python3
# ctest: long serial timeout=900
"""git clone, make and git again on a supervised mount whose worker is killed once a second: the same result as without."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import hashlib
import os
import threading
import _lib
import _takeover
from _lib import Mount, check, equal, step

SOURCES = 60
ROUNDS = int(os.environ.get("LRUFS_TEST_ROUNDS") or "5")


def make_origin(origin):
    os.makedirs(origin)
    names = [f"part{n:02}" for n in range(SOURCES)]
    for n, name in enumerate(names):
        body = "\n".join(f"static int f{i}(int x) {{ return x * {i + n} + {n}; }}" for i in range(300))
        calls = " + ".join(f"f{i}(x)" for i in range(300))
        _lib.write_file(os.path.join(origin, name + ".c"), f"{body}\nint {name}(int x) {{ return {calls}; }}\n".encode())
    main = "\n".join(f"int {name}(int);" for name in names) + "\n#include <stdio.h>\nint main(void) { printf(\"%d\\n\", " + \
        " + ".join(f"{name}({n})" for n, name in enumerate(names)) + "); return 0; }\n"
    _lib.write_file(os.path.join(origin, "main.c"), main.encode())
    _lib.write_file(os.path.join(origin, "Makefile"), b"OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))\nprogram: $(OBJECTS)\n"
                                                      b"\tcc -o $@ $(sort $(OBJECTS))\n%.o: %.c\n\tcc -O1 -c -o $@ $<\n")
    git = ("git", "-C", origin, "-c", "user.name=t", "-c", "user.email=t@example.org")
    _lib.run(60, "git", "init", "-q", origin)
    _lib.run(60, *git, "add", "-A")
    _lib.run(60, *git, "commit", "-q", "-m", "all")


def work(origin, target):
    """Returns a digest of all that came out."""
    _lib.run(300, "git", "clone", "-q", "--no-hardlinks", origin, target)
    _lib.run(600, "make", "-s", "-j2", "-C", target)
    equal("git status", "?? program", "\n".join(line for line in _lib.run(60, "git", "-C", target, "status", "--short").split("\n")
                                                if line and not line.endswith(".o")))
    _lib.run(60, "git", "-C", target, "fsck", "--full")
    _lib.run(60, "git", "-C", target, "gc", "-q")
    digest = hashlib.sha256(_lib.run(60, os.path.join(target, "program")).encode())
    for name in sorted(os.listdir(target)):
        if name.endswith((".o", ".c")):
            digest.update(name.encode() + _lib.read_file(os.path.join(target, name)))
    return digest.hexdigest()


def test():
    if _lib.PLAIN:
        _lib.skip("there is no daemon on a plain directory")
    _lib.need("git", "make", "cc")
    origin = os.path.join(_lib.WORK, "origin")
    make_origin(origin)
    expected = work(origin, os.path.join(_lib.WORK, "plain"))
    mount = Mount(size="1G", options=("--supervise",))
    mount.mount()
    if not _takeover.statistics(mount)["supervised"]["takeover"]:
        _lib.skip("this kernel does not send requests again")
    done = threading.Event()
    kills = []

    def kill():
        while not done.wait(1.0):
            kills.append(_takeover.kill_worker(mount.pid))
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for number in range(ROUNDS):
            equal("what came out", expected, work(origin, mount.path(f"round{number}")))
    finally:
        done.set()
        killer.join()
    step(f"{ROUNDS} rounds, {len(kills)} kills")
    check(len(kills) > 1, "expected some kills meanwhile")
    mount.check()


_lib.main(test)
