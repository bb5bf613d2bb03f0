"""Windows match a slow loop over rows and the paper's code."""

import json
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qc_core.config.settings import Config, TrainConfig
from qc_core.data.replay.windows import gather_windows, sample_windows

VECTORS = Path(__file__).parents[3] / "data" / "vectors" / "windows.npz"


class Rows:
    """Transitions given row by row."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
        self._observations = tensors["observations"]
        self._next_observations = tensors["next_observations"]
        self.actions = tensors["actions"]
        self.rewards = tensors["rewards"]
        self.masks = tensors["masks"]
        self.terminals = tensors["terminals"]

    def sample_starts(self, uniform_B: Tensor, backup_steps: int) -> Tensor:
        return (uniform_B * (len(self.rewards) - backup_steps + 1)).long()

    def window_indices(self, start_B: Tensor, backup_steps: int) -> Tensor:
        return start_B[:, None] + torch.arange(backup_steps)

    def observations_at(self, index: Tensor) -> Tensor:
        return self._observations[index]

    def next_observations_at(self, index: Tensor) -> Tensor:
        return self._next_observations[index]


def test_windows_match_the_papers_code_for_every_length() -> None:
    arrays = dict(np.load(VECTORS))
    rows = Rows({n[5:]: v for n, v in arrays.items() if n.startswith("data/")})
    discount = json.loads(str(arrays["meta"]))["discount"]
    start = torch.from_numpy(arrays["index"])
    whole = arrays["out/rewards"].shape[1]
    for horizon in range(1, whole + 1):
        windows = gather_windows(rows, start, backup_steps=horizon, discount=discount)
        last = horizon - 1
        np.testing.assert_allclose(
            windows.returns_B, arrays["out/rewards"][:, last], rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(
            windows.bootstrap_B, arrays["out/masks"][:, last] * discount**horizon, rtol=1e-6
        )
        np.testing.assert_array_equal(windows.weight_B, arrays["out/valid"][:, last])
        np.testing.assert_array_equal(windows.valid_BH, arrays["out/valid"][:, :horizon])
        np.testing.assert_array_equal(windows.actions_BHA, arrays["out/actions"][:, :horizon])
        np.testing.assert_array_equal(windows.observations_BO, arrays["out/observations"])
        np.testing.assert_array_equal(
            windows.next_observations_BO, arrays["out/next_observations"][:, last]
        )


@st.composite
def episodic_rows(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Episodes that end by success, by time, or with successes on the way."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    size = sum(lengths)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    terminals = np.zeros(size)
    terminals[np.cumsum(lengths) - 1] = 1
    return {
        "observations": rng.normal(size=(size, 2)),
        "next_observations": rng.normal(size=(size, 2)),
        "actions": rng.uniform(-1, 1, (size, 3)),
        "rewards": rng.normal(size=size),
        "masks": (rng.uniform(size=size) > draw(st.sampled_from([0.0, 0.2, 0.9]))).astype(float),
        "terminals": terminals,
    }


@settings(max_examples=200, deadline=None)
@given(rows=episodic_rows(), horizon=st.integers(1, 6), discount=st.floats(0.5, 1.0))
def test_dropped_windows_match_a_loop_over_rows(
    rows: dict[str, np.ndarray], horizon: int, discount: float
) -> None:
    size = len(rows["rewards"])
    if size < horizon:
        return
    starts = np.arange(size - horizon + 1)
    windows = gather_windows(
        Rows(rows), torch.from_numpy(starts), backup_steps=horizon, discount=discount
    )
    returns, bootstraps, valid = [], [], []
    for start in starts:
        total, mask, ended = 0.0, 1.0, 0.0
        for k in range(horizon):
            valid.append(1 - ended)
            total += discount**k * rows["rewards"][start + k]
            mask = min(mask, rows["masks"][start + k])
            ended = max(ended, rows["terminals"][start + k])
        returns.append(total)
        bootstraps.append(mask * discount**horizon)
    np.testing.assert_allclose(windows.returns_B, returns, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(windows.bootstrap_B, bootstraps)
    np.testing.assert_array_equal(windows.valid_BH.flatten(), valid)
    np.testing.assert_array_equal(windows.weight_B, windows.valid_BH[:, -1])
    np.testing.assert_array_equal(
        windows.actions_BHA, rows["actions"][starts[:, None] + np.arange(horizon)]
    )
    np.testing.assert_array_equal(windows.observations_BO, rows["observations"][starts])
    np.testing.assert_array_equal(
        windows.next_observations_BO, rows["next_observations"][starts + horizon - 1]
    )


@settings(max_examples=200, deadline=None)
@given(rows=episodic_rows(), horizon=st.integers(1, 6), discount=st.floats(0.5, 1.0))
def test_kept_windows_end_with_their_episode(
    rows: dict[str, np.ndarray], horizon: int, discount: float
) -> None:
    size = len(rows["rewards"])
    if size < horizon:
        return
    starts = torch.arange(size - horizon + 1)
    kept = gather_windows(
        Rows(rows), starts, backup_steps=horizon, discount=discount, terminal_handling="keep"
    )
    returns, bootstraps, lasts = [], [], []
    for start in starts.tolist():
        total, mask, steps = 0.0, 1.0, 0
        for k in range(horizon):
            total += discount**k * rows["rewards"][start + k]
            mask = min(mask, rows["masks"][start + k])
            steps = k + 1
            if rows["terminals"][start + k]:
                break
        returns.append(total)
        bootstraps.append(mask * discount**steps)
        lasts.append(start + steps - 1)
    np.testing.assert_allclose(kept.returns_B, returns, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(kept.bootstrap_B, bootstraps)
    np.testing.assert_array_equal(kept.next_observations_BO, rows["next_observations"][lasts])
    assert (kept.weight_B == 1).all()


def test_the_critic_learns_from_a_success_inside_a_chunk_only_if_kept() -> None:
    """Dropped, one start per episode is left from which the success can be learned."""
    size, horizon = 8, 5
    rows = Rows(
        {
            "observations": np.arange(size, dtype=float)[:, None],
            "next_observations": np.arange(size, dtype=float)[:, None] + 1,
            "actions": np.zeros((size, 1)),
            "rewards": np.array([-1.0, -1, -1, -1, -1, -1, 0, -1]),
            "masks": np.array([1.0, 1, 1, 1, 1, 1, 0, 1]),
            "terminals": np.array([0.0, 0, 0, 0, 0, 0, 1, 0]),
        }
    )
    starts = torch.arange(4)
    dropped = gather_windows(rows, starts, backup_steps=horizon, discount=1.0)
    kept = gather_windows(
        rows, starts, backup_steps=horizon, discount=1.0, terminal_handling="keep"
    )
    solved = dropped.bootstrap_B == 0
    assert solved.tolist() == (kept.bootstrap_B == 0).tolist() == [False, False, True, True]
    assert (dropped.weight_B * solved).sum() == 1
    assert (kept.weight_B * solved).sum() == 2
    # The reward behind the end belongs to another episode.
    assert (dropped.returns_B[3], kept.returns_B[3]) == (-4, -3)


def test_starts_are_sampled_up_to_the_last_complete_window() -> None:
    size, horizon = 7, 5
    rows = Rows(
        {
            "observations": np.arange(size, dtype=float)[:, None],
            "next_observations": np.zeros((size, 1)),
            "actions": np.zeros((size, 1)),
            "rewards": np.zeros(size),
            "masks": np.ones(size),
            "terminals": np.zeros(size),
        }
    )
    generator = torch.Generator().manual_seed(0)
    config = Config(train=TrainConfig(backup_horizon=horizon, batch_size=300))
    windows = sample_windows(rows, config, generator)
    starts, counts = windows.observations_BO.unique(return_counts=True)
    assert starts.tolist() == [0, 1, 2]
    assert counts.min() > 70
