"""Ids of environments with other settings than those they are registered with.

`Ant-v5?max_episode_steps=500&ctrl_cost_weight=0.1` is Ant-v5 with these arguments. Values are JSON,
percent-encoded. `additional_wrappers` is a list of Gymnasium's own wrappers: name, entry point and
arguments of each.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from gymnasium.envs.registration import EnvSpec, WrapperSpec

from qc_core.errors import UsageError

_STEPS, _WRAPPERS = "max_episode_steps", "additional_wrappers"
_OWN_WRAPPERS = "gymnasium.wrappers"
# Arguments that change only how an environment is drawn.
_DRAWING = ("render_mode", "width", "height", "camera_name", "camera_id", "default_camera_config")
# `make_environment` flattens observations itself.
_FLATTENING = "FlattenObservation"


def split_settings(environment: str) -> tuple[str, dict[str, Any]]:
    """Return an id without its settings, and the settings (UsageError: one is not JSON)."""
    name, _, query = environment.partition("?")
    settings: dict[str, Any] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        try:
            settings[key] = json.loads(text)
        except ValueError as error:
            raise UsageError(
                f'{environment}: the value of {key} must be JSON, such as 3, true or "text", '
                f"got {text[:50]!r}"
            ) from error
    return name, settings


def with_settings(environment: str, settings: Mapping[str, Any]) -> str:
    """Return the id of an environment with other settings; the inverse of `split_settings`."""
    if not settings:
        return environment
    encoded = {key: json.dumps(value, separators=(",", ":")) for key, value in settings.items()}
    return f"{environment}?{urlencode(encoded)}"


def applied(registered: EnvSpec, settings: Mapping[str, Any], environment: str) -> EnvSpec:
    """Return a registration with other settings.

    Raises:
        UsageError: the number of steps or the list of wrappers is invalid, or a wrapper is not
            Gymnasium's own.
    """
    if not settings:
        return registered
    spec = copy.deepcopy(registered)
    arguments = dict(settings)
    if _STEPS in arguments:
        steps = arguments.pop(_STEPS)
        if type(steps) is not int or steps < 1:
            raise UsageError(f"{environment}: {_STEPS} must be a positive integer, got {steps!r}")
        spec.max_episode_steps = steps
    spec.additional_wrappers += _wrappers(arguments.pop(_WRAPPERS, []), environment)
    spec.kwargs = {**spec.kwargs, **arguments}
    return spec


def _wrappers(wrappers: Any, environment: str) -> tuple[WrapperSpec, ...]:
    try:
        found = tuple(WrapperSpec(str(n), str(e), kwargs) for n, e, kwargs in wrappers)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{environment}: {_WRAPPERS} must be a list of [name, entry point, arguments]"
        ) from error
    for wrapper in found:
        if not wrapper.entry_point.startswith((f"{_OWN_WRAPPERS}.", f"{_OWN_WRAPPERS}:")):
            raise UsageError(
                f"{environment}: the wrapper {wrapper.name} ({wrapper.entry_point}) is not one of "
                "Gymnasium's: register an environment that includes it"
            )
    return found


def differences(recorded: EnvSpec, registered: EnvSpec) -> dict[str, Any]:
    """Return the settings with which a registered environment becomes a recorded one."""
    found = {
        key: value
        for key, value in recorded.kwargs.items()
        if key not in _DRAWING
        and (key not in registered.kwargs or not _is_equal(value, registered.kwargs[key]))
    }
    if recorded.max_episode_steps not in (None, registered.max_episode_steps):
        found[_STEPS] = recorded.max_episode_steps
    wrappers = [
        [wrapper.name, wrapper.entry_point, wrapper.kwargs]
        for wrapper in recorded.additional_wrappers
        if wrapper.name != _FLATTENING and wrapper not in registered.additional_wrappers
    ]
    return found | ({_WRAPPERS: wrappers} if wrappers else {})


def _is_equal(first: Any, second: Any) -> bool:
    """Whether two arguments are equal as JSON, in which tuples are lists."""
    try:
        return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    except TypeError:
        return False
