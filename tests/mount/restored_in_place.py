#!/usr/bin/env python3
# ctest: timeout=300
"""A volume snapshot that was restored in place within one boot: the store file of a running daemon, as a disk may hold it (what an
fsync made durable, and any part of the pages changed since, some of them torn), is put back into the same file, with the same
inode, and mounted.

Mounted as it is, it shows the last checkpoint or a state that was published after it, whole, never a mixture: names, attributes,
symlinks, small files and all files that were written before the checkpoint are compared. (Larger content that was written after it
may be old: docs/durability.md, "Not yet".) Mounted with --from-checkpoint it shows the checkpoint, content and all. `lrufs check`
finds nothing. Where everything arrived it is the last state that is shown, where nothing did, the checkpoint."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import contextlib
import json
import mmap
import os
import signal
import struct
import _lib
from _lib import KIB, LRUFS, Mount, alive, check, equal, run, step, wait_for

ROUNDS = 24 * (4 if os.environ.get("LRUFS_LONG") == "1" else 1)
PAGE, SECTOR, METAS = 4096, 512, 4
FOLDERS = 6
SYMLINK, SMALL = "symlink", "small"


def large(number, version):
    return b"%08d.%04d;" % (number, version) * (50 * KIB // 14 + number)


class Model:
    """What is in the mount: path → its kind and text. Large files are apart; only `version` of theirs changes."""

    def __init__(self):
        self.names = {}
        self.versions = {f"d{n % FOLDERS}/large{n}": 0 for n in range(8)}

    def frozen(self):
        return frozenset(self.names.items())

    def operation(self, random):
        """The next operation, as steps: each is what to call and the change of the model that it publishes, in one."""
        folder = f"d{random.randrange(FOLDERS)}"
        path = f"{folder}/n{random.randrange(60)}"
        kind = random.randrange(6)
        known = sorted(self.names)
        text = "".join(random.choices("abcdefgh", k=random.randrange(1, 900)))
        if kind == 0 and path not in self.names:
            return [(lambda at: os.symlink(text, at(path)), lambda names: names.update({path: (SYMLINK, text)}))]
        if kind in (1, 2) and path not in self.names:
            return [(lambda at: os.mknod(at(path), 0o644), lambda names: names.update({path: (SMALL, "")})),
                    (lambda at: put(at(path), text.encode()), lambda names: names.update({path: (SMALL, text)}))]
        if kind == 3 and known:
            old = random.choice(known)
            return [(lambda at: os.unlink(at(old)), lambda names: names.pop(old))]
        if kind == 4 and known and path not in self.names:
            old = random.choice(known)
            return [(lambda at: os.rename(at(old), at(path)), lambda names: names.update({path: names.pop(old)}))]
        name = random.choice(sorted(self.versions))
        number = int(name.rpartition("large")[2])
        if number % 2 == 0:  # the odd ones stay what they are
            self.versions[name] += 1
            content = large(number, self.versions[name])
            return [(lambda at: put(at(name), content), lambda names: None)]
        return []


def put(path, data):
    with open(path, "r+b", buffering=0) as file:
        file.write(data)


def play(mount, operations, done):
    """Until it is killed, or its mount is: each step is counted once it has returned."""
    with contextlib.suppress(OSError):
        for steps in operations:
            for call, _ in steps:
                call(mount.path)
                done[:8] = struct.pack("<Q", struct.unpack("<Q", done[:8])[0] + 1)


def seen(mount, strict):
    """The mount's names with their text; content of large files is checked here."""
    names = {}
    for folder in range(FOLDERS):
        for entry in os.scandir(mount.path(f"d{folder}")):
            path = f"d{folder}/{entry.name}"
            if entry.name.startswith("large"):
                number = int(entry.name[5:])
                data = _lib.read_file(entry.path)
                expected = large(number, 0)
                check(len(data) == len(expected), f"{path}: expected {len(expected)} bytes, saw {len(data)}")
                check(data == expected or not (strict or number % 2), f"{path}: expected its content of the checkpoint")
            elif entry.is_symlink():
                names[path] = (SYMLINK, os.readlink(entry.path))
            else:
                equal(f"size of {path}", entry.stat().st_size, len(text := _lib.read_file(entry.path).decode()))
                names[path] = (SMALL, text)
    return frozenset(names.items())


def frozen_copy(mount):
    """The bytes of the store at one moment; the daemon stays stopped."""
    os.kill(mount.server, signal.SIGSTOP)

    def stopped():
        for task in os.listdir(f"/proc/{mount.server}/task"):
            with open(f"/proc/{mount.server}/task/{task}/stat", encoding="ascii", errors="replace") as file:
                if file.read().rpartition(")")[2].split()[0] not in "tT":
                    return False
        return True
    wait_for("all threads of the daemon stop", 20, stopped)
    return _lib.read_file(mount.store)


def image(random, durable, now, plan):
    """What the disk may hold, and how much of it arrived."""
    size = random.choice((len(durable), len(now))) if plan not in ("all", "all but one", "metas, most") else len(now)
    result = bytearray(durable[:size].ljust(size, b"\0"))
    changed = [at for at in range(0, min(size, len(now)), PAGE) if now[at:at + PAGE] != result[at:at + PAGE]]
    lost = random.choice([at for at in changed if at >= METAS * PAGE])
    share = {"none": 0, "all": 100, "few": 8, "half": 50, "most": 92, "metas, most": 95, "metas, few": 8, "all but one": 100}[plan]
    torn = random.random() < 0.3 and plan not in ("none", "all", "all but one")
    for at in changed:
        arrives = random.randrange(100) < share and not (plan == "all but one" and at == lost)
        if plan.startswith("metas") and at < METAS * PAGE:
            arrives = True
        for sector in range(at, at + PAGE, SECTOR):
            if arrives and not (torn and random.random() < 0.1):
                result[sector:sector + SECTOR] = now[sector:sector + SECTOR]
    return bytes(result), len(changed)


def restore(store, data):
    """Into the same file: its inode stays."""
    with open(store, "r+b", buffering=0) as file:
        before = os.fstat(file.fileno()).st_ino
        file.truncate(len(data))
        view = memoryview(data)
        while view:
            view = view[file.write(view):]
    equal("the inode", before, os.stat(store).st_ino)


def test():
    random = _lib.seed()
    mount = Mount(size="16M", options=["--sync", "unmount"])
    mount.mount()
    model = Model()
    for folder in range(FOLDERS):
        os.mkdir(mount.path(f"d{folder}"))
    for path in model.versions:
        _lib.write_file(mount.path(path), large(int(path.rpartition("large")[2]), 0))
    names = model.names
    for _ in range(150):
        for call, change in model.operation(random):
            call(mount.path)
            change(names)
    following, states = [], [model.frozen()]
    for path in model.versions:
        put(mount.path(path), large(int(path.rpartition("large")[2]), 0))
        model.versions[path] = 0
    folder = os.open(mount.dir, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    equal("what was made", states[0], seen(mount, strict=True))
    durable = frozen_copy(mount)
    os.kill(mount.server, signal.SIGCONT)

    for _ in range(4000):
        steps = model.operation(random)
        following.append(steps)
        for _, change in steps:
            change(names)
            states.append(model.frozen())
    done = mmap.mmap(-1, PAGE)
    writer = _lib.spawn_function(play, mount, following, done)
    wanted = random.randrange(100, 400)
    wait_for(f"{wanted} steps are done", 60, lambda: struct.unpack("<Q", done[:8])[0] >= wanted or writer.poll() is not None)
    now = frozen_copy(mount)
    count = struct.unpack("<Q", done[:8])[0]
    mount.kill()
    writer.kill()
    writer.wait(20)
    check(count >= wanted, f"expected {wanted} steps before the end, saw {count}")
    step(f"{count} steps after the checkpoint")

    # What `count` says may be one behind: the daemon had published, and the writer did not know yet.
    existed = {state: number for number, state in reversed(list(enumerate(states[:count + 2])))}
    plans = ["all", "none", "all but one", "metas, most", "metas, few", "half", "most", "all but one", "few", "metas, most"]
    opened = {"live": 0, "checkpoint": 0, "clean": 0}
    for number in range(ROUNDS):
        plan = plans[number % len(plans)]
        data, changed = image(random, durable, now, plan)
        from_checkpoint = number % 4 == 3 or number == 2 * len(plans)
        what = f"round {number} ({plan} of {changed} pages{', --from-checkpoint' if from_checkpoint else ''})"
        restore(mount.store, data)
        mount.mount(*(["--from-checkpoint"] if from_checkpoint else []))
        statistics = json.loads(run(20, LRUFS, "stat", "--json", mount.dir))["statistics"]
        source = statistics["opened_from"]
        try:
            state = seen(mount, strict=source != "live")
        except OSError as error:
            _lib.fail(f"{what}, opened from {source}: {error}")
        check(state in existed, f"{what}, opened from {source}: expected a state that existed, saw a mixture")
        if from_checkpoint:
            equal(f"{what}: opened from", "checkpoint", source)
        if source != "live":
            check(state == states[0], f"{what}: expected the checkpoint's state, saw that after step {existed[state]}")
        if plan == "none":  # the daemon may have published something that no name tells of
            equal(f"{what}: state", 0, existed[state])
        if plan == "all" and not from_checkpoint:
            equal(f"{what}: opened from", "live", source)
            check(existed[state] >= min(count, existed[states[count]]), f"{what}: expected the last state, saw that after "
                  f"{existed[state]} of {count}")
        opened[source] += 1
        check(not statistics["read_only"], f"{what}: the store is read-only")
        _lib.write_file(mount.path("after"), b"x")
        mount.check()
        check(not alive(mount.pid) if mount.pid else True, "the daemon lives")
    step(f"{ROUNDS} images: opened from {opened}")
    check(opened["live"] > 0 and opened["checkpoint"] > 0, f"expected both kinds, saw {opened}")


if _lib.PLAIN:
    _lib.skip("a plain directory has no store")
_lib.main(test)
