"""A memory cgroup, version 1 or 2."""

import contextlib
import os
import _lib


def _put(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _get(path):
    with open(path, encoding="ascii") as file:
        return file.read()


class MemoryGroup:
    """A cgroup with a limit; the test skips where none can be made."""

    def __init__(self, limit):
        name = f"lrufs-test-{os.getpid()}"
        self.v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
        self.dir = os.path.join("/sys/fs/cgroup" if self.v2 else "/sys/fs/cgroup/memory", name)
        try:
            if self.v2 and "memory" not in _get("/sys/fs/cgroup/cgroup.subtree_control").split():
                _put("/sys/fs/cgroup/cgroup.subtree_control", "+memory")
            os.mkdir(self.dir)
            _put(os.path.join(self.dir, "memory.max" if self.v2 else "memory.limit_in_bytes"), str(limit))
        except OSError as error:
            _lib.skip(f"no memory cgroup: {error}")

    def take(self, pid):
        _put(os.path.join(self.dir, "cgroup.procs"), str(pid))

    def number(self, name):
        return int(_get(os.path.join(self.dir, name)))

    def highest(self):
        return self.number("memory.peak" if self.v2 else "memory.max_usage_in_bytes")

    def own(self):
        """Memory that is no page cache, now."""
        fields = dict(line.split() for line in _get(os.path.join(self.dir, "memory.stat")).splitlines())
        return int(fields["anon" if self.v2 else "rss"])

    def kills(self):
        lines = _get(os.path.join(self.dir, "memory.events" if self.v2 else "memory.oom_control")).splitlines()
        return sum(int(line.split()[1]) for line in lines if line.split()[0] == "oom_kill")

    def remove(self):
        with contextlib.suppress(OSError):
            os.rmdir(self.dir)
