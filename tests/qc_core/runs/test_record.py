"""What a run leaves in the store can be read again, and stays small."""

from pathlib import Path

import pytest

from qc_core.config.settings import Config
from qc_core.documents import write
from qc_core.files import write_json
from qc_core.notify.completion import Completion
from qc_core.notify.run_status import RunFacts, notify_run_status, record_completion
from qc_core.results.run_record import record_of, write_record
from qc_core.runs.record import record_results
from qc_core.runs.run import Run, read_run, stored_runs
from qc_core.store.objects import ObjectStore
from qc_core.training.checkpoint import write_curve
from qc_core.training.checksums import write_checksums
from tests.qc_core.runs.examples import evaluated

RUN = "run-1"
COMPLETION = Completion(verdict="Done.", policy="a:v1", champion=True, metrics={})


@pytest.fixture
def finished(store: ObjectStore, config: Config, tmp_path: Path) -> Run:
    """A run whose steps have written everything."""
    write_record(store, RUN, record_of(config, RUN))
    offline = tmp_path / "offline"
    offline.mkdir()
    curve = [{"step": s, "seconds": 1.0, "critic/loss": 1 / (s + 3)} for s in range(5000)]
    write_curve(offline / "curve.csv", curve)
    write_checksums(offline)
    score = {"online_step": 30, "success": 0.5, "steps": 90.0, "episode_return": -90.0}
    trial = {
        **{"trial": 1, "state": "complete", "attempts": 1, "optuna-trial": 1, "worker": 0},
        **{"parameters": {}, "seconds": 1.0, "scores": [{**score, "reports_success": True}]},
    }
    write_json(tmp_path / "history", {"schema-version": 2, "best-trial": 1, "trials": [trial]})
    write(tmp_path / "evaluation", evaluated([True, False], [True, True]))
    (tmp_path / "page").write_text("<html>")
    record_results(
        store,
        RUN,
        evaluation=tmp_path / "evaluation",
        offline=offline,
        history=tmp_path / "history",
        report=tmp_path / "page",
    )
    record_completion(store, RUN, COMPLETION)
    notify_run_status(store, run_id=RUN, recipe="smoke", facts=RunFacts(name="my run"))
    return read_run(store, RUN)


def test_a_finished_run_is_read_from_the_store(
    store: ObjectStore, finished: Run, config: Config
) -> None:
    assert (finished.name, finished.state, finished.recipe) == ("my run", "succeeded", "smoke")
    assert finished.parsed_config == config
    assert finished.seconds is not None and finished.seconds >= 0
    assert finished.offline is not None and finished.offline.success.value == 0.5
    assert finished.online is not None and finished.online.success.value == 1
    assert (finished.policy, finished.champion) == ("a:v1", True)
    assert store.get(f"runs/{RUN}/report.html") == b"<html>"
    assert [run.run_id for run in stored_runs(store)] == [RUN]


def test_stored_curves_are_small_and_end_at_the_last_point(
    store: ObjectStore, finished: Run
) -> None:
    curves = finished.read_curves()
    assert curves is not None and list(curves.offline) == ["critic/loss"]
    points = curves.offline["critic/loss"]
    assert 150 < len(points) <= 200
    assert (points[0], points[-1]) == ((0, 0.33333), (4999, 0.00019992))
    assert curves.online["success"] == [(30, 0.5)]
    assert len(store.get(f"runs/{RUN}/curves.json")) < 40_000


def test_changes_name_the_options_that_differ_from_the_recipe(finished: Run) -> None:
    changes = finished.changes
    assert changes["train.offline-steps"] == 4 and changes["data.episodes"] == 2
    assert "train.alpha" not in changes and "seed" not in changes


def test_a_run_of_an_earlier_release_has_what_is_known(store: ObjectStore) -> None:
    notify_run_status(store, run_id="old", recipe="smoke", facts=RunFacts(name="mine"))
    run = read_run(store, "old")
    assert (run.name, run.recipe, run.state, run.config) == ("mine", "smoke", "failed", None)
    assert (run.method, run.changes, run.offline, run.seconds) == ("", {}, None, None)
    assert run.error and run.read_curves() is None


def test_a_run_that_has_not_ended_is_unfinished(store: ObjectStore, config: Config) -> None:
    write_record(store, RUN, record_of(config, RUN))
    run = read_run(store, RUN)
    assert (run.state, run.method, run.seconds) == ("unfinished", config.train.method, None)
