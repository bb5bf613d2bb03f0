"""A sweep trains the runs that are not finished, and draws all results."""

import csv
import json
import shutil
from pathlib import Path

import msgspec
import pytest
import torch
from msgspec.structs import astuple, replace
from safetensors.torch import load_file, save_file

from qc_core.cli.sweep import as_table
from qc_core.documents import write
from qc_core.errors import RunError, UsageError
from qc_core.files import write_json
from qc_core.statistics import success_rate_over_seeds
from qc_core.sweeps.definition import Sweep, SweepRun
from qc_core.sweeps.figure import draw
from qc_core.sweeps.job import is_finished, last_checkpoint, run_job
from qc_core.sweeps.point import SweepPoint
from qc_core.sweeps.run import run_sweep
from qc_core.sweeps.summary import final_scores
from qc_core.training.checkpoint import read_checkpoint, read_curve, weights_digest
from qc_core.training.online import OnlineTraining
from qc_core.training.saved_agent import load_training_state
from tests.quick_environment import QUICK

STEPS = ("--train.offline-steps", "4", "--train.online-steps", "6", "--train.learning-starts", "1")
# It collects demonstrations of the cube environment.
CUBE_SWEEP = Sweep(
    name="tiny",
    recipes=("smoke",),
    methods=("qc-fql", "rlpd"),
    seeds=(0,),
    evaluate_every=3,
    episodes=1,
    overrides=(*STEPS, "--train.batch-size", "16", "--data.episodes", "1"),
)


@pytest.fixture(scope="module")
def sweep(dataset: Path) -> Sweep:
    """A sweep of a quick environment, whose data exist."""
    data = ("--environment", QUICK, "--data", str(dataset))
    return replace(CUBE_SWEEP, overrides=(*CUBE_SWEEP.overrides[:-2], *data))


def train(
    sweep: Sweep, run: SweepRun, dataset: Path, folder: Path, stop_after: int | None = None
) -> list[float]:
    """Do one run, or interrupt it after some points; return the steps of its points."""
    steps: list[float] = []

    def on_point(point: dict[str, float]) -> None:
        steps.append(point["step"])
        if len(steps) == stop_after:
            raise KeyboardInterrupt

    run_job(sweep.config(run), dataset, folder, evaluate_every=3, episodes=1, on_point=on_point)
    return steps


@pytest.mark.parametrize(
    ("method", "stops"), [("qc-fql", [3, 4, 7, 10]), ("rlpd", [7, 10]), ("qc", [3, 4, 7, 10])]
)
def test_a_run_is_evaluated_regularly_and_at_the_end_of_each_phase(
    tmp_path: Path, sweep: Sweep, dataset: Path, method: str, stops: list[int]
) -> None:
    run = SweepRun("smoke", method, 0)
    assert train(sweep, run, dataset, tmp_path) == stops
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint is not None
    assert [point["step"] for point in read_curve(checkpoint)] == stops
    info = read_checkpoint(checkpoint)
    assert (info.offline_steps, info.online_steps) == (0 if method == "rlpd" else 4, 6)
    assert is_finished(sweep.config(run), tmp_path)
    assert train(sweep, run, dataset, tmp_path) == []


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_an_interrupted_run_resumes_after_its_last_point(
    tmp_path: Path, sweep: Sweep, dataset: Path, stop_after: int
) -> None:
    run = SweepRun("smoke", "qc-fql", 0)
    with pytest.raises(KeyboardInterrupt):
        train(sweep, run, dataset, tmp_path, stop_after)
    assert train(sweep, run, dataset, tmp_path) == [3, 4, 7, 10][stop_after:]
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint is not None
    assert [point["step"] for point in read_curve(checkpoint)] == [3, 4, 7, 10]
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-7", "checkpoint-10"}


def test_evaluation_in_the_background_gives_the_same_results(
    tmp_path: Path, sweep: Sweep, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = SweepRun("smoke", "qc-fql", 0)
    found = []
    for cores in ("1", "3"):
        monkeypatch.setenv("QC_THREADS", cores)
        folder = tmp_path / cores
        # An interrupted evaluation leaves this folder.
        (folder / "unscored-7").mkdir(parents=True)
        assert train(sweep, run, dataset, folder) == [3, 4, 7, 10]
        # In the background, several evaluations may end at the same step.
        names = {path.name for path in folder.iterdir()}
        assert "checkpoint-10" in names and names < {f"checkpoint-{step}" for step in range(11)}
        points = read_curve(folder / "checkpoint-10")
        figures = [{name: point[name] for name in point if name != "seconds"} for point in points]
        found.append((figures, weights_digest(folder / "checkpoint-10")))
    assert found[0] == found[1]


def test_a_run_interrupted_offline_ends_with_the_same_weights(
    tmp_path: Path, sweep: Sweep, dataset: Path
) -> None:
    run, offline = SweepRun("smoke", "qc-fql", 0), 2
    for name, breaks in (("once", [offline]), ("twice", [1, 1])):
        for stop_after in breaks:
            with pytest.raises(KeyboardInterrupt):
                train(sweep, run, dataset, tmp_path / name, stop_after)
    once, twice = last_checkpoint(tmp_path / "once"), last_checkpoint(tmp_path / "twice")
    assert once is not None and twice is not None
    assert once.name == twice.name == "checkpoint-4"
    assert weights_digest(once) == weights_digest(twice)


def test_a_run_interrupted_online_resumes_with_its_transitions(
    tmp_path: Path, sweep: Sweep, dataset: Path
) -> None:
    run = SweepRun("smoke", "qc-fql", 0)
    with pytest.raises(KeyboardInterrupt):
        train(sweep, run, dataset, tmp_path, stop_after=3)
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint is not None
    state = load_training_state(checkpoint)
    seen = state["replay.rewards"].shape[0]
    assert (int(state["step"]), seen) == (3, 3)

    watched: list[tuple[int, int]] = []
    original = OnlineTraining.restore

    def restore(self: OnlineTraining, given) -> None:
        original(self, given)
        watched.append((self.step, len(self.state()["replay.rewards"])))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnlineTraining, "restore", restore)
        train(sweep, run, dataset, tmp_path)
    assert watched == [(3, 3)]


def test_resuming_a_killed_run_removes_older_checkpoints(
    tmp_path: Path, sweep: Sweep, dataset: Path
) -> None:
    run = SweepRun("smoke", "qc-fql", 0)
    with pytest.raises(KeyboardInterrupt):
        train(sweep, run, dataset, tmp_path, stop_after=2)
    # The run was killed between writing the newer checkpoint and removing the older one.
    shutil.copytree(tmp_path / "checkpoint-4", tmp_path / "checkpoint-2")
    assert train(sweep, run, dataset, tmp_path) == [7, 10]
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-7", "checkpoint-10"}


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
    tmp_path: Path, sweep: Sweep, dataset: Path, name: str, damage
) -> None:
    run = SweepRun("smoke", "qc-fql", 0)
    with pytest.raises(KeyboardInterrupt):
        train(sweep, run, dataset, tmp_path, stop_after=3)
    (tmp_path / "checkpoint-old").mkdir()
    shutil.rmtree(tmp_path / "checkpoint-4")
    (tmp_path / "checkpoint-7" / "SHA256SUMS").unlink()
    damage(tmp_path / "checkpoint-7" / name)
    with pytest.raises(UsageError, match="checkpoint-7") as refusal:
        train(sweep, run, dataset, tmp_path)
    assert "\n" not in str(refusal.value)


def rewrite(path: Path, change) -> None:
    state = load_file(path)
    change(state)
    save_file(state, path)


def test_the_state_of_another_device_is_refused(
    tmp_path: Path, sweep: Sweep, dataset: Path
) -> None:
    run = SweepRun("smoke", "qc-fql", 0)
    with pytest.raises(KeyboardInterrupt):
        train(sweep, run, dataset, tmp_path, stop_after=1)
    path = tmp_path / "checkpoint-3" / "training.safetensors"
    (path.parent / "SHA256SUMS").unlink()
    rewrite(path, lambda state: state.update(generator=torch.zeros(16, dtype=torch.uint8)))
    with pytest.raises(UsageError, match="set QC_DEVICE"):
        train(sweep, run, dataset, tmp_path)


def test_a_sweep_collects_the_data_of_its_recipe(tmp_path: Path) -> None:
    points = run_sweep(replace(CUBE_SWEEP, methods=("rlpd",)), tmp_path / "sweep", workers=1)
    assert [point.step for point in points] == [7, 10]
    assert {point.environment for point in points} == {"cube-single-singletask-task1-v0"}


def test_a_sweep_writes_one_table_and_one_figure_and_resumes(tmp_path: Path, sweep: Sweep) -> None:
    folder = tmp_path / "sweep"
    points = run_sweep(sweep, folder, workers=1)
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
    assert {row["environment"] for row in written} == {QUICK}
    figure = (folder / "results.svg").read_text()
    assert "<svg" in figure

    checkpoint = last_checkpoint(folder / "runs/smoke/qc-fql/seed-0")
    assert checkpoint is not None
    untouched = (checkpoint / "weights.safetensors").stat().st_mtime_ns
    shutil.rmtree(folder / "runs/smoke/rlpd")
    assert [point.step for point in run_sweep(sweep, folder, workers=1)] == [
        point.step for point in points
    ]
    assert (checkpoint / "weights.safetensors").stat().st_mtime_ns == untouched


def sweep_point(seed: int, reports_success: float = 1.0, **measures: float) -> SweepPoint:
    """Return a point at the end of the online phase."""
    return SweepPoint(
        recipe="smoke",
        environment="robot/arm",
        method="rlpd",
        seed=seed,
        step=10.0,
        episodes=50,
        seconds=1.0,
        reports_success=reports_success,
        **measures,
    )


def test_intervals_are_over_seeds(sweep: Sweep) -> None:
    points = [
        sweep_point(0, success=0.7, steps=90.0, episode_return=-90.0),
        sweep_point(1, success=0.8, steps=50.0, episode_return=-50.0),
        sweep_point(2, success=0.9, steps=70.0, episode_return=-70.0),
    ]
    (score,) = final_scores(sweep, points)
    assert (score.method, score.step, score.seeds) == ("rlpd", 10, 3)
    assert score.success == success_rate_over_seeds([0.7, 0.8, 0.9], 50)
    assert astuple(score.episode_return) == pytest.approx((-70, -119.68, -20.32), abs=0.01)
    assert as_table([score])[1][0][3:] == ("3", "80% (49% to 94%)", "-70 (-120 to -20)")


def test_one_seed_has_no_interval_in_table_and_figure(tmp_path: Path, sweep: Sweep) -> None:
    points = [sweep_point(0, success=0.7, steps=90.0, episode_return=-90.0)]
    (score,) = final_scores(sweep, points)
    assert json.loads(msgspec.json.encode(score.success)) == {
        "value": 0.7,
        "low": None,
        "high": None,
    }
    assert as_table([score])[1][0][3:] == ("1", "70% (no interval)", "-90 (no interval)")
    draw(sweep, points, tmp_path / "one.svg")
    assert "rlpd, one seed" in (tmp_path / "one.svg").read_text()


def test_without_success_signal_table_and_figure_show_returns(tmp_path: Path, sweep: Sweep) -> None:
    points = [
        sweep_point(seed, 0.0, success=0.0, steps=200.0, episode_return=episode_return)
        for seed, episode_return in enumerate((-900.0, -700.0))
    ]
    (score,) = final_scores(sweep, points)
    assert not score.reports_success and score.episode_return.value == -800
    assert as_table([score])[1][0][4:] == ("-", "-800 (-2071 to 471)")
    draw(sweep, points, tmp_path / "returns.svg")
    picture = (tmp_path / "returns.svg").read_text()
    assert "<!-- return -->" in picture and "<!-- success -->" not in picture


def test_the_folder_of_another_sweep_is_refused(tmp_path: Path, sweep: Sweep) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine").touch()
    with pytest.raises(UsageError, match="is in use"):
        run_sweep(sweep, tmp_path / "used", workers=1)
    write(tmp_path / "sweep" / "sweep.json", sweep.manifest)
    with pytest.raises(UsageError, match="belongs to another sweep"):
        run_sweep(replace(sweep, episodes=2), tmp_path / "sweep", workers=1)
    with pytest.raises(
        UsageError, match="belongs to a sweep that also has the methods qc-fql: add"
    ):
        run_sweep(replace(sweep, methods=("rlpd",)), tmp_path / "sweep", workers=1)


def test_a_sweep_is_extended_by_a_seed(tmp_path: Path, sweep: Sweep) -> None:
    one = replace(sweep, methods=("rlpd",))
    first = run_sweep(one, tmp_path / "sweep", workers=1)
    both = run_sweep(replace(one, seeds=(0, 1)), tmp_path / "sweep", workers=1)
    assert [point for point in both if point.seed == 0] == first
    assert {point.seed for point in both} == {0, 1}
    with pytest.raises(UsageError, match="also has the seeds 1: add them"):
        run_sweep(one, tmp_path / "sweep", workers=1)


def test_a_run_that_diverges_does_not_stop_the_others(tmp_path: Path, sweep: Sweep) -> None:
    words = (*sweep.overrides, "--train.learning-rate", "1e30", "--train.offline-steps", "20")
    with pytest.raises(RunError, match=r"1 of 2 runs failed; first .*qc-fql.*diverg"):
        run_sweep(replace(sweep, overrides=words), tmp_path / "sweep", workers=1)
    assert "rlpd" in (tmp_path / "sweep" / "results.csv").read_text()


def test_a_run_that_fails_unexpectedly_does_not_stop_the_others(
    tmp_path: Path, sweep: Sweep
) -> None:
    folder = tmp_path / "sweep"
    write(folder / "sweep.json", sweep.manifest)
    (folder / "runs/smoke/qc-fql/seed-0").mkdir(parents=True)
    # The run expects a folder at this path.
    (folder / "runs/smoke/qc-fql/seed-0/unscored-3").touch()
    with pytest.raises(RunError, match="qc-fql seed 0: unexpected NotADirectoryError") as failure:
        run_sweep(sweep, folder, workers=1)
    assert isinstance(failure.value.__cause__, NotADirectoryError)
    assert "rlpd" in (folder / "results.csv").read_text()


def test_a_folder_of_an_older_release_resumes(tmp_path: Path, sweep: Sweep) -> None:
    old = {
        "recipes": ["smoke"],
        "methods": ["rlpd"],
        "seeds": [0],
        "evaluate-every": 3,
        "episodes": 1,
        "overrides": list(sweep.overrides),
    }
    write_json(tmp_path / "study.json", old)
    points = run_sweep(replace(sweep, methods=("rlpd",)), tmp_path, workers=1)
    assert [point.step for point in points] == [7, 10]
    assert not (tmp_path / "sweep.json").exists()
    with pytest.raises(UsageError, match="belongs to another sweep"):
        run_sweep(replace(sweep, episodes=2), tmp_path, workers=1)


def test_a_folder_with_old_option_names_resumes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sweep: Sweep
) -> None:
    old = ("--train.distillation-weight", "5", "--train.candidates", "4", *sweep.overrides)
    stored = replace(sweep, methods=("rlpd", "qc-fql"), overrides=old, seeds=(7,))
    write(tmp_path / "study.json", stored)
    (tmp_path / "data").mkdir()
    current = replace(stored, overrides=("--train.alpha", "5", *sweep.overrides))
    assert stored.manifest == current.manifest
    assert capsys.readouterr().err == ""
    with pytest.raises(UsageError, match="belongs to another sweep"):
        run_sweep(replace(current, overrides=sweep.overrides), tmp_path, workers=1)
    points = run_sweep(current, tmp_path, workers=1)
    assert {point.method for point in points} == {"rlpd", "qc-fql"}
    assert "is now called" not in capsys.readouterr().err


def test_a_sweep_trains_with_options_of_one_method(tmp_path: Path, sweep: Sweep) -> None:
    overrides = ("--train.num-samples", "4", *sweep.overrides)
    narrow = replace(sweep, methods=("qc",), overrides=overrides)
    points = run_sweep(narrow, tmp_path / "sweep", workers=1)
    assert [score.method for score in final_scores(narrow, points)] == ["qc", "qc"]
    assert (tmp_path / "sweep" / "results.svg").exists()


def test_a_manifest_with_an_unknown_option_is_refused_with_its_file(
    tmp_path: Path, sweep: Sweep
) -> None:
    write(tmp_path / "sweep.json", replace(sweep, overrides=("--train.unheard-of", "5")))
    with pytest.raises(UsageError, match=r"sweep\.json: unknown option --train\.unheard-of"):
        run_sweep(sweep, tmp_path, workers=1)
