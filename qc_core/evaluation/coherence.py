"""How coherent in time exploration is: how straight it moves, how far it gets, and how much its
actions resemble the ones before.

Shapes: T control steps, O observation, A action, X 3 or 2 coordinates, K lags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qc_core.envs.trajectory import Trajectory
from qc_core.errors import RunError
from qc_core.statistics import mean

# In control steps. At the 20 Hz of OGBench's arm half a second, two of the paper's chunks.
WINDOW = 10
LAGS = 20


def displacements(positions_TX: np.ndarray, lags: int) -> np.ndarray:
    """Mean distance in metres to where one was k steps before, k = 1 … lags, over all t: [K].

    It grows like k where the motion goes straight on, like √k where it is a random walk.
    """
    return np.array(
        [
            np.linalg.norm(positions_TX[lag:] - positions_TX[:-lag], axis=1).mean()
            for lag in range(1, lags + 1)
        ]
    )


def path_length(positions_TX: np.ndarray, window: int) -> float:
    """Mean length in metres of the path in `window` steps, over all such windows."""
    lengths_T = np.linalg.norm(np.diff(positions_TX, axis=0), axis=1)
    return float(np.convolve(lengths_T, np.ones(window), mode="valid").mean())


def spread(positions_TX: np.ndarray) -> float:
    """Root mean square distance in metres from the mean position: √ of the covariance's trace."""
    return float(np.sqrt(positions_TX.var(axis=0).sum()))


def cells_visited(positions_TX: np.ndarray, cell: float) -> int:
    """Cells of a grid through the origin, `cell` metres wide, in which positions lie."""
    return len(np.unique(np.floor(positions_TX / cell), axis=0))


def autocorrelation(actions_TA: np.ndarray, lags: int) -> np.ndarray:
    """Autocorrelation of actions at lags 1 … lags, the mean over their dimensions: [K].

    Mean and variance are the episode's. The sum over the T - k pairs is divided by that over
    all T steps, so that long lags, of which there are few, tend to 0. A dimension that never
    changes repeats itself, 1 at every lag.
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
    """Standard deviation within the episode, each number in units of its scale; their mean.

    Args:
        scale_O: its standard deviation over everything that is compared; numbers with 0, which
            nothing changes, do not count.
    """
    moving_O = scale_O > 0
    if not moving_O.any():
        return 0.0
    return float((observations_TO.std(axis=0)[moving_O] / scale_O[moving_O]).mean())


def paired(
    first: Sequence[Trajectory], second: Sequence[Trajectory]
) -> tuple[list[Trajectory], list[Trajectory]]:
    """Episodes of the same seeds, each pair cut to its shorter one: the same steps to explore in.

    Pairs of `LAGS` steps or fewer are left out (RunError: all are).
    """
    pairs = [
        (a.until(b.steps), b.until(a.steps))
        for a, b in zip(first, second, strict=True)
        if min(a.steps, b.steps) > LAGS
    ]
    if not pairs:
        raise RunError(
            f"coherence is measured on episodes of more than {LAGS} steps, and of {len(first)} "
            "none took as long in both rollouts"
        )
    return [a for a, _ in pairs], [b for _, b in pairs]


def compare(rollouts: Mapping[str, Sequence[Trajectory]]) -> dict[str, Any]:
    """Measures of two rollouts, by name, with intervals over episodes and of their difference.

    Args:
        rollouts: what `paired` gave, by name. The difference is the first less the second,
            pair by pair.

    Returns:
        Ready for JSON; curves over 1, 2, … control steps.
    """
    everything = np.concatenate([t.observations_TO for ts in rollouts.values() for t in ts])
    scale_O = everything.std(axis=0)
    measured = {name: [_measure(t, scale_O) for t in ts] for name, ts in rollouts.items()}
    first, second = measured.values()
    one = next(iter(rollouts.values()))
    place = one[0].landmark
    return {
        "episodes": len(one),
        "control-steps": sum(trajectory.steps for trajectory in one),
        "window-steps": WINDOW,
        "place": place and {"what": place.name, "cell-metres": place.cell_size},
        "rollouts": [
            {
                "name": name,
                "measures": {
                    key: mean([episode[key] for episode in episodes])._asdict()
                    for key in episodes[0]
                },
                "curves": {
                    key: [mean(values)._asdict() for values in zip(*curves, strict=True)]
                    for key, curves in _curves(rollouts[name]).items()
                },
                "per-episode": episodes,
            }
            for name, episodes in measured.items()
        ],
        "differences": {
            key: mean([a[key] - b[key] for a, b in zip(first, second, strict=True)])._asdict()
            for key in first[0]
        },
    }


def _measure(trajectory: Trajectory, scale_O: np.ndarray) -> dict[str, float]:
    measures = {
        "autocorrelation": float(autocorrelation(trajectory.actions_TA, 1)[0]),
        "observation-spread": observation_spread(trajectory.observations_TO, scale_O),
    }
    if trajectory.landmark is None:
        return measures
    positions_TX = trajectory.positions_TX
    path = path_length(positions_TX, WINDOW)
    net = float(displacements(positions_TX, WINDOW)[-1])
    return {
        "path-metres": path,
        "displacement-metres": net,
        # What never moves gets nowhere.
        "straightness": net / path if path > 0 else 0.0,
        "spread-metres": spread(positions_TX),
        "cells": cells_visited(positions_TX, trajectory.landmark.cell_size),
        **measures,
    }


def _curves(trajectories: Sequence[Trajectory]) -> dict[str, list[np.ndarray]]:
    curves = {"autocorrelation": [autocorrelation(t.actions_TA, LAGS) for t in trajectories]}
    if trajectories[0].landmark is not None:
        curves["displacement-metres"] = [displacements(t.positions_TX, LAGS) for t in trajectories]
    return curves
