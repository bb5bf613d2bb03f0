"""The chunk executor runs open loop and asks the policy only if no action is pending."""

import numpy as np

from qc_core.runtime.executor import ChunkExecutor


class Counting:
    """A policy whose actions are (number of the request, index in the chunk)."""

    noise_shape = (4,)

    def __init__(self, execution_horizon: int = 3) -> None:
        self.execution_horizon = execution_horizon
        self.questions: list[np.ndarray] = []
        self.noises: list[np.ndarray] = []

    def __call__(self, observation_BO: np.ndarray, noise: np.ndarray) -> np.ndarray:
        assert observation_BO.dtype == noise.dtype == np.float32
        assert noise.shape == (1, 4)
        self.questions.append(observation_BO[0])
        self.noises.append(noise)
        return np.array([[[len(self.questions), step] for step in range(3)]], np.float32)


def play(executor: ChunkExecutor, steps: int) -> list[tuple[float, float]]:
    return [tuple(executor.act(np.full(2, float(step)))) for step in range(steps)]


def test_a_chunk_is_executed_before_the_policy_is_asked_again() -> None:
    policy = Counting()
    played = play(ChunkExecutor(policy, np.random.default_rng(0)), 5)
    assert played == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
    assert [question[0] for question in policy.questions] == [0, 3]


def test_a_shorter_execution_horizon_replans_earlier() -> None:
    policy = Counting(execution_horizon=2)
    played = play(ChunkExecutor(policy, np.random.default_rng(0)), 4)
    assert played == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_a_reset_drops_pending_actions() -> None:
    policy = Counting()
    executor = ChunkExecutor(policy, np.random.default_rng(0))
    play(executor, 1)
    executor.reset()
    assert play(executor, 1) == [(2, 0)]


def test_noise_is_fresh_for_each_chunk_and_repeatable() -> None:
    first, second = Counting(), Counting()
    play(ChunkExecutor(first, np.random.default_rng(5)), 6)
    play(ChunkExecutor(second, np.random.default_rng(5)), 6)
    np.testing.assert_array_equal(first.noises, second.noises)
    assert not np.array_equal(first.noises[0], first.noises[1])
