"""The section on tuning shows why the best trial is published, and what its settings do."""

import msgspec
import numpy as np
import pytest

from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.report.page import templates
from qc_core.report.tuning import tuning_section
from qc_core.training.score import Score
from qc_core.tuning.importance import MIN_TRIALS, parameter_importances
from qc_core.tuning.selection import decide
from qc_core.tuning.trials import StudyHistory, Trial

LIMIT = 200


def trial(number: int, rate: float, alpha: float, success: float) -> Trial:
    return Trial(
        trial=number,
        state="complete",
        attempts=1,
        optuna_trial=number,
        worker=0,
        parameters={"online_learning_rate": rate, "alpha": alpha},
        scores=[Score(500, success / 2, 150, -150, True), Score(1000, success, 90, -90, True)],
        seconds=60.0,
        success=success,
        steps=90.0,
        episode_return=-90.0,
        reports_success=True,
    )


def study(count: int) -> StudyHistory:
    """Return a study in which alpha decides, and trial 1 helps."""
    rng = np.random.default_rng(0)
    alphas = np.geomspace(10, 100, count)
    trials = [
        trial(n, float(rng.uniform(1e-4, 1e-3)), float(alpha), float(n + 1) / (count + 1))
        for n, alpha in enumerate(alphas)
    ]

    def episodes(solved: int) -> list[EpisodeResult]:
        return [EpisodeResult(s, s < solved, 90 if s < solved else LIMIT, -90.0) for s in range(20)]

    played = {n: episodes(19 if n == 1 else 10) for n in range(count)}
    selection = decide(episodes(10), played, LIMIT)
    return StudyHistory(best_trial=selection.best_trial, trials=trials, selection=selection)


@pytest.mark.parametrize(("count", "figures"), [(2, 4), (MIN_TRIALS, 6)])
def test_importances_and_parallel_coordinates_need_enough_trials(count: int, figures: int) -> None:
    section = tuning_section(study(count), 50, True)
    assert len(section.figures) == figures and section.too_few == (count < MIN_TRIALS)
    assert any("importance for a trial" in figure for figure in section.figures) == (count > 2)
    # Both tables emphasise trial 1; the other one starts with the offline policy.
    assert (section.chosen, section.selection_chosen) == (1, 2)
    assert section.selection[2][0] == "trial 1" and section.selection[2][-1] < "0.05"


def test_figures_show_success_in_percent_with_labelled_intervals() -> None:
    section = tuning_section(study(2), 50, True)
    for figure in section.figures:
        assert "%" in figure
    assert sum("95% interval" in figure for figure in section.figures) == 3


def test_the_causes_of_failed_trials_are_shown() -> None:
    failed = [
        msgspec.structs.replace(found, state="diverged", error=f"cause {found.trial}", scores=[])
        for found in study(2).trials
    ]
    history = StudyHistory(best_trial=None, trials=failed)
    section = tuning_section(history, 50, True)
    assert section.failures == [["0", "diverged", "cause 0"], ["1", "diverged", "cause 1"]]
    page = templates().get_template("tuning.html.j2")
    shown = page.render(study=history, tuning=section, episodes_per_score=50, reports_success=True)
    assert "Fine-tuning failed in every trial, so the offline policy is published" in shown
    assert "cause 1" in shown and not section.figures
    assert tuning_section(study(2), 50, True).failures == []


def test_the_setting_that_decides_is_the_most_important() -> None:
    importances = parameter_importances(study(30).trials)
    assert next(iter(importances)) == "alpha" and sum(importances.values()) == pytest.approx(1)


def test_equal_results_have_no_importances() -> None:
    trials = [trial(n, 1e-4 * (n + 1), 10.0 * (n + 1), 0.5) for n in range(MIN_TRIALS)]
    assert parameter_importances(trials) == {}
