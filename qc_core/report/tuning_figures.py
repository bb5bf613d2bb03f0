"""Figures of a tuning study, as SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import NullLocator

from qc_core.readable import three_digits
from qc_core.report.figures import PERCENT_AXIS
from qc_core.report.plotting import (
    COLOURS,
    GREY,
    PANEL,
    intervals,
    legend_above,
    panel,
    styled,
    svg,
)
from qc_core.statistics import Estimate, success_rate
from qc_core.training.score import Score
from qc_core.tuning.importance import MIN_TRIALS, parameter_importances, searched_parameters
from qc_core.tuning.selection import Candidate, Selection
from qc_core.tuning.trials import COMPLETE, StudyHistory, Trial

# More rows would not be read.
_MAX_ROWS = 12
_BEST = COLOURS[0]


@styled
def tuning_figures(study: StudyHistory, episodes: int) -> list[str]:
    """Draw the selection, the trials' scores, and what the searched settings do.

    Importances and parallel coordinates need `MIN_TRIALS` complete trials.

    Args:
        episodes: per score of a trial.
    """
    figures = []
    if study.selection is not None:
        figures += _selection(study.selection)
    if any(trial.scores for trial in study.trials):
        figures.append(_scores(study, episodes))
    names = searched_parameters(study.trials)
    figures += [_parameter(study, name, episodes) for name in names]
    complete = [trial for trial in study.trials if trial.state == COMPLETE and trial.scores]
    if len(complete) >= MIN_TRIALS and len(names) > 1:
        figures += _importances(study.trials)
        figures.append(_parallel_coordinates(complete, names, study.best_trial))
    return figures


def _selection(selection: Selection) -> list[str]:
    """Draw the offline policy and the best trials on the episodes of the selection."""
    offline, *trials = selection.candidates
    trials.sort(key=lambda candidate: candidate.trial != selection.best_trial)
    shown = [offline, *trials[: _MAX_ROWS - 1]]
    names = ["offline policy", *(f"trial {candidate.trial}" for candidate in shown[1:])]
    bold = 1 if selection.helped else 0
    where = f"of {selection.episodes} selection episodes"
    if not selection.reports_success:
        returns = [candidate.episode_return for candidate in shown]
        return [intervals(names, returns, f"return {where}", bold=bold)]
    success = [candidate.success for candidate in shown]
    label = f"success {where}, %"
    return [intervals(names, success, label, bold=bold, factor=100, limits=PERCENT_AXIS)]


def _scores(study: StudyHistory, episodes: int) -> str:
    """Draw each trial's scores over online steps; the best trial is in colour."""
    figure, axes = panel()
    reports_success = _reports_success(study.trials)
    trials = sorted(study.trials, key=lambda trial: trial.trial == study.best_trial)
    others = 0
    for trial in trials:
        chosen = trial.trial == study.best_trial
        label = f"trial {trial.trial}, the best" if chosen else "" if others else "other trials"
        others += not chosen
        steps = [score.online_step for score in trial.scores]
        values = [_value(score, episodes) for score in trial.scores]
        axes.errorbar(
            steps,
            [value.value for value in values],
            _errors(values),
            color=_BEST if chosen else GREY,
            marker="o",
            markersize=4,
            lw=2.5 if chosen else 1,
            elinewidth=1.5 if chosen else 0.7,
            label=label or None,
            zorder=3 if chosen else 2,
        )
    axes.set(xlabel="online steps", ylabel=_label(reports_success))
    if reports_success:
        axes.set(ylim=PERCENT_AXIS)
    legend_above(axes)
    return svg(figure)


def _parameter(study: StudyHistory, name: str, episodes: int) -> str:
    """Draw the trials' results over one searched setting, beside the offline policy's."""
    figure, axes = panel()
    reports_success = _reports_success(study.trials)
    candidates = study.selection.candidates if study.selection is not None else ()
    measured = {candidate.trial: candidate for candidate in candidates}
    for trial in study.trials:
        if trial.state != COMPLETE or not trial.scores:
            continue
        if trial.trial in measured:
            value = _of_candidate(measured[trial.trial], reports_success)
        else:
            value = _value(trial.scores[-1], episodes)
        chosen = trial.trial == study.best_trial
        axes.errorbar(
            trial.parameters[name],
            value.value,
            _errors([value]),
            fmt="o",
            color=_BEST if chosen else GREY,
            zorder=3 if chosen else 2,
        )
    if None in measured:
        offline = _of_candidate(measured[None], reports_success)
        axes.axhspan(offline.low, offline.high, color=COLOURS[3], alpha=0.15, lw=0)
        axes.axhline(offline.value, color=COLOURS[3], label="offline policy; band: 95% interval")
        legend_above(axes, columns=1)
    axes.set(xlabel=name.replace("_", " "), ylabel=_label(reports_success), xscale="log")
    ends = [trial.parameters[name] for trial in study.trials if name in trial.parameters]
    # Ticks of a logarithmic axis would overlap within a decade.
    ticks = np.geomspace(min(ends), max(ends), 3)
    axes.set_xticks(ticks, [three_digits(tick) for tick in ticks], minor=False)
    axes.xaxis.set_minor_locator(NullLocator())
    if reports_success:
        axes.set(ylim=PERCENT_AXIS)
    return svg(figure)


def _importances(trials: Sequence[Trial]) -> list[str]:
    importances = parameter_importances(trials)
    if not importances:
        return []
    figure, axes = panel((PANEL[0], 0.8 + 0.32 * len(importances)))
    names = [name.replace("_", " ") for name in importances]
    axes.barh(names, [100 * share for share in importances.values()], color=_BEST, height=0.5)
    axes.set(xlabel="importance for a trial's score, % (PED-ANOVA)", xlim=(0, 100))
    axes.invert_yaxis()
    return [svg(figure)]


def _parallel_coordinates(trials: Sequence[Trial], names: Sequence[str], best: int | None) -> str:
    """Draw one line per trial through its settings and its score."""
    figure, axes = panel()
    reports_success = _reports_success(trials)
    columns = [np.log10([trial.parameters[name] for trial in trials]) for name in names]
    scores = np.array([trial.scores[-1].value for trial in trials])
    columns.append(100 * scores if reports_success else scores)
    lows = [column.min() for column in columns]
    spans = [np.ptp(column) or 1.0 for column in columns]
    for row, trial in enumerate(trials):
        chosen = trial.trial == best
        heights = [
            (column[row] - low) / span
            for column, low, span in zip(columns, lows, spans, strict=True)
        ]
        axes.plot(
            heights,
            color=_BEST if chosen else GREY,
            lw=2.5 if chosen else 0.8,
            label=f"trial {trial.trial}, the best" if chosen else None,
            zorder=3 if chosen else 2,
        )
    labels = [*(name.replace("_", " ") for name in names), _label(reports_success)]
    for position, (column, name) in enumerate(zip(columns, labels, strict=True)):
        axes.axvline(position, color=GREY, lw=0.8)
        is_score = position == len(names)
        for end, height, align in ((column.min(), 0, "top"), (column.max(), 1, "bottom")):
            text = f"{end:.0f}" if is_score else three_digits(10**end)
            axes.text(position, height, text, ha="center", va=align)
        labels[position] = name.replace(" ", "\n", 1)
    axes.set(xticks=range(len(labels)), xticklabels=labels, yticks=[], ylim=(-0.12, 1.12))
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    legend_above(axes)
    return svg(figure)


def _reports_success(trials: Sequence[Trial]) -> bool:
    return any(score.reports_success for trial in trials for score in trial.scores)


def _label(reports_success: bool) -> str:
    return "success, %" if reports_success else "return"


def _value(score: Score, episodes: int) -> Estimate:
    """Return the success in percent with its interval, or the return, whose spread is unknown."""
    if not score.reports_success:
        return Estimate(score.episode_return, score.episode_return, score.episode_return)
    solved = round(score.success * episodes)
    return _percent(success_rate([True] * solved + [False] * (episodes - solved)))


def _of_candidate(candidate: Candidate, reports_success: bool) -> Estimate:
    return _percent(candidate.success) if reports_success else candidate.episode_return


def _percent(rate: Estimate) -> Estimate:
    return Estimate(100 * rate.value, 100 * rate.low, 100 * rate.high)


def _errors(values: Sequence[Estimate]) -> Any:
    """Return the lengths of error bars: [2, N]."""
    return np.array([[v.value - v.low for v in values], [v.high - v.value for v in values]]).clip(
        min=0
    )
