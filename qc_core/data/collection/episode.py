"""Records one episode of a demonstrator."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from qc_core.data.collection.demonstrators import Demonstrator
from qc_core.data.collection.goals import Goals
from qc_core.data.dataset.dataset import Episodes
from qc_core.envs.numpy_seed import global_numpy_seed
from qc_core.envs.recorder import SIMULATOR_STATE, EpisodeRecorder, EpisodeRecording


def record_demonstration(
    environment: gymnasium.Env,
    goals: Goals,
    demonstrator: Demonstrator,
    rng: np.random.Generator,
    seed: int,
) -> EpisodeRecording:
    """Let a demonstrator pursue goals until the episode ends.

    Args:
        rng: for the disturbances of the demonstrator's actions.
        seed: of the environment.

    Returns:
        The episode; `info` has `qpos` and, if the environment has buttons, `button_states`.
    """
    recorder = EpisodeRecorder(environment, info_entries=SIMULATOR_STATE)
    with global_numpy_seed(demonstrator.oracle_seed):
        observation, info = recorder.reset(seed=seed)
        oracles: dict[str, Any] = {}
        oracle, step, ended = None, 0, False
        noise_A, explore = np.zeros_like(demonstrator.noise), False
        while not ended:
            if oracle is None or oracle.done:
                info = goals.choose(info)
                task = info["privileged/target_task"]
                if task not in oracles:
                    oracles[task] = demonstrator.make_oracle(environment, task)
                oracle = oracles[task]
                oracle.reset(observation, info)
            if step % demonstrator.hold == 0:
                noise_A = rng.normal(0.0, demonstrator.noise)
                explore = rng.uniform() < demonstrator.random_rate
            chosen_A = oracle.select_action(observation, info) + noise_A
            if explore:
                chosen_A = rng.uniform(-1, 1, len(chosen_A))
            action_A = np.clip(chosen_A, -1.0, 1.0).astype(np.float32)
            observation, _, terminated, truncated, info = recorder.step(action_A)
            step += 1
            info = goals.with_target(info)
            ended = terminated or truncated
    return recorder.recording()


def as_episodes(recording: EpisodeRecording) -> Episodes:
    """Convert a recording to the columns of a dataset."""
    terminals = np.zeros(len(recording.actions_TA), np.float32)
    terminals[-1] = 1.0
    return Episodes(
        observations=recording.observations_TO.astype(np.float32),
        actions=recording.actions_TA.astype(np.float32),
        rewards=recording.rewards_T.astype(np.float32),
        masks=1.0 - recording.terminated_T.astype(np.float32),
        terminals=terminals,
    )
