"""Play whole episodes and say how they went."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Any

import gymnasium
import numpy as np

from qc_core.envs.chunks import ChunkExecutor, ChunkFunction
from qc_core.envs.make import make_environment
from qc_core.progress import Progress


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
    load_policy: Callable[[], ChunkFunction],
    seeds: Sequence[int],
    *,
    workers: int = 1,
    execution_length: int | None = None,
    label: str = "playing",
) -> list[Outcome]:
    """Play one episode per seed, in the order of the seeds whatever the number of workers.

    Args:
        load_policy: makes the policy; picklable, since each worker process calls it.
        workers: processes; 1 plays in this one.
    """
    outcomes: dict[int, Outcome] = {}
    with Progress(len(seeds), label, "episode") as progress:
        for outcome in _outcomes(environment, load_policy, seeds, workers, execution_length):
            outcomes[outcome.seed] = outcome
            rate = np.mean([o.success for o in outcomes.values()])
            progress.update(note=f"success {rate:.0%}")
    return [outcomes[seed] for seed in seeds]


def _outcomes(
    environment: str,
    load_policy: Callable[[], ChunkFunction],
    seeds: Sequence[int],
    workers: int,
    execution_length: int | None,
) -> Iterator[Outcome]:
    if workers == 1:
        policy = load_policy()
        with contextlib.closing(make_environment(environment)) as made:
            for seed in seeds:
                yield play_episode(made, policy, seed, execution_length)
        return
    with ProcessPoolExecutor(
        workers,
        get_context("spawn"),
        initializer=_start_worker,
        initargs=(environment, load_policy),
    ) as pool:
        futures = [pool.submit(_play_in_worker, seed, execution_length) for seed in seeds]
        for future in as_completed(futures):
            yield future.result()


_worker: tuple[gymnasium.Env, ChunkFunction] | None = None


def _start_worker(environment: str, load_policy: Callable[[], ChunkFunction]) -> None:
    global _worker
    _worker = make_environment(environment), load_policy()


def _play_in_worker(seed: int, execution_length: int | None) -> Outcome:
    assert _worker is not None
    made, policy = _worker
    return play_episode(made, policy, seed, execution_length)
