#!/usr/bin/env python3
"""Long work shows a bar on a terminal, and takes it away; nothing of it elsewhere."""
# ctest: timeout=180
import sys; sys.dont_write_bytecode = True
import os
import pty
import select
import subprocess
import time

import _lib
from _lib import LRUFS, MIB, WORK, check, equal, fail, run, step

STORE = os.path.join(WORK, "s.lrufs")


def on_terminal(*command, feed=None, until=b"", stdout=None):
    """Runs it with stderr on a terminal; `feed` writes pieces to its stdin until `until` was seen there."""
    master, slave = pty.openpty()
    process = _lib.spawn(*command, stdin=subprocess.PIPE, stdout=stdout or subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    seen = b""
    end = time.monotonic() + 60
    pipe = process.stdin.fileno()
    feeding = feed is not None
    if not feeding:
        process.stdin.close()
    while True:
        check(time.monotonic() < end, f"{command}: expected {until!r} on the terminal, saw {seen!r}")
        readable, writable, _ = select.select([master], [pipe] if feeding else [], [], 1)
        if readable:
            try:
                part = os.read(master, 65536)
            except OSError:  # the other side is closed
                part = b""
            if not part:
                break
            seen += part
        if feeding and until in seen:
            process.stdin.close()
            feeding = False
        elif writable:
            os.write(pipe, feed)
            feed = feed[:1]  # then slowly, so that it lasts until the bar has come
    os.close(master)
    return process.wait(30), seen


def main():
    mount = _lib.Mount(size="256M")
    mount.mount()
    mount.umount()
    store = mount.store

    step("put: how much, as nobody knows of how much")
    status, seen = on_terminal(LRUFS, "put", store, "slow", feed=os.urandom(60000), until=b"KiB")
    equal("exit status", 0, status)
    check(b"\rput " in seen and b"/s" in seen, f"no progress: {seen!r}")
    check(seen.endswith(b"\r\x1b[K"), f"the bar stays: {seen!r}")
    check(b"\n" not in seen, f"more than one line: {seen!r}")

    step("nothing of it in a file")
    big = os.path.join(WORK, "big")
    with open(big, "wb") as file:
        for _ in range(50):
            file.write(os.urandom(MIB))
    for command in (("put", store, "big", big), ("get", "-o", big + "2", store, "big"), ("check", store)):
        with open(os.path.join(WORK, "err"), "w+b") as err:
            with subprocess.Popen([LRUFS, *command], stderr=err, stdout=subprocess.DEVNULL) as process:
                equal(f"exit status of {command[0]}", 0, process.wait(60))
            err.seek(0)
            equal(f"stderr of {command[0]}", b"", err.read())

    step("get and check, slowed down by a reader, or not at all")
    # The pipe is full until the bar was seen: the work lasts at least as long.
    read_end, write_end = os.pipe()
    master, slave = pty.openpty()
    process = _lib.spawn(LRUFS, "get", store, "big", stdin=subprocess.DEVNULL, stdout=write_end, stderr=slave)
    os.close(write_end)
    os.close(slave)
    seen, count, end = b"", 0, time.monotonic() + 60
    while b"%" not in seen:
        check(time.monotonic() < end, f"get: no bar, saw {seen!r} after {count} bytes")
        if select.select([master], [], [], 0.01)[0]:
            seen += os.read(master, 65536)
        elif count < 45 * MIB:
            count += len(os.read(read_end, 2 * MIB // 32))
    while part := os.read(read_end, MIB):
        count += len(part)
    equal("bytes", 50 * MIB, count)
    equal("exit status of get", 0, process.wait(30))
    check(b"\rget [" in seen and b"of 50 MiB" in seen, f"no bar: {seen!r}")
    os.close(read_end)
    os.close(master)
    status, seen = on_terminal(LRUFS, "check", store)
    equal("exit status of check", 0, status)
    check(not seen or (seen.startswith(b"\rcheck [") and seen.endswith(b"\r\x1b[K")), f"check: {seen!r}")
    mount.check()


_lib.main(main)
