#!/usr/bin/env python3
# ctest: timeout=120
"""A damaged store on a mount: what is hurt is EIO and the rest goes on; the next mount is read-only and says why, unless
it is forced; `lrufs check` names what is hurt, and --repair keeps the rest."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import errno
import os
import re
import _lib
from _lib import LRUFS, Mount, check, equal, raises, run


def leaf_with(store, text):
    """The offset of a place in the file that holds this text, in the newest copy: all of them."""
    with open(store, "rb") as file:
        data = file.read()
    found = []
    at = data.find(text)
    while at >= 0:
        found.append(at)
        at = data.find(text, at + 1)
    return found


def test():
    mount = Mount(size="64M")
    mount.mount()
    for folder in range(8):
        os.mkdir(mount.path(f"d{folder}"))
        for number in range(40):
            _lib.write_file(mount.path(f"d{folder}/f{number}"), f"content {folder} {number} ".encode() * 20)
    _lib.write_file(mount.path("large"), os.urandom(8 << 20))
    mount.umount()
    sound = _lib.read_file(mount.store)

    _lib.step("a page is hurt while nobody looks")
    places = leaf_with(mount.store, b"content 3 7 ")
    check(places, "the content is inline")
    with open(mount.store, "r+b") as file:
        for place in places:
            file.seek(place)
            file.write(b"C")
    mount.mount()
    raises("the file on the page", errno.EIO, _lib.read_file, mount.path("d3/f7"))
    equal("another file", b"content 6 1 " * 20, _lib.read_file(mount.path("d6/f1")))
    _lib.write_file(mount.path("d6/new"), b"it goes on")
    check("fails its checksum" in _lib.tail_of_log(), "the log tells of it")
    mount.umount()

    _lib.step("it is remembered")
    mount.mount()
    raises("a write", errno.EROFS, _lib.write_file, mount.path("d6/other"), b"x")
    equal("what was written", b"it goes on", _lib.read_file(mount.path("d6/new")))
    with open(os.path.join(_lib.WORK, "mount.out"), encoding="utf-8") as file:
        said = file.read()
    check("read-only" in said and f"lrufs check --repair {mount.store}" in said, f"a warning, saw {said!r}")
    mount.umount()
    mount.mount("--force")
    _lib.write_file(mount.path("d6/other"), b"x")
    mount.umount()
    mount.mount("-o", "force")
    _lib.write_file(mount.path("d6/other"), b"y")
    mount.umount()

    _lib.step("check names it, repair keeps the rest")
    said = run(60, LRUFS, "check", mount.store, ok=(1,))
    check("/d3/f7: " in said and "page " in said and "inode " in said, f"path, inode and page, saw {said}")
    said = run(60, LRUFS, "check", "--repair", mount.store)
    check("/d3/f7: dropped" in said, f"what was dropped, saw {said}")
    equal("files beside the store", [], [name for name in os.listdir(_lib.WORK) if "repair" in name])
    run(60, LRUFS, "check", mount.store)
    mount.mount()
    raises("what was hurt", errno.ENOENT, os.stat, mount.path("d3/f7"))
    equal("what was not", b"content 6 1 " * 20, _lib.read_file(mount.path("d6/f1")))
    kept = sum(len(files) for _, _, files in os.walk(mount.dir))
    check(250 <= kept < 323, f"most of 323 files, saw {kept}")
    _lib.write_file(mount.path("d6/new"), b"writable again")
    mount.umount()
    mount.check()

    _lib.step("a store that is cut off can be read if that is asked for")
    with open(mount.store, "wb") as file:
        file.write(sound[:len(sound) // 2])
    needed = int(re.search(r"needs (\d+)", run(60, LRUFS, "check", mount.store, ok=(1,)))[1])
    with open(mount.store, "wb") as file:
        file.write(sound[:needed - 4096])  # without the last page that is in use
    said = run(60, LRUFS, "mount", mount.store, mount.dir, ok=(1,))
    check("truncated" in said and "-o ro" in said and not mount.mounted(), f"what to do, saw {said}")
    mount.mount("-o", "ro")
    check(len(os.listdir(mount.dir)) == 9, "the root is readable")
    raises("a write", errno.EROFS, _lib.write_file, mount.path("new"), b"x")
    mount.umount()
    run(60, LRUFS, "check", "--repair", mount.store)
    mount.mount()
    _lib.write_file(mount.path("new"), b"x")
    mount.umount()
    mount.check()

    _lib.step("without its root a store is not mounted")
    with open(mount.store, "wb") as file:
        file.write(sound[:20 * 4096])
    said = run(60, LRUFS, "mount", mount.store, mount.dir, ok=(1,))
    check("lrufs check --repair" in said and not mount.mounted(), f"what to do, saw {said}")


if _lib.PLAIN:
    _lib.skip("a plain directory has no store")
_lib.main(test)
