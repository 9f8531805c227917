#!/usr/bin/env python3
# ctest: long timeout=3600
"""Two builds, from copies of the sources in folders of different names and lengths, without a cache of the compiler, make
packages of the same bytes."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import os
import shutil
import _lib
import _package
from _lib import check, step


def test():
    _package.need_tools()
    made = []
    environment = {**os.environ, "CCACHE_DISABLE": "1", "SOURCE_DATE_EPOCH": "1795305600"}
    os.environ.update(environment)
    for name in ("here", "quite-another/place with-a-longer-name"):
        source = os.path.join(_lib.WORK, name.replace(" ", "-"))
        step(f"a build in {source}")
        shutil.copytree(_lib.SOURCE_DIR, source, ignore=shutil.ignore_patterns("build", ".git", "__pycache__"), symlinks=True)
        build = os.path.join(source, f"build-{len(name)}")
        _lib.run(120, "cmake", "-G", "Ninja", "-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DLRUFS_TESTS=OFF")
        _lib.run(1600, "cmake", "--build", build, "--target", "lrufs", "store", "man", "man_gz", "changes")
        made.append(_package.make(os.path.join(_lib.WORK, f"packages{len(made)}"), build))
        shutil.rmtree(build)
    for first, second in zip(*made):
        with open(first, "rb") as a, open(second, "rb") as b:
            check(a.read() == b.read(), f"expected the same bytes in {first} and {second}")


_lib.main(test)
