"""Single values inside Kubernetes objects: reading them, and patches that change only them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.cluster.kubectl import Object, Objects


class Field(NamedTuple):
    """A key of a ConfigMap or Secret, or an environment variable of a Deployment.

    The value of a key is its text, base64 in a Secret. The value of a variable is its entry without
    the name, `{"value": …}` or `{"valueFrom": …}`. None means that it does not exist.

    Attributes:
        reference: the object, `configmap/kfp-launcher`.
        key: name of the key or of the variable.
        container: that the variable belongs to; empty for a key.
    """

    reference: str
    key: str
    container: str = ""

    @property
    def secret(self) -> bool:
        """Whether its value must not be shown."""
        return self.reference.startswith("secret/")

    def read(self, objects: Objects) -> Any:
        """Return its value in the objects, None if it does not exist."""
        found = objects.get(self.reference, {})
        if not self.container:
            return (found.get("data") or {}).get(self.key)
        for container in found["spec"]["template"]["spec"]["containers"]:
            if container["name"] == self.container:
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
    data: dict[str, Any] = {}
    for field, value in changes.items():
        if field.container:
            entry = _variable(field.key, value, field.read(objects) or {})
            environment.setdefault(field.container, []).append(entry)
        else:
            # A null removes the key.
            data[field.key] = value
    if not environment:
        return {"data": data}
    containers = [{"name": name, "env": entries} for name, entries in environment.items()]
    return {"spec": {"template": {"spec": {"containers": containers}}}}


def _variable(name: str, value: Object | None, current: Object) -> Object:
    if value is None:
        return {"name": name, "$patch": "delete"}
    # A variable has either a value or a source: a null removes the other one.
    return {"name": name, **dict.fromkeys(current), **value}
