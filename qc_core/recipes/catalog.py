"""The recipes: each a function's worth of numbers that are known to work together."""

from __future__ import annotations

from typing import NamedTuple

from qc_core.recipes.config import (
    Config,
    DataConfig,
    EvaluateConfig,
    PublishConfig,
    TrainConfig,
    TuneConfig,
)


class Recipe(NamedTuple):
    description: str
    config: Config


# Sized for two CPU cores. Small normalised networks learn fast at a high rate, at which the policy
# swings by several percent between updates: the rate falls, and stays low online. Alpha 100
# keeps to the data enough: at 30 and below the policy climbs errors of the young critic.
_QUICKSTART_TRAIN = TrainConfig(
    widths=(256, 256, 256),
    learning_rate=1e-3,
    learning_rate_decay=0.1,
    online_learning_rate=3e-5,
    normalize_observations=True,
    distillation_weight=100.0,
    offline_steps=7_500,
    online_steps=2_000,
    online_start=200,
)

RECIPES: dict[str, Recipe] = {
    "cube-single-quickstart": Recipe(
        "cube-single task 1 on two CPU cores in under ten minutes, data collected on the way",
        Config(
            recipe="cube-single-quickstart",
            data=DataConfig(terminal_handling="keep"),
            train=_QUICKSTART_TRAIN,
            tune=TuneConfig(
                trials=4,
                evaluations=2,
                # With 40 a trial of 89% once looked like one of 98% and went on.
                episodes=100,
                distillation_weight_factor=1.5,
                learning_rate_factor=3.0,
            ),
        ),
    ),
    "smoke": Recipe(
        "every step of the pipeline in about a minute, for tests; it does not learn",
        Config(
            recipe="smoke",
            data=DataConfig(episodes=6, workers=1),
            train=TrainConfig(
                widths=(32, 32),
                normalize_observations=True,
                learning_rate=1e-3,
                distillation_weight=30.0,
                batch_size=64,
                offline_steps=60,
                online_steps=60,
                online_start=20,
                log_every=20,
            ),
            tune=TuneConfig(trials=2, evaluations=1, episodes=1),
            evaluate=EvaluateConfig(episodes=4, workers=1),
            publish=PublishConfig(gate_episodes=2),
        ),
    ),
}
