"""Compares two configurations: which options differ, and which of them change what is learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# They change neither the data nor what a training learns from them.
_AFTER_TRAINING = (
    "--data.workers",
    "--tune.trials",
    "--tune.workers",
    "--tune.trials-per-gpu",
    "--evaluate.episodes",
    "--evaluate.workers",
    "--publish.gate",
    "--publish.margin",
    "--publish.minimum-success",
    "--publish.gate-episodes",
)


def changed_options(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the options whose values in an earlier configuration differ, with those values."""
    options = _options(now)
    # Methods have different options; one that only the new method has follows from the method.
    return [
        f"{name} {value}" for name, value in _options(before).items() if value != options.get(name)
    ]


def changed_training(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """As `changed_options`, without options that neither change the data nor a training."""
    return [
        option
        for option in changed_options(before, now)
        if option.partition(" ")[0] not in _AFTER_TRAINING
    ]


def training_part(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values, by option, that determine the data and what a training learns."""
    return {name: value for name, value in _options(mapping).items() if name not in _AFTER_TRAINING}


def _options(mapping: Mapping[str, Any], prefix: str = "--") -> dict[str, Any]:
    """Return a configuration's values by the names of its options."""
    options: dict[str, Any] = {}
    for name, value in mapping.items():
        if isinstance(value, dict):
            options |= _options(value, f"{prefix}{name}.")
        else:
            options[prefix + name] = value
    return options
