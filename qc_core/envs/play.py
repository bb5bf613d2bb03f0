"""Runs episodes of policies in environments, in one process or in several."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from contextlib import closing, contextmanager
from typing import Any, Generic, TypeVar

import gymnasium
import numpy as np

from qc_core.envs.episode_result import format_score
from qc_core.envs.make import make_environment
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.processes import worker_pool
from qc_core.progress import Progress
from qc_core.runtime.executor import ChunkExecutor, ChunkFunction

# Entries of `info` by which environments report success.
SUCCESS_KEYS = ("success", "is_success")

T = TypeVar("T")
LoadPolicy = Callable[[], ChunkFunction]
PlayEpisode = Callable[[gymnasium.Env, ChunkFunction, int], T]

# Two policies that are compared seed by seed alternate in each process.
_CACHED_POLICIES = 2


def play_episode(
    environment: gymnasium.Env,
    policy: ChunkFunction,
    seed: int,
    on_frame: Callable[[], None] | None = None,
) -> EpisodeResult:
    """Play one episode with a chunk policy.

    Args:
        seed: decides the initial state and the policy's noise.
        on_frame: called after the reset and after each step, to record a video.
    """
    executor = ChunkExecutor(policy, np.random.default_rng(seed))
    return rollout(environment, executor.act, seed, on_frame)


def rollout(
    environment: gymnasium.Env,
    act: Callable[[np.ndarray], np.ndarray],
    seed: int,
    on_frame: Callable[[], None] | None = None,
) -> EpisodeResult:
    """Play one episode with a function from observation [O] to action [A].

    Args:
        seed: of the environment.
        on_frame: called after the reset and after each step, to record a video.
    """
    observation, _ = environment.reset(seed=seed)
    steps, total, success, reports_success, ended = 0, 0.0, False, False, False
    while not ended:
        if on_frame:
            on_frame()
        observation, reward, terminated, truncated, info = environment.step(act(observation))
        steps += 1
        total += float(reward)
        success = success or any(bool(info.get(key, False)) for key in SUCCESS_KEYS)
        reports_success = reports_success or any(key in info for key in SUCCESS_KEYS)
        ended = terminated or truncated
    if on_frame:
        on_frame()
    return EpisodeResult(seed, success, steps, total, reports_success)


def play_episodes(
    environment: str,
    policies: Mapping[str, LoadPolicy],
    seeds: Sequence[int],
    *,
    workers: int = 1,
) -> dict[str, list[EpisodeResult]]:
    """Play one episode per policy and seed.

    Args:
        policies: functions that load a policy, by name; each worker process receives them by
            pickle and calls them.
        workers: number of processes; 1 plays in this process.

    Returns:
        Results by policy name, in the order of the seeds for any number of workers.
    """
    results: dict[tuple[str, int], EpisodeResult] = {}
    with Progress(len(policies) * len(seeds), "playing", "episode") as progress:
        for name, seed, result in iter_episodes(
            environment, policies, seeds, play_episode, workers=workers
        ):
            results[name, seed] = result
            score = format_score([result for (by, _), result in results.items() if by == name])
            progress.update(note=f"{name} {score}")
    return {name: [results[name, seed] for seed in seeds] for name in policies}


def play_side_by_side(
    environment: str,
    policies: Mapping[str, LoadPolicy],
    seeds: Sequence[int],
    *,
    workers: int = 1,
) -> Generator[dict[str, EpisodeResult], None, None]:
    """Play one episode per policy for each seed in turn, so that the caller can stop early.

    Args:
        policies, workers: as in `play_episodes`.

    Yields:
        Results of one seed by policy name, in the order of the seeds for any number of workers.
        Closing the iterator stops the episodes that are still running.
    """
    finished: dict[int, dict[str, EpisodeResult]] = {seed: {} for seed in seeds}
    remaining = iter(seeds)
    seed = next(remaining)
    episodes = iter_episodes(
        environment, policies, seeds, play_episode, workers=workers, side_by_side=True
    )
    with closing(episodes):
        for name, finished_seed, result in episodes:
            finished[finished_seed][name] = result
            while len(finished[seed]) == len(policies):
                yield {name: finished[seed][name] for name in policies}
                if (seed := next(remaining, None)) is None:
                    return


def iter_episodes(
    environment: str,
    policies: Mapping[str, LoadPolicy],
    seeds: Sequence[int],
    play: PlayEpisode[T],
    *,
    workers: int = 1,
    side_by_side: bool = False,
) -> Generator[tuple[str, int, T], None, None]:
    """Play one episode per policy and seed, and yield each as soon as it ends.

    Each process makes the environment once.

    Args:
        play: plays one episode; this function and its result must be picklable.
        side_by_side: start all policies on one seed before the next seed, instead of all seeds
            of one policy before the next policy.

    Yields:
        (policy name, seed, what `play` returned), in the order in which the episodes end.
    """
    if side_by_side:
        episodes = [(name, seed) for seed in seeds for name in policies]
    else:
        episodes = [(name, seed) for name in policies for seed in seeds]
    if workers == 1:
        with closing(_EpisodeWorker(environment, play)) as worker:
            for name, seed in episodes:
                yield name, seed, worker.play(name, policies[name], seed)
        return
    with episode_pool(environment, workers, play) as submit:
        futures = {submit(name, policies[name], seed): (name, seed) for name, seed in episodes}
        for future in as_completed(futures):
            yield *futures[future], future.result()


@contextmanager
def episode_pool(
    environment: str, workers: int, play: PlayEpisode[T]
) -> Iterator[Callable[[str, LoadPolicy, int], Future[T]]]:
    """Start worker processes that play episodes in the background.

    Each process makes the environment once, and holds the two policies that it loaded last.

    Yields:
        A function that submits one episode: it takes a policy's name, the function that loads
        the policy, and the seed, and returns a future of what `play` returns.
    """
    with worker_pool(workers, _start_worker, environment, play) as pool:

        def submit(name: str, load: LoadPolicy, seed: int) -> Future[T]:
            return pool.submit(_play_in_worker, name, load, seed)

        yield submit


class _EpisodeWorker(Generic[T]):
    """One process's environment and the policies that it loaded last."""

    def __init__(self, environment: str, play: PlayEpisode[T]) -> None:
        self._id, self._play = environment, play
        self._environment: gymnasium.Env | None = None
        self._policies: deque[tuple[str, ChunkFunction]] = deque(maxlen=_CACHED_POLICIES)

    def play(self, name: str, load: LoadPolicy, seed: int) -> T:
        if self._environment is None:
            self._environment = make_environment(self._id)
        if name not in dict(self._policies):
            self._policies.append((name, load()))
        return self._play(self._environment, dict(self._policies)[name], seed)

    def close(self) -> None:
        if self._environment is not None:
            self._environment.close()


_worker: _EpisodeWorker[Any] | None = None


def _start_worker(environment: str, play: PlayEpisode[Any]) -> None:
    global _worker
    _worker = _EpisodeWorker(environment, play)


def _play_in_worker(name: str, load: LoadPolicy, seed: int) -> Any:
    assert _worker is not None
    return _worker.play(name, load, seed)
