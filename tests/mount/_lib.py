"""Shared by the Python tests in this folder (standard library only). A test starts with

    #!/usr/bin/env python3
    # ctest: timeout=120
    import sys; sys.dont_write_bytecode = True
    import _lib

Nothing survives a test: _cleanup.sh runs at the end, and beside the test in case it is killed or hangs in the kernel;
its deadline is the test's own "ctest: timeout" less 20 s. LRUFS is the program. LRUFS_TEST_DIR=/some/dir runs a test
there, on a plain directory, where the test has such a mode: mounts and checks are no-ops then, so that the test itself
can be shown to be right. LRUFS_TEST_KEEP=1 keeps the files. LRUFS_TEST_SEED sets the seed of random tests.
"""

import atexit
import contextlib
import ctypes
import errno
import inspect
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

sys.stdout.reconfigure(line_buffering=True)

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
TESTS_DIR = os.path.dirname(os.path.realpath(__file__))
SOURCE_DIR = os.environ.get("LRUFS_SOURCE_DIR") or os.path.dirname(os.path.dirname(TESTS_DIR))
LRUFS = os.path.realpath(os.environ.get("LRUFS") or os.path.join(SOURCE_DIR, "build/release/lrufs"))
PLAIN = os.environ.get("LRUFS_TEST_DIR")
NAME = os.path.splitext(os.path.basename(sys.argv[0]))[0]
STARTED = time.monotonic()


class Failure(Exception):
    """What was expected, and what was seen."""


def fail(text):
    raise Failure(text)


def check(condition, text):
    if not condition:
        raise Failure(text)


def equal(what, expected, seen):
    if expected != seen:
        raise Failure(f"{what}: expected {brief(expected)}, saw {brief(seen)}")


def brief(value, limit=300):
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(value) if hasattr(value, '__len__') else '?'} long)"


def raises(what, code, call, *args, **kwargs):
    """The call must fail with this errno (or one of them)."""
    codes = code if isinstance(code, (tuple, set)) else (code,)
    wanted = "/".join(errno.errorcode[c] for c in codes)
    try:
        seen = call(*args, **kwargs)
    except OSError as error:
        check(error.errno in codes, f"{what}: expected {wanted}, saw {errno.errorcode.get(error.errno, error.errno)}")
        return
    fail(f"{what}: expected {wanted}, saw success ({brief(seen)})")


def skip(text):
    print(f"SKIP: {text}")
    sys.exit(77)


def step(text):
    print(f"== {time.monotonic() - STARTED:.1f} s: {text}")


def wait_for(what, seconds, condition):
    """Polls until the condition returns something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            fail(f"expected within {seconds} s: {what}. Not seen.")
        time.sleep(0.005)


def need(*tools):
    for tool in tools:
        if not shutil.which(tool):
            skip(f"no {tool}")


def need_root():
    if os.geteuid() != 0:
        skip("needs root")


def seed():
    value = os.environ.get("LRUFS_TEST_SEED") or str(random.SystemRandom().randrange(1 << 32))
    print(f"seed: LRUFS_TEST_SEED={value}")
    return random.Random(int(value))


def run(seconds, *command, ok=(0,), **kwargs):
    """Runs an external command; its output (both streams) is the result. Fails when it takes longer."""
    kwargs.setdefault("stdout", subprocess.PIPE)
    kwargs.setdefault("stderr", subprocess.STDOUT)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True, errors="replace", **kwargs) as process:
        try:
            out, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            fail(f"{' '.join(command)}: expected to end within {seconds} s")
    if ok is not None and process.returncode not in ok:
        fail(f"{' '.join(command)}: expected exit status {'/'.join(map(str, ok))}, saw {process.returncode}: {out}")
    return out or ""


# --- the test's folder, and its end ---------------------------------------------------------------------------------

def _timeout():
    with open(sys.argv[0], encoding="utf-8") as file:
        for line, _ in zip(file, range(10)):
            match = re.match(r"#\s*ctest:.*timeout=(\d+)", line)
            if match:
                return int(match[1])
    return 600


if not PLAIN:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        skip("no /dev/fuse")
    if not os.access(LRUFS, os.X_OK):
        print(f"FAIL: no program at {LRUFS!r} (LRUFS=...)")
        sys.exit(1)

WORK = tempfile.mkdtemp(prefix=f"lrufs-test.{NAME}.", dir=os.path.realpath(PLAIN or os.environ.get("TMPDIR") or "/tmp"))
os.chmod(WORK, 0o755)
DAEMON_LOG = os.path.join(WORK, "daemon.log")
_main_pid = os.getpid()
_watch = int(subprocess.run(
    ["setsid", "bash", "-c", 'exec 3>&2; "$0" "$@" > /dev/null 2>&3 3>&- < /dev/null & echo $$',
     os.path.join(TESTS_DIR, "_cleanup.sh"), WORK, str(_main_pid), str(_timeout() - 20)],
    stdout=subprocess.PIPE, check=True).stdout)


@atexit.register
def _cleanup():
    if os.getpid() != _main_pid:
        return
    for process in list(_children):
        if process.poll() is None:
            process.kill()
    subprocess.run([os.path.join(TESTS_DIR, "_cleanup.sh"), WORK], check=False)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(_watch, signal.SIGKILL)


def _terminated(number, _frame):
    sys.exit(128 + number)


signal.signal(signal.SIGTERM, _terminated)
signal.signal(signal.SIGHUP, _terminated)


def tail_of_log(lines=25):
    try:
        with open(DAEMON_LOG, encoding="utf-8", errors="replace") as file:
            return "".join("    " + line for line in file.readlines()[-lines:])
    except OSError:
        return ""


workers_may_die = False  # a test that kills them sets it


def no_worker_died():
    """Another one would have taken over, and hidden it."""
    if workers_may_die or not os.path.exists(DAEMON_LOG):
        return
    with open(DAEMON_LOG, encoding="utf-8", errors="replace") as log:
        died = [line for line in log if "the worker was ended by" in line]
    check(not died, f"expected that no worker dies, saw: {died}")


def main(function):
    """Runs the test, prints a failure for people, and ends with its exit status."""
    try:
        function()
        no_worker_died()
    except Failure as failure:
        where = traceback.extract_tb(failure.__traceback__)
        frames = [f"{os.path.basename(f.filename)}:{f.lineno}" for f in where if f.name not in ("check", "fail", "equal")]
        print(f"FAIL: {failure}\n  at {' > '.join(frames)}")
    except OSError:
        print("FAIL: a system call failed")
        traceback.print_exc(file=sys.stdout)
    else:
        step("passed")
        sys.exit(0)
    if tail_of_log():
        print(f"  the end of the daemon's log:\n{tail_of_log()}")
    sys.exit(1)


# --- child processes ------------------------------------------------------------------------------------------------

_children = []


def spawn(*command, **kwargs):
    """A child process that is killed at the end of the test, whatever happens."""
    process = subprocess.Popen(command, **kwargs)
    _children.append(process)
    return process


def spawn_function(function, *args):
    """Forks; the child runs the function, and exits 0 if it returned. Returns an object with pid, poll, kill, wait."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            function(*args)
            status = 0
        except Failure as failure:
            print(f"FAIL: (child) {failure}")
        except BaseException:  # the child must not run on into the parent's code
            traceback.print_exc(file=sys.stdout)
        finally:
            sys.stdout.flush()
            os._exit(status)
    child = Child(pid)
    _children.append(child)
    return child


class Child:
    def __init__(self, pid):
        self.pid = pid
        self.returncode = None

    def poll(self):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def kill(self, number=signal.SIGKILL):
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, seconds):
        """The exit status; fails if the process has not ended by then."""
        end = time.monotonic() + seconds
        while self.poll() is None:
            check(time.monotonic() < end, f"expected process {self.pid} to end within {seconds} s; it runs")
            time.sleep(0.002)
        return self.returncode


def in_child(seconds, function, *args):
    """Runs the function in a forked process; it must succeed."""
    equal(f"exit status of {function.__name__} in a child", 0, spawn_function(function, *args).wait(seconds))


# --- mounts ---------------------------------------------------------------------------------------------------------

def mount_points():
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return [re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), line.split()[4]) for line in file]


def alive(pid):
    """Does any thread of the process still run? (A zombie may have threads that do, and with them open files.)"""
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/stat", encoding="utf-8", errors="replace") as file:
                if file.read().rpartition(")")[2].split()[0] not in ("Z", "X"):
                    return True
    except OSError:
        return os.path.exists(f"/proc/{pid}/task") and alive(pid)  # a thread that ended while we looked
    return False


def children(pid):
    """The process ids of its children."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def child_named(pid, name):
    """The one of its children that goes by this name now, or None."""
    for child in children(pid):
        with contextlib.suppress(OSError), open(f"/proc/{child}/comm", encoding="utf-8", errors="replace") as file:
            if file.read() == f"{name}\n":
                return child
    return None


def words_of(pid):
    """Its command line; [] once it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="surrogateescape") as file:
            return file.read().split("\0")
    except OSError:
        return []


class Mount:
    """A store and its mount point below WORK. In plain mode just a directory."""

    def __init__(self, name="mnt", size="1G", options=(), store=None):
        self.store = store or os.path.join(WORK, f"{name}.lrufs")
        self.dir = os.path.join(WORK, name)
        self.size = size
        self.options = list(options)
        self.pid = None      # of `lrufs mount`: the supervisor, or, with --no-supervise, the one process
        self.server = None   # the process that served when the mount was made

    def __enter__(self):
        self.mount()
        return self

    def __exit__(self, kind, _value, _trace):
        if kind is None:
            self.check()

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def mount(self, *options):
        """Mounts in the background; returns the seconds that `lrufs mount` took."""
        os.makedirs(self.dir, exist_ok=True)
        if PLAIN:
            return 0.0
        command = [LRUFS, "mount", "--size", self.size, "--log", DAEMON_LOG, *self.options, *options,
                   self.store, self.dir]
        with open(os.path.join(WORK, "mount.out"), "w+", encoding="utf-8", errors="replace") as out:
            start = time.monotonic()
            process = spawn(*command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                fail(f"{' '.join(command)}: expected to return within 60 s")
            seconds = time.monotonic() - start
            _children.remove(process)
            out.seek(0)
            text = out.read()
        check(process.returncode == 0, f"{' '.join(command)}: expected exit status 0, saw {process.returncode}: {text}")
        check(self.mounted(), f"lrufs mount returned 0, but {self.dir} is no mount: {text}")
        pids = self.daemons()
        check(len(pids) == 1, f"expected one daemon for {self.store}, saw the process ids {pids}")
        self.pid = pids[0]
        self.server = self.serving()
        return seconds

    def serving(self):
        """The process that answers requests now: the supervisor's worker, or the daemon itself."""
        return child_named(self.pid, "lrufs-worker") or self.pid

    def mounted(self):
        return self.dir in mount_points()

    def daemons(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if not os.readlink(f"/proc/{pid}/exe").startswith(LRUFS):
                    continue
            except OSError:
                continue
            words = words_of(pid)
            if words[1:2] == ["mount"] and self.store in words and alive(pid):
                found.append(int(pid))
        return found

    def umount(self):
        """By `lrufs umount`, which returns when the store is closed."""
        if PLAIN:
            return
        run(120, LRUFS, "umount", self.dir)
        check(not self.mounted(), f"lrufs umount returned 0, but {self.dir} is still mounted")
        self.wait_gone()

    def wait_gone(self, seconds=30):
        if self.pid is not None:
            wait_for(f"the daemon {self.pid} ends", seconds, lambda: not alive(self.pid) and not alive(self.server))
            self.pid = self.server = None

    def detach(self):
        """Takes away a mount whose daemon is dead."""
        if os.geteuid() == 0:
            run(120, "umount", "-l", self.dir)  # with a million inodes it takes its time
        else:
            run(20, "fusermount3", "-uz", self.dir)

    def kill(self):
        """SIGKILL of the daemon, not only of its worker; the dead mount is detached."""
        if PLAIN:
            return
        self.server = self.serving()
        os.kill(self.pid, signal.SIGKILL)
        self.wait_gone()
        self.detach()

    def remount(self, *options):
        if PLAIN:
            return
        self.umount()
        self.mount(*options)

    def verify(self):
        """`lrufs check` finds nothing in the store, which must not be mounted."""
        if not PLAIN:
            run(300, LRUFS, "check", self.store)

    def check(self):
        """Unmounts, and `lrufs check` finds nothing: the end of every test."""
        if PLAIN:
            return
        if self.mounted():
            self.umount()
        self.verify()

    def anonymous_memory(self):
        """Bytes of the daemon's own memory, with all its processes: no page cache, no mapped store."""
        total = 0
        for pid in (self.pid, *children(self.pid)):
            with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
                total += sum(int(line.split()[1]) * KIB for line in file if line.startswith("Anonymous:"))
        check(total > 0, f"no 'Anonymous:' in /proc/{self.pid}/smaps_rollup")
        return total


def disk_use(path):
    return os.stat(path).st_blocks * 512


def drop_caches(what=3):
    """Drops clean page cache (1), dentries and inodes (2), both (3). Root only."""
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write(str(what))


# --- many small tests on one mount ----------------------------------------------------------------------------------

def run_all(scope, size="1G", options=()):
    """Runs every function test_* of a module, each in its own new folder of one mount. One that yields goes on after
    the file system was unmounted and mounted again. Names on the command line choose some of them."""
    tests = [f for n, f in scope.items() if n.startswith("test_") and (len(sys.argv) == 1 or n in sys.argv[1:])]
    mount = Mount(size=size, options=options)
    failed, waiting = [], []

    def open_now():
        fds = os.listdir("/proc/self/fd")  # the listing's own descriptor among them
        return {int(fd) for fd in fds if os.path.lexists(f"/proc/self/fd/{fd}")}

    def attempt(test, call):
        before = open_now()
        try:
            return call()
        except StopIteration:
            return None
        except SkipTest as reason:
            print(f"skip  {test.__name__}: {reason}")
            return None
        except (Failure, OSError, AssertionError, subprocess.SubprocessError) as error:
            failed.append(test.__name__)
            lines = [f"{f.lineno}" for f in traceback.extract_tb(error.__traceback__)
                     if os.path.basename(f.filename) == os.path.basename(sys.argv[0])]
            kind = "" if isinstance(error, Failure) else f"{type(error).__name__}: "
            print(f"FAIL  {test.__name__} (line {' > '.join(lines)}): {kind}{error}")
            # What it left open would keep the mount busy.
            error.__traceback__ = None
            for fd in open_now() - before:
                with contextlib.suppress(OSError):
                    os.close(fd)
            return None

    def all_tests():
        mount.mount()
        for test in tests:
            start = time.monotonic()
            folder = mount.path(test.__name__)
            os.chdir(WORK)
            os.umask(0o022)
            os.mkdir(folder)
            if inspect.isgeneratorfunction(test):
                steps = test(folder)
                attempt(test, lambda: next(steps))
                if test.__name__ not in failed:
                    waiting.append((test, steps))
            else:
                attempt(test, lambda: test(folder))
            if test.__name__ not in failed:
                print(f"ok    {test.__name__} ({time.monotonic() - start:.2f} s)")
        os.chdir(WORK)
        mount.remount()
        for test, steps in waiting:
            attempt(test, lambda: next(steps))
            if test.__name__ not in failed:
                print(f"ok    {test.__name__}, after a remount")
        mount.check()
        check(tests, "no such test")
        check(not failed, f"{len(failed)} of {len(tests)} failed: {' '.join(failed)}")

    main(all_tests)


class SkipTest(Exception):
    pass


# --- system calls that Python does not have -------------------------------------------------------------------------

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
AT_FDCWD = -100
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_COLLAPSE, FALLOC_ZERO_RANGE = 1, 2, 8, 16


def _checked(result, what):
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def renameat2(old, new, flags):
    _checked(libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), ctypes.c_uint(flags)), "renameat2")


def fallocate(fd, mode, offset, length):
    _checked(libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)), "fallocate")


# --- small helpers --------------------------------------------------------------------------------------------------

def write_file(path, data, flags=os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode=0o644):
    fd = os.open(path, flags, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
    finally:
        os.close(fd)


def read_file(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(fd, MIB):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)
