"""Play whole episodes and say how they went."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Any

import gymnasium
import numpy as np

from qc_core.envs.chunks import ChunkExecutor, ChunkFunction
from qc_core.envs.make import make_environment
from qc_core.progress import Progress

LoadPolicy = Callable[[], ChunkFunction]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one episode went.

    Attributes:
        steps: control steps played; for a success, those it took.
        episode_return: undiscounted sum of rewards.
    """

    seed: int
    success: bool
    steps: int
    episode_return: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def play_episode(
    environment: gymnasium.Env,
    policy: ChunkFunction,
    seed: int,
    execution_length: int | None = None,
    on_frame: Callable[[], None] | None = None,
) -> Outcome:
    """Play one episode; its seed decides the start and the policy's noise.

    Args:
        execution_length: actions played per chunk; None plays whole chunks.
        on_frame: called after the reset and after each step, to record.
    """
    executor = ChunkExecutor(policy, np.random.default_rng(seed), execution_length)
    observation, _ = environment.reset(seed=seed)
    steps, total, success, ended = 0, 0.0, False, False
    while not ended:
        if on_frame:
            on_frame()
        observation, reward, terminated, truncated, info = environment.step(
            executor.act(observation)
        )
        steps += 1
        total += float(reward)
        success = success or bool(info.get("success", False))
        ended = terminated or truncated
    if on_frame:
        on_frame()
    return Outcome(seed, success, steps, total)


def play_episodes(
    environment: str,
    policies: Mapping[str, LoadPolicy],
    seeds: Sequence[int],
    *,
    workers: int = 1,
    execution_length: int | None = None,
) -> dict[str, list[Outcome]]:
    """Let each policy play one episode per seed.

    Args:
        policies: by name, how to make each; picklable, since each worker process does.
        workers: processes; 1 plays in this one.

    Returns:
        Outcomes by name in the order of the seeds, whatever the number of workers.
    """
    games = [(name, seed) for name in policies for seed in seeds]
    outcomes: dict[tuple[str, int], Outcome] = {}
    with Progress(len(games), "playing", "episode") as progress:
        for name, outcome in _play_all(environment, policies, games, workers, execution_length):
            outcomes[name, outcome.seed] = outcome
            rate = np.mean([o.success for (by, _), o in outcomes.items() if by == name])
            progress.update(note=f"{name} {rate:.0%}")
    return {name: [outcomes[name, seed] for seed in seeds] for name in policies}


def _play_all(
    environment: str,
    policies: Mapping[str, LoadPolicy],
    games: Sequence[tuple[str, int]],
    workers: int,
    execution_length: int | None,
) -> Iterator[tuple[str, Outcome]]:
    if workers == 1:
        player = _Player(environment, policies, execution_length)
        with contextlib.closing(player.environment):
            for name, seed in games:
                yield player.play(name, seed)
        return
    with ProcessPoolExecutor(
        workers,
        get_context("spawn"),
        initializer=_start_worker,
        initargs=(environment, policies, execution_length),
    ) as pool:
        futures = [pool.submit(_play_in_worker, name, seed) for name, seed in games]
        for future in as_completed(futures):
            yield future.result()


class _Player:
    """One process's environment and the policies that it has needed so far."""

    def __init__(
        self, environment: str, policies: Mapping[str, LoadPolicy], execution_length: int | None
    ) -> None:
        self.environment = make_environment(environment)
        self._policies, self._length = policies, execution_length
        self._loaded: dict[str, ChunkFunction] = {}

    def play(self, name: str, seed: int) -> tuple[str, Outcome]:
        if name not in self._loaded:
            self._loaded[name] = self._policies[name]()
        return name, play_episode(self.environment, self._loaded[name], seed, self._length)


_player: _Player | None = None


def _start_worker(
    environment: str, policies: Mapping[str, LoadPolicy], execution_length: int | None
) -> None:
    global _player
    _player = _Player(environment, policies, execution_length)


def _play_in_worker(name: str, seed: int) -> tuple[str, Outcome]:
    assert _player is not None
    return _player.play(name, seed)
