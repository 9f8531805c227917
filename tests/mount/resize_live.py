#!/usr/bin/env python3
# ctest: timeout=300
"""`lrufs resize` and `lrufs compact` of a mount: programs go on meanwhile, the bound holds, the last used files stay;
progress on a terminal; interrupted, killed, beside readers, by others than the owner, and over a worker's death."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import contextlib
import errno
import json
import os
import pty
import select
import signal
import time
import _lib
from _evict import Files, Sampler, content
from _lib import LRUFS, MIB, Mount, WORK, check, equal, raises, run, step, wait_for
from _takeover import kill_worker, worker_is

OTHER_USER = 1234


class Watch(Sampler):
    """A Sampler that does not mind how short it was."""

    def __exit__(self, kind, _value, _trace):
        self.child.kill(signal.SIGKILL)
        self.child.wait(10)
        most = self.seen()[0]
        if kind is None:
            check(most <= self.bound, f"disk use of the store: expected never over {self.bound} bytes, saw {most}")


def stats(mount):
    return json.loads(run(20, LRUFS, "stat", "--json", mount.dir))["statistics"]


def small(rng):
    return rng.randrange(200_000)


def writer(mount, number):
    """Writes and reads back for ever."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    os.makedirs(mount.path(f"w{number}"), exist_ok=True)
    for i in range(1 << 30):
        folder, data = mount.path(f"w{number}"), content(i, 20_000 + i % 7 * 30_000)
        name = os.path.join(folder, f"f{i % 3000}")
        try:
            _lib.write_file(name, data)
        except FileNotFoundError:  # an empty folder is evicted as files are
            os.makedirs(folder, exist_ok=True)
            continue
        with contextlib.suppress(FileNotFoundError):
            equal(name, data, _lib.read_file(name))


def beside_writers():
    step("smaller, larger and compacted while two programs write")
    mount = Mount(name="beside", size="64M")
    mount.mount()
    writers = [_lib.spawn_function(writer, mount, number) for number in range(2)]
    wait_for("it is full", 60, lambda: stats(mount)["evicted_objects"] > 50)
    for size, bound in (("24M", 24), ("96M", 96), ("40M", 40), ("12M", 12), ("50M", 50)):
        with Watch(mount.store, max(bound, stats(mount)["bound_bytes"] // MIB) * MIB):
            seen = json.loads(run(60, LRUFS, "resize", "--json", mount.path(), size))
        equal(f"bound after {size}", bound * MIB, seen["after"]["bound_bytes"])
        equal(f"bound by stat after {size}", bound * MIB, stats(mount)["bound_bytes"])
        equal("size by statfs", True, os.statvfs(mount.dir).f_blocks * os.statvfs(mount.dir).f_frsize <= bound * MIB)
        with Watch(mount.store, bound * MIB):
            evicted = stats(mount)["evicted_objects"]
            wait_for("it is full again", 60, lambda: stats(mount)["evicted_objects"] > evicted + 50)
        equal("a writer has failed", [None, None], [each.poll() for each in writers])
    run(60, LRUFS, "compact", mount.store)  # by the store's name
    for each in writers:
        each.kill(signal.SIGTERM)
        equal("exit status of a writer", 0, each.wait(20))
    mount.umount()
    mount.verify()
    equal("what the store says", 50 * MIB, json.loads(run(20, LRUFS, "stat", "--json", mount.store))["statistics"]["bound_bytes"])


def exact(rng):
    step("the last used files stay")
    mount = Mount(name="exact", size="64M", options=["--recency", "0"])
    mount.mount()
    files = Files(mount, rng, per_folder=20, size=small)
    files.write_bytes(50 * MIB)
    for name in rng.sample(sorted(files.order), len(files.order) // 4):
        files.read(name)
    opened = next(reversed(files.order))
    oldest = next(iter(files.order))
    with open(mount.path(oldest), "rb") as held:  # is a use
        files.use(oldest)
        text = run(60, LRUFS, "resize", mount.dir, "20M")
        equal("an open file", content(*files.order[oldest]), held.read())
    check("before:" in text and "after:" in text and "evicted" in text, f"expected figures, saw {text!r}")
    check(_lib.disk_use(mount.store) <= 20 * MIB, f"expected at most 20 MiB on disk, saw {_lib.disk_use(mount.store)}")
    names = files.survivors_are_the_last_used("20 MiB")
    check(files.bytes_of(names) > 12 * MIB, f"expected it to be well used, saw {files.bytes_of(names)} bytes")
    for name in sorted(names, key=list(files.order).index):
        files.read(name)
    check(opened in names, "the last one went")
    files.forget_the_gone(names)

    step("compacted")
    for name in list(files.order)[:-20]:
        os.unlink(mount.path(name))
        del files.order[name]
    before = _lib.disk_use(mount.store)
    seen = json.loads(run(60, LRUFS, "compact", "--json", mount.path(os.path.dirname(opened))))
    after = _lib.disk_use(mount.store)
    equal("evicted", 0, seen["evicted_objects"])
    check(after < before / 2 and after < files.bytes_of(files.order) * 1.1 + 7 * MIB,
          f"expected a small file, saw {after} of {before} with {files.bytes_of(files.order)} bytes of files")
    for name in list(files.order):
        files.read(name)

    step("what is wrong, and who may")
    for size, code, words in (("1M", 2, "at least"), ("large", 2, "large"), ("1P", 1, "while it is open")):
        text = run(20, LRUFS, "resize", mount.dir, size, ok=(code,))
        check(words in text, f"resize to {size}: expected a message with {words!r}, saw {text!r}")
    for text in ("", "M", "12", "12Q", "-1", "1M 2M", "0"):
        def attempt(text=text):
            fd = os.open(mount.path(".lrufs/resize"), os.O_WRONLY | os.O_TRUNC)
            try:
                os.write(fd, (text or "\n").encode())
            finally:
                os.close(fd)
        raises(f"resize <- {text!r}", errno.EINVAL, attempt)
    run(20, "bash", "-c", f"echo 24M > {mount.path('.lrufs/resize')}")
    equal("bound", 24 * MIB, stats(mount)["bound_bytes"])
    equal("state", "done", json.loads(_lib.read_file(mount.path(".lrufs/resize")))["state"])
    if os.geteuid() == 0:
        mount.umount()
        mount.size = "24M"
        mount.mount("-o", "allow_other")
        for verb in (("resize", mount.dir, "12M"), ("compact", mount.dir)):
            def as_other(verb=verb):
                os.setgid(OTHER_USER)
                os.setuid(OTHER_USER)
                text = run(20, LRUFS, *verb, ok=(1,))
                check("only who has mounted it" in text, f"{verb}: saw {text!r}")
            _lib.in_child(30, as_other)
        equal("bound", 24 * MIB, stats(mount)["bound_bytes"])
    mount.umount()
    mount.size = "24M"
    mount.mount("--no-control")
    text = run(20, LRUFS, "resize", mount.dir, "12M", ok=(1,))
    check("control folder" in text, f"--no-control: saw {text!r}")
    mount.check()


def on_terminal(*command):
    master, slave = pty.openpty()
    process = _lib.spawn(*command, stdout=slave, stderr=slave)
    os.close(slave)
    return process, master


def read_terminal(master, until=None, seconds=60):
    seen, end = b"", time.monotonic() + seconds
    while until is None or until not in seen:
        check(time.monotonic() < end, f"expected {until!r} on the terminal, saw {seen!r}")
        if select.select([master], [], [], 0.5)[0]:
            try:
                part = os.read(master, 65536)
            except OSError:
                part = b""
            if not part:
                break
            seen += part
    return seen


def bound_of(target):
    return json.loads(run(20, LRUFS, "stat", "--json", target))["statistics"]["bound_bytes"]


def interrupted(rng):
    step("a bar on a terminal; interrupted, it has its old size")
    mount = Mount(name="long", size="400M", options=["--sync", "unmount"])
    mount.mount()
    files = Files(mount, rng, per_folder=300, size=lambda r: r.randrange(3000))
    for _ in range(25_000):
        files.write()
    state = lambda: json.loads(_lib.read_file(mount.path(".lrufs/resize")))["state"]
    process, master = on_terminal(LRUFS, "resize", mount.dir, "5M")
    seen = read_terminal(master, b"\rresize [")
    process.send_signal(signal.SIGINT)
    seen += read_terminal(master)
    os.close(master)
    equal("exit status", -signal.SIGINT, process.wait(60))
    check(b"interrupted" in seen and b"\x1b[Klrufs:" in seen, f"expected the bar to be taken away, and a word, saw {seen!r}")
    equal("bound", 400 * MIB, bound_of(mount.dir))
    check(len(files.survivors_are_the_last_used("interrupted")) > 0, "expected some to be left")
    for number in (signal.SIGTERM, signal.SIGKILL):
        for _ in range(12_000):
            files.write()
        process = _lib.spawn(LRUFS, "resize", mount.dir, "5M")
        wait_for("it has begun", 30, lambda: state() == "running")
        process.send_signal(number)
        equal("exit status", -number, process.wait(60))
        wait_for("the daemon has ended it", 30, lambda: state() == "failed")
        equal("bound", 400 * MIB, bound_of(mount.dir))

    step("the daemon is stopped in the middle")
    for _ in range(12_000):
        files.write()
    process = _lib.spawn(LRUFS, "resize", mount.dir, "5M", stderr=open(os.path.join(WORK, "err"), "wb"))
    wait_for("it has begun", 30, lambda: state() == "running")
    os.kill(mount.pid, signal.SIGTERM)
    process.wait(60)
    mount.wait_gone()
    text = _lib.read_file(os.path.join(WORK, "err"))
    equal("bound", 5 * MIB if process.returncode == 0 else 400 * MIB, bound_of(mount.store))
    print(f"   exit status {process.returncode}: {text!r}")
    mount.verify()

    step("a store that is not mounted")
    mount.mount()
    for _ in range(12_000):
        files.write()
    mount.umount()
    kept = mount.store + ".kept"
    run(60, "cp", mount.store, kept)
    start = time.monotonic()
    run(60, LRUFS, "resize", mount.store, "5M")
    took = time.monotonic() - start
    stopped = 0
    for _ in range(6):
        run(60, "cp", kept, mount.store)
        process = _lib.spawn(LRUFS, "resize", mount.store, "5M", stderr=open(os.devnull, "wb"))
        until = time.monotonic() + rng.random() * took
        while time.monotonic() < until and process.poll() is None:
            pass
        process.send_signal(signal.SIGINT)
        status = process.wait(60)
        check(status in (0, -signal.SIGINT), f"exit status: saw {status}")
        # A signal that comes when all is done, before the program has ended, ends it as well.
        bound = bound_of(mount.store)
        check(bound in (5 * MIB, 400 * MIB) if status else bound == 5 * MIB, f"exit status {status}: saw a bound of {bound}")
        mount.verify()
        stopped += bound == 400 * MIB
    print(f"   {stopped} of 6 were interrupted")
    check(stopped > 0, "expected one at least to be interrupted")
    os.unlink(kept)


def readers(rng):
    step("a process that reads the store is named at once, mounted or not")
    mount = Mount(name="read", size="64M")
    mount.mount()
    files = Files(mount, rng, per_folder=20, size=small)
    files.write_bytes(40 * MIB)
    count = len(files.order)
    read_end, write_end = os.pipe()
    reader = _lib.spawn(LRUFS, "dump", mount.store, stdout=write_end)
    os.close(write_end)
    os.read(read_end, 1)  # it has begun, and the pipe is full soon
    for live in (True, False):
        if not live:
            mount.umount()
        start = time.monotonic()
        command = ["resize", mount.dir, "12M"] if live else ["mount", "--size", "12M", "--log", _lib.DAEMON_LOG, mount.store,
                                                             mount.dir]
        text = run(30, LRUFS, *command, ok=(1,))
        check(time.monotonic() - start < 5, f"{command[0]}: expected an answer at once, took {time.monotonic() - start:.1f} s")
        check(f"process {reader.pid} reads" in text, f"{command[0]}: expected to be told of {reader.pid}, saw {text!r}")
    text = run(30, LRUFS, "resize", mount.store, "12M", ok=(1,))
    check(f"process {reader.pid} reads" in text, f"resize of the store: saw {text!r}")
    reader.kill()
    reader.wait(20)
    os.close(read_end)
    mount.mount()
    equal("files that are left", count, stats(mount)["files"])
    mount.umount()
    mount.size = "12M"
    mount.mount()
    check(_lib.disk_use(mount.store) <= 12 * MIB, "expected it to be smaller")
    mount.check()


def supervised(rng):
    step("a worker that takes over keeps the size")
    mount = Mount(name="worker", size="64M", options=["--supervise"])
    mount.mount()
    files = Files(mount, rng, per_folder=20, size=small)
    files.write_bytes(40 * MIB)
    for size in (16, 90):
        run(60, LRUFS, "resize", mount.dir, f"{size}M")
        _, worker = kill_worker(mount.pid)
        worker_is(mount.pid, other_than=worker)
        equal("bound after the worker's death", size * MIB, stats(mount)["bound_bytes"])
    step("a worker that dies in the middle: the next one does it")
    files.write_bytes(70 * MIB)
    process = _lib.spawn(LRUFS, "resize", mount.dir, "8M")
    wait_for("it has begun", 30, lambda: process.poll() is not None or
             json.loads(_lib.read_file(mount.path(".lrufs/resize")))["state"] == "running")
    _, worker = kill_worker(mount.pid)
    worker_is(mount.pid, other_than=worker)
    equal("exit status", 0, process.wait(60))
    equal("bound", 8 * MIB, stats(mount)["bound_bytes"])
    mount.check()


def test():
    rng = _lib.seed()
    exact(rng)
    readers(rng)
    interrupted(rng)
    beside_writers()
    supervised(rng)


if _lib.PLAIN:
    _lib.skip("a plain directory has no store")
os.chdir(WORK)
_lib.main(test)
