#!/usr/bin/env python3
# ctest: timeout=120
"""Metrics: each that is defined is shown, in Prometheus' format, over HTTP and in the control folder; the dashboard
and the documents name only what exists; what they count happens."""
import sys; sys.dont_write_bytecode = True
import errno
import http.client
import json
import os
import re
import signal
import socket
import time

import _lib
from _lib import check, equal, run, step

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf'^({NAME})(?:\{{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\n"])*",?)*)\}})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"')


def parse(text):
    """{name: (type, help, {labels: value})} of Prometheus' text format; fails where it is not that."""
    check(text.endswith("\n"), "the last line has no end")
    families, current = {}, None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, help_text = line.split(" ", 3)
            check(name not in families, f"{name} is there twice")
            families[name] = current = {"help": help_text, "type": None, "samples": {}}
            current["name"] = name
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            check(current is not None and name == current["name"] and current["type"] is None, f"out of place: {line}")
            check(kind in ("counter", "gauge", "histogram", "summary"), f"no such type: {line}")
            current["type"] = kind
        else:
            match = SAMPLE.match(line)
            check(match, f"no sample: {line!r}")
            name, labels, value = match[1], dict(LABEL.findall(match[2] or "")), float(match[3])
            suffixes = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count", "")}
            allowed = [current["name"] + end for end in suffixes.get(current["type"], ("",))]
            check(name in allowed, f"{name} below the header of {current['name']}")
            key = (name, tuple(sorted(labels.items())))
            check(key not in current["samples"], f"twice: {line}")
            current["samples"][key] = value
    for name, family in families.items():
        check(family["type"] and len(family["help"]) > 10, f"{name} lacks TYPE or HELP")
        if family["type"] == "counter":
            check(name.endswith("_total"), f"counter {name}")
            check(all(value >= 0 for value in family["samples"].values()), f"{name} is negative")
        if family["type"] == "histogram":
            check_histogram(name, family["samples"])
    return families


def check_histogram(name, samples):
    series = {}
    for (part, labels), value in samples.items():
        rest = tuple(pair for pair in labels if pair[0] != "le")
        one = series.setdefault(rest, {"buckets": []})
        if part == name + "_bucket":
            one["buckets"].append((float(dict(labels)["le"]), value))
        else:
            one[part] = value
    for labels, one in series.items():
        buckets = sorted(one["buckets"])
        counts = [value for _, value in buckets]
        check(buckets[-1][0] == float("inf"), f"{name}{labels}: no bucket +Inf")
        check(counts == sorted(counts), f"{name}{labels}: buckets are not cumulative: {counts}")
        equal(f"{name}{labels}: count", counts[-1], one[name + "_count"])
        check(one[name + "_sum"] >= 0, f"{name}{labels}: sum")


def value(families, name, **labels):
    samples = families[name]["samples"]
    return samples.get((name, tuple(sorted(labels.items()))), 0)


def free_port(family=socket.AF_INET, host="127.0.0.1"):
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def get(port, path, host="127.0.0.1", method="GET"):
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type"), answer.read().decode()
    finally:
        connection.close()


def folder(mount):
    with open(mount.path(".lrufs/metrics"), encoding="utf-8") as file:
        return parse(file.read())


def defined():
    """The names in the table of the sources."""
    with open(os.path.join(_lib.SOURCE_DIR, "fs/fuse/metrics.cc"), encoding="utf-8") as file:
        names = re.findall(r'\{\{"(lrufs_[a-z_]+)"', file.read())
    check(len(names) > 30, f"only {len(names)} metrics found in metrics.cc")
    return names


def test_all_are_shown(mount, port):
    status, kind, text = get(port, "/metrics")
    equal("GET /metrics", (200, "text/plain; version=0.0.4; charset=utf-8"), (status, kind))
    equal("metrics shown by HTTP", defined(), list(parse(text)))
    equal("metrics in the folder", defined(), list(folder(mount)))
    for name, family in parse(text).items():
        check(family["samples"], f"{name} has no sample")
    with open(os.path.join(_lib.SOURCE_DIR, "docs/metrics.md"), encoding="utf-8") as file:
        rows = re.findall(r"^\| `(lrufs_[a-z_]+)`", file.read(), re.M)
    equal("metrics in docs/metrics.md", defined(), rows)


def test_dashboard(port):
    families = parse(get(port, "/metrics")[2])
    shown = {name for name in families}
    for name, family in families.items():
        if family["type"] in ("histogram", "summary"):
            shown |= {f"{name}_sum", f"{name}_count"} | ({f"{name}_bucket"} if family["type"] == "histogram" else set())
    with open(os.path.join(_lib.SOURCE_DIR, "deploy/grafana/lrufs.json"), encoding="utf-8") as file:
        board = json.load(file)
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    check(len(expressions) >= 15, f"only {len(expressions)} expressions in the dashboard")
    for expression in expressions:
        names = re.findall(r"\blrufs_\w+", expression)
        check(names, f"no metric in {expression!r}")
        for name in names:
            check(name in shown, f"the dashboard uses {name}, which does not exist")
        equal(f"parentheses in {expression!r}", expression.count("("), expression.count(")"))
    ids = [panel["id"] for panel in board["panels"]]
    equal("ids of panels", len(ids), len(set(ids)))


def test_hits_and_misses(mount):
    def lookups():
        time.monotonic()
        families = folder(mount)
        return value(families, "lrufs_hits_total"), value(families, "lrufs_misses_total")

    def settled(what, hits, misses):
        _lib.wait_for(f"{what}: {hits} hits and {misses} misses", 10, lambda: lookups() == (hits, misses))

    os.mkdir(mount.path("h"))
    _lib.write_file(mount.path("h/file"), b"x")
    os.symlink("file", mount.path("h/link"))
    hits, misses = lookups()
    # --recency 0: each path lookup is a request.
    for _ in range(5):
        os.stat(mount.path("h/file"))
    settled("five of a file", hits + 5, misses)
    os.listdir(mount.path("h"))
    os.lstat(mount.path("h/link"))
    os.stat(mount.path("h"))
    settled("a folder and a symlink are neither", hits + 5, misses)
    for i in range(3):
        for _ in range(2):  # the kernel remembers an absent name
            check(not os.path.exists(mount.path(f"h/absent{i}")), "it is there")
    settled("three absent names", hits + 5, misses + 3)
    # Making many names at once is no question for them, but for the few where the machine was slow.
    before = lookups()[1]
    for i in range(200):
        os.close(os.open(mount.path(f"h/new{i}"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    _lib.wait_for("lookups settle", 10, lambda: lookups() == lookups())
    made = lookups()[1] - before
    check(made < 200, f"{made} misses by 200 creations")


def test_what_happens_is_counted(mount, port):
    def now():
        return parse(get(port, "/metrics")[2])
    before = now()
    for i in range(60):
        _lib.write_file(mount.path(f"big{i}"), b"x" * _lib.MIB)  # more than fits
    os.makedirs(mount.path("full"))
    _lib.write_file(mount.path("full/x"), b"x")
    _lib.raises("rmdir", errno.ENOTEMPTY, os.rmdir, mount.path("full"))
    fd = os.open(mount.path("big59"), os.O_RDONLY)
    os.fsync(fd)
    _lib.drop_caches(1) if os.geteuid() == 0 else None
    os.read(fd, _lib.MIB)
    os.close(fd)
    after = now()
    grown = lambda name, **labels: value(after, name, **labels) - value(before, name, **labels)
    check(grown("lrufs_evictions_total", reason="capacity") > 10, "no evictions for room")
    check(grown("lrufs_evicted_bytes_total", reason="capacity") > 10 * _lib.MIB, "no evicted bytes")
    equal("evictions by request", 0, grown("lrufs_evictions_total", reason="request"))
    equal("bytes written", 60 * _lib.MIB + 1, grown("lrufs_written_bytes_total"))
    check(grown("lrufs_requests_total", kind="write") >= 60, "writes are not counted")
    equal("ENOTEMPTY", 1, grown("lrufs_errors_total", error="ENOTEMPTY"))
    histogram = after["lrufs_request_duration_seconds"]["samples"]
    writes = histogram[("lrufs_request_duration_seconds_count", (("kind", "write"),))]
    equal("writes in the histogram", value(after, "lrufs_requests_total", kind="write"), writes)
    checkpoints = after["lrufs_checkpoint_duration_seconds"]["samples"]
    check(checkpoints[("lrufs_checkpoint_duration_seconds_count", ())] > 0, "no checkpoints")
    check(checkpoints[("lrufs_checkpoint_duration_seconds_sum", ())] > 0, "checkpoints take no time")
    equal("bound", 32 * _lib.MIB, value(after, "lrufs_bound_bytes"))
    check(0 < value(after, "lrufs_used_bytes") <= value(after, "lrufs_capacity_bytes"), "used bytes")
    check(abs(value(after, "lrufs_start_time_seconds") - time.time()) < 600, "start time")
    files = len([name for name in os.listdir(mount.dir) if name.startswith("big")])
    check(abs(files - value(folder(mount), "lrufs_files")) < 300, "files")


def test_health(mount, port):
    equal("/healthz", (200, "ok\n"), get(port, "/healthz")[::2])
    equal("/readyz", (200, "ok\n"), get(port, "/readyz")[::2])
    equal("/nothing", 404, get(port, "/nothing")[0])
    equal("POST", 405, get(port, "/metrics", method="POST")[0])
    equal("HEAD", (200, ""), get(port, "/metrics", method="HEAD")[::2])
    # A daemon that is stopped answers nothing; one whose mount is busy is ready again afterwards.
    os.kill(mount.server, signal.SIGSTOP)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as stopped:
            stopped.settimeout(0.3)
            stopped.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            _lib.raises("an answer of a stopped daemon", errno.ETIMEDOUT, read_raising, stopped)
    finally:
        os.kill(mount.server, signal.SIGCONT)
    equal("/readyz after that", 200, get(port, "/readyz")[0])


def test_a_mount_that_hangs(mount, port):
    """Another mount is laid over this one, so that the daemon that is asked can answer and the mount cannot."""
    if os.geteuid() != 0:
        return
    with _lib.Mount("hangs", size="8M", options=["--recency", "0"]) as other:
        run(10, "mount", "--bind", other.dir, mount.dir)
        try:
            equal("/readyz while it answers", 200, get(port, "/readyz")[0])
            os.kill(other.server, signal.SIGSTOP)
            try:
                for _ in range(2):
                    equal("/readyz of a mount that hangs", (503, "the mount does not answer\n"),
                          get(port, "/readyz")[::2])
                equal("/healthz meanwhile", 200, get(port, "/healthz")[0])
                parse(get(port, "/metrics")[2])
            finally:
                os.kill(other.server, signal.SIGCONT)
            _lib.wait_for("it is ready again", 20, lambda: get(port, "/readyz")[0] == 200)
        finally:
            run(10, "umount", "-l", mount.dir)


def test_the_end(mount, port):
    """While others scrape and look, the daemon is told to end."""
    def scrape(path):
        while True:
            try:
                get(port, path)
            except ConnectionRefusedError:
                return
            except (OSError, http.client.HTTPException):
                continue

    def look():
        while True:
            try:
                _lib.read_file(mount.path(".lrufs/metrics"))
            except OSError:
                return
    children = [_lib.spawn_function(scrape, path) for path in ("/metrics", "/metrics", "/readyz", "/healthz")]
    children.append(_lib.spawn_function(look))
    for i in range(20):
        get(port, "/readyz")
        _lib.write_file(mount.path(f"end{i}"), b"x")
    os.kill(mount.pid, signal.SIGTERM)
    mount.wait_gone()
    for child in children:
        equal("exit status of one that looks", 0, child.wait(30))
    for part in ("signal 15", "; the store is closed"):
        check(part in _lib.tail_of_log(), f"the log's end: {_lib.tail_of_log()}")


def read_raising(connection):
    try:
        return connection.recv(100)
    except TimeoutError as error:
        raise OSError(errno.ETIMEDOUT, "timed out") from error


def refused(what, address, status, *parts):
    store = os.path.join(_lib.WORK, "other.lrufs")
    where = os.path.join(_lib.WORK, "other")
    os.makedirs(where, exist_ok=True)
    out = run(30, _lib.LRUFS, "mount", "--size", "8M", "--metrics", address, store, where, ok=(status,))
    for part in (address, *parts):
        check(part in out, f"{what}: {out}")
    check(not os.path.exists(store), f"{what}: the store was made")
    check(where not in _lib.mount_points(), f"{what}: it is mounted")


def test_addresses(port):
    refused("in use", f"127.0.0.1:{port}", 1, "in use by another program")
    refused("port 0", "127.0.0.1:0", 2, "from 1 to 65535")
    refused("no port", "127.0.0.1", 2, "the port is missing")
    refused("no host", ":9100", 2, "the host is missing")
    refused("not ours", f"192.0.2.1:{port}", 1, "does not have that address")
    refused("no such host", f"no.such.host.invalid:{port}", 1, "no such host")


def test_ipv6():
    try:
        port = free_port(socket.AF_INET6, "::1")
    except OSError:
        print("(no IPv6 here)")
        return
    with _lib.Mount("six", size="8M", options=["-o", f"metrics=[::1]:{port}"]):
        equal("/healthz by IPv6", 200, get(port, "/healthz", host="::1")[0])
        try:
            get(port, "/healthz", host="127.0.0.1")
        except ConnectionRefusedError:
            return
        _lib.fail("it answers on IPv4 as well")


def main():
    port = free_port()
    with _lib.Mount(size="32M", options=["--recency", "0", "--metrics", f"127.0.0.1:{port}"]) as mount:
        for test, arguments in ((test_all_are_shown, (mount, port)), (test_dashboard, (port,)),
                                (test_hits_and_misses, (mount,)), (test_what_happens_is_counted, (mount, port)),
                                (test_health, (mount, port)), (test_a_mount_that_hangs, (mount, port)),
                                (test_addresses, (port,)), (test_ipv6, ()),
                                (test_the_end, (mount, port))):
            step(test.__name__)
            test(*arguments)
    check(not _lib.mount_points().count(mount.dir), "still mounted")
    with _lib.Mount("off", size="8M") as mount:
        with open(f"/proc/{mount.server}/net/tcp", encoding="ascii") as file:
            inodes = {line.split()[9] for line in file.readlines()[1:]}
        held = {os.readlink(f"/proc/{pid}/fd/{fd}") for pid in (mount.pid, mount.server) for fd in os.listdir(f"/proc/{pid}/fd")}
        equal("sockets without --metrics", set(), {f"socket:[{inode}]" for inode in inodes} & held)


_lib.main(main)
