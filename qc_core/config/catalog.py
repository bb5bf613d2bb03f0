"""All recipes by name.

A recipe of a domain with numbered tasks also has a name for each task, `cube-double-task1` to
`cube-double-task5`.
"""

from __future__ import annotations

import re
from dataclasses import replace

from qc_core.config.paper_recipes import PAPER_RECIPES
from qc_core.config.recipe import Recipe
from qc_core.config.settings import (
    Config,
    DataConfig,
    EvaluateConfig,
    PublishConfig,
    TuneConfig,
    train_config,
)
from qc_core.errors import UsageError, closest

# Sized for two CPU cores. The offline phase is too short to solve the task, so that fine-tuning has
# something to gain. Small normalised networks learn fast at a high learning rate, but success then
# varies by several percent between updates: the rate decays offline and is lower online.
# With alpha at 30 and below, the policy exploits errors of the critic early in training.
_QUICKSTART_TRAIN = train_config(
    "qc-fql",
    hidden_dims=(256, 256, 256),
    learning_rate=1e-3,
    learning_rate_decay=0.1,
    online_learning_rate=3e-4,
    normalize_observations=True,
    alpha=100.0,
    batch_size=128,
    offline_steps=2_500,
    online_steps=4_000,
    learning_starts=200,
)

_LOCAL_RECIPES: dict[str, Recipe] = {
    "cube-single-quickstart": Recipe(
        "cube-single task 1 on two CPU cores in eight minutes, including data collection",
        Config(
            recipe="cube-single-quickstart",
            data=DataConfig(episodes=60, terminal_handling="keep"),
            train=_QUICKSTART_TRAIN,
            tune=TuneConfig(
                trials=2,
                evaluations=2,
                alpha_factor=1.5,
                learning_rate_factor=3.0,
            ),
            # With fewer, only a large gain of fine-tuning is beyond chance.
            evaluate=EvaluateConfig(episodes=100),
        ),
        3,
        {
            # The cost of an update grows with N: the paper's 32 are too slow for two cores.
            "qc": {"num_samples": 8},
            "fql": {"alpha": 100.0},
            "fql-n": {"alpha": 100.0},
        },
    ),
    "smoke": Recipe(
        "every step of the pipeline in about a minute, for tests; the policy does not improve",
        Config(
            recipe="smoke",
            data=DataConfig(episodes=6, workers=1),
            train=train_config(
                "qc-fql",
                hidden_dims=(32, 32),
                normalize_observations=True,
                learning_rate=1e-3,
                alpha=30.0,
                batch_size=64,
                offline_steps=60,
                online_steps=60,
                learning_starts=20,
                log_every=20,
            ),
            tune=TuneConfig(trials=2, evaluations=1, episodes=1),
            evaluate=EvaluateConfig(episodes=4, workers=1),
            # The policy never succeeds: a minimum would prevent a champion.
            publish=PublishConfig(minimum_success=0.0, gate_episodes=2),
        ),
        3,
        {"fql": {"alpha": 30.0}, "fql-n": {"alpha": 30.0}},
    ),
}

FILE_SUFFIXES = (".yaml", ".yml")
RECIPES: dict[str, Recipe] = {**_LOCAL_RECIPES, **PAPER_RECIPES}


def recipe_names() -> list[str]:
    """Return every name that `find_recipe` accepts."""
    return [
        name
        for recipe, content in RECIPES.items()
        for name in (
            recipe,
            *(f"{recipe}-task{task}" for task in range(1, 6) if content.has_numbered_tasks),
        )
    ]


def is_recipe(argument: str) -> bool:
    """Whether an argument of a command names a recipe or a recipe file."""
    if argument.endswith(FILE_SUFFIXES):
        return True
    try:
        find_recipe(argument)
    except UsageError:
        return False
    return True


def find_recipe(name: str) -> Recipe:
    """Return the recipe of a name, such as `smoke` or `cube-double-task3` (UsageError: unknown)."""
    if name in RECIPES:
        return RECIPES[name]
    match = re.fullmatch(r"(.+)-task([1-5])", name)
    if match and match[1] in RECIPES and RECIPES[match[1]].has_numbered_tasks:
        recipe = RECIPES[match[1]]
        environment = re.sub(r"-task\d", f"-task{match[2]}", recipe.config.environment)
        config = replace(recipe.config, recipe=name, environment=environment)
        return replace(recipe, config=config)
    raise UsageError(
        f"unknown recipe {name!r}: `qc recipes` lists them." + closest(name, list(RECIPES))
    )
