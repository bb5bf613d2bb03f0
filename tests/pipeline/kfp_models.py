"""Validates JSON with the models of KFP's generated client."""

from __future__ import annotations

import json
import re
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import kfp_server_api

_PRIMITIVES: dict[str, type] = {"str": str, "int": int, "bool": bool, "float": float}


def check(value: Any, kind: str, where: str = "") -> None:
    """Raise AssertionError unless the value matches a published model in every field.

    Args:
        kind: type in the notation of the models: `str`, `list[V2beta1Run]`, `V2beta1Run`.
    """
    where = where or kind
    if kind == "object":
        return
    if kind in _PRIMITIVES:
        assert type(value) is _PRIMITIVES[kind], f"{where} must be {kind}, got {value!r}"
    elif kind == "datetime":
        assert isinstance(value, str), f"{where} must be a time, got {value!r}"
        datetime.fromisoformat(value)
    elif match := re.fullmatch(r"list\[(.+)\]", kind):
        assert isinstance(value, list), f"{where} must be a list, got {value!r}"
        for i, item in enumerate(value):
            check(item, match[1], f"{where}[{i}]")
    elif match := re.fullmatch(r"dict\(str, (.+)\)", kind):
        assert isinstance(value, dict), f"{where} must be a mapping, got {value!r}"
        for key, item in value.items():
            check(item, match[1], f"{where}.{key}")
    else:
        _check_model(value, kind, where)


def _check_model(value: Any, kind: str, where: str) -> None:
    model: Any = getattr(kfp_server_api, kind)
    allowed = getattr(model, "allowable_values", None)
    if allowed is not None:
        assert value in allowed, f"{where} must be one of {allowed}, got {value!r}"
        return
    assert isinstance(value, dict), f"{where} must be a {kind}, got {value!r}"
    fields = {model.attribute_map[name]: kind for name, kind in model.openapi_types.items()}
    assert value.keys() <= fields.keys(), f"{where} has no {value.keys() - fields.keys()}"
    for name, item in value.items():
        check(item, fields[name], f"{where}.{name}")
    client = kfp_server_api.ApiClient()
    read = client.deserialize(SimpleNamespace(data=json.dumps(value)), kind)
    assert client.sanitize_for_serialization(read) == value, f"{where} does not survive {kind}"
