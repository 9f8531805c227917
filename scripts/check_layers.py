#!/usr/bin/env python3
"""Check the layers of the source tree: cmd -> fs/fuse -> fs -> store, and a few rules of layout.

usage: check_layers.py [--quiet] [ROOT]      exit status 0: fine, 1: violations (one line each), 2: usage

Rules, for the C++ sources in store/, fs/, fs/fuse/ and cmd/:
  * includes point down only; libfuse is included by fs/fuse alone, spdlog never by store;
  * includes of our own headers are written from the root of the tree ("store/page.h");
  * every header has #pragma once; no source is longer than 700 lines;
  * sources are *.h and *.cc, directly in one of the four folders (others would not be built).
"""

import pathlib
import re
import sys

MAX_LINES = 700
FOLDERS = ("store", "fs", "cmd")
OTHER_CXX = {".cpp", ".cxx", ".c", ".hpp", ".hxx", ".hh", ".ipp", ".inl"}

INCLUDE = re.compile(r'^\s*#\s*(?:include|import)\s*([<"])([^>"]+)[>"]')
LIBFUSE = re.compile(r"^(fuse3?/|fuse[a-z_]*\.h$|cuse_lowlevel\.h$)")
SPDLOG = re.compile(r"^spdlog/")

# layer -> folders of ours that it may include, and whether it may include libfuse and spdlog
LAYERS = {
    "store": (("store",), False, False),
    "fs": (("store", "fs"), False, True),
    "fs/fuse": (("store", "fs", "fs/fuse"), True, True),
    "cmd": (("store", "fs", "fs/fuse", "cmd"), False, True),
}


def layer_of_header(name):
    """The layer that an include path from the root names, None when it is no header of ours."""
    parts = name.split("/")
    if len(parts) == 1:
        return None
    folder = "/".join(parts[:-1])
    if folder in LAYERS:
        return folder
    return parts[0] if parts[0] in ("store", "fs", "cmd", "tests") else None


def check_include(layer, quote, name):
    """What is wrong with one include in a source of a layer, or None."""
    allowed, may_fuse, may_spdlog = LAYERS[layer]
    if LIBFUSE.match(name) and not may_fuse:
        return f"{layer} must not include libfuse (<{name}>)"
    if SPDLOG.match(name) and not may_spdlog:
        return f"{layer} must not include spdlog (<{name}>)"
    if ".." in name.split("/"):
        return f'"{name}": write includes from the root of the tree'
    target = layer_of_header(name)
    if target is not None:
        if target not in allowed:
            return f'{layer} must not include {target} ("{name}")'
    elif quote == '"' and not name.startswith("lrufs/"):
        return f'"{name}": write our headers from the root of the tree ("{layer}/…"), others in <>'
    return None


def check_file(path, layer):
    problems = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if match:
            problem = check_include(layer, match.group(1), match.group(2))
            if problem:
                problems.append((number, problem))
    if path.suffix == ".h" and not any(re.match(r"^\s*#\s*pragma\s+once\b", line) for line in lines):
        problems.append((1, "header without #pragma once"))
    if len(lines) > MAX_LINES:
        problems.append((len(lines), f"{len(lines)} lines, more than {MAX_LINES}: split it"))
    return problems


def check_tree(root):
    """All problems below root as (path, line, text), and the number of sources."""
    problems = []
    count = 0
    for top in FOLDERS:
        for path in sorted((root / top).rglob("*")):
            if path.name.startswith(".") or not path.is_file():
                continue
            relative = path.relative_to(root)
            if path.suffix in OTHER_CXX:
                problems.append((relative, 1, "C++ sources are called *.h and *.cc here"))
                continue
            if path.suffix not in (".h", ".cc"):
                continue
            count += 1
            layer = relative.parent.as_posix()
            if layer not in LAYERS:
                problems.append((relative, 1, f"sources lie directly in {', '.join(LAYERS)}; this is not built"))
                continue
            problems += [(relative, number, text) for number, text in check_file(path, layer)]
    return problems, count


def main(arguments):
    quiet = "--quiet" in arguments
    rest = [a for a in arguments if a != "--quiet"]
    if len(rest) > 1 or any(a.startswith("-") for a in rest):
        print(__doc__, file=sys.stderr)
        return 2
    root = pathlib.Path(rest[0]) if rest else pathlib.Path(__file__).resolve().parent.parent
    if not root.is_dir():
        print(f"check_layers: no such folder: {root}", file=sys.stderr)
        return 2
    problems, count = check_tree(root)
    for path, number, text in problems:
        print(f"{root / path}:{number}: error: {text}", file=sys.stderr)
    if not quiet:
        print(f"check_layers: {count} sources, {len(problems)} violations")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
