"""Train settings for tests that run several methods."""

from typing import Any

from qc_core.config.methods import METHODS, BestOfNSettings, GaussianSettings, OneStepSettings
from qc_core.config.options import options
from qc_core.config.settings import TrainConfig


def settings_of(method: str, **values: Any) -> dict[str, Any]:
    """Return the values whose settings the method has."""
    known = options()
    return {
        name: value
        for name, value in values.items()
        if (methods := known[f"train.{name.replace('_', '-')}"].methods) is None
        or method in methods
    }


def train_with(method: str, base: TrainConfig | None = None, **values: Any) -> TrainConfig:
    """Return a method's train settings, changed by the values whose settings it has."""
    return (base or TrainConfig()).changed(method=method, **settings_of(method, **values))


def is_gaussian(method: str) -> bool:
    return isinstance(METHODS[method].settings, GaussianSettings)


def is_best_of_n(method: str) -> bool:
    return isinstance(METHODS[method].settings, BestOfNSettings)


def is_one_step(method: str) -> bool:
    return isinstance(METHODS[method].settings, OneStepSettings)


def num_samples_of(train: TrainConfig) -> int:
    assert isinstance(train.algorithm, BestOfNSettings)
    return train.algorithm.num_samples


def alpha_of(train: TrainConfig) -> float:
    assert isinstance(train.algorithm, OneStepSettings)
    return train.algorithm.alpha
