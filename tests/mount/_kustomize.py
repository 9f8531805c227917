"""Renders deploy/kubernetes as `kubectl kustomize` does, for machines that have none: resources, namespace, configMapGenerator (envs,
files, literals, merge; names with the hash of the content), images, patches of RFC 6902. pod_manifests.py compares it with
kubectl where that is there. Anything else in a kustomization is an error."""

import copy
import hashlib
import json
import os
import yaml
from _lib import check, fail

KNOWN = {"apiVersion", "kind", "namespace", "resources", "configMapGenerator", "images", "patches"}
CLUSTER_WIDE = {"Namespace", "StorageClass", "PersistentVolume"}


def load_all(path):
    with open(path, encoding="utf-8") as file:
        return [document for document in yaml.safe_load_all(file) if document]


def render(folder):
    """The objects, with the hashes in the names."""
    objects = _build(folder)
    names = {}
    for item in objects:
        if item.pop("__hash", False):
            name = item["metadata"]["name"]
            names[name] = item["metadata"]["name"] = f"{name}-{_hash(item)}"
    for item in objects:
        _rename(item, names)
    return objects


def _build(folder):
    (description,) = load_all(os.path.join(folder, "kustomization.yaml"))
    check(set(description) <= KNOWN, f"{folder}: this renderer does not know {set(description) - KNOWN}")
    objects = []
    for resource in description.get("resources", []):
        path = os.path.join(folder, resource)
        objects += _build(path) if os.path.isdir(path) else load_all(path)
    for generated in description.get("configMapGenerator", []):
        _generate(folder, generated, objects)
    for patch in description.get("patches", []):
        for item in objects:
            target = patch["target"]
            if item["kind"] == target["kind"] and item["metadata"]["name"] == target["name"]:
                for operation in load_all(os.path.join(folder, patch["path"]))[0]:
                    _apply(item, operation)
    for image in description.get("images", []):
        for item in objects:
            _set_image(item, image)
    if "namespace" in description:
        for item in objects:
            if item["kind"] not in CLUSTER_WIDE:
                item["metadata"]["namespace"] = description["namespace"]
    return objects


def _generate(folder, generated, objects):
    data = {}
    lines = list(generated.get("literals", []))
    for name in generated.get("envs", []):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            lines += [line for line in file.read().splitlines() if line.strip() and not line.startswith("#")]
    for line in lines:
        key, _, value = line.partition("=")
        data[key] = value
    for name in generated.get("files", []):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            data[os.path.basename(name)] = file.read()
    if generated.get("behavior") == "merge":
        (old,) = [o for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == generated["name"]]
        old["data"].update(data)
    else:
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "data": data, "metadata": {"name": generated["name"]}, "__hash": True})


def _hash(config):
    """As kustomize: the SHA-256 of the JSON with its keys in order; digits and vowels that could make words are replaced. (The name is left empty there.)"""
    text = json.dumps({"data": config["data"], "kind": "ConfigMap", "name": ""}, sort_keys=True,
                      separators=(",", ":"), ensure_ascii=False)
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")  # Go's encoder does
    return hashlib.sha256(text.encode()).hexdigest()[:10].translate(str.maketrans("013ae", "ghkmt"))


def _rename(value, names):
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("configMapRef", "configMap", "configMapKeyRef") and inner.get("name") in names:
                inner["name"] = names[inner["name"]]
            _rename(inner, names)
    elif isinstance(value, list):
        for inner in value:
            _rename(inner, names)


def _set_image(value, image):
    if isinstance(value, dict):
        if value.get("image") == image["name"]:
            value["image"] = f"{image['newName']}:{image['newTag']}"
        for inner in value.values():
            _set_image(inner, image)
    elif isinstance(value, list):
        for inner in value:
            _set_image(inner, image)


def _apply(document, operation):
    parts = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    if operation["op"] == "copy":
        source = document
        for part in operation["from"].split("/")[1:]:
            source = source[int(part)] if isinstance(source, list) else source[part]
        value = copy.deepcopy(source)
    else:
        value = copy.deepcopy(operation.get("value"))
    holder = document
    for part in parts[:-1]:
        holder = holder[int(part)] if isinstance(holder, list) else holder[part]
    last = parts[-1]
    if operation["op"] in ("add", "copy") and isinstance(holder, list):
        holder.insert(len(holder) if last == "-" else int(last), value)
    elif operation["op"] in ("add", "copy", "replace"):
        holder[int(last) if isinstance(holder, list) else last] = value
    elif operation["op"] == "remove":
        del holder[int(last) if isinstance(holder, list) else last]
    else:
        fail(f"this renderer does not know the operation {operation['op']}")
