"""How much each searched setting matters for the result of a trial."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.distributions import FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from qc_core.tuning.study import DIRECTION
from qc_core.tuning.trials import COMPLETE, Trial

# Importances of fewer trials are mostly noise.
MIN_TRIALS = 8


def searched_parameters(trials: Sequence[Trial]) -> list[str]:
    """Return the settings that differ between the complete trials."""
    complete = [trial.parameters for trial in trials if trial.state == COMPLETE]
    names = sorted({name for parameters in complete for name in parameters})
    return [name for name in names if len({parameters.get(name) for parameters in complete}) > 1]


def parameter_importances(trials: Sequence[Trial]) -> dict[str, float]:
    """Return the share of each setting, the largest first; they sum to 1 (PED-ANOVA).

    It is empty for fewer than `MIN_TRIALS` complete trials, fewer than two settings, or equal
    results.
    """
    names = searched_parameters(trials)
    scored = [trial for trial in trials if trial.state == COMPLETE and trial.scores]
    if len(scored) < MIN_TRIALS or len(names) < 2:
        return {}
    values = [trial.scores[-1].value for trial in scored]
    if min(values) == max(values):
        return {}
    ranges = {
        name: FloatDistribution(
            min(trial.parameters[name] for trial in scored),
            max(trial.parameters[name] for trial in scored),
            log=True,
        )
        for name in names
    }
    study = optuna.create_study(direction=DIRECTION)
    for trial, value in zip(scored, values, strict=True):
        parameters = {name: trial.parameters[name] for name in names}
        study.add_trial(
            optuna.create_trial(params=parameters, distributions=dict(ranges), value=value)
        )
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
