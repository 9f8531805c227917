#!/usr/bin/env python3
# ctest: timeout=90
"""The log: JSON and text, each event once, what clients can cause not more than once a second, and no names of
files."""
import sys; sys.dont_write_bytecode = True
import errno
import json
import os
import re

import _lib
from _lib import check, equal, run, step

SECRET = "secret-name"


def lines(path):
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines()


def empty(path):
    with open(path, "w", encoding="utf-8"):
        pass


def use(mount):
    """All kinds of work, with errors, on names that are nobody's business."""
    os.makedirs(mount.path(SECRET, SECRET))
    name = mount.path(SECRET, SECRET, SECRET)
    _lib.write_file(name, SECRET.encode() * 100)
    os.setxattr(name, "user.x", SECRET.encode())
    os.rename(name, name + "2")
    os.symlink(SECRET, mount.path("link"))
    _lib.raises("rmdir", errno.ENOTEMPTY, os.rmdir, mount.path(SECRET))
    _lib.raises("a file above the store's size", (errno.ENOSPC, errno.EFBIG), _lib.write_file,
                mount.path(SECRET + "-big"), b"x" * (20 * _lib.MIB))
    os.unlink(mount.path(SECRET + "-big"))
    os.makedirs(mount.path(SECRET), exist_ok=True)  # it may have been evicted
    for i in range(300):  # evicts
        _lib.write_file(mount.path(SECRET, f"{SECRET}{i}"), b"x" * 50_000)


def refuse_many(mount):
    for _ in range(200):
        fd = os.open(mount.path(".lrufs/evict"), os.O_WRONLY)
        _lib.raises("a wrong command", errno.EINVAL, os.write, fd, SECRET.encode())
        os.close(fd)


def main():
    mount = _lib.Mount(size="16M")
    log = _lib.DAEMON_LOG

    step("text")
    mount.mount()
    use(mount)
    refuse_many(mount)
    with open(mount.path(".lrufs/log"), encoding="utf-8") as file:
        kept = file.read().splitlines()
    mount.umount()
    text = lines(log)
    for line in text:
        check(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d (info|warning|error) lrufs\[\d+\]: .", line),
              f"no line of the log: {line!r}")
        check(SECRET not in line, f"a name is in the log: {line}")
    equal("lines about mounting", 1, sum("mounted, with the store" in line for line in text))
    equal("lines about the end", 1, sum("the store is closed" in line for line in text))
    check(len(kept) >= 2 and all(any(k.split(": ", 1)[1] in line for line in text) for k in kept),
          "the kept log has other lines than the file")

    step("json")
    mount.options = ["--log-format", "json", "--log-level", "info"]
    empty(log)
    mount.mount()
    use(mount)
    refuse_many(mount)
    mount.umount()
    events = [json.loads(line) for line in lines(log)]
    for event in events:
        for key in ("time", "level", "event", "pid", "message"):
            check(key in event, f"no {key} in {event}")
        check(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"]), f"time of {event}")
        check(re.fullmatch(r"[a-z_]+", event["event"]), f"event of {event}")
        check(SECRET not in json.dumps(event), f"a name is in the log: {event}")
    named = lambda name: [event for event in events if event["event"] == name]
    equal("events of mounting", [(mount.dir, mount.store)],
          [(event["mount_point"], event["store"]) for event in named("mounted")])
    equal("events of the end", 1, len(named("closed")))
    refused = named("control_refused")
    # 200 of them in some seconds: at most one a second, and none is forgotten.
    check(1 <= len(refused) < 100, f"{len(refused)} lines about 200 wrong commands")
    check(sum(1 + event.get("left_out", 0) for event in refused) <= 200, f"more than there were: {refused}")

    step("what is wrong is said")
    where = os.path.join(_lib.WORK, "other")
    os.makedirs(where)
    out = run(20, _lib.LRUFS, "mount", "--size", "8M", "--log-format", "xml", f"{_lib.WORK}/o.lrufs", where, ok=(2,))
    check("--log-format 'xml' does not exist" in out, out)
    step("by -o, and its level changed while it runs")
    mount.options = ["-o", "log_format=json,log_level=warning"]
    empty(log)
    mount.mount()
    equal("nothing at level warning", [], lines(log))
    _lib.write_file(mount.path(".lrufs/loglevel"), b"info\n", os.O_WRONLY | os.O_TRUNC)
    events = [json.loads(line) for line in lines(log)]
    equal("events after that", ["log_level"], [event["event"] for event in events])
    mount.check()


_lib.main(main)
