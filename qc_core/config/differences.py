"""Compares two configurations: which options differ, and which of them change what is learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qc_core.config.catalog import find_recipe
from qc_core.config.document import to_mapping
from qc_core.config.settings import Config

# They change neither the data nor what a training learns from them.
AFTER_TRAINING = (
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
    options = options_of(now, "--")
    # Methods have different options; one that only the new method has follows from the method.
    return [
        f"{name} {value}"
        for name, value in options_of(before, "--").items()
        if value != options.get(name)
    ]


def changes_to_recipe(config: Config) -> dict[str, Any]:
    """Return the values by option, `train.alpha`, in which a configuration differs from its recipe.

    The method is not among them: a recipe has settings for each method. UsageError: this release
    does not have the recipe.
    """
    recipe = options_of(to_mapping(find_recipe(config.recipe).for_method(config.train.method)))
    values = options_of(to_mapping(config))
    return {name: value for name, value in values.items() if value != recipe.get(name)}


def changed_training(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """As `changed_options`, without options that neither change the data nor a training."""
    return [
        option
        for option in changed_options(before, now)
        if option.partition(" ")[0] not in AFTER_TRAINING
    ]


def training_part(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values, by option, that determine the data and what a training learns."""
    return {
        name: value
        for name, value in options_of(mapping, "--").items()
        if name not in AFTER_TRAINING
    }


def options_of(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of a configuration document by option, with a text before each name."""
    options: dict[str, Any] = {}
    for name, value in mapping.items():
        if isinstance(value, dict):
            options |= options_of(value, f"{prefix}{name}.")
        else:
            options[prefix + name] = value
    return options
