"""The section about the tuning study, and why its best trial is published or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from qc_core.readable import estimate, p_value_text, three_digits
from qc_core.report.page import markup
from qc_core.report.tuning_figures import tuning_figures
from qc_core.tuning.importance import MIN_TRIALS, searched_parameters
from qc_core.tuning.selection import Candidate, Selection
from qc_core.tuning.trials import COMPLETE, StudyHistory, Trial


@dataclass(frozen=True, slots=True)
class TuningSection:
    """Two tables and their figures.

    Attributes:
        rows: one per trial. `chosen`: that of the best trial.
        selection: one row per candidate. `selection_chosen`: that of the published policy.
        failures: one row per trial with an error.
        too_few: there are too few trials for importances.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    chosen: int | None
    selection_header: Sequence[str]
    selection: Sequence[Sequence[str]]
    selection_chosen: int | None
    figures: Sequence[Markup]
    failures: Sequence[Sequence[str]]
    too_few: bool
    min_trials: int = MIN_TRIALS


def tuning_section(study: StudyHistory, episodes: int, reports_success: bool) -> TuningSection:
    """Return the section; without trials it is empty.

    Args:
        episodes: per score of a trial.
    """
    names = sorted({name for trial in study.trials for name in trial.parameters})
    results = ["success", "steps"] if reports_success else ["return"]
    selection = study.selection
    candidates = list(selection.candidates) if selection is not None else []
    published = study.best_trial if study.fine_tuning_helped else None
    searched = searched_parameters(study.trials)
    complete = sum(trial.state == COMPLETE for trial in study.trials)
    return TuningSection(
        header=["trial", "state", *(n.replace("_", " ") for n in names), *results, "time"],
        rows=[_trial(trial, names, reports_success, study.best_trial) for trial in study.trials],
        chosen=next(
            (row for row, trial in enumerate(study.trials) if trial.trial == study.best_trial), None
        ),
        selection_header=["policy", *results, "steps saved" if reports_success else "gain", "p"],
        selection=[_candidate(c, selection) for c in candidates] if selection else [],
        selection_chosen=next(
            (row for row, candidate in enumerate(candidates) if candidate.trial == published), None
        ),
        figures=markup(tuning_figures(study, episodes)) if study.trials else [],
        failures=[
            [str(trial.trial), trial.state, trial.error] for trial in study.trials if trial.error
        ],
        too_few=complete < MIN_TRIALS or len(searched) < 2,
    )


def _trial(
    trial: Trial, names: Sequence[str], reports_success: bool, best: int | None
) -> list[str]:
    def shown(value: float | None, form: str) -> str:
        return "–" if value is None else form.format(value)

    results = [shown(trial.success, "{:.0%}"), shown(trial.steps, "{:.0f}")]
    if not reports_success:
        results = [shown(trial.episode_return, "{:.1f}")]
    return [
        f"{trial.trial}{' (the recipe’s settings)' if trial.trial == 0 else ''}",
        f"{trial.state}{', the best' if trial.trial == best else ''}",
        *(
            three_digits(trial.parameters[name]) if name in trial.parameters else "–"
            for name in names
        ),
        *results,
        f"{trial.seconds:.0f} s",
    ]


def _candidate(candidate: Candidate, selection: Selection) -> list[str]:
    results = [estimate(candidate.success, "{:.0%}"), estimate(candidate.steps, "{:.0f}")]
    form = "{:.0f}"
    if not selection.reports_success:
        form = "{:.1f}"
        results = [estimate(candidate.episode_return, form)]
    name = "offline policy" if candidate.trial is None else f"trial {candidate.trial}"
    probability = "–" if candidate.p_value is None else p_value_text(candidate.p_value)
    gain = "–" if candidate.gain is None else estimate(candidate.gain, form)
    return [name, *results, gain, probability]
