#!/usr/bin/env python3
# ctest: timeout=300
"""lrufs copy, dump and load. Copies of a store that several programs write are the state of one moment: of files that
are made in order there is a prefix, and each is whole. What dump writes is read by GNU tar and bsdtar, with everything
that a store holds; dump | load | dump gives the same bytes. load refuses hostile names, keeps the order of use, and
makes room. Who is interrupted leaves nothing half done."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import hashlib
import io
import json
import os
import random
import signal
import stat
import subprocess
import tarfile
import time
import urllib.parse
import zlib
import _lib
from _lib import LRUFS, MIB, WORK, Mount, check, equal, run, step

if _lib.PLAIN:
    _lib.skip("is about the program itself")
_lib.need_root()
_lib.need("tar", "bsdtar")


def work(*parts):
    return os.path.join(WORK, *parts)


def lrufs(*arguments, ok=(0,), **kwargs):
    return run(120, LRUFS, *arguments, ok=ok, **kwargs)


def leftovers():
    return [name for name in os.listdir(WORK) if ".copy-" in name or ".load-" in name or ".dump-" in name]


# --- everything that a store holds -----------------------------------------------------------------------------------

def make_tree(top):
    rng = random.Random(7)
    os.makedirs(os.path.join(top, "folder/deep"))
    os.makedirs(os.path.join(top, "empty"))

    def write(name, data):
        with open(os.path.join(top, name), "wb") as file:
            file.write(data)

    write("nothing", b"")
    write("small", b"a few bytes")
    write("inline", rng.randbytes(900))
    write("large", rng.randbytes(5 * MIB + 13))
    write("folder/one", rng.randbytes(5000))
    write("folder/deep/" + "n" * 255, b"a long name")
    write("line\nbreak and \u00e4\u2603", b"a strange name")
    with open(os.path.join(top.encode(), b"not utf-8 \xff\xfe"), "wb") as file:
        file.write(b"bytes")
    path = top
    for _ in range(6):
        path = os.path.join(path, "p" * 60)
        os.mkdir(path)
    with open(os.path.join(path, "far below"), "wb") as file:
        file.write(b"deep")
    with open(os.path.join(top, "sparse"), "wb") as file:
        file.seek(3 * MIB)
        file.write(rng.randbytes(9000))
        file.truncate(40 * MIB)
    with open(os.path.join(top, "only a hole"), "wb") as file:
        file.truncate(8 * MIB)
    os.link(os.path.join(top, "small"), os.path.join(top, "folder/second name"))
    os.link(os.path.join(top, "small"), os.path.join(top, "folder/deep/third name"))
    os.symlink("folder/one", os.path.join(top, "link"))
    os.symlink("x" * 3000, os.path.join(top, "long link"))
    os.mkfifo(os.path.join(top, "fifo"), 0o620)
    os.mknod(os.path.join(top, "device"), stat.S_IFCHR | 0o640, os.makedev(1, 3))
    os.mknod(os.path.join(top, "block"), stat.S_IFBLK | 0o600, os.makedev(259, 70000))
    os.setxattr(os.path.join(top, "small"), "user.text", b"a value")
    os.setxattr(os.path.join(top, "large"), "user.bytes", bytes(range(256)) * 8)
    os.setxattr(os.path.join(top, "folder"), "user.of a folder", b"x\0y\n=z")
    os.setxattr(os.path.join(top, "small"), "user.lrufs.pin", b"1")
    os.setxattr(os.path.join(top, "large"), "user.lrufs.ttl", b"36000")
    os.setxattr(os.path.join(top, "empty"), "user.lrufs.pin", b"1")
    os.setxattr(os.path.join(top, "empty"), "user.lrufs.ttl", b"7200.5")
    os.chown(os.path.join(top, "inline"), 12345, 3_000_000)
    os.chmod(os.path.join(top, "inline"), 0o4711)
    os.chmod(os.path.join(top, "empty"), 0o1770)
    for number, (where, _, names) in enumerate(sorted(os.walk(top, topdown=False))):
        for name in sorted(names) + ["."]:
            os.utime(os.path.join(where, name), ns=(10**18 + number * 1000 + 1, 10**18 + number * 1001 + 7),
                     follow_symlinks=False)


def describe(top, decode=str):
    """path → everything about it that an archive keeps."""
    tree, inodes = {}, {}
    for where, dirs, names in os.walk(os.fsencode(top)):
        for name in [b"."] + [d for d in dirs if os.path.islink(os.path.join(where, d))] + names:
            path = os.path.join(where, name)
            st = os.lstat(path)
            key = os.path.relpath(path, os.fsencode(top))
            facts = [oct(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns]
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else None
                    facts += [st.st_size, digest.hexdigest() if digest else hashlib.sha256(file.read()).hexdigest()]
            if stat.S_ISLNK(st.st_mode):
                facts.append(os.readlink(path))
            if stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
                facts.append(st.st_rdev)
            if not stat.S_ISLNK(st.st_mode):
                facts.append({decode(n): os.getxattr(path, n) for n in os.listxattr(path)
                              if n.startswith("user.") and n != "user.lrufs.stats"})
            if not stat.S_ISDIR(st.st_mode):
                inodes.setdefault((st.st_dev, st.st_ino), []).append(key)
            tree[key] = facts
    for names in inodes.values():
        for name in names:
            tree[name].append(sorted(names))
    return tree


def compare(what, expected, seen):
    for path in sorted(set(expected) | set(seen)):
        equal(f"{what}: {path!r}", expected.get(path), seen.get(path))


def everything():
    with Mount("tree", size="128M") as mount:
        make_tree(mount.dir)
        tree = describe(mount.dir)
        step("dump, while it is mounted: by the mount point, by a path in it, by the store file")
        archive = work("tree.tar")
        facts = json.loads(lrufs("dump", "--json", "-o", archive, mount.dir))
        equal("files told", sum(1 for f in tree.values() if not f[0].startswith("0o4")) - 2, facts["files"])
        for name in (mount.path("folder/deep"), mount.store):
            with open(work("other.tar"), "wb") as out:
                run(60, LRUFS, "dump", name, stdout=out, stderr=None)
            run(10, "cmp", archive, work("other.tar"))
        step("GNU tar and bsdtar unpack it")
        for number, command in enumerate((["tar", "--xattrs", "--xattrs-include=*", "--delay-directory-restore", "-xpf"],
                                          ["bsdtar", "-xpf"])):
            top = work(f"unpacked{number}")
            os.mkdir(top)
            out = run(60, *command, archive, "-C", top)
            # GNU tar does not know the record that says that a name is no UTF-8, and takes the name as it is.
            out = [line for line in out.splitlines() if "'hdrcharset'" not in line]
            equal(f"{command[0]}'s messages", [], out)
            # libarchive writes a blank in a name as %20; tar takes it as it is.
            seen = describe(top, urllib.parse.unquote)
            if number == 1:  # bsdtar leaves the time of the folder that it unpacks in
                seen[b"."] = tree[b"."]
            compare(command[0], tree, seen)
            check(os.stat(os.path.join(top, "sparse")).st_blocks * 512 < MIB, f"{command[0]}: holes are filled")
        step("load, and dump again: the same bytes")
        loaded = work("loaded.lrufs")
        facts = json.loads(lrufs("load", "--json", "--size", "128M", loaded, archive))
        equal("left out", 0, facts["left_out"])
        lrufs("check", loaded)
        lrufs("dump", "-o", work("again.tar"), loaded)
        run(10, "cmp", archive, work("again.tar"))
        step("copy: the same")
        lrufs("copy", mount.dir, work("copied.lrufs"))
        lrufs("check", work("copied.lrufs"))
        lrufs("dump", "-o", work("copied.tar"), work("copied.lrufs"))
        run(10, "cmp", archive, work("copied.tar"))
    with Mount("seen", store=loaded, size="128M") as mount:
        compare("loaded", tree, describe(mount.dir))
        check(os.stat(mount.path("sparse")).st_blocks * 512 < MIB, "loaded: holes are filled")


# --- a store that is being written -------------------------------------------------------------------------------

def content(writer, number):
    body = random.Random(writer * 1_000_003 + number).randbytes(64) * (1 + number * 37 % 900)
    return zlib.crc32(body).to_bytes(4, "big") + body


def write_in_order(top, writer):
    folder = os.path.join(top, f"w{writer}")
    os.mkdir(folder)
    number = 0
    while True:
        if writer == 0:  # rewritten in place again and again
            with open(os.path.join(folder, "same"), "r+b" if number else "w+b") as file:
                file.write(content(writer, 7) * 2)
        temporary = os.path.join(folder, "new")
        with open(temporary, "wb") as file:
            file.write(content(writer, number))
        os.rename(temporary, os.path.join(folder, f"{number:06}"))
        number += 1


def numbers_in(top, writer):
    """The files of a writer, each verified; a prefix."""
    folder = os.path.join(top, f"w{writer}")
    if not os.path.isdir(folder):
        return 0
    names = sorted(n for n in os.listdir(folder) if n.isdigit())
    for expected, name in enumerate(names):
        equal(f"files of writer {writer}", f"{expected:06}", name)
        with open(os.path.join(folder, name), "rb") as file:
            check(file.read() == content(writer, expected), f"w{writer}/{name} is not whole")
    return len(names)


def one_moment():
    with Mount("busy", size="512M") as mount:
        writers = [_lib.spawn_function(write_in_order, mount.dir, w) for w in range(3)]
        first = mount.path("w2", "000005")
        _lib.wait_for("the writers write", 60, lambda: os.path.exists(first))
        seen = []
        for i in range(3):
            lrufs("copy", mount.dir if i % 2 else mount.store, work(f"moment{i}.lrufs"))
            if i == 0:
                unpacked = work("moment")
                os.mkdir(unpacked)
                with subprocess.Popen([LRUFS, "dump", mount.store], stdout=subprocess.PIPE) as dump:
                    run(60, "tar", "-xf", f"/proc/{os.getpid()}/fd/{dump.stdout.fileno()}", "-C", unpacked)
                equal("exit status of dump", 0, dump.returncode)
                check(sum(numbers_in(unpacked, w) for w in range(3)) > 0, "the dump is empty")
            for writer in writers:
                equal("a writer ended", None, writer.poll())
            before = sum(seen[-1]) if seen else 0
            _lib.wait_for("the writers go on", 60, lambda b=before: len(os.listdir(mount.path("w1"))) > b // 8)
        for writer in writers:
            writer.kill()
        for i in range(3):
            lrufs("check", work(f"moment{i}.lrufs"))
            with Mount(f"moment{i}", store=work(f"moment{i}.lrufs"), size="512M") as copy:
                seen.append([numbers_in(copy.dir, w) for w in range(3)])
        for earlier, later in zip(seen, seen[1:]):
            check(all(a <= b for a, b in zip(earlier, later)), f"an earlier copy has more: {seen}")
        check(sum(seen[0]) > 0, f"the copies are empty: {seen}")
        print(f"   files in the copies: {seen}")
        final = [numbers_in(mount.dir, w) for w in range(3)]
        check(all(a <= b for a, b in zip(seen[-1], final)), f"a copy has more than there is: {seen} {final}")
        statistics = json.loads(lrufs("stat", "--json", mount.dir))["statistics"]
        equal("readers that are left", 0, statistics["shared_readers"])


# --- what load does ----------------------------------------------------------------------------------------------

def tar_of(path, entries):
    with tarfile.open(path, "w") as archive:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 1_600_000_000
            archive.addfile(info, io.BytesIO(data))


def names_in(store):
    out = subprocess.run([LRUFS, "dump", store], stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(out)) as archive:
        return [m.name for m in archive if not m.isdir()]


def hostile_and_full():
    step("names that lead elsewhere")
    tar_of(work("hostile.tar"), [("/etc/cron.d/x", b"1"), ("../outside", b"2"), ("a/../../b", b"3"),
                                 ("n" * 256, b"4"), ("./fine//name", b"5"), ("good", b"6")])
    text = lrufs("load", "--size", "8M", work("hostile.lrufs"), work("hostile.tar"), ok=(1,))
    for word in ('a leading "/" is cut off', "../outside is left out", "a/../../b is left out", "more than 255 bytes",
                 "3 entries were left out"):
        check(word in text, f"expected '{word}' in: {text}")
    equal("what was loaded", ["etc/cron.d/x", "fine/name", "good"], names_in(work("hostile.lrufs")))
    lrufs("check", work("hostile.lrufs"))

    step("what was there is replaced; the order is the order of use")
    tar_of(work("more.tar"), [("good", b"new"), ("last", b"7")])
    lrufs("load", work("hostile.lrufs"), work("more.tar"))
    equal("the order", ["etc/cron.d/x", "fine/name", "good", "last"], names_in(work("hostile.lrufs")))
    with Mount("use", store=work("hostile.lrufs"), size="8M", options=["--recency", "0s"]) as mount:
        with open(mount.path("fine/name"), "rb") as file:
            equal("content", b"5", file.read())
        with open(mount.path("good"), "rb") as file:
            equal("content", b"new", file.read())
    equal("the order", ["etc/cron.d/x", "last", "fine/name", "good"], names_in(work("hostile.lrufs")))

    step("a full store: the least recent go")
    tar_of(work("many.tar"), [(f"d{i // 10}/f{i:03}", os.urandom(200_000)) for i in range(100)])
    facts = json.loads(lrufs("load", "--json", "--size", "8M", work("full.lrufs"), work("many.tar")))
    equal("left out", 0, facts["left_out"])
    lrufs("check", work("full.lrufs"))
    names = names_in(work("full.lrufs"))
    check(20 < len(names) < 42, f"expected about 35 files, saw {len(names)}")
    equal("the last ones", [f"d{i // 10}/f{i:03}" for i in range(100)][-len(names):], names)
    check(facts["evicted"] >= 100 - len(names), f"expected evictions: {facts}")
    facts = json.loads(lrufs("copy", "--json", "--size", "5M", work("full.lrufs"), work("smaller.lrufs")))
    few = names_in(work("smaller.lrufs"))
    equal("what a smaller copy keeps", names[-len(few):], few)
    check(0 < len(few) < len(names) and facts["evicted"] > 0, f"expected fewer files: {facts}")
    lrufs("check", work("smaller.lrufs"))

    step("a stream that is cut off, or is none")
    with open(work("many.tar"), "rb") as whole, open(work("cut.tar"), "wb") as cut:
        cut.write(whole.read(3_000_100))
    lrufs("load", "--size", "8M", work("cut.lrufs"), work("cut.tar"), ok=(1,))
    check(not os.path.exists(work("cut.lrufs")), "a store was made of half an archive")
    with open(work("none.tar"), "wb") as file:
        file.write(b"this is no archive\n" * 100)
    text = lrufs("load", "--size", "8M", work("none.lrufs"), work("none.tar"), ok=(1,))
    check("tar archive" in text, text)
    check(not os.path.exists(work("none.lrufs")), "a store was made of nothing")
    equal("left behind", [], leftovers())


def refusals():
    step("what is refused")
    with Mount("refuse", size="16M") as mount:
        with open(mount.path("f"), "wb") as file:
            file.write(b"x")
        text = lrufs("load", mount.path("f"), work("more.tar"), ok=(1,))
        check("Not a directory" in text, text)
        text = lrufs("copy", mount.store, mount.dir, ok=(1,))
        check(f"lrufs dump {mount.store} | lrufs load {mount.dir}" in text, text)
        for verb in (["copy", mount.store, work("c.lrufs")], ["dump", "-o", work("c.tar"), mount.store]):
            text = lrufs(*verb, "--from-checkpoint", ok=(1,))
            check("unmount it first" in text, text)
        text = lrufs("copy", mount.store, work("more.tar"), ok=(1,))
        check("exists already" in text, text)
    text = lrufs("load", work("absent.lrufs"), work("more.tar"), ok=(2,))
    check("--size" in text, text)
    text = lrufs("dump", work("absent.lrufs"), ok=(1,))
    lrufs("dump", "--from-checkpoint", "-o", work("c.tar"), mount.store)
    lrufs("copy", "--from-checkpoint", mount.store, work("c.lrufs"))
    equal("in the copy", ["f"], names_in(work("c.lrufs")))
    equal("left behind", [], leftovers())


# --- interrupted ----------------------------------------------------------------------------------------------------

def files_in(path):
    if path.endswith(".tar"):
        with tarfile.open(path) as tar:
            return sum(member.isfile() for member in tar)
    return len(lrufs("ls", path).split())


def interrupted():
    step("who is interrupted leaves nothing half done")
    rng = _lib.seed()
    tar_of(work("big.tar"), [(f"f{i}", os.urandom(1_000_000)) for i in range(60)])
    lrufs("load", "--size", "128M", work("big.lrufs"), work("big.tar"))
    stopped = 0
    for command, result in ((["copy", work("big.lrufs"), work("c1.lrufs")], "c1.lrufs"),
                            (["dump", "-o", work("d1.tar"), work("big.lrufs")], "d1.tar"),
                            (["load", "--size", "128M", work("l1.lrufs"), work("big.tar")], "l1.lrufs")):
        before = stopped
        for attempt in range(40):  # four at least, and until one was hit
            if attempt >= 4 and stopped > before:
                break
            process = _lib.spawn(LRUFS, *command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            _lib.wait_for("it begins, or has ended", 30, lambda p=process: p.poll() is not None or leftovers())
            end = time.monotonic() + rng.random() ** 2 * 0.2
            while time.monotonic() < end and process.poll() is None:
                time.sleep(0.001)
            process.send_signal(signal.SIGINT)
            _, text = process.communicate(timeout=60)
            check(process.returncode in (0, -signal.SIGINT), f"{command}: exit status {process.returncode}: {text}")
            equal("left behind", [], leftovers())
            there = os.path.exists(work(result))
            if "interrupted" in text:
                stopped += 1
                check(process.returncode != 0 and not there, f"{command} was interrupted; status {process.returncode}, {result}: {there}")
            else:  # it came before the work began, or when it was done
                check(there or process.returncode != 0, f"{command} said that it was done, and {result} is not there")
            if there:
                equal(f"files of {result}", 60, files_in(work(result)))
                os.unlink(work(result))
    check(stopped > 0, "no command was interrupted in the middle")
    step("an archive that does not go on, into a store that is there")
    feed = _lib.spawn(LRUFS, "load", work("hostile.lrufs"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                      stderr=subprocess.PIPE)
    with open(work("big.tar"), "rb") as file:
        feed.stdin.write(file.read(10_300_000))
        feed.stdin.flush()
    feed.send_signal(signal.SIGINT)
    feed.stdin.close()
    feed.stderr.read()
    equal("exit status", -signal.SIGINT, feed.wait(60))
    lrufs("check", work("hostile.lrufs"))
    with open(work("hostile.lrufs"), "rb"):
        pass


def test():
    step("everything that a store holds")
    everything()
    step("a store that is being written")
    one_moment()
    hostile_and_full()
    refusals()
    interrupted()


_lib.main(test)
