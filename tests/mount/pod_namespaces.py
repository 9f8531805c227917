#!/usr/bin/env python3
# ctest: timeout=900 serial
"""A pod without containers' software: the sidecar and the application of deploy/kubernetes in namespaces of their own (unshare, bind
mounts, chroot), the application without any privilege. Needs root. pod_podman.py has the same with real containers.

heals     the sidecar is killed and restarted: the application, never restarted, goes on with everything that was closed before;
          nothing is written beside the mount while it is missing; an open descriptor is lost, and only that
evicts    the sidecar is killed while it evicts: it ends at once, and comes back
stops     SIGTERM while the application is inside: ends in time, everything is on the disk
hangs     the probes fail while the daemon hangs, and where nothing is mounted
seeded    prepare.sh: a new store from an archive, once; the root's owner; an interrupted start; a pod that comes again
shared    overlays/node-cache: two pods of other users in one cache
full      a volume that is smaller than the store: no error
vanished  a volume that is not there, or goes away: told, errors, no mount left
memory    128 MiB for the daemon, a store of 2 GiB (long: several times that are written)

Names on the command line choose some of them.
Serial: its namespaces have, and keep, the mounts of whatever runs beside it."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import os
import subprocess
import _lib
from _cgroup import MemoryGroup
from _lib import MIB, equal, step

if subprocess.run([sys.executable, "-c", "import yaml"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
    _lib.skip("no python3-yaml (scripts/setup.sh)")
import _pod  # noqa: E402
import _pod_scenarios as scenarios  # noqa: E402

LONG = os.environ.get("LRUFS_LONG") == "1"
LIMIT = 128 * MIB


def memory(pod):
    group = MemoryGroup(LIMIT)
    try:
        # The whole container, as in a pod; the application's own page cache is not its.
        sidecar, app = scenarios.memory(pod, 5120 if LONG else 400, before=group.take)
        equal("kills for lack of memory", 0, group.kills())
        step(f"at most {group.highest() / MIB:.0f} of {LIMIT / MIB:.0f} MiB, {group.own() / MIB:.1f} MiB the daemon's own")
        app.kill()
        equal("exit status", 0, sidecar.terminate(scenarios.GRACE))
        equal("kills for lack of memory", 0, group.kills())
    finally:
        group.remove()


ALL = {
    "heals": lambda pod: scenarios.heals(pod, 5 if LONG else 2),
    "worker_dies": scenarios.worker_dies,
    "evicts": lambda pod: scenarios.evicts(pod, 40 if LONG else 3),
    "stops": scenarios.stops,
    "hangs": scenarios.hangs,
    "seeded": scenarios.seeded,
    "shared": scenarios.shared,
    "full": scenarios.volume_full,
    "vanished": scenarios.volume_vanished,
    "memory": memory,
}


def test():
    for name, scenario in ALL.items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        step(name)
        scenario(_pod.Namespaces(name))


if _lib.PLAIN:
    _lib.skip("a plain directory has no daemon")
_lib.need_root()
_lib.main(test)
