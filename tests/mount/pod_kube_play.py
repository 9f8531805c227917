#!/usr/bin/env python3
# ctest: timeout=600 long
"""deploy/kubernetes/overlays/classic, played by `podman kube play`: the manifest as rendered, but for what podman does not know (the
StatefulSet becomes its pod, variables in arguments are expanded, the claim and the folders of the node become folders of this test, the volumes of ConfigMaps files).
The init container prepares, the application waits for the mount and writes, the sidecar is killed and comes back, and in the end all is
on the disk. Native sidecars, probes and hooks are not known to podman: pod_podman.py and pod_namespaces.py run these.
Skips where podman cannot run containers."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import copy
import os
import re
import subprocess
import _lib
from _lib import LRUFS, SOURCE_DIR, check, equal, run, step, wait_for

if subprocess.run([sys.executable, "-c", "import yaml"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
    _lib.skip("no python3-yaml (scripts/setup.sh)")
import yaml  # noqa: E402
import _kustomize  # noqa: E402
import _podman  # noqa: E402
from _pod import Volumes  # noqa: E402
from _podman import podman  # noqa: E402


def manifest(volumes):
    """A pod and its ConfigMaps."""
    objects = _kustomize.render(os.path.join(SOURCE_DIR, "deploy/kubernetes/overlays/classic"))
    owner = next(o for o in objects if o["kind"] == "StatefulSet")
    configs = [copy.deepcopy(o) for o in objects if o["kind"] == "ConfigMap"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {
               "name": "lrufs-0", "labels": owner["spec"]["template"]["metadata"]["labels"],
               # The other kind is removed once it has ended, which podman 4.3 now and then does not know yet.
               "annotations": {"io.podman.annotations.init.container.type": "always"}},
           "spec": copy.deepcopy(owner["spec"]["template"]["spec"])}
    scripts = os.path.join(volumes.dir, "scripts")
    os.mkdir(scripts)
    for config in configs:
        config["metadata"].pop("namespace", None)
        if "LRUFS_SIZE" in config["data"]:
            config["data"]["LRUFS_SIZE"] = "64M"
        for name, text in config["data"].items():
            if name.endswith(".sh"):
                _lib.write_file(os.path.join(scripts, name), text.encode())
    paths = {"mounts": volumes.volume, "scripts": scripts, "store": volumes.store}
    pod["spec"]["volumes"] = [{"name": name, "hostPath": {"path": path}} for name, path in paths.items()]
    for container in pod["spec"]["initContainers"] + pod["spec"]["containers"]:
        # As the kubelet expands them.
        values = {k: v for c in configs for k, v in c["data"].items()}
        container["args"] = [re.sub(r"\$\((LRUFS_\w+)\)", lambda m: values[m[1]], a) for a in container.get("args", [])]  # noqa: B023
        check(set(m["name"] for m in container["volumeMounts"]) <= set(paths), "a volume that this test does not know")
        for unknown in ("startupProbe", "readinessProbe", "livenessProbe", "lifecycle", "ports"):  # no network here
            container.pop(unknown, None)
    return [*configs, pod]


def test():
    _podman.set_up()
    volumes = Volumes("kube")
    file = os.path.join(volumes.dir, "pod.yaml")
    with open(file, "w", encoding="utf-8") as out:
        yaml.safe_dump_all(manifest(volumes), out)
    os.chdir(volumes.dir)  # podman would build what lies in its folder by the name of an image
    podman("kube", "play", "--network", "none", file, seconds=180)
    step("played")
    now = os.path.join(volumes.cache, "now")
    wait_for("the application has written", 60, lambda: volumes.answers() and os.path.exists(now))
    first = podman("inspect", "--format", "{{.State.Pid}}", "lrufs-0-application").strip()
    pid = int(podman("inspect", "--format", "{{.State.Pid}}", "lrufs-0-lrufs"))
    os.kill(pid, 9)
    wait_for("the mount is gone", 30, lambda: not volumes.answers())
    wait_for("the sidecar is back", 60, volumes.answers)
    _lib.write_file(os.path.join(volumes.cache, "again"), b"seen\n")
    equal("read by the application", "seen\n", podman("exec", "lrufs-0-application", "cat", "/mnt/lrufs/cache/again"))
    equal("process of the application", first, podman("inspect", "--format", "{{.State.Pid}}", "lrufs-0-application").strip())
    step("killed, and back")
    podman("pod", "stop", "--time", "60", "lrufs-0", seconds=180)
    equal("exit status of the sidecar", "0", podman("inspect", "--format", "{{.State.ExitCode}}", "lrufs-0-lrufs").strip())
    podman("kube", "down", file, seconds=180)
    check(not volumes.mounted(), "expected no mount to be left")
    run(60, LRUFS, "check", os.path.join(volumes.store, "cache.lrufs"))
    equal("files of the pod", "again\nnow", run(60, LRUFS, "ls", os.path.join(volumes.store, "cache.lrufs")).strip())
    step("taken down")


if _lib.PLAIN:
    _lib.skip("a plain directory has no daemon")
_lib.main(test)
