"""Plays episodes and writes them to an npz file in OGBench's form, for exchange and learning.

Shapes: T control steps, O observation, A action, Q simulator state. An episode is T + 1 rows; its
last row is only a next observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from qc_core.envs.play import LoadPolicy, iter_episodes, play_episode
from qc_core.envs.recorder import SIMULATOR_STATE, EpisodeRecorder, EpisodeRecording
from qc_core.errors import UsageError
from qc_core.files import staged_file
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.progress import Progress
from qc_core.runtime.executor import ChunkFunction


@dataclass(frozen=True, slots=True)
class RecordedEpisode:
    """The result of an episode and its rows.

    Attributes:
        columns: `actions` [T + 1, A], `observations` [T + 1, O], the simulator state [T + 1, Q]
            and `terminals` [T + 1], by the names of OGBench's files.
    """

    result: EpisodeResult
    columns: Mapping[str, np.ndarray]


def record_policy(
    environment: str, policy: LoadPolicy, seeds: Sequence[int], *, workers: int = 1
) -> list[RecordedEpisode]:
    """Play and record one episode per seed, as `play_episodes` does.

    Raises:
        UsageError: the environment does not report its simulator state.
    """
    recorded: dict[int, RecordedEpisode] = {}
    with Progress(len(seeds), "playing", "episode") as progress:
        for _, seed, episode in iter_episodes(
            environment, {"policy": policy}, seeds, _record_episode, workers=workers
        ):
            recorded[seed] = episode
            progress.update()
    return [recorded[seed] for seed in seeds]


def write_episodes(path: Path, episodes: Sequence[RecordedEpisode]) -> None:
    """Write the rows of all episodes to one npz file (UsageError: the file cannot be written)."""
    arrays: dict[str, Any] = {
        name: np.concatenate([episode.columns[name] for episode in episodes])
        for name in episodes[0].columns
    }
    with staged_file(path) as staging:
        np.savez_compressed(staging, **arrays)


def _record_episode(
    environment: gymnasium.Env, policy: ChunkFunction, seed: int
) -> RecordedEpisode:
    recorder = _StateRecorder(environment, info_entries=SIMULATOR_STATE)
    result = play_episode(recorder, policy, seed)
    return RecordedEpisode(result, _columns(recorder.recording()))


class _StateRecorder(EpisodeRecorder):
    """Refuses an environment whose recordings would not be enough to compute rewards."""

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        observation, info = super().reset(**options)
        if "qpos" not in info:
            raise UsageError(
                "these episodes cannot be recorded: the environment does not report its simulator "
                "state (info['qpos']), which rewards are computed from"
            )
        return observation, info


def _columns(recording: EpisodeRecording) -> dict[str, np.ndarray]:
    actions_TA = recording.actions_TA
    rows = {
        "actions": np.concatenate([actions_TA, np.zeros_like(actions_TA[:1])]),
        "observations": recording.observations_TO,
        **recording.info,
    }
    columns = {name: values.astype(np.float32) for name, values in rows.items()}
    return {**columns, "terminals": np.arange(len(actions_TA) + 1) == len(actions_TA)}
