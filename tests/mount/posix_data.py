#!/usr/bin/env python3
# ctest: timeout=240
"""Content: sizes, sparse files, truncation, maps, appends, copies. On a plain directory: LRUFS_TEST_DIR=/some/dir."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import struct
import _lib
from _lib import (check, equal, fallocate, libc, raises, read_file, write_file, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE,
                  FALLOC_ZERO_RANGE, GIB, KIB, MIB)

J = os.path.join


def pattern(size, salt=0):
    """Bytes without a period that a page or a block could hide."""
    block = hashlib.sha256(str(salt).encode()).digest()
    return b"".join((block[:24] + struct.pack("<Q", n)) for n in range((size + 31) // 32))[:size]


def open_new(*parts, flags=os.O_RDWR | os.O_CREAT | os.O_EXCL):
    return os.open(J(*parts), flags, 0o644)


def blocks(path):
    return os.stat(path).st_blocks * 512


def segments(fd):
    """The data segments of a file, as SEEK_DATA and SEEK_HOLE tell them."""
    size, position, found = os.fstat(fd).st_size, 0, []
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            equal("errno of SEEK_DATA in the last hole", errno.ENXIO, error.errno)
            break
        check(start >= position, f"SEEK_DATA from {position}: expected no smaller offset, saw {start}")
        position = os.lseek(fd, start, os.SEEK_HOLE)
        check(start < position <= size, f"SEEK_HOLE from data at {start}: expected up to {size}, saw {position}")
        found.append((start, position))
    return found


def covers(what, found, islands):
    for start, end in islands:
        check(any(a <= start and end <= b for a, b in found),
              f"{what}: expected data {start}..{end} to be told as data; data segments: {found}")


SIZES = [0, 1, 2, 100, 511, 512, 1000, 1023, 1024, 1025, 2047, 2048, 2049, 3000, 4000, 4095, 4096, 4097, 8191, 8192, 8193,
         10_000, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 1_048_575, 1_048_576, 1_048_577, 5_000_000]


# --- sizes ----------------------------------------------------------------------------------------------------------

def test_every_size(d):
    for size in SIZES:
        write_file(J(d, str(size)), pattern(size, size))

    def look():
        for size in SIZES:
            equal(f"st_size of {size}", size, os.stat(J(d, str(size))).st_size)
            check(read_file(J(d, str(size))) == pattern(size, size), f"content of {size} bytes: expected the same as written")
    look()
    yield
    look()


def test_sizes_written_in_small_steps(d):
    for step in (1, 7, 100, 1000, 4096, 5000):
        size = min(step * 700, 400_000)
        data = pattern(size, step)
        fd = open_new(d, f"up{step}")
        for start in range(0, size, step):
            os.write(fd, data[start:start + step])
        os.close(fd)
        fd = open_new(d, f"down{step}")
        for start in reversed(range(0, size, step)):
            os.pwrite(fd, data[start:start + step], start)
        os.close(fd)

    def look():
        for step in (1, 7, 100, 1000, 4096, 5000):
            size = min(step * 700, 400_000)
            for name in ("up", "down"):
                check(read_file(J(d, f"{name}{step}")) == pattern(size, step), f"{name}{step}: expected what was written")
    look()
    yield
    look()


def test_reads_at_the_end(d):
    data = pattern(10_000)
    write_file(J(d, "f"), data)
    fd = os.open(J(d, "f"), os.O_RDONLY)
    equal("across the end", data[9_990:], os.pread(fd, 100, 9_990))
    equal("at the end", b"", os.pread(fd, 100, 10_000))
    equal("beyond the end", b"", os.pread(fd, 100, 1 << 40))
    equal("zero bytes", b"", os.pread(fd, 0, 5))
    buffers = [bytearray(3), bytearray(5000), bytearray(10_000)]
    equal("readv", 10_000, os.readv(fd, buffers))
    equal("readv content", data, (buffers[0] + buffers[1] + buffers[2])[:10_000])
    os.close(fd)


def test_overwriting(d):
    for size in (100, 1500, 5000, 70_000, 1_000_000):
        path = J(d, str(size))
        model = bytearray(pattern(size))
        write_file(path, model)
        fd = os.open(path, os.O_RDWR)
        for offset, length in ((0, 1), (size - 1, 1), (size // 2, 10), (size // 3, size // 3), (size - 5, 50), (0, size)):
            piece = pattern(length, offset + length)
            os.pwrite(fd, piece, offset)
            model[offset:offset + length] = piece
            check(os.pread(fd, size + 100, 0) == model, f"{size}: wrong after a write of {length} at {offset}")
        os.close(fd)
        check(read_file(path) == model, f"{size}: wrong after reopening")


# --- holes ----------------------------------------------------------------------------------------------------------

ISLANDS = [(0, 5000), (10 * MIB + 123, 100), (500 * MIB, 64 * KIB), (1 * GIB - 10, 10)]


def make_sparse(path):
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    for offset, length in ISLANDS:
        os.pwrite(fd, pattern(length, offset), offset)
    os.close(fd)


def look_at_sparse(path, what):
    equal(f"{what}: size", GIB, os.stat(path).st_size)
    check(blocks(path) < MIB, f"{what}: expected under 1 MiB of blocks for 74 KiB of data, saw {blocks(path)}")
    fd = os.open(path, os.O_RDONLY)
    found = segments(fd)
    covers(what, found, [(offset, offset + length) for offset, length in ISLANDS])
    told = sum(end - start for start, end in found)
    check(told < MIB, f"{what}: expected under 1 MiB told as data, saw {told}: {found}")
    for offset, length in ISLANDS:
        check(os.pread(fd, length, offset) == pattern(length, offset), f"{what}: data at {offset} differ")
    for offset, length in ((5000, MIB), (10 * MIB, 123), (10 * MIB + 223, MIB), (500 * MIB + 64 * KIB, MIB), (900 * MIB, 10)):
        check(os.pread(fd, length, offset) == bytes(length), f"{what}: expected zeros in the hole at {offset}")
    os.close(fd)


def test_sparse_file(d):
    make_sparse(J(d, "sparse"))
    look_at_sparse(J(d, "sparse"), "written with gaps")
    _lib.run(60, "cp", J(d, "sparse"), J(d, "cp"))
    look_at_sparse(J(d, "cp"), "cp (which asks for holes)")
    _lib.run(60, "cp", "--sparse=always", "--reflink=never", J(d, "sparse"), J(d, "always"))
    look_at_sparse(J(d, "always"), "cp --sparse=always")
    _lib.run(60, "tar", "-C", d, "-Scf", J(d, "tar"), "sparse")
    os.mkdir(J(d, "out"))
    _lib.run(60, "tar", "-C", J(d, "out"), "-Sxf", J(d, "tar"))
    look_at_sparse(J(d, "out", "sparse"), "tar -S")
    yield
    for name in ("sparse", "cp", "always", "out/sparse"):
        look_at_sparse(J(d, name), f"{name} after remount")


def test_seek_data_and_hole(d):
    fd = open_new(d, "f")
    raises("SEEK_DATA in an empty file", errno.ENXIO, os.lseek, fd, 0, os.SEEK_DATA)
    raises("SEEK_HOLE in an empty file", errno.ENXIO, os.lseek, fd, 0, os.SEEK_HOLE)
    os.write(fd, b"x" * 100)
    equal("SEEK_HOLE: the end counts as one", 100, os.lseek(fd, 0, os.SEEK_HOLE))
    equal("SEEK_DATA in data", 50, os.lseek(fd, 50, os.SEEK_DATA))
    raises("SEEK_DATA at the end", errno.ENXIO, os.lseek, fd, 100, os.SEEK_DATA)
    raises("SEEK_DATA before the start", (errno.ENXIO, errno.EINVAL), os.lseek, fd, -1, os.SEEK_DATA)
    os.ftruncate(fd, MIB)
    raises("SEEK_DATA in the last hole", errno.ENXIO, os.lseek, fd, MIB - 10, os.SEEK_DATA)
    hole = os.lseek(fd, MIB // 2, os.SEEK_HOLE)
    equal("SEEK_HOLE in a hole", MIB // 2, hole)
    os.pwrite(fd, b"y", MIB // 2)
    check(os.lseek(fd, 64 * KIB, os.SEEK_DATA) in range(MIB // 2 - 64 * KIB, MIB // 2 + 1), "SEEK_DATA: expected the start of the data")
    os.close(fd)
    write_file(J(d, "offset"), b"0123456789")
    fd = os.open(J(d, "offset"), os.O_RDONLY)
    os.lseek(fd, 3, os.SEEK_SET)
    equal("SEEK_SET and read", b"3456", os.read(fd, 4))
    os.lseek(fd, -2, os.SEEK_END)
    equal("SEEK_END and read", b"89", os.read(fd, 4))
    os.close(fd)


def test_huge_offsets(d):
    offset = 3 << 40
    fd = open_new(d, "f")
    os.pwrite(fd, b"far away", offset)
    equal("size", offset + 8, os.fstat(fd).st_size)
    equal("content", b"\0\0far away", os.pread(fd, 100, offset - 2))
    os.ftruncate(fd, 10)
    equal("truncated", b"\0" * 10, os.pread(fd, 100, 0))
    os.close(fd)
    check(blocks(J(d, "f")) < 64 * KIB, f"blocks after truncation: expected few, saw {blocks(J(d, 'f'))}")


def test_punch_hole(d):
    size = 4 * MIB
    data = bytearray(pattern(size))
    write_file(J(d, "f"), data)
    fd = os.open(J(d, "f"), os.O_RDWR)
    before = blocks(J(d, "f"))
    for offset, length in ((MIB, 2 * MIB), (100, 50), (4096, 4096), (9000, 20_000), (size - 100, 1000)):
        fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length)
        end = min(offset + length, size)
        data[offset:end] = bytes(end - offset)
        check(os.pread(fd, size + 1, 0) == data, f"wrong after punching {length} at {offset}")
        equal("size after punching", size, os.fstat(fd).st_size)
    raises("PUNCH_HOLE without KEEP_SIZE", errno.EOPNOTSUPP, fallocate, fd, FALLOC_PUNCH_HOLE, 0, 10)
    os.fsync(fd)
    check(blocks(J(d, "f")) <= before - int(1.9 * MIB), f"blocks: expected 2 MiB less than {before}, saw {blocks(J(d, 'f'))}")
    found = segments(fd)
    check(not any(a < 2 * MIB < b for a, b in found), f"expected a hole at 2 MiB, saw the data segments {found}")
    os.pwrite(fd, b"again", 2 * MIB)
    data[2 * MIB:2 * MIB + 5] = b"again"
    os.close(fd)
    yield
    check(read_file(J(d, "f")) == data, "content after remount: expected the same")


def test_punching_small_files(d):
    for size in (10, 700, 3000):
        write_file(J(d, str(size)), pattern(size))
        fd = os.open(J(d, str(size)), os.O_RDWR)
        fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, size // 3, size // 3)
        wanted = pattern(size)[:size // 3] + bytes(size // 3) + pattern(size)[size // 3 * 2:]
        equal(f"{size} bytes, the middle punched", wanted, os.pread(fd, size + 1, 0))
        fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, 1 << 30)
        equal(f"{size} bytes, all punched", bytes(size), os.pread(fd, size + 1, 0))
        os.close(fd)


def test_fallocate(d):
    fd = open_new(d, "f")
    os.write(fd, b"head")
    fallocate(fd, 0, 0, 100_000)
    equal("mode 0 extends", 100_000, os.fstat(fd).st_size)
    equal("and reads as zeros", b"head" + bytes(99_996), os.pread(fd, 200_000, 0))
    fallocate(fd, 0, 0, 10)
    equal("mode 0 never shrinks", 100_000, os.fstat(fd).st_size)
    fallocate(fd, FALLOC_KEEP_SIZE, 0, 500_000)
    equal("KEEP_SIZE keeps it", 100_000, os.fstat(fd).st_size)
    os.posix_fallocate(fd, 200_000, 1000)
    equal("posix_fallocate", 201_000, os.fstat(fd).st_size)
    os.pwrite(fd, b"x" * 1000, 50_000)
    try:
        fallocate(fd, FALLOC_ZERO_RANGE, 50_100, 500)
        fallocate(fd, FALLOC_ZERO_RANGE, 200_000, 10_000)
        equal("ZERO_RANGE beyond the end extends", 210_000, os.fstat(fd).st_size)
        fallocate(fd, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, 209_000, 10_000)
        equal("ZERO_RANGE with KEEP_SIZE", 210_000, os.fstat(fd).st_size)
        equal("zeroed", b"x" * 100 + bytes(500) + b"x" * 400, os.pread(fd, 1000, 50_000))
    except OSError as error:
        # tmpfs cannot; lrufs must.
        check(_lib.PLAIN and error.errno == errno.EOPNOTSUPP, f"ZERO_RANGE: expected success, saw {error}")
    raises("length 0", errno.EINVAL, fallocate, fd, 0, 0, 0)
    raises("negative offset", errno.EINVAL, fallocate, fd, 0, -1, 10)
    os.close(fd)
    fd = os.open(J(d, "f"), os.O_RDONLY)
    raises("read-only descriptor", errno.EBADF, fallocate, fd, 0, 0, 10)
    os.close(fd)


# --- truncation -----------------------------------------------------------------------------------------------------

def test_truncate(d):
    for size in (10, 1000, 1500, 4096, 5000, 70_000, 2_000_000):
        path = J(d, str(size))
        data = pattern(size)
        write_file(path, data)
        for new in (size - 1, size // 2 + 1, size // 3, 1, 0):
            os.truncate(path, new)
            equal("size, down", new, os.stat(path).st_size)
            check(read_file(path) == data[:new], f"truncated from {size} to {new}: wrong content")
            # What was cut off must not come back.
            os.truncate(path, size)
            check(read_file(path) == data[:new] + bytes(size - new), f"{size}, down to {new} and up: expected zeros")
            os.truncate(path, new)
        os.truncate(path, size * 3)
        check(read_file(path) == bytes(size * 3), f"{size}, from 0 up: expected zeros")
        os.truncate(path, 0)
        _lib.wait_for("no blocks of an empty file", 5, lambda: blocks(path) <= 4096)
    raises("negative", errno.EINVAL, os.truncate, J(d, "10"), -1)
    raises("a folder", errno.EISDIR, os.truncate, d, 0)
    fd = os.open(J(d, "10"), os.O_RDONLY)
    raises("a read-only descriptor", errno.EINVAL, os.ftruncate, fd, 0)
    os.close(fd)


def test_truncate_while_open_elsewhere(d):
    path = J(d, "f")
    write_file(path, pattern(100_000))
    fd = os.open(path, os.O_RDWR)
    equal("before", 100_000, len(os.pread(fd, 200_000, 0)))
    _lib.in_child(20, os.truncate, path, 5)
    equal("after", pattern(5), os.pread(fd, 200_000, 0))
    os.pwrite(fd, b"end", 10)
    equal("the gap", pattern(5) + bytes(5) + b"end", read_file(path))
    _lib.in_child(20, write_file, path, b"new")
    equal("O_TRUNC by another process", b"new", os.pread(fd, 100, 0))
    os.close(fd)


# --- append ---------------------------------------------------------------------------------------------------------

def test_append_by_many(d):
    # Breaks when the position of an append is taken before the lock, or the size is stale.
    records, processes, length = 400, 4, 100

    def append(number):
        fd = os.open(J(d, "log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for n in range(records):
            os.write(fd, f"{number} {n}".encode().ljust(length - 1, b".") + b"\n")
        os.close(fd)
    children = [_lib.spawn_function(append, number) for number in range(processes)]
    for child in children:
        equal("exit status", 0, child.wait(60))

    def look():
        data = read_file(J(d, "log"))
        equal("size", records * processes * length, len(data))
        seen = sorted(tuple(map(int, data[n:n + length].rstrip(b".\n").split())) for n in range(0, len(data), length))
        equal("records", [(p, n) for p in range(processes) for n in range(records)], seen)
    look()
    yield
    look()


def test_append_ignores_the_position(d):
    write_file(J(d, "f"), b"12345")
    fd = os.open(J(d, "f"), os.O_RDWR | os.O_APPEND)
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"6")
    os.lseek(fd, 2, os.SEEK_SET)
    equal("read at the position", b"3456", os.read(fd, 10))
    _lib.in_child(20, write_file, J(d, "f"), b"78", os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"9")
    os.close(fd)
    equal("content", b"123456789", read_file(J(d, "f")))


# --- maps -----------------------------------------------------------------------------------------------------------

def test_shared_map(d):
    size = 300_000
    path = J(d, "f")
    data = bytearray(pattern(size))
    write_file(path, data)
    fd = os.open(path, os.O_RDWR)
    shared = mmap.mmap(fd, size)
    check(shared[:] == data, "a map of a file: expected its content")
    shared[10:20] = b"mapped 10."
    data[10:20] = b"mapped 10."
    equal("written by map, read by read", b"mapped 10.", os.pread(fd, 10, 10))
    os.pwrite(fd, b"by pwrite", 200_000)
    data[200_000:200_009] = b"by pwrite"
    equal("written by pwrite, read by map", b"by pwrite", shared[200_000:200_009])

    def other_process():
        other = os.open(path, os.O_RDWR)
        view = mmap.mmap(other, size)
        equal("seen by another process", b"mapped 10.", view[10:20])
        view[100_000:100_005] = b"child"
        view.close()
    _lib.in_child(20, other_process)
    data[100_000:100_005] = b"child"
    equal("written by another process's map", b"child", shared[100_000:100_005])
    check(read_file(path) == data, "read after maps were written: expected their content")
    shared.flush()
    shared[size - 1:] = b"E"  # dirty at the time of munmap, never flushed by hand
    data[size - 1:] = b"E"
    os.close(fd)
    shared.close()
    check(read_file(path) == data, "read after munmap: expected what the map held")
    yield
    check(read_file(path) == data, "content after remount: expected what the map held")


def test_map_of_a_hole_and_of_small_files(d):
    for size in (5, 900, 5000):
        path = J(d, f"small{size}")
        write_file(path, pattern(size))
        fd = os.open(path, os.O_RDWR)
        view = mmap.mmap(fd, size)
        equal("beyond the end, in the page", True, view[:] == pattern(size))
        view[size - 2:] = b"ZZ"
        view.close()
        os.close(fd)
        equal(f"a map of {size} bytes", pattern(size)[:-2] + b"ZZ", read_file(path))
    fd = open_new(d, "hole")
    os.ftruncate(fd, 8 * MIB)
    view = mmap.mmap(fd, 8 * MIB)
    equal("a hole through a map", bytes(4096), view[MIB:MIB + 4096])
    view[3 * MIB:3 * MIB + 4] = b"here"
    view.flush()
    view.close()
    os.fsync(fd)
    os.close(fd)
    check(blocks(J(d, "hole")) < 2 * MIB, f"expected few blocks, saw {blocks(J(d, 'hole'))}")
    yield
    data = read_file(J(d, "hole"))
    check(data[3 * MIB:3 * MIB + 4] == b"here" and data.strip(b"\0") == b"here", "after remount: expected one island")
    for size in (5, 900, 5000):
        equal(f"a map of {size} bytes after remount", pattern(size)[:-2] + b"ZZ", read_file(J(d, f"small{size}")))


def test_private_map(d):
    path = J(d, "f")
    write_file(path, pattern(50_000))
    fd = os.open(path, os.O_RDONLY)
    private = mmap.mmap(fd, 50_000, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    private[100:105] = b"mine!"
    equal("the map", b"mine!", private[100:105])
    check(read_file(path) == pattern(50_000), "a write to a private map: expected the file unchanged")
    _lib.in_child(20, write_file, path, b"theirs", os.O_WRONLY)
    equal("an untouched page shows the file", pattern(50_000)[20_000:20_010], private[20_000:20_010])
    private.close()
    os.close(fd)


def test_map_outlives_descriptor_and_name(d):
    path = J(d, "f")
    write_file(path, pattern(20_000))
    fd = os.open(path, os.O_RDWR)
    view = mmap.mmap(fd, 20_000)
    os.close(fd)
    os.unlink(path)
    check(view[:] == pattern(20_000), "a map of an unlinked file: expected its content")
    view[0:5] = b"write"
    view.flush()
    equal("written", b"write", view[0:5])
    view.close()


def test_programs_run(d):
    _lib.run(20, "cp", "/bin/ls", J(d, "ls"))
    check("ls" in _lib.run(20, J(d, "ls"), d).split(), "a copied program: expected it to run")
    write_file(J(d, "script"), b"#!/bin/sh\necho run\n", mode=0o755)
    equal("a script", "run\n", _lib.run(20, J(d, "script")))


# --- other ways to read and write -----------------------------------------------------------------------------------

def test_copy_file_range_sendfile_splice(d):
    data = pattern(3 * MIB + 77)
    write_file(J(d, "source"), data)
    source = os.open(J(d, "source"), os.O_RDONLY)
    target = open_new(d, "cfr")
    copied = 0
    while copied < len(data):
        count = os.copy_file_range(source, target, len(data) - copied, copied, copied)
        check(count > 0, f"copy_file_range at {copied}: expected bytes, saw {count}")
        copied += count
    check(os.pread(target, 4 * MIB, 0) == data, "copy_file_range: wrong content")
    equal("copy_file_range at the end", 0, os.copy_file_range(source, target, 10, len(data), 0))
    equal("copy_file_range, unaligned, into the middle", 1000, os.copy_file_range(source, target, 1000, 333, 70_001))
    model = bytearray(data)
    model[70_001:71_001] = data[333:1333]
    check(os.pread(target, 4 * MIB, 0) == model, "copy_file_range into the middle: wrong content")
    equal("copy_file_range within a file", 500, os.copy_file_range(target, target, 500, 0, MIB))
    model[MIB:MIB + 500] = model[:500]
    check(os.pread(target, 4 * MIB, 0) == model, "copy_file_range within a file: wrong content")
    os.close(target)
    target = open_new(d, "sendfile")
    position = 0
    while count := os.sendfile(target, source, position, len(data)):
        position += count
    check(os.pread(target, 4 * MIB, 0) == data, "sendfile: wrong content")
    os.close(target)
    target = open_new(d, "splice")
    r, w = os.pipe()
    position = 0
    while position < len(data):
        count = os.splice(source, w, 65536, offset_src=position)
        done = 0
        while done < count:
            done += os.splice(r, target, count - done, offset_dst=position + done)
        position += count
    check(os.pread(target, 4 * MIB, 0) == data, "splice: wrong content")
    for fd in (target, source, r, w):
        os.close(fd)


def test_vectors(d):
    fd = open_new(d, "f")
    equal("writev", 5005, os.writev(fd, [b"ab", b"c" * 5000, b"def"]))
    equal("pwritev", 4, os.pwritev(fd, [b"12", b"34"], 3))
    equal("content", b"abc1234" + b"c" * 4995 + b"def", os.pread(fd, 6000, 0))
    os.close(fd)


def test_direct_io(d):
    path = J(d, "f")
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    except OSError as error:
        raise _lib.SkipTest(f"no O_DIRECT here: {error}")
    size = 256 * KIB
    buffer = mmap.mmap(-1, size)  # aligned memory
    buffer[:] = pattern(size)
    equal("written", size, os.pwrite(fd, buffer, 0))
    check(read_file(path) == pattern(size), "direct write, buffered read: expected the same")
    write_file(path, b"B" * 8192, os.O_WRONLY)
    equal("read", size, os.preadv(fd, [buffer], 0))
    check(buffer[:] == b"B" * 8192 + pattern(size)[8192:], "buffered write, direct read: expected the same")
    os.close(fd)


def test_readers_see_writers(d):
    path = J(d, "f")
    writer = open_new(d, "f")
    reader = os.open(path, os.O_RDONLY)
    for n in range(300):
        os.pwrite(writer, bytes([n & 255]) * 300, n * 300)
        equal("the last write, by another descriptor", bytes([n & 255]) * 300, os.pread(reader, 300, n * 300))
        equal("size", (n + 1) * 300, os.stat(path).st_size)
    os.close(writer)
    os.close(reader)


def test_concurrent_writers_of_one_file(d):
    # Each process has its own stripes, none aligned to pages.
    stripe, count, processes = 1777, 200, 4
    path = J(d, "f")
    write_file(path, b"")

    def write(number):
        fd = os.open(path, os.O_WRONLY)
        for n in range(count):
            index = n * processes + number
            os.pwrite(fd, pattern(stripe, index), index * stripe)
        os.close(fd)
    children = [_lib.spawn_function(write, number) for number in range(processes)]
    for child in children:
        equal("exit status", 0, child.wait(60))

    def look():
        data = read_file(path)
        equal("size", stripe * count * processes, len(data))
        for index in range(count * processes):
            check(data[index * stripe:(index + 1) * stripe] == pattern(stripe, index), f"stripe {index}: wrong content")
    look()
    yield
    look()


def test_fsync_family(d):
    libc.syncfs.argtypes = [ctypes.c_int]
    fd = open_new(d, "f")
    os.write(fd, pattern(100_000))
    os.fsync(fd)
    os.write(fd, b"more")
    os.fdatasync(fd)
    equal("syncfs", 0, libc.syncfs(fd))
    os.close(fd)
    folder = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)
    fd = os.open(J(d, "f"), os.O_WRONLY | os.O_SYNC | os.O_APPEND)
    os.write(fd, b"sync")
    os.close(fd)
    yield
    equal("content", pattern(100_000) + b"moresync", read_file(J(d, "f")))


def test_leases_and_record_locks(d):
    fd = open_new(d, "f")
    os.write(fd, bytes(100))
    fcntl.lockf(fd, fcntl.LOCK_EX, 10, 5)

    def other():
        mine = os.open(J(d, "f"), os.O_RDWR)
        raises("an overlapping record", (errno.EAGAIN, errno.EACCES), fcntl.lockf, mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 10)
        fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 50)
    _lib.in_child(20, other)
    os.close(fd)


_lib.run_all(globals(), size="2G")
