#!/usr/bin/env python3
"""Show that check_layers.py lets a good tree pass and fails on each kind of violation."""

import pathlib
import subprocess
import sys
import tempfile

CHECK = pathlib.Path(__file__).resolve().parent / "check_layers.py"

GOOD = {
    "store/page.h": '#pragma once\n#include <cstdint>\n#include <xxhash.h>\n#include "lrufs/version.h"\n',
    "store/page.cc": '#include "store/page.h"\n',
    "fs/volume.h": '#pragma once\n#include "store/page.h"\n',
    "fs/fuse/session.h": '#pragma once\n#include <fuse_lowlevel.h>\n#include <spdlog/spdlog.h>\n#include "fs/volume.h"\n',
    "cmd/main.cc": '#include <CLI/CLI.hpp>\n#include "fs/fuse/session.h"\n' + "\n" * 698,
}

# what it shows -> (file, content, part of the message)
BAD = {
    "store includes fs": ("store/a.cc", '#include "fs/volume.h"\n', "must not include fs"),
    "store includes fs/fuse": ("store/a.cc", "#include <fs/fuse/session.h>\n", "must not include fs/fuse"),
    "store includes cmd": ("store/a.h", '#pragma once\n  #  include "cmd/x.h"\n', "must not include cmd"),
    "store includes libfuse": ("store/a.cc", "#include <fuse_lowlevel.h>\n", "libfuse"),
    "store includes libfuse by its folder": ("store/a.cc", "#include <fuse3/fuse.h>\n", "libfuse"),
    "store includes spdlog": ("store/a.cc", "#include <spdlog/spdlog.h>\n", "spdlog"),
    "store includes tests": ("store/a.cc", '#include "tests/support/x.h"\n', "must not include tests"),
    "fs includes libfuse": ("fs/a.cc", "#include <fuse.h>\n", "libfuse"),
    "fs includes an opt header of libfuse": ("fs/a.cc", "#include <fuse_opt.h>\n", "libfuse"),
    "fs includes fs/fuse": ("fs/a.cc", '#include "fs/fuse/session.h"\n', "must not include fs/fuse"),
    "fs includes fs/fuse by a relative path": ("fs/a.cc", '#include "fuse/session.h"\n', "must not include"),
    "fs includes cmd": ("fs/a.cc", '#include "cmd/x.h"\n', "must not include cmd"),
    "fs/fuse includes cmd": ("fs/fuse/a.cc", '#include "cmd/x.h"\n', "must not include cmd"),
    "cmd includes libfuse": ("cmd/a.cc", "#include <fuse_lowlevel.h>\n", "libfuse"),
    "include with ..": ("fs/a.cc", '#include "../store/page.h"\n', "from the root"),
    "include without a folder": ("store/a.cc", '#include "page.h"\n', "from the root"),
    "header without pragma": ("store/a.h", "#ifndef A\n#define A\n#endif\n", "pragma once"),
    "source too long": ("cmd/a.cc", "\n" * 701, "more than 700"),
    "source that is not built": ("store/deep/a.cc", "\n", "not built"),
    "another extension": ("store/a.cpp", "\n", "*.h and *.cc"),
}


def run(files):
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = pathlib.Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        done = subprocess.run([sys.executable, CHECK, folder], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr


def main():
    failures = []
    status, errors = run(GOOD)
    if status != 0:
        failures.append(f"a good tree does not pass: {errors}")
    for what, (name, content, message) in BAD.items():
        status, errors = run({**GOOD, name: content})
        reported = [line for line in errors.splitlines() if f"{name}:" in line and message in line]
        if status != 1 or len(errors.splitlines()) != 1 or not reported:
            failures.append(f"{what}: status {status}, output: {errors!r}")
    for failure in failures:
        print("FAIL:", failure)
    print(f"{len(BAD) + 1} cases, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
