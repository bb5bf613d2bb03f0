"""Checks that the values of a configuration are within their limits."""

from __future__ import annotations

import functools
import re
import typing
from typing import Annotated, get_args, get_origin

from qc_core.config.methods import GaussianSettings
from qc_core.config.settings import ROBOT, Config, final_reward_of
from qc_core.errors import UsageError
from qc_core.names import require_name
from qc_core.seeds import RUN_SEEDS

# Ids become parts of keys in the store.
_ENVIRONMENT = re.compile(rf"{ROBOT}\w[\w.-]*|(?!{ROBOT})\w[\w:.-]*(/\w[\w.-]*)*(\?.*)?")


def check(config: Config) -> Config:
    """Return the configuration if every value is within its limits (UsageError: one is not)."""
    train, tune, publish = config.train, config.tune, config.publish
    if not 0 < train.discount <= 1:
        raise UsageError(f"--train.discount must be in (0, 1], got {train.discount}")
    if not 0 < train.tau <= 1:
        raise UsageError(f"--train.tau must be in (0, 1], got {train.tau}")
    if not 0 < train.learning_rate_decay <= 1:
        raise UsageError(
            f"--train.learning-rate-decay must be in (0, 1], got {train.learning_rate_decay}"
        )
    if not 0 < publish.margin < 1:
        raise UsageError(f"--publish.margin must be between 0 and 1, got {publish.margin}")
    if not 0 <= publish.minimum_success < 1:
        raise UsageError(
            f"--publish.minimum-success must be in [0, 1), got {publish.minimum_success}"
        )
    if isinstance(train.algorithm, GaussianSettings) and train.algorithm.offline_fraction >= 1:
        raise UsageError(
            "--train.offline-fraction must be between 0 and 1, "
            f"got {train.algorithm.offline_fraction}"
        )
    final_reward_of(config.data.success)
    if not config.data.source or not all(config.data.source):
        raise UsageError("--data needs at least one source, such as collect")
    if not train.hidden_dims or min(train.hidden_dims) < 1:
        raise UsageError(f"--train.hidden-dims needs positive layer sizes, got {train.hidden_dims}")
    _require_in_range("--control-interval", config.control_interval, 0)
    if not _ENVIRONMENT.fullmatch(config.environment):
        raise UsageError(
            "--environment must be an id such as Name-v0, package:Name-v0 or robot/NAME, of "
            f"letters, digits, dots, dashes and underscores, got {config.environment!r}"
        )
    groups = {
        "data": (config.data,),
        "train": (train, train.algorithm),
        "tune": (tune,),
        "evaluate": (config.evaluate,),
        "publish": (publish,),
    }
    for group, parts in groups.items():
        for part in parts:
            for name, low in _lower_limits(type(part)).items():
                _require_in_range(f"--{group}.{name}", getattr(part, name), low)
    if config.execution_horizon > train.chunk_length:
        raise UsageError(
            f"--evaluate.execution-horizon must be at most {train.chunk_length}, the actions of a "
            f"chunk, got {config.execution_horizon}"
        )
    if not 0 <= config.seed < RUN_SEEDS:
        raise UsageError(f"--seed must be in [0, {RUN_SEEDS}), got {config.seed}")
    require_name(config.policy_name, "policy name (--publish.name)")
    if min(tune.alpha_factor, tune.learning_rate_factor) < 1:
        raise UsageError("--tune.*-factor must be at least 1: it widens the search both ways")
    return config


@functools.cache
def _lower_limits(kind: type) -> dict[str, float]:
    """The lower limit of each number among the settings of a class."""
    limits: dict[str, float] = {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        if get_origin(hint) is not Annotated:
            continue
        number, meta = get_args(hint)
        if number in (int, float):
            limits[name] = (1 if number is int else 1e-12) if meta.ge is None else meta.ge
    return limits


def _require_in_range(option: str, value: float, low: float) -> None:
    """Raise UsageError for a number that is below its limit, infinite or NaN."""
    if not low <= value < float("inf"):
        raise UsageError(f"{option.replace('_', '-')} must be at least {low}, got {value}")
