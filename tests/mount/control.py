#!/usr/bin/env python3
# ctest: timeout=180
"""The control folder .lrufs: what ordinary programs see of it, who may do what, its commands, and that nothing else on
the mount is the different for it."""
import sys; sys.dont_write_bytecode = True
import errno
import json
import os
import subprocess

import _lib
from _lib import check, equal, raises, run, step

OTHER_USER = 1234
FILES = {"stats": 0o444, "metrics": 0o444, "config": 0o444, "log": 0o400, "next": 0o400, "recent": 0o400,
         "checkpoint": 0o200, "evict": 0o200, "loglevel": 0o644, "resize": 0o600, "compact": 0o600}


def shell(text, ok=(0,)):
    return run(30, "bash", "-c", text, ok=ok)


def command(mount, file, text, code=None):
    path = mount.path(".lrufs", file)
    if code is None:
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as out:
            out.write(text)
        return

    def attempt():
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(fd, os.fsencode(text))
        finally:
            os.close(fd)
    raises(f"{file} <- {text!r}", code, attempt)


def stats(mount):
    with open(mount.path(".lrufs", "stats"), encoding="utf-8") as file:
        return json.load(file)


def listed(mount, file):
    with open(mount.path(".lrufs", file), encoding="utf-8") as lines:
        return [line.rstrip("\n").split(" ", 1)[1] for line in lines]


def test_programs_read_it(mount):
    folder = mount.path(".lrufs")
    equal("ls .lrufs", sorted(FILES), sorted(os.listdir(folder)))
    equal("mode of .lrufs", 0o40555, os.stat(folder).st_mode)
    for name, mode in FILES.items():
        seen = os.stat(os.path.join(folder, name))
        equal(f"mode of {name}", 0o100000 | mode, seen.st_mode)
        equal(f"owner of {name}", (os.geteuid(), os.getegid()), (seen.st_uid, seen.st_gid))
    numbers = {os.stat(os.path.join(folder, "stats")).st_ino for _ in range(3)}
    equal("inode numbers of three looks at stats", 1, len(numbers))
    # Each way to read sees all of one moment.
    for reader in ("cat {0}", "head -c 1000000 {0}", "tail -c 1000000 {0}", "tail -n +1 {0}", "cp {0} /dev/stdout",
                   "dd if={0} bs=100 status=none", "grep '' {0}", "python3 -c 'print(open(\"{0}\").read())'"):
        json.loads(shell(reader.format(f"{folder}/stats")))
    equal("jq", "true", shell(f"jq '.requests.lookup > 0' {folder}/stats").strip())
    equal("jq of config", mount.store, shell(f"jq -r .store {folder}/config").strip())
    equal("wc and cat | wc", shell(f"wc -c < {folder}/config"), shell(f"cat {folder}/config | wc -c"))
    equal("tail -c 2", "}\n", shell(f"tail -c 2 {folder}/config"))
    shell(f"cp {folder}/metrics {mount.path('copy')} && cp --sparse=always {folder}/config {mount.path('copy2')}")
    check(b"lrufs_hits_total" in _lib.read_file(mount.path("copy")), "cp to the mount itself: the content is not there")
    equal("cp --sparse", _lib.read_file(f"{folder}/config"), _lib.read_file(mount.path("copy2")))
    # One that is open stays as it was, whatever others look at meanwhile.
    with open(os.path.join(folder, "stats"), "rb", buffering=0) as first:
        size = os.fstat(first.fileno()).st_size
        start = first.read(100)
        for _ in range(20):
            stats(mount)
        rest = first.read()
        equal("size of an open snapshot", size, len(start + rest))
        json.loads(start + rest)
    os.unlink(mount.path("copy"))
    os.unlink(mount.path("copy2"))


def test_many_at_once(mount):
    reader = f"for i in $(seq 10); do cat {mount.path('.lrufs')}/stats | jq -e .requests > /dev/null || exit 1; done"
    readers = [_lib.spawn("bash", "-c", reader) for _ in range(4)]
    for each in readers:
        equal("exit status of a reader", 0, each.wait(60))
    # More open at once than are kept: the oldest are lost, the newest are not.
    fds = []
    try:
        for _ in range(1100):
            fds.append(os.open(mount.path(".lrufs", "config"), os.O_RDONLY))
        json.loads(os.read(fds[-1], _lib.MIB))
        json.loads(os.read(fds[100], _lib.MIB))
        raises("the oldest of 1100", errno.ESTALE, os.read, fds[0], 100)
    finally:
        for fd in fds:
            os.close(fd)
    stats(mount)


def test_nothing_can_be_changed(mount):
    folder = mount.path(".lrufs")
    _lib.write_file(mount.path("file"), b"x")
    os.mkdir(mount.path("dir"))
    for what, codes, call in (
            ("create", errno.EPERM, lambda: os.open(f"{folder}/new", os.O_CREAT | os.O_WRONLY)),
            ("mkdir", errno.EPERM, lambda: os.mkdir(f"{folder}/new")),
            ("symlink", errno.EPERM, lambda: os.symlink("x", f"{folder}/new")),
            ("mkfifo", errno.EPERM, lambda: os.mkfifo(f"{folder}/new")),
            ("O_TMPFILE", (errno.EPERM, errno.EOPNOTSUPP), lambda: os.open(folder, os.O_TMPFILE | os.O_RDWR)),
            ("link into", errno.EPERM, lambda: os.link(mount.path("file"), f"{folder}/new")),
            ("link out", (errno.EPERM, errno.ENOENT), lambda: os.link(f"{folder}/stats", mount.path("new"))),
            ("unlink", errno.EPERM, lambda: os.unlink(f"{folder}/stats")),
            ("rmdir", errno.EBUSY, lambda: os.rmdir(folder)),
            ("rename out", errno.EPERM, lambda: os.rename(f"{folder}/stats", mount.path("new"))),
            ("rename in", errno.EPERM, lambda: os.rename(mount.path("file"), f"{folder}/new")),
            ("rename within", errno.EPERM, lambda: os.rename(f"{folder}/stats", f"{folder}/new")),
            ("rename of it", errno.EBUSY, lambda: os.rename(folder, mount.path("new"))),
            ("rename over it", errno.EBUSY, lambda: os.rename(mount.path("dir"), folder)),
            ("rename of a file over it", errno.EISDIR, lambda: os.rename(mount.path("file"), folder)),
            ("exchange", errno.EBUSY, lambda: _lib.renameat2(mount.path("dir"), folder, _lib.RENAME_EXCHANGE)),
            ("mkdir of it", errno.EEXIST, lambda: os.mkdir(folder)),
            ("chmod", errno.EPERM, lambda: os.chmod(f"{folder}/stats", 0o666)),
            ("chown", errno.EPERM, lambda: os.chown(f"{folder}/stats", 1, 1)),
            ("utime", errno.EPERM, lambda: os.utime(f"{folder}/stats", (1, 1))),
            ("chmod of it", errno.EPERM, lambda: os.chmod(folder, 0o777)),
            ("setxattr", errno.EOPNOTSUPP, lambda: os.setxattr(f"{folder}/stats", "user.x", b"x")),
            ("getxattr", errno.ENODATA, lambda: os.getxattr(f"{folder}/stats", "user.x")),
            ("readlink", errno.EINVAL, lambda: os.readlink(f"{folder}/stats")),
            ("absent name", errno.ENOENT, lambda: os.stat(f"{folder}/new")),
            ("a path through a file", errno.ENOTDIR, lambda: os.stat(f"{folder}/stats/x")),
            ("truncate to 5", errno.EINVAL, lambda: os.truncate(f"{folder}/evict", 5))):
        raises(what, codes, call)
    if os.geteuid() == 0:  # root may open anything
        for name in ("stats", "next"):
            fd = os.open(f"{folder}/{name}", os.O_WRONLY)
            raises(f"write to {name} as root", errno.EACCES, os.write, fd, b"x")
            os.close(fd)
        raises("O_TRUNC of stats as root", errno.EACCES, os.open, f"{folder}/stats", os.O_WRONLY | os.O_TRUNC)
        equal("root reads what is only written", b"", _lib.read_file(f"{folder}/evict"))
    os.unlink(mount.path("file"))
    os.rmdir(mount.path("dir"))


def test_others_do_not_see_it(mount):
    os.makedirs(mount.path("tree/.lrufs"))  # the name is taken in the root only
    _lib.write_file(mount.path("tree/.lrufs/stats"), b"mine")
    _lib.write_file(mount.path(".hidden"), b"h")
    equal("listing", [".hidden", "tree"], sorted(os.listdir(mount.dir)))
    equal("find", sorted([".", "./.hidden", "./tree", "./tree/.lrufs", "./tree/.lrufs/stats"]),
          sorted(shell(f"cd {mount.dir} && find .").split()))
    equal("tar", 5, len(shell(f"tar -C {mount.dir} -c . | tar -t").split()))
    if shell("command -v rsync || true"):
        equal("rsync", 5, len(shell(f"rsync -rn --list-only {mount.dir}/ | grep -v ^$").splitlines()))
    equal("du", "0\n", shell(f"du --inodes -s {mount.dir}/tree/.lrufs/none 2> /dev/null || echo 0"))
    shell(f"shopt -s nullglob; rm -rf {mount.dir}/* {mount.dir}/.[!.]*")
    equal("after rm -rf", [], os.listdir(mount.dir))
    stats(mount)


def test_commands(mount):
    os.makedirs(mount.path("a/b"))
    for name in ("a/1", "a/2", "a/b/3", "a/b/4", "ab", "z"):
        _lib.write_file(mount.path(name), b"x" * 5000)
    before = stats(mount)["statistics"]
    shell(f"echo 1 > {mount.path('.lrufs/checkpoint')}")
    after = stats(mount)["statistics"]
    check(after["durable_txn"] >= before["txn"], f"checkpoint: durable {after['durable_txn']}, wanted {before['txn']}")
    check(before["dirty_bytes"] > 0, "dirty_bytes is 0 after writes")
    equal("dirty_bytes after a checkpoint", 0, after["dirty_bytes"])
    shell(f"printf '' >> {mount.path('.lrufs/checkpoint')}; echo sync >> {mount.path('.lrufs/checkpoint')}")

    order = listed(mount, "next")
    equal("next", ["/a/1", "/a/2", "/a/b/3", "/a/b/4", "/ab", "/z"], order)
    _lib.read_file(mount.path("a/1"))  # (its lookup may have been answered by the kernel; the READ is none of them)
    equal("all in recent", sorted(order), sorted(listed(mount, "recent")))

    gone = lambda *names: all(not os.path.exists(mount.path(name)) for name in names)
    command(mount, "evict", "key a/2\n")
    _lib.wait_for("a/2 is gone", 10, lambda: gone("a/2"))
    check(os.path.exists(mount.path("a/1")), "a/1 went as well")
    with open(mount.path("z"), "rb") as held:
        command(mount, "evict", "key /z")
        _lib.wait_for("z is gone", 10, lambda: gone("z"))
        equal("an open file that was evicted", b"x" * 5000, held.read())
    command(mount, "evict", "prefix a/b/")
    _lib.wait_for("what is in a/b is gone", 10, lambda: gone("a/b/3", "a/b/4"))
    check(os.path.isdir(mount.path("a/b")), "a/b itself went with its content")
    command(mount, "evict", "prefix a")
    _lib.wait_for("a and ab are gone", 10, lambda: gone("a", "ab"))
    for text, code in (("key none", errno.ENOENT), ("key a/none", errno.ENOENT), ("prefix none", errno.ENOENT),
                       ("", errno.EINVAL), ("bytes", errno.EINVAL), ("bytes x", errno.EINVAL), ("bytes 12Q", errno.EINVAL),
                       ("bytes 0", errno.EINVAL), ("bytes 99999999999999999999", errno.EINVAL), ("prefix", errno.EINVAL),
                       ("evict all", errno.EINVAL), ("key", errno.EINVAL), ("key ", errno.EINVAL), ("All", errno.EINVAL),
                       ("key a//b", errno.EINVAL), ("key ../x", errno.EINVAL), ("key " + "x" * 300, errno.ENAMETOOLONG),
                       ("key " + "x" * 9000, errno.EINVAL), ("bytes 1M", errno.ENOENT), ("all", errno.ENOENT)):
        if text:
            command(mount, "evict", text, code)
    # Names with blanks, newlines and no encoding are paths like others.
    for name in ("with blank ", "two\nlines", "end\n", "back\\slash", "\udce9"):
        _lib.write_file(mount.path(name), b"x")
    equal("next escapes", ["/with blank ", "/two\\012lines", "/end\\012", "/back\\134slash"],
          listed_bytes(mount, "next")[:4])
    for name in ("with blank ", "two\nlines", "end\n", "back\\slash", "\udce9"):
        command(mount, "evict", f"key {name}\n")
        _lib.wait_for(f"{name!r} is gone", 10, lambda: gone(name))
    os.makedirs(mount.path("full"))
    _lib.write_file(mount.path("full/x"), b"x")
    command(mount, "evict", "key full", errno.ENOTEMPTY)
    for i in range(20):
        _lib.write_file(mount.path(f"big{i}"), b"x" * 100_000)
    command(mount, "evict", "bytes 1M")
    there = lambda: [i for i in range(20) if os.path.exists(mount.path(f"big{i}"))]
    left = _lib.wait_for("some are gone", 10, lambda: len(there()) <= 11 and there())
    check(len(left) >= 5 and left == list(range(20 - len(left), 20)), f"after evicting 1M: left are {left}")
    seen = stats(mount)
    check(seen["statistics"]["evictions"]["request"]["objects"] >= 10, f"evictions: {seen['statistics']['evictions']}")
    equal("evictions for room", 0, seen["statistics"]["evictions"]["capacity"]["objects"])
    command(mount, "evict", "all\n")
    _lib.wait_for("everything is gone", 10, lambda: not os.listdir(mount.dir))

    command(mount, "loglevel", "debug\n")
    equal("loglevel", b"debug\n", _lib.read_file(mount.path(".lrufs/loglevel")))
    command(mount, "loglevel", "loud", errno.EINVAL)
    command(mount, "loglevel", "info")
    log = _lib.read_file(mount.path(".lrufs/log")).decode()
    for part in ("mounted, with the store", "checkpoint on request", "evicted on request", "the log level is debug now"):
        check(part in log, f"{part!r} is not in the log: {log}")
    check("a/b" not in log and "full" not in log, f"names of files are in the log: {log}")


def listed_bytes(mount, file):
    lines = _lib.read_file(mount.path(".lrufs", file)).decode("utf-8", "surrogateescape").splitlines()
    return [line.split(" ", 1)[1] for line in lines]


def test_other_users(mount):
    if os.geteuid() != 0:
        return
    folder = mount.path(".lrufs")

    def as_other():
        os.setgroups([])
        os.setgid(OTHER_USER)
        os.setuid(OTHER_USER)
        for name, mode in FILES.items():
            if mode & 0o004:
                _lib.read_file(f"{folder}/{name}")
            else:
                raises(f"{name} read by another user", errno.EACCES, os.open, f"{folder}/{name}", os.O_RDONLY)
            raises(f"{name} written by another user", errno.EACCES, os.open, f"{folder}/{name}", os.O_WRONLY)
            raises(f"{name} truncated by another user", errno.EACCES, os.truncate, f"{folder}/{name}", 0)
        seen = subprocess.run([_lib.LRUFS, "evict", mount.dir, "--prefix", "/"], capture_output=True, text=True,
                              check=False, timeout=20)
        equal("lrufs evict by another user", 1, seen.returncode)
        check("only who has mounted it" in seen.stderr, f"its message: {seen.stderr}")
    _lib.in_child(30, as_other)


def test_verbs(mount):
    _lib.write_file(mount.path("v1"), b"x")
    _lib.write_file(mount.path("v2"), b"x")
    run(20, _lib.LRUFS, "checkpoint", mount.dir)
    run(20, _lib.LRUFS, "evict", mount.dir, "v1")
    _lib.wait_for("v1 is gone", 10, lambda: not os.path.exists(mount.path("v1")))
    out = run(20, _lib.LRUFS, "evict", mount.dir, "v1", ok=(1,))
    equal("evicting it again", "lrufs: there is no v1\n", out)
    run(20, _lib.LRUFS, "evict", mount.store, "--prefix", "v")  # mounted: through the mount
    _lib.wait_for("v2 is gone", 10, lambda: not os.path.exists(mount.path("v2")))
    out = run(20, _lib.LRUFS, "evict", mount.dir, ok=(2,))
    check("Give a KEY" in out, out)
    run(20, _lib.LRUFS, "evict", mount.dir, "x", "--bytes", "1", ok=(2,))
    out = run(20, _lib.LRUFS, "checkpoint", _lib.WORK, ok=(1,))
    check("is not in a mount of lrufs" in out, out)


def main():
    mount = _lib.Mount(size="64M", options=["-o", "allow_other"] if os.geteuid() == 0 else [])
    with mount:
        for name, test in list(globals().items()):
            if name.startswith("test_") and (len(sys.argv) == 1 or name in sys.argv[1:]):
                step(name)
                test(mount)
        step("a store that is not mounted")
        _lib.write_file(mount.path("k1"), b"x")
        _lib.write_file(mount.path("k2"), b"x")
        mount.umount()
        run(20, _lib.LRUFS, "evict", mount.store, "k1")
        run(20, _lib.LRUFS, "evict", mount.store, "k1", ok=(1,))
        run(20, _lib.LRUFS, "checkpoint", mount.store)

        step("without it")
        mount.mount("--no-control")
        equal("names left", ["k2"], os.listdir(mount.dir))
        raises(".lrufs with --no-control", errno.ENOENT, os.stat, mount.path(".lrufs"))
        out = run(20, _lib.LRUFS, "checkpoint", mount.dir, ok=(1,))
        check("has no control folder" in out, out)
        os.mkdir(mount.path(".lrufs"))
        _lib.write_file(mount.path(".lrufs/mine"), b"m")
        mount.umount()

        step("a store with that name of its own: it is shown, and there is no control folder")
        mount.mount()
        with open(os.path.join(_lib.WORK, "mount.out"), encoding="utf-8") as file:
            check("has something of its own named .lrufs" in file.read(), "lrufs mount says nothing of it")
        equal("its content", ["mine"], os.listdir(mount.path(".lrufs")))
        os.rename(mount.path(".lrufs"), mount.path("mine"))
        mount.remount()
        stats(mount)
        equal("names left", ["k2", "mine"], sorted(os.listdir(mount.dir)))
        mount.umount()
        mount.mount("-o", "ro")
        command(mount, "evict", "all", errno.EROFS)
        command(mount, "checkpoint", "1", errno.EROFS)
        stats(mount)


_lib.main(main)
