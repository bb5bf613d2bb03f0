"""Exploration of chunks played open loop against that of single actions, on the same seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qc_core.envs.trajectory import record_trajectories
from qc_core.errors import UsageError
from qc_core.evaluation.coherence import WINDOW, Trajectory, compare, paired
from qc_core.policy_format.policy_folder import read_contract, verify
from qc_core.runtime.executor import require_execution_horizon
from qc_core.runtime.pulled_policy import PulledPolicy

# Exploration is the way to the task; what a solved or a stuck episode does later is not.
STEPS = 100
SINGLE = "single actions"


class Exploration(NamedTuple):
    """Two rollouts of the same seeds, cut to the same lengths pair by pair.

    Attributes:
        measures: what `compare` says of them.
        rollouts: their episodes, by name.
    """

    measures: dict[str, Any]
    rollouts: dict[str, list[Trajectory]]


def explore(
    folder: Path,
    seeds: Sequence[int],
    *,
    against: Path | None = None,
    execution_horizon: int | None = None,
    workers: int = 1,
) -> Exploration:
    """Let a policy explore the first `STEPS` steps of each seed in two ways.

    Args:
        folder: the policy; it plays its chunks open loop.
        against: another policy, which plays its own chunks; None lets the first draw a fresh
            chunk at each step and play one action of it.
        execution_horizon: actions to play of the first's chunks; None plays them whole.

    Raises:
        UsageError: a policy of single actions against itself, or one of another environment.
        RunError: the episodes are too short to be measured.
    """
    verify(folder)
    contract = read_contract(folder)
    length = contract.chunk_length
    if execution_horizon is not None:
        length = require_execution_horizon(execution_horizon, length)
    if against is None:
        if length == 1:
            raise UsageError(
                f"{folder} plays one action at a time, and there is nothing to compare that with: "
                "explore with chunks or --against another policy"
            )
        names = (f"chunks of {length}, open loop", SINGLE)
        other = PulledPolicy(folder, 1)
    else:
        if against.resolve() == folder.resolve():
            raise UsageError(f"--against {against}: give another policy than the first")
        verify(against)
        contract_against = read_contract(against)
        if contract_against.environment != contract.environment:
            raise UsageError(
                f"{folder} plays {contract.environment}, {against} "
                f"{contract_against.environment}: only policies of one environment compare"
            )
        names = (str(folder), str(against))
        other = PulledPolicy(against, contract_against.chunk_length)
    played = record_trajectories(
        contract.environment,
        dict(zip(names, (PulledPolicy(folder, length), other), strict=True)),
        seeds,
        steps=STEPS,
        workers=workers,
    )
    rollouts = dict(zip(names, paired(*played.values()), strict=True))
    return Exploration(compare(rollouts), rollouts)


def rows(measures: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """What was measured, for people: name and unit, first, second, first less second."""
    first, second = (rollout["measures"] for rollout in measures["rollouts"])
    differences = measures["differences"]
    return [
        (
            label,
            _interval(first[key], factor, form),
            _interval(second[key], factor, form),
            _interval(differences[key], factor, form.replace(":", ":+")),
        )
        for key, label, factor, form in _lines(measures["place"])
        if key in first
    ]


def _lines(place: Mapping[str, Any] | None) -> list[tuple[str, str, float, str]]:
    """Key, label with unit, what to multiply by, and form of each measure in order."""
    what, cell = (place["what"], place["cell-metres"]) if place else ("", 0.0)
    return [
        ("path-metres", f"path of the {what} in {WINDOW} steps, cm", 100, "{:.1f}"),
        ("displacement-metres", f"displacement in {WINDOW} steps, cm", 100, "{:.1f}"),
        ("straightness", "straightness: displacement by path", 1, "{:.2f}"),
        ("spread-metres", f"spread of the {what} in an episode, cm", 100, "{:.1f}"),
        ("cells", f"cells of {100 * cell:.0f} cm visited in an episode", 1, "{:.1f}"),
        ("autocorrelation", "autocorrelation of actions at lag 1", 1, "{:.2f}"),
        ("observation-spread", "spread of observations in an episode", 1, "{:.2f}"),
    ]


def _interval(estimate: Mapping[str, float], factor: float, form: str) -> str:
    value, low, high = (form.format(factor * estimate[key]) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
