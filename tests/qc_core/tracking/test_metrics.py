"""Every training writes its metrics while it runs, and no sink can end it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from qc_core.config.settings import Config
from qc_core.store.open import open_store
from qc_core.tracking.event_files import EventFiles
from qc_core.tracking.metrics import Activity, Metrics, Point
from qc_core.tracking.open import FOLDER_VARIABLE, open_metrics, pipeline_run
from qc_core.tracking.viewer import copy_metrics
from qc_core.training.exploration import ExploredEpisodes
from qc_core.training.rollout import Transition
from qc_core.tuning.study import create_study
from qc_core.tuning.worker import run_worker


class Training:
    """A training at a step that the test chooses."""

    def __init__(self) -> None:
        self.step = 0

    def figures(self) -> dict[str, float]:
        return {"critic/loss": float(self.step)} if self.step else {}

    def activity(self) -> Activity:
        return Activity({"updates": self.step})


class Recorder:
    """A sink that remembers points."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.ended = ""

    def start(self, step: int) -> None: ...

    def log(self, point: Point) -> None:
        self.points.append(point)

    def close(self, state: str) -> None:
        self.ended = state


class Broken(Recorder):
    def log(self, point: Point) -> None:
        raise OSError("the disk is full")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    read = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in read.Scalars(tag)]
        for tag in read.Tags()["scalars"]
    }


def test_pretraining_writes_losses_gradients_and_rates_next_to_its_output(checkpoint: Path) -> None:
    found = scalars(checkpoint.with_name("offline.metrics") / "offline")
    # The first point is that of the first updates.
    assert {"critic/loss", "gradient_norm/critic", "rate/updates_per_second"} <= found.keys()
    steps = [step for step, _ in found["critic/loss"]]
    assert (steps[0], steps[-1]) == (1, 4)
    assert all(value > 0 for _, value in found["gradient_norm/critic"])


def test_each_trial_writes_its_success_with_an_interval(
    tmp_path: Path,
    config: Config,
    checkpoint: Path,
    dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "metrics"))
    storage = str(tmp_path / "study")
    one = replace(config, tune=replace(config.tune, trials=1))
    create_study("s", storage, one)
    run_worker(
        one,
        checkpoint,
        dataset,
        tmp_path / "trials.json",
        study_name="s",
        storage=storage,
        worker=0,
        tracked=pipeline_run("r"),
    )
    found = scalars(tmp_path / "metrics" / "trial-0")
    (last, success), low = found["evaluation/success"][-1], found["evaluation/success_low"][-1][1]
    assert last == 12 and low <= success < found["evaluation/success_high"][-1][1]
    assert {"rate/environment_steps_per_second", "critic/loss"} <= found.keys()


def test_a_broken_sink_is_dropped_and_the_others_get_every_point() -> None:
    training, sink = Training(), Recorder()
    metrics = Metrics([Broken(), sink])
    curve: list[dict[str, float]] = []
    metrics.start(training, curve)
    for step in (1, 2, 3):
        training.step = step
        curve.append({"step": step, "seconds": 1.0, "actor/loss": 0.5, "success": 1.0})
        metrics.follow()
    metrics.close("finished")
    assert [point.step for point in sink.points] == [1, 2, 3] and sink.ended == "finished"
    assert sink.points[0].values["critic/loss"] == 1
    assert sink.points[0].values["rate/updates_per_second"] > 0
    # Between two looks at the update, only what the curve has.
    assert sink.points[1].values == {"actor/loss": 0.5, "evaluation/success": 1.0}


def test_figures_of_an_evaluation_are_not_logged_at_a_later_step() -> None:
    training, sink = Training(), Recorder()
    metrics = Metrics([sink])
    curve = [{"step": 0.0, "critic/loss": 9.0, "success": 0.0}]
    training.step = 5
    metrics.start(training, curve)
    curve.append({"step": 3.0, "critic/loss": 9.0, "success": 0.5})
    metrics.follow()
    late, now = sink.points
    assert (late.step, late.values) == (3, {"evaluation/success": 0.5})
    assert (now.step, now.values["critic/loss"]) == (5, 5)


def test_a_resumed_training_replaces_the_points_after_its_checkpoint(tmp_path: Path) -> None:
    for first, value in ((0, 1.0), (3, 2.0)):
        files = EventFiles(tmp_path)
        files.start(first)
        for step in range(first, first + 5):
            files.log(Point(step, 0.0, {"critic/loss": value}))
        files.close("finished")
    points = scalars(tmp_path)["critic/loss"]
    assert points == [*((step, 1.0) for step in range(3)), *((s, 2.0) for s in range(3, 8))]


def test_metrics_of_a_pod_are_in_the_store_and_can_be_followed(
    tmp_path: Path, config: Config
) -> None:
    store = open_store()
    training = Training()
    with open_metrics(pipeline_run("run-1"), "offline", config) as metrics:
        metrics.start(training, [])
        training.step = 1
        metrics.follow()
    assert copy_metrics(store, "run-1", tmp_path / "copy") == 1
    (copy,) = (tmp_path / "copy" / "offline").iterdir()
    # A file that TensorBoard has open only grows.
    complete, inode = copy.read_bytes(), copy.stat().st_ino
    copy.write_bytes(complete[:100])
    copy_metrics(store, "run-1", tmp_path / "copy")
    assert copy.read_bytes() == complete and copy.stat().st_ino == inode
    assert scalars(tmp_path / "copy" / "offline")["critic/loss"] == [(1, 1.0)]


def test_a_training_that_fails_before_it_starts_logs_only_its_own_error(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        pytest.raises(OSError, match="no data"),
        open_metrics(pipeline_run("run-2"), "offline", config),
    ):
        raise OSError("no data")
    assert not caplog.records


def test_explored_episodes_are_counted_for_each_environment() -> None:
    explored = ExploredEpisodes(2)
    nothing = np.zeros(1)
    for number in range(1, 8):
        ended = number in (5, 6)
        explored.add(number, Transition(nothing, nothing, -1.0, nothing, number == 5, ended))
    assert explored.take() == {
        "exploration/episodes": 2,
        "exploration/episode_length": 3,
        "exploration/episode_return": -3,
        "exploration/terminated": 0.5,
    }
    assert explored.take() == {}
