"""Tries an environment before anything is collected or trained."""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple

import gymnasium
import numpy as np

from qc_core.envs.control_interval import ControlInterval, control_interval
from qc_core.envs.episode_result import NO_SUCCESS_SIGNAL
from qc_core.envs.failures import EnvironmentFailed, EnvironmentKilled, process_failure
from qc_core.envs.make import make_environment, spec_of
from qc_core.envs.play import SUCCESS_KEYS
from qc_core.envs.time_limit import end_if_it_hangs
from qc_core.errors import UsageError
from qc_core.policy_format.environment_spec import EnvironmentSpec
from qc_core.processes import memory_remedy
from qc_core.worker_pool import WorkerKilled, worker_pool

# Steps of the trial episode: enough for most environments to end, and a few seconds at most.
_MAX_STEPS = 1000
RENDER_MODE = "rgb_array"


class EnvironmentCheck(NamedTuple):
    """What a trial episode with random actions showed.

    Attributes:
        reports_success: whether any step had `info["success"]` or `info["is_success"]`.
        renders: whether the environment says that it can be filmed.
        repeats: whether the same seed gives the same first observation.
    """

    spec: EnvironmentSpec
    interval: ControlInterval
    reports_success: bool
    renders: bool
    repeats: bool

    @property
    def notes(self) -> list[str]:
        """The environment and its limits, for people; one line each."""
        spec = self.spec
        notes = [
            f"{spec.id}: {spec.observation_size} observations, {spec.action_size} actions, "
            f"{self.interval.seconds:.3g} s per step ({self.interval.origin}), at most "
            f"{spec.episode_limit} steps"
        ]
        if not self.reports_success:
            notes.append(f"{spec.id} {NO_SUCCESS_SIGNAL}: policies are compared by their return")
        if not self.renders:
            notes.append(f"{spec.id} does not render {RENDER_MODE!r}: there will be no video")
        if not self.repeats:
            notes.append(
                f"{spec.id} gives different episodes for the same seed: results cannot be "
                "repeated; draw from self.np_random in the environment"
            )
        return notes


def check_environment(environment: str, given_interval: float = 0.0) -> EnvironmentCheck:
    """Play one episode with random actions and report what the environment can do.

    It runs in another process, because it may crash or hang.

    Args:
        given_interval: `--control-interval`, or 0.

    Raises:
        UsageError: it cannot be made or played, or its observations or rewards are invalid.
        EnvironmentKilled: memory ran out.
    """
    with worker_pool(1, end_if_it_hangs, forked=True) as pool:
        try:
            return pool.submit(_check, environment, given_interval).result()
        except EnvironmentFailed as error:
            failure = error
        except WorkerKilled as error:
            failure = process_failure(error.exit_code)
    if isinstance(failure, EnvironmentKilled):
        raise EnvironmentKilled(f"{environment} cannot be played: {failure}; {memory_remedy()}")
    raise UsageError(f"{environment} cannot be played: {failure}; correct the environment")


def _check(environment: str, given_interval: float) -> EnvironmentCheck:
    with closing(make_environment(environment)) as made:
        spec = spec_of(environment, made, given_interval)
        first, _ = made.reset(seed=0)
        again, _ = made.reset(seed=0)
        reports_success = _play(made, spec)
        return EnvironmentCheck(
            spec=spec,
            interval=control_interval(made, environment, given_interval),
            reports_success=reports_success,
            renders=renders(made),
            repeats=np.array_equal(first, again),
        )


def renders(made: gymnasium.Env) -> bool:
    """Return whether an environment offers images; those that name no render mode may do so."""
    modes = made.metadata.get("render_modes") or [RENDER_MODE]
    return type(made.unwrapped).render is not gymnasium.Env.render and RENDER_MODE in modes


def _play(made: gymnasium.Env, spec: EnvironmentSpec) -> bool:
    """Play until the episode ends or success is reported; return whether it was reported."""
    rng = np.random.default_rng(0)
    for _ in range(min(spec.episode_limit, _MAX_STEPS)):
        action_A = rng.uniform(spec.action_low, spec.action_high).astype(np.float32)
        *_, terminated, truncated, info = made.step(action_A)
        if any(key in info for key in SUCCESS_KEYS):
            return True
        if terminated or truncated:
            break
    return False
