"""Measure the temporal coherence of exploration.

The measures are the straightness of the motion, its displacement, and the autocorrelation of the
actions.

Shapes: T control steps, O observation, A action, X 3 or 2 coordinates, K lags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qc_core.documents import Document
from qc_core.envs.trajectory import Trajectory
from qc_core.errors import RunError
from qc_core.statistics import Estimate, mean

# In control steps: half a second at the 20 Hz of OGBench's arm, which is two chunks of the paper.
WINDOW = 10
LAGS = 20


class TrackedPosition(Document, frozen=True, kw_only=True):
    """The part of the robot whose position is measured.

    Attributes:
        cell_metres: edge length of the grid cells in which visits are counted.
    """

    what: str
    cell_metres: float


class RolloutMeasures(Document, frozen=True, kw_only=True):
    """Measures of one rollout.

    Attributes:
        measures: means over episodes, by measure.
        curves: means over episodes at lags of 1, 2, … control steps, by measure.
        per_episode: each episode's measures.
    """

    name: str
    measures: dict[str, Estimate]
    curves: dict[str, tuple[Estimate, ...]]
    per_episode: tuple[dict[str, float], ...]


class CoherenceReport(Document, frozen=True, kw_only=True):
    """Two rollouts from the same starts.

    Attributes:
        control_steps: total over the episodes of one rollout.
        window_steps: length of the windows in which paths and displacements are measured.
        place: None if the environment has no position.
        differences: first rollout minus second, paired by episode.
    """

    episodes: int
    control_steps: int
    window_steps: int
    place: TrackedPosition | None
    rollouts: tuple[RolloutMeasures, ...]
    differences: dict[str, Estimate]


def displacements(positions_TX: np.ndarray, lags: int) -> np.ndarray:
    """Return the mean distance in metres from the position k steps earlier, k = 1 … lags: [K].

    It grows like k for straight motion and like √k for a random walk.
    """
    return np.array(
        [
            np.linalg.norm(positions_TX[lag:] - positions_TX[:-lag], axis=1).mean()
            for lag in range(1, lags + 1)
        ]
    )


def path_length(positions_TX: np.ndarray, window: int) -> float:
    """Return the mean path length in metres over all windows of `window` steps."""
    lengths_T = np.linalg.norm(np.diff(positions_TX, axis=0), axis=1)
    return float(np.convolve(lengths_T, np.ones(window), mode="valid").mean())


def spread(positions_TX: np.ndarray) -> float:
    """Return the root mean square distance in metres from the mean position."""
    return float(np.sqrt(positions_TX.var(axis=0).sum()))


def cells_visited(positions_TX: np.ndarray, cell: float) -> int:
    """Count the cells that the positions visit, in a grid of `cell` metres through the origin."""
    return len(np.unique(np.floor(positions_TX / cell), axis=0))


def autocorrelation(actions_TA: np.ndarray, lags: int) -> np.ndarray:
    """Return the autocorrelation of actions at lags 1 … lags, averaged over dimensions: [K].

    Mean and variance are those of the episode. The sum over the T - k pairs is divided by the sum
    over all T steps, so long lags, which have few pairs, tend to 0. A constant dimension has
    autocorrelation 1 at every lag.
    """
    centred_TA = actions_TA - actions_TA.mean(axis=0)
    covariance_KA = np.stack(
        [(centred_TA[lag:] * centred_TA[:-lag]).sum(axis=0) for lag in range(1, lags + 1)]
    )
    changes_A = np.ptp(actions_TA, axis=0) > 0
    ratio_KA = np.divide(
        covariance_KA,
        (centred_TA**2).sum(axis=0),
        out=np.ones_like(covariance_KA),
        where=changes_A,
    )
    return ratio_KA.mean(axis=1)


def observation_spread(observations_TO: np.ndarray, scale_O: np.ndarray) -> float:
    """Return the standard deviation within the episode, averaged over scaled observations.

    Args:
        scale_O: standard deviation of each observation over all compared episodes. Observations
            with scale 0 are ignored.
    """
    moving_O = scale_O > 0
    if not moving_O.any():
        return 0.0
    return float((observations_TO.std(axis=0)[moving_O] / scale_O[moving_O]).mean())


def paired(
    first: Sequence[Trajectory], second: Sequence[Trajectory]
) -> tuple[list[Trajectory], list[Trajectory]]:
    """Truncate each pair of episodes of the same seed to the shorter one.

    Pairs of `LAGS` steps or fewer are dropped.

    Raises:
        RunError: every pair is too short.
    """
    pairs = [
        (a.until(b.steps), b.until(a.steps))
        for a, b in zip(first, second, strict=True)
        if min(a.steps, b.steps) > LAGS
    ]
    if not pairs:
        raise RunError(
            f"episodes are too short to measure coherence: none of {len(first)} pairs has more "
            f"than {LAGS} steps in both rollouts"
        )
    return [a for a, _ in pairs], [b for _, b in pairs]


def compare(rollouts: Mapping[str, Sequence[Trajectory]]) -> CoherenceReport:
    """Measure two rollouts, with intervals over episodes, and their paired differences.

    Args:
        rollouts: the two results of `paired`, by name.
    """
    observations = np.concatenate([t.observations_TO for ts in rollouts.values() for t in ts])
    scale_O = observations.std(axis=0)
    measured = {name: [_measure(t, scale_O) for t in ts] for name, ts in rollouts.items()}
    first, second = measured.values()
    episodes = next(iter(rollouts.values()))
    place = episodes[0].landmark
    return CoherenceReport(
        episodes=len(episodes),
        control_steps=sum(trajectory.steps for trajectory in episodes),
        window_steps=WINDOW,
        place=place and TrackedPosition(what=place.name, cell_metres=place.cell_size),
        rollouts=tuple(
            RolloutMeasures(
                name=name,
                measures={
                    key: mean([episode[key] for episode in per_episode]) for key in per_episode[0]
                },
                curves={
                    key: tuple(mean(values) for values in zip(*curves, strict=True))
                    for key, curves in _curves(rollouts[name]).items()
                },
                per_episode=tuple(per_episode),
            )
            for name, per_episode in measured.items()
        ),
        differences={
            key: mean([a[key] - b[key] for a, b in zip(first, second, strict=True)])
            for key in first[0]
        },
    )


def _measure(trajectory: Trajectory, scale_O: np.ndarray) -> dict[str, float]:
    measures = {
        "autocorrelation": float(autocorrelation(trajectory.actions_TA, 1)[0]),
        "observation-spread": observation_spread(trajectory.observations_TO, scale_O),
    }
    if trajectory.landmark is None:
        return measures
    positions_TX = trajectory.positions_TX
    path = path_length(positions_TX, WINDOW)
    displacement = float(displacements(positions_TX, WINDOW)[-1])
    return {
        "path-metres": path,
        "displacement-metres": displacement,
        "straightness": displacement / path if path > 0 else 0.0,
        "spread-metres": spread(positions_TX),
        "cells": cells_visited(positions_TX, trajectory.landmark.cell_size),
        **measures,
    }


def _curves(trajectories: Sequence[Trajectory]) -> dict[str, list[np.ndarray]]:
    curves = {"autocorrelation": [autocorrelation(t.actions_TA, LAGS) for t in trajectories]}
    if trajectories[0].landmark is not None:
        curves["displacement-metres"] = [displacements(t.positions_TX, LAGS) for t in trajectories]
    return curves
