#!/usr/bin/env python3
# ctest: timeout=300 serial
"""The packages that cpack makes of this build: two runs give the same bytes; fields, files, owners and modes are those that
Debian wants; what is unpacked works: the program, the helper of mount(8), and the library, with which the example is built
by find_package and by pkg-config. (Installing them with apt: package_install.py.)
Serial, for its namespace has, and keeps, the mounts of whatever runs beside it."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import gzip
import os
import re
import shutil
import stat
import subprocess
import _lib
import _package
from _lib import check, equal, step

PROGRAM_FILES = """
usr/bin/lrufs usr/sbin/mount.lrufs usr/sbin/mount.fuse.lrufs usr/lib/systemd/system/lrufs@.service etc/lrufs
usr/share/bash-completion/completions/lrufs usr/share/zsh/vendor-completions/_lrufs
usr/share/fish/vendor_completions.d/lrufs.fish usr/share/lrufs/grafana/lrufs.json
usr/share/man/man1/lrufs.1.gz usr/share/man/man1/lrufs-mount.1.gz usr/share/man/man8/mount.lrufs.8.gz
usr/share/man/man8/mount.fuse.lrufs.8.gz usr/share/doc/lrufs/copyright usr/share/doc/lrufs/changelog.gz
usr/share/doc/lrufs/changelog.Debian.gz usr/share/doc/lrufs/README.md usr/share/doc/lrufs/docs/semantics.md
usr/share/doc/lrufs/examples/fstab usr/share/doc/lrufs/examples/cache.conf""".split()


def equal_files(first, second):
    with open(first, "rb") as a, open(second, "rb") as b:
        check(a.read() == b.read(), f"expected the same bytes in {first} and {second}: see diffoscope or cmp")


def fields(program, development):
    step("fields")
    depends = _package.control(program, "Depends")
    # A libfuse of scripts/build-libfuse.sh is in the program.
    fuse = () if _package.static_fuse() else ("libfuse3-3",)
    for library in ("libc6", *fuse, "libstdc++6", "libxxhash0", "libarchive13", "libsystemd0"):
        check(re.search(rf"{re.escape(library)}[ ,(]", depends + ","), f"Depends: expected {library}, saw {depends}")
    check("-dev" not in depends, f"Depends: expected no -dev packages, saw {depends}")
    equal("Recommends", "fuse3", _package.control(program, "Recommends"))
    equal("Depends of the library", "libxxhash-dev, libexpected-dev", _package.control(development, "Depends"))
    for path, name, section in ((program, "lrufs", "utils"), (development, "liblrufs-store-dev", "libdevel")):
        equal("Package", name, _package.control(path, "Package"))
        equal("Section", section, _package.control(path, "Section"))
        equal("Version", _lib.run(30, _lib.LRUFS, "--version").split()[1] + "-1", _package.control(path, "Version"))
        check(re.fullmatch(r".+ <.+@.+>", _package.control(path, "Maintainer")), "expected a Maintainer")
        description = _package.control(path, "Description").splitlines()
        check(10 < len(description[0]) < 80 and len(description) > 2, f"Description: expected a line and a text, saw {description}")
        check(all(len(line) <= 80 for line in description), f"Description: expected at most 80 columns, saw {description}")
        check(all(line.startswith(" ") for line in description[1:]), f"Description: expected indented lines, saw {description}")


def files(program, development, folder):
    step("files")
    found = _package.deb_members(program, folder)
    for name in PROGRAM_FILES:
        check(name in found, f"{program}: expected {name}, saw {sorted(found)}")
    library = _package.deb_members(development, folder)
    headers = sorted(name for name in library if name.endswith(".h"))
    check("usr/include/lrufs/store/store.h" in headers and "usr/include/lrufs/store/store_impl.h" not in headers,
          f"headers: expected store.h and what it includes, saw {headers}")
    for pattern in (r"usr/lib/.*liblrufs-store\.a", r"usr/lib/.*cmake/lrufs-store/lrufs-store-config\.cmake", r"usr/lib/.*/lrufs-store\.pc",
                    r"usr/share/doc/liblrufs-store-dev/(copyright|changelog\.gz|changelog\.Debian\.gz|examples/cache_library/main\.cc)"):
        check(any(re.fullmatch(pattern, name) for name in library), f"{development}: expected {pattern}, saw {sorted(library)}")
    equal("files in both packages", [], sorted(n for n in set(found) & set(library) if not found[n].isdir()))
    executable = {"usr/bin/lrufs"}
    for name, member in {**found, **library}.items():
        equal(f"owner of {name}", (0, 0), (member.uid, member.gid))
        check(not name.startswith("usr/local"), f"expected nothing in /usr/local, saw {name}")
        if member.isdir() or name in executable:
            equal(f"mode of {name}", 0o755, stat.S_IMODE(member.mode))
        elif not member.issym():
            equal(f"mode of {name}", 0o644, stat.S_IMODE(member.mode))


def unpacked(root):
    step("what is unpacked")
    with open(os.path.join(root, "usr/bin/lrufs"), "rb") as file:
        program = file.read()
    for path in (_lib.SOURCE_DIR, _package.BUILD):
        check(os.fsencode(path) not in program, f"expected no path of the build in the program, saw {path}")
    check(b".debug_info" not in program, "expected the program to be stripped")
    with open(os.path.join(root, "usr/lib/systemd/system/lrufs@.service"), encoding="utf-8") as file:
        unit = file.read()
    for line in ("ExecStart=/usr/bin/lrufs mount ", "EnvironmentFile=/etc/lrufs/%i.conf", "ConditionPathExists=/etc/lrufs/%i.conf"):
        check(line in unit, f"the unit: expected {line}, saw {unit}")
    with open(os.path.join(root, "usr/share/doc/lrufs/copyright"), encoding="utf-8") as file:
        copyright_text = file.read()
    for words in ("Apache-2.0", "CLI11", "nlohmann-json", "tl-expected", "/usr/share/common-licenses/"):
        check(words in copyright_text, f"copyright: expected {words}")
    equal("libfuse in copyright", _package.static_fuse(), "Files: libfuse\n" in copyright_text)
    with gzip.open(os.path.join(root, "usr/share/doc/lrufs/changelog.Debian.gz"), "rt", encoding="utf-8") as file:
        text = file.read()
    check(re.fullmatch(r"lrufs \([0-9.]+-1\) \w+; urgency=\w+\n\n  \* .+\n\n -- .+ <.+>  \w{3}, .+\n", text), f"changelog: saw {text}")
    if shutil.which("man"):
        for page in ("man8/mount.lrufs.8.gz", "man1/lrufs-mount.1.gz"):
            out = _lib.run(30, "man", "--warnings", "-l", os.path.join(root, "usr/share/man", page),
                           env={**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            equal(f"warnings of man about {page}", "", out)
    step("the program, as mount(8) would call it")
    mount_point = os.path.join(_lib.WORK, "mnt")
    os.mkdir(mount_point)
    helper = os.path.join(root, "usr/sbin/mount.lrufs")
    equal("the helper", "../bin/lrufs", os.readlink(helper))
    _lib.run(30, helper, os.path.join(_lib.WORK, "store.lrufs"), mount_point, "-o", f"rw,size=64M,log={_lib.DAEMON_LOG}")
    _lib.write_file(os.path.join(mount_point, "file"), b"content")
    equal("a file", b"content", _lib.read_file(os.path.join(mount_point, "file")))
    _lib.run(60, os.path.join(root, "usr/bin/lrufs"), "umount", mount_point)
    _lib.run(60, os.path.join(root, "usr/bin/lrufs"), "check", os.path.join(_lib.WORK, "store.lrufs"))


def example(root):
    step("the example")
    source = os.path.join(root, "usr/share/doc/liblrufs-store-dev/examples/cache_library")
    build = os.path.join(_lib.WORK, "example")
    os.mkdir(build)
    by_cmake = os.path.join(build, "cmake", "cache_library")
    by_pkg_config = os.path.join(build, "by_pkg_config")
    # Both at a time; nothing of this build tree is seen.
    triplet = _lib.run(30, "c++", "-print-multiarch").strip()
    pc_folders = [os.path.join(root, "usr", lib, "pkgconfig") for lib in (f"lib/{triplet}", "lib")]
    environment = {**os.environ, "PKG_CONFIG_PATH": ":".join(pc_folders)}
    flags = _lib.run(30, "pkg-config", "--cflags", "--libs", "lrufs-store", env=environment).split()
    check(any(flag.startswith(f"-I{root}") or os.path.realpath(flag[2:]).startswith(root) for flag in flags),
          f"pkg-config: expected the unpacked headers, saw {flags}")
    compiler = _lib.spawn("c++", "-std=c++20", "-Wall", "-Wextra", "-Werror", os.path.join(source, "main.cc"), *flags, "-o", by_pkg_config)
    _lib.run(120, "cmake", "-S", source, "-B", os.path.join(build, "cmake"), f"-DCMAKE_PREFIX_PATH={root}/usr",
             "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=ON", "-DCMAKE_EXPORT_NO_PACKAGE_REGISTRY=ON")
    with open(os.path.join(build, "cmake", "CMakeCache.txt"), encoding="utf-8") as file:
        found = re.search(r"(?m)^lrufs-store_DIR:PATH=(.*)$", file.read())
    check(found and found[1].startswith(root), f"expected the unpacked lrufs-store, saw {found and found[1]}")
    _lib.run(120, "cmake", "--build", os.path.join(build, "cmake"))
    equal("the compiler's exit status", 0, compiler.wait(120))
    for program in (by_cmake, by_pkg_config):
        store = os.path.join(build, "cache.lrufs")
        out = _lib.run(60, program, store)
        seen = re.fullmatch(r"read 100000 bytes\nno such key: .+\n(\d+) of 401 thumbnails are left, with the first one; "
                            r"without the second one\nat most 16777216 bytes on disk, (\d+) taken\n", out)
        check(seen is not None, f"the example's output: saw {out}")
        check(100 < int(seen[1]) < 168 and int(seen[2]) <= 16 << 20, f"the example: expected what fits in 16 MiB, saw {out}")
        check(os.stat(store).st_blocks * 512 <= 16 << 20, "the example: the store is larger than its bound")
        _lib.run(60, _lib.LRUFS, "check", store)
        os.unlink(store)


def test():
    _package.need_tools()
    step("two runs of cpack")
    packages = _package.make(os.path.join(_lib.WORK, "first"))
    for first, second in zip(packages, _package.make(os.path.join(_lib.WORK, "second"))):
        equal_files(first, second)
    program, development, archive = packages
    fields(program, development)
    files(program, development, _lib.WORK)
    both = {**_package.deb_members(program, _lib.WORK), **_package.deb_members(development, _lib.WORK)}
    equal("files of the archive, and of the packages", sorted(n for n in both if not both[n].isdir()),
          sorted(n for n, m in _package.members(archive).items() if not m.isdir()))
    root = os.path.join(_lib.WORK, "root")
    for path in (program, development):
        _lib.run(60, "dpkg-deb", "-x", path, root)
    unpacked(root)
    example(root)


_lib.main(test)
