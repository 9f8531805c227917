#!/usr/bin/env python3
# ctest: timeout=1500
"""Power cuts, seen from outside: liblrufs-power-cut.so goes into the real daemon by LD_PRELOAD, watches its syncs, and
writes files that a power cut at that moment could leave (tests/tools/power_cut_preload.cc). Several writers work on the
mount meanwhile: create, overwrite in place, append, cut, rename, unlink, fsync. Each image must pass
`lrufs check`, with and without --from-checkpoint, mount, and show, for each writer, exactly what it had after some
number of its operations: none missing that had returned before an fsync was called that returned before the cut. In a
store that is full, files may be absent, but not different. A remount after the cut passes a full check again.

Then the same with a daemon whose first (or second) sync of a checkpoint is dropped: that must be noticed.
LRUFS_POWER_CUTS is the number of images, LRUFS_LONG=1 makes 300; LRUFS_TEST_SEED."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import hashlib
import json
import os
import random
import shutil
import time
import _lib
from _evict import content
from _lib import LRUFS, Mount, check, equal, fail, step

LIBRARY = os.path.join(os.environ.get("LRUFS_BUILD_DIR", ""), "tests/tools/liblrufs-power-cut.so")
IMAGES = int(os.environ.get("LRUFS_POWER_CUTS", 300 if os.environ.get("LRUFS_LONG") == "1" else 30))
WRITERS = 3
MOMENTS = ("now", "now", "fdatasync-begins", "fdatasync-ends", "msync-begins", "msync-ends")


def digest(data):
    return hashlib.md5(data).hexdigest()


class Writer:
    """Random operations in a folder of its own. Each is noted before and after with the time; `files` is the model."""

    def __init__(self, top, log_path, seed, most_files):
        self.top, self.rng = top, random.Random(seed)
        self.log = os.open(log_path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        self.files = {}
        self.number = 0
        self.most_files = most_files

    def note(self, words):
        os.write(self.log, (json.dumps(words) + "\n").encode())

    def do(self, call, **state):
        """`state`: name=digest after the operation, None: absent."""
        self.note(["begin", time.monotonic_ns(), state])
        try:
            call()
        except FileNotFoundError:  # evicted: what it was to change is gone
            self.note(["gone", time.monotonic_ns()])
            return False
        self.note(["end", time.monotonic_ns()])
        return True

    def put(self, name, data):
        """One write(2) is one step; the file is empty before."""
        path = os.path.join(self.top, name)
        fds = []
        if not self.do(lambda: fds.append(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)), **{name: digest(b"")}):
            return
        self.files[name] = b""
        self.write(fds[0], name, 0, data)
        os.close(fds[0])

    def write(self, fd, name, offset, data):
        old = self.files[name]
        new = old.ljust(offset, b"\0")[:offset] + data + old[offset + len(data):]
        self.do(lambda: equal("bytes written", len(data), os.pwrite(fd, data, offset)), **{name: digest(new)})
        self.files[name] = new

    def sync(self, path):
        fd = os.open(path, os.O_RDONLY)
        called = time.monotonic_ns()
        os.fsync(fd)
        self.note(["synced", called, time.monotonic_ns()])
        os.close(fd)

    def forget(self, name):
        """After an eviction nobody knows when: it may be there or not, which the log says as well."""
        self.files.pop(name, None)

    def step(self):
        rng = self.rng
        self.number += 1
        data = content(self.number, rng.choice((1, 90, 1500, 4096, 9000, 50_000, 100_000)))
        name = rng.choice(sorted(self.files)) if self.files else None
        kind = rng.choice(("put",) * 4 + ("overwrite",) * 4 + ("replace",) * 2 + ("rename", "unlink", "unlink", "truncate", "sync"))
        path = os.path.join(self.top, name or "")
        if name is None or (kind == "put" and len(self.files) < self.most_files):
            self.put(f"f{self.number}", data)
        elif kind in ("put", "overwrite"):
            try:
                fd = os.open(path, os.O_WRONLY)
            except FileNotFoundError:
                return self.forget(name)
            offset = rng.randrange(len(self.files[name]) + 1)
            # Beginning within a page, it ends there: the kernel sends a longer one in two requests if it has not that page.
            self.write(fd, name, offset, data[:4096 - offset % 4096] if offset % 4096 else data)
            os.close(fd)
        elif kind in ("replace", "rename"):
            if kind == "replace":
                old, name = f"t{self.number}", name
                self.put(old, data)
            else:
                old, name = name, f"r{self.number}"
            if old in self.files and self.do(lambda: os.rename(os.path.join(self.top, old), os.path.join(self.top, name)),
                                             **{old: None, name: digest(self.files[old])}):
                self.files[name] = self.files.pop(old)
            else:
                self.forget(old)
        elif kind == "unlink":
            self.do(lambda: os.unlink(path), **{name: None})
            self.forget(name)
        elif kind == "truncate":
            size = rng.randrange(len(self.files[name]) + 1)
            if self.do(lambda: os.truncate(path, size), **{name: digest(self.files[name][:size])}):
                self.files[name] = self.files[name][:size]
            else:
                self.forget(name)
        else:
            try:
                self.sync(rng.choice((self.top, path)))
            except FileNotFoundError:
                self.forget(name)
        return None

    def run(self):
        try:
            os.mkdir(self.top)
            self.sync(self.top)
            while True:
                self.step()
        except OSError as error:
            if not os.path.isdir(self.top):
                os._exit(0)  # the mount is gone: the end of the work
            self.note(["error", str(error)])
            raise


class History:
    """What a writer's log says: its operations in order, and the syncs."""

    def __init__(self, path):
        self.operations, self.syncs = [], []  # [begin, end or None, state], [called, returned]
        with open(path, encoding="utf-8") as file:
            for line in file.read().rpartition("\n")[0].splitlines():
                kind, *rest = json.loads(line)
                if kind == "begin":
                    self.operations.append([rest[0], None, rest[1]])
                elif kind == "end":
                    self.operations[-1][1] = rest[0]
                elif kind == "gone":
                    self.operations.pop()
                elif kind == "synced":
                    self.syncs.append(rest)
                else:
                    fail(f"a writer failed: {rest}")

    def explain(self, seen, cut, sure, evicting):
        """None if `seen` (name -> digest) is the state after some number of operations: all that ended before `sure`,
        none that began after `cut`."""
        state, fewest = {}, None
        for count in range(len(self.operations) + 1):
            if count > 0:
                begin, _end, change = self.operations[count - 1]
                if begin > cut:
                    break
                state.update(change)
            following = self.operations[count] if count < len(self.operations) else None
            if following and following[1] is not None and following[1] <= sure:
                continue
            there = {name: value for name, value in state.items() if value is not None}
            wrong = [name for name in seen if there.get(name) != seen[name]]
            if not evicting:
                wrong += [name for name in there if name not in seen]
            if not wrong:
                return None
            if fewest is None or len(wrong) < len(fewest[1]):
                fewest = count, wrong
        if fewest is None:
            return "no state fits"
        versions = {name: [n for n, (_begin, _end, change) in enumerate(self.operations) if name in change
                           and change[name] == seen.get(name)] for name in fewest[1][:6]}
        return (f"after {fewest[0]} operations, the closest, these differ (and are as operations left them): {versions}; "
                f"operations there: {self.operations[max(0, fewest[0] - 3):fewest[0] + 3]}")


class Daemon:
    """A mount whose daemon carries the library."""

    def __init__(self, name, size):
        self.mount = Mount(name=name, size=size)
        self.pipes = os.path.join(_lib.WORK, f"{name}.pipe")
        for end in (".in", ".out"):
            os.mkfifo(self.pipes + end)
        self.commands = self.answers = None

    def start(self):
        environment = {"LD_PRELOAD": LIBRARY, "LRUFS_POWER_CUT_STORE": self.mount.store, "LRUFS_POWER_CUT_PIPES": self.pipes}
        if "libasan" in _lib.run(20, "ldd", LRUFS):
            _lib.skip("a sanitizer wants to be loaded first")
        # Opened for both directions: neither side waits for the other then.
        self.commands = os.fdopen(os.open(self.pipes + ".in", os.O_RDWR), "w")
        self.answers = os.fdopen(os.open(self.pipes + ".out", os.O_RDWR), "r")
        os.environ.update(environment)
        try:
            self.mount.mount("--sync", "300ms", "-o", "no_confine")  # the library makes files
        finally:
            for key in environment:
                del os.environ[key]

    def ask(self, *words):
        print(*words, file=self.commands, flush=True)
        return self.answers.readline().split(None, 2)

    def image(self, moment, seed, path):
        """(time of the cut, what it is made of)"""
        done, when, text = self.ask("image", moment, seed, path)
        equal("answer of the library", "done", done)
        return int(when), f"{moment}, {text.strip()}"


def contents(folder):
    """{writer: {name: digest}}"""
    return {top: {name: digest(_lib.read_file(os.path.join(folder, top, name))) for name in os.listdir(os.path.join(folder, top))}
            for top in os.listdir(folder)}


def examine(image, histories, cut, evicting, flags):
    """None, or what is wrong with it. `flags`: --from-checkpoint, or nothing: its live metas are another file's, and so not
    believed, although they carry this boot's id."""
    try:
        _lib.run(60, LRUFS, "check", *flags, image)
    except _lib.Failure as failure:
        return _lib.brief(str(failure), 400)
    copy = Mount(name="image", size="64M", store=image + ".mounted")
    shutil.copyfile(image, copy.store)
    try:
        copy.mount(*flags, "--sync", "unmount")
    except _lib.Failure as failure:
        return f"it cannot be mounted: {failure}"
    try:
        opened_from = json.loads(_lib.run(20, LRUFS, "stat", "--json", copy.dir))["statistics"]["opened_from"]
        if opened_from == "live":
            return "a live meta is believed"
        seen = contents(copy.dir)
    except OSError as error:
        return f"it cannot be read: {error}"
    finally:
        copy.umount()
    sure = max((called for history in histories.values() for called, returned in history.syncs if returned <= cut), default=0)
    for top, history in histories.items():
        wrong = history.explain(seen.get(top, {}), cut, sure, evicting)
        if wrong:
            return f"{top}: {wrong}"
    try:
        copy.verify()
    except _lib.Failure as failure:
        return f"after a mount: {failure}"
    return None


def cut_power(name, size, images, evicting, drop=None):
    """Works, and looks at images; returns what is wrong with the first bad one."""
    rng = _lib.seed()
    daemon = Daemon(name, size)
    daemon.start()
    if drop:
        equal("answer of the library", ["done"], daemon.ask("drop", drop))
    writers = [(f"w{number}", os.path.join(_lib.WORK, f"{name}.log{number}")) for number in range(WRITERS)]
    children = [_lib.spawn_function(Writer(daemon.mount.path(top), log, rng.random(), 400 if evicting else 40).run) for top, log in writers]
    for _top, log in writers:
        _lib.wait_for("the writers have begun", 30, lambda log=log: os.path.getsize(log) > 10_000)
    wrong = None
    image = os.path.join(_lib.WORK, f"{name}.image")
    for number in range(images):
        time.sleep(0.2 * rng.random())  # the random moment
        cut, text = daemon.image(rng.choice(MOMENTS), rng.randrange(1 << 60), image)
        histories = {top: History(log) for top, log in writers}
        wrong = examine(image, histories, cut, evicting, ["--from-checkpoint"] if number % 2 == 0 else [])
        if wrong:
            wrong = f"image {number} ({text}): {wrong}"
            break
        for child in children:
            check(child.poll() is None, "a writer ended early")
    operations = sum(len(History(log).operations) for _top, log in writers)
    evicted = json.loads(_lib.run(20, LRUFS, "stat", "--json", daemon.mount.dir))["statistics"]["evicted_objects"]
    for child in children:
        child.kill()
        child.wait(30)
    if drop:
        daemon.mount.umount()
    else:
        daemon.mount.check()
        check(not evicting or evicted > 0, "expected evictions, saw none")
        check(evicting or evicted == 0, f"expected no eviction, saw {evicted}")
    step(f"{name}: {number + 1} images, {operations} operations, {evicted} files evicted: {wrong or 'all good'}")
    return wrong


def test():
    for name, size, share, evicting in (("roomy", "64M", 0.6, False), ("full", "8M", 0.4, True)):
        wrong = cut_power(name, size, max(1, int(IMAGES * share)), evicting)
        check(wrong is None, f"{name}: {wrong}")
    for call in ("fdatasync", "msync"):
        check(cut_power(f"no-{call}", "64M", 100, False, drop=call), f"a daemon that leaves out {call} was not noticed")


if _lib.PLAIN:
    _lib.skip("a plain directory has no daemon")
if not os.access(LIBRARY, os.R_OK):
    _lib.skip(f"no {LIBRARY}")
_lib.main(test)
