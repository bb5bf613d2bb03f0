"""The commands of the example retrain a champion, and so does its robot without the simulator.

The commands are those of its README. `qc run` is replaced by the steps of a run, called one after
the other with tiny settings: its processes would take most of the time.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qc_core.cli.main import main
from qc_core.config.document import read_config
from qc_core.config.resolve import AS_THE_RECIPE
from qc_core.data.dataset.dataset import open_dataset
from qc_core.data.hold_out import copy_held_out
from qc_core.data.ingest import ingest
from qc_core.documents import write
from qc_core.errors import UsageError
from qc_core.evaluation.evaluate import evaluate
from qc_core.export.export import export
from qc_core.policy_format.policy_folder import read_contract
from qc_core.publish.promote import promote
from qc_core.registry.registry import CHAMPION, Registry
from qc_core.report.html import write_report
from qc_core.retraining.new_data import find_new_data
from qc_core.runtime import EpisodeRecorder
from qc_core.store.objects import ObjectStore
from qc_core.store.open import open_store
from qc_core.training.pretrain import pretrain
from qc_core.tuning.prepare import prepare
from qc_core.tuning.select import select_best
from qc_core.tuning.worker import run_worker
from tests.examples.readme import EXAMPLE, commands

SMALL = (
    "--data.episodes 4 --data.workers 1 --train.hidden-dims 8 --train.batch-size 16 "
    "--train.offline-steps 4 --train.online-steps 8 --train.learning-starts 4 --tune.trials 1 "
    "--tune.workers 1 --tune.evaluations 1 --tune.episodes 1 --evaluate.episodes 2 "
    "--evaluate.workers 1 --publish.minimum-success 0 --publish.gate-episodes 2"
)
ROBOT = "robot/reach-arm"


class Run:
    """The steps of a run in a folder, and their artifacts.

    Args:
        command: `qc run RECIPE -o FOLDER OPTION…`.
    """

    def __init__(self, command: str) -> None:
        _, _, recipe, _, output, *options = shlex.split(command)
        self.folder = Path(output).resolve()
        self.folder.mkdir(parents=True)
        study, store = self.folder.name, open_store()
        overrides = shlex.join([*shlex.split(SMALL), *options])
        (worker,) = prepare(recipe, AS_THE_RECIPE, overrides, study, self.at("config"))
        self.config = read_config(self.at("config"))
        dataset, offline, online = self.at("dataset"), self.at("offline"), self.at("online")
        ingest(self.config, dataset)
        assert find_new_data(self.config, open_dataset(dataset).source, store).new
        pretrain(self.config, dataset, offline, store)
        run_worker(
            self.config,
            offline,
            dataset,
            self.at("trials"),
            study_name=study,
            storage="",
            worker=int(worker),
        )
        best = self.at("best")
        select_best(self.config, offline, study, "", best, self.at("history"), published=online)
        held_out = self.at("held-out")
        copy_held_out(self.config, dataset, held_out)
        self.evaluation = evaluate(self.config, offline, best, self.at("evaluation"), held_out)
        export(online, self.at("policy"), self.at("evaluation"))
        self.promotion = promote(self.config, self.at("policy"), store, study, online, held_out)

    def at(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder, with a store and a study of its own, where the example is installed."""
    folder = tmp_path_factory.mktemp("example")
    (folder / "examples").symlink_to(EXAMPLE.parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(EXAMPLE)
        patch.setenv("QC_THREADS", "1")
        patch.setenv("QC_STORE", str(folder / "store"))
        patch.setenv("QC_STUDY_STORAGE", str(folder / "study.journal"))
        yield folder


@pytest.fixture(scope="module")
def first(place: Path) -> Run:
    """The run of the README."""
    return Run(commands()[0])


@pytest.fixture
def store(place: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setenv("QC_STORE", str(place / "store"))
    monkeypatch.setenv("QC_STUDY_STORAGE", str(place / "study.journal"))
    return open_store()


def test_an_environment_of_a_package_becomes_a_champion(first: Run, store: ObjectStore) -> None:
    dataset = open_dataset(first.at("dataset"))
    assert dataset.source.demonstrator == "reach_arm.expert:act" and dataset.info.episodes == 4
    assert dataset.info.solved_episodes is not None and dataset.info.reports_success
    contract = read_contract(first.at("policy"))
    assert contract.environment == "reach_arm:ReachArm-v0"
    assert contract.control_interval_seconds == 0.05
    assert contract.observation.names == (
        *("angles_0", "angles_1", "goal_0", "goal_1"),
        *("speeds_0", "speeds_1", "tip_0", "tip_1"),
    )
    assert [policy.reports_success for policy in first.evaluation.policies] == [True] * 3
    assert first.promotion.champion


def test_the_further_commands_of_the_readme_retrain_the_champion(
    place: Path, first: Run, store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    pull, play, push, run, lineage = commands()[1:]
    qc(pull)
    qc(f"{play} --episodes 2 --workers 1")
    qc(push)
    assert "accepted" in capsys.readouterr().out
    # An id with and without the package names the same environment.
    qc("qc episodes push played.npz --environment ReachArm-v0")
    assert "known" in capsys.readouterr().out
    qc("qc describe played.npz --replay 2")
    assert "differ by at most 0.0000, rewards by 0.0000" in capsys.readouterr().out
    second = Run(run)
    dataset = open_dataset(second.at("dataset"))
    assert [part.kind for part in dataset.source.sources] == ["collect", "store"]
    with np.load("played.npz") as steps:
        count = len(steps["rewards"])
        np.testing.assert_array_equal(dataset.rewards[-count:], steps["rewards"])
        np.testing.assert_array_equal(dataset.masks[-count:] == 0, steps["terminals"])
    assert second.config.train.warm_start == first.promotion.version
    assert second.promotion.gate.champion_before == first.promotion.version
    qc(lineage)
    shown = capsys.readouterr().out
    assert first.promotion.version in shown and second.promotion.version in shown


def qc(command: str) -> None:
    """Run a command of the README."""
    program, *words = shlex.split(command)
    assert program == "qc" and main(words) == 0, command


def test_invalid_episodes_of_any_environment_are_quarantined(
    first: Run, store: ObjectStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = {
        "observations": np.zeros((70, 8), np.float32),
        "actions": np.zeros((70, 2), np.float32),
        "rewards": -np.ones(70, np.float32),
        "terminals": np.zeros(70, bool),
        "timeouts": np.arange(70) % 35 == 34,
    }
    np.savez(tmp_path / "long.npz", **{**steps, "timeouts": np.arange(70) == 69})
    np.savez(tmp_path / "far.npz", **{**steps, "actions": steps["actions"] + 1.5})
    np.savez(tmp_path / "small.npz", **{**steps, "observations": np.zeros((70, 7), np.float32)})
    files = [str(tmp_path / f"{name}.npz") for name in ("long", "far", "small")]
    push = ["episodes", "push", *files, "--environment", "reach_arm:ReachArm-v0", "--json"]
    assert main(push) == 2
    reasons = [upload["reason"] for upload in json.loads(capsys.readouterr().out)]
    for reason, expected in zip(
        reasons, ("at most 60 steps, one has 70", "one is 0.5 outside", "the file 7"), strict=True
    ):
        assert expected in reason


@pytest.fixture(scope="module")
def robot(first: Run, place: Path) -> Run:
    """A run on recordings of a robot that has no simulator."""
    contract = read_contract(first.at("policy"))
    record(place / "recorded.npz", [11, 11, 11], contract=contract, environment=ROBOT)
    return Run(robot_run("robot", "recorded.npz"))


def robot_run(folder: str, data: str) -> str:
    """Return the command that trains on a robot's data."""
    return (
        f"qc run cube-single-quickstart -o runs/{folder} --environment {ROBOT} --data {data} "
        "--publish.name arm"
    )


def record(path: Path, lengths: list[int], **described: Any) -> None:
    """Record episodes as a robot does; the last step of each solves the task."""
    rng = np.random.default_rng(len(lengths))
    with EpisodeRecorder(path, **described) as recorder:
        for length in lengths:
            recorder.reset(rng.normal(size=8))
            for step in range(length):
                solved = step == length - 1
                action, following = rng.uniform(-1, 1, 2), rng.normal(size=8)
                recorder.step(
                    action, following, float(solved) - 1, terminated=solved, success=solved
                )


def test_without_a_simulator_a_person_approves_offline_figures(
    robot: Run, store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert robot.config.tune.trials == 0 and not robot.evaluation.policies
    cloning, learned = robot.evaluation.held_out
    assert learned.episodes == 1 and learned.value is not None
    assert -20 < cloning.log_likelihood.value < 2
    recorded = read_contract(robot.at("policy")).held_out
    assert recorded is not None and recorded.fit == learned.fit
    gate = robot.promotion.gate
    assert not robot.promotion.champion and gate.episodes == 0
    assert gate.reason.startswith("offline figures only, no episode was played: log-likelihood")
    version = f"arm:{robot.promotion.version}"
    qc(f"qc promote {version} --approve")
    assert f"{version} is champion, approved by" in capsys.readouterr().out
    assert Registry(store).alias("arm", CHAMPION) == robot.promotion.version
    assert main(["promote", "reach-arm@latest", "--approve"]) == 2
    assert "the gate decides by episodes" in capsys.readouterr().err


def test_the_report_labels_offline_figures(robot: Run, store: ObjectStore, tmp_path: Path) -> None:
    write(tmp_path / "promotion.json", robot.promotion)
    write_report(
        robot.config,
        dataset=robot.at("dataset"),
        offline=robot.at("offline"),
        history=robot.at("history"),
        evaluation=robot.at("evaluation"),
        policy=robot.at("policy"),
        promotion=tmp_path / "promotion.json",
        output=tmp_path / "report.html",
        date="2026-11-30",
    )
    page = (tmp_path / "report.html").read_text()
    assert "<b>Offline figures only.</b> robot/reach-arm has no simulator" in page
    assert "No video: robot/reach-arm has no simulator." in page
    assert "Offline figures only" in (robot.at("policy") / "model-card.md").read_text()


def test_uploads_that_match_the_contract_of_a_robot_retrain_its_champion(
    robot: Run, store: ObjectStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contract, champion = read_contract(robot.at("policy")), robot.promotion.version
    qc(f"qc promote arm:{champion} --approve")
    # Longer than any episode of the training data.
    record(tmp_path / "day.npz", [15], contract=contract)
    with np.load(tmp_path / "day.npz") as day:
        np.savez(tmp_path / "slow.npz", **{**day, "control_interval": 0.1})
    files = [str(tmp_path / "day.npz"), str(tmp_path / "slow.npz")]
    assert main(["episodes", "push", *files, "--environment", ROBOT]) == 2
    assert "give qc episodes push --policy NAME" in capsys.readouterr().err
    assert main(["episodes", "push", *files, "--policy", "arm@champion", "--json"]) == 2
    accepted, slow = json.loads(capsys.readouterr().out)
    assert accepted["state"] == "accepted" and "is 0.05 s, that of the file 0.1 s" in slow["reason"]
    other = robot_run("unknown", "store:episodes").replace("name arm", "name unknown")
    with pytest.raises(UsageError, match="no policy whose contract"):
        Run(other)
    again = Run(f"{robot_run('again', 'recorded.npz store:episodes')} --train.warm-start champion")
    held_out = open_dataset(again.at("dataset")).validation
    assert held_out is not None and held_out.transitions == 15
    assert again.config.train.warm_start == champion
    gate = again.promotion.gate
    assert gate.champion_before == champion and not again.promotion.champion
    assert re.search(rf"of champion {champion}, gain -?\d+\.\d+ .* over 1 episodes", gate.reason)
    assert Registry(store).alias("arm", CHAMPION) == champion
    qc(f"qc promote arm:{again.promotion.version} --approve")
    assert Registry(store).alias("arm", CHAMPION) == again.promotion.version
