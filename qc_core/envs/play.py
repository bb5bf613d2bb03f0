"""Play whole episodes and say how they went."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from contextlib import closing, contextmanager
from typing import Any, Generic, TypeVar

import gymnasium
import numpy as np

from qc_core.envs.episode_result import EpisodeResult, format_score
from qc_core.envs.make import make_environment
from qc_core.processes import worker_pool
from qc_core.progress import Progress
from qc_core.runtime.executor import ChunkExecutor, ChunkFunction

T = TypeVar("T")
LoadPolicy = Callable[[], ChunkFunction]
PlayOne = Callable[[gymnasium.Env, ChunkFunction, int], T]

# Side by side, two policies take turns.
_KEPT_POLICIES = 2


def play_episode(
    environment: gymnasium.Env,
    policy: ChunkFunction,
    seed: int,
    on_frame: Callable[[], None] | None = None,
) -> EpisodeResult:
    """Play one episode; its seed decides the start and the policy's noise.

    Args:
        on_frame: called after the reset and after each step, to record.
    """
    executor = ChunkExecutor(policy, np.random.default_rng(seed))
    return play_with(environment, executor.act, seed, on_frame)


def play_with(
    environment: gymnasium.Env,
    act: Callable[[np.ndarray], np.ndarray],
    seed: int,
    on_frame: Callable[[], None] | None = None,
) -> EpisodeResult:
    """Play one episode with the action [A] that `act` gives for each observation [O]."""
    observation, _ = environment.reset(seed=seed)
    steps, total, success, told, ended = 0, 0.0, False, False, False
    while not ended:
        if on_frame:
            on_frame()
        observation, reward, terminated, truncated, info = environment.step(act(observation))
        steps += 1
        total += float(reward)
        success = success or bool(info.get("success", False))
        told = told or "success" in info
        ended = terminated or truncated
    if on_frame:
        on_frame()
    return EpisodeResult(seed, success, steps, total, told)


def play_episodes(
    environment: str,
    policies: Mapping[str, LoadPolicy],
    seeds: Sequence[int],
    *,
    workers: int = 1,
) -> dict[str, list[EpisodeResult]]:
    """Let each policy play one episode per seed.

    Args:
        policies: by name, how to make each; picklable, since each worker process does.
        workers: processes; 1 plays in this one.

    Returns:
        Outcomes by name in the order of the seeds, whatever the number of workers.
    """
    outcomes: dict[tuple[str, int], EpisodeResult] = {}
    with Progress(len(policies) * len(seeds), "playing", "episode") as progress:
        for name, seed, outcome in play_each(
            environment, policies, seeds, play_episode, workers=workers
        ):
            outcomes[name, seed] = outcome
            so_far = format_score([o for (by, _), o in outcomes.items() if by == name])
            progress.update(note=f"{name} {so_far}")
    return {name: [outcomes[name, seed] for seed in seeds] for name in policies}


def play_side_by_side(
    environment: str,
    policies: Mapping[str, LoadPolicy],
    seeds: Sequence[int],
    *,
    workers: int = 1,
) -> Generator[dict[str, EpisodeResult], None, None]:
    """Let all policies play one seed after the other, for who may stop before the last.

    Args:
        policies, workers: as `play_episodes` takes them.

    Yields:
        Outcomes by name in the order of the seeds, whatever the number of workers. What is
        being played ahead is broken off when the iterator is closed.
    """
    ended: dict[int, dict[str, EpisodeResult]] = {seed: {} for seed in seeds}
    waited_for = iter(seeds)
    seed = next(waited_for)
    played = play_each(
        environment, policies, seeds, play_episode, workers=workers, side_by_side=True
    )
    with closing(played):
        for name, ended_seed, outcome in played:
            ended[ended_seed][name] = outcome
            while len(ended[seed]) == len(policies):
                yield {name: ended[seed][name] for name in policies}
                if (seed := next(waited_for, None)) is None:
                    return


def play_each(
    environment: str,
    policies: Mapping[str, LoadPolicy],
    seeds: Sequence[int],
    play: PlayOne[T],
    *,
    workers: int = 1,
    side_by_side: bool = False,
) -> Generator[tuple[str, int, T], None, None]:
    """Let each policy play each seed, in processes that make the environment once.

    Args:
        play: plays one episode; picklable, as what it returns.
        side_by_side: begin all policies' games of one seed before those of the next, instead
            of all games of one policy before the next's.

    Yields:
        (name, seed, what `play` returned), in the order in which they end.
    """
    if side_by_side:
        games = [(name, seed) for seed in seeds for name in policies]
    else:
        games = [(name, seed) for name in policies for seed in seeds]
    if workers == 1:
        player = _Player(environment, play)
        try:
            for name, seed in games:
                yield name, seed, player.play(name, policies[name], seed)
        finally:
            player.close()
        return
    with players(environment, workers, play) as submit:
        futures = {submit(name, policies[name], seed): (name, seed) for name, seed in games}
        for future in as_completed(futures):
            yield *futures[future], future.result()


@contextmanager
def players(
    environment: str, workers: int, play: PlayOne[T]
) -> Iterator[Callable[[str, LoadPolicy, int], Future[T]]]:
    """Processes that play while this one does something else; each makes the environment once.

    Yields:
        Takes a policy's name, how to make it, and the seed to play; a process keeps the two
        policies that it has made last.
    """
    with worker_pool(workers, _start_worker, environment, play) as pool:

        def submit(name: str, load: LoadPolicy, seed: int) -> Future[T]:
            return pool.submit(_play_in_worker, name, load, seed)

        yield submit


class _Player(Generic[T]):
    """One process's environment and the policies that it has made last."""

    def __init__(self, environment: str, play: PlayOne[T]) -> None:
        self._id, self._play = environment, play
        self._environment: gymnasium.Env | None = None
        self._policies: deque[tuple[str, ChunkFunction]] = deque(maxlen=_KEPT_POLICIES)

    def play(self, name: str, load: LoadPolicy, seed: int) -> T:
        if self._environment is None:
            self._environment = make_environment(self._id)
        if name not in dict(self._policies):
            self._policies.append((name, load()))
        return self._play(self._environment, dict(self._policies)[name], seed)

    def close(self) -> None:
        if self._environment is not None:
            self._environment.close()


_player: _Player[Any] | None = None


def _start_worker(environment: str, play: PlayOne[Any]) -> None:
    global _player
    _player = _Player(environment, play)


def _play_in_worker(name: str, load: LoadPolicy, seed: int) -> Any:
    assert _player is not None
    return _player.play(name, load, seed)
