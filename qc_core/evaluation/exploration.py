"""Compare the exploration of open-loop chunks with that of single actions on the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from qc_core.envs.trajectory import Trajectory, record_trajectories
from qc_core.errors import UsageError
from qc_core.evaluation.coherence import WINDOW, CoherenceReport, TrackedPosition, compare, paired
from qc_core.policy_format.environment_spec import is_same_environment
from qc_core.policy_format.policy_folder import read_contract, verify
from qc_core.runtime.executor import require_execution_horizon
from qc_core.runtime.pulled_policy import PulledPolicy
from qc_core.statistics import Estimate

# Exploration is the way to the task. Later steps of solved or stuck episodes would distort it.
STEPS = 100
SINGLE_ACTIONS = "single actions"


class ExplorationReport(NamedTuple):
    """Two rollouts of the same seeds, truncated pair by pair to the same length.

    Attributes:
        measures: the comparison of the two rollouts.
        rollouts: their episodes, by name.
    """

    measures: CoherenceReport
    rollouts: dict[str, list[Trajectory]]


def explore(
    folder: Path,
    seeds: Sequence[int],
    *,
    against: Path | None = None,
    execution_horizon: int | None = None,
    workers: int = 1,
) -> ExplorationReport:
    """Play the first `STEPS` steps of each seed in two ways and compare them.

    Args:
        folder: the policy folder; the policy plays its chunks open loop.
        against: another policy folder, whose policy plays its own chunks. None compares with the
            same policy executing one action of a new chunk at each step.
        execution_horizon: actions to execute of each chunk of the first policy; None executes the
            complete chunk.

    Raises:
        UsageError: a policy of single actions compared with itself, or two environments.
        RunError: the episodes are too short to measure.
    """
    verify(folder)
    contract = read_contract(folder)
    length = contract.chunk_length
    if execution_horizon is not None:
        length = require_execution_horizon(execution_horizon, length)
    if against is None:
        if length == 1:
            raise UsageError(
                f"{folder} executes one action at a time, so there is nothing to compare: execute "
                "chunks, or give another policy with --against"
            )
        names = (f"chunks of {length}, open loop", SINGLE_ACTIONS)
        other = PulledPolicy(folder, 1)
    else:
        if against.resolve() == folder.resolve():
            raise UsageError(f"--against {against} is the first policy: give another policy")
        verify(against)
        contract_against = read_contract(against)
        if not is_same_environment(contract_against.environment, contract.environment):
            raise UsageError(
                f"{folder} and {against} have different environments: {contract.environment} "
                f"and {contract_against.environment}; give policies of one environment"
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
    return ExplorationReport(compare(rollouts), rollouts)


def rows(report: CoherenceReport) -> list[tuple[str, str, str, str]]:
    """Return a table for people: measure with unit, first rollout, second, first minus second."""
    first, second = (rollout.measures for rollout in report.rollouts)
    return [
        (
            label,
            _interval(first[key], factor, form),
            _interval(second[key], factor, form),
            _interval(report.differences[key], factor, form.replace(":", ":+")),
        )
        for key, label, factor, form in _lines(report.place)
        if key in first
    ]


def _lines(place: TrackedPosition | None) -> list[tuple[str, str, float, str]]:
    """Return key, label with unit, conversion factor and number format of each measure."""
    what, cell = (place.what, place.cell_metres) if place else ("", 0.0)
    return [
        ("path-metres", f"path of the {what} in {WINDOW} steps, cm", 100, "{:.1f}"),
        ("displacement-metres", f"displacement in {WINDOW} steps, cm", 100, "{:.1f}"),
        ("straightness", "straightness: displacement / path", 1, "{:.2f}"),
        ("spread-metres", f"spread of the {what} in an episode, cm", 100, "{:.1f}"),
        ("cells", f"cells of {100 * cell:.0f} cm visited in an episode", 1, "{:.1f}"),
        ("autocorrelation", "autocorrelation of actions at lag 1", 1, "{:.2f}"),
        ("observation-spread", "spread of observations in an episode", 1, "{:.2f}"),
    ]


def _interval(estimate: Estimate, factor: float, form: str) -> str:
    value, low, high = (
        form.format(factor * number) for number in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} ({low} to {high})"
