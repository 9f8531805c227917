"""A service manager of its own for tests of `lrufs mount --foreground`: what it is told, and the descriptors that it keeps."""
import array
import contextlib
import os
import socket
import subprocess
import _lib


class Manager:
    """The manager's end of NOTIFY_SOCKET."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.seen = []
        self.kept = {}  # name -> descriptor

    def hear(self):
        data, ancillary, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(64))
        message = data.decode().splitlines()
        fds = array.array("i")
        for level, kind, rights in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(rights[:len(rights) - len(rights) % fds.itemsize])
        name = next((line.partition("=")[2] for line in message if line.startswith("FDNAME=")), None)
        if "FDSTOREREMOVE=1" in message and name in self.kept:
            os.close(self.kept.pop(name))
        for fd in fds:
            if name in self.kept:
                os.close(fd)  # the same once more
            else:
                self.kept[name] = fd
        self.seen.append(message)
        return message

    def wait_for(self, line, process, seconds=30):
        self.socket.settimeout(seconds)
        while True:
            try:
                message = self.hear()
            except TimeoutError:
                _lib.fail(f"expected {line} within {seconds} s, saw {self.seen} (the daemon: {process.poll()})")
            if line in message:
                return message

    def start(self, *command, **kwargs):
        """Starts it, with what is kept."""
        names = list(self.kept)
        environment = {**os.environ, "NOTIFY_SOCKET": self.path, "FDSTORE": "16", **kwargs.pop("env", {})}
        if not names:
            return _lib.spawn(*command, env=environment, **kwargs)
        environment.update(LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=":".join(names))
        redirections = " ".join(f"{3 + i}<&{self.kept[name]}" for i, name in enumerate(names))
        return _lib.spawn("bash", "-c", f'exec {redirections}; export LISTEN_PID=$$; exec "$@"', "bash", *command, env=environment,
                          pass_fds=tuple(self.kept.values()), **kwargs)

    def drop(self):
        for fd in self.kept.values():
            os.close(fd)
        self.kept.clear()


@contextlib.contextmanager
def ended_with(process, mount_point):
    """Whatever happens, nothing of it is left."""
    try:
        yield
    finally:
        process.kill()
        process.wait()
        subprocess.run(["umount", "-l", mount_point], stderr=subprocess.DEVNULL, check=False)
