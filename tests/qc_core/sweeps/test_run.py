"""A study does what is missing and nothing twice, and draws all that is there."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qc_core.cli.sweep import as_table
from qc_core.errors import RunError, UsageError
from qc_core.files import write_json
from qc_core.sweeps.definition import Job, Study
from qc_core.sweeps.figure import draw
from qc_core.sweeps.job import is_finished, last_checkpoint, run_job
from qc_core.sweeps.run import run_sweep
from qc_core.sweeps.summary import summarize
from qc_core.training.checkpoint import (
    load_training_state,
    read_checkpoint,
    read_curve,
    weights_digest,
)
from qc_core.training.online import OnlineTraining

QUICK = ("--train.offline-steps", "4", "--train.online-steps", "6", "--train.learning-starts", "1")
STUDY = Study(
    name="tiny",
    recipes=("smoke",),
    methods=("qc-fql", "rlpd"),
    seeds=(0,),
    evaluate_every=3,
    episodes=1,
    overrides=(*QUICK, "--train.batch-size", "16", "--data.episodes", "1"),
)


def run(job: Job, dataset: Path, folder: Path, stop_after: int | None = None) -> list[float]:
    """Run a job, or break it off after so many points; returns the steps of its points."""
    steps: list[float] = []

    def on_point(point: dict[str, float]) -> None:
        steps.append(point["step"])
        if len(steps) == stop_after:
            raise KeyboardInterrupt

    run_job(STUDY.config(job), dataset, folder, evaluate_every=3, episodes=1, on_point=on_point)
    return steps


@pytest.mark.parametrize(
    ("method", "stops"), [("qc-fql", [3, 4, 7, 10]), ("rlpd", [7, 10]), ("qc", [3, 4, 7, 10])]
)
def test_a_run_is_evaluated_on_the_way_and_at_each_phases_end(
    tmp_path: Path, dataset: Path, method: str, stops: list[int]
) -> None:
    job = Job("smoke", method, 0)
    assert run(job, dataset, tmp_path) == stops
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint is not None
    assert [point["step"] for point in read_curve(checkpoint)] == stops
    info = read_checkpoint(checkpoint)
    assert (info.offline_steps, info.online_steps) == (0 if method == "rlpd" else 4, 6)
    assert is_finished(STUDY.config(job), tmp_path)
    assert run(job, dataset, tmp_path) == []


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_run_broken_off_goes_on_behind_its_last_point(
    tmp_path: Path, dataset: Path, stop_after: int
) -> None:
    job = Job("smoke", "qc-fql", 0)
    with pytest.raises(KeyboardInterrupt):
        run(job, dataset, tmp_path, stop_after)
    assert run(job, dataset, tmp_path) == [3, 4, 7, 10][stop_after:]
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint is not None
    assert [point["step"] for point in read_curve(checkpoint)] == [3, 4, 7, 10]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-10"]


def test_evaluated_beside_its_training_a_run_comes_to_the_same(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("smoke", "qc-fql", 0)
    found = []
    for cores in ("1", "3"):
        monkeypatch.setenv("QC_THREADS", cores)
        folder = tmp_path / cores
        # What an evaluation leaves that was broken off.
        (folder / "unscored-7").mkdir(parents=True)
        assert run(job, dataset, folder) == [3, 4, 7, 10]
        assert [path.name for path in folder.iterdir()] == ["checkpoint-10"]
        points = read_curve(folder / "checkpoint-10")
        figures = [{name: point[name] for name in point if name != "seconds"} for point in points]
        found.append((figures, weights_digest(folder / "checkpoint-10")))
    assert found[0] == found[1]


def test_offline_a_run_broken_off_ends_with_the_same_weights(tmp_path: Path, dataset: Path) -> None:
    job, offline = Job("smoke", "qc-fql", 0), 2
    for name, breaks in (("whole", [offline]), ("twice", [1, 1])):
        for stop_after in breaks:
            with pytest.raises(KeyboardInterrupt):
                run(job, dataset, tmp_path / name, stop_after)
    whole, twice = last_checkpoint(tmp_path / "whole"), last_checkpoint(tmp_path / "twice")
    assert whole is not None and twice is not None
    assert whole.name == twice.name == "checkpoint-4"
    assert weights_digest(whole) == weights_digest(twice)


def test_online_a_run_broken_off_keeps_what_it_has_seen(tmp_path: Path, dataset: Path) -> None:
    job = Job("smoke", "qc-fql", 0)
    with pytest.raises(KeyboardInterrupt):
        run(job, dataset, tmp_path, stop_after=3)
    kept = last_checkpoint(tmp_path)
    assert kept is not None
    state = load_training_state(kept)
    seen = state["replay.rewards"].shape[0]
    assert (int(state["step"]), seen) == (3, 3)

    watched: list[tuple[int, int]] = []
    original = OnlineTraining.restore

    def restore(self: OnlineTraining, given) -> None:
        original(self, given)
        watched.append((self.step, len(self.state()["replay.rewards"])))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnlineTraining, "restore", restore)
        run(job, dataset, tmp_path)
    assert watched == [(3, 3)]


def test_of_a_run_that_was_killed_only_the_last_checkpoint_stays(
    tmp_path: Path, dataset: Path
) -> None:
    job = Job("smoke", "qc-fql", 0)
    with pytest.raises(KeyboardInterrupt):
        run(job, dataset, tmp_path, stop_after=2)
    # It went between making the newer one whole and taking the older away.
    shutil.copytree(tmp_path / "checkpoint-4", tmp_path / "checkpoint-3")
    assert run(job, dataset, tmp_path) == [7, 10]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-10"]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("training.safetensors", lambda path: path.unlink()),
        ("training.safetensors", lambda path: rewrite(path, lambda s: s.pop("generator"))),
        ("training.safetensors", lambda path: rewrite(path, lambda s: s.pop("replay.place"))),
        ("training.safetensors", lambda path: rewrite(path, lambda s: s["step"].add_(1))),
        ("training.safetensors", lambda path: rewrite(path, lambda s: s["replay.place"].add_(9))),
        ("optimizer.safetensors", lambda path: rewrite(path, lambda s: s.pop("0.exp_avg"))),
        ("optimizer.safetensors", lambda path: rewrite(path, lambda s: s.clear())),
        ("curve.csv", lambda path: path.write_text("step,success\n3,many\n")),
        ("curve.csv", lambda path: path.unlink()),
    ],
)
def test_a_damaged_checkpoint_is_named_in_one_line(
    tmp_path: Path, dataset: Path, name: str, damage
) -> None:
    job = Job("smoke", "qc-fql", 0)
    with pytest.raises(KeyboardInterrupt):
        run(job, dataset, tmp_path, stop_after=3)
    (tmp_path / "checkpoint-old").mkdir()
    damage(tmp_path / "checkpoint-7" / name)
    with pytest.raises(UsageError, match="checkpoint-7") as refusal:
        run(job, dataset, tmp_path)
    assert "\n" not in str(refusal.value)


def rewrite(path: Path, change) -> None:
    state = load_file(path)
    change(state)
    save_file(state, path)


def test_a_state_of_another_device_is_not_gone_on_from(tmp_path: Path, dataset: Path) -> None:
    job = Job("smoke", "qc-fql", 0)
    with pytest.raises(KeyboardInterrupt):
        run(job, dataset, tmp_path, stop_after=1)
    path = tmp_path / "checkpoint-3" / "training.safetensors"
    rewrite(path, lambda state: state.update(generator=torch.zeros(16, dtype=torch.uint8)))
    with pytest.raises(UsageError, match="set QC_DEVICE"):
        run(job, dataset, tmp_path)


def test_a_study_writes_one_table_and_one_figure_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    rows = run_sweep(STUDY, folder, workers=1)
    with (folder / "results.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [(row["method"], float(row["step"])) for row in written] == [
        ("qc-fql", 3),
        ("qc-fql", 4),
        ("qc-fql", 7),
        ("qc-fql", 10),
        ("rlpd", 7),
        ("rlpd", 10),
    ]
    assert {row["environment"] for row in written} == {"cube-single-singletask-task1-v0"}
    figure = (folder / "results.svg").read_text()
    assert "<svg" in figure

    checkpoint = last_checkpoint(folder / "runs/smoke/qc-fql/seed-0")
    assert checkpoint is not None
    untouched = (checkpoint / "weights.safetensors").stat().st_mtime_ns
    shutil.rmtree(folder / "runs/smoke/rlpd")
    assert [row["step"] for row in run_sweep(STUDY, folder, workers=1)] == [
        row["step"] for row in rows
    ]
    assert (checkpoint / "weights.safetensors").stat().st_mtime_ns == untouched


def test_intervals_are_over_seeds() -> None:
    rows = [
        {"recipe": "smoke", "method": "rlpd", "seed": seed, "step": 10.0, **figures}
        for seed, figures in enumerate(
            [
                {"success": 0.7, "steps": 90.0, "return": -90.0},
                {"success": 0.8, "steps": 50.0, "return": -50.0},
                {"success": 0.9, "steps": 70.0, "return": -70.0},
            ]
        )
    ]
    (end,) = summarize(STUDY, rows)
    assert (end["method"], end["step"], end["seeds"]) == ("rlpd", 10, 3)
    # Student's t, and a rate is at most 1.
    assert end["success"] == pytest.approx({"value": 0.8, "low": 0.5516, "high": 1}, abs=1e-4)
    assert end["return"] == pytest.approx({"value": -70, "low": -119.68, "high": -20.32}, abs=0.01)
    assert as_table([end])[1][0][3:] == ("3", "80% (55% to 100%)", "-70 (-120 to -20)")


def test_one_seed_has_no_interval_and_table_and_figure_say_so(tmp_path: Path) -> None:
    figures = {"success": 0.7, "steps": 90.0, "return": -90.0}
    rows = [{"recipe": "smoke", "method": "rlpd", "seed": 0, "step": 10.0, **figures}]
    (end,) = summarize(STUDY, rows)
    assert end["success"] == {"value": 0.7, "low": None, "high": None}
    assert as_table([end])[1][0][3:] == ("1", "70% (no interval)", "-90 (no interval)")
    draw(STUDY, rows, tmp_path / "one.svg")
    assert "rlpd, one seed" in (tmp_path / "one.svg").read_text()


def test_where_no_success_is_told_table_and_figure_show_returns(tmp_path: Path) -> None:
    figures = {"success": 0.0, "steps": 200.0, "success-told": 0.0}
    rows = [
        {"recipe": "smoke", "method": "rlpd", "seed": seed, "step": 10.0, "return": r, **figures}
        for seed, r in enumerate((-900.0, -700.0))
    ]
    (end,) = summarize(STUDY, rows)
    assert not end["success-told"] and end["return"]["value"] == -800
    assert as_table([end])[1][0][4:] == ("-", "-800 (-2071 to 471)")
    draw(STUDY, rows, tmp_path / "returns.svg")
    picture = (tmp_path / "returns.svg").read_text()
    assert "<!-- return -->" in picture and "<!-- success -->" not in picture


def test_another_study_is_not_mixed_in(tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine").touch()
    with pytest.raises(UsageError, match="is in use"):
        run_sweep(STUDY, tmp_path / "used", workers=1)
    run_sweep(replace(STUDY, methods=("rlpd",)), tmp_path / "study", workers=1)
    with pytest.raises(UsageError, match="holds another study"):
        run_sweep(STUDY, tmp_path / "study", workers=1)


def test_a_run_that_diverges_does_not_stop_the_others(tmp_path: Path) -> None:
    words = (*STUDY.overrides, "--train.learning-rate", "1e30", "--train.offline-steps", "20")
    with pytest.raises(RunError, match=r"1 of 2 runs failed; first .*qc-fql.*diverg"):
        run_sweep(replace(STUDY, overrides=words), tmp_path / "study", workers=1)
    assert "rlpd" in (tmp_path / "study" / "results.csv").read_text()


def test_nor_does_one_that_fails_in_a_way_nobody_foresaw(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    write_json(folder / "study.json", STUDY.as_mapping())
    (folder / "runs/smoke/qc-fql/seed-0").mkdir(parents=True)
    # A folder is expected where it is.
    (folder / "runs/smoke/qc-fql/seed-0/unscored-3").touch()
    with pytest.raises(RunError, match="qc-fql seed 0: unexpected NotADirectoryError") as failure:
        run_sweep(STUDY, folder, workers=1)
    assert isinstance(failure.value.__cause__, NotADirectoryError)
    assert "rlpd" in (folder / "results.csv").read_text()
