#!/usr/bin/env python3
# ctest: timeout=900 long
"""A pod with real containers, by podman and runc from the image that scripts/build-image.sh makes: what pod_namespaces.py shows, with
the privileges, propagation settings, read-only roots and restarts of a pod. Skips where podman cannot run containers.
Names on the command line choose some of the scenarios."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import os
import subprocess
import _lib
from _lib import MIB, equal, step

if subprocess.run([sys.executable, "-c", "import yaml"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
    _lib.skip("no python3-yaml (scripts/setup.sh)")
import _podman  # noqa: E402
import _pod_scenarios as scenarios  # noqa: E402

LIMIT = 128 * MIB


def memory(pod):
    sidecar, app = scenarios.memory(pod, 2560, memory="128m")
    state = sidecar.state()
    equal("killed for lack of memory, and so restarted", (False, 0), (state["OOMKilled"], state.get("RestartCount", 0)))
    seen = sidecar.run("cat /sys/fs/cgroup/memory/memory.max_usage_in_bytes 2> /dev/null || cat /sys/fs/cgroup/memory.peak").strip()
    step(f"at most {int(seen) / MIB:.0f} of {LIMIT / MIB:.0f} MiB")
    app.kill()
    equal("exit status", 0, sidecar.terminate(scenarios.GRACE))


def vanished(pod):
    scenarios.volume_vanished(pod, restart="no")


ALL = {
    "heals": scenarios.heals,
    "evicts": lambda pod: scenarios.evicts(pod, 10),
    "stops": scenarios.stops,
    "hangs": scenarios.hangs,
    "seeded": scenarios.seeded,
    "shared": scenarios.shared,
    "full": scenarios.volume_full,
    "vanished": vanished,
    "memory": memory,
}


def test():
    _podman.set_up()
    step("the image is there")
    for name, scenario in ALL.items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        step(name)
        scenario(_podman.Podman(name))


if _lib.PLAIN:
    _lib.skip("a plain directory has no daemon")
_lib.main(test)
