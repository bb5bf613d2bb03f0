"""Demonstrators: OGBench's oracles and the disturbances of their actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from qc_core.config.settings import Collection
from qc_core.data.collection.families import family_of

_ACTION_SIZE = 5
# `mixed`, drawn for each episode: some succeed early, some late, some never, as in a robot's log.
# About four in five cube-single episodes succeed.
_MIXED_NOISE = (0.0, 0.5)
_MIXED_RANDOM_RATE = (0.0, 0.2)
_MIXED_PLAN_SHARE = 0.4
_MIXED_HOLD = 5
# `noisy`, as in OGBench's datasets of that name: the noise of an episode has one level, with
# larger factors for yaw and gripper.
_NOISY_LEVEL = (0.0, 0.1)
_NOISY_SCALES = np.array([1.0, 1.0, 1.0, 3.0, 10.0])
_NOISY_RANDOM_RATE = 0.1
_NOISY_RANDOM_RATE_PUZZLE = 0.2


@dataclass(frozen=True, slots=True)
class Demonstrator:
    """Parameters of the actions of one episode. A action.

    Attributes:
        plan: whether the oracle follows a planned path (with its own smooth noise) instead of
            reacting to the state.
        noise: standard deviation of the noise that is added to each action, [A].
        random_rate: probability that a random action replaces the oracle's.
        hold: control steps that one disturbance lasts.
        oracle_seed: of the oracle's random numbers.
    """

    plan: bool
    noise: np.ndarray
    random_rate: float
    hold: int
    oracle_seed: int

    def make_oracle(self, environment: gymnasium.Env, task: str) -> Any:
        """Return the oracle for a task: `cube`, `button`, `drawer` or `window`."""
        from ogbench.manipspace.oracles.markov.button_markov import ButtonMarkovOracle
        from ogbench.manipspace.oracles.markov.cube_markov import CubeMarkovOracle
        from ogbench.manipspace.oracles.markov.drawer_markov import DrawerMarkovOracle
        from ogbench.manipspace.oracles.markov.window_markov import WindowMarkovOracle
        from ogbench.manipspace.oracles.plan.button_plan import ButtonPlanOracle
        from ogbench.manipspace.oracles.plan.cube_plan import CubePlanOracle
        from ogbench.manipspace.oracles.plan.drawer_plan import DrawerPlanOracle
        from ogbench.manipspace.oracles.plan.window_plan import WindowPlanOracle

        markov, plan = {
            "cube": (CubeMarkovOracle, CubePlanOracle),
            "button": (ButtonMarkovOracle, ButtonPlanOracle),
            "drawer": (DrawerMarkovOracle, DrawerPlanOracle),
            "window": (WindowMarkovOracle, WindowPlanOracle),
        }[task]
        # An open gripper would also press the neighbours of a button.
        buttons_only = hasattr(environment.unwrapped, "_num_rows")
        options = {"gripper_always_closed": True} if buttons_only else {}
        return (plan if self.plan else markov)(env=environment, **options)


def draw_demonstrator(
    collection: Collection, environment: str, rng: np.random.Generator
) -> Demonstrator:
    """Draw the demonstrator of one episode."""
    if collection == "mixed":
        noise = rng.uniform(*_MIXED_NOISE)
        random_rate = rng.uniform(*_MIXED_RANDOM_RATE)
        oracle_seed = _draw_seed(rng)
        plan = rng.uniform() < _MIXED_PLAN_SHARE
        return Demonstrator(
            plan, np.full(_ACTION_SIZE, noise), random_rate, _MIXED_HOLD, oracle_seed
        )
    if collection == "noisy":
        noise_A = rng.uniform(*_NOISY_LEVEL) * _NOISY_SCALES
        puzzle = family_of(environment).startswith("puzzle")
        random_rate = _NOISY_RANDOM_RATE_PUZZLE if puzzle else _NOISY_RANDOM_RATE
        return Demonstrator(False, noise_A, random_rate, 1, _draw_seed(rng))
    return Demonstrator(True, np.zeros(_ACTION_SIZE), 0.0, 1, _draw_seed(rng))


def _draw_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 31))
