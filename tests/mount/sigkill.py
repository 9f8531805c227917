#!/usr/bin/env python3
# ctest: timeout=2400
"""SIGKILL of the daemon at random moments, 100 rounds (1,000 with LRUFS_LONG=1): several processes copy into the mount, the daemon is killed,
`lrufs check` finds nothing in the killed store, a new mount has everything: each file whose close() had returned is there
and whole, each rename, unlink, mkdir, symlink, link and xattr that had returned is in effect.

Each writer notes every call that returned in a log outside of the mount, and (first) what it is about to do: only the very
last operation may be seen or not. A publish that is not one atomic step, pages reused before their time, data that are
still in the daemon's memory when close() returns, or a live meta that is trusted wrongly: all make this fail.
LRUFS_KILL_ROUNDS, LRUFS_TEST_SEED."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import os
import random
import shutil
import signal
import time
import _lib
from _evict import content
from _lib import Mount, check, equal, fail, step, KIB, MIB

ROUNDS = int(os.environ.get("LRUFS_KILL_ROUNDS", 1000 if os.environ.get("LRUFS_LONG") == "1" else 100))
PROCESSES = 3


class Log:
    """Notes of one writer. "b" lines are written before an operation, "a" lines after it has returned."""

    def __init__(self, path):
        self.path = path
        self.fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)

    def before(self, *words):
        os.write(self.fd, ("b " + " ".join(map(str, words)) + "\n").encode())

    def after(self):
        os.write(self.fd, b"a\n")

    @staticmethod
    def operations(path):
        """[(words, returned)]"""
        found = []
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.startswith("b "):
                    found.append([line.split()[1:], False])
                else:
                    found[-1][1] = True
        return found


def write_all_the_time(top, log_path, seed):
    """Random changes below `top` until the daemon is gone."""
    rng = random.Random(seed)
    log = Log(log_path)
    files, number = [], 0

    def do(words, call):
        log.before(*words)
        call()
        log.after()

    try:
        do(("mkdir", "."), lambda: os.mkdir(top))
        while True:
            number += 1
            kind = rng.choice(("write",) * 8 + ("replace",) * 3 + ("rename", "unlink", "link", "symlink", "mkdir", "xattr", "fsync",
                                                                    "truncate", "rewrite"))
            path = lambda name: os.path.join(top, name)  # noqa: E731
            size = rng.choice((0, 1, 100, 3000, 4096, 20_000, 100_000, 400_000))
            if kind in ("write", "fsync"):
                name = f"f{number}"

                def write(name=name, number=number, size=size, kind=kind):
                    fd = os.open(path(name), os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o644)
                    rest = memoryview(content(number, size))
                    while rest:  # a write that was cut off by the kill returns less
                        rest = rest[os.write(fd, rest[:130_000]):]
                    if kind == "fsync":
                        os.fsync(fd)
                    os.close(fd)
                do(("write", name, number, size), write)
                files.append(name)
            elif kind in ("replace", "rewrite") and files:
                name = rng.choice(files)

                def replace(name=name, number=number, size=size):
                    _lib.write_file(path("tmp"), content(number, size))
                    os.rename(path("tmp"), path(name))
                do(("replace", name, number, size), replace)
            elif kind == "rename" and files:
                old = files.pop(rng.randrange(len(files)))
                do(("rename", old, f"r{number}"), lambda: os.rename(path(old), path(f"r{number}")))
                files.append(f"r{number}")
            elif kind == "unlink" and files:
                name = files.pop(rng.randrange(len(files)))
                do(("unlink", name), lambda: os.unlink(path(name)))
            elif kind == "link" and files:
                name = rng.choice(files)
                do(("link", name, f"l{number}"), lambda: os.link(path(name), path(f"l{number}")))
            elif kind == "symlink":
                do(("symlink", f"target{number}", f"s{number}"), lambda: os.symlink(f"target{number}", path(f"s{number}")))
            elif kind == "mkdir":
                do(("mkdir", f"d{number}"), lambda: os.mkdir(path(f"d{number}")))
            elif kind == "xattr" and files:
                name = rng.choice(files)
                do(("xattr", name, number), lambda: os.setxattr(path(name), "user.n", b"%d" % number))
            elif kind == "truncate" and files:
                name = rng.choice(files)
                do(("truncate", name, size), lambda: os.truncate(path(name), size))
    except OSError:
        os._exit(0)  # the daemon is gone


class Node:
    def __init__(self, data):
        self.data, self.xattr = data, None


def expected_tree(operations):
    """name -> Node, ("link", target) or ("dir",), after these operations."""
    tree = {}
    for words in operations:
        kind, *rest = words
        if kind == "mkdir":
            tree[rest[0]] = ("dir",)
        elif kind == "write":
            tree[rest[0]] = Node(content(int(rest[1]), int(rest[2])))
        elif kind == "replace":
            tree[rest[0]] = Node(content(int(rest[1]), int(rest[2])))
        elif kind == "rename":
            tree[rest[1]] = tree.pop(rest[0])
        elif kind == "unlink":
            del tree[rest[0]]
        elif kind == "link":
            tree[rest[1]] = tree[rest[0]]
        elif kind == "symlink":
            tree[rest[1]] = ("link", rest[0])
        elif kind == "xattr":
            tree[rest[0]].xattr = rest[1].encode()
        elif kind == "truncate":
            node, size = tree[rest[0]], int(rest[1])
            node.data = node.data[:size].ljust(size, b"\0")
    return tree


def differences(top, tree, open_ended):
    """What is wrong in the folder; names in `open_ended` were in the middle of something."""
    found = []
    if "." not in tree:
        return [] if not os.path.exists(top) or "." in open_ended else [f"{top}: expected to be absent"]
    if not os.path.isdir(top):
        return [f"{top}: expected a folder"]
    wanted = set(tree) - {"."}
    seen = set(os.listdir(top))
    for name in sorted(wanted - seen - open_ended):
        found.append(f"{name}: expected to be there, is missing")
    for name in sorted(seen - wanted - open_ended):
        found.append(f"{name}: expected to be absent, is there")
    for name in sorted((wanted & seen) - open_ended):
        path, node = os.path.join(top, name), tree[name]
        if node == ("dir",):
            if not os.path.isdir(path):
                found.append(f"{name}: expected a folder")
        elif isinstance(node, tuple):
            if os.readlink(path) != node[1]:
                found.append(f"{name}: expected a symlink to {node[1]}, saw {os.readlink(path)}")
        else:
            data = _lib.read_file(path)
            if data != node.data:
                at = next((n for n, (a, b) in enumerate(zip(data, node.data)) if a != b), min(len(data), len(node.data)))
                found.append(f"{name}: expected {len(node.data)} bytes, saw {len(data)}; the first that differs is {at}")
            xattr = os.getxattr(path, "user.n") if "user.n" in os.listxattr(path) else None
            if xattr != node.xattr:
                found.append(f"{name}: expected user.n = {node.xattr}, saw {xattr}")
    return found


def compare(top, log_path, what):
    """The folder is as the log says, the last operation with or without effect."""
    if not os.path.exists(log_path):
        check(not os.path.exists(top), f"{what}: {top}: expected nothing")
        return 0
    operations = Log.operations(log_path)
    done = [words for words, returned in operations if returned]
    last = operations[-1][0] if operations and not operations[-1][1] else None
    open_ended = {"tmp"}
    if last and last[0] == "write":
        open_ended.add(last[1])  # in the middle: any part of it
        last = None
    wrong = differences(top, expected_tree(done), open_ended)
    if wrong and last:
        wrong_with = differences(top, expected_tree(done + [last]), open_ended)
        wrong = min(wrong, wrong_with, key=len)
    if wrong:
        fail(f"{what}: {len(wrong)} of what had returned before the kill is not in effect:\n    " + "\n    ".join(wrong[:12])
             + f"\n  the last operations: {[o for o in operations[-3:]]}")
    return len(done)


def test():
    rng = _lib.seed()
    mount = Mount(size="1G")
    logs = os.path.join(_lib.WORK, "logs")
    os.mkdir(logs)
    total = 0
    kept = None  # the folder of an earlier round that stays for good
    for number in range(ROUNDS):
        mount.mount("--sync", rng.choice(("5s", "always", "unmount")))
        if kept:
            compare(*kept, f"round {number}, what an earlier round had written")
        tops = [(mount.path(f"r{number}p{p}"), os.path.join(logs, f"r{number}p{p}")) for p in range(PROCESSES)]
        writers = [_lib.spawn_function(write_all_the_time, top, log, f"{number} {p} {rng.random()}")
                   for p, (top, log) in enumerate(tops)]
        # At once now and then, and up to a third of a second later.
        time.sleep(rng.choice((0.0, 0.02, 0.35)) * rng.random())  # no wait for anything: the random moment
        os.kill(mount.pid, signal.SIGKILL)
        mount.wait_gone()
        for writer in writers:
            equal("exit status of a writer whose daemon is gone", 0, writer.wait(30))
        mount.detach()
        mount.verify()  # the killed store, as it lies there
        mount.mount()
        for top, log in tops:
            total += compare(top, log, f"round {number}")
        # Room for the next round: nothing is to be evicted in this test.
        for top, log in tops:
            if kept is None and os.path.exists(log) and len(Log.operations(log)) > 20:
                kept = (top, log)
            elif os.path.exists(top):
                shutil.rmtree(top)
        if number % 10 == 9:
            step(f"{number + 1} rounds, {total} operations")
        if number % 2:
            mount.umount()
        else:
            mount.kill()
    check(total > ROUNDS * 10, f"expected some operations in each round, saw {total} in {ROUNDS}")
    mount.verify()


def test_while_evicting(rounds):
    """The same with a full store: what is there is whole; check finds nothing."""
    rng = _lib.seed()
    mount = Mount(name="full", size="64M")
    logs = os.path.join(_lib.WORK, "logs-full")
    os.mkdir(logs)
    for number in range(rounds):
        mount.mount()

        def write(process):
            mine, log = random.Random(f"{number} {process}"), Log(os.path.join(logs, f"{number}-{process}"))
            try:
                for n in range(1_000_000):
                    size = mine.randrange(300 * KIB)
                    log.before(f"r{number}p{process}-{n}", n, size)
                    _lib.write_file(mount.path(f"r{number}p{process}-{n}"), content(n, size))
                    log.after()
            except OSError:
                os._exit(0)
        writers = [_lib.spawn_function(write, p) for p in range(PROCESSES)]
        time.sleep(0.6 * rng.random())
        # A notification of an eviction may wait, in the kernel, for a folder's lock that a writer holds, who waits for
        # the daemon: without the guard process (fs/fuse/guard.h) neither would ever end.
        os.kill(mount.pid, signal.SIGKILL)
        mount.wait_gone()
        for writer in writers:
            equal("exit status of a writer whose daemon is gone", 0, writer.wait(30))
        mount.detach()
        mount.verify()
        mount.mount()
        written = {}
        for log in os.listdir(logs):
            for (name, n, size), returned in Log.operations(os.path.join(logs, log)):
                written[name] = (int(n), int(size), returned)
        seen = 0
        for name in os.listdir(mount.dir):
            n, size, returned = written[name]
            if returned:
                check(_lib.read_file(mount.path(name)) == content(n, size), f"{name}, evicting: expected to be whole or gone")
                seen += 1
        check(_lib.disk_use(mount.store) <= 64 * MIB, f"disk use: expected at most the bound, saw {_lib.disk_use(mount.store)}")
        mount.kill()
    mount.verify()
    step(f"{rounds} rounds while evicting; {seen} files in the end")


def both():
    test()
    test_while_evicting(max(1, ROUNDS // 5))


if _lib.PLAIN:
    _lib.skip("a plain directory has no daemon")
_lib.main(both)
