"""Plays episodes and writes them to an npz file, for uploads and training.

For OGBench's single tasks the file has OGBench's form, with the simulator state that rewards are
computed from. For other environments each row is a step with its reward, as the runtime's
`EpisodeRecorder` writes it.

Shapes: T control steps, O observation, A action, Q simulator state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from qc_core.envs.play import SUCCESS_KEYS, LoadPolicy, iter_episodes, play_episode
from qc_core.envs.recorder import SIMULATOR_STATE, EpisodeRecorder, EpisodeRecording
from qc_core.envs.relabelling import has_single_task
from qc_core.errors import UsageError
from qc_core.files import staged_file
from qc_core.policy_format.contract import Contract
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.progress import Progress
from qc_core.runtime import EpisodeRecorder as StepsRecorder
from qc_core.runtime.executor import ChunkFunction


@dataclass(frozen=True, slots=True)
class RecordedEpisode:
    """The result of an episode, its recording, and for each step whether it succeeded.

    Attributes:
        successes: None for each step without `info["success"]`.
    """

    result: EpisodeResult
    recording: EpisodeRecording
    successes: tuple[bool | None, ...]


def record_policy(
    environment: str, policy: LoadPolicy, seeds: Sequence[int], *, workers: int = 1
) -> list[RecordedEpisode]:
    """Play and record one episode per seed, as `play_episodes` does, except those that failed."""
    recorded: dict[int, RecordedEpisode] = {}
    with Progress(len(seeds), "playing", "episode") as progress:
        for _, seed, episode in iter_episodes(
            environment, {"policy": policy}, seeds, _record_episode, workers=workers
        ):
            if episode is not None:
                recorded[seed] = episode
            progress.update()
    return [recorded[seed] for seed in seeds if seed in recorded]


def write_episodes(path: Path, contract: Contract, episodes: Sequence[RecordedEpisode]) -> None:
    """Write all episodes to one npz file.

    Args:
        contract: of the policy that played them.

    Raises:
        UsageError: the file cannot be written; a number is not finite; a single task of OGBench
            does not report its simulator state.
    """
    if not has_single_task(contract.environment):
        _write_steps(path, contract, episodes)
        return
    columns = [_ogbench_columns(episode) for episode in episodes]
    arrays: dict[str, Any] = {
        name: np.concatenate([own[name] for own in columns]) for name in columns[0]
    }
    with staged_file(path) as staging:
        np.savez_compressed(staging, **arrays)


def _record_episode(
    environment: gymnasium.Env, policy: ChunkFunction, seed: int
) -> RecordedEpisode:
    recorder = _Recorder(environment, info_entries=SIMULATOR_STATE)
    result = play_episode(recorder, policy, seed)
    return RecordedEpisode(result, recorder.recording(), tuple(recorder.successes))


class _Recorder(EpisodeRecorder):
    """Also records which steps succeeded."""

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        self.successes: list[bool | None] = []
        return super().reset(**options)

    def step(self, action: np.ndarray) -> tuple[Any, ...]:
        result = super().step(action)
        reported = [bool(result[-1][key]) for key in SUCCESS_KEYS if key in result[-1]]
        self.successes.append(any(reported) if reported else None)
        return result


def _write_steps(path: Path, contract: Contract, episodes: Sequence[RecordedEpisode]) -> None:
    with StepsRecorder(path, contract=contract) as recorder:
        for episode in episodes:
            recording = episode.recording
            recorder.reset(recording.observations_TO[0], seed=episode.result.seed)
            for step, action_A in enumerate(recording.actions_TA):
                recorder.step(
                    action_A,
                    recording.observations_TO[step + 1],
                    float(recording.rewards_T[step]),
                    terminated=bool(recording.terminated_T[step]),
                    success=episode.successes[step],
                )


def _ogbench_columns(episode: RecordedEpisode) -> dict[str, np.ndarray]:
    """Return the rows of an episode, T + 1; the last one is only a next observation."""
    recording = episode.recording
    if "qpos" not in recording.info:
        raise UsageError(
            "these episodes cannot be recorded: the environment does not report its simulator "
            "state (info['qpos']), which rewards are computed from"
        )
    actions_TA = recording.actions_TA
    rows = {
        "actions": np.concatenate([actions_TA, np.zeros_like(actions_TA[:1])]),
        "observations": recording.observations_TO,
        **recording.info,
    }
    columns = {name: values.astype(np.float32) for name, values in rows.items()}
    return {
        **columns,
        "seeds": np.full(len(actions_TA) + 1, episode.result.seed),
        "terminals": np.arange(len(actions_TA) + 1) == len(actions_TA),
    }
