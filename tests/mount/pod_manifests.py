#!/usr/bin/env python3
# ctest: timeout=300
"""deploy/kubernetes: each kustomization renders (as kubectl does, where there is one), is what the schemas of Kubernetes allow
(npm's kubernetes-models in build/kubernetes-schemas; needs node, and the registry once), and makes sense where schemas say nothing:

  volumes that are mounted exist; Bidirectional only where privileged, and its counterpart HostToContainer, read-only
  probes and Services name ports that exist; the StatefulSet has its Service; selectors find the pods; ConfigMaps exist
  the program takes the arguments, with the options of the ConfigMap expanded, and so do the commands of hooks and probes
  what the shell is given is the shell's language; the grace period is longer than what the hooks wait for
  requests and limits: of each container; the bound of the store fits its claim

A change of the manifests that breaks one of these makes this fail; so do the changes in MUTATIONS, which show that it would."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import copy
import json
import os
import re
import shutil
import subprocess
import _lib
from _lib import LRUFS, SOURCE_DIR, WORK, check, equal, fail, run, step

if subprocess.run([sys.executable, "-c", "import yaml"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
    _lib.skip("no python3-yaml (scripts/setup.sh)")
import yaml  # noqa: E402
import _kustomize  # noqa: E402

TOP = os.path.join(SOURCE_DIR, "deploy/kubernetes")
FOLDERS = ["base"] + sorted(os.path.join("overlays", name) for name in os.listdir(os.path.join(TOP, "overlays")))
UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


class Wrong(Exception):
    pass


def demand(condition, text):
    if not condition:
        raise Wrong(text)


def size_of(text):
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi)", text)
    demand(match, f"{text} is not a size")
    return int(match[1]) * UNITS[match[2]]


def pod_of(item):
    if item["kind"] == "Pod":
        return item["spec"]
    return item.get("spec", {}).get("template", {}).get("spec") if item["kind"] in ("StatefulSet", "DaemonSet") else None


def find(objects, kind, name):
    return next((o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name), None)


def environment(objects, container):
    values = {}
    for source in container.get("envFrom", []):
        config = find(objects, "ConfigMap", source["configMapRef"]["name"])
        demand(config, f"{container['name']}: no ConfigMap {source['configMapRef']['name']}")
        values.update(config["data"])
    values.update({e["name"]: e.get("value", "") for e in container.get("env", [])})
    return values


def expand(text, values):
    def one(match):
        demand(match[1] in values, f"$({match[1]}) is in no ConfigMap that the container reads")
        return values[match[1]]
    return re.sub(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)", one, text)


# --- what containers run --------------------------------------------------------------------------------------------

seen_commands = {}


def lrufs_takes(arguments, values):
    """The real program: it must get as far as looking for the mount point, or the store."""
    words = [expand(a, values) for a in arguments]
    demand(words, "lrufs without a verb")
    # Nothing of this machine is touched: paths are replaced by ones that are not there.
    words = [os.path.join(WORK, "absent", w.strip("/")) if w.startswith("/") else w for w in words]
    key = tuple(words)
    if key not in seen_commands:
        done = subprocess.run([LRUFS, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
        seen_commands[key] = (done.returncode, done.stderr.strip())
    status, told = seen_commands[key]
    demand(status == 1 and "absent" in told, f"lrufs {' '.join(words)}: expected to be understood, saw status {status}: {told}")


def shell_takes(script, values):
    done = subprocess.run(["busybox", "sh", "-n"], input=script, capture_output=True, text=True, timeout=30, check=False)
    demand(done.returncode == 0, f"not understood by the shell: {done.stderr}")
    for line in re.split(r"[;|\n]|&&|\|\|", re.sub(r"[0-9]*[<>]+ *\S+", "", script)):
        words = line.strip().removeprefix("timeout 3 ").split()
        if words[:1] == ["lrufs"] and not any(c in line for c in "\"$"):
            lrufs_takes(words[1:], values)


def command_is_fine(where, command, arguments, values):
    try:
        words = (command or ["lrufs"]) + (arguments or [])
        if words[0] == "lrufs":
            lrufs_takes(words[1:], values)
        elif words[:2] == ["/bin/sh", "-c"]:
            shell_takes(words[2], values)
    except Wrong as wrong:
        raise Wrong(f"{where}: {wrong}") from None


def probe_is_fine(where, probe, ports, values):
    if "exec" in probe:
        command_is_fine(where, probe["exec"]["command"], None, values)
        command = " ".join(probe["exec"]["command"]).split()
        demand("/mnt/lrufs/cache" in command, f"{where}: does not ask the mount")
        for word in command:
            port = re.match(r"http://127.0.0.1:(\d+)/", word)
            demand(not port or int(port[1]) in ports.values(), f"{where}: no port in {word}")
    else:
        demand(probe["httpGet"]["port"] in ports, f"{where}: no port {probe['httpGet']['port']}")
        demand(probe["httpGet"]["path"] == "/readyz", f"{where}: /readyz asks the mount, {probe['httpGet']['path']} does not")


def waits(command):
    """Seconds that a hook sleeps."""
    return sum(map(int, re.findall(r"\bsleep (\d+)", " ".join(command))))


# --- one rendered kustomization -------------------------------------------------------------------------------------

def container_is_fine(where, objects, item, pod, container):
    values = environment(objects, container)
    volumes = {v["name"] for v in pod.get("volumes", [])}
    volumes |= {c["metadata"]["name"] for c in item["spec"].get("volumeClaimTemplates", [])}
    privileged = container.get("securityContext", {}).get("privileged", False)
    for mount in container.get("volumeMounts", []):
        demand(mount["name"] in volumes, f"{where}: no volume {mount['name']}")
        propagation = mount.get("mountPropagation")
        if propagation == "Bidirectional":
            demand(privileged, f"{where}: Bidirectional needs privileged")
        if propagation == "HostToContainer":
            demand(mount.get("readOnly"), f"{where}: could write beside the mount while it is missing")
    if not privileged:
        security = container.get("securityContext", {})
        demand(security.get("capabilities", {}).get("drop") == ["ALL"] and security.get("allowPrivilegeEscalation") is False,
               f"{where}: more privileges than it needs")
    demand("$(" not in json.dumps(container.get("command", [])), f"{where}: variables belong into args")
    command_is_fine(where, container.get("command"), container.get("args"), values)
    ports = {p["name"]: p["containerPort"] for p in container.get("ports", [])}
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        if kind in container:
            probe_is_fine(f"{where}, {kind}", container[kind], ports, values)
    stop = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
    if stop:
        command_is_fine(f"{where}, preStop", stop, None, values)
        demand(waits(stop) + 60 <= pod["terminationGracePeriodSeconds"], f"{where}: preStop leaves less than 60 s for the checkpoint")
    resources = container.get("resources", {})
    demand("memory" in resources.get("requests", {}), f"{where}: no request of memory")
    demand("memory" in resources.get("limits", {}), f"{where}: no limit of memory")
    demand(size_of(resources["requests"]["memory"]) <= size_of(resources["limits"]["memory"]), f"{where}: requests more than its limit")


def mounts_are_fine(where, item, pod, objects):
    """The container that mounts, and those who see it."""
    everyone = pod.get("initContainers", []) + pod["containers"]
    (daemon,) = [c for c in everyone if (c.get("args") or [""])[0] == "mount"]
    values = environment(objects, daemon)
    store, mount_point = daemon["args"][-2:]
    shared = next((m for m in daemon["volumeMounts"] if m.get("mountPropagation") == "Bidirectional"), None)
    demand(shared and os.path.dirname(mount_point) == shared["mountPath"],
           f"{where}: the mount point has to lie right in a volume that is Bidirectional")
    demand("allow_other" in daemon["args"], f"{where}: nobody but root could use the mount")
    demand(os.path.dirname(store) in [m["mountPath"] for m in daemon["volumeMounts"]], f"{where}: the store lies in no volume")
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        demand(kind in daemon, f"{where}: no {kind}")
    for container in pod["containers"]:
        if container is daemon:
            continue
        seen = [m for m in container["volumeMounts"] if m["name"] == shared["name"]]
        demand(seen and seen[0].get("mountPropagation") == "HostToContainer" and seen[0]["mountPath"] == shared["mountPath"],
               f"{where}, {container['name']}: HostToContainer of the parent of the mount point")
    for claim in item["spec"].get("volumeClaimTemplates", []):
        bound = int(values["LRUFS_SIZE"].removesuffix("G")) << 30
        demand(size_of(claim["spec"]["resources"]["requests"]["storage"]) > bound, f"{where}: the store does not fit its claim")
    if daemon in pod.get("initContainers", []):
        demand(daemon.get("restartPolicy") == "Always", f"{where}: the application would wait for ever")
        demand(pod["initContainers"][-1] is daemon, f"{where}: prepare comes before the daemon")
    else:
        demand("restartPolicy" not in daemon, f"{where}: restartPolicy is for init containers")


def objects_are_fine(where, objects):
    for item in objects:
        name = f"{where}: {item['kind']} {item['metadata']['name']}"
        pod = pod_of(item)
        if pod:
            for volume in pod.get("volumes", []):
                config = volume.get("configMap")
                demand(not config or find(objects, "ConfigMap", config["name"]), f"{name}: no ConfigMap {config and config['name']}")
            containers = pod.get("initContainers", []) + pod["containers"]
            names = [c["name"] for c in containers]
            demand(len(set(names)) == len(names), f"{name}: containers of one name")
            for container in containers:
                container_is_fine(f"{name}, {container['name']}", objects, item, pod, container)
            labels = item["spec"].get("template", {}).get("metadata", {}).get("labels", {})
            if item["kind"] != "Pod":
                demand(item["spec"]["selector"]["matchLabels"].items() <= labels.items(), f"{name}: does not select its pods")
                mounts_are_fine(name, item, pod, objects)
        if item["kind"] == "StatefulSet":
            demand(find(objects, "Service", item["spec"].get("serviceName")), f"{name}: no Service {item['spec'].get('serviceName')}")
            for claim in item["spec"]["volumeClaimTemplates"]:
                demand(find(objects, "StorageClass", claim["spec"]["storageClassName"]), f"{name}: no StorageClass")
        if item["kind"] == "Service":
            selected(name, objects, item["spec"]["selector"], [p["targetPort"] for p in item["spec"]["ports"]])
        if item["kind"] == "PodMonitor":
            selected(name, objects, item["spec"]["selector"]["matchLabels"], [p["port"] for p in item["spec"]["podMetricsEndpoints"]])


def selected(name, objects, labels, ports):
    found = False
    for item in objects:
        pod = pod_of(item)
        if pod and item["kind"] != "Pod" and labels.items() <= item["spec"]["template"]["metadata"]["labels"].items():
            found = True
            there = {p["name"] for c in pod.get("initContainers", []) + pod["containers"] for p in c.get("ports", [])}
            demand(set(ports) <= there, f"{name}: no port {set(ports) - there} in {item['metadata']['name']}")
    demand(found, f"{name}: selects no pods")


# --- the schemas ----------------------------------------------------------------------------------------------------

def schemas():
    """The modules, installed once for each build folder; None where that is impossible (in CI it must not be)."""
    source = os.path.join(SOURCE_DIR, "tests/tools/kubernetes")
    place = os.path.join(os.environ.get("LRUFS_BUILD_DIR", os.path.join(SOURCE_DIR, "build")), "kubernetes-schemas")
    with open(os.path.join(source, "package-lock.json"), "rb") as file:
        lock = file.read()
    mark = os.path.join(place, "installed")
    if os.path.exists(mark):
        with open(mark, "rb") as file:
            if file.read() == lock:
                return os.path.join(place, "node_modules")
    problem = "no node or npm (scripts/setup.sh)"
    if shutil.which("node") and shutil.which("npm"):
        step("npm installs the schemas")
        os.makedirs(place, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(os.path.join(source, name), place)
        for _ in range(2):  # a registry may fail once
            done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=place, capture_output=True, text=True,
                                  timeout=120, check=False)
            if done.returncode == 0:
                with open(mark, "wb") as file:
                    file.write(lock)
                return os.path.join(place, "node_modules")
        problem = f"npm ci: {done.stderr[-500:]}"
    check(os.environ.get("CI") != "true", f"the schemas of Kubernetes cannot be had: {problem}")
    step(f"left out: the schemas ({problem})")
    return None


def validate(modules, objects):
    program = os.path.join(SOURCE_DIR, "tests/tools/kubernetes/validate.cjs")
    done = subprocess.run(["node", program, modules], input=json.dumps(objects), capture_output=True, text=True, timeout=120, check=False)
    return done.stdout.splitlines() or done.stderr.splitlines()


# --- that all this would notice -------------------------------------------------------------------------------------

def of_daemon(change):
    def on(objects):
        change(next(c for o in objects if o["kind"] == "StatefulSet" for c in pod_of(o)["initContainers"] if c["name"] == "lrufs"))
    return on


def options(text):
    def on(objects):
        next(o for o in objects if o["kind"] == "ConfigMap" and "LRUFS_OPTIONS" in o["data"])["data"]["LRUFS_OPTIONS"] = text
    return on


def stateful_set(change):
    def on(objects):
        change(next(o for o in objects if o["kind"] == "StatefulSet"))
    return on


MUTATIONS = {
    "a word of -o that is not known": options("sync=5s,syncc=6s"),
    "a wrong value in the ConfigMap": options("sync=often"),
    "an option that is not known": of_daemon(lambda c: c["args"].insert(1, "--sise=10G")),
    "a variable that nobody sets": of_daemon(lambda c: c["args"].insert(1, "--sync=$(LRUFS_SYNC)")),
    "a volume that is not there": of_daemon(lambda c: c["volumeMounts"][0].update(name="stoer")),
    "a port that is not there": of_daemon(lambda c: c["readinessProbe"]["httpGet"].update(port="http")),
    "a port that is not there, in a command": of_daemon(lambda c: c["ports"][0].update(containerPort=9101)),
    "a probe of another folder": of_daemon(lambda c: c["startupProbe"]["exec"].update(command=["lrufs", "stat", "/mnt/lrufs"])),
    "a hook that is not understood": of_daemon(lambda c: c["lifecycle"]["preStop"]["exec"].update(command=["lrufs", "sync", "/mnt/lrufs/cache"])),
    "no allow_other": of_daemon(lambda c: c["args"].remove("allow_other")),
    "not privileged": of_daemon(lambda c: c["securityContext"].pop("privileged")),
    "no restartPolicy": of_daemon(lambda c: c.pop("restartPolicy")),
    "no limit": of_daemon(lambda c: c["resources"].pop("limits")),
    "no serviceName": stateful_set(lambda s: s["spec"].pop("serviceName")),
    "another serviceName": stateful_set(lambda s: s["spec"].update(serviceName="lru")),
    "a claim that is too small": stateful_set(
        lambda s: s["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"].update(storage="10Gi")),
    "the application binds the mount point": stateful_set(
        lambda s: pod_of(s)["containers"][0]["volumeMounts"][0].update(mountPath="/mnt/lrufs/cache")),
    "the application has the parent writable": stateful_set(lambda s: pod_of(s)["containers"][0]["volumeMounts"][0].pop("readOnly")),
    "a short grace period": stateful_set(lambda s: pod_of(s).update(terminationGracePeriodSeconds=30)),
    "another selector": stateful_set(lambda s: s["spec"]["selector"]["matchLabels"].update({"app.kubernetes.io/name": "x"})),
}
SCHEMA_MUTATIONS = {
    "a field that does not exist": of_daemon(lambda c: c["volumeMounts"][1].update(mountPropogation="Bidirectional")),
    "a word in the place of a number": of_daemon(lambda c: c["startupProbe"].update(periodSeconds="1")),
    "a container without a name": of_daemon(lambda c: c.pop("name")),
}


def by_name(objects):
    return {(o["kind"], o["metadata"]["name"]): o for o in objects}


def test():
    rendered = {folder: _kustomize.render(os.path.join(TOP, folder)) for folder in FOLDERS}
    step(f"rendered {len(rendered)} kustomizations, {sum(map(len, rendered.values()))} objects")
    if shutil.which("kubectl"):
        for folder, objects in rendered.items():
            theirs = list(yaml.safe_load_all(run(60, "kubectl", "kustomize", os.path.join(TOP, folder))))
            equal(f"{folder}: the objects' names", sorted(by_name(theirs)), sorted(by_name(objects)))
            for key, item in by_name(theirs).items():
                equal(f"{folder}: {key} as kubectl renders it", item, by_name(objects)[key])
        step("kubectl renders the same")
    else:
        step("left out: the comparison with kubectl (there is none)")
    for folder, objects in rendered.items():
        try:
            objects_are_fine(folder, objects)
        except Wrong as wrong:
            fail(str(wrong))
    # To be copied from.
    consumer = _kustomize.load_all(os.path.join(TOP, "overlays/node-cache/consumer.yaml"))
    consumer += _kustomize.load_all(os.path.join(TOP, "local-volume.yaml"))
    try:
        objects_are_fine("examples", consumer)
    except Wrong as wrong:
        fail(str(wrong))
    step("the program understands them, and they fit together")
    for name, change in MUTATIONS.items():
        broken = copy.deepcopy(rendered["base"])
        change(broken)
        try:
            objects_are_fine("base", broken)
        except Wrong:
            continue
        fail(f"{name}: expected to be noticed, was not")
    step(f"{len(MUTATIONS)} mistakes are noticed")
    modules = schemas()
    if not modules:
        return
    everything = [[f"{folder}: {o['kind']} {o['metadata']['name']}", o] for folder, objects in rendered.items() for o in objects]
    everything += [["examples", o] for o in consumer]
    equal("what the schemas say", [], validate(modules, everything))
    wrong = []
    for name, change in SCHEMA_MUTATIONS.items():
        broken = copy.deepcopy(rendered["base"])
        change(broken)
        wrong += [[name, o] for o in broken if o["kind"] == "StatefulSet"]
    told = validate(modules, wrong)
    for name in SCHEMA_MUTATIONS:
        check(any(line.startswith(f"{name}:") for line in told), f"the schemas: {name}: expected to be noticed, saw {told}")
    step(f"the schemas allow all {len(everything)} objects, and notice {len(wrong)} mistakes")


if _lib.PLAIN:
    _lib.skip("there is nothing to mount")
_lib.need("busybox")
_lib.main(test)
