"""What a run leaves in the store when it has succeeded: enough to list it and to compare it.

runs/RUN/evaluation.json   how its policies performed
runs/RUN/curves.json       its learning curves
runs/RUN/report.html       its report

`qc_core.results` writes what a run was asked to do, `qc_core.notify` its result and how it ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qc_core import documents
from qc_core.documents import Document
from qc_core.evaluation.result import Evaluation
from qc_core.results.run_objects import read_document, run_key
from qc_core.store.objects import ObjectStore

SCHEMA_VERSION = 1
REPORT = "report.html"
_EVALUATION, _CURVES = "evaluation.json", "curves.json"
# Points of each stored curve, and significant digits of each number.
_MAX_POINTS, _DIGITS = 200, 5
# Columns of a curve that are no quantities.
_TIMES = ("step", "seconds")
# Points of one quantity: pairs of a step and a value.
Points = list[tuple[float, float]]


class RunCurves(Document, frozen=True, kw_only=True):
    """`runs/RUN/curves.json`: the learning curves of a run, with at most 200 points each.

    Attributes:
        offline: losses and values by update, by their names in `curve.csv`.
        online: `success`, `steps` and `return` of the selected trial by environment step.
    """

    offline: dict[str, Points]
    online: dict[str, Points]
    schema_version: int = SCHEMA_VERSION


def record_results(
    store: ObjectStore,
    run_id: str,
    *,
    evaluation: Path,
    offline: Path,
    history: Path,
    report: Path,
) -> None:
    """Write the evaluation, the curves and the report of a run.

    Args:
        evaluation: JSON with the comparison of the policies.
        offline: the pretrained checkpoint.
        history: JSON with every trial.
        report: the HTML file.
    """
    store.put(run_key(run_id, _CURVES), documents.encode(curves_of(offline, history)))
    store.put_file(run_key(run_id, REPORT), report)
    compared = documents.read(evaluation, Evaluation)
    store.put(run_key(run_id, _EVALUATION), documents.encode(compared))


def curves_of(offline: Path, history: Path) -> RunCurves:
    """Return the curves of a run from a checkpoint and the history of a study."""
    # These import torch and optuna, which the list of runs does without.
    from qc_core.training.checkpoint import read_curve
    from qc_core.tuning.trials import read_history

    curve, study = read_curve(offline), read_history(history)
    names = dict.fromkeys(name for point in curve for name in point if name not in _TIMES)
    scores = next((t.scores for t in study.trials if t.trial == study.best_trial), [])
    online = {
        "success": [(score.online_step, score.success) for score in scores],
        "steps": [(score.online_step, score.steps) for score in scores],
        "return": [(score.online_step, score.episode_return) for score in scores],
    }
    return RunCurves(
        offline={
            name: _thinned([(point["step"], point[name]) for point in curve if name in point])
            for name in names
        },
        online={name: _thinned(points) for name, points in online.items()},
    )


def read_evaluation(store: ObjectStore, run_id: str) -> Evaluation | None:
    """Return the comparison of a run's policies; None if there is none."""
    return read_document(store, run_key(run_id, _EVALUATION), Evaluation)


def read_curves(store: ObjectStore, run_id: str) -> RunCurves | None:
    """Return the curves of a run; None if it has none, or is of an earlier release."""
    return read_document(store, run_key(run_id, _CURVES), RunCurves)


def _thinned(points: Sequence[tuple[float, float]]) -> Points:
    """Return at most `_MAX_POINTS` of the points, the first and the last included."""
    stride = max(1, -(-(len(points) - 1) // (_MAX_POINTS - 1)))
    chosen = [*points[:-1:stride], *points[-1:]]
    return [(step, float(f"{value:.{_DIGITS}g}")) for step, value in chosen]
