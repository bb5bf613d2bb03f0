"""Prefetched chunks are ready in time, match their control step and do not depend on delays."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait

import numpy as np
import pytest

from qc_core.errors import UsageError
from qc_core.runtime.executor import ChunkExecutor
from qc_core.runtime.prefetch import ChunkLate, PrefetchingExecutor, require_prefetch

HORIZON = 5


class Gated:
    """A policy that answers when allowed; its actions are (observation, index in the chunk)."""

    noise_shape = (1,)

    def __init__(self, execution_horizon: int = HORIZON) -> None:
        self.execution_horizon = execution_horizon
        self.questions: list[float] = []
        self.noises: list[float] = []
        self.failure: Exception | None = None
        self._permits = threading.Semaphore(0)

    def answer(self, questions: int) -> None:
        """Allow this many answers to past or future requests."""
        self._permits.release(questions)

    def __call__(self, observation_BO: np.ndarray, noise: np.ndarray) -> np.ndarray:
        assert self._permits.acquire(timeout=30)
        question = float(observation_BO[0, 0])
        self.questions.append(question)
        self.noises.append(float(noise[0, 0]))
        if self.failure is not None:
            raise self.failure
        return np.array([[[question, place] for place in range(HORIZON)]])


Make = Callable[..., PrefetchingExecutor]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[tuple[Gated, PrefetchingExecutor]] = []

    def make(policy: Gated, lead: int = 2, timeout: float | None = None) -> PrefetchingExecutor:
        executor = PrefetchingExecutor(
            policy, np.random.default_rng(0), lead=lead, chunk_length=HORIZON, timeout=timeout
        )
        made.append((policy, executor))
        return executor

    yield make
    for policy, executor in made:
        policy.answer(1000)
        executor.close()


def act(executor: PrefetchingExecutor | ChunkExecutor, step: float) -> tuple[float, ...]:
    return tuple(executor.act(np.array([step])))


def settle(executor: PrefetchingExecutor) -> None:
    """Wait until the running computation has ended."""
    assert executor._next is not None
    wait([executor._next.chunk_HA], timeout=30)


def test_each_action_is_the_one_for_its_control_step(make: Make) -> None:
    policy = Gated()
    policy.answer(1000)
    executor = make(policy)
    played = [act(executor, step) for step in range(11)]
    assert played[:5] == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)]
    assert played[5:] == [(3, 2), (3, 3), (3, 4), (6, 2), (6, 3), (6, 4)]
    assert [question + place for question, place in played] == list(range(11))


@pytest.mark.parametrize(
    ("length", "lead", "asked"),
    [(5, 1, [0, 4, 8]), (5, 2, [0, 3, 6]), (3, 2, [0, 3, 6]), (2, 2, [0, 2, 4]), (1, 1, [0, 1, 2])],
)
def test_the_policy_is_asked_at_regular_intervals(
    make: Make, length: int, lead: int, asked: list[int]
) -> None:
    policy = Gated(length)
    policy.answer(1000)
    executor = make(policy, lead)
    played = [act(executor, step) for step in range(12)]
    assert [question + place for question, place in played] == list(range(12))
    assert policy.questions[:3] == asked
    assert {place for question, place in played if question > 0} == set(
        range(lead, lead + length)
    ) & set(range(HORIZON))


def test_act_does_not_wait_while_the_next_chunk_is_computed(make: Make) -> None:
    policy = Gated()
    executor = make(policy)
    policy.answer(1)
    played = [act(executor, step) for step in range(5)]
    assert played[-1] == (0, 4)
    assert policy.questions == [0]

    late: list[tuple[float, ...]] = []
    waiting = threading.Thread(target=lambda: late.append(act(executor, 5)))
    waiting.start()
    waiting.join(0.05)
    assert late == []
    policy.answer(1)
    waiting.join(30)
    assert late == [(3, 2)]


def test_a_late_chunk_does_not_change_actions(make: Make) -> None:
    quick, slow = Gated(), Gated()
    quick.answer(1000)
    in_time, late = make(quick), make(slow)
    expected = [act(in_time, step) for step in range(12)]

    played: list[tuple[float, ...]] = []
    playing = threading.Thread(target=lambda: played.extend(act(late, step) for step in range(12)))
    playing.start()
    while playing.is_alive():
        playing.join(0.002)
        slow.answer(1)
    assert played == expected


def test_after_the_timeout_there_is_no_action_until_the_chunk_is_ready(make: Make) -> None:
    policy = Gated()
    executor = make(policy, timeout=0)
    policy.answer(1)
    for step in range(5):
        act(executor, step)
    for _ in range(2):
        with pytest.raises(ChunkLate, match="asked for 2 actions ago") as refusal:
            act(executor, 5)
        assert "\n" not in str(refusal.value)
    policy.answer(1)
    settle(executor)
    assert act(executor, 6) == (3, 2)


def test_the_first_chunk_is_awaited_regardless_of_the_timeout(make: Make) -> None:
    policy = Gated()
    executor = make(policy, timeout=0)
    timer = threading.Timer(0.02, policy.answer, [1])
    timer.start()
    assert act(executor, 0) == (0, 0)


def test_the_next_act_raises_a_failure_and_the_policy_is_asked_again(make: Make) -> None:
    policy = Gated()
    executor = make(policy)
    policy.answer(1)
    for step in range(4):
        act(executor, step)
    policy.failure = RuntimeError("no GPU any more")
    policy.answer(1000)
    settle(executor)
    with pytest.raises(RuntimeError, match="no GPU any more"):
        act(executor, 4)
    policy.failure = None
    played = [act(executor, step) for step in (4, 5, 6, 7)]
    assert played == [(0, 4), (4, 1), (4, 2), (4, 3)]


def test_the_timeout_applies_to_the_request_after_a_failure(make: Make) -> None:
    """The robot is moving, so `act` must not wait without a limit."""
    policy = Gated()
    executor = make(policy, timeout=0)
    policy.answer(1)
    for step in range(5):
        act(executor, step)
    policy.failure = RuntimeError("no GPU any more")
    policy.answer(1)
    settle(executor)
    with pytest.raises(RuntimeError, match="no GPU any more"):
        act(executor, 5)
    policy.failure = None
    for _ in range(2):
        with pytest.raises(ChunkLate, match="asked for 0 actions ago"):
            act(executor, 5)
    policy.answer(1)
    settle(executor)
    assert [act(executor, step) for step in (6, 7)] == [(5, 0), (5, 1)]


def test_after_a_reset_the_first_chunk_is_awaited_again(make: Make) -> None:
    policy = Gated()
    executor = make(policy, timeout=0)
    policy.answer(1)
    act(executor, 0)
    executor.reset()
    timer = threading.Timer(0.02, policy.answer, [1])
    timer.start()
    assert act(executor, 7) == (7, 0)


def test_a_failure_of_the_first_chunk_leaves_nothing_pending(make: Make) -> None:
    policy = Gated()
    policy.answer(1000)
    policy.failure = RuntimeError("no GPU")
    executor = make(policy)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no GPU"):
            act(executor, 0)
    policy.failure = None
    assert act(executor, 1) == (1, 0)


def test_a_reset_drops_the_chunk_that_is_being_computed(make: Make) -> None:
    policy = Gated()
    executor = make(policy)
    policy.answer(1)
    for step in range(4):
        act(executor, step)
    executor.reset()
    policy.answer(2)
    assert act(executor, 100) == (100, 0)
    assert act(executor, 101) == (100, 1)


def test_the_caller_may_reuse_the_memory_of_an_observation(make: Make) -> None:
    policy = Gated()
    executor = make(policy)
    policy.answer(1)
    observation = np.zeros(1, np.float32)
    for step in range(5):
        observation[:] = step
        executor.act(observation)
    policy.answer(1)
    observation[:] = 5
    assert tuple(executor.act(observation)) == (3, 2)


def test_the_nth_chunk_has_the_same_noise_as_without_prefetch(make: Make) -> None:
    ahead, asked = Gated(), Gated()
    for policy in (ahead, asked):
        policy.answer(1000)
    with_prefetch, without = make(ahead), ChunkExecutor(asked, np.random.default_rng(0))
    for step in range(20):
        act(with_prefetch, step)
        act(without, step)
    settle(with_prefetch)
    assert ahead.noises[:4] == asked.noises[:4]
    assert len(set(asked.noises)) == 4


def test_close_ends_the_thread(make: Make) -> None:
    def threads() -> int:
        return sum(t.name.startswith("chunk-prefetch") for t in threading.enumerate())

    before = threads()
    policy = Gated()
    policy.answer(1000)
    executor = make(policy)
    act(executor, 0)
    assert threads() == before + 1
    executor.close()
    assert threads() == before


class Mover:
    """Moves straight to the target, at most one unit per step, and predicts its position."""

    noise_shape = (1,)
    execution_horizon = HORIZON
    target = 12.5

    def __call__(self, observation_BO: np.ndarray, noise: np.ndarray) -> np.ndarray:
        position, moves = float(observation_BO[0, 0]), []
        for _ in range(HORIZON):
            moves.append(np.clip(self.target - position, -1, 1))
            position += moves[-1]
        return np.array(moves).reshape(1, HORIZON, 1)


@pytest.mark.parametrize("lead", [1, 2])
def test_prefetch_changes_no_action_in_a_predictable_environment(lead: int) -> None:
    """A robot with incremental actions would overshoot if chunks started at their first action."""
    rng = np.random.default_rng(0)
    prefetching = PrefetchingExecutor(Mover(), rng, lead=lead, chunk_length=HORIZON)
    paths = []
    for executor in (ChunkExecutor(Mover(), rng), prefetching):
        position, path = 0.0, []
        for _ in range(20):
            position += float(executor.act(np.array([position]))[0])
            path.append(position)
        paths.append(path)
    prefetching.close()
    assert paths[0] == paths[1]
    assert paths[0][-1] == Mover.target


@pytest.mark.parametrize(
    ("steps", "actions", "horizon", "most"),
    [(3, 5, 5, 2), (-1, 5, 5, 2), (2, 1, 5, 1), (1, 1, 1, 0), (6, 10, 10, 5)],
)
def test_an_invalid_prefetch_is_refused(steps: int, actions: int, horizon: int, most: int) -> None:
    with pytest.raises(UsageError, match=rf"in \[0, {most}\] control steps .*got {steps}"):
        require_prefetch(steps, actions, horizon)
    assert require_prefetch(most, actions, horizon) == most
