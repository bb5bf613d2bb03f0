"""Play one episode and write down what happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from qc_core.data.collection.demonstrators import Demonstrator
from qc_core.data.collection.goals import Goals
from qc_core.data.dataset.dataset import Episodes
from qc_core.envs.numpy_seed import global_numpy_seed

# The simulator's state that rewards may depend on, under the names of OGBench's files.
_STATE = ("qpos", "button_states")


@dataclass(slots=True)
class Recording:
    """One episode, growing: states have a row more than transitions."""

    observations: list[np.ndarray] = field(default_factory=list)
    states: list[dict[str, np.ndarray]] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    masks: list[float] = field(default_factory=list)

    def state_arrays(self) -> dict[str, np.ndarray]:
        """`qpos` and, where there are buttons, `button_states`: T + 1 rows."""
        return {name: np.array([state[name] for state in self.states]) for name in self.states[0]}

    def as_episodes(self) -> Episodes:
        terminals = np.zeros(len(self.actions), np.float32)
        terminals[-1] = 1.0
        return Episodes(
            observations=np.asarray(self.observations, np.float32),
            actions=np.asarray(self.actions, np.float32),
            rewards=np.asarray(self.rewards, np.float32),
            masks=np.asarray(self.masks, np.float32),
            terminals=terminals,
        )


def record(
    environment: gymnasium.Env,
    goals: Goals,
    demonstrator: Demonstrator,
    rng: np.random.Generator,
    seed: int,
) -> Recording:
    """Let a demonstrator go for goals until the environment ends the episode.

    Args:
        rng: for what disturbs the demonstrator.
        seed: of the environment.
    """
    recording = Recording()
    with global_numpy_seed(demonstrator.oracle_seed):
        observation, info = environment.reset(seed=seed)
        _note(recording, observation, info)
        oracles: dict[str, Any] = {}
        oracle, ended = None, False
        noise_A, explore = np.zeros_like(demonstrator.noise), False
        while not ended:
            if oracle is None or oracle.done:
                info = goals.choose(info)
                task = info["privileged/target_task"]
                if task not in oracles:
                    oracles[task] = demonstrator.make_oracle(environment, task)
                oracle = oracles[task]
                oracle.reset(observation, info)
            if len(recording.actions) % demonstrator.hold == 0:
                noise_A = rng.normal(0.0, demonstrator.noise)
                explore = rng.uniform() < demonstrator.random_rate
            chosen_A = oracle.select_action(observation, info) + noise_A
            if explore:
                chosen_A = rng.uniform(-1, 1, len(chosen_A))
            action_A = np.clip(chosen_A, -1.0, 1.0).astype(np.float32)
            observation, reward, terminated, truncated, info = environment.step(action_A)
            _note(recording, observation, info)
            recording.actions.append(action_A)
            recording.rewards.append(float(reward))
            recording.masks.append(0.0 if terminated else 1.0)
            info = goals.seen(info)
            ended = terminated or truncated
    return recording


def _note(recording: Recording, observation: np.ndarray, info: dict[str, Any]) -> None:
    recording.observations.append(observation)
    recording.states.append({name: info[name] for name in _STATE if name in info})
