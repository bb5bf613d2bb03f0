"""The resolved configuration as a JSON document, which every step reads.

Checkpoints and policies contain the same mapping without a schema version of its own.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec

from qc_core.config.limits import check
from qc_core.config.methods import METHODS
from qc_core.config.options import RENAMED, apply, options
from qc_core.config.settings import Config, TrainConfig
from qc_core.errors import UsageError, closest
from qc_core.files import read_json, write_json

# 1, without a number in the document, has the old names of `RENAMED`, and the settings of every
# method whatever the method is.
SCHEMA_VERSION = 2


def to_mapping(config: Config) -> dict[str, Any]:
    """Return nested plain values under the option names, ready for JSON."""
    return _plain(config)


def train_mapping(train: TrainConfig) -> dict[str, Any]:
    """Return the train settings under their option names."""
    return _plain(train)


def _plain(part: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for entry in dataclasses.fields(part):
        value = getattr(part, entry.name)
        if entry.name == "algorithm":
            values |= _plain(value)
        else:
            name = entry.name.replace("_", "-")
            values[name] = _plain(value) if dataclasses.is_dataclass(value) else _list(value)
    return values


def _list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def as_config(mapping: Any, what: str) -> Config:
    """Return the configuration of a document, every value checked; the inverse of `to_mapping`.

    Reads documents of every schema version.

    Args:
        what: the file, for error messages.

    Raises:
        UsageError: a newer schema version, an unknown option, or a value of the wrong type or
            outside its limits.
    """
    if not isinstance(mapping, dict) or not isinstance(mapping.get("recipe"), str):
        raise UsageError(f"{what} is damaged: a configuration must have the name of its 'recipe'")
    version = mapping.get("schema-version", 1)
    if version not in (1, SCHEMA_VERSION):
        raise UsageError(
            f"{what} has schema version {version!r}, this release reads 1 to {SCHEMA_VERSION}: "
            "update q-chunking"
        )
    try:
        values = _values(mapping)
        method = values.get("train.method", Config().train.method)
        if "cloning-weight" in mapping.get("train", {}) and method != "qc-rlpd":
            # Earlier releases wrote it for all methods, but only qc-rlpd used it.
            del values["train.bc-weight"]
        if method not in METHODS:
            # Raises the error that lists the methods.
            TrainConfig(method=str(method))
        base = Config(recipe=mapping["recipe"])
        base = dataclasses.replace(base, train=base.train.changed(method=method))
        return check(apply(base, {n: v for n, v in values.items() if _belongs(n, method)}))
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from error


def read_config(path: Path) -> Config:
    """Read a resolved configuration that a step wrote (raises as `as_config`)."""
    return as_config(read_json(path), str(path))


def write_config(path: Path, config: Config) -> None:
    """Write a resolved configuration, atomically."""
    write_json(path, {"schema-version": SCHEMA_VERSION, **to_mapping(config)})


def _values(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values by option name, converted to their types."""
    values: dict[str, Any] = {}
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            values |= _values(value, f"{name}.")
        elif name not in ("recipe", "schema-version"):
            name = RENAMED.get(name, name)
            if name not in options():
                raise UsageError(f"unknown option --{name}.{closest(name, list(options()))}")
            values[name] = _strict(name, value)
    return values


def _strict(name: str, value: Any) -> Any:
    try:
        return msgspec.convert(value, options()[name].kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"--{name}: {error}, got {value!r}") from error


def _belongs(name: str, method: str) -> bool:
    methods = options()[name].methods
    return methods is None or method in methods
