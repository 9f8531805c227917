#!/usr/bin/env python3
# ctest: timeout=180
"""The tour of the README: each command of its examples ("    $ …") is run, in order, with the mount point and the folder
replaced; what it prints must look like what the README shows: the same lines but for numbers, sizes and times. Of
`lrufs stat` the labels count, since which lines there are depends on the moment. LRUFS_README_WRITE=1 puts what was really
printed into the README."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import os
import re
import subprocess
import _lib
from _lib import check, equal, step

SECTIONS = ("By example", "Files in a store, by command", "Seeing into it, and steering it")
SHOWN = {"/mnt/cache": "mnt", "/tmp/readme": "work"}  # in the README, and here
README = os.path.join(_lib.SOURCE_DIR, "README.md")


def examples(text):
    """(section, line number, command, shown lines) of each command; lines count from 0."""
    section, lines = None, text.split("\n")
    for number, line in enumerate(lines):
        if line.startswith("## "):
            section = line[3:]
        if section in SECTIONS and line.startswith("    $ "):
            shown = []
            for below in lines[number + 1:]:
                if not below.startswith("    ") or below.startswith("    $ "):
                    break
                shown.append(below[4:])
            yield section, number, line[6:], shown


def alike(line):
    """What of a line is the same each time."""
    line = re.sub(r"\b[0-9a-f]{32}\b", "ID", line)
    line = re.sub(r"(?<![A-Za-z\d])\d[\d,.:-]*", "N", line)
    line = re.sub(r"N ?(B|KiB|MiB|GiB|[KMG]|µs|us|ms|s)\b", "N", line)
    return re.sub(r"\s+", " ", line).strip()


def label(line):
    return re.split(r"\s{2,}", line.strip())[0]


def run(command, folder, mount_point):
    here = command.replace("/mnt/cache", mount_point)
    path = os.path.dirname(_lib.LRUFS) + ":" + os.environ["PATH"]
    done = subprocess.run(["bash", "-c", here], cwd=folder, env={**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"}, timeout=100,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    printed = done.stdout.replace(mount_point, "/mnt/cache").replace(folder, "/tmp/readme")
    return done.returncode, printed.rstrip("\n").split("\n") if printed.strip() else []


def compare(command, shown, code, printed):
    fails = any(line.startswith("lrufs: ") for line in shown)
    equal(f"{command}: success", not fails, code == 0)
    if not shown:
        return  # it is not shown, and may be long
    if command.startswith("lrufs stat"):
        labels = [label(line) for line in printed]
        for wanted in ("Store", "Mounted", "Bound", "Used", "Files", "Evicted", "Written", "Requests"):
            check(wanted in labels and wanted in [label(line) for line in shown], f"{command}: expected a line {wanted!r}, saw {labels}")
        return
    equal(f"{command}: what it prints", [alike(line) for line in shown], [alike(line) for line in printed])


def test():
    _lib.need("jq")
    if _lib.PLAIN:
        _lib.skip("the README is about mounts")
    folder, mount_point = os.path.join(_lib.WORK, "readme"), os.path.join(_lib.WORK, "cache")
    os.mkdir(folder)
    with open(os.path.join(folder, "cat.png"), "wb") as file:
        file.write(os.urandom(5000))
    with open(README, encoding="utf-8") as file:
        text = file.read()
    lines, seen, at = text.split("\n"), set(), None
    write, moved = os.environ.get("LRUFS_README_WRITE") == "1", 0
    for section, number, command, shown in examples(text):
        if section != at:
            step(section)
            at = section
        seen.add(section)
        command = command.split("   #")[0].rstrip()
        code, printed = run(command, folder, mount_point)
        if write and shown:
            start = number + 1 + moved
            lines[start:start + len(shown)] = ["    " + line for line in printed]
            moved += len(printed) - len(shown)
        elif not write:
            compare(command, shown, code, printed)
    equal("sections with examples", set(SECTIONS), seen)
    if os.path.ismount(mount_point):
        _lib.run(60, _lib.LRUFS, "umount", mount_point)
    if write:
        with open(README, "w", encoding="utf-8") as file:
            file.write("\n".join(lines))


_lib.main(test)
