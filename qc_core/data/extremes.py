"""Finds numbers of a dataset that are far from all others, such as a reward of 1e30."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qc_core.data.dataset.dataset import Dataset

# Rows that stand for all, read in blocks that are spread evenly over the dataset.
_BLOCKS, _BLOCK_ROWS = 64, 1024
# Usual numbers: all but this share of them. Extreme ones are as many times larger, and larger than
# this limit, so that rare rewards of an ordinary size are not extreme.
_RARE = 0.005
_TIMES = 1000.0


def extreme_values(dataset: Dataset) -> list[str]:
    """Return one line for the rewards, and one for each observation, that has extreme numbers."""
    found = []
    low, high = dataset.info.reward_range
    usual = float(_usual(dataset.rewards))
    if _is_extreme(max(abs(low), abs(high)), usual):
        found.append(_line("rewards", dataset.rewards, usual, dataset))
    ranges = dataset.info.observation_range
    if ranges is None:
        return found
    largest_O = np.maximum(np.abs(ranges.low), np.abs(ranges.high))
    usual_O = _usual(dataset.observations)
    for column in np.flatnonzero(_is_extreme(largest_O, usual_O)):
        name = dataset.spec.observation_names[column]
        values = dataset.observations[:, column]
        found.append(_line(f"observation {name}", values, float(usual_O[column]), dataset))
    return found


def _is_extreme(largest: np.ndarray | float, usual: np.ndarray | float) -> np.ndarray:
    return np.asarray((largest > _TIMES * np.asarray(usual)) & (np.asarray(largest) > _TIMES))


def _usual(rows: np.ndarray) -> np.ndarray:
    """Return the largest usual absolute number of each column: [...] of rows [N, ...]."""
    sample = np.concatenate([np.abs(block) for block in _blocks(rows)])
    return np.quantile(sample, 1 - _RARE, axis=0, method="lower")


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    if len(rows) <= _BLOCKS * _BLOCK_ROWS:
        yield rows
        return
    for start in np.linspace(0, len(rows) - _BLOCK_ROWS, _BLOCKS).astype(int):
        yield rows[start : start + _BLOCK_ROWS]


def _line(what: str, values: np.ndarray, usual: float, dataset: Dataset) -> str:
    """Return where the largest number is."""
    row = int(np.abs(values).argmax())
    # An episode has one more observation than transitions.
    extra = len(values) > dataset.transitions
    ends = np.flatnonzero(dataset.terminals)
    firsts = np.concatenate([[0], ends + 1 + (np.arange(1, len(ends) + 1) if extra else 0)])
    episode = int(np.searchsorted(firsts, row, side="right")) - 1
    return (
        f"{what} reach {values[row]:.4g} in step {row - firsts[episode]} of episode {episode}, "
        f"{1 - _RARE:.1%} of them are within {usual:.4g}: such numbers can make a training "
        "diverge; correct or remove the episode if they are wrong"
    )
