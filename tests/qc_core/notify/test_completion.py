"""A run's result is one sentence, a short summary and the same few numbers for every run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import structs, to_builtins

from qc_core.documents import convert, encode, parse
from qc_core.envs.episode_result import any_reports_success, summarize_results
from qc_core.evaluation.result import BEHAVIOUR_CLONING, OFFLINE, ONLINE, Evaluation
from qc_core.notify.completion import (
    METRICS,
    Completion,
    completion_of,
    completion_without_training,
)
from qc_core.notify.run_status import RunStatus
from qc_core.notify.run_summary import NOT_MEASURED, result_metrics, summary_markdown
from qc_core.policy_format.episode_result import EpisodeResult
from qc_core.publish.promotion import Promotion
from qc_core.retraining.new_data import NewData
from qc_core.tuning.selection import decide
from qc_core.tuning.trials import StudyHistory, Trial

LIMIT = 200


def episodes(solved: int, steps: int = 100, total: int = 20) -> list[EpisodeResult]:
    """Return episodes of which the first ones are solved in so many steps."""
    return [
        EpisodeResult(seed, seed < solved, steps if seed < solved else LIMIT, -1.0 * steps)
        for seed in range(total)
    ]


def returns(value: float) -> list[EpisodeResult]:
    return [EpisodeResult(seed, False, LIMIT, value + seed, False) for seed in range(8)]


def evaluation(results: dict[str, list[EpisodeResult]]) -> Evaluation:
    policies = [
        {
            **to_builtins(summarize_results(played, LIMIT)),
            "name": name,
            "kind": "learned",
            "weights": name,
            "success-gain": {"value": 0, "low": 0, "high": 0},
            "steps-saved": {"value": 0, "low": 0, "high": 0},
            "reports-success": any_reports_success(played),
        }
        for name, played in results.items()
    ]
    content: dict[str, Any] = {
        "schema-version": 2,
        "environment": "Quick-v0",
        "episode-limit": LIMIT,
        "first-seed": 0,
        "episodes": len(next(iter(results.values()))),
        "execution-horizon": 5,
        "policies": policies,
    }
    return convert(content, Evaluation, "evaluation")


def promotion(champion: bool = True) -> Promotion:
    content = {
        "schema-version": 3,
        "name": "cube",
        "version": "v2",
        "store": "s3://bucket",
        "champion": champion,
        "became": "the first champion" if champion else "latest, and v1 stays champion",
        "gate": {
            "schema-version": 2,
            "champion": champion,
            "champion-before": None,
            "decision": "passed",
            "reason": "success 88% (70% to 97%) is above the minimum of 50%",
            "rule": "none",
            "episodes": 0,
            "max-episodes": 0,
            "results": {},
        },
    }
    return convert(content, Promotion, "promotion")


def history(before: list[EpisodeResult], after: list[EpisodeResult]) -> StudyHistory:
    selection = decide(before, {0: after}, LIMIT)
    return StudyHistory(best_trial=0, trials=[], selection=selection)


def completion(before: list[EpisodeResult], after: list[EpisodeResult]) -> Completion:
    """Return the result of a run whose selection and comparison have the same results."""
    compared = evaluation({BEHAVIOUR_CLONING: before, OFFLINE: before, ONLINE: after})
    return completion_of(compared, history(before, after), promotion())


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (
            episodes(10),
            episodes(18),
            "Fine-tuning helped: success rose from 50% to 90% (+40, 95% interval +14 to +60 points)"
            " in 20 unseen episodes; cube:v2 is the first champion.",
        ),
        (
            episodes(18),
            episodes(17),
            "Fine-tuning did not help beyond chance (90% success before and 85% success after it in"
            " 20 unseen episodes), so the offline policy is published; cube:v2 is the first"
            " champion.",
        ),
        (
            episodes(20, steps=90),
            episodes(20, steps=60),
            "Fine-tuning helped: at 100% success, the steps fell from 90 to 60 (+30, 95% interval"
            " -9 to +59 saved) in 20 unseen episodes; cube:v2 is the first champion.",
        ),
        (
            returns(-300.0),
            returns(-150.0),
            "Fine-tuning helped: the return rose from -296.5 to -146.5 (+150.0) in 8 unseen"
            " episodes; cube:v2 is the first champion.",
        ),
    ],
)
def test_verdict_is_one_sentence_about_learning_and_publication(
    before: list[EpisodeResult], after: list[EpisodeResult], sentence: str
) -> None:
    assert completion(before, after).verdict == sentence


def test_verdict_admits_that_the_final_comparison_disagrees() -> None:
    compared = evaluation({OFFLINE: episodes(18), ONLINE: episodes(16)})
    lucky = history(episodes(10), episodes(18))
    verdict = completion_of(compared, lucky, promotion()).verdict
    assert verdict.startswith(
        "Fine-tuning helped in the selection, but not in the final comparison: success fell from "
        "90% to 80% (-10, "
    )


def test_a_run_without_fine_tuning_has_a_verdict() -> None:
    compared = evaluation({BEHAVIOUR_CLONING: episodes(5), OFFLINE: episodes(8)})
    found = completion_of(compared, StudyHistory(best_trial=None, trials=[]), promotion(False))
    assert found.verdict == (
        "Without fine-tuning, offline Q-learning gives 40% success in 20 unseen episodes; cube:v2 "
        "is latest, and v1 stays champion."
    )


def test_a_run_whose_trials_all_failed_says_so_and_publishes_the_offline_policy() -> None:
    compared = evaluation({BEHAVIOUR_CLONING: episodes(5), OFFLINE: episodes(8)})
    failed = Trial(
        trial=0,
        state="diverged",
        attempts=1,
        optuna_trial=0,
        worker=0,
        parameters={},
        scores=[],
        seconds=1.0,
    )
    found = completion_of(compared, StudyHistory(best_trial=None, trials=[failed]), promotion())
    assert found.verdict == (
        "Fine-tuning failed in every trial, so the offline policy is published: offline Q-learning "
        "gives 40% success in 20 unseen episodes; cube:v2 is the first champion."
    )
    assert [row.name for row in found.policies if row.published] == [OFFLINE]


def test_the_published_policy_is_marked_and_measured() -> None:
    helped, kept = completion(episodes(10), episodes(18)), completion(episodes(18), episodes(17))
    assert [row.name for row in helped.policies if row.published] == [ONLINE]
    assert [row.name for row in kept.policies if row.published] == [OFFLINE]
    assert (helped.metrics["success percent"], helped.metrics["success offline percent"]) == (
        90,
        50,
    )
    assert kept.metrics["success percent"] == kept.metrics["success offline percent"] == 90
    assert (helped.metrics["episodes"], helped.metrics["champion 0 or 1"]) == (20, 1)


def status(error: str = "") -> RunStatus:
    return RunStatus(
        run_id="r-1",
        name="Monday",
        recipe="cube",
        succeeded=not error,
        step="tune" if error else "",
        error=error,
        ended="",
        text=f"Monday (cube) FAILED: {error}",
    )


def test_summary_shows_verdict_table_version_and_command() -> None:
    found = completion(episodes(10), episodes(18))
    # The last step reads the result from the store.
    stored = parse(encode(found), Completion, "result.json")
    lines = summary_markdown(status(), stored, "").splitlines()
    assert lines[0] == f"**{found.verdict}**".replace("_", r"\_")
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 5 and table[0] == "| policy | success | steps |"
    assert table[-1].startswith("| **fine-tuned online**, published | **90% (70% to 97%)** | ")
    assert "Version: `cube:v2` in `s3://bucket`" in lines
    assert "Champion: yes, success 88% (70% to 97%) is above the minimum of 50%" in lines
    assert "qc pull cube:v2 -o cube-v2" in lines and "Run: `r-1`" in lines


def test_summary_shows_the_warning_of_a_run_that_succeeded_or_failed() -> None:
    for error, found in (("", completion(episodes(10), episodes(18))), ("no GPU", None)):
        ended = structs.replace(status(error), warning="other_account")
        assert r"Warning: other\_account" in summary_markdown(ended, found, "").splitlines()


def test_summary_of_a_failure_shows_the_error_and_its_log() -> None:
    text = summary_markdown(status("step tune: no *GPU*\\n"), None, "the tab *Logs*")
    assert text.startswith(r"**Monday (cube) FAILED: step tune: no \*GPU\*")
    assert "Log: the tab *Logs*" in text


def test_summary_of_a_retraining_without_new_data_says_so() -> None:
    found = NewData(new=False, parent="cube:v1", text="up to date: cube:v1 has these data")
    text = summary_markdown(status(), completion_without_training(found), "")
    assert text.startswith("**Up to date: cube:v1 has these data, so no policy was trained.**")
    assert "qc pull" not in text and "|" not in text


def test_metrics_have_the_same_names_in_every_run() -> None:
    found = NewData(new=False, parent=None, text="x")
    pendulum = result_metrics(completion(returns(-300.0), returns(-150.0)))
    every = [
        result_metrics(completion(episodes(10), episodes(18))),
        pendulum,
        result_metrics(completion_without_training(found)),
        result_metrics(None),
    ]
    assert {tuple(metrics) for metrics in every} == {METRICS}
    assert pendulum["return per episode"] == -146.5
    assert pendulum["success percent"] == NOT_MEASURED
    # KFP accepts only numbers that JSON has, and MLflow these characters in names.
    json.dumps(every, allow_nan=False)
    assert all(isinstance(value, (int, float)) for values in every for value in values.values())
    assert all(name.replace(" ", "").isalnum() for name in METRICS)


def test_text_of_a_verdict_is_not_read_as_markdown() -> None:
    odd = structs.replace(completion(episodes(1), episodes(2)), verdict="a_b <i>")
    assert summary_markdown(status(), odd, "").startswith(r"**a\_b \<i\>**")
