"""Runs episodes of policies in environments, in worker processes."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from contextlib import closing, contextmanager
from typing import Any, Generic, TypeVar

import gymnasium
import numpy as np

from qc_core.envs.episode_result import format_score
from qc_core.envs.failures import EnvironmentFailed, EpisodeFailures
from qc_core.envs.make import make_environment
from qc_core.envs.model_memory import free_asset_cache
from qc_core.envs.time_limit import end_if_it_hangs
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.progress import Progress
from qc_core.runtime.executor import ChunkExecutor, ChunkFunction
from qc_core.worker_pool import worker_pool

# Entries of `info` by which environments report success.
SUCCESS_KEYS = ("success", "is_success")

_NO_SEED = "the environment failed with one of the policies for every seed; the log has the causes"
# Options that set the number of environments at once.
_FEWER = "--evaluate.workers (of qc play and qc coherence: --workers)"

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

    A seed whose environment failed with one of the policies is left out for all of them.

    Args:
        policies: functions that load a policy, by name; each worker process receives them by
            pickle and calls them.
        workers: number of processes.

    Returns:
        Results by policy name, in the order of the seeds for any number of workers.

    Raises:
        EnvironmentFailed: the environment failed too often.
    """
    results: dict[tuple[str, int], EpisodeResult] = {}
    with Progress(len(policies) * len(seeds), "playing", "episode") as progress:
        for name, seed, result in iter_episodes(
            environment, policies, seeds, play_episode, workers=workers
        ):
            if result is None:
                progress.update()
                continue
            results[name, seed] = result
            score = format_score([result for (by, _), result in results.items() if by == name])
            progress.update(note=f"{name} {score}")
    return complete_seeds(results, policies, seeds)


def complete_seeds(
    results: Mapping[tuple[str, int], T], names: Iterable[str], seeds: Iterable[int]
) -> dict[str, list[T]]:
    """Return results by name for the seeds that have one for each name, in the order of seeds.

    Raises:
        EnvironmentFailed: there is no such seed.
    """
    names = list(names)
    complete = [seed for seed in seeds if all((name, seed) in results for name in names)]
    if not complete:
        raise EnvironmentFailed(_NO_SEED)
    return {name: [results[name, seed] for seed in complete] for name in names}


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
        A seed is left out if its environment failed. Closing the iterator stops the episodes that
        are still running.

    Raises:
        EnvironmentFailed: the environment failed too often.
    """
    finished: dict[int, dict[str, EpisodeResult | None]] = {seed: {} for seed in seeds}
    remaining = iter(seeds)
    seed = next(remaining, None)
    complete = 0
    episodes = iter_episodes(
        environment, policies, seeds, play_episode, workers=workers, side_by_side=True
    )
    with closing(episodes):
        for name, finished_seed, result in episodes:
            finished[finished_seed][name] = result
            while seed is not None and len(finished[seed]) == len(policies):
                results = {name: finished[seed][name] for name in policies}
                played = {name: result for name, result in results.items() if result is not None}
                if len(played) == len(policies):
                    complete += 1
                    yield played
                seed = next(remaining, None)
    if not complete:
        raise EnvironmentFailed(_NO_SEED)


def iter_episodes(
    environment: str,
    policies: Mapping[str, LoadPolicy],
    seeds: Sequence[int],
    play: PlayEpisode[T],
    *,
    workers: int = 1,
    side_by_side: bool = False,
) -> Generator[tuple[str, int, T | None], None, None]:
    """Play one episode per policy and seed, and yield each as soon as it ends.

    Each process makes the environment once, and again after it failed.

    Args:
        play: plays one episode; this function and its result must be picklable.
        side_by_side: start all policies on one seed before the next seed, instead of all seeds
            of one policy before the next policy.

    Yields:
        (policy name, seed, what `play` returned), in the order in which the episodes end; None for
        an episode whose environment failed.

    Raises:
        EnvironmentFailed: too many episodes in a row of one policy failed, or all of them.
    """
    if side_by_side:
        episodes = [(name, seed) for seed in seeds for name in policies]
    else:
        episodes = [(name, seed) for name in policies for seed in seeds]
    failures = {name: EpisodeFailures(environment, _FEWER) for name in policies}
    with episode_pool(environment, workers, play) as submit:
        futures = {submit(name, policies[name], seed): (name, seed) for name, seed in episodes}
        for future in as_completed(futures):
            name, seed = futures[future]
            yield name, seed, failures[name].result_of(future)
            if failures[name].count == len(seeds):
                failures[name].give_up("every episode of a policy")


@contextmanager
def episode_pool(
    environment: str, workers: int, play: PlayEpisode[T]
) -> Iterator[Callable[[str, LoadPolicy, int], Future[T]]]:
    """Start worker processes that play episodes in the background.

    Each process makes the environment once, and holds the two policies that it loaded last. A
    process that crashes, or whose environment does not answer, is replaced.

    Yields:
        A function that submits one episode: it takes a policy's name, the function that loads
        the policy, and the seed, and returns a future of what `play` returns
        (`EpisodeFailures.result_of`).
    """
    with worker_pool(
        workers, _start_worker, environment, play, replace_killed=True, forked=True
    ) as pool:

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
            free_asset_cache()
        if name not in dict(self._policies):
            self._policies.append((name, load()))
        try:
            return self._play(self._environment, dict(self._policies)[name], seed)
        except EnvironmentFailed:
            # The next episode gets a new one.
            failed, self._environment = self._environment, None
            with contextlib.suppress(Exception, SystemExit):
                failed.close()
            raise


_worker: _EpisodeWorker[Any] | None = None


def _start_worker(environment: str, play: PlayEpisode[Any]) -> None:
    global _worker
    end_if_it_hangs()
    _worker = _EpisodeWorker(environment, play)


def _play_in_worker(name: str, load: LoadPolicy, seed: int) -> Any:
    assert _worker is not None
    return _worker.play(name, load, seed)
