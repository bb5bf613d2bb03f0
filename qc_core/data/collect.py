"""Collect episodes of mixed quality with OGBench's scripted oracles.

Each episode draws its own demonstrator: which oracle, how noisy its actions, how often a
random one. Some succeed at once, some late, some never: what a robot's logbook looks like.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from qc_core.data.dataset import Episodes
from qc_core.envs.make import make_environment
from qc_core.errors import WrongUse
from qc_core.processes import worker_pool

# Drawn anew for every episode. With these about four in five cube-single episodes succeed.
_PLAN_SHARE = 0.4
_ACTION_NOISE = (0.0, 0.5)
_RANDOM_ACTION_RATE = (0.0, 0.2)
_NOISE_RUN = 5


def require_collectable(environment: str) -> None:
    """Refuse an environment for which there is no oracle here (WrongUse)."""
    if not re.fullmatch(r"cube-single-singletask(-task[1-5])?-v0", environment):
        raise WrongUse(
            f"no scripted oracle for {environment}: collection works for cube-single; "
            "give a data set with --data PATH or --data ogbench"
        )


def collect_episodes(
    environment: str, seeds: Sequence[int], *, workers: int = 1
) -> Iterator[Episodes]:
    """Collect one episode per seed, in the order of the seeds whatever the number of workers."""
    require_collectable(environment)
    if workers == 1:
        with contextlib.closing(make_environment(environment)) as made:
            yield from (collect_episode(made, seed) for seed in seeds)
        return
    with worker_pool(workers) as pool:
        yield from pool.map(partial(_collect_in_worker, environment), seeds)


def collect_episode(environment: gymnasium.Env, seed: int) -> Episodes:
    """Play the oracle of that seed for one episode, from reset to success or time-out."""
    rng = np.random.default_rng(seed)
    action_noise = rng.uniform(*_ACTION_NOISE)
    random_rate = rng.uniform(*_RANDOM_ACTION_RATE)
    with _global_numpy_seed(int(rng.integers(1 << 31))):
        oracle = _make_oracle(environment, plan=rng.uniform() < _PLAN_SHARE)
        observation, info = environment.reset(seed=seed)
        oracle.reset(observation, _with_target(environment, info))
        observations, actions, rewards, masks = [observation], [], [], []
        step, ended = 0, False
        perturbation, explore = np.zeros(5), False
        while not ended:
            if oracle.done:
                oracle.reset(observation, _with_target(environment, info))
            if step % _NOISE_RUN == 0:
                perturbation = rng.normal(0.0, action_noise, 5)
                explore = rng.uniform() < random_rate
            chosen = oracle.select_action(observation, _with_target(environment, info))
            action = rng.uniform(-1, 1, 5) if explore else chosen + perturbation
            action = np.clip(action, -1.0, 1.0).astype(np.float32)
            observation, reward, terminated, truncated, info = environment.step(action)
            observations.append(observation)
            actions.append(action)
            rewards.append(reward)
            masks.append(0.0 if terminated else 1.0)
            ended = terminated or truncated
            step += 1
    terminals = np.zeros(len(actions), np.float32)
    terminals[-1] = 1.0
    return Episodes(
        observations=np.asarray(observations, np.float32),
        actions=np.asarray(actions, np.float32),
        rewards=np.asarray(rewards, np.float32),
        masks=np.asarray(masks, np.float32),
        terminals=terminals,
    )


def _make_oracle(environment: gymnasium.Env, *, plan: bool) -> Any:
    from ogbench.manipspace.oracles.markov.cube_markov import CubeMarkovOracle
    from ogbench.manipspace.oracles.plan.cube_plan import CubePlanOracle

    return CubePlanOracle(env=environment) if plan else CubeMarkovOracle(env=environment)


def _with_target(environment: gymnasium.Env, info: dict[str, Any]) -> dict[str, Any]:
    """What an oracle expects of a data-collection environment: which cube goes where."""
    goal: Any = environment.unwrapped
    return {
        **info,
        "privileged/target_block": 0,
        "privileged/target_block_pos": goal.cur_task_info["goal_xyzs"][0],
        "privileged/target_block_yaw": np.zeros(1),
    }


@contextlib.contextmanager
def _global_numpy_seed(seed: int) -> Iterator[None]:
    """The oracles draw from NumPy's global generator; lend it a seed, then put it back."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


_environments: dict[str, gymnasium.Env] = {}


def _collect_in_worker(environment: str, seed: int) -> Episodes:
    if environment not in _environments:
        _environments[environment] = make_environment(environment)
    return collect_episode(_environments[environment], seed)
