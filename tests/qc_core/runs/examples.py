"""Runs with made-up results, for tests that compare them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qc_core.config.catalog import find_recipe
from qc_core.config.document import to_mapping
from qc_core.config.options import apply
from qc_core.documents import plain
from qc_core.envs.episode_result import summarize_results
from qc_core.evaluation.result import Evaluation, PolicyResult
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.runs.record import RunCurves
from qc_core.runs.run import Run
from qc_core.statistics import Estimate

LIMIT = 200
_NONE = Estimate(0.0, 0.0, 0.0)


def policy(name: str, solved: Sequence[bool], first_seed: int, **more: Any) -> PolicyResult:
    """The result of a policy whose episodes succeeded or not."""
    episodes = [
        EpisodeResult(first_seed + place, success, 50, -50.0 if success else -200.0, **more)
        for place, success in enumerate(solved)
    ]
    summary = summarize_results(episodes, LIMIT)
    return PolicyResult(
        success=summary.success,
        steps=summary.steps,
        episode_return=summary.episode_return,
        reports_success=summary.reports_success,
        episode_results=summary.episode_results,
        name=name,
        kind="learned",
        weights="0" * 64,
        success_gain=_NONE,
        steps_saved=_NONE,
    )


def evaluated(
    offline: Sequence[bool], online: Sequence[bool] | None, first_seed: int = 0, **more: Any
) -> Evaluation:
    """Results of two policies on the same episodes."""
    named = {"offline Q-learning": offline, "fine-tuned online": online}
    return Evaluation(
        environment="a-v0",
        episode_limit=LIMIT,
        first_seed=first_seed,
        episodes=len(offline),
        execution_horizon=5,
        policies=tuple(
            policy(name, solved, first_seed, **more) for name, solved in named.items() if solved
        ),
    )


def curves(level: float = 0.5) -> RunCurves:
    return RunCurves(
        offline={"critic/loss": [(10.0, 2.0), (20.0, level)], "critic/value": [(10.0, -1.0)]},
        online={"success": [(30.0, level)], "steps": [(30.0, 90.0)], "return": [(30.0, -90.0)]},
    )


def example_run(
    name: str, offline: Sequence[bool], online: Sequence[bool] | None = None, **options: Any
) -> Run:
    """A finished run of the smoke recipe with other options, whose episodes follow its seed."""
    config = apply(
        find_recipe("smoke").config, {k.replace("__", "."): v for k, v in options.items()}
    )
    return Run(
        run_id=name,
        name=name,
        recipe="smoke",
        state="succeeded",
        config=plain(to_mapping(config)),
        commit="abc",
        evaluation=evaluated(offline, online, first_seed=1000 * config.seed),
        read_curves=curves,
    )
