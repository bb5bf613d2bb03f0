"""Single values inside Kubernetes objects: reading them, and patches that change only them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from pipeline.cluster.kubectl import Object, Objects

_VOLUME = "q-chunking-config"


class Field(NamedTuple):
    """A key of a ConfigMap or Secret, or an environment variable or a mount of a Deployment.

    The value of a key is its text, base64 in a Secret. The value of a variable is its entry without
    the name, `{"value": …}` or `{"valueFrom": …}`. The value of a mount is `{"value": NAME}` of the
    ConfigMap whose key replaces the file. None means that it does not exist.

    Attributes:
        reference: the object, `configmap/kfp-launcher`.
        key: name of the key or of the variable, or path of the file.
        container: that the variable or the mount belongs to; empty for a key.
    """

    reference: str
    key: str
    container: str = ""

    @property
    def secret(self) -> bool:
        """Whether its value must not be shown."""
        return self.reference.startswith("secret/")

    @property
    def is_mount(self) -> bool:
        """Whether it is a file that a key of a ConfigMap replaces."""
        return bool(self.container) and self.key.startswith("/")

    def read(self, objects: Objects) -> Any:
        """Return its value in the objects, None if it does not exist."""
        found = objects.get(self.reference, {})
        if not self.container:
            return (found.get("data") or {}).get(self.key)
        pod = found["spec"]["template"]["spec"]
        for container in pod["containers"]:
            if container["name"] == self.container:
                if self.is_mount:
                    return _mounted(self.key, container, pod)
                for entry in container.get("env", ()):
                    if entry["name"] == self.key:
                        return {key: value for key, value in entry.items() if key != "name"}
        return None


def patches(values: Mapping[Field, Any], objects: Objects) -> dict[str, Object]:
    """Return a strategic merge patch for each object, by its reference.

    Args:
        values: the new values.
        objects: the current objects.
    """
    by_object: dict[str, dict[Field, Any]] = {}
    for field, value in values.items():
        by_object.setdefault(field.reference, {})[field] = value
    return {reference: _patch(changes, objects) for reference, changes in by_object.items()}


def _patch(changes: Mapping[Field, Any], objects: Objects) -> Object:
    environment: dict[str, list[Object]] = {}
    mounts: dict[str, list[Object]] = {}
    volumes: list[Object] = []
    data: dict[str, Any] = {}
    for field, value in changes.items():
        if field.is_mount:
            mount, volume = _mount(field.key, value)
            mounts.setdefault(field.container, []).append(mount)
            volumes.append(volume)
        elif field.container:
            entry = _variable(field.key, value, field.read(objects) or {})
            environment.setdefault(field.container, []).append(entry)
        else:
            # A null removes the key.
            data[field.key] = value
    if not environment and not mounts:
        return {"data": data}
    containers: list[Object] = []
    for name in sorted(environment.keys() | mounts.keys()):
        lists = {"env": environment.get(name), "volumeMounts": mounts.get(name)}
        containers.append({"name": name, **{key: found for key, found in lists.items() if found}})
    pod = {"containers": containers, **({"volumes": volumes} if volumes else {})}
    return {"spec": {"template": {"spec": pod}}}


def _mounted(path: str, container: Object, pod: Object) -> Object | None:
    """Return the name of the ConfigMap that is mounted at a path, or of any other volume."""
    for mount in container.get("volumeMounts", ()):
        if mount["mountPath"] == path:
            (volume,) = [v for v in pod["volumes"] if v["name"] == mount["name"]]
            return {"value": volume.get("configMap", volume)["name"]}
    return None


def _mount(path: str, value: Object | None) -> tuple[Object, Object]:
    """Return the patches of a container's mounts and of a pod's volumes."""
    if value is None:
        return {"mountPath": path, "$patch": "delete"}, {"name": _VOLUME, "$patch": "delete"}
    mount = {"mountPath": path, "name": _VOLUME, "subPath": PurePosixPath(path).name}
    return {**mount, "readOnly": True}, {"name": _VOLUME, "configMap": {"name": value["value"]}}


def _variable(name: str, value: Object | None, current: Object) -> Object:
    if value is None:
        return {"name": name, "$patch": "delete"}
    # A variable has either a value or a source: a null removes the other one.
    return {"name": name, **dict.fromkeys(current), **value}
